"""Pure steps acknowledged together: what one commit does for many tasks, and what it leaves alone."""

from __future__ import annotations

import asyncio

import pytest

from core.db import Pool
from core.models import Claimed, EffectClass, PlannedStep
from core.store import people, steps, tasks
from tests.patience import PATIENCE_S

LANES = ("urgent", "default")


class Bench:
    """A worker of its own and tasks of pure steps."""

    def __init__(self, db: Pool, owner: int, worker: int) -> None:
        self.db, self.owner, self.worker = db, owner, worker

    async def task(self, *needs: tuple[int, ...], lane: str = "default", priority: int = 2) -> int:
        """One step for each tuple, which holds the numbers of the steps that it needs."""
        plan = [
            PlannedStep(n=n, kind="act", skill="x.y", needs=of, effect_class=EffectClass.PURE)
            for n, of in enumerate(needs, start=1)
        ]
        made = await tasks.create(
            self.db, requester=self.owner, goal="g", kind="do", steps=plan, actor="t", lane=lane, priority=priority
        )
        assert made is not None
        return made

    async def claim(self, room: int = 32) -> list[Claimed]:
        return await steps.claim_lanes(self.db, self.worker, LANES, (room, room))

    async def complete(self, batch: list[Claimed], room: int = 32, *, more: bool = False) -> steps.ManyCompleted:
        ended = [(step, {"n": step.n}) for step in batch]
        return await steps.complete_many(self.db, self.worker, ended, LANES, (room, room), more=more)

    async def status(self, task: int) -> tuple[str, list[str]]:
        rows = await self.db.fetch("select status from steps where task_id = $1 order by n", task)
        return await self.db.fetchval("select status from tasks where id = $1", task), [r["status"] for r in rows]


@pytest.fixture
async def bench(db: Pool) -> Bench:
    owner = await people.ensure_owner(db)
    return Bench(db, owner.id, await steps.enrol(db, "host", 1, "test", 3600))


async def test_single_steps_of_many_tasks_end_in_one_commit_with_their_events(bench: Bench) -> None:
    made = [await bench.task(()) for _ in range(5)]
    done = await bench.complete(await bench.claim())
    assert done == steps.ManyCompleted(frozenset(), freed=False, claimed=[])
    for task in made:
        assert await bench.status(task) == ("succeeded", ["succeeded"])
    row = await bench.db.fetchrow(
        "select count(*) as moves, count(distinct xid) as commits from events where to_state = 'succeeded'"
    )
    assert (row["moves"], row["commits"]) == (10, 1)
    assert await bench.db.fetchval("select result from tasks where id = $1", made[0]) == {"n": 1}


async def test_what_follows_is_claimed_with_it_as_far_as_there_is_room(bench: Bench) -> None:
    task = await bench.task((), (1,), (1,), (1,), (2, 3, 4))
    done = await bench.complete(await bench.claim(), room=2)
    assert sorted(step.n for step in done.claimed) == [2, 3] and done.freed
    assert await bench.status(task) == ("running", ["succeeded", "running", "running", "ready", "blocked"])
    done = await bench.complete(done.claimed, room=2, more=True)
    assert [step.n for step in done.claimed] == [4] and not done.freed
    done = await bench.complete(done.claimed)
    assert [step.n for step in done.claimed] == [5]
    await bench.complete(done.claimed)
    assert await bench.status(task) == ("succeeded", ["succeeded"] * 5)


async def test_a_more_urgent_ready_step_comes_before_what_follows(bench: Bench) -> None:
    chain = await bench.task((), (1,))
    held = await bench.claim()
    urgent = await bench.task((), priority=0)
    done = await bench.complete(held, room=1, more=True)
    assert [(step.task_id, step.n) for step in done.claimed] == [(urgent, 1)]
    assert await bench.status(chain) == ("running", ["succeeded", "ready"])


async def test_the_urgent_lane_is_served_first_and_the_rooms_hold(bench: Bench) -> None:
    plain = [await bench.task(()) for _ in range(3)]
    urgent = await bench.task((), lane="urgent")
    claimed = await steps.claim_lanes(bench.db, bench.worker, LANES, (3, 1))
    assert {step.task_id for step in claimed} == {urgent, plain[0]}


async def test_a_task_that_is_locked_is_left_out_and_holds_up_nobody(bench: Bench) -> None:
    free, locked = await bench.task(()), await bench.task(())
    held = await bench.claim()
    async with bench.db.acquire() as connection, connection.transaction():
        await connection.execute("select 1 from tasks where id = $1 for update", locked)
        async with asyncio.timeout(PATIENCE_S):
            done = await bench.complete(held)
    assert done.left_out == {locked}
    assert await bench.status(free) == ("succeeded", ["succeeded"])
    assert await bench.status(locked) == ("running", ["running"])


async def test_without_the_fence_nothing_is_written(bench: Bench) -> None:
    task = await bench.task((), (1,))
    [step] = await bench.claim()
    await steps.release(bench.db, bench.worker, step, "elsewhere")
    await bench.claim()
    done = await bench.complete([step], more=True)
    assert done.claimed == [] and await bench.status(task) == ("running", ["running", "blocked"])


async def test_a_worker_without_a_lease_writes_its_outcome_and_claims_nothing(bench: Bench) -> None:
    """The fence is what guards: the step is still its own."""
    task = await bench.task((), (1,))
    held = await bench.claim()
    await bench.db.execute("update workers set lease_until = now() - interval '1 second'")
    done = await bench.complete(held, more=True)
    assert done.claimed == [] and done.freed
    assert await bench.status(task) == ("running", ["succeeded", "ready"])


async def test_what_follows_in_a_paused_or_cancelled_task_is_not_claimed(bench: Bench) -> None:
    paused, cancelled = await bench.task((), (1,)), await bench.task((), (1,))
    held = await bench.claim()
    await tasks.pause(bench.db, paused, "person:owner")
    await tasks.cancel(bench.db, cancelled, "person:owner", "enough")
    done = await bench.complete(held, more=True)
    assert done.claimed == []
    assert await bench.status(paused) == ("paused", ["succeeded", "ready"])
    assert await bench.status(cancelled) == ("cancelled", ["succeeded", "cancelled"])
