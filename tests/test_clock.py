"""Clocks that jump: the decisions' clock forward and back, and a worker's wall clock set to another year.

Timers and deadlines follow `sayso_now()`, leases the database's own clock, and the worker's local deadline a clock that
nobody sets: no jump makes a no into a yes, ends a lease early or makes one last.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.db import Pool
from core.models import EffectClass
from core.store import approvals, clock, signals, steps
from tests.invariants import broken
from tests.rehearsal import World, open_world, shorten
from tests.test_children import claimed, waiting
from tests.test_gate_paths import Desk, desk  # noqa: F401  (a fixture)
from worker.lease import Lease, boot_clock_s

HOUR = timedelta(hours=1)


async def test_a_timer_that_was_set_before_the_clock_went_back_waits_and_is_not_lost(desk: Desk) -> None:  # noqa: F811
    await clock.move(desk.db, HOUR)
    task = await desk.task(EffectClass.PURE)
    assert await signals.wait(desk.db, desk.worker, await desk.claim(), "a timer", seconds=60, within_s=3600)
    await clock.move(desk.db, -HOUR)
    assert await steps.due_timers(desk.db) == [], "the time has not come again"
    await clock.move(desk.db, HOUR + timedelta(seconds=61))
    assert (task, 1) in [tuple(due) for due in await steps.due_timers(desk.db)]
    assert await steps.wake(desk.db, task, 1)
    assert await broken(desk.db) == []


async def test_a_step_that_was_ready_before_the_clock_went_back_is_still_taken_when_its_time_comes(desk: Desk) -> None:  # noqa: F811
    await clock.move(desk.db, HOUR)
    await desk.task(EffectClass.PURE)
    await clock.move(desk.db, timedelta(0))
    assert await steps.claim(desk.db, desk.worker, "default", 10) == []
    await clock.move(desk.db, HOUR + timedelta(seconds=1))
    assert len(await steps.claim(desk.db, desk.worker, "default", 10)) == 1


async def test_an_approval_expires_by_the_decisions_clock_and_never_comes_back(desk: Desk) -> None:  # noqa: F811
    task = await desk.task(EffectClass.UNSAFE)
    approval = await desk.park(await desk.claim())
    assert approval is not None
    await clock.move(desk.db, timedelta(days=2))
    for due in await approvals.due(desk.db):
        assert await approvals.expire(desk.db, due)
    await clock.move(desk.db, -timedelta(days=2))
    assert (await desk.decide(approval, "approve"))["kind"] != "accepted", "an expired approval was revived"
    assert await desk.status(task) == "abandoned"


async def test_a_yes_that_ran_out_by_a_jump_before_the_action_began_is_no_yes(desk: Desk) -> None:  # noqa: F811
    await desk.task(EffectClass.UNSAFE)
    approval = await desk.park(await desk.claim())
    assert approval is not None
    assert (await desk.decide(approval, "approve"))["kind"] == "accepted"
    step = await desk.claim()
    await clock.move(desk.db, timedelta(days=2))
    assert await desk.begin(step, approval) == "expired"
    assert await desk.db.fetchval("select count(*) from effects") == 0


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
async def test_an_event_for_whoever_waits_reaches_a_task_that_began_after_the_clock_moved(
    db: Pool, jump: timedelta
) -> None:
    await clock.move(db, jump)
    worker = await steps.enrol(db, "host", 1, "test", 3600)
    before = await signals.send_to_all(db, "paid", {}, origin="untrusted", sender=None, dedup=None)
    task, (step,) = await claimed(db, worker, waiting())
    assert before and await signals.wait(db, worker, step, "event", seconds=None, within_s=60, key="paid") == "waiting"
    assert await signals.arrived(db) == []
    assert await signals.send_to_all(db, "paid", {}, origin="untrusted", sender=None, dedup=None)
    assert await signals.arrived(db) == [(task, 1)]


@pytest.mark.parametrize("jump", [timedelta(days=400), -timedelta(days=400)], ids=["forward", "back"])
async def test_a_jump_of_the_decisions_clock_ends_no_lease_and_lengthens_none(db: Pool, jump: timedelta) -> None:
    lease = Lease(db, await dsn_of(db))
    worker = await lease.take("test")
    try:
        await clock.move(db, jump)
        assert await lease.beat() == []
        left = await db.fetchval("select extract(epoch from lease_until - now()) from workers where id = $1", worker)
        assert 0 < left <= 15
        assert await db.fetchval("select is_alive($1)", worker) and lease.is_good()
    finally:
        await lease.leave()


async def test_a_workers_wall_clock_plays_no_part_in_its_lease(db: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sets the machine's time to another year, in the middle of a lease."""
    lease = Lease(db, await dsn_of(db))
    worker = await lease.take("test")
    try:
        for jumped_s in (10.0**9, -(10.0**9)):
            at = time.time() + jumped_s
            monkeypatch.setattr(time, "time", lambda at=at: at)
            assert lease.is_good()
            await lease.beat()
            assert await db.fetchval("select lease_until - now() <= interval '15 s' from workers where id = $1", worker)
    finally:
        monkeypatch.undo()
        await lease.leave()


async def test_the_local_deadline_counts_from_before_the_heartbeat_was_sent(db: Pool) -> None:
    """However long the database took to answer: this side believes in less time than it was granted."""
    ticks = iter([100.0, 100.0, 114.0, 116.0, 200.0])
    lease = Lease(db, await dsn_of(db), clock=lambda: next(ticks))
    await lease.take("test")
    try:
        assert lease.is_good()
        assert lease.is_good(), "14 s after it was asked for, the lease of 15 s lasts"
        assert not lease.is_good(), "16 s after it was asked for it is over here, whatever the database says"
    finally:
        await lease.leave()


def test_the_clock_of_leases_is_one_that_nobody_sets() -> None:
    first = boot_clock_s()
    assert first <= boot_clock_s()
    assert abs(first - time.time()) > 86400, "that is the wall clock"


@pytest.fixture
async def world(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    shorten(monkeypatch)
    async with open_world(database_url, tmp_path) as opened:
        yield opened


async def test_an_order_during_which_the_clock_jumps_forward_and_back_ends_as_it_should(world: World) -> None:
    """By minutes, less than an approval lasts: time is late or early, nothing is done twice and nothing is lost."""
    for minutes in (7, -7, 0, 30, -30):
        task = await world.say("run order")
        await clock.move(world.db, timedelta(minutes=minutes))
        while not await world.db.fetchval("select finished_at is not null from tasks where id = $1", task):
            await world.mend()
            for approval in await world.asked(task):
                await world.answer(approval)
            await world.hurry(task)
        assert await broken(world.db, [task]) == []
        done = [what for what, key in world.shop.ledger if key.split(":")[1] == str(task)]
        assert sorted(done) == ["book", "confirm", "label", "look", "look", "pay"]


async def dsn_of(db: Pool) -> str:
    name, folder = await db.fetchval("select current_database()"), await db.fetchval("show unix_socket_directories")
    user = await db.fetchval("select current_user")
    return f"postgresql://{user}@/{name}?host={folder}"
