"""An answer in Slack while it is written: streamed in threads, edited elsewhere, and in the end one message with all of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bot.drafts import Drafts
from bot.sending import DraftGone, Drafting, MaybeSent, NotSent
from bot.slack.drafts import PIECES_MOST
from bot.slack.sender import SlackSender
from core.db import Pool
from core.settings import Settings
from core.store.conversations import Conversation
from core.store.people import requester_in
from tests.sim.faults import DONE_BUT_ANSWER_LOST, DROP_BEFORE, status
from tests.sim.slack import SlackSim
from tests.sim.slack_world import Message
from tests.slack_house import open_slack_house
from tests.test_slack_blocks import HOSTILE, inside
from tests.web_house import NOWHERE

TASK = 17
FIRST = "The logs take 3 GB.\n"
MORE = f"{FIRST}Most of it comes from the nightly build.\nNobody has looked at it since"
WHOLE = f"{MORE} the summer."
DM = Conversation(3, "slack", "T0ACME/U01ALICE", "", True)


async def alice(task: int, home: str) -> str | None:
    return "T0ACME/U01ALICE" if (task, home) == (TASK, "T0ACME") else None


def sender_for(sim: SlackSim, recipient: Any = alice) -> SlackSender:
    given = {"slack_bot_token": sim.bot_token, "slack_api_url": sim.api_url, "slack_signing_secret": "s"}
    return SlackSender(Settings.model_validate(given), recipient)


@pytest.fixture
async def sim() -> AsyncIterator[SlackSim]:
    async with SlackSim() as running:
        yield running
        assert running.violations == []
        assert running.faults.unmet() == []


@pytest.fixture
def sender(sim: SlackSim) -> SlackSender:
    return sender_for(sim)


@pytest.fixture
async def thread(sim: SlackSim) -> Conversation:
    ts = (await sim.user("U01ALICE", "alice").mention("how much?", "C0OPS")).ts
    return Conversation(2, "slack", "T0ACME/C0OPS", ts, False)


def ours(sim: SlackSim) -> list[Message]:
    return [one for one in sim.world.posted if one.bot_id and not one.deleted]


def calls(sim: SlackSim) -> list[str]:
    return [one.method.removeprefix("chat.") for one in sim.journal.of("slack", direction="in")]


def said(message: Message) -> str:
    return "".join(one["text"] for one in inside(message.blocks) if one.get("type") == "text")


async def ends_well(sim: SlackSim, sender: SlackSender, place: Conversation, live: str) -> None:
    assert await sender.finish(place, live, WHOLE, 7) == live
    [message] = ours(sim)
    assert (message.ts, said(message), message.is_streaming()) == (live, WHOLE, False)
    assert message.metadata == {"event_type": "sayso_message", "event_payload": {"id": "7"}}


def test_slack_is_a_channel_that_shows_drafts(sender: SlackSender) -> None:
    assert isinstance(sender, Drafting)


async def test_a_thread_sees_the_answer_grow_and_then_whole(
    sim: SlackSim, sender: SlackSender, thread: Conversation
) -> None:
    live = await sender.draft(thread, TASK, FIRST, None)
    assert live is not None
    assert await sender.draft(thread, TASK, MORE, live) == live
    [message] = ours(sim)
    assert (message.thread_ts, message.is_streaming()) == (thread.thread, True)
    assert said(message) == "The logs take 3 GB.Most of it comes from the nightly build."
    await ends_well(sim, sender, thread, live)
    assert calls(sim) == ["startStream", "appendStream", "stopStream", "update"]


async def test_nothing_is_begun_before_there_is_a_sentence(
    sim: SlackSim, sender: SlackSender, thread: Conversation
) -> None:
    assert await sender.draft(thread, TASK, "The logs", None) is None
    assert await sender.draft(thread, TASK, "The logs take 3 GB. Most", None) is not None
    assert said(ours(sim)[0]) == "The logs take 3 GB."


async def test_what_a_model_writes_is_letters_and_no_markup(
    sim: SlackSim, sender: SlackSender, thread: Conversation
) -> None:
    live = await sender.draft(thread, TASK, f"{HOSTILE}\nx", None)
    assert live is not None
    [message] = ours(sim)
    kinds = {one["type"] for one in inside(message.blocks)}
    assert kinds == {"rich_text", "rich_text_section", "text"}
    assert "\u202e" not in said(message)
    assert message.text == ""


@pytest.mark.parametrize("dies", ["before a piece", "before the end"])
async def test_a_stream_that_dies_is_gone_on_with_by_edits(
    sim: SlackSim, sender: SlackSender, thread: Conversation, dies: str
) -> None:
    live = await sender.draft(thread, TASK, FIRST, None)
    assert live is not None
    ours(sim)[0].streaming_until = 0.0
    if dies == "before a piece":
        await sender.draft(thread, TASK, MORE, live)
        await sender.draft(thread, TASK, MORE, live)
        assert said(ours(sim)[0]) == MORE
    await ends_well(sim, sender, thread, live)


async def test_another_process_goes_on_where_the_first_one_ended(
    sim: SlackSim, sender: SlackSender, thread: Conversation
) -> None:
    live = await sender.draft(thread, TASK, FIRST, None)
    other = sender_for(sim)
    assert await other.draft(thread, TASK, MORE, live) == live
    assert said(ours(sim)[0]) == MORE
    assert live is not None
    await ends_well(sim, sender_for(sim), thread, live)


async def test_a_text_that_was_rewritten_replaces_what_was_shown(
    sim: SlackSim, sender: SlackSender, thread: Conversation
) -> None:
    """A secret is known as one only when all of it is there."""
    live = await sender.draft(thread, TASK, "The key is hunter\n", None)
    await sender.draft(thread, TASK, "The key is [secret].\n", live)
    assert "hunter" not in ours(sim)[0].everything()


async def test_a_start_whose_answer_is_lost_is_found_and_not_begun_again(
    sim: SlackSim, sender: SlackSender, thread: Conversation
) -> None:
    sim.faults.add("chat.startStream", 1, DONE_BUT_ANSWER_LOST)
    live = await sender.draft(thread, TASK, FIRST, None)
    assert live is not None
    await ends_well(sim, sender, thread, live)


async def test_a_start_that_never_arrived_leaves_nothing(
    sim: SlackSim, sender: SlackSender, thread: Conversation
) -> None:
    sim.faults.add("chat.startStream", 1, DROP_BEFORE)
    with pytest.raises(NotSent) as lost:
        await sender.draft(thread, TASK, FIRST, None)
    assert ours(sim) == [] and lost.value.retry_s is not None, "so it may be begun anew"


async def test_a_piece_that_is_lost_comes_with_the_whole(
    sim: SlackSim, sender: SlackSender, thread: Conversation
) -> None:
    live = await sender.draft(thread, TASK, FIRST, None)
    assert live is not None
    sim.faults.add("chat.appendStream", 1, DROP_BEFORE)
    await sender.draft(thread, TASK, MORE, live)
    assert said(ours(sim)[0]) == "The logs take 3 GB."
    await ends_well(sim, sender, thread, live)


async def test_a_rate_limit_holds_the_pieces_and_not_the_answer(
    sim: SlackSim, sender: SlackSender, thread: Conversation
) -> None:
    live = await sender.draft(thread, TASK, FIRST, None)
    assert live is not None
    sim.faults.add("chat.appendStream", 1, status(429, 30))
    with pytest.raises(NotSent) as early:
        await sender.draft(thread, TASK, MORE, live)
    assert early.value.retry_s == 30
    await sender.draft(thread, TASK, MORE, live)
    assert calls(sim) == ["startStream", "appendStream"]
    await ends_well(sim, sender, thread, live)


async def test_an_end_whose_answer_is_lost_is_found_and_may_be_asked_again(
    sim: SlackSim, sender: SlackSender, thread: Conversation
) -> None:
    live = await sender.draft(thread, TASK, FIRST, None)
    assert live is not None
    sim.faults.add("chat.update", 2, DONE_BUT_ANSWER_LOST)
    with pytest.raises(MaybeSent):
        await sender.finish(thread, live, WHOLE, 7)
    assert await sender.find(thread, 7) == live
    await ends_well(sim, sender, thread, live)


@pytest.mark.parametrize("place", ["thread", "direct"])
async def test_a_draft_that_comes_to_nothing_is_taken_back(
    sim: SlackSim, sender: SlackSender, thread: Conversation, place: str
) -> None:
    where = thread if place == "thread" else DM
    live = await sender.draft(where, TASK, FIRST, None)
    assert await sender.draft(where, TASK, "", live) is None
    assert ours(sim) == []
    assert await sender_for(sim).draft(where, TASK, "", live) is None
    assert await sender.draft(where, TASK, "", None) is None


async def test_a_draft_that_a_person_deleted_is_answered_anew(
    sim: SlackSim, sender: SlackSender, thread: Conversation
) -> None:
    live = await sender.draft(thread, TASK, FIRST, None)
    assert live is not None
    ours(sim)[0].deleted = True
    with pytest.raises(DraftGone):
        await sender.finish(thread, live, WHOLE, 7)


async def test_a_direct_conversation_has_no_threads_so_a_message_is_edited(sim: SlackSim, sender: SlackSender) -> None:
    sim.user("U01ALICE", "alice")
    live = await sender.draft(DM, TASK, FIRST, None)
    assert live is not None
    assert await sender.draft(DM, TASK, MORE, live) == live
    await ends_well(sim, sender, DM, live)
    assert calls(sim) == ["conversations.open", "postMessage", "update"]


async def test_a_message_whose_answer_is_lost_is_found_and_not_posted_again(sim: SlackSim, sender: SlackSender) -> None:
    sim.user("U01ALICE", "alice")
    sim.faults.add("chat.postMessage", 1, DONE_BUT_ANSWER_LOST)
    live = await sender.draft(DM, TASK, FIRST, None)
    assert live is not None
    await ends_well(sim, sender, DM, live)


async def test_where_nobody_is_known_to_read_it_a_message_is_edited(sim: SlackSim, thread: Conversation) -> None:
    sender = sender_for(sim, None)
    live = await sender.draft(thread, TASK, FIRST, None)
    assert live is not None
    await ends_well(sim, sender_for(sim, None), thread, live)
    assert "startStream" not in calls(sim)


async def test_a_thread_of_a_direct_conversation_needs_nobody_named(sim: SlackSim) -> None:
    said_at = (await sim.user("U01ALICE", "alice").say("x")).ts
    place = Conversation(4, "slack", "T0ACME/U01ALICE", said_at, True)
    assert await sender_for(sim, None).draft(place, TASK, FIRST, None)
    assert calls(sim)[-1] == "startStream"


async def test_an_answer_of_many_pieces_stays_within_one_stream(
    sim: SlackSim, sender: SlackSender, thread: Conversation
) -> None:
    live, text = None, ""
    for n in range(PIECES_MOST + 15):
        text += f"line {n}\n"
        live = await sender.draft(thread, TASK, text, live)
    assert len(ours(sim)[0].blocks) == PIECES_MOST
    assert live is not None
    await ends_well(sim, sender, thread, live)


async def test_an_app_that_may_not_stream_edits_a_message_and_does_not_ask_every_time(thread: Conversation) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path.rpartition(".")[2])
        is_refused = asked[-1] == "startStream"
        return web.json_response({"ok": False, "error": "missing_scope"} if is_refused else {"ok": True, "ts": "1.1"})

    app = web.Application()
    app.add_routes([web.post("/api/{method}", answer)])
    async with TestServer(app) as server:
        given = {"slack_bot_token": "x", "slack_api_url": str(server.make_url("/api/"))}
        sender = SlackSender(Settings.model_validate(given), alice)
        for _ in range(2):
            assert await sender.draft(thread, TASK, FIRST, None) == "1.1"
    assert asked == ["startStream", "postMessage", "postMessage"]


async def test_an_answer_that_is_too_large_for_slack_ends_its_draft_cut(thread: Conversation) -> None:
    blocks: list[Any] = []

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("chat.update"):
            blocks.append(str((await request.json())["blocks"]))
            if len(blocks[-1]) > 4000:
                return web.json_response({"ok": False, "error": "msg_blocks_too_long"})
        return web.json_response({"ok": True, "ts": "1.1"})

    app = web.Application()
    app.add_routes([web.post("/api/{method}", answer)])
    async with TestServer(app) as server:
        given = {"slack_bot_token": "x", "slack_api_url": str(server.make_url("/api/"))}
        assert await SlackSender(Settings.model_validate(given)).finish(thread, "1.1", "y" * 6000, 7) == "1.1"
    assert len(blocks) == 2 and "more characters" in blocks[-1]


async def test_the_reader_of_a_stream_is_the_requester_as_that_workspace_knows_them(db: Pool, tmp_path: Path) -> None:
    async with open_slack_house(db, tmp_path, "http") as slack:
        await slack.ann.say("do files.delete paths=old.log")
        task = await db.fetchval("select max(id) from tasks")
        assert await requester_in(db, "slack", task, "T0ACME") == "T0ACME/U01ALICE"
        assert await requester_in(db, "slack", task, "T0OTHER") is None


async def test_between_worker_and_courier_one_message_holds_the_answer(db: Pool, tmp_path: Path) -> None:
    async with open_slack_house(db, tmp_path, "http") as slack:
        await slack.ann.mention("do files.list", "C0OPS")
        task, place = (await db.fetch("select id, conversation_id from tasks"))[0]
        await db.execute("update tasks set kind = 'plan' where id = $1", task)
        showing = Drafts(db, NOWHERE, [slack.adapter.sender], str)
        showing.hear({"task": task, "text": FIRST})
        await slack.until(lambda: any(one.is_streaming() for one in slack.sim.messages("C0OPS")))
        showing.hear({"task": task, "text": WHOLE, "is_over": True})
        await answered(db, task, place)
        await slack.delivered(lambda: any(WHOLE in said(one) for one in slack.sim.messages("C0OPS")))
        assert len([one for one in slack.sim.messages("C0OPS") if "The logs take" in said(one)]) == 1
        assert not any(one.is_streaming() for one in slack.sim.messages("C0OPS"))


async def answered(db: Pool, task: int, place: int, words: str = WHOLE) -> None:
    """As the worker leaves a planned task: its answer is a message of its own."""
    await db.execute("update tasks set status = 'running' where id = $1", task)
    await db.execute(
        "update tasks set status = 'succeeded', finished_at = now(), result = $2 where id = $1", task, {"text": words}
    )
    await db.execute("insert into outbox (conversation_id, kind, body) values ($1, 'text', $2)", place, {"task": task})
