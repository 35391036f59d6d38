"""Answers that are too long for a message: shortened words, and all of them as a file beside; each once, whatever is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.courier import Courier
from bot.drafts import Drafts
from bot.sending import file_name
from bot.slack.blocks import WORDS_CHARS
from bot.slack.sender import SlackSender
from bot.telegram.client import open_client
from bot.telegram.render import TEXT_UNITS, units
from bot.telegram.sender import PARTS_MOST, TelegramSender
from core.db import Pool
from core.models import Channel, Place
from core.store import conversations
from tests.patience import PATIENCE_S
from tests.sim.faults import DISCONNECT, DONE_BUT_ANSWER_LOST, DROP_BEFORE, Kind, status
from tests.sim.slack_world import Message
from tests.slack_house import SlackHouse, conversation_of, open_slack_house
from tests.telegram_town import GROUP, Town, open_town
from tests.test_slack_drafts import answered
from tests.web_house import NOWHERE

SIZES = (40_000, 400_000)
LINE = "Ünïcode line {n} of a long answer: 5 < 6 & <!channel>.\n"


def long_words(chars: int) -> str:
    text = "".join(LINE.format(n=n) for n in range(chars // 40))
    return text[:chars].rstrip()


async def all_delivered(db: Pool, courier: Courier) -> None:
    """Every wait for a next try is over at once; what can't be had is dead in the end."""
    async with asyncio.timeout(PATIENCE_S):
        while await db.fetchval("select exists (select from outbox where status in ('pending', 'sending', 'unknown'))"):
            await db.execute("update outbox set next_at = now() where status = 'pending'")
            await courier.deliver()


async def statuses(db: Pool) -> list[tuple[str, str]]:
    return [(r["kind"], r["status"]) for r in await db.fetch("select kind, status from outbox order by id")]


# ---------------------------------------------------------------- Slack


@pytest.fixture
async def slack(db: Pool, tmp_path: Path) -> AsyncIterator[SlackHouse]:
    async with open_slack_house(db, tmp_path, "http", run=False) as opened:
        yield opened


async def thread_of(slack: SlackHouse) -> conversations.Conversation:
    question = Message("C0OPS", slack.sim.world.ts(), "U01ALICE", "how long is it?")
    slack.sim.world.posted.append(question)
    return await conversation_of(slack.db, "T0ACME/C0OPS", question.ts)


def shown_in(slack: SlackHouse) -> tuple[list[Message], list[Message]]:
    """What Sayso wrote in the channel: words, and messages that carry files."""
    ours = [one for one in slack.sim.messages("C0OPS") if one.bot_id]
    return [one for one in ours if "files" not in one.extra], [one for one in ours if "files" in one.extra]


def content_of(slack: SlackHouse, message: Message) -> bytes:
    [file] = message.extra["files"]
    content: bytes = slack.sim.world.uploads[file["id"]]["content"]
    return content


@pytest.mark.parametrize("chars", SIZES)
async def test_slack_gets_shortened_words_and_a_file_with_all_of_them(slack: SlackHouse, chars: int) -> None:
    place, token = await thread_of(slack), slack.sim.bot_token
    words = f"{long_words(chars)}\nthe token is {token}, they say"
    await conversations.say(slack.db, place.id, words)
    await conversations.say(slack.db, place.id, "and this after it")
    await all_delivered(slack.db, slack.courier)
    [first, after], [file] = shown_in(slack)
    assert "more characters" in first.everything()
    assert (after.text, file.thread_ts, file.text) == ("and this after it", place.thread, "")
    sent = content_of(slack, file).decode()
    assert sent == slack.house.deps.masks()(words)
    assert token not in sent and sent.startswith(words[: WORDS_CHARS + 1])
    number = await slack.db.fetchval("select id from outbox where kind = 'file'")
    assert [one["name"] for one in file.extra["files"]] == [file_name(number)] == [f"sayso-{number}.txt"]
    assert [call.body["bearer"] for call in slack.sim.journal.of("slack", "upload")] == [False]


async def test_words_that_slack_shows_whole_are_no_file(slack: SlackHouse) -> None:
    place = await thread_of(slack)
    await conversations.say(slack.db, place.id, "x" * WORDS_CHARS)
    await all_delivered(slack.db, slack.courier)
    assert await statuses(slack.db) == [("text", "sent")]


