"""The Home tab: what is mine in it, what leads on from it, and that it follows what happens without being sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.db import Pool
from core.organisation import parse
from core.ring import Ring
from core.store import grants, people
from tests.patience import PATIENCE_S
from tests.sim.slack_people import Person
from tests.sim.slack_world import View, interactive, texts
from tests.slack_house import SlackHouse, open_slack_house

ORGANISATION = parse("timezone: Europe/Berlin\nquiet_hours: {from: '22:00', to: '07:00'}")


@pytest.fixture
async def slack(db: Pool, tmp_path: Path) -> AsyncIterator[SlackHouse]:
    async with open_slack_house(db, tmp_path, "http", organisation=ORGANISATION) as opened:
        yield opened


async def home_of(slack: SlackHouse, person: Person) -> View:
    before = slack.sim.home(person.id)
    assert (await person.open_home()).acked
    await slack.until(lambda: slack.sim.home(person.id) not in (None, before))
    view = slack.sim.home(person.id)
    assert view is not None
    return view


def said(view: View | None) -> str:
    return "\n".join(texts(view.body["blocks"])) if view else ""


def links(view: View) -> dict[str, str]:
    return {one["text"]["text"]: one["url"] for _, one in interactive(view.body["blocks"]) if "url" in one}


def published(slack: SlackHouse) -> int:
    return len(slack.sim.journal.of("slack", "views.publish", "in"))


async def grant(slack: SlackHouse) -> str:
    ann = await people.by_key(slack.db, "ann")
    assert ann is not None
    given = {
        "skill": "files.delete",
        "skill_version": "",
        "schema_hash": "",
        "args": {"paths": {"is": ["old.log"]}},
        "uses": 3,
    }
    return await grants.give(slack.db, owner=ann.id, holder=ann.id, grant=given | {"lasts_s": 3600})


async def test_it_shows_what_is_mine_and_leads_to_the_card(slack: SlackHouse) -> None:
    await slack.ann.mention("do files.delete paths=old.log", "C0OPS")
    _, card = await slack.ask()
    await grant(slack)
    view = await home_of(slack, slack.ann)
    shown = said(view)
    for words in (
        "Delete old.log from the workspace", "asked by Ann", "do files.delete paths=old.log (waiting)", "You are Ann",
        "Slack: T0ACME/U01ALICE", "Quiet hours: 22:00 to 07:00", "Europe/Berlin", "3 more times",
    ):  # fmt: skip
        assert words in shown
    assert links(view)["Open the card"] == f"https://acme.slack.com/archives/C0OPS/p{card.ts.replace('.', '')}"
    assert links(view)["Open the inbox"] == "https://sayso.acme.example"
    assert "Approve" not in shown, "an action is approved where all of it is shown"


async def test_others_tasks_and_cards_are_not_in_it(slack: SlackHouse) -> None:
    await slack.ann.mention("do files.delete paths=secret-plan.log", "C0OPS")
    await slack.ask()
    shown = said(await home_of(slack, slack.eve))
    assert "Nothing waits" in shown
    assert "secret-plan" not in shown


async def test_a_stranger_sees_that_they_are_one(slack: SlackHouse) -> None:
    await slack.ann.say("do files.list")
    view = await home_of(slack, slack.sim.user("U09MAL", "mallory"))
    assert said(view) == "I don't know you. Write me a message here and I will tell you how to be let in."


async def test_it_follows_what_happens_and_is_not_sent_again_for_nothing(slack: SlackHouse) -> None:
    await home_of(slack, slack.ann)
    before = published(slack)
    await slack.adapter.home.refresh()
    assert published(slack) == before
    await slack.ann.say("do files.list")
    await slack.adapter.home.refresh()
    await slack.adapter.home.refresh()
    assert published(slack) == before + 1
    assert "do files.list" in said(slack.sim.home("U01ALICE"))


async def test_a_bell_refreshes_the_tabs_that_are_open(db: Pool, tmp_path: Path, redis_url: str) -> None:
    async with open_slack_house(db, tmp_path, "http", redis_url=redis_url) as slack:
        await home_of(slack, slack.ann)
        running = asyncio.create_task(slack.adapter.home.run())
        ring = Ring.open(redis_url)
        try:
            await slack.ann.say("do files.list")
            async with asyncio.timeout(PATIENCE_S):
                while "do files.list" not in said(slack.sim.home("U01ALICE")):
                    ring.outbox()
                    await asyncio.sleep(0.1)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await ring.close()
        assert published(slack) == 2, "once when it was opened, once for what happened"


async def test_a_task_is_stopped_and_a_permission_revoked_from_it(slack: SlackHouse) -> None:
    await slack.ann.say("do files.delete paths=old.log")
    await slack.ask()
    given = await grant(slack)
    view = await home_of(slack, slack.ann)
    pressed = await slack.ann.press(view, "Stop")
    assert pressed.acked
    await slack.until(lambda: "is cancelled" in said(slack.sim.home("U01ALICE")))
    assert await slack.db.fetchval("select status from tasks") == "cancelled"
    view = slack.sim.home("U01ALICE") or view
    slack.adapter.home._open.clear()  # as in a process that did not see it opened
    assert (await slack.ann.press(view, "Revoke")).acked
    await slack.until(lambda: "That permission has ended" in said(slack.sim.home("U01ALICE")))
    ann = await people.by_key(slack.db, "ann")
    assert ann is not None
    assert given not in [one["id"] for one in await grants.listed(slack.db, ann.id)]
    assert (await slack.sim.deliver("interactive", pressed.payload)).acked, "the same press again does nothing"


@pytest.mark.parametrize("who", ["eve", "elsewhere"])
async def test_a_button_of_the_tab_gives_nobody_a_right(slack: SlackHouse, who: str) -> None:
    await slack.ann.say("do files.delete paths=old.log")
    given = await grant(slack)
    view = await home_of(slack, slack.ann)
    team = "T0OTHER" if who == "elsewhere" else None
    presser = slack.ann if who == "elsewhere" else slack.eve
    for button in ("Stop", "Revoke"):
        assert (await presser.press(view, button, from_team=team)).acked
    assert await slack.db.fetchval("select status from tasks") in ("queued", "running")
    ann = await people.by_key(slack.db, "ann")
    assert ann is not None
    assert given in [one["id"] for one in await grants.listed(slack.db, ann.id)]


async def test_a_link_of_the_tab_that_is_followed_is_acknowledged(slack: SlackHouse) -> None:
    view = await home_of(slack, slack.ann)
    assert (await slack.ann.press(view, "Open the inbox")).acked


async def test_a_workspace_without_home_tabs_is_asked_again_only_after_a_while(
    slack: SlackHouse, caplog: pytest.LogCaptureFixture
) -> None:
    slack.sim.lacks["views.publish"] = "not_enabled"
    await slack.ann.open_home()
    await slack.until(lambda: "goes without it" in caplog.text)
    await slack.bob.open_home()
    await slack.adapter.home.refresh()
    assert published(slack) == 1
    assert slack.sim.home("U01BOB") is None
    del slack.sim.lacks["views.publish"]
    slack.adapter.home._refused_until = 0.0
    await slack.adapter.home.refresh()
    assert slack.sim.home("U01BOB") is not None


async def test_a_tab_that_slack_does_not_take_is_nobody_elses_loss(
    slack: SlackHouse, caplog: pytest.LogCaptureFixture
) -> None:
    slack.sim.lacks["views.publish"] = "user_not_found"
    await slack.ann.open_home()
    await slack.until(lambda: "somebody's Home tab" in caplog.text)
    del slack.sim.lacks["views.publish"]
    assert await home_of(slack, slack.bob)
    assert slack.sim.home("U01ALICE") is None


async def test_many_things_stay_within_slacks_limits(slack: SlackHouse) -> None:
    for n in range(12):
        await slack.ann.mention(f"do files.delete paths={n}{'x' * 600}.log", "C0OPS")
    await home_of(slack, slack.ann)
    assert "and 2 more" in said(slack.sim.home("U01ALICE"))
