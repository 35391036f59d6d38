"""Steps claimed ahead: quick ones share commits also in a single slot, and what does not get its turn is given back.

And none claimed: who has heard from the sweeper that there is nothing to do asks no more itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from asyncpg.connection import LoggedQuery

from core import config
from core.db import Pool, open_pool
from core.models import Claimed, Failed, PlannedStep
from core.ring import Ring
from core.store import people, steps, tasks
from tests.patience import PATIENCE_S
from tests.processes import until
from worker import outcome
from worker.executor import Executor, Shareable
from worker.lease import Lease
from worker.slots import Hold

TASKS = 150
FOREVER_S = 3600.0


@dataclass
class Crowd:
    """One executor with one slot whose steps do nothing; once it `is_to_hold`, the next one behind which others are claimed
    ahead is `held` until it is let go."""

    db: Pool
    ring: Ring
    lease: Lease
    owner: int
    is_to_hold: bool = False
    held: int = 0
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    began: list[int] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    at_once: int = 0

    def __post_init__(self) -> None:
        self.executor = Executor(self.db, self.ring, self.lease, self.carry, slots=1)

    async def carry(self, hold: Hold) -> Claimed | Shareable | None:
        step = hold.step
        if hold.cancel_asked:
            return await outcome.write(
                self.db, self.ring, self.lease, step, Failed(error="stopped", outcome="cancelled")
            )
        self.began.append(step.task_id)
        self.at_once += 1
        assert self.at_once == 1, "two bodies in one slot"
        if self.is_to_hold and not self.held and await self.behind():
            self.held = step.task_id
            await self.let_go.wait()
        self.at_once -= 1
        return Shareable({"by": step.task_id}, self.alone, lambda: self.written.append(step.task_id))

    async def alone(self, hold: Hold) -> Claimed | None:
        raise AssertionError(f"{hold.step} had to be written alone")

    async def task(self, priority: int = 2) -> int:
        step = PlannedStep(n=1, kind="act", skill="nothing.at_all")
        made = await self.db.fetchval(
            "select create_task_v1(null, null, $1, 'nothing', 'do', $2, 'default', $3::smallint, null, null, 'test')",
            self.owner, steps.planned([step]), priority,
        )  # fmt: skip
        return int(made)

    async def behind(self) -> list[int]:
        """Tasks whose step is claimed and has not begun."""
        rows = await self.db.fetch("select task_id from steps where status = 'running' order by task_id")
        return [row["task_id"] for row in rows if row["task_id"] not in self.began]

    async def count(self, status: str) -> int:
        return int(await self.db.fetchval("select count(*) from steps where status = $1", status))


@pytest.fixture
async def crowd(db: Pool, database_url: str, redis_url: str) -> AsyncIterator[Crowd]:
    ring, lease = Ring.open(redis_url), Lease(db, database_url, lasts_s=FOREVER_S)
    await lease.take("test")
    made = Crowd(db, ring, lease, (await people.ensure_owner(db)).id)
    yield made
    made.let_go.set()
    await lease.leave()
    await ring.close()


@asynccontextmanager
async def at_work(crowd: Crowd) -> AsyncIterator[asyncio.Task[None]]:
    running = asyncio.create_task(crowd.executor.run())
    try:
        yield running
    finally:
        crowd.let_go.set()
        await crowd.executor.stop(grace_s=5)
        await running


@pytest.fixture
def without_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no reason to take a step for a slow one, or to give back what waits behind it."""
    monkeypatch.setattr(config, "QUICK_STEP_S", FOREVER_S)
    monkeypatch.setattr(config, "AHEAD_S", FOREVER_S)


@asynccontextmanager
async def queueing(crowd: Crowd) -> AsyncIterator[None]:
    """Of many steps one takes its time, and some of those behind it are claimed ahead and stay so."""
    for _ in range(TASKS):
        await crowd.task()
    crowd.is_to_hold = True
    async with at_work(crowd):
        await until(lambda: _holds(crowd), "one is held while others are claimed ahead")
        yield


@pytest.mark.usefixtures("without_haste")
async def test_quick_steps_of_one_slot_share_commits_and_each_runs_once(crowd: Crowd) -> None:
    made = [await crowd.task() for _ in range(TASKS)]
    async with at_work(crowd):
        await until(lambda: _is(crowd, "succeeded", TASKS), "all are done")
    commits = await crowd.db.fetchval(
        "select count(distinct at) from events where machine = 'step' and to_state = 'succeeded'"
    )
    assert sorted(crowd.began) == sorted(crowd.written) == made
    assert commits < TASKS


