"""Every await of a six-step order, spoilt once in each way: not made, made but the answer lost, the process killed on
either side of it, and hanging until its limit.

The first plays list the points; each is then spoilt in a play of its own, after which a fresh worker or bot goes on
where one was killed. At the shop's own ledger nothing is missing and nothing is there twice; the rows keep every
invariant; people are asked only about a call that was really in flight. By default each await is spoilt in one
way, and the first of each move and call also in the two ways that reveal most; `SAYSO_SWEEP=all` spoils every await in
every way.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.edges import FAULTS, Fault, Point
from tests.invariants import broken, holds_text
from tests.rehearsal import SECRET, World, open_world, shorten

IS_WHOLE = os.environ.get("SAYSO_SWEEP") == "all"
# Of awaits that are made over and over, only the first ones are spoilt: polls, heartbeats, edits of cards.
OFTEN, OF_OFTEN = (1000, 1000) if IS_WHOLE else (6, 2)
MOVES = ("take_orders_v1", "claim_v1", "park_v1", "decide_v1", "begin_v1", "complete_v1", "complete_many_v1", "commit;")
CALLS = ("look", "label", "pay", "book", "confirm", "chat post")
REVEALING: tuple[Fault, ...] = ("lost", "killed after")
# Where a call may be in flight when its answer is lost: only then, or when its worker is killed, is anybody asked.
IN_FLIGHT = ("pay", "confirm", "begin_v1", "complete_v1")

MET_LEAST = 0.75
PLAYS_MOST = 4


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path) as opened:
        yield opened


async def points_of(world: World) -> list[Point]:
    """Those that every play meets."""
    met: list[set[Point]] = []
    for _ in range(3):
        world.edges.arm(None)
        await world.play()
        met.append(set(world.edges.seen))
    often = Counter((p.party, p.edge, p.what) for p in met[0])
    return sorted(p for p in set.intersection(*met) if often[p[:3]] <= OFTEN or p.k <= OF_OFTEN)


async def survives(world: World, point: Point, fault: Fault) -> str:
    """What is wrong after a play in which this point was spoilt; empty when nothing is."""
    world.edges.arm(point, fault)
    task = await world.play()
    wrong = await broken(world.db, [task], delivered=True)
    row = await world.db.fetchrow("select status, error from tasks where id = $1", task)
    if row["status"] != "succeeded":
        wrong.append(f"it ended as {row['status']}: {row['error']}")
    done = Counter(what for what, key in world.shop.ledger if key.split(":")[1] == str(task))
    looked = done.pop("look", 0)
    if done != {"label": 1, "pay": 1, "book": 1, "confirm": 1} or looked < 2:
        wrong.append(f"the shop has {dict(done)} and was looked at {looked} times")
    asked = await world.db.fetchval("select count(*) from approvals where task_id = $1 and kind = 'unknown'", task)
    if asked > (point.party == "worker" and (point.what in IN_FLIGHT or fault.startswith("killed"))):
        wrong.append(f"people were asked {asked} times whether it happened")
    return "; ".join([*wrong, await world.told(task)]) if wrong else ""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.replace(" ", "-"))
async def test_an_order_survives_each_of_its_awaits(world: World, fault: Fault) -> None:
    every = await points_of(world)
    unseen = {*MOVES, *CALLS} - {point.what for point in every}
    assert not unseen, f"the edges are not seen any more: {unseen}"
    points = [
        point
        for i, point in enumerate(every)
        if IS_WHOLE
        or FAULTS[i % len(FAULTS)] == fault
        or (fault in REVEALING and point.k == 1 and point.what in MOVES + CALLS)
    ]
    hit, wrong = 0, []
    for point in points:
        for _ in range(PLAYS_MOST):
            if said := await survives(world, point, fault):
                wrong.append(f"{point} {fault}: {said}")
            if world.edges.was_hit:
                hit += 1
                break
    print(f"{hit} of {len(points)} awaits spoilt: {fault}; {world.deaths} deaths")
    assert not wrong, f"{len(wrong)} of {len(points)} points:\n" + "\n".join(wrong[:5])
    # An edit that shows nothing new is left out, so that not each order comes by each await, however often it is played.
    assert hit > MET_LEAST * len(points), f"only {hit} of {len(points)} points were met again"
    assert world.deaths >= (MET_LEAST * len(points) if fault.startswith("killed") else 0)
    assert await holds_text(world.db, SECRET) == []
