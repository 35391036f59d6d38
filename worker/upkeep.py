"""The housekeeper: puts away what is over, a little at a time, in whichever worker finds a job due.

Idle it costs one small statement every `MEASURES_FLUSH_S` seconds, when it also writes down what this process counted. A
round ends after `UPKEEP_ROUND_S` and leaves its place in the database, so a killed worker loses nothing and the next one
goes on from there. What may go is decided in SQL (migrations/0007_upkeep.sql), never here.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Any, Final

import asyncpg

from core import config
from core.db import DATABASE_AWAY, Pool
from core.measures import Measures
from core.store import measures, upkeep
from core.store.upkeep import LEFTOVERS, MONTHS, QUARANTINE, WALKS, Keep

log = logging.getLogger(__name__)

JOBS: Final = (MONTHS, *WALKS, LEFTOVERS, QUARANTINE)


class Housekeeper:
    def __init__(self, db: Pool, measures: Measures | None = None, keep: Keep | None = None) -> None:
        self._db, self._measures, self._keep = db, measures or Measures(), keep or Keep()

    async def run(self) -> None:
        """Look for ever; workers that start together do not look together."""
        while True:
            await asyncio.sleep(config.MEASURES_FLUSH_S * random.uniform(0.8, 1.2))  # noqa: S311
            try:
                await measures.flush(self._db, self._measures)
                await self.look()
            except DATABASE_AWAY as error:
                log.warning("no upkeep: %s", type(error).__name__)
            except Exception:
                log.exception("a round of upkeep broke; the next one begins anew")

    async def leave(self) -> None:
        """Write down what was counted since the last time. With no database it is lost, and nothing else."""
        try:
            async with asyncio.timeout(config.LEAVE_S):
                await measures.flush(self._db, self._measures)
        except DATABASE_AWAY as error:
            log.warning("the last figures are lost: %s", type(error).__name__)

    async def look(self) -> list[str]:
        """Do the jobs that are due; answers their names. One that breaks does not stop the others."""
        due = await upkeep.take_due(self._db, dict.fromkeys(JOBS, config.UPKEEP_REST_S))
        for job, cursor in due.items():
            try:
                await self._round(job, cursor)
            except asyncpg.PostgresError:
                log.exception("upkeep of %s broke; again in %g s", job, config.UPKEEP_REST_S)
        return list(due)

    async def _round(self, job: str, cursor: int) -> None:
        if job in WALKS:
            await self._walk(job, cursor)
            return
        if job == QUARANTINE:
            tasks = await upkeep.quarantine(self._db)
            await upkeep.leave_off(self._db, job, 0, {"tasks": tasks}, config.QUARANTINE_EVERY_S)
            for task in tasks:
                log.error("task %s is quarantined: its approval cannot be read", task)
            return
        did: dict[str, Any] = (
            {"dropped": await upkeep.turn_months(self._db, self._keep)}
            if job == MONTHS
            else dict(await upkeep.clear_leftovers(self._db, self._keep))
        )
        again_soon = config.UPKEEP_WINDOW in did.values()
        await upkeep.leave_off(self._db, job, 0, did, config.UPKEEP_LOOK_S if again_soon else config.UPKEEP_REST_S)
        if any(did.values()):
            log.info("upkeep of %s: %s", job, did)

    async def _walk(self, job: str, cursor: int) -> None:
        """Window after window until the end or until the round's time is over; then the next round goes on."""
        until = time.monotonic() + config.UPKEEP_ROUND_S
        gone, held = 0, dict[str, int]()
        while True:
            began = time.monotonic()
            walked = await upkeep.walk(self._db, job, cursor, self._keep)
            cursor, gone = walked.last, gone + walked.gone
            for why, count in walked.held.items():
                held[why] = held.get(why, 0) + count
            if walked.at_end or time.monotonic() > until:
                break
            # Never more than this share of one connection: what people wait for comes first.
            await asyncio.sleep((time.monotonic() - began) * (1 / config.UPKEEP_SHARE - 1))
        did = {"gone": gone, "held": held}
        if walked.at_end:
            await upkeep.leave_off(self._db, job, 0, did, config.UPKEEP_REST_S)
        else:
            await upkeep.leave_off(self._db, job, cursor, did, config.UPKEEP_LOOK_S)
        if gone:
            log.info("upkeep of %s: %d rows went", job, gone)
