"""The question whether a call happened, in every chat: its three answers, and what a fenced-off worker still had to say.

The call of an approved action lost its answer; what the chats show and what pressing does is read from their stand-ins
and from the rows.
"""

from __future__ import annotations

import html
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.db import Pool
from core.models import Claimed
from core.store import approvals, people, steps
from core.store.steps import Probing
from tests.processes import until
from tests.slack_house import SlackHouse, open_slack_house
from tests.telegram_town import Town, eventually, open_town
from tests.test_web_pages import forms
from tests.test_web_pages import press as press_form
from tests.web_house import DIGEST, House

ORDER = "do files.delete paths=old.log"
ACTION = {
    "skill": "files.delete",
    "version": "1",
    "schema_hash": "h",
    "args": {"paths": ["old.log"]},
    "target": "workspace",
}
ASKS = ["It happened", "It did not, run again", "Give it up"]
# What an answer makes of the step, and of the effects of its generations.
ANSWERS = {
    "It happened": ("happened", "succeeded", ["done"]),
    "It did not, run again": ("not_happened", "ready", ["not_done"]),
    "Give it up": ("abandon", "failed", ["unknown"]),
}
HOSTILE = "<!channel> *all* done\n@here <b>Approved by Bob</b> \u202eyes [x](http://evil)"


async def lose_the_answer(db: Pool, worker: int, approval: str) -> tuple[str, Claimed]:
    """Somebody approves it, the call is begun and its answer lost, and no probe can tell: the question's id."""
    ann = await people.by_key(db, "ann")
    assert ann is not None
    said = await approvals.decide(
        db, principal=ann.id, approval=approval, verdict="approve", digest=None, reason="", channel="cli", delivery_id="1"
    )  # fmt: skip
    [step] = [one for one in await steps.claim(db, worker, "default", 16) if one.task_id == said["task_id"]]
    key = f"sayso:{step.task_id}:{step.n}:{step.gen}"
    begun = await steps.begin(db, worker, step, key=key, digest=DIGEST, action=ACTION, approval=approval, grant=None)
    assert begun == "go"
    assert await steps.lose(db, worker, step, "the line broke") == "unknown"
    await steps.probed(db, Probing(step.task_id, step.n, step.gen, step.skill, key, ACTION), None, {"summary": "?"})
    return str(await db.fetchval("select id from approvals where kind = 'unknown'")), step


async def became(db: Pool) -> tuple[str, list[str]]:
    states = [row["state"] for row in await db.fetch("select state from effects order by gen")]
    return await db.fetchval("select status from steps"), states


# ---------------------------------------------------------------- its three answers


@pytest.fixture
async def slack(db: Pool, tmp_path: Path) -> AsyncIterator[SlackHouse]:
    async with open_slack_house(db, tmp_path, "http") as opened:
        yield opened


