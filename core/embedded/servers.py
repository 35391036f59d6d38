"""Starts or joins the embedded servers, holds a lease on them, and sees to it that a reaper stands by.

A lease is a shared lock on a file, held by an open descriptor: the kernel gives it back when the process ends, however
it ends, and child processes may inherit it. Starting and stopping take an exclusive lock of their own.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from core.embedded.ground import EmbeddedError, stand
from core.embedded.postgres import Postgres
from core.embedded.valkey import Valkey

__all__ = ["EmbeddedError", "RunningServers", "start_servers"]


@dataclass
class RunningServers:
    """`lease` is the descriptor that keeps them running; pass it to child processes that need them."""

    database_url: str | None
    redis_url: str | None
    postgres: Postgres
    valkey: Valkey
    lease: int

    def close(self) -> None:
        """Give the lease back; the servers end when it was the last."""
        if self.lease >= 0:
            os.close(self.lease)
            self.lease = -1

    def __enter__(self) -> RunningServers:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()


def start_servers(home: Path, *, postgres: bool = True, redis: bool = True, fast: bool = False) -> RunningServers:
    """Raises `EmbeddedError`. `fast` is for tests: no fsync."""
    ground = stand(home)
    starting = lock(ground.home / "start.lock", fcntl.LOCK_EX)
    try:
        database, cache = Postgres(ground, fast=fast), Valkey(ground)
        if postgres:
            database.start()
        if redis:
            cache.start()
        lease = lock(ground.home / "users.lock", fcntl.LOCK_SH)
        _see_to_reaper(ground.home, fast)
    finally:
        os.close(starting)
    return RunningServers(database.url() if postgres else None, cache.url() if redis else None, database, cache, lease)


def lock(path: Path, how: int) -> int:
    """A descriptor that holds the lock until it is closed everywhere. Raises BlockingIOError with LOCK_NB."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, how)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _see_to_reaper(home: Path, fast: bool) -> None:
    try:
        os.close(lock(home / "reaper.lock", fcntl.LOCK_EX | fcntl.LOCK_NB))
    except BlockingIOError:
        return
    subprocess.Popen(  # noqa: S603  # our own interpreter and module
        [sys.executable, "-m", "core.embedded.reaper", str(home), *(["--fast"] if fast else [])],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        cwd=Path(__file__).resolve().parents[2], env={"PATH": os.environ.get("PATH", ""), "TMPDIR": os.environ.get("TMPDIR", "/tmp")},  # noqa: S108
    )  # fmt: skip
