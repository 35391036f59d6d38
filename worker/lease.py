"""The worker's lease: one row, renewed by a heartbeat, that says this process may hold steps and act on them.

The database's clock decides when it ends. The local deadline is taken *before* the heartbeat is sent, on a clock that
runs while the machine sleeps, so this side always believes in less time than the database grants.
"""

from __future__ import annotations

import os
import socket
import time

import asyncpg

from core import config
from core.db import Pool
from core.store import steps
from core.store.steps import LeaseLost, Running

__all__ = ["Lease", "LeaseLost"]


def boot_clock_s() -> float:
    """Seconds on a clock that no one sets and that counts sleep where the system has one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """`worker` is the id under which steps are claimed, 0 before `take`."""

    def __init__(self, db: Pool, dsn: str, *, lasts_s: float = config.LEASE_S) -> None:
        self._db, self._dsn, self._lasts_s = db, dsn, lasts_s
        self._good_until = 0.0
        self._sign: asyncpg.Connection | None = None
        self.worker = 0

    async def take(self, release: str) -> int:
        """Enrol as a new worker and hang out the sign (a session lock) that shows this process lives."""
        before = boot_clock_s()
        self.worker = await steps.enrol(self._db, socket.gethostname(), os.getpid(), release, self._lasts_s)
        self._good_until = before + self._lasts_s
        self._sign = await asyncpg.connect(
            self._dsn, server_settings={"application_name": f"sayso worker {self.worker}"}
        )
        await steps.hold_sign(self._sign, config.WORKER_LOCK, self.worker)
        return self.worker

    async def beat(self) -> list[Running]:
        """Renew; answer what runs here according to the database. Raises `LeaseLost`."""
        before = boot_clock_s()
        running = await steps.heartbeat(self._db, self.worker, self._lasts_s)
        self._good_until = before + self._lasts_s
        return running

    def is_good(self, for_s: float = 0.0) -> bool:
        """Whether the lease surely lasts `for_s` more seconds: asked just before any call that touches the world."""
        return boot_clock_s() + for_s < self._good_until

    async def leave(self) -> None:
        """Give the lease back; steps still held are orphans at once."""
        self._good_until = 0.0
        if self.worker:
            await steps.leave(self._db, self.worker)
        if self._sign is not None:
            self._sign.terminate()
