"""Slack's way out: what is posted and edited, what each error means for the message, and how a lost answer is found."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bot.sending import MaybeSent, NotSent
from bot.slack.sender import SlackSender
from core.cards import Card
from core.db import Pool
from core.settings import Settings
from core.store.conversations import Conversation
from tests.sim.faults import DONE_BUT_ANSWER_LOST, DROP_BEFORE, Kind, delay, status
from tests.sim.slack import SlackSim
from tests.slack_house import open_slack_house, some_card
from tests.test_slack_blocks import approval, run_card

OPS = Conversation(1, "slack", "T0ACME/C0OPS", "", False)
DM = Conversation(3, "slack", "T0ACME/U01ALICE", "", True)


@pytest.fixture
async def sim() -> AsyncIterator[SlackSim]:
    async with SlackSim() as running:
        running.user("U01ALICE", "alice")
        yield running


def sender_for(sim: SlackSim, **more: str) -> SlackSender:
    given = {"slack_bot_token": sim.bot_token, "slack_api_url": sim.api_url, "slack_signing_secret": "s"} | more
    return SlackSender(Settings.model_validate(given))


@pytest.fixture
def sender(sim: SlackSim) -> SlackSender:
    return sender_for(sim)


async def thread(sim: SlackSim) -> Conversation:
    ts = (await sim.user("U01ALICE").mention("x", "C0OPS")).ts
    return Conversation(2, "slack", "T0ACME/C0OPS", ts, False)


async def test_every_post_unfurls_nothing_and_carries_our_id(sim: SlackSim, sender: SlackSender) -> None:
    place = await thread(sim)
    for conversation, content in ((OPS, "words"), (place, approval()), (DM, some_card())):
        await sender.post(conversation, content, 7)
    for call in sim.journal.of("slack", "chat.postMessage"):
        assert call.body["unfurl_links"] is False
        assert call.body["unfurl_media"] is False
        assert call.body["text"]
        assert call.body["metadata"] == {"event_type": "sayso_message", "event_payload": {"id": "7"}}
    assert [c.body.get("thread_ts") for c in sim.journal.of("slack", "chat.postMessage")] == [None, place.thread, None]
    assert sim.violations == []


async def test_a_card_is_edited_in_place(sim: SlackSim, sender: SlackSender) -> None:
    ref = await sender.post(OPS, approval(), 1)
    await sender.edit(OPS, ref, approval(buttons=(), status="approved", expires_at=None))
    [shown] = sim.messages("C0OPS")
    assert (shown.ts, shown.buttons()) == (ref, [])
    assert "approved" in shown.text
    assert sim.violations == []


async def test_a_person_is_reached_in_our_direct_conversation(sim: SlackSim, sender: SlackSender) -> None:
    ref = await sender.post(DM, some_card(), 1)
    await sender.edit(DM, ref, some_card())
    assert [one.ts for one in sim.user("U01ALICE").messages()] == [ref]
    assert len(sim.journal.of("slack", "conversations.open")) == 1


async def test_a_rate_limit_is_waited_out_by_the_courier_and_not_here(sim: SlackSim, sender: SlackSender) -> None:
    sim.faults.add("chat.postMessage", 1, status(429, 17))
    with pytest.raises(NotSent) as refused:
        await sender.post(OPS, "x", 1)
    assert refused.value.retry_s == 17
    assert len(sim.journal.of("slack", "chat.postMessage")) == 1


@pytest.mark.parametrize(("channel", "fix"), [("C0AWAY", "/invite"), ("C0NOWHERE", "/invite"), ("C0OLD", "archived")])
async def test_a_certain_refusal_names_its_fix(sim: SlackSim, sender: SlackSender, channel: str, fix: str) -> None:
    sim.channel("C0AWAY", "away", with_app=False)
    sim.channel("C0OLD", "old").archived = True
    with pytest.raises(NotSent, match=fix) as refused:
        await sender.post(Conversation(4, "slack", f"T0ACME/{channel}", "", False), "x", 1)
    assert refused.value.retry_s is None


async def test_a_wrong_token_names_its_fix(sim: SlackSim) -> None:
    with pytest.raises(NotSent, match="SLACK_BOT_TOKEN is not valid") as refused:
        await sender_for(sim, slack_bot_token="xoxb-wrong").post(OPS, "x", 1)
    assert refused.value.retry_s is None


async def test_a_message_that_is_gone_is_not_edited_again(sim: SlackSim, sender: SlackSender) -> None:
    with pytest.raises(NotSent, match="message_not_found") as refused:
        await sender.edit(OPS, "1.1", some_card())
    assert refused.value.retry_s is None


async def test_a_slack_that_is_away_has_certainly_nothing() -> None:
    settings = Settings.model_validate({"slack_bot_token": "x", "slack_api_url": "http://127.0.0.1:1/api/"})
    with pytest.raises(NotSent) as refused:
        await SlackSender(settings).post(OPS, "x", 1)
    assert refused.value.retry_s


@pytest.mark.parametrize("fault", [DROP_BEFORE, DONE_BUT_ANSWER_LOST, status(500), status(503)])
async def test_an_answer_that_is_lost_is_not_a_reason_to_post_twice(
    sim: SlackSim, sender: SlackSender, fault: Kind
) -> None:
    sim.faults.add("chat.postMessage", 1, fault)
    with pytest.raises(MaybeSent):
        await sender.post(OPS, "x", 1)
    assert len(sim.messages("C0OPS")) <= 1
    assert len(sim.journal.of("slack", "chat.postMessage")) == 1


async def test_an_answer_that_takes_too_long_may_have_been_sent(sim: SlackSim, sender: SlackSender) -> None:
    sim.faults.add("chat.postMessage", 1, delay(0.6))
    sender.once.timeout = 0.2  # type: ignore[assignment]  # the SDK says int and passes it to aiohttp, which takes both
    with pytest.raises(MaybeSent):
        await sender.post(OPS, "x", 1)


async def test_an_edit_is_simply_repeated(sim: SlackSim, sender: SlackSender) -> None:
    ref = await sender.post(OPS, some_card(), 1)
    sim.faults.add("chat.update", 1, DROP_BEFORE)
    await sender.edit(OPS, ref, some_card().model_copy(update={"status": "succeeded"}))
    assert "succeeded" in sim.messages("C0OPS")[0].text


async def test_a_message_whose_answer_was_lost_is_found_by_our_id(sim: SlackSim, sender: SlackSender) -> None:
    place = await thread(sim)
    for conversation in (OPS, place, DM):
        await sender.post(conversation, "another", 1)
        sim.faults.add("chat.postMessage", 1, DONE_BUT_ANSWER_LOST)
        with pytest.raises(MaybeSent):
            await sender.post(conversation, "x", 2)
        ref = await sender.find(conversation, 2)
        assert ref is not None
        assert next(one for one in sim.world.posted if one.ts == ref).metadata == {
            "event_type": "sayso_message",
            "event_payload": {"id": "2"},
        }
        assert await sender.find(conversation, 3) is None
    assert sim.violations == []


async def test_what_cannot_be_looked_up_is_not_there(sender: SlackSender) -> None:
    assert await sender.find(Conversation(4, "slack", "T0ACME/C0NOWHERE", "", False), 1) is None


async def test_a_lookup_that_must_wait_is_not_an_answer(sim: SlackSim, sender: SlackSender) -> None:
    sim.faults.add("conversations.history", 1, status(429, 5))
    with pytest.raises(NotSent):
        await sender.find(OPS, 1)


@pytest.mark.parametrize(("card", "newest"), [(approval(), "container"), (run_card(), "plan")])
async def test_a_slack_without_the_newest_blocks_gets_the_simple_card_and_is_not_asked_again(
    card: Card, newest: str
) -> None:
    """A workspace whose Slack is older than the block."""
    taken: list[list[str]] = []

    async def post(request: web.Request) -> web.Response:
        taken.append([block["type"] for block in (await request.json())["blocks"]])
        known = newest not in taken[-1]
        return web.json_response({"ok": True, "ts": "1.1"} if known else {"ok": False, "error": "invalid_blocks"})

    app = web.Application()
    app.add_routes([web.post("/api/chat.postMessage", post), web.post("/api/chat.update", post)])
    async with TestServer(app) as server:
        settings = Settings.model_validate({"slack_bot_token": "x", "slack_api_url": str(server.make_url("/api/"))})
        sender = SlackSender(settings)
        assert await sender.post(OPS, card, 1) == "1.1"
        await sender.edit(OPS, "1.1", card)
    assert [newest in kinds for kinds in taken] == [True, False, False]
    assert all("header" in kinds for kinds in taken)


async def test_a_card_that_is_too_large_for_slack_arrives_smaller_and_without_its_yes() -> None:
    """Slack does not publish from what size on it refuses blocks."""
    text, blocks = await _arrives(approval(exact="x" * 7000), most=4000, error="msg_blocks_too_long", forms=3)
    assert text.startswith("Delete old.log from the workspace")
    assert blocks and "x" * 7000 not in str(blocks)


async def test_a_card_of_which_slack_takes_no_block_arrives_as_a_line_and_an_address() -> None:
    text, blocks = await _arrives(approval(), most=0, error="invalid_blocks", forms=4)
    assert blocks == []
    assert text == f"Delete old.log from the workspace (waiting for a decision)\nhttp://127.0.0.1:8080{approval().path}"


async def test_words_that_are_too_large_for_slack_are_cut_and_say_so() -> None:
    _, blocks = await _arrives("y" * 6000, most=3000, error="msg_too_long", forms=2)
    assert "more characters" in str(blocks)


async def _arrives(content: Card | str, *, most: int, error: str, forms: int) -> tuple[str, list[Any]]:
    """A Slack that takes at most so many characters of blocks; what arrives there in the end, after so many tries."""
    tried: list[dict[str, Any]] = []

    async def post(request: web.Request) -> web.Response:
        tried.append(await request.json())
        fits = not tried[-1]["blocks"] or len(json.dumps(tried[-1]["blocks"])) <= most
        return web.json_response({"ok": True, "ts": "1.1"} if fits else {"ok": False, "error": error})

    app = web.Application()
    app.add_routes([web.post("/api/chat.postMessage", post)])
    async with TestServer(app) as server:
        given = {"slack_bot_token": "x", "slack_api_url": str(server.make_url("/api/"))}
        assert await SlackSender(Settings.model_validate(given)).post(OPS, content, 1) == "1.1"
    assert len(tried) == forms
    assert not any(name in str(tried[-1]["blocks"]) for name in ("sayso:approve", "sayso:grant"))
    return tried[-1]["text"], tried[-1]["blocks"]


async def test_a_lost_message_is_not_looked_for_before_slack_allows_it(db: Pool, tmp_path: Path) -> None:
    async with open_slack_house(db, tmp_path, "http") as slack:
        slack.sim.faults.add("chat.postMessage", 1, DONE_BUT_ANSWER_LOST)
        slack.sim.faults.add("conversations.replies", 1, status(429, 60))
        await slack.ann.say("do files.list")
        await slack.delivered(lambda: slack.sim.journal.of("slack", "conversations.replies"))
        for _ in range(3):
            await slack.courier.deliver()
        assert len(slack.sim.journal.of("slack", "conversations.replies")) == 1
