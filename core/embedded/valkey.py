"""One Valkey on a unix socket. What it holds may be lost: it keeps nothing on disk."""

from __future__ import annotations

import os
import signal
import socket
import subprocess

from core.embedded.ground import Ground, valkey_binary
from core.embedded.postgres import STOP_S, _exists, _opened, _plain_environment, _until

DATABASES = 256


class Valkey:
    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._socket = ground.sockets / "valkey.sock"
        self._pid_file = ground.data / "valkey.pid"

    def url(self, database: int = 0) -> str:
        return f"unix://{self._socket}?db={database}"

    def start(self) -> None:
        """Start it unless it runs, and answer when it takes commands."""
        if self.answers():
            return
        self._socket.unlink(missing_ok=True)
        log = self._ground.data / "valkey.log"
        with _opened(log, self._ground) as out:
            server = subprocess.Popen(  # noqa: S603  # our own binary and arguments
                [str(valkey_binary(self._ground)), "--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700",
                 "--save", "", "--appendonly", "no", "--databases", str(DATABASES), "--dir", str(self._ground.data),
                 "--pidfile", str(self._pid_file), "--daemonize", "no", "--loglevel", "warning"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", env=_plain_environment(), start_new_session=True,
                **self._ground.popen_as(),  # type: ignore[call-overload]
            )  # fmt: skip
        _until(self.answers, lambda: server.poll() is not None, log, "Valkey")
        self._pid_file.write_text(str(server.pid), encoding="ascii")

    def answers(self) -> bool:
        """Whether it takes commands now."""
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(2)
                link.connect(str(self._socket))
                link.sendall(b"PING\r\n")
                return link.recv(7) == b"+PONG\r\n"
        except OSError:
            return False

    def stop(self, how: str = "fast") -> None:
        """`immediate` kills it."""
        pid = self._pid()
        if pid is None:
            return
        os.kill(pid, signal.SIGKILL if how == "immediate" else signal.SIGTERM)
        _until(lambda: not self.answers() and not _running(pid), lambda: False, None, "Valkey", STOP_S)

    def _pid(self) -> int | None:
        try:
            pid = int(self._pid_file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
        return pid if self.answers() and _exists(pid) else None


def _running(pid: int) -> bool:
    """Not gone and not a zombie that its parent has yet to collect."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
