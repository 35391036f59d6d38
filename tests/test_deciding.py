"""Every answer that a card takes, on real rows: who counts, what a vote is worth, and what each answer leaves behind."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from typing import Any

import pytest

from core import predicate
from core.db import Pool, transaction
from core.digest import list_digest
from core.models import Claimed, EffectClass, PlannedStep
from core.state import VERDICTS_OF
from core.store import approvals, clock, grants, people, signals, steps, tasks
from core.store.people import Principal, Wanted
from tests.processes import until
from tests.web_house import MANIFESTS

NUMBERS = itertools.count(1)


class Desk:
    """One worker, people by key, and tasks whose steps ask."""

    def __init__(self, db: Pool, worker: int, who: dict[str, Principal]) -> None:
        self.db, self.worker, self.who = db, worker, who

    async def task(self, count: int = 1, by: str = "ann") -> int:
        made = await tasks.create(
            self.db,
            requester=self.who[by].id,
            goal="do it",
            kind="do",
            actor=self.who[by].actor,
            steps=[
                PlannedStep(
                    n=n, kind="act", skill="files.delete", effect_class=EffectClass.UNSAFE, args={"paths": ["a"]}
                )
                for n in range(1, count + 1)
            ],
        )
        assert made is not None
        return made

    async def claim(self) -> list[Claimed]:
        return sorted(await steps.claim(self.db, self.worker, "default", 16), key=lambda s: (s.task_id, s.n))

    async def park(
        self, step: Claimed, *, needed: int = 1, four_eyes: bool = False, roles: tuple[str, ...] = ("owner",),
        digest: str = "", risk: str = "high", provenance: tuple[str, ...] = (), action_hash: str = "",
    ) -> str:  # fmt: skip
        digest = digest or f"d{step.task_id}.{step.n}"
        action = {"skill": "files.delete", "version": "1", "schema_hash": "h", "args": {"paths": ["a"]}}
        card = {"title": f"Delete {step.n}", "reasons": ["It deletes."], "provenance": list(provenance), "risk": risk}
        item = {
            "task": str(step.task_id), "step": step.n, "digest": digest, "action_hash": action_hash, "action": action,
            "card": card,
        }  # fmt: skip
        ask = {
            "kind": "action", "items": [item], "digest": digest, "action_hash": action_hash, "ladder": "default", "card": card,
            "expires_in_s": 3600,
            "approvers": {"people": [], "roles": list(roles), "needed": needed, "four_eyes": four_eyes, "veto": True},
        }  # fmt: skip
        made = await steps.park(self.db, self.worker, step, ask, [], "risky")
        assert made is not None
        return made

    async def asked(self, by: str = "ann", **more: Any) -> str:
        task = await self.task(by=by)
        [step] = [s for s in await self.claim() if s.task_id == task]
        return await self.park(step, **more)

    async def say(
        self, approval: str, who: str, verdict: str, digest: str | None = None, **more: Any
    ) -> dict[str, Any]:
        return await approvals.decide(
            self.db, principal=self.who[who].id, approval=approval, verdict=verdict, digest=digest, reason="", channel="web",
            delivery_id=f"p{next(NUMBERS)}", more=more,
        )  # fmt: skip

    async def row(self, approval: str) -> dict[str, Any]:
        found = await approvals.whole(self.db, approval)
        assert found is not None
        return found

    async def status(self, approval: str) -> str:
        return str((await self.row(approval))["status"])

    async def step(self, task: int, n: int = 1) -> dict[str, Any]:
        shown = await tasks.whole(self.db, task)
        assert shown is not None
        found: dict[str, Any] = shown["steps"][n - 1]
        return found

    async def begin(self, step: Claimed, approval: str | None, digest: str = "", grant: str | None = None) -> str:
        action = {"skill": "files.delete", "version": "1", "schema_hash": "h", "args": {"paths": ["a"]}}
        return await steps.begin(
            self.db, self.worker, step, key=f"sayso:{step.task_id}:{step.n}:{step.gen}",
            digest=digest or f"d{step.task_id}.{step.n}", action=action, approval=approval, grant=grant,
        )  # fmt: skip


PEOPLE = {
    "ann": ("owner",), "bob": ("owner",), "carl": ("owner",), "dora": ("engineer",), "emil": ("engineer",), "fay": (),
}  # fmt: skip


@pytest.fixture
async def desk(db: Pool) -> Desk:
    wanted = [Wanted(key, key.title(), roles, False, (("web", key),)) for key, roles in PEOPLE.items()]
    await people.sync(db, [*wanted, Wanted("robot", "Robot", ("owner",), True, ())])
    who = {key: await people.by_key(db, key) for key in (*PEOPLE, "robot")}
    return Desk(db, await steps.enrol(db, "test", 1, "test", 3600), {k: p for k, p in who.items() if p is not None})


async def test_the_answers_of_each_kind_are_the_same_here_and_in_the_database(db: Pool) -> None:
    found = {kind: tuple(await db.fetchval("select verdicts_of($1)", kind)) for kind in VERDICTS_OF}
    assert found == VERDICTS_OF


# ---------------------------------------------------------------- linking


async def stranger(desk: Desk, name: str, roles: tuple[str, ...] = ("owner",)) -> Principal:
    """Somebody who was let in with a pairing code, as a person of their own."""
    made = await desk.db.fetchrow(
        "insert into principals (key, name, roles) values ($1, $1, $2) returning id", name, list(roles)
    )
    await desk.db.execute("insert into identities values ('slack', $1, $2, '')", f"T/{name}", made["id"])
    desk.who[name] = found = await people.by_id(desk.db, made["id"])  # type: ignore[assignment]
    assert found is not None
    return found


async def link(desk: Desk, name: str, to: str) -> None:
    await desk.db.execute(
        "update identities set principal_id = $2 where external_id = $1", f"T/{name}", desk.who[to].id
    )


async def test_two_votes_of_what_turns_out_to_be_one_person_are_one_vote(desk: Desk) -> None:
    await stranger(desk, "carl2")
    approval = await desk.asked(needed=3)
    await desk.say(approval, "bob", "approve")
    await desk.say(approval, "carl", "approve")
    await link(desk, "carl2", "carl")
    await desk.say(approval, "carl2", "approve")
    assert await desk.status(approval) == "pending", "carl has voted already"
    await desk.say(approval, "ann", "approve")
    assert await desk.status(approval) == "approved"


async def test_linking_and_the_end_of_a_child_task_do_not_wait_for_each_other(desk: Desk) -> None:
    await stranger(desk, "carl2")
    asked = [await desk.asked(needed=3) for _ in range(2)]
    for approval in asked:
        await desk.say(approval, "carl2", "approve")
    parent, child = [int((await desk.row(approval))["task_id"]) for approval in asked]
    await desk.db.execute("update tasks set parent_id = $1 where id = $2", parent, child)

    async def waits() -> bool:
        locked = "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())"
        return bool(await desk.db.fetchval(locked))

    async with transaction(desk.db) as ending:
        await ending.execute("select from tasks where id = $1 for update", child)
        linking = asyncio.create_task(link(desk, "carl2", "carl"))
        await until(waits, "the link waits for the child")
        assert await tasks.cancel(ending, child, "test", "enough") == "cancelled", "which tells its parent"
    await linking
    assert {vote["key"] for vote in (await desk.row(asked[0]))["votes"]} == {"carl"}


async def test_linking_takes_votes_away_and_never_decides(desk: Desk) -> None:
    await stranger(desk, "carl2")
    approval = await desk.asked(needed=2)
    await desk.say(approval, "carl2", "approve")
    assert (await desk.say(approval, "carl", "approve"))["status"] == "approved"
    await link(desk, "carl2", "carl")
    [step] = await desk.claim()
    assert await desk.begin(step, approval) == "approver", "one person has said yes, and two are needed"
    assert await desk.db.fetchval("select count(*) from decisions where verdict = 'approve'") == 1


async def test_a_vote_moves_with_its_person_and_still_decides_nothing(desk: Desk) -> None:
    await stranger(desk, "carl2")
    approval = await desk.asked(needed=2)
    await desk.say(approval, "carl2", "approve")
    await link(desk, "carl2", "carl")
    assert await desk.status(approval) == "pending"
    assert [v["key"] for v in (await desk.row(approval))["votes"]] == ["carl"]
    assert (await desk.say(approval, "bob", "approve"))["status"] == "approved"


async def test_with_four_eyes_the_requesters_other_identity_is_the_requester(desk: Desk) -> None:
    await stranger(desk, "dora2")
    approval = await desk.asked(by="dora2", four_eyes=True, roles=("owner", "engineer"))
    await link(desk, "dora2", "dora")
    assert (await desk.say(approval, "dora", "approve"))["kind"] == "not_allowed"
    assert (await desk.say(approval, "dora2", "approve"))["kind"] == "not_allowed"
    assert (await desk.say(approval, "bob", "approve"))["status"] == "approved"


async def test_an_identity_that_moves_between_two_known_people_makes_them_not_one(desk: Desk) -> None:
    approval = await desk.asked(needed=2)
    await desk.say(approval, "bob", "approve")
    await desk.db.execute("update identities set principal_id = $1 where external_id = 'bob'", desk.who["carl"].id)
    assert (await desk.row(approval))["votes"][0]["verdict"] == "withdrawn"
    await desk.say(approval, "carl", "approve")
    assert (await desk.say(approval, "ann", "approve"))["status"] == "approved"
    assert await desk.db.fetchval("select count(*) from principals where same_as is not null") == 0


async def test_votes_and_links_at_once_never_make_one_person_two(desk: Desk) -> None:
    for round_ in range(12):
        name = f"carl{round_ + 2}"
        await stranger(desk, name)
        approval = await desk.asked(needed=2)
        await asyncio.gather(
            desk.say(approval, name, "approve"), link(desk, name, "carl"), desk.say(approval, "carl", "approve")
        )
        if claimed := await desk.claim():
            assert await desk.begin(claimed[0], approval) == "approver"
        else:
            assert await desk.status(approval) == "pending"
        counted = "select votes_for(a, array['approve']) from approvals a where id = $1::text::uuid"
        assert await desk.db.fetchval(counted, approval) == 1


# ---------------------------------------------------------------- delegation


async def test_who_was_handed_an_approval_decides_it_from_the_givers_seat(desk: Desk) -> None:
    approval = await desk.asked(needed=2)
    assert (await desk.say(approval, "fay", "approve"))["kind"] == "not_allowed"
    assert (await desk.say(approval, "bob", "delegate", to="fay"))["kind"] == "accepted"
    assert (await desk.say(approval, "fay", "approve"))["status"] == "pending"
    assert (await desk.say(approval, "bob", "approve"))["kind"] == "not_allowed", "one seat, one vote"
    answer = await desk.say(approval, "carl", "approve")
    assert answer["status"] == "approved"
    assert [(v["key"], v.get("for")) for v in answer["decisions"]] == [("bob", None), ("fay", "Bob"), ("carl", None)]
    other = await desk.asked()
    assert (await desk.say(other, "fay", "approve"))["kind"] == "not_allowed", "it was this one only"


async def test_the_giver_may_still_say_no(desk: Desk) -> None:
    approval = await desk.asked(needed=2)
    await desk.say(approval, "bob", "delegate", to="fay")
    await desk.say(approval, "fay", "approve")
    assert (await desk.say(approval, "bob", "deny"))["status"] == "denied"


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("nobody", "nobody called"),
        ("bob", "is you"),
        ("robot", "may not decide"),
        ("dora", "may not decide"),
        ("carl", "anyway"),
    ],
)
async def test_what_cannot_be_handed_on_says_why(desk: Desk, to: str, why: str) -> None:
    approval = await desk.asked(by="dora", four_eyes=True)
    answer = await desk.say(approval, "bob", "delegate", to=to)
    assert answer["kind"] == "invalid" and why in answer["why"]


async def test_it_goes_through_two_hands_and_in_no_circle(desk: Desk) -> None:
    approval = await desk.asked()
    assert (await desk.say(approval, "bob", "delegate", to="dora"))["kind"] == "accepted"
    assert (await desk.say(approval, "dora", "delegate", to="emil"))["kind"] == "accepted"
    assert "circle" in (await desk.say(approval, "emil", "delegate", to="dora"))["why"]
    assert "two hands" in (await desk.say(approval, "emil", "delegate", to="fay"))["why"]
    assert (await desk.say(approval, "emil", "approve"))["status"] == "approved"


async def test_a_right_that_its_giver_has_lost_is_worth_nothing(desk: Desk) -> None:
    approval = await desk.asked()
    await desk.say(approval, "bob", "delegate", to="fay")
    await desk.say(approval, "fay", "approve")
    await desk.db.execute("update principals set roles = '{}' where key = 'bob'")
    [step] = await desk.claim()
    assert await desk.begin(step, approval) == "approver"


# ---------------------------------------------------------------- looking, asking


async def test_looking_holds_the_ladder_once_per_person_and_never_the_deadline(desk: Desk) -> None:
    approval = await desk.asked()
    await desk.say(approval, "bob", "looking")
    first = (await desk.row(approval))["held_until"]
    await clock.move(desk.db, timedelta(minutes=10))
    await desk.say(approval, "bob", "looking")
    row = await desk.row(approval)
    assert row["held_until"] == first, "once per person"
    await clock.move(desk.db, timedelta(minutes=55))
    await desk.say(approval, "carl", "looking")
    row = await desk.row(approval)
    assert row["held_until"] == row["expires_at"]
    await clock.move(desk.db, timedelta(minutes=61))
    assert (await desk.say(approval, "carl", "approve"))["kind"] == "too_late"


async def test_a_question_starts_a_side_task_that_leaves_the_approval_alone(desk: Desk) -> None:
    approval = await desk.asked()
    step = PlannedStep(n=1, kind="think", skill="approval.answer", args={"approval": approval}, title="x")
    await desk.say(approval, "bob", "ask", text="why this?", can_answer=True, steps=steps.planned([step]))
    [aside] = await desk.claim()
    await steps.complete(desk.db, desk.worker, aside, {"text": "because"})
    row = await desk.row(approval)
    assert (row["status"], row["questions"]) == (
        "pending", [{"by": "Bob", "question": "why this?", "answer": "because", "is_open": False}],
    )  # fmt: skip
    for _ in range(4):
        await desk.say(approval, "bob", "ask", text="again?", answer="nobody can tell")
    assert "five questions" in (await desk.say(approval, "bob", "ask", text="again?"))["why"]


# ---------------------------------------------------------------- grants


def given(**more: Any) -> dict[str, Any]:
    return {
        "skill": "files.delete", "skill_version": "1", "schema_hash": "h", "args": {"paths": {"is": ["a"]}}, "uses": 2,
        "lasts_s": 1800,
    } | more  # fmt: skip


async def test_similar_covers_the_same_call_in_this_task_as_often_as_it_says(desk: Desk) -> None:
    task = await desk.task(4)
    first, *others = await desk.claim()
    approval = await desk.park(first)
    assert (await desk.say(approval, "ann", "approve_similar", grant=given()))["status"] == "approved"
    [grant] = await grants.of(desk.db, desk.who["ann"].id, task, "files.delete")
    assert (grant.task_id, grant.uses_left, grant.owner_key) == (str(task), 2, "ann")
    answers = await asyncio.gather(*(desk.begin(s, None, grant=grant.id) for s in others))
    assert sorted(answers) == ["go", "go", "grant"], "counted where the call begins"
    assert await grants.of(desk.db, desk.who["ann"].id, task, "files.delete") == []


async def test_a_call_that_had_to_wait_was_not_made_and_uses_nothing_up(desk: Desk) -> None:
    await desk.task()
    [step] = await desk.claim()
    bob, ann = desk.who["bob"], desk.who["ann"]
    made = await grants.give(desk.db, owner=bob.id, holder=ann.id, grant=given(uses=1))
    for _ in range(2):
        assert await desk.begin(step, None, grant=made) == "go"
        waits = signals.wait(desk.db, desk.worker, step, "a rate limit", seconds=0, within_s=60)
        assert await waits == "waiting"
        [left] = await grants.of(desk.db, ann.id, step.task_id, "files.delete")
        assert left.uses_left == 1
        assert await steps.due_timers(desk.db) == [(step.task_id, step.n)]
        await steps.wake(desk.db, step.task_id, step.n)
        [step] = await desk.claim()
    assert await desk.begin(step, None, grant=made) == "go"
    assert await grants.of(desk.db, ann.id, step.task_id, "files.delete") == []


@pytest.mark.parametrize(
    "change",
    [
        {"args": {"paths": {"is": ["b"]}}}, {"args": {"paths": {"is": ["a"]}, "force": {"is": True}}}, {"skill_version": "2"},
        {"schema_hash": "g"}, {"skill": "files.list"}, {"args": {"paths": {"starts": "logs/"}}},
    ],
)  # fmt: skip
async def test_a_grant_is_looked_at_again_when_the_call_begins(desk: Desk, change: dict[str, Any]) -> None:
    await desk.task()
    [step] = await desk.claim()
    made = await grants.give(desk.db, owner=desk.who["bob"].id, holder=desk.who["ann"].id, grant=given(**change))
    assert await desk.begin(step, None, grant=made) == "grant"


async def test_a_revoked_grant_or_one_whose_giver_is_gone_lets_nothing_go(desk: Desk) -> None:
    await desk.task(2)
    one, two = await desk.claim()
    bob, ann = desk.who["bob"], desk.who["ann"]
    first = await grants.give(desk.db, owner=bob.id, holder=ann.id, grant=given())
    second = await grants.give(desk.db, owner=bob.id, holder=ann.id, grant=given())
    assert not await grants.revoke(desk.db, first, desk.who["carl"].id, is_owner=False)
    assert await grants.revoke(desk.db, first[:8], ann.id, is_owner=False)
    assert await desk.begin(one, None, grant=first) == "grant"
    await desk.db.execute("update principals set is_active = false where key = 'bob'")
    assert await desk.begin(two, None, grant=second) == "grant"


@pytest.mark.parametrize(
    "ask",
    [{"needed": 2}, {"four_eyes": True}, {"risk": "critical"}, {"provenance": ("recipient comes from a web page",)}],
)
async def test_where_each_call_is_asked_about_no_more_than_once_is_possible(desk: Desk, ask: dict[str, Any]) -> None:
    approval = await desk.asked(by="dora", **ask)
    for verdict in ("approve_similar", "grant"):
        answer = await desk.say(approval, "ann", verdict, grant=given())
        assert answer["kind"] == "invalid" and "more than this once" in answer["why"]
    assert await desk.db.fetchval("select count(*) from grants") == 0
    assert await desk.status(approval) == "pending"


async def test_no_grant_lives_longer_than_ninety_days(desk: Desk) -> None:
    with pytest.raises(Exception, match="grants_check"):
        await grants.give(
            desk.db, owner=desk.who["bob"].id, holder=desk.who["ann"].id, grant=given(lasts_s=91 * 24 * 3600)
        )


VALUES = [
    "a", "logs/a.log", "logs/../a", "logs/", "a/logs/b", "logs", "logs\\..\\a", "logs/%2e%2e/a", ["logs/a", "logs/b"],
    ["logs/a", "b"], [], ["logs/a", 1], 1, True, None, {"a": 1}, "x@acme.example", "a@b, x@acme.example", "x@acme.example ",
    "https://a.example/x", "https://a.example.evil/x", 1.0, "1",
]  # fmt: skip
WANTED: list[dict[str, Any]] = [
    {"is": "a"}, {"is": ["logs/a", "logs/b"]}, {"is": 1}, {"is": True}, {"is": None}, {"is": {"a": 1}}, {"starts": "logs/"},
    {"ends": "@acme.example"}, {"starts": "https://a.example/"}, {"ends": ".log"},
]  # fmt: skip


async def test_what_a_permission_covers_is_the_same_here_and_in_the_database(db: Pool) -> None:
    for value, wanted in itertools.product(VALUES, WANTED):
        there = await db.fetchval("select argument_fits($1::jsonb -> 0, $2)", [value], wanted)
        assert bool(there) is predicate.fits(value, wanted), (value, wanted)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ({}, "say what paths may be"),
        ({"path": "a"}, "no argument 'path'"),
        ({"paths": {"starts": "logs"}}, "end in a slash"),
        ({"paths": {"starts": "../"}}, "end in a slash"),
        ({"paths": {"starts": "https://"}}, "end in a slash"),
        ({"paths": {"ends": "acme.example"}}, "whole domain"),
        ({"paths": {"starts": 3}}, "needs a text"),
        ({"paths": {"is": 2**60}}, "2^53"),
    ],
)
def test_a_permission_that_says_too_little_is_not_given(args: dict[str, Any], why: str) -> None:
    with pytest.raises(predicate.BadPredicate, match=why.replace("^", r"\^")):
        predicate.read(args, MANIFESTS[0])


# ---------------------------------------------------------------- several on one card


async def test_asks_of_one_task_come_onto_one_card_item_by_item(desk: Desk) -> None:
    task = await desk.task(3)
    one, two, three = await desk.claim()
    first = await desk.park(one)
    second = await desk.park(two)
    batch = await desk.park(three)
    row = await desk.row(batch)
    assert (row["kind"], [i["step"] for i in row["items"]]) == ("batch", [1, 2, 3])
    assert row["digest"] == list_digest([f"d{task}.{n}" for n in (1, 2, 3)])
    assert [await desk.status(a) for a in (first, second)] == ["superseded", "superseded"]
    assert (await desk.say(first, "ann", "approve"))["kind"] == "already", "what was shown before decides nothing"
    assert (await desk.say(batch, "ann", "approve"))["status"] == "approved"
    again = await desk.claim()
    assert [s.n for s in again] == [1, 2, 3]
    assert [await desk.begin(s, batch) for s in again] == ["go", "go", "go"]
    assert await desk.status(batch) == "consumed"


async def test_a_card_that_somebody_has_answered_takes_no_more_items(desk: Desk) -> None:
    await desk.task(2)
    one, two = await desk.claim()
    first = await desk.park(one, needed=2)
    await desk.say(first, "ann", "approve")
    second = await desk.park(two, needed=2)
    assert [await desk.status(a) for a in (first, second)] == ["pending", "pending"]


async def test_of_a_batch_some_are_approved_and_the_rest_stays_asked(desk: Desk) -> None:
    task = await desk.task(3)
    for step in await desk.claim():
        batch = await desk.park(step)
    answer = await desk.say(batch, "ann", "approve", items=[f"d{task}.1", f"d{task}.3"])
    assert answer["status"] == "approved" and answer["approval_id"] != batch
    rest = (await desk.step(task, 2))["approval_id"]
    row = await desk.row(rest)
    assert (row["status"], row["kind"], [i["step"] for i in row["items"]]) == ("pending", "action", [2])
    assert [s.n for s in await desk.claim()] == [1, 3]
    denied = await desk.say(rest, "bob", "deny")
    assert denied["status"] == "denied"
    assert (await desk.step(task, 2))["status"] == "skipped"


async def test_items_that_are_not_on_the_card_choose_nothing(desk: Desk) -> None:
    await desk.task(2)
    for step in await desk.claim():
        batch = await desk.park(step)
    assert (await desk.say(batch, "ann", "approve", items=["d9.9"]))["kind"] == "invalid"
    assert await desk.status(batch) == "pending"


async def test_a_drifted_item_of_an_approved_batch_is_asked_anew_and_the_others_go(desk: Desk) -> None:
    await desk.task(2)
    for step in await desk.claim():
        batch = await desk.park(step)
    await desk.say(batch, "ann", "approve")
    one, two = await desk.claim()
    assert await desk.begin(one, batch, digest="other") == "drift"
    fresh = await desk.park(one, digest="other")
    assert await desk.status(fresh) == "pending"
    assert await desk.begin(two, batch) == "go"


async def test_the_same_ask_of_two_tasks_is_one_card_with_two_consumptions(desk: Desk) -> None:
    first_task, second_task = await desk.task(), await desk.task()
    one, two = await desk.claim()
    first, second = await desk.park(one, action_hash="same"), await desk.park(two, action_hash="same")
    merged = await approvals.merge(desk.db, second)
    assert merged is not None
    row = await desk.row(merged)
    assert [i["task"] for i in row["items"]] == [str(first_task), str(second_task)]
    assert row["card"]["title"] == "Delete 1 (2 tasks)"
    assert await desk.status(first) == "superseded"
    assert (await desk.say(second, "bob", "approve"))["kind"] == "changed", "it is decided on the card of both"
    assert (await desk.say(merged, "bob", "approve"))["status"] == "approved"
    for follower in await approvals.followers(desk.db, merged):
        assert await approvals.follow(desk.db, follower)
        assert not await approvals.follow(desk.db, follower)
    assert [(v["key"], v["verdict"]) for v in (await desk.row(second))["votes"]] == [("bob", "approve")]
    again = await desk.claim()
    assert await desk.begin(again[0], merged) == "go"
    assert await desk.begin(again[1], merged) == "not_approved", "each task uses up a yes of its own"
    assert await desk.begin(again[1], second) == "go"


async def test_a_merged_ask_goes_its_own_way_when_the_other_task_is_stopped(desk: Desk) -> None:
    first_task, _ = await desk.task(), await desk.task()
    one, two = await desk.claim()
    await desk.park(one, action_hash="same")
    second = await desk.park(two, action_hash="same")
    await approvals.merge(desk.db, second)
    await tasks.cancel(desk.db, first_task, "person:ann", "no")
    [left] = await approvals.unled(desk.db)
    await approvals.follow(desk.db, left)
    assert (await desk.row(second))["merged_into"] is None
    assert (await desk.say(second, "bob", "approve"))["status"] == "approved"


@pytest.mark.parametrize("differs", ["requester", "hash", "approvers", "voted"])
async def test_asks_that_differ_are_not_merged(desk: Desk, differs: str) -> None:
    await desk.task(), await desk.task(by="bob" if differs == "requester" else "ann")
    one, two = await desk.claim()
    first = await desk.park(one, action_hash="same", needed=2)
    second = await desk.park(
        two, action_hash="other" if differs == "hash" else "same", needed=1 if differs == "approvers" else 2
    )
    if differs == "voted":
        await desk.say(first, "bob", "approve")
    assert await approvals.merge(desk.db, second) is None


# ---------------------------------------------------------------- editing


def edit(**more: Any) -> dict[str, Any]:
    return {
        "args": {"paths": ["b"]},
        "origins": {"paths": {"origin": "requester", "by": "bob"}},
        "title": "Delete b",
    } | more


async def test_an_edit_voids_the_votes_and_sends_the_call_through_the_gate_again(desk: Desk) -> None:
    approval = await desk.asked(needed=2, by="dora", four_eyes=True)
    await desk.say(approval, "carl", "approve")
    assert (await desk.say(approval, "bob", "edit", **edit()))["status"] == "superseded"
    assert "edited by Bob" in (await desk.row(approval))["reason"]
    [step] = await desk.claim()
    assert (step.args, step.approval_id) == ({"paths": ["b"]}, None)
    fresh = await desk.park(step, needed=2, four_eyes=True, digest="new")
    assert (await desk.row(fresh))["votes"] == []
    assert (await desk.say(fresh, "bob", "approve"))["kind"] == "not_allowed", "who edits counts as who asks"
    await desk.say(fresh, "carl", "approve")
    assert (await desk.say(fresh, "ann", "approve"))["status"] == "approved"


async def test_the_requester_may_edit_and_a_passer_by_may_not(desk: Desk) -> None:
    approval = await desk.asked(by="dora")
    assert (await desk.say(approval, "emil", "edit", **edit()))["kind"] == "not_allowed"
    assert (await desk.say(approval, "dora", "edit", **edit()))["kind"] == "accepted"


async def test_quorum_edit_expiry_and_link_at_once_leave_one_outcome(desk: Desk) -> None:
    for round_ in range(12):
        name = f"bob{round_ + 2}"
        await stranger(desk, name)
        approval = await desk.asked(needed=2)
        await desk.say(approval, "ann", "approve")
        await asyncio.gather(
            desk.say(approval, "carl", "approve"), desk.say(approval, name, "edit", **edit()), link(desk, name, "bob"),
            approvals.expire(desk.db, (await desk.db.fetchval("select $1::text::uuid", approval))),
        )  # fmt: skip
        status = await desk.status(approval)
        [step] = await desk.claim()
        if status == "approved":
            assert (step.args, await desk.begin(step, approval)) == ({"paths": ["a"]}, "go")
        else:
            assert status == "superseded"
            assert (step.args, step.approval_id) == ({"paths": ["b"]}, None)
            assert await desk.begin(step, approval) == "not_approved", "the yes was for the call before the edit"


async def test_a_step_denied_while_it_was_on_its_way_to_ask_is_not_asked_about_again(desk: Desk) -> None:
    approval = await desk.asked()
    task = (await desk.row(approval))["task_id"]
    await desk.db.execute("update approvals set kind = 'plan' where id = $1::text::uuid", approval)
    await desk.db.execute(
        "update steps set status = 'ready', waits_for = null, ready_at = now() where task_id = $1", task
    )
    [step] = await desk.claim()
    assert step.approval_id == approval and step.row["approval"]["status"] == "pending"
    assert (await desk.say(approval, "bob", "deny"))["kind"] == "accepted"
    action = {"skill": "files.delete", "version": "1", "schema_hash": "h", "args": {"paths": ["a"]}}
    item = {"task": str(task), "step": 1, "digest": f"d{task}.1", "action": action, "card": {"risk": "high"}}
    ask = {
        "kind": "action", "items": [item], "digest": item["digest"], "action_hash": "", "ladder": "default",
        "card": {"risk": "high"}, "expires_in_s": 3600, "approvers": {"people": [], "roles": ["owner"], "needed": 1},
    }  # fmt: skip
    assert await steps.park(desk.db, desk.worker, step, ask, [], "risky") is None
    [again] = await desk.claim()
    assert (again.row["approval"]["status"], again.attempt) == ("denied", 1)
    assert await desk.db.fetchval("select count(*) from approvals where status = 'pending'") == 0
