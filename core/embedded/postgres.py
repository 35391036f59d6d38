"""One Postgres: made, started, found running, stopped. Readiness is a real login, never a pid file.

Its folder is made under another name and renamed when it is whole, database included, so half a cluster is never taken
for one. Only our own account may log in: the kernel says who is at the other end of the socket.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from core.embedded import child
from core.embedded.binaries import postgres_binaries
from core.embedded.ground import ELSEWHERE, POSTGRES_SOCKET, EmbeddedError, Ground, our_name

ROLE: Final = "sayso"
MAJOR: Final = "18"
ANSWER_S: Final = 5.0
PROTOCOL: Final = 196608  # 3.0
# The server is started in its folder and told "here": as root its account need not be able to walk there.
HERE: Final = "/proc/self/cwd"
SETTINGS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "120",
    "shared_buffers": "128MB",
    "jit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "10min",
    "autovacuum_naptime": "10s",
    "log_min_messages": "warning",
    "timezone": "UTC",
}
MAKING: Final = (
    "-U", ROLE, "--auth=reject", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
    "--no-instructions",
)  # fmt: skip
# A killed server still keeps what it committed; only a power cut would lose it.
NOT_DURABLE: Final = {"fsync": "off", "full_page_writes": "off"}


class Postgres:
    def __init__(self, ground: Ground, *, fast: bool = False) -> None:
        """`fast` gives up durability: for tests, which lose nothing with it."""
        self._ground, self._fast = ground, fast
        self._folder = ground.home / "pg"
        self._log = ground.home / "postgres.log"

    def url(self, database: str = ROLE) -> str:
        return f"postgresql://{ROLE}@/{database}?host={self._ground.sockets}"

    def start(self) -> None:
        """Make the cluster if there is none, start it unless it runs, return when it takes logins."""
        if self.answers():
            return
        deadline = time.monotonic() + child.START_S
        if self.pid() is None:
            binaries = postgres_binaries(self._ground)
            self._check_folder(binaries)
            self._forget_stale_files()
            server = self._start(binaries)
        else:
            server = None  # it runs and is recovering, say
        while not self.answers():
            ended = server.poll() is not None if server else self.pid() is None
            if ended and server and "is still in use" in child.last_words(self._log) and time.monotonic() < deadline:
                time.sleep(10 * child.POLL_S)  # the last sessions of a killed server are still leaving
                server = self._start(binaries)
            elif ended or time.monotonic() > deadline:
                raise child.failed("Postgres", self._log)
            time.sleep(child.POLL_S)

    def answers(self) -> bool:
        """Whether one can log in now."""
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(ANSWER_S)
                link.connect(str(self._ground.sockets / POSTGRES_SOCKET))
                body = struct.pack("!i", PROTOCOL) + f"user\0{ROLE}\0database\0postgres\0\0".encode()
                link.sendall(struct.pack("!i", len(body) + 4) + body)
                with link.makefile("rb") as stream:
                    while head := stream.read(5):
                        kind, length = struct.unpack("!ci", head)
                        stream.read(length - 4)
                        if kind in (b"Z", b"E"):
                            link.sendall(b"X\0\0\0\4")
                            return bool(kind == b"Z")
        except (OSError, struct.error):
            return False
        return False

    def stop(self, how: str = "fast") -> None:
        """`fast` ends sessions and shuts down cleanly; `immediate` is as after a power cut."""
        pid = self.pid()
        if pid is not None:
            child.end(pid, signal.SIGQUIT if how == "immediate" else signal.SIGINT, self._ground, "Postgres")

    def pid(self) -> int | None:
        """The server's pid, while it lives."""
        return child.read_pid(self._folder / "postmaster.pid", self._ground)

    def _start(self, binaries: Path) -> subprocess.Popen[bytes]:
        settings = (
            SETTINGS | {"unix_socket_directories": str(self._ground.sockets)} | (NOT_DURABLE if self._fast else {})
        )
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return child.start(
            self._ground, [str(binaries / "postgres"), "-D", _named(self._folder), *options], self._folder, self._log
        )

    def _check_folder(self, binaries: Path) -> None:
        try:
            made_by = (self._folder / "PG_VERSION").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            self._make(binaries)
            return
        if made_by != MAJOR:
            raise EmbeddedError(
                f"{self._folder} was made by Postgres {made_by}, this is {MAJOR}: dump it with the old one, or move it away"
            )

    def _make(self, binaries: Path) -> None:
        for half in self._ground.home.glob("pg-half-*"):
            shutil.rmtree(half)
        half = Path(tempfile.mkdtemp(dir=self._ground.home, prefix="pg-half-"))
        os.chown(half, self._ground.uid, self._ground.gid)
        here = _named(half)
        making = [str(binaries / "initdb"), "-D", here, *MAKING, *(["--no-sync"] if self._fast else [])]
        self._run(half, making, "")
        self._run(half, [str(binaries / "postgres"), "--single", "-D", here, "postgres"], f"create database {ROLE}\n")
        (half / "pg_hba.conf").write_text("local all all peer map=sayso\n", encoding="utf-8")
        (half / "pg_ident.conf").write_text(f'sayso "{our_name()}" {ROLE}\n', encoding="utf-8")
        try:
            os.rename(half, self._folder)
        except OSError as error:
            raise EmbeddedError(f"{self._folder} is no Postgres cluster; move it away") from error

    def _run(self, folder: Path, command: list[str], said: str) -> None:
        made = subprocess.run(  # noqa: S603  # our own binary and arguments
            command, input=said, capture_output=True, text=True, cwd=folder, env=child.plain_environment(),
            timeout=child.START_S, check=False, **self._ground.popen_as(),
        )  # fmt: skip
        if made.returncode != 0:
            shutil.rmtree(folder, ignore_errors=True)
            raise EmbeddedError(f"the embedded Postgres cannot be made: {made.stderr.strip()[-300:]}; {ELSEWHERE}")

    def _forget_stale_files(self) -> None:
        """No server of ours runs. A pid file whose pid now is somebody else's would keep Postgres from starting.

        One whose pid is nobody's stays: with it Postgres looks whether sessions of the dead server still live.
        """
        (self._ground.sockets / f"{POSTGRES_SOCKET}.lock").unlink(missing_ok=True)
        file = self._folder / "postmaster.pid"
        try:
            os.kill(int(file.read_text(encoding="ascii").split()[0]), 0)
        except (FileNotFoundError, ProcessLookupError):
            return
        except (PermissionError, ValueError, IndexError, OverflowError):
            pass
        file.unlink()


def _named(folder: Path) -> str:
    return HERE if sys.platform == "linux" else str(folder)