async def test_a_worker_whose_slots_are_all_taken_rests(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds, show_sign = 0, crowd.lease.show_sign

    async def counted() -> None:
        nonlocal rounds
        rounds += 1
        await show_sign()

    monkeypatch.setattr(crowd.lease, "show_sign", counted)
    monkeypatch.setattr(config, "IDLE_POLL_S", 0.1)
    async with queueing(crowd):
        before = rounds
        await asyncio.sleep(0.5)
        assert rounds - before < 20


@pytest.mark.usefixtures("without_haste")
async def test_what_has_ended_is_written_however_long_it_may_gather(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "SHARED_WITHIN_S", FOREVER_S)
    async with queueing(crowd):
        crowd.let_go.set()
        await until(lambda: _is(crowd, "succeeded", TASKS), "all are done")
    assert sorted(crowd.began) == sorted(crowd.written)


@pytest.mark.usefixtures("without_haste")
async def test_what_waits_behind_a_step_that_takes_its_time_is_given_back_with_its_attempt(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with queueing(crowd):
        monkeypatch.setattr(config, "AHEAD_S", 0.1)
        crowd.executor.poke()
        await until(lambda: _is(crowd, "running", 1), "only the slow one is held")
        given_back = await crowd.db.fetch("select attempt from steps where status = 'ready' and fence > 0")
        assert given_back
        assert {row["attempt"] for row in given_back} == {0}
        monkeypatch.setattr(config, "AHEAD_S", FOREVER_S)
        crowd.let_go.set()
        await until(lambda: _is(crowd, "succeeded", TASKS), "all are done")
    assert len(crowd.began) == len(set(crowd.began))


@pytest.mark.usefixtures("without_haste")
async def test_a_worker_that_stops_gives_back_what_it_claimed_ahead_at_once(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "HAND_BACK_AFTER_S", FOREVER_S)
    async with queueing(crowd):
        stopping = asyncio.create_task(crowd.executor.stop(grace_s=PATIENCE_S))
        await until(lambda: _is(crowd, "running", 1), "only what runs is held")
        crowd.let_go.set()
        await stopping
    assert await crowd.count("ready") == TASKS - len(crowd.began) > 0
    assert await crowd.db.fetchval("select max(attempt) from steps where status = 'ready'") == 0


@pytest.mark.usefixtures("without_haste")
async def test_a_task_stopped_while_its_step_is_claimed_ahead_never_runs(crowd: Crowd) -> None:
    async with queueing(crowd):
        ahead, *_ = await crowd.behind()
        await tasks.cancel(crowd.db, ahead, "test", "enough")
        await crowd.executor.check_cancels()
        crowd.let_go.set()
        await until(lambda: _is(crowd, "cancelled", 1), "it has ended")
        await until(lambda: _is(crowd, "succeeded", TASKS - 1), "the others are done")
    assert ahead not in crowd.began


async def test_a_worker_that_hears_from_the_sweeper_asks_for_no_steps_and_takes_those_it_is_told_of(
    crowd: Crowd, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "IDLE_POLL_S", 0.005)
    monkeypatch.setattr(config, "SWEEP_EVERY_S", 3600.0)
    asked: list[str] = []

    def note(query: LoggedQuery) -> None:
        if "claim_v1" in query.query:
            asked.append(query.query)

    pool = await open_pool(database_url, most=1)
    async with pool.acquire() as connection:
        connection.add_query_logger(note)
    crowd.executor = Executor(pool, crowd.ring, crowd.lease, crowd.carry, slots=1)
    async with at_work(crowd):
        await until(lambda: _has(asked, 3), "it asks on its own")
        crowd.executor.told(False)
        asked.clear()
        await asyncio.sleep(0.2)
        assert len(asked) <= 1, "one question may have been on its way"
        task = await crowd.task()
        crowd.executor.told(True)
        await until(lambda: _is(crowd, "succeeded", 1), "it is done")
    assert crowd.began == [task]
    await pool.close()


async def _has(asked: list[str], most: int) -> bool:
    return len(asked) >= most


async def _is(crowd: Crowd, status: str, wanted: int) -> bool:
    return await crowd.count(status) == wanted


async def _holds(crowd: Crowd) -> bool:
    return bool(crowd.held)


async def test_an_outcome_that_postgres_ends_as_a_deadlock_is_written_all_the_same(crowd: Crowd) -> None:
    task = await crowd.task()
    [step] = await steps.claim(crowd.db, crowd.lease.worker, "default", 1)
    async with crowd.db.acquire() as other, other.transaction():
        await other.execute("select from steps where task_id = $1 for update", task)
        writing = asyncio.create_task(outcome.write(crowd.db, crowd.ring, crowd.lease, step, Failed(error="no")))
        await until(lambda: _waits_for_a_lock(crowd), "the writer, which holds the task, waits for its step")
        await other.execute(
            "select from tasks where id = $1 for update", task
        )  # the writer has waited longer: it is ended
    await writing
    assert await crowd.count("failed") == 1


async def _waits_for_a_lock(crowd: Crowd) -> bool:
    return bool(
        await crowd.db.fetchval(
            "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())"
        )
    )
