"""One Valkey on a unix socket. What it holds may be lost: it keeps nothing on disk."""

from __future__ import annotations

import signal
import socket
import time
from typing import Final

from core.embedded import child
from core.embedded.binaries import valkey_binary
from core.embedded.ground import Ground

DATABASES: Final = 256
ANSWER_S: Final = 2.0


class Valkey:
    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._socket = ground.sockets / "valkey.sock"
        self._pid_file = ground.home / "valkey.pid"
        self._log = ground.home / "valkey.log"

    def url(self, database: int = 0) -> str:
        return f"unix://{self._socket}?db={database}"

    def start(self) -> None:
        """Start it unless it runs, return when it takes commands."""
        if self.answers():
            return
        hung = self.pid()
        if hung is not None:
            child.end(hung, signal.SIGKILL, self._ground, "Valkey")
        self._socket.unlink(missing_ok=True)
        command = [
            str(valkey_binary(self._ground)), "--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700",
            "--save", "", "--appendonly", "no", "--databases", str(DATABASES), "--daemonize", "no", "--loglevel", "warning",
        ]  # fmt: skip
        server = child.start(self._ground, command, self._ground.folder("valkey"), self._log)
        self._pid_file.write_text(str(server.pid), encoding="ascii")
        deadline = time.monotonic() + child.START_S
        while not self.answers():
            if server.poll() is not None or time.monotonic() > deadline:
                raise child.failed("Valkey", self._log)
            time.sleep(child.POLL_S)

    def answers(self) -> bool:
        """Whether it takes commands now."""
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(ANSWER_S)
                link.connect(str(self._socket))
                link.sendall(b"PING\r\n")
                return link.recv(7) == b"+PONG\r\n"
        except OSError:
            return False

    def stop(self, how: str = "fast") -> None:
        """`immediate` kills it."""
        pid = self.pid()
        if pid is not None:
            child.end(pid, signal.SIGKILL if how == "immediate" else signal.SIGTERM, self._ground, "Valkey")

    def pid(self) -> int | None:
        """The server's pid, while it lives."""
        return child.read_pid(self._pid_file, self._ground)