@pytest.mark.parametrize("is_lost", [False, True])
async def test_an_answer_in_place_of_its_draft_is_followed_by_its_file(db: Pool, tmp_path: Path, is_lost: bool) -> None:
    words = long_words(SIZES[0])
    async with open_slack_house(db, tmp_path, "http") as slack:
        await slack.ann.mention("do files.list", "C0OPS")
        task, place = (await db.fetch("select id, conversation_id from tasks"))[0]
        await db.execute("update tasks set kind = 'plan' where id = $1", task)
        showing = Drafts(db, NOWHERE, [slack.adapter.sender], str)
        showing.hear({"task": task, "text": words[:500]})
        await slack.until(lambda: any(one.is_streaming() for one in slack.sim.messages("C0OPS")))
        showing.hear({"task": task, "text": words[:600], "is_over": True})
        if is_lost:
            slack.sim.faults.add("chat.update", 1, DONE_BUT_ANSWER_LOST)
        await answered(db, task, place, words)
        await slack.delivered(lambda: shown_in(slack)[1])
        _, [file] = shown_in(slack)
        assert content_of(slack, file).decode() == words
        assert len([one for one in slack.sim.messages("C0OPS") if "more characters" in one.everything()]) == 1
        assert await db.fetchval("select count(*) from drafts") == 0


FAULTS = [
    *(("files.getUploadURLExternal", fault) for fault in (DONE_BUT_ANSWER_LOST, status(429, 1))),
    *(("upload", fault) for fault in (DONE_BUT_ANSWER_LOST, DROP_BEFORE, status(429, 1), status(500))),
    *(
        ("files.completeUploadExternal", fault)
        for fault in (DONE_BUT_ANSWER_LOST, DROP_BEFORE, DISCONNECT, status(429, 1))
    ),
]


@pytest.mark.parametrize(("step", "fault"), FAULTS, ids=str)
async def test_a_file_is_in_slack_once_whatever_step_goes_wrong(slack: SlackHouse, step: str, fault: Kind) -> None:
    place, words = await thread_of(slack), long_words(SIZES[0])
    slack.sim.faults.add(step, 1, fault)
    await conversations.say(slack.db, place.id, words)
    await all_delivered(slack.db, slack.courier)
    shown, [file] = shown_in(slack)
    assert (len(shown), content_of(slack, file).decode()) == (1, words)
    assert await statuses(slack.db) == [("text", "sent"), ("file", "sent")]
    assert slack.sim.faults.unmet() == []


async def test_a_rate_limit_of_uploads_is_waited_out_in_the_outbox(slack: SlackHouse) -> None:
    place = await thread_of(slack)
    slack.sim.faults.add("files.completeUploadExternal", 1, status(429, 77))
    await conversations.say(slack.db, place.id, long_words(SIZES[0]))
    await slack.deliver()
    waits = await slack.db.fetchval("select next_at > now() + interval '60 s' from outbox where kind = 'file'")
    assert waits is True and shown_in(slack)[1] == []
    await conversations.say(slack.db, place.id, "may I?")
    await slack.deliver()
    assert [one.text for one in shown_in(slack)[0]][1:] == ["may I?"], "a file that waits holds nothing up"


@pytest.mark.parametrize("fault", [DONE_BUT_ANSWER_LOST, DROP_BEFORE])
async def test_words_whose_answer_was_lost_are_followed_by_one_file(slack: SlackHouse, fault: Kind) -> None:
    place = await thread_of(slack)
    slack.sim.faults.add("chat.postMessage", 1, fault)
    await conversations.say(slack.db, place.id, long_words(SIZES[0]))
    await all_delivered(slack.db, slack.courier)
    shown, files = shown_in(slack)
    assert (len(shown), len(files)) == (1, 1)


async def test_a_bot_that_ends_between_the_words_and_the_file_leaves_it_to_the_next(slack: SlackHouse) -> None:
    place = await thread_of(slack)
    await conversations.say(slack.db, place.id, long_words(SIZES[0]))
    assert await slack.courier.deliver() == 1
    assert await statuses(slack.db) == [("text", "sent"), ("file", "pending")]
    number = await slack.db.fetchval("select id from outbox where kind = 'text'")
    await conversations.sent(slack.db, number, "told twice", 0, is_shortened=True)
    next_bot = Courier(slack.db, NOWHERE, [SlackSender(slack.house.deps.settings)], slack.house.deps.masks())
    await all_delivered(slack.db, next_bot)
    assert [len(some) for some in shown_in(slack)] == [1, 1]


async def test_a_bot_that_ends_in_an_upload_does_not_have_it_sent_twice(slack: SlackHouse) -> None:
    place = await thread_of(slack)
    await conversations.say(slack.db, place.id, long_words(SIZES[0]))
    await slack.courier.deliver()
    [taken] = await conversations.claim_messages(slack.db, ["slack"], 10, 0.0)
    await SlackSender(slack.house.deps.settings).post_file(taken.conversation, "all of it", taken.id)
    await conversations.strand(slack.db)
    await all_delivered(slack.db, slack.courier)
    assert [len(some) for some in shown_in(slack)] == [1, 1]
    assert await statuses(slack.db) == [("text", "sent"), ("file", "sent")]


