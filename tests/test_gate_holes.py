"""Ways round the gate that were once open: read with an attacker's eyes, closed, and kept closed."""

from __future__ import annotations

from datetime import timedelta

from core.store import approvals, clock, people
from tests.test_deciding import Desk, desk, link, stranger

__all__ = ["desk"]


async def test_with_four_eyes_the_requester_does_not_choose_who_sits_in_an_owners_place(desk: Desk) -> None:
    approval = await desk.asked(by="dora", four_eyes=True)
    until = await clock.now(desk.db) + timedelta(days=1)
    await people.go_away(desk.db, desk.who["ann"].id, desk.who["dora"].id, until)
    await people.go_away(desk.db, desk.who["dora"].id, desk.who["fay"].id, until)
    assert (await desk.say(approval, "fay", "approve"))["kind"] == "not_allowed"
    open_ = await desk.asked(by="emil")
    assert (await desk.say(open_, "fay", "approve"))["status"] == "approved", "elsewhere two hands are allowed"


async def test_through_somebody_who_has_left_nothing_is_handed_on(desk: Desk) -> None:
    approval = await desk.asked(by="dora")
    until = await clock.now(desk.db) + timedelta(days=1)
    await people.go_away(desk.db, desk.who["ann"].id, desk.who["emil"].id, until)
    await people.go_away(desk.db, desk.who["emil"].id, desk.who["fay"].id, until)
    await desk.db.execute("update principals set is_active = false where key = 'emil'")
    assert (await desk.say(approval, "fay", "approve"))["kind"] == "not_allowed"


async def test_with_four_eyes_who_told_the_task_what_to_do_does_not_approve_it(desk: Desk) -> None:
    task = await desk.task(by="dora")
    await desk.db.execute("update tasks set steered_by = array[$2::bigint] where id = $1", task, desk.who["bob"].id)
    [step] = await desk.claim()
    approval = await desk.park(step, four_eyes=True)
    assert (await desk.say(approval, "bob", "approve"))["kind"] == "not_allowed"
    assert (await desk.say(approval, "carl", "approve"))["status"] == "approved"


async def test_what_an_account_asked_for_and_may_counts_by_the_person_whose_it_is(desk: Desk) -> None:
    """The account kept its roles, its token and its say when the person lost theirs."""
    carl2 = await stranger(desk, "carl2")
    token = await people.make_token(desk.db, carl2.id, "api", None)
    approval = await desk.asked(by="carl2")
    await link(desk, "carl2", "carl")
    held = await people.holder(desk.db, token, "api")
    assert held is not None and held.key == "carl"
    await desk.say(approval, "ann", "approve")
    await desk.db.execute("update principals set roles = '{}' where key = 'carl'")
    [step] = await desk.claim()
    assert (step.row["requester_key"], list(step.row["requester_roles"])) == ("carl", [])
    await desk.db.execute("update principals set is_active = false where key = 'carl'")
    assert await people.holder(desk.db, token, "api") is None
    assert await desk.begin(step, approval) == "requester"


async def test_a_yes_in_the_very_moment_of_the_deadline_is_late(desk: Desk) -> None:
    approval = await desk.asked()
    async with desk.db.acquire() as tx, tx.transaction():
        await tx.execute("update approvals set expires_at = sayso_now()")
        answer = await approvals.decide(
            tx, principal=desk.who["bob"].id, approval=approval, verdict="approve", digest=None, reason="", channel="web",
            delivery_id="in time?",
        )  # fmt: skip
    assert answer["kind"] == "too_late"
    row = await desk.row(approval)
    assert (row["status"], row["votes"]) == ("expired", [])
