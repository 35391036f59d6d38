"""Many hands on one approval at the same moment, over a real pool: one decision each, everyone else is told.

Three channels, two owners, and time itself press, cancel and expire. What must hold is read from the rows: one terminal
state, decided by one, the step moved once, and nothing begun that was not approved.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core import intake
from core.branches import CannotBranch
from core.db import Pool, open_pool
from core.models import Accepted, AlreadyDecided, Channel, Decided, Identity, Inbound, Place, Press, TooLate
from core.store import approvals, people, steps, tasks
from core.store.people import Principal, Wanted
from tests.invariants import broken
from tests.patience import PATIENCE_S
from tests.web_house import House, open_house

APPROVALS = 60
PRESSES = 24
POOL = 24
IDENTITIES = {
    "ann": (("web", "ann"), ("slack", "T0ACME/U01ANN"), ("telegram", "1001")),
    "bob": (("web", "bob"), ("slack", "T0ACME/U02BOB"), ("telegram", "1002")),
}


@pytest.fixture
async def wide(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    """A house whose pool lets many decide at once, with two owners who are in three chats each."""
    pool = await open_pool(database_url, most=POOL)
    async with open_house(pool, tmp_path / "home") as house:
        await people.sync(pool, [Wanted(key, key.title(), ("owner",), False, ids) for key, ids in IDENTITIES.items()])
        yield house
    await asyncio.wait_for(pool.close(), PATIENCE_S)


async def ann(house: House) -> Principal:
    found = await people.by_key(house.db, "ann")
    assert found is not None
    return found


def press(house: House, approval: str, owner: str, place: int, verdict: Any) -> asyncio.Task[Decided]:
    channel, external_id = IDENTITIES[owner][place % 3]
    sender = Identity(channel=Channel(channel), external_id=external_id)
    return asyncio.create_task(
        intake.press(
            house.deps,
            Press(
                channel=sender.channel, delivery_id=uuid.uuid4().hex, sender=sender, approval_id=approval,
                verdict=verdict,
            ),
        )
    )  # fmt: skip


async def rows(db: Pool, query: str, *args: object) -> list[dict[str, Any]]:
    return [dict(row) for row in await db.fetch(query, *args)]


async def test_of_24_presses_on_each_of_60_approvals_one_decides_and_the_others_are_told(wide: House) -> None:
    requester = await ann(wide)
    asked = [await wide.ask(requester) for _ in range(APPROVALS)]
    order = [(approval, i) for _, approval in asked for i in range(PRESSES)]
    random.Random(7).shuffle(order)
    verdicts = ("approve", "deny")
    answers = await asyncio.gather(
        *(press(wide, approval, ("ann", "bob")[i % 2], i // 2, verdicts[i % 4 // 2]) for approval, i in order)
    )

    assert len(answers) == APPROVALS * PRESSES
    assert Counter(type(answer).__name__ for answer in answers) == {
        "Accepted": APPROVALS,
        "AlreadyDecided": APPROVALS * (PRESSES - 1),
    }
    decided = await rows(wide.db, "select id, status, decided_by from approvals")
    assert len(decided) == APPROVALS
    assert {row["status"] for row in decided} == {"approved", "denied"}
    assert all(row["decided_by"] for row in decided)
    by_approval = {str(row["id"]): row["status"] for row in decided}
    told = [answer for answer in answers if isinstance(answer, AlreadyDecided)]
    assert all(answer.status == by_approval[answer.approval_id] and answer.by in ("Ann", "Bob") for answer in told)
    assert await wide.db.fetchval("select count(*) from decisions") == APPROVALS
    assert await wide.db.fetchval("select count(*) from inbound where kind = 'press'") == APPROVALS * PRESSES
    ended = Counter(row["status"] for row in await rows(wide.db, "select status from steps"))
    statuses = Counter(by_approval.values())
    assert ended == {"ready": statuses["approved"], "skipped": statuses["denied"]}


async def test_the_same_delivery_pressed_24_times_at_once_votes_once(wide: House) -> None:
    _, approval = await wide.ask(await ann(wide), needed=2)
    pressed = Press(
        channel=Channel.SLACK, delivery_id="d-1", approval_id=approval, verdict="approve",
        sender=Identity(channel=Channel.SLACK, external_id="T0ACME/U01ANN"),
    )  # fmt: skip
    answers = await asyncio.gather(*(intake.press(wide.deps, pressed) for _ in range(PRESSES)))
    assert {(type(answer).__name__, getattr(answer, "status", "")) for answer in answers} <= {
        ("Accepted", "pending"),
        ("AlreadyDecided", "pending"),
    }
    assert await wide.db.fetchval("select count(*) from decisions") == 1


async def test_two_owners_on_three_channels_are_two_votes_not_six(wide: House) -> None:
    asked = [await wide.ask(await ann(wide), needed=2) for _ in range(10)]
    await asyncio.gather(
        *(press(wide, approval, owner, i, "approve") for _, approval in asked for owner in IDENTITIES for i in range(6))
    )
    assert await wide.db.fetchval("select count(*) from approvals where status = 'approved'") == 10
    assert await wide.db.fetchval("select count(*) from decisions") == 20
    per_person = await rows(
        wide.db, "select approval_id from decisions group by approval_id, principal_id having count(*) > 1"
    )
    assert per_person == []


async def test_decide_cancel_and_expire_at_once_leave_one_terminal_state(wide: House) -> None:
    requester = await ann(wide)
    asked = [await wide.ask(requester, expires_in_s=60) for _ in range(APPROVALS)]
    few = asyncio.Semaphore(6)

    async def expire(approval: str) -> Any:
        key = approvals.parse_id(approval)
        assert key is not None
        return await approvals.expire(wide.db, key)

    async def cancel(task: int) -> Any:
        return await intake.control(wide.deps, requester, task, "stop")

    async def race(i: int) -> None:
        task, approval = asked[i]
        async with few:
            if i == APPROVALS // 2:
                await pass_an_hour(wide.db)
            moves: list[Any] = [press(wide, approval, "bob", i, "approve"), press(wide, approval, "ann", i, "deny")]
            moves.append(asyncio.create_task(expire(approval)))
            if i % 2:
                moves.insert(i % 3, asyncio.create_task(cancel(task)))
            answers = [answer for answer in await asyncio.gather(*moves) if isinstance(answer, Decided)]
        assert len(answers) == 2
        assert sum(isinstance(answer, Accepted) for answer in answers) <= 1
        assert all(isinstance(answer, Accepted | AlreadyDecided | TooLate) for answer in answers)

    await asyncio.gather(*(race(i) for i in range(APPROVALS)))

    for row in await rows(
        wide.db,
        "select a.status, a.decided_by, s.status as step, t.status as task, s.n, (select count(*) from decisions d"
        " where d.approval_id = a.id and d.verdict <> 'stop') as votes from approvals a"
        " join steps s on s.task_id = a.task_id and s.n = a.n join tasks t on t.id = a.task_id",
    ):
        follows = {
            "approved": {"ready"},
            "denied": {"skipped"},
            "expired": {"skipped"},
            "cancelled": {"cancelled"},
        }
        assert row["step"] in follows[row["status"]], row
        assert row["votes"] == (1 if row["decided_by"] else 0), row
        assert (row["task"] == "running") == (row["status"] == "approved"), row
    assert await wide.db.fetchval("select count(*) from effects") == 0


async def test_decide_decide_cancel_expire_retry_and_pause_at_once_leave_one_story(wide: House) -> None:
    """Seven moves on one task at the same moment, eighty times: the rows tell one story, and nothing began unasked."""
    requester = await ann(wide)
    asked = [await wide.ask(requester, expires_in_s=60) for _ in range(40)]
    await pass_an_hour(wide.db)
    fresh = [await wide.ask(requester) for _ in range(40)]
    few = asyncio.Semaphore(6)

    async def race(i: int, task: int, approval: str) -> None:
        key = approvals.parse_id(approval)
        assert key is not None
        moves: list[Any] = [
            lambda: press(wide, approval, "bob", i, "approve"),
            lambda: press(wide, approval, "ann", i + 1, ("deny", "approve")[i % 2]),
            lambda: asyncio.create_task(intake.control(wide.deps, requester, task, "stop")),
            lambda: asyncio.create_task(approvals.expire(wide.db, key)),
            lambda: asyncio.create_task(tasks.retry(wide.db, task, requester.actor)),
            lambda: asyncio.create_task(tasks.pause(wide.db, task, requester.actor)),
            lambda: asyncio.create_task(tasks.resume(wide.db, task, requester.actor)),
        ]
        random.Random(i).shuffle(moves)
        async with few:
            answers = await asyncio.gather(*(move() for move in moves), return_exceptions=True)
        broke = [answer for answer in answers if isinstance(answer, BaseException)]
        assert not broke, broke

    await asyncio.gather(*(race(i, task, approval) for i, (task, approval) in enumerate([*asked, *fresh])))
    for task, _ in [*asked, *fresh]:
        await tasks.resume(wide.db, task, requester.actor)
    assert await broken(wide.db) == []
    assert await wide.db.fetchval("select count(*) from effects") == 0
    decided = await rows(wide.db, "select status, count(*) as n from approvals group by status")
    assert sum(row["n"] for row in decided) >= 80
    assert not [row for row in decided if row["status"] == "pending"], "somebody pressed and nothing came of it"


async def pass_an_hour(db: Pool) -> None:
    await db.execute("insert into clock (ahead) values (interval '1 hour')")


async def test_begin_against_cancel_begins_or_is_cancelled_never_both(wide: House) -> None:
    """An approval is consumed at most once, and only by the digest that was approved."""
    requester = await ann(wide)
    asked = [await wide.ask(requester) for _ in range(30)]
    for _, approval in asked:
        assert isinstance(await press(wide, approval, "bob", 0, "approve"), Accepted)
    claimed = {s.task_id: s for s in await claim_all(wide)}
    assert len(claimed) == 30

    async def begin(task: int, approval: str) -> str:
        return await steps.begin(
            wide.db, wide.worker, claimed[task], key=f"k{task}", digest="3f9a" + "0" * 60, action={},
            approval=approval, grant=None,
        )  # fmt: skip

    async def one(task: int, approval: str) -> tuple[str, str, str]:
        return await asyncio.gather(
            begin(task, approval), intake.control(wide.deps, requester, task, "stop"), begin(task, approval)
        )

    answers = await asyncio.gather(*(one(task, approval) for task, approval in asked))
    found = await rows(
        wide.db,
        "select a.task_id, a.status, t.status as task, s.cancel_asked,"
        " (select count(*) from effects e where e.task_id = a.task_id) as begun"
        " from approvals a join tasks t on t.id = a.task_id join steps s on s.task_id = a.task_id",
    )
    states = {row["task_id"]: row for row in found}
    for (task, _), (first, _said, second) in zip(asked, answers, strict=True):
        went = "go" in (first, second)
        assert states[task]["begun"] == went
        assert states[task]["status"] == ("consumed" if went else "cancelled")
        assert states[task]["task"] == "cancelling"
        assert states[task]["cancel_asked"]


async def claim_all(house: House) -> list[Any]:
    took: list[Any] = []
    while more := await steps.claim(house.db, house.worker, "default", 16):
        took += more
    return took


async def test_approve_deny_edit_and_another_plan_at_once_leave_one_story(wide: House) -> None:
    """The plan is put back by who asked while it is decided on and edited: nothing runs that nobody said yes to."""
    requester = await ann(wide)
    asked = [await wide.ask(requester) for _ in range(40)]
    few = asyncio.Semaphore(6)

    def edit(approval: str, owner: str) -> asyncio.Task[Decided]:
        channel, external_id = IDENTITIES[owner][0]
        sender = Identity(channel=Channel(channel), external_id=external_id)
        changed = Press(
            channel=sender.channel, delivery_id=uuid.uuid4().hex, sender=sender, approval_id=approval, verdict="edit",
            args={"paths": ["other.log"]},
        )  # fmt: skip
        return asyncio.create_task(intake.press(wide.deps, changed))

    def replan(task: int, i: int) -> asyncio.Task[Any]:
        words = Inbound(
            channel=Channel.WEB, delivery_id=f"back-{i}", sender=Identity(channel=Channel.WEB, external_id="ann"),
            place=Place(channel=Channel.WEB, external_id="ann", private=True), text=f"rollback {task} 1",
        )  # fmt: skip
        return asyncio.create_task(intake.roll_back(wide.deps, requester, words, task, "1"))

    async def race(i: int, task: int, approval: str) -> None:
        moves: list[Any] = [
            lambda: press(wide, approval, "bob", i, "approve"),
            lambda: press(wide, approval, "ann", i + 1, "deny"),
            lambda: edit(approval, "bob"),
            lambda: replan(task, i),
        ]
        random.Random(i).shuffle(moves)
        async with few:
            answers = await asyncio.gather(*(move() for move in moves), return_exceptions=True)
        broke = [a for a in answers if isinstance(a, BaseException) and not isinstance(a, CannotBranch)]
        assert not broke, broke

    await asyncio.gather(*(race(i, task, approval) for i, (task, approval) in enumerate(asked)))
    assert await broken(wide.db) == []
    assert await wide.db.fetchval("select count(*) from effects") == 0
    unasked = (
        "select count(*) from steps s join approvals a on a.id = s.approval_id"
        " where s.status = 'ready' and a.status = 'pending'"
    )
    assert await wide.db.fetchval(unasked) == 0


async def test_a_press_whose_caller_gave_up_counts_once_however_often_it_is_made_again(wide: House) -> None:
    requester = await ann(wide)
    asked = [await wide.ask(requester) for _ in range(30)]
    chance = random.Random(11)

    async def impatient(i: int, approval: str) -> Decided:
        first = press(wide, approval, "bob", i, "approve")
        await asyncio.wait((first,), timeout=chance.random() * 0.02)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        return await press(wide, approval, "bob", i + 1, "approve")

    answers = await asyncio.gather(*(impatient(i, approval) for i, (_, approval) in enumerate(asked)))
    assert all(isinstance(answer, Accepted | AlreadyDecided) for answer in answers)
    votes = await rows(wide.db, "select count(*) as n from decisions group by approval_id")
    assert [row["n"] for row in votes] == [1] * 30
    assert await wide.db.fetchval("select count(*) from steps where status = 'ready'") == 30