async def test_an_app_that_may_not_send_files_says_where_the_rest_is(slack: SlackHouse) -> None:
    place = await thread_of(slack)
    slack.sim.scopes.remove("files:write")
    await conversations.say(slack.db, place.id, long_words(SIZES[0]))
    await all_delivered(slack.db, slack.courier)
    [shown], files = shown_in(slack)
    assert files == [] and "more characters; the whole is at" in shown.everything()
    assert "https://sayso.acme.example" in str(shown.blocks)
    why = await slack.db.fetchval("select error from outbox where kind = 'file' and status = 'dead'")
    assert "missing_scope: the app lacks a permission" in why


async def test_a_file_stands_in_the_chat_and_not_twice_in_its_history(slack: SlackHouse) -> None:
    place = await thread_of(slack)
    await conversations.say(slack.db, place.id, long_words(SIZES[0]))
    await all_delivered(slack.db, slack.courier)
    assert len(await conversations.recent(slack.db, place.id, 10)) == 1


# ---------------------------------------------------------------- Telegram


@pytest.fixture
async def town(db: Pool, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(db, tmp_path, "polling", is_known=False) as opened:
        opened.sim.user(1001, "Ann").user.has_started = True
        opened.sim.group(GROUP, "Ops", topics=(9,))
        yield opened


async def place_in(town: Town, chat: int = 1001, thread: str = "") -> int:
    place = Place(channel=Channel.TELEGRAM, external_id=str(chat), thread=thread, private=chat > 0)
    return await conversations.ensure(town.deps.db, place)


def documents(town: Town, chat: int = 1001) -> list[dict[str, Any]]:
    return [one.extra["document"] for one in town.sim.messages(chat) if "document" in one.extra]


@pytest.mark.parametrize("chars", SIZES)
async def test_telegram_gets_one_message_and_a_file_with_all_of_it(town: Town, chars: int) -> None:
    words = f"{long_words(chars)}\nthe token is {town.sim.token}, they say"
    await conversations.say(town.deps.db, await place_in(town), words)
    await all_delivered(town.deps.db, town.courier)
    shown, _ = town.sim.messages(1001)
    assert units(shown.text) <= TEXT_UNITS
    assert "more characters; the whole is at http://127.0.0.1" in shown.text and words.startswith(shown.text[:3000])
    [file] = documents(town)
    number = await town.deps.db.fetchval("select id from outbox where kind = 'file'")
    assert (file["file_name"], file["mime_type"]) == (f"sayso-{number}.txt", "text/plain")
    sent = town.sim.files[file["file_id"]].decode()
    assert sent == town.deps.masks()(words) and town.sim.token not in sent


async def test_what_fits_into_three_messages_is_split_and_no_file(town: Town) -> None:
    words = long_words(PARTS_MOST * TEXT_UNITS - 500)
    await conversations.say(town.deps.db, await place_in(town), words)
    await all_delivered(town.deps.db, town.courier)
    assert "\n".join(one.text for one in town.sim.messages(1001)) == words
    assert (len(town.sim.messages(1001)), await statuses(town.deps.db)) == (PARTS_MOST, [("text", "sent")])


@pytest.mark.parametrize(
    ("fault", "files"), [(DONE_BUT_ANSWER_LOST, 2), (DROP_BEFORE, 1), (status(429, 1), 1), (status(502), 1)], ids=str
)
async def test_a_lost_answer_of_telegram_costs_one_more_file_at_most(town: Town, fault: Kind, files: int) -> None:
    town.sim.faults.add("sendDocument", 1, fault)
    await conversations.say(town.deps.db, await place_in(town), long_words(SIZES[0]))
    await all_delivered(town.deps.db, town.courier)
    assert len(documents(town)) == files
    assert await statuses(town.deps.db) == [("text", "sent"), ("file", "sent")]
    assert town.sim.faults.unmet() == []


async def test_the_next_bot_sends_the_file_of_words_that_the_last_one_sent(town: Town) -> None:
    await conversations.say(town.deps.db, await place_in(town), long_words(SIZES[0]))
    await town.courier.deliver()
    assert (len(town.sim.messages(1001)), documents(town)) == (1, [])
    client = open_client(town.deps.settings)
    fresh = TelegramSender(client, "https://sayso.acme.example")
    await all_delivered(town.deps.db, Courier(town.deps.db, NOWHERE, [fresh], town.deps.masks()))
    await client.close_connections()
    assert (len(town.sim.messages(1001)), len(documents(town))) == (2, 1)


async def test_a_file_for_a_topic_that_is_gone_goes_to_its_group(town: Town) -> None:
    place = await place_in(town, GROUP, "9")
    await conversations.say(town.deps.db, place, long_words(SIZES[0]))
    await town.courier.deliver()
    town.sim.world.chats[GROUP].topics.clear()
    await all_delivered(town.deps.db, town.courier)
    assert [one.thread for one in town.sim.messages(GROUP)] == [9, None]
    assert len(documents(town, GROUP)) == 1
