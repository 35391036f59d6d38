"""Finds what nobody else would: steps of dead workers, timers and approvals whose time has come, outcomes to be probed.

One worker sweeps at a time, elected by an advisory lock; every move it makes is a guarded commit of its own, so a
second sweeper does no harm. A frozen worker keeps its lock, so those who stand by sweep too, once per lease.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg

from core import config
from core.db import DATABASE_AWAY, Connection, Pool
from core.logs import moved as tell_moved
from core.ring import Ring
from core.store import approvals, children, conversations, locks, looks, signals, steps, tasks
from core.store.steps import Probing
from worker.audit import Chainer
from worker.chronicle import Chronicle

log = logging.getLogger(__name__)

STAND_BY_ROUNDS: Final = round(config.LEASE_S / config.SWEEP_EVERY_S)

Probe = Callable[[Probing], Awaitable[tuple[bool | None, dict[str, object]]]]
Climb = Callable[[], Awaitable[int]]


class Sweeper:
    """`probe` asks a skill whether an action happened: True, False, or None when it can't tell, with the evidence.

    `climb` moves the ladders of unanswered approvals on; answers how many moved. `tell` is told in each round what the looks
    found, so that the others of this process need not ask as well.
    """

    def __init__(
        self,
        db: Pool,
        dsn: str,
        ring: Ring,
        probe: Probe,
        chainer: Chainer,
        climb: Climb,
        tell: Callable[[frozenset[str]], None] = lambda _: None,
    ) -> None:
        self._db, self._dsn, self._ring, self._probe, self._chainer = db, dsn, ring, probe, chainer
        self._tell = tell
        self._pause_s = config.SWEEP_EVERY_S
        self._chronicle = Chronicle(db)
        # What each part does is named by the looks that find something for it (core/store/looks.py), in this order.
        self._parts: dict[tuple[str, ...], Callable[[], Awaitable[int]]] = {
            ("lost", "silent"): self._recover,
            ("timers", "arrivals"): self._wake,
            ("forsaken", "clocks", "overdue"): self._end_late,
            ("expiries", "followers"): self._expire,
            ("probes",): self._probe_unknowns,
            ("ladders",): climb,
            ("ticks",): self._tick,
            ("untold",): self._chronicle.tell,
            ("stranded", "events", "dead workers"): self._tidy,
        }

    async def run(self) -> None:
        """Sweep for ever; stand by while another worker does."""
        while True:
            try:
                connection = await asyncpg.connect(self._dsn, server_settings={"application_name": "sayso sweeper"})
                try:
                    await self._stand_by(connection)
                    await self._chronicle.begin()
                    while not connection.is_closed():
                        await self.sweep()
                        await asyncio.sleep(self._pause_s)
                finally:
                    self._chronicle.end()
                    connection.terminate()
            except DATABASE_AWAY as error:
                log.warning("cannot sweep: %s", type(error).__name__)
            except Exception:
                log.exception("a round of sweeping broke; the next one begins anew")
            await asyncio.sleep(config.SWEEP_EVERY_S)

    async def _stand_by(self, connection: Connection) -> None:
        """Until the lock is ours; at once and then every `STAND_BY_ROUNDS`th time, sweep without it."""
        for waited in itertools.count():
            if await locks.try_hold(connection, config.SWEEPER_LOCK):
                return
            if waited % STAND_BY_ROUNDS == 0:
                await self.sweep()
            await asyncio.sleep(config.SWEEP_EVERY_S)

    async def sweep(self) -> int:
        """One round; answers how many things moved. A thing that cannot be moved does not stop the others."""
        self._pause_s = config.SWEEP_EVERY_S
        due = await looks.due(self._db, self._chronicle.told)
        self._tell(due)
        moved = 0
        for names, part in self._parts.items():
            if not due.isdisjoint(names):
                moved += await part()
        await self._chainer.round(waits="audit" in due)
        return moved

    async def _recover(self) -> int:
        moved = 0
        hinted = await steps.silent_workers(self._db, config.WORKER_LOCK)
        for task, n, fence in await steps.orphans(self._db, hinted):
            came = steps.recover(self._db, task, n, fence, hinted)
            moved += await self._move(task, came, (n, "running", "its worker is gone"))
        if moved:  # they come back apart, most of them soon: the next look is for those
            self._pause_s = min(self._pause_s, config.APART_S)
        return moved

    async def _wake(self) -> int:
        """Those whose time has come, and those for whom an event has."""
        moved = 0
        for task, n in await steps.due_timers(self._db):
            moved += await self._move(task, steps.wake(self._db, task, n), (n, "waiting", "its time has come"))
        for task, n in await signals.arrived(self._db):
            moved += await self._move(task, signals.wake_early(self._db, task, n))
        return moved

    async def _expire(self) -> int:
        moved = 0
        for approval in await approvals.due(self._db):
            moved += await self._move(0, approvals.expire(self._db, approval))
        for follower in await approvals.unled(self._db):
            moved += await self._move(0, approvals.follow(self._db, follower))
        return moved

    async def _end_late(self) -> int:
        """Stops to children, deadlines to what is late."""
        moved = 0
        for child in await children.forsaken(self._db):
            moved += await self._move(child, tasks.cancel(self._db, child, "sweeper", "its parent task was stopped"))
        for task, n in await children.clocks(self._db):
            moved += await self._move(task, children.heed_clock(self._db, task, n))
        for task in await children.overdue(self._db):
            moved += await self._move(task, children.end_overdue(self._db, task))
        return moved

    async def _probe_unknowns(self) -> int:
        moved = 0
        for probing in await steps.due_probes(self._db, config.PROBE_HOLD_S, config.PROBE_BATCH):
            moved += await self._move(probing.task_id, self._find_out(probing))
        return moved

    async def _tick(self) -> int:
        if await conversations.tick(self._db):
            self._ring.outbox()
        return 0

    async def _tidy(self) -> int:
        await conversations.strand(self._db)
        await signals.forget(self._db)
        await steps.forget_dead_workers(self._db)
        return 0

    async def _find_out(self, probing: Probing) -> str:
        happened, evidence = await self._probe(probing)
        return await steps.probed(self._db, probing, happened, evidence)

    async def _move(self, task: int, moving: Awaitable[str | bool], step: tuple[int, str, str] | None = None) -> int:
        """`step` is (number, from, why) where one step moves: to what `moving` answers, or to ready."""
        try:
            answer = await moving
        except asyncpg.PostgresError:
            log.exception("a row of task %s could not be moved; the others go on", task)
            return 0
        if answer in (False, "stale"):
            return 0
        if step is not None:
            n, was, why = step
            to = answer if isinstance(answer, str) else "ready"
            tell_moved(log, "step", task=task, step=n, principal="sweeper", was=was, to=to, why=why)
        self._ring.task(task)
        return 1
