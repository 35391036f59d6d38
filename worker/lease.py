"""The worker's lease: one row, renewed by a heartbeat, that says this process may hold steps and act on them.

The database's clock decides when it ends. The local deadline is taken *before* the heartbeat is sent, on a clock that
runs while the machine sleeps, so this side always believes in less time than the database grants.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable

import asyncpg

from core import config
from core.db import DATABASE_AWAY, Pool
from core.store import steps
from core.store.steps import LeaseLost, Running

__all__ = ["Lease", "LeaseLost"]

log = logging.getLogger(__name__)


def boot_clock_s() -> float:
    """Seconds on a clock that no one sets and that counts sleep where the system has one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """`worker` is the id under which steps are claimed, 0 before `take`. `clock` answers seconds, and is never set back."""

    def __init__(
        self, db: Pool, dsn: str, *, lasts_s: float = config.LEASE_S, clock: Callable[[], float] = boot_clock_s
    ) -> None:
        self._db, self._dsn, self._lasts_s, self._clock = db, dsn, lasts_s, clock
        self._good_until = 0.0
        self._sign: asyncpg.Connection | None = None
        self.worker = 0

    async def take(self, release: str) -> int:
        """Enrol as a new worker and hang out the sign (a session lock) that shows this process lives."""
        before = self._clock()
        self.worker = await steps.enrol(self._db, socket.gethostname(), os.getpid(), release, self._lasts_s)
        self._good_until = before + self._lasts_s
        await self.show_sign()
        return self.worker

    async def show_sign(self) -> None:
        """Hang the sign out again when its connection has ended: without it this worker is taken for dead."""
        if self._sign is not None and not self._sign.is_closed():
            return
        sign = await asyncpg.connect(
            self._dsn,
            command_timeout=config.STATEMENT_TIMEOUT_S,
            server_settings={"application_name": f"sayso worker {self.worker}"},
        )
        try:
            await steps.hold_sign(sign, config.WORKER_LOCK, self.worker)
        except BaseException:
            sign.terminate()
            raise
        self._sign = sign

    async def beat(self) -> list[Running]:
        """Renew; answer what runs here according to the database. Raises `LeaseLost`."""
        before = self._clock()
        running = await steps.heartbeat(self._db, self.worker, self._lasts_s)
        self._good_until = before + self._lasts_s
        return running

    def is_good(self, for_s: float = 0.0) -> bool:
        """Whether the lease surely lasts `for_s` more seconds: asked just before any call that touches the world."""
        return self._clock() + for_s < self._good_until

    async def leave(self) -> None:
        """Give the lease back; steps still held are orphans at once. With no database it ends by itself."""
        self._good_until = 0.0
        if self._sign is not None:
            self._sign.terminate()
        try:
            async with asyncio.timeout(config.LEAVE_S):
                if self.worker:
                    await steps.leave(self._db, self.worker)
        except DATABASE_AWAY as error:
            log.warning("worker %s could not take its leave: %s", self.worker, type(error).__name__)
