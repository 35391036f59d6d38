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
from tests.processes import until
from worker import outcome
from worker.executor import Executor, Hold, Shareable
from worker.lease import Lease

QUICK = 30
LEASE_S = 3600.0  # nobody renews it


@dataclass
class Crowd:
    """One executor with one slot whose steps do nothing, but for those of `held` tasks, which wait to be let go."""

    db: Pool
    ring: Ring
    lease: Lease
    owner: int
    held: set[int] = field(default_factory=set)
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
        if step.task_id in self.held:
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

    async def count(self, status: str) -> int:
        return int(await self.db.fetchval("select count(*) from steps where status = $1", status))


@pytest.fixture
async def crowd(db: Pool, database_url: str, redis_url: str) -> AsyncIterator[Crowd]:
    ring, lease = Ring.open(redis_url), Lease(db, database_url, lasts_s=LEASE_S)
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


@asynccontextmanager
async def queueing(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Quick steps are done, a slow one runs, and some of the hundred behind it are claimed ahead and stay so."""
    monkeypatch.setattr(config, "AHEAD_S", 3600.0)
    for _ in range(QUICK):
        await crowd.task()
    crowd.held = {await crowd.task()}
    for _ in range(100):
        await crowd.task()
    async with at_work(crowd):
        await until(lambda: _is(crowd, "succeeded", QUICK), "those before the slow one are done")
        await until(lambda: _more(crowd, "running", 1), "some are claimed ahead")
        yield


async def test_quick_steps_of_one_slot_share_commits_and_each_runs_once(crowd: Crowd) -> None:
    made = [await crowd.task() for _ in range(150)]
    async with at_work(crowd):
        await until(lambda: _is(crowd, "succeeded", 150), "all are done")
    commits = await crowd.db.fetchval(
        "select count(distinct at) from events where machine = 'step' and to_state = 'succeeded'"
    )
    assert sorted(crowd.began) == sorted(crowd.written) == made
    assert commits < 75


async def test_what_waits_behind_a_step_that_takes_its_time_is_given_back_with_its_attempt(crowd: Crowd) -> None:
    quick = [await crowd.task() for _ in range(30)]
    slow = await crowd.task()
    behind = [await crowd.task() for _ in range(200)]
    crowd.held = {slow}
    async with at_work(crowd):
        await until(lambda: _is(crowd, "succeeded", len(quick)), "those before it are done")
        await until(lambda: _is(crowd, "running", 1), "only the slow one is held")
        given_back = await crowd.db.fetch(
            "select attempt, fence from steps where task_id = any ($1) and fence > 0", behind
        )
        assert given_back
        assert {row["attempt"] for row in given_back} == {0}
        assert await crowd.count("ready") == len(behind)
        crowd.let_go.set()
        await until(lambda: _is(crowd, "succeeded", len(quick) + 1 + len(behind)), "all are done")
    assert len(crowd.began) == len(set(crowd.began))


async def test_a_worker_that_stops_gives_back_what_it_claimed_ahead_at_once(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with queueing(crowd, monkeypatch):
        stopping = asyncio.create_task(crowd.executor.stop(grace_s=30))
        await until(lambda: _is(crowd, "running", 1), "only what runs is held")
        crowd.let_go.set()
        await stopping
    assert await crowd.count("ready") == 100
    assert await crowd.db.fetchval("select max(attempt) from steps where status = 'ready'") == 0


async def test_a_task_stopped_while_its_step_is_claimed_ahead_never_runs(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with queueing(crowd, monkeypatch):
        ahead = await crowd.db.fetchval(
            "select min(task_id) from steps where status = 'running' and not task_id = any ($1)", list(crowd.held)
        )
        await tasks.cancel(crowd.db, ahead, "test", "enough")
        await crowd.executor.check_cancels()
        crowd.let_go.set()
        await until(lambda: _is(crowd, "cancelled", 1), "it has ended")
        await until(lambda: _is(crowd, "succeeded", QUICK + 100), "the others are done")
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


async def _more(crowd: Crowd, status: str, than: int) -> bool:
    return await crowd.count(status) > than
