"""One Postgres: made, started, found running, stopped. Readiness is a real connection, never a pid file."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import asyncpg

from core.embedded.ground import ELSEWHERE, EmbeddedError, Ground, postgres_binaries

START_S = 60.0
STOP_S = 20.0
POLL_S = 0.05
LOG_TAIL_BYTES = 2_000
ROLE = "sayso"
SETTINGS = {
    "listen_addresses": "",
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


class Postgres:
    def __init__(self, ground: Ground, *, fast: bool = False) -> None:
        """`fast` gives up durability: for tests that lose nothing with it."""
        self._ground, self._fast = ground, fast
        self._folder = ground.data / "pg"

    def url(self, database: str = ROLE) -> str:
        return f"postgresql://{ROLE}@/{database}?host={self._ground.sockets}"

    def start(self) -> None:
        """Make the cluster if there is none, start it unless it runs, and answer when it takes connections."""
        if self.answers():
            return
        binaries = postgres_binaries(self._ground)
        if not (self._folder / "PG_VERSION").is_file():
            self._make(binaries)
        self._forget_stale_pid()
        log = self._ground.data / "postgres.log"
        with _opened(log, self._ground) as out:
            server = subprocess.Popen(  # noqa: S603  # our own binary and arguments
                [str(binaries / "postgres"), "-D", str(self._folder), *self._options()],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", env=_plain_environment(),
                start_new_session=True, **self._ground.popen_as(),  # type: ignore[call-overload]
            )  # fmt: skip
        _until(self.answers, lambda: server.poll() is not None, log, "Postgres")
        if not self._run(_has_database):
            self._run(_make_database)

    def answers(self) -> bool:
        """Whether it takes connections now."""
        try:
            return bool(self._run(_alive))
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False

    def stop(self, how: str = "fast") -> None:
        """`fast` ends sessions and shuts down cleanly; `immediate` as after a power cut."""
        pid = self._pid()
        if pid is None:
            return
        os.kill(pid, signal.SIGQUIT if how == "immediate" else signal.SIGINT)
        _until(lambda: not Path(f"/proc/{pid}").exists() and not _exists(pid), lambda: False, None, "Postgres", STOP_S)

    def _options(self) -> list[str]:
        settings = SETTINGS | {"unix_socket_directories": str(self._ground.sockets)}
        if self._fast:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _make(self, binaries: Path) -> None:
        """Into a folder of another name, renamed when it is whole: half a cluster is never taken for one."""
        for half in self._ground.data.glob("pg-half-*"):
            shutil.rmtree(half, ignore_errors=True)
        half = Path(tempfile.mkdtemp(dir=self._ground.data, prefix="pg-half-"))
        os.chown(half, self._ground.uid, self._ground.gid)
        made = subprocess.run(  # noqa: S603  # our own binary and arguments
            [str(binaries / "initdb"), "-D", str(half), "-U", ROLE, "--auth=reject", "--encoding=UTF8", "--locale=C",
             "--no-instructions", *([] if not self._fast else ["--no-sync"])],
            capture_output=True, text=True, cwd="/", env=_plain_environment(), timeout=START_S, check=False,
            **self._ground.popen_as(),  # type: ignore[call-overload]
        )  # fmt: skip
        if made.returncode != 0:
            shutil.rmtree(half, ignore_errors=True)
            raise EmbeddedError(f"the embedded Postgres could not be made: {made.stderr.strip()[-300:]}; {ELSEWHERE}")
        # Only our own account may come in, and the kernel says who it is.
        (half / "pg_hba.conf").write_text("local all all peer map=sayso\n", encoding="utf-8")
        (half / "pg_ident.conf").write_text(f'sayso "{pwd.getpwuid(os.geteuid()).pw_name}" {ROLE}\n', encoding="utf-8")
        os.rename(half, self._folder)

    def _pid(self) -> int | None:
        """The postmaster's pid, if the file names a process that is one."""
        try:
            pid = int((self._folder / "postmaster.pid").read_text(encoding="ascii").split()[0])
        except (OSError, ValueError, IndexError):
            return None
        return pid if _exists(pid) and _works_in(pid, self._folder) else None

    def _forget_stale_pid(self) -> None:
        file = self._folder / "postmaster.pid"
        if file.exists() and self._pid() is None:
            file.unlink()

    def _run(self, what: Callable[..., object]) -> object:
        async def connected() -> object:
            connection = await asyncpg.connect(self.url("postgres"), timeout=5)
            try:
                return await what(connection)  # type: ignore[misc]
            finally:
                await connection.close()

        return asyncio.run(connected())


async def _alive(connection: asyncpg.Connection) -> bool:
    return bool(await connection.fetchval("select true"))


async def _has_database(connection: asyncpg.Connection) -> bool:
    return bool(await connection.fetchval("select exists (select from pg_database where datname = $1)", ROLE))


async def _make_database(connection: asyncpg.Connection) -> None:
    await connection.execute(f"create database {ROLE}")


# ---------------------------------------------------------------- processes


def _plain_environment() -> dict[str, str]:
    """No secret of ours reaches the servers."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _opened(log: Path, ground: Ground) -> BinaryIO:
    file = open(log, "ab")  # noqa: SIM115  # the caller's `with` closes it
    os.chown(log, ground.uid, ground.gid)
    return file


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _works_in(pid: int, folder: Path) -> bool:
    """Whether a process has the folder as its own; where that can't be seen, its pid file is believed."""
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd")) == folder
    except OSError:
        return not Path("/proc/self").exists()


def _until(
    ready: Callable[[], bool], ended: Callable[[], bool], log: Path | None, name: str, most_s: float = START_S
) -> None:
    deadline = time.monotonic() + most_s
    while not ready():
        if ended() or time.monotonic() > deadline:
            tail = log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip() if log else ""
            raise EmbeddedError(
                f"the embedded {name} did not do as it was told: {tail or 'no word from it'}; {ELSEWHERE}"
            )
        time.sleep(POLL_S)
