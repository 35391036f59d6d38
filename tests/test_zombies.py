"""A worker that is stopped at some await and goes on after its lease: it neither calls nor writes, and says what it knows.

Stopped inside the test's process, at every await of a worker in an order, so that no lease has to be waited for; the
same with real processes and SIGSTOP is in test_recovery.py and, at random, in chaos. A call that had left before is
no call of the woken: its answer is kept as evidence and shown to who is asked.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core import config
from core.store import approvals
from tests.edges import Fault, Point
from tests.invariants import broken
from tests.patience import PATIENCE_S
from tests.processes import until
from tests.rehearsal import Process, World, open_world, shorten
from tests.test_crash_points import points_of
from worker.skills.addresses import Allowed
from worker.skills.errors import NotDone
from worker.skills.http_client import HttpClient

MOVES = ("claim_v1", "begin_v1", "park_v1", "complete_v1", "heartbeat_v1")
LONG_S = 30.0


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    monkeypatch.setattr(config, "EVIDENCE_WITHIN_S", LONG_S)  # on a busy machine the woken worker is slow to tell


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """Calls may take long: nobody gives one up while its worker sleeps."""
    async with open_world(database_url, tmp_path, timeout_s=LONG_S) as opened:
        yield opened


async def wake(world: World) -> Process:
    """The stopped worker goes on, and gives up: its lease is gone."""
    sleeper = world.sleepers.pop()
    sleeper.party.awake.set()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.wait([sleeper.running])
    return sleeper


async def written_by(world: World, worker: Process) -> int:
    """How many moves the rows know from this worker."""
    count: int = await world.db.fetchval("select count(*) from events where actor = $1", f"worker:{worker.number}")
    return count


async def awakes(world: World, point: Point, fault: Fault) -> str:
    """What is wrong after a worker slept there, another did its work, and it went on."""
    world.edges.arm(point, fault)
    task = await world.play()
    if not world.edges.was_hit:
        return ""
    [sleeper] = world.sleepers
    ledger, moves = list(world.shop.ledger), await written_by(world, sleeper)
    await wake(world)
    wrong = await broken(world.db, [task])
    done = Counter(what for what, key in world.shop.ledger if key.split(":")[1] == str(task) and what != "look")
    in_flight = fault == "asleep before" and point.edge == "provider"
    if world.shop.ledger != ledger and not in_flight:
        wrong.append(f"the woken worker called the shop: {world.shop.ledger[len(ledger) :]}")
    if await written_by(world, sleeper) != moves:
        wrong.append("the woken worker moved something")
    if set(done.values()) != {1} and not in_flight:
        wrong.append(f"the shop has {dict(done)}")
    await world.bury(sleeper)
    return "; ".join([*wrong, await world.told(task)]) if wrong else ""


@pytest.mark.parametrize("fault", ["asleep before", "asleep after"])
async def test_a_worker_that_awakes_after_its_lease_neither_calls_nor_writes(world: World, fault: Fault) -> None:
    every = [p for p in await points_of(world) if p.party == "worker" and p.k <= 2]
    points = [p for p in every if p.what in MOVES or (fault == "asleep after" and p.edge == "provider")]
    print(f"{len(points)} awaits slept through: {fault}")
    wrong = [f"{point} {fault}: {said}" for point in points if (said := await awakes(world, point, fault))]
    assert not wrong, f"{len(wrong)} of {len(points)} points:\n" + "\n".join(wrong[:5])
    assert len(points) >= 8


async def test_what_the_woken_worker_knows_is_shown_to_who_is_asked(world: World) -> None:
    """It made the call, slept before the answer, and reads it now."""
    world.edges.arm(Point("worker", "provider", "confirm", 1), "asleep after")
    task = await world.say("run order")

    async def question() -> Any:
        await world.mend()
        asked = await world.asked(task)
        for approval in asked:
            if approval["kind"] == "unknown":
                return approval
            await world.answer(approval)
        return None

    asked = await until(question, "people are asked whether it happened")
    await world.bury(await wake(world))
    shown = await approvals.whole(world.db, str(asked["id"]))
    assert shown is not None and [late["summary"] for late in shown["late"]] == ["confirm chair"]

    async def is_on_card() -> bool:
        return any("Its worker said late" in str(card) for card in world.chat.shown.values())

    await until(is_on_card, "the card shows it")
    assert await world.db.fetchval("select status from steps where task_id = $1 and n = 5", task) == "unknown"
    await world.answer(asked)
    await until(lambda: _ended(world, task), "the task goes on")
    assert [what for what, _ in world.shop.ledger].count("confirm") == 1


async def _ended(world: World, task: int) -> bool:
    return bool(await world.db.fetchval("select status = 'succeeded' from tasks where id = $1", task))


async def test_the_begun_call_of_a_worker_that_slept_before_it_is_said_not_to_have_been_made(world: World) -> None:
    """Its intent was committed while it slept; the lease is looked at once more before the call."""
    world.edges.arm(Point("worker", "database", "begin_v1", 1), "asleep after")
    task = await world.play()
    await world.bury(await wake(world))
    said = await world.db.fetch("select evidence ->> 'said' as said from late_evidence where task_id = $1", task)
    assert [row["said"] for row in said] == ["the lease ended before the call; it was not made"]
    assert Counter(what for what, _ in world.shop.ledger)["label"] == 1


async def test_a_request_asks_for_the_lease_in_the_last_moment_before_it_leaves() -> None:
    """Looking the name up may have taken long, or the worker was stopped in between."""
    heard = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    asked: list[bool] = []

    def may_call() -> bool:
        asked.append(True)
        return False

    client = HttpClient(Allowed.parse(["127.0.0.1"])).guarded(may_call)
    with pytest.raises(NotDone, match="lease had ended"):
        await client.request("POST", f"http://127.0.0.1:{port}/", body=b"pay")
    assert asked and heard in ([], [b""])
    server.close()
