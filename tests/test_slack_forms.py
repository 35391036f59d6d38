"""Slack's forms: opened within a trigger's three seconds, with errors in place, and never a form that stays empty."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.db import Pool
from tests.holding import hold
from tests.patience import PATIENCE_S
from tests.sim.faults import status
from tests.slack_house import SlackHouse, open_slack_house

DELETE = "do files.delete paths=old.log"


@pytest.fixture
async def slack(db: Pool, tmp_path: Path) -> AsyncIterator[SlackHouse]:
    async with open_slack_house(db, tmp_path, "http") as opened:
        yield opened


async def test_a_denial_can_carry_its_reason(slack: SlackHouse) -> None:
    await slack.ann.mention(DELETE, "C0OPS")
    approval, card = await slack.ask()
    await slack.ann.press(card, "Deny with a reason…")
    await slack.until(slack.ann.views)
    assert (await slack.ann.submit(slack.ann.views()[0], {"reason": "we still need it"})).acked
    assert await slack.status_of(approval) == "denied"
    reason = await slack.db.fetchval("select reason from decisions where approval_id = $1::uuid", approval)
    assert reason == "we still need it"


async def test_a_form_that_comes_too_late_says_so_in_itself(slack: SlackHouse) -> None:
    await slack.ann.mention(DELETE, "C0OPS")
    _, card = await slack.ask()
    await slack.ann.press(card, "Deny with a reason…")
    await slack.until(slack.ann.views)
    await slack.bob.press(card, "Approve")
    answer = (await slack.ann.submit(slack.ann.views()[0], {"reason": "no"})).answer
    assert answer is not None
    assert "already approved by Bob" in answer["errors"]["reason"]


async def test_an_edit_is_a_form_of_the_arguments_with_its_errors_in_place(slack: SlackHouse) -> None:
    await slack.ann.mention(DELETE, "C0OPS")
    approval, card = await slack.ask()
    await slack.ann.press(card, "Edit…")
    await slack.until(lambda: [one for one in slack.ann.views() if "submit" in one.body])
    [view] = slack.ann.views()
    assert [call.body["view"].get("submit") is None for call in slack.sim.journal.of("slack", "views.open")] == [True]
    wrong = (await slack.ann.submit(view, {"arg:paths": "old.log\n{{ 1.paths }}"})).answer
    assert wrong is not None and "references" in wrong["errors"]["arg:paths"]
    assert (await slack.ann.submit(view, {"arg:paths": "new.log\nother.log"})).acked
    assert await slack.status_of(approval) == "superseded"
    assert await slack.db.fetchval("select args from steps") == {"paths": ["new.log", "other.log"]}


async def test_what_the_schema_forbids_is_said_at_its_field(slack: SlackHouse) -> None:
    await slack.ann.mention(DELETE, "C0OPS")
    approval, card = await slack.ask()
    await slack.ann.press(card, "Edit…")
    await slack.until(lambda: [one for one in slack.ann.views() if "submit" in one.body])
    refused = (await slack.ann.submit(slack.ann.views()[0], {"arg:paths": "\n"})).answer
    assert refused is not None and list(refused["errors"]) == ["arg:paths"]
    assert await slack.status_of(approval) == "pending"


async def test_a_form_for_an_edit_shows_a_stranger_and_a_late_one_nothing(slack: SlackHouse) -> None:
    await slack.ann.mention(DELETE, "C0OPS")
    _, card = await slack.ask()
    await slack.eve.press(card, "Edit…")
    await slack.until(lambda: [one for one in slack.eve.views() if "nothing here that you can edit" in str(one.body)])
    await slack.ann.press(card, "Approve")
    await slack.ann.press(card, "Edit…", version=0)
    await slack.until(lambda: [one for one in slack.ann.views() if "decided already" in str(one.body)])
    assert "old.log" not in str([one.body for one in (*slack.eve.views(), *slack.ann.views())])


@pytest.mark.parametrize("button", ["Edit…", "Ask the agent…", "Deny with a reason…"])
async def test_a_trigger_that_is_spent_or_too_old_is_said(slack: SlackHouse, button: str) -> None:
    await slack.ann.mention(DELETE, "C0OPS")
    _, card = await slack.ask()
    slack.sim.world.trigger_life_s = 0.0
    await slack.ann.press(card, button)
    await slack.told(slack.ann, "Please press again; or go without it")
    assert slack.ann.views() == []
    slack.sim.world.trigger_life_s = PATIENCE_S
    first = await slack.ann.press(card, button)
    await slack.until(slack.ann.views)
    await slack.sim.deliver("interactive", first.payload)
    await slack.until(lambda: len(slack.sim.ephemeral("U01ALICE")) == 2)
    assert len(slack.ann.views()) == 1


async def test_a_form_closed_before_it_is_filled_in_is_no_error(slack: SlackHouse) -> None:
    await slack.ann.mention(DELETE, "C0OPS")
    approval, card = await slack.ask()
    let_go = hold(slack.sim.line, "views.update")
    await slack.ann.press(card, "Edit…")
    await slack.until(slack.ann.views)
    await slack.ann.close(slack.ann.views()[0])
    let_go.set()
    await slack.until(lambda: any(one.note == "not_found" for one in slack.sim.journal.of("slack", "views.update")))
    assert slack.sim.ephemeral("U01ALICE") == []
    assert await slack.status_of(approval) == "pending"


async def test_a_form_that_slack_does_not_fill_in_says_so(slack: SlackHouse) -> None:
    await slack.ann.mention(DELETE, "C0OPS")
    _, card = await slack.ask()
    slack.sim.faults.add("views.update", 1, status(429, 1))
    await slack.ann.press(card, "Edit…")
    await slack.until(lambda: "could not be loaded" in str([one.body for one in slack.ann.views()]))
    [view] = slack.ann.views()
    assert "submit" not in view.body


async def test_a_card_is_looked_at_handed_on_and_asked_about(slack: SlackHouse) -> None:
    await slack.ann.mention(DELETE, "C0OPS")
    approval, card = await slack.ask()
    await slack.ann.press(card, "I'm looking")
    await slack.ann.press(card, "Hand it on…")
    await slack.until(slack.ann.views)
    [view] = slack.ann.views()
    refused = (await slack.ann.submit(view, {"reason": "U09MAL"})).answer
    assert refused is not None and "I don't know that person" in refused["errors"]["reason"]
    assert (await slack.ann.submit(view, {"reason": "U01EVE"})).answer is None
    await slack.ann.press(card, "Ask the agent…")
    await slack.until(slack.ann.views)
    assert (await slack.ann.submit(slack.ann.views()[0], {"reason": "why this one?"})).answer is None
    found = await slack.db.fetch(
        "select verdict, reason from decisions where approval_id = $1::uuid order by id", approval
    )
    assert [row["verdict"] for row in found] == ["looking", "delegate", "ask"]
    assert found[1]["reason"] == "to Eve"
