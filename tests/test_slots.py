"""Slots of a worker: some are kept for urgent steps, however much other work there is."""

from __future__ import annotations

import asyncio

import pytest

from core import config
from core.db import Pool
from core.models import Claimed, EffectClass, PlannedStep
from core.ring import Ring
from core.store import people, tasks
from tests.processes import until
from worker.executor import Executor, Shareable
from worker.lease import Lease
from worker.slots import Hold, kept_free


@pytest.mark.parametrize(("slots", "kept"), [(1, 0), (7, 0), (8, 1), (16, 2), (config.WORKER_SLOTS, 4), (1000, 4)])
def test_a_worker_keeps_an_eighth_of_its_slots_and_at_most_four(slots: int, kept: int) -> None:
    assert kept_free(slots) == kept


async def test_urgent_work_begins_at_once_beside_work_that_fills_the_worker(
    db: Pool, database_url: str, redis_url: str
) -> None:
    ring, lease, owner = Ring.open(redis_url), Lease(db, database_url, lasts_s=3600.0), await people.ensure_owner(db)
    let_go, began = asyncio.Event(), list[str]()

    async def carry(hold: Hold) -> Claimed | Shareable | None:
        began.append(hold.step.lane)
        await let_go.wait()
        return Shareable({}, carry, lambda: None)

    async def start(lane: str, count: int) -> None:
        step = PlannedStep(n=1, kind="act", effect_class=EffectClass.PURE)
        for _ in range(count):
            await tasks.create(db, requester=owner.id, goal="g", kind="do", steps=[step], actor="t", lane=lane)

    await lease.take("test")
    executor = Executor(db, ring, lease, carry, slots=16)
    running = asyncio.create_task(executor.run())
    await start("default", 20)
    executor.poke()
    await until(lambda: _is(began.count("default") == 14), "the others have all that is not kept")
    await start("urgent", 3)
    executor.poke()
    await until(lambda: _is(began.count("urgent") == 2), "two urgent ones have the kept slots")
    assert (len(began), executor.busy) == (16, 16)
    assert await db.fetchval("select count(*) from steps where status = 'ready' and lane = 'urgent'") == 1
    let_go.set()
    await until(lambda: _is(len(began) == 23), "the rest gets its turn")
    assert began[16] == "urgent", "the next slot is the urgent one's"
    await executor.stop(grace_s=5)
    await running
    assert await db.fetchval("select count(*) from steps where status <> 'succeeded'") == 0
    await lease.leave()
    await ring.close()


async def _is(what: bool) -> bool:
    return what
