"""Which rung comes next and when: the pure decision, and the ladder climbed on a stepped clock over real rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from core.db import Pool
from core.ladder import (
    AT_ONCE,
    IN_TIME,
    NOBODY_MAY,
    NOBODY_REACHED,
    Asked,
    AskNow,
    Climb,
    Decider,
    GiveUp,
    Pending,
    Plan,
    Rest,
    State,
    next_move,
    planned,
    quiet_until,
)
from core.organisation import Organisation, OrganisationError, parse
from core.store import approvals, ladder, people
from tests.sim.faults import status
from tests.sms_house import ANN, SmsHouse, code_in, open_sms_house
from worker.ladder import Climber

T0 = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ALL = frozenset({"slack", "telegram", "sms"})
ORG = parse(
    "ladders: {default: [{after: 0m, to: conversation}, {after: 5m, to: direct},"
    " {after: 15m, to: sms}, {after: 60m, to: expire}]}"
)
ANNS = Decider(1, "ann", False, False, {"slack": "T0ACME/U01", "telegram": "1001"}, (("+1555", "in"),))


def pending(after_m: float = 0, climbed: int = 0, **more: Any) -> Pending:
    """One that is `after_m` minutes old, with so many rungs climbed."""
    rungs = [replace(r, climbed_at=r.due_at if r.n <= climbed else None) for r in planned(ORG, "default", T0)]
    given = {
        "kind": "action", "ladder": "default", "risk": "high", "created_at": T0, "expires_at": T0 + timedelta(hours=1),
        "held_until": None, "now": T0 + timedelta(minutes=after_m), "is_opened": False, "names_usergroup": False,
        "rungs": tuple(rungs), "deciders": (ANNS,), "asked": (),
    }  # fmt: skip
    return Pending(**(given | more))


def asked(n: int, state: State, person: int | None = 1, channel: str = "slack", due_m: float = 0) -> Asked:
    return Asked(n * 10, n, person, channel, "x", T0 + timedelta(minutes=due_m), state)


def move(one: Pending, organisation: Organisation = ORG, channels: frozenset[str] = ALL) -> Any:
    return next_move(one, organisation, channels)


def test_a_ladder_is_written_down_once_and_its_deadline_is_no_rung() -> None:
    made = move(pending(rungs=()))
    assert isinstance(made, Plan)
    assert [(r.n, r.kind, (r.due_at - T0).total_seconds() / 60) for r in made.rungs] == [
        (1, "conversation", 0), (2, "direct", 5), (3, "sms", 15),
    ]  # fmt: skip


def test_each_rung_is_climbed_in_its_time_and_not_before() -> None:
    assert move(pending(0)) == Climb(1, IN_TIME, ())
    here = (asked(1, "reached", None),)
    assert move(pending(4.9, 1, asked=here)) == Rest(T0 + timedelta(minutes=5))
    climb = move(pending(5, 1, asked=here))
    assert isinstance(climb, Climb) and climb.n == 2
    assert [(a.channel, a.address, a.skipped) for a in climb.asks] == [
        ("slack", "T0ACME/U01", None), ("telegram", "1001", None),
    ]  # fmt: skip
    assert move(pending(14, 2, asked=(*here, asked(2, "open")))) == Rest(T0 + timedelta(minutes=15))
    climb = move(pending(15, 2, asked=(*here, asked(2, "open"))))
    assert [(a.channel, a.address) for a in climb.asks] == [("sms", "+1555")]
    assert move(pending(59, 3, asked=here)) == Rest(None)  # the deadline is not the ladder's to move


def test_a_rung_whose_deliveries_all_failed_is_left_at_once() -> None:
    here = asked(1, "reached", None)
    climb = move(pending(6, 2, asked=(here, asked(2, "failed"), asked(2, "failed", channel="telegram"))))
    assert isinstance(climb, Climb) and (climb.n, climb.why) == (3, AT_ONCE)
    assert isinstance(move(pending(6, 2, asked=(here, asked(2, "failed"), asked(2, "unknown")))), Rest)


def test_a_conversation_that_only_people_without_a_say_read_is_left_at_once() -> None:
    climb = move(pending(0.1, 1, asked=(asked(1, "reached", 99),)))
    assert isinstance(climb, Climb) and (climb.n, climb.why) == (2, AT_ONCE)


def test_who_is_looking_holds_the_ladder_and_never_longer() -> None:
    hold = {"held_until": T0 + timedelta(minutes=12), "asked": (asked(1, "failed"),)}
    assert move(pending(6, 1, **hold)) == Rest(T0 + timedelta(minutes=12))
    assert isinstance(move(pending(12, 1, **hold)), Climb)


def test_nobody_is_asked_twice_in_the_same_chat_nor_after_they_have_answered() -> None:
    climb = move(pending(5, 1, asked=(asked(1, "reached", 1, "slack"),)))
    assert [a.channel for a in climb.asks] == ["telegram"]
    climb = move(pending(5, 1, deciders=(replace(ANNS, has_answered=True),), asked=(asked(1, "reached", None),)))
    assert climb.asks == ()


def test_a_channel_that_is_off_is_not_asked_in() -> None:
    climb = next_move(pending(5, 1, asked=(asked(1, "reached", None),)), ORG, frozenset())
    assert isinstance(climb, Climb)
    assert [(a.channel, a.skipped) for a in climb.asks] == [("direct", "no chat of theirs is linked")]


@pytest.mark.parametrize(
    ("one", "moves"),
    [
        (pending(0, deciders=()), GiveUp(NOBODY_MAY)),
        (pending(0, deciders=(), names_usergroup=True), Climb(1, IN_TIME, ())),
        (pending(20, 3, asked=(asked(1, "failed"), asked(3, "failed", channel="sms"))), GiveUp(NOBODY_REACHED)),
        (pending(20, 3), GiveUp(NOBODY_REACHED)),
        (pending(20, 3, asked=(asked(1, "failed"), asked(2, "unknown"))), Rest(None)),
        (pending(20, 3, is_opened=True), Rest(None)),
        (pending(20, 3, deciders=(replace(ANNS, can_sign_in=True),)), Rest(None)),
        (pending(20, 3, kind="unknown"), Rest(None)),
        (pending(20, 3, kind="unknown", deciders=()), Rest(None)),
    ],
)
def test_nobody_could_be_asked_is_said_only_when_it_is_so(one: Pending, moves: Any) -> None:
    assert move(one) == moves


QUIET = parse(
    "timezone: Europe/Berlin\nquiet_hours: {from: 22:00, to: '07:00'}\npeople:\n  ann: {}\n"
    "  bob: {timezone: America/New_York}\n  cleo: {quiet_hours: {from: '12:00', to: '14:00'}}\n"
)


@pytest.mark.parametrize(
    ("who", "now", "until"),
    [
        ("ann", "2026-11-21T20:59", None),
        ("ann", "2026-11-21T21:00", "2026-11-22T06:00"),
        ("ann", "2026-11-22T05:59", "2026-11-22T06:00"),
        ("ann", "2026-11-22T06:00", None),
        ("bob", "2026-11-21T21:00", None),
        ("bob", "2026-11-22T04:00", "2026-11-22T12:00"),
        ("cleo", "2026-11-21T11:30", "2026-11-21T13:00"),
        ("cleo", "2026-11-21T23:00", None),
        ("nobody known", "2026-11-21T23:00", "2026-11-22T06:00"),
        ("ann", "2026-10-24T23:30", "2026-10-25T06:00"),  # the night in which clocks are put back is an hour longer
        ("ann", "2026-03-28T23:30", "2026-03-29T05:00"),  # and that in which they are put forward an hour shorter
    ],
)
def test_quiet_hours_are_those_of_the_persons_own_clock(who: str, now: str, until: str | None) -> None:
    found = quiet_until(QUIET, who, datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert found == (datetime.fromisoformat(until).replace(tzinfo=UTC) if until else None)


def test_quiet_hours_put_off_whom_they_cover_and_a_rung_may_go_past_them() -> None:
    night = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)
    late = {"now": night, "expires_at": night + timedelta(days=1)}
    bob = Decider(2, "bob", False, False, {"slack": "T0ACME/U02"})
    climb = move(pending(0, 1, deciders=(ANNS, bob), asked=(asked(1, "reached", None),), **late), QUIET)
    assert [(a.person, a.due_at) for a in climb.asks] == [
        (1, datetime(2026, 11, 22, 6, tzinfo=UTC)), (1, datetime(2026, 11, 22, 6, tzinfo=UTC)), (2, night),
    ]  # fmt: skip
    put_off = asked(2, "put_off", due_m=18 * 60)
    assert move(pending(60, 3, asked=(put_off,)), QUIET) == Rest(put_off.due_at)
    assert move(pending(18 * 60, 3, asked=(put_off,)), QUIET) == AskNow((20,))
    short = move(
        pending(0, 1, asked=(asked(1, "reached", None),), now=night, expires_at=night + timedelta(hours=1)), QUIET
    )
    assert {a.skipped for a in short.asks} == {"their quiet hours end after the deadline"}
    waking = tuple(replace(r, wakes=True) for r in pending(0, 1).rungs)
    climb = move(pending(0, 1, rungs=waking, asked=(asked(1, "reached", None),), **late), QUIET)
    assert {a.due_at for a in climb.asks} == {night}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("quiet_hours: {from: '25:00', to: '07:00'}", "is no time of day; write it like 22:00"),
        ("quiet_hours: {from: 7, to: '00:07'}", "begin and end at the same time"),
        ("people: {ann: {timezone: Mars/Base}}", "is no time zone"),
        ("sms_max_risk: critical", "'low', 'medium' or 'high'"),
    ],
)
def test_what_can_not_be_meant_is_refused_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(OrganisationError, match="yaml:1:") as refused:
        parse(text)
    assert problem in str(refused.value)


# ---------------------------------------------------------------- on real rows


@pytest.fixture
async def phones(db: Pool, tmp_path: Path) -> AsyncIterator[SmsHouse]:
    async with open_sms_house(db, tmp_path) as opened:
        yield opened


async def test_two_workers_that_look_at_the_same_moment_and_restarts_climb_each_rung_once(phones: SmsHouse) -> None:
    await phones.ask(ladder="default")
    for minutes in (0, 6, 10):
        await phones.pass_by(minutes=minutes)
        for _ in range(3):
            await Climber(phones.house.deps).tick()  # a new worker, which knows nothing but the rows
    assert await phones.db.fetchval("select count(*) from rungs where climbed_at is not null") == 3
    assert len(phones.ann.messages()) == len(phones.cleo.messages()) == 1


async def test_what_is_asked_after_the_clock_was_moved_waits_its_whole_time(phones: SmsHouse) -> None:
    await phones.pass_by(days=1)
    await phones.ask(ladder="default")
    await phones.climb()
    left = await phones.db.fetchval("select max(due_at) - sayso_now() from rungs")
    assert timedelta(minutes=14) < left <= timedelta(minutes=15)


async def test_an_unanswered_question_expires_and_the_step_says_so(phones: SmsHouse) -> None:
    approval = await phones.ask()
    await phones.climb()
    await phones.pass_by(minutes=61)
    [due] = await approvals.due(phones.db)
    assert await approvals.expire(phones.db, due)
    assert await _end(phones, approval) == ("expired", "expired", "Nobody answered the approval in time.")


async def test_nobody_eligible_is_an_end_of_its_own_and_comes_at_once(phones: SmsHouse) -> None:
    approval = await phones.ask(people=["nobody"], roles=[])
    await phones.climb()
    found, outcome, error = await _end(phones, approval)
    assert (found, outcome) == ("undeliverable", "undeliverable")
    assert error == "Nobody could be asked: Nobody who may decide this is known here."


async def test_when_every_rung_failed_and_nobody_opened_it_nobody_could_be_asked(phones: SmsHouse) -> None:
    phones.sim.refuse(ANN, 21211)
    approval = await phones.ask(people=["ann"], roles=[])
    await phones.climb()
    phones.sim.violations.clear()
    assert (await _end(phones, approval))[:2] == ("undeliverable", "undeliverable")
    lines = await phones.timeline(approval)
    assert [what for what, _, _ in lines if what in ("not_delivered", "undeliverable")] == [
        "not_delivered",
        "undeliverable",
    ]
    assert await phones.db.fetchval("select count(*) from audit where kind = 'undeliverable'") == 1


async def test_who_can_sign_in_may_still_come_by_until_the_deadline_and_then_it_is_known_that_nobody_did(
    phones: SmsHouse,
) -> None:
    ann = await phones.person("ann")
    await people.make_token(phones.db, ann.id, "session", None)
    await phones.ann.say("STOP")
    first = await phones.ask(people=["ann"], roles=[])
    second = await phones.ask(people=["ann"], roles=[])
    await phones.climb()
    assert await phones.status(first) == await phones.status(second) == "pending"
    await ladder.opened(phones.db, ann.id, [second])
    await phones.pass_by(minutes=61)
    for due in await approvals.due(phones.db):
        await approvals.expire(phones.db, due)
    assert [await phones.status(one) for one in (first, second)] == ["undeliverable", "expired"]


async def test_a_message_that_cannot_be_delivered_moves_the_ladder_on_at_once(phones: SmsHouse) -> None:
    await phones.house.deps.db.execute(
        "insert into identities select 'slack', 'T0ACME/U01', id from principals where key = 'ann'"
    )
    approval = await phones.ask(ladder="default", people=["ann"], roles=[])
    await phones.db.execute("update rungs set climbed_at = null")
    climber = Climber(phones.house.deps)
    climber._channels = frozenset({"slack", "sms"})
    await climber.tick()
    await phones.courier.deliver()
    assert phones.ann.messages() == []  # the direct message is on its way
    await phones.db.execute(
        "update outbox set status = 'sending' where status = 'pending';"
        "update outbox set status = 'dead', error = 'channel_not_found' where status = 'sending'"
    )
    await climber.tick()
    while await phones.courier.deliver():
        continue
    [sms] = phones.ann.messages()
    await phones.ann.say(f"OK {code_in(sms)}")
    assert await phones.status(approval) == "approved"
    lines = await phones.timeline(approval)
    assert ("not_delivered", "slack", "channel_not_found") in lines
    assert ("rung", "", "sms: the rung before it reached nobody") in lines


async def test_a_vendor_that_is_away_never_stops_the_clock(phones: SmsHouse) -> None:
    phones.sim.faults.add("messages.create", 50, status(503))
    approval = await phones.ask()
    await phones.climb()
    await phones.pass_by(minutes=61)
    for due in await approvals.due(phones.db):
        await approvals.expire(phones.db, due)
    assert await phones.status(approval) in ("expired", "undeliverable")


async def test_a_failed_receipt_counts_as_not_delivered(phones: SmsHouse) -> None:
    approval = await phones.ask(people=["ann"], roles=[])
    await phones.climb()
    await phones.ann.report(phones.ann.messages()[0], "undelivered", "30005")
    await phones.climb()
    assert await phones.status(approval) == "undeliverable"
    assert ("undelivered", "sms", "30005") in await phones.timeline(approval)


async def test_a_question_whether_it_happened_is_never_given_up(phones: SmsHouse) -> None:
    approval = await phones.ask(kind="unknown", people=["nobody"], roles=[])
    await phones.climb()
    assert await phones.status(approval) == "pending"


async def _end(phones: SmsHouse, approval: str) -> tuple[str, str, str]:
    row = await phones.db.fetchrow(
        "select a.status, s.outcome, s.error from approvals a join steps s on s.task_id = a.task_id and s.n = a.n"
        " where a.id = $1::uuid",
        approval,
    )
    return (row["status"], row["outcome"], row["error"])


# ---------------------------------------------------------------- budgets, plans, and asks that share a card


@pytest.mark.parametrize("kind", ["budget", "plan"])
async def test_a_budget_and_a_plan_climb_to_an_sms_with_a_link(phones: SmsHouse, kind: str) -> None:
    approval = await phones.ask(ladder="default", kind=kind, people=["ann"], roles=[])
    for minutes in (0, 6, 10):
        await phones.pass_by(minutes=minutes)
    [message] = phones.ann.messages()
    assert f"/approvals/{approval}" in message.body and "OK " not in message.body
    ann = await phones.person("ann")
    answer = await approvals.decide(
        phones.db, principal=ann.id, approval=approval, verdict="approve", digest=None, reason="", channel="web",
        delivery_id="p1",
    )  # fmt: skip
    assert answer["status"] == "approved"
    assert await phones.db.fetchval("select status from steps where approval_id = $1", UUID(approval)) == "ready"


async def test_a_budget_that_nobody_answers_expires(phones: SmsHouse) -> None:
    approval = await phones.ask(ladder="default", kind="budget")
    await phones.climb()
    await phones.pass_by(minutes=61)
    assert await approvals.expire(phones.db, UUID(approval))
    assert (await _end(phones, approval))[:2] == ("expired", "expired")


async def test_asks_that_share_a_card_climb_once_and_each_expires_by_itself(phones: SmsHouse) -> None:
    first = await phones.ask(ladder="default", people=["ann"], roles=[])
    second = await phones.ask(ladder="default", people=["ann"], roles=[])
    shared = await approvals.merge(phones.db, second)
    assert shared is not None and await phones.status(first) == "superseded"
    for minutes in (0, 6, 10):
        await phones.pass_by(minutes=minutes)
    assert len(phones.ann.messages()) == 1
    climbed = await phones.db.fetch("select distinct approval_id from rungs where climbed_at is not null")
    assert {str(row["approval_id"]) for row in climbed} <= {shared, first}
    await phones.pass_by(minutes=61)
    for due in await approvals.due(phones.db):
        await approvals.expire(phones.db, due)
    for left in await approvals.unled(phones.db):
        await approvals.follow(phones.db, left)
    assert (await _end(phones, shared))[:2] == (await _end(phones, second))[:2] == ("expired", "expired")