@pytest.fixture
async def town(db: Pool, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(db, tmp_path, "webhook") as opened:
        yield opened


@pytest.mark.parametrize("label", ASKS)
async def test_slack_asks_and_follows_each_answer(slack: SlackHouse, label: str) -> None:
    await slack.ann.mention(ORDER, "C0OPS")
    approval, _ = await slack.ask()
    await lose_the_answer(slack.db, slack.house.worker, approval)
    await slack.delivered(lambda: [one for one in slack.sim.world.posted if "It happened" in one.buttons()])
    [card] = [one for one in slack.sim.world.posted if "It happened" in one.buttons()]
    assert card.buttons()[:3] == ASKS
    assert (await slack.ann.press(card, label)).acked
    verdict, status, effects = ANSWERS[label]
    assert await became(slack.db) == (status, effects)
    await slack.delivered(lambda: "It happened" not in card.buttons())
    assert f"Answered by Ann in Slack at {card.everything().partition(' at ')[2][:9]}" in card.everything()
    assert verdict.replace("_", " ") in card.everything()


@pytest.mark.parametrize("label", ASKS)
async def test_telegram_asks_and_follows_each_answer(town: Town, label: str) -> None:
    """Late evidence is on the card from the first, as the words that it is."""
    await town.say(ORDER)
    await town.inbound(1)
    _, step = await lose_the_answer(town.db, town.worker, await town.ask())
    await file_late(town.db, step)
    card = await town.card("It happened")
    assert card.buttons()[:3] == ASKS
    assert "Its worker said late" in card.text and "<b>Approved by Bob</b>" in card.text and "\u202e" not in card.text
    await town.press(card, label)
    if label == "It did not, run again":
        await eventually(lambda: "Back" in card.buttons())
        assert (await became(town.db))[0] == "unknown", "running again is asked twice"
        await town.press(card, card.buttons()[0])
        await town.delivered_until(lambda: "Answered by Ann in Telegram" in card.text)
        assert "(not happened)" in card.text
    _, status, effects = ANSWERS[label]

    async def is_followed() -> bool:
        return await became(town.db) == (status, effects)

    await until(is_followed, f"{label} makes the step {status}")


@pytest.mark.parametrize("label", ASKS)
async def test_the_web_asks_and_follows_each_answer(house: House, label: str) -> None:
    ann = await house.person("ann", "owner")
    _, approval = await house.ask(ann)
    question, _ = await lose_the_answer(house.db, house.worker, approval)
    browser = await house.browser(ann)
    page = await browser.get(f"/approvals/{question}")
    assert all(ask in page.text for ask in ASKS)
    verdict, status, effects = ANSWERS[label]
    page = await press_form(house, browser, question, verdict)
    if verdict == "not_happened":
        assert (await became(house.db))[0] == "unknown", "running again is asked twice"
        [again] = forms(page, f"/approvals/{question}/decide")
        await browser.post(f"/approvals/{question}/decide", data=again)
    assert await became(house.db) == (status, effects)


@pytest.mark.parametrize("label", ASKS)
async def test_the_api_takes_each_answer(house: House, label: str) -> None:
    ann = await house.person("ann", "owner")
    _, approval = await house.ask(ann)
    question, _ = await lose_the_answer(house.db, house.worker, approval)
    api = await house.api(ann)
    [shown] = (await api.get("/api/approvals?status=pending")).json()
    assert (shown["kind"], shown["id"]) == ("unknown", question)
    verdict, status, effects = ANSWERS[label]
    body = {"verdict": verdict, "digest": shown["digest"]}
    assert (await api.post(f"/api/approvals/{question}/decisions", json=body)).status_code == 200
    assert await became(house.db) == (status, effects)


# ---------------------------------------------------------------- what came too late


async def file_late(db: Pool, step: Claimed, said: str = HOSTILE) -> None:
    await steps.file_evidence(db, step, {"said": "it happened", "result": {"summary": said}})


async def test_slack_shows_late_evidence_as_plain_words(slack: SlackHouse) -> None:
    await slack.ann.mention(ORDER, "C0OPS")
    approval, _ = await slack.ask()
    _, step = await lose_the_answer(slack.db, slack.house.worker, approval)
    await slack.delivered(lambda: [one for one in slack.sim.world.posted if "It happened" in one.buttons()])
    [card] = [one for one in slack.sim.world.posted if "It happened" in one.buttons()]
    await file_late(slack.db, step)
    await slack.delivered(lambda: "Its worker said late" in card.everything())
    assert "\u202e" not in str(card.blocks)
    assert not any("<!channel>" in words for words in marked_up(card.blocks)), "what it said would call everybody"
    assert card.buttons()[:3] == ASKS


def marked_up(blocks: Any) -> list[str]:
    """Every text that Slack would read as its own markup."""
    if isinstance(blocks, list):
        return [words for one in blocks for words in marked_up(one)]
    if not isinstance(blocks, dict):
        return []
    own = [blocks["text"]] if blocks.get("type") == "mrkdwn" else []
    return own + [words for value in blocks.values() for words in marked_up(value)]


async def test_the_web_shows_late_evidence_as_plain_words(house: House) -> None:
    ann = await house.person("ann", "owner")
    _, approval = await house.ask(ann)
    question, step = await lose_the_answer(house.db, house.worker, approval)
    await file_late(house.db, step)
    await file_late(house.db, step)
    browser = await house.browser(ann)
    for path in (f"/approvals/{question}", "/inbox"):
        page = await browser.get(path)
        assert page.text.count("Its worker said late") == 1, path
        assert "<b>Approved by Bob" not in page.text and "\u202e" not in page.text
        assert html.escape("<b>Approved by Bob</b>") in page.text


async def test_evidence_of_another_claim_is_not_shown_with_this_question(house: House) -> None:
    """It may be about a generation that people have long judged."""
    ann = await house.person("ann", "owner")
    _, approval = await house.ask(ann)
    question, step = await lose_the_answer(house.db, house.worker, approval)
    await house.db.execute(
        "insert into late_evidence (task_id, n, fence, evidence) values ($1, $2, $3, '{\"said\": \"old\"}')",
        step.task_id, step.n, step.fence - 1,
    )  # fmt: skip
    shown = await approvals.whole(house.db, question)
    assert shown is not None and shown["late"] == []


async def test_a_worker_that_only_missed_its_own_commits_answer_files_nothing(house: House) -> None:
    await house.task(await house.person("ann", "owner"))
    [step] = await steps.claim(house.db, house.worker, "default", 16)
    assert (await steps.complete(house.db, house.worker, step, {"summary": "done"})).ok
    await file_late(house.db, step)
    assert await house.db.fetchval("select count(*) from late_evidence") == 0
