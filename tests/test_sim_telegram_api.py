"""What the Telegram stand-in refuses, and how it fails on demand, seen through python-telegram-bot.

Every refusal has the Bot API's own words, since apps tell them apart by these.
"""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from telegram import (
    Bot,
    ForceReply,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    LinkPreviewOptions,
    ReactionTypeEmoji,
    ReplyParameters,
)
from telegram.constants import ParseMode
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
    TimedOut,
)

from tests import contracts
from tests.sim.faults import DONE_BUT_ANSWER_LOST, DROP_BEFORE, delay, status
from tests.sim.telegram import TelegramSim
from tests.sim.telegram_check import NEWER, PARAMETERS
from tests.sim.telegram_example import CARD, OPS, bot_of, card, refusal, telegram
from tests.sim.telegram_text import Unparsable, parse_html

SCHEMA = Path(os.environ.get("SAYSO_SPECS", "../shared/specs")) / "telegram" / "bot_api.schema.json"
pytestmark = pytest.mark.filterwarnings("ignore:Please use 'Bot.", "ignore:Deprecated since version v22.2")


@pytest.fixture
async def sim() -> AsyncIterator[TelegramSim]:
    async with telegram() as running:
        yield running


@pytest.fixture
async def bot(sim: TelegramSim) -> AsyncIterator[Bot]:
    async with bot_of(sim) as made:
        yield made


async def test_a_press_is_answered_once_and_not_too_late(sim: TelegramSim, bot: Bot) -> None:
    ann = sim.user(1001)
    await bot.send_message(1001, "card", reply_markup=CARD)
    shown = ann.messages()[-1]
    first, second = await ann.press(shown, "Approve"), await ann.press_data(shown, "forged")
    assert first.update is not None and second.update is not None
    query = first.update["callback_query"]["id"]
    assert "MESSAGE_TOO_LONG" in (await refusal(bot.answer_callback_query(query, "x" * 201))).upper()
    await bot.answer_callback_query(query, "x" * 200)
    assert "query is too old" in (await refusal(bot.answer_callback_query(query))).lower()
    sim.expire_queries()
    late = bot.answer_callback_query(second.update["callback_query"]["id"])
    assert "query is too old" in (await refusal(late)).lower()
    assert "query is too old" in (await refusal(bot.answer_callback_query("12345"))).lower()
    assert len(sim.answers) == 1


async def test_edits_are_judged_as_telegram_does(sim: TelegramSim, bot: Bot) -> None:
    ann = sim.user(1001)
    said = await ann.say("mine")
    posted = await bot.send_message(1001, "card", reply_markup=CARD)
    same = bot.edit_message_text("card", 1001, posted.message_id, reply_markup=CARD)
    assert "message is not modified" in (await refusal(same)).lower()
    same_keys = bot.edit_message_reply_markup(1001, posted.message_id, reply_markup=CARD)
    assert "message is not modified" in (await refusal(same_keys)).lower()
    await bot.edit_message_text("card", 1001, posted.message_id)
    assert ann.messages()[-1].buttons() == []
    await bot.edit_message_reply_markup(1001, posted.message_id, reply_markup=card(("Undo", "u")))
    assert ann.messages()[-1].buttons() == ["Undo"] and len(ann.messages()[-1].edits) == 2
    assert said.message is not None
    assert "can't be edited" in await refusal(bot.edit_message_text("x", 1001, said.message.id))
    assert "to edit not found" in await refusal(bot.edit_message_text("x", 1001, 999))
    assert "MESSAGE_TOO_LONG" in (await refusal(bot.edit_message_text("x" * 4097, 1001, posted.message_id))).upper()
    await bot.delete_message(1001, posted.message_id)
    assert "to delete not found" in await refusal(bot.delete_message(1001, posted.message_id))
    assert [one.problem for one in sim.violations] == ["Bad Request: MESSAGE_TOO_LONG"]


async def test_a_question_that_opens_the_reply_field_cannot_be_edited(sim: TelegramSim, bot: Bot) -> None:
    sim.user(1001)
    asked = await bot.send_message(1001, "why?", reply_markup=ForceReply())
    assert "can't be edited" in await refusal(bot.edit_message_text("why not?", 1001, asked.message_id))
    assert await bot.delete_message(1001, asked.message_id)
    sim.violations.clear()


async def test_what_is_newest_is_known_to_the_newest_server_only(sim: TelegramSim, bot: Bot) -> None:
    says = InlineKeyboardMarkup([[InlineKeyboardButton("Approved", api_kwargs={"disabled": {}})]])
    whisper = {"ephemeral_message_parameters": {"receiver_user_id": 1001}}
    sim.user(1001)
    await bot.send_message(1001, "x", reply_markup=says)
    assert (
        "bot_not_admin"
        in (await refusal(bot.do_api_request("sendMessage", {"chat_id": OPS, "text": "x", **whisper}))).lower()
    )
    sim.world.is_newest = False
    assert "text buttons are unallowed" in (await refusal(bot.send_message(1001, "x", reply_markup=says))).lower()
    told = await bot.do_api_request("sendMessage", {"chat_id": OPS, "text": "for all", **whisper})
    assert "ephemeral_message_id" not in told
    assert [m.text for m in sim.messages(OPS)] == ["for all"]
    assert sim.violations == []


async def test_a_group_that_became_a_supergroup_says_where_it_went(sim: TelegramSim, bot: Bot) -> None:
    await sim.migrate(OPS, -1009)
    moved = bot.send_message(OPS, "x")
    assert "Group migrated to supergroup. New chat id: -1009" in await refusal(moved, ChatMigrated)
    kinds = [set(update["message"]) & {"migrate_to_chat_id", "migrate_from_chat_id"} for update in sim.world.pending]
    assert kinds == [{"migrate_to_chat_id"}, {"migrate_from_chat_id"}]


async def test_who_cannot_be_written_to_is_said(sim: TelegramSim, bot: Bot) -> None:
    sim.user(1002, started=False)
    ann = sim.user(1001)
    ann.block()
    assert "chat not found" in (await refusal(bot.send_message(4711, "x"))).lower()
    assert "can't initiate conversation" in await refusal(bot.send_message(1002, "x"), Forbidden)
    assert "blocked by the user" in await refusal(bot.send_message(1001, "x"), Forbidden)
    assert "thread not found" in (await refusal(bot.send_message(OPS, "x", message_thread_id=8))).lower()
    reply = ReplyParameters(message_id=99)
    assert "replied not found" in (await refusal(bot.send_message(OPS, "x", reply_parameters=reply))).lower()
    await ann.start()
    assert (await bot.send_message(1001, "again")).text == "again" and sim.violations == []


BAD_MESSAGES: dict[str, tuple[dict[str, Any], str]] = {
    "4097 characters": ({"text": "x" * 4097}, "message is too long"),
    "4097 units of emoji": ({"text": "😀" * 2048 + "x"}, "message is too long"),
    "nothing but spaces": ({"text": "  \n "}, "text is empty"),
    "nothing but tags": ({"text": "<b></b>", "parse_mode": "HTML"}, "text is empty"),
    "an unknown tag": ({"text": "<h1>x</h1>", "parse_mode": "HTML"}, 'unsupported start tag "h1"'),
    "a tag left open": ({"text": "<b>x", "parse_mode": "HTML"}, "can't find end tag"),
    "tags crossed": ({"text": "<b><i>x</b></i>", "parse_mode": "HTML"}, "unmatched end tag"),
    "a bare angle": ({"text": "a < b", "parse_mode": "HTML"}, "can't parse entities"),
    "an end without a start": ({"text": "x</b>", "parse_mode": "HTML"}, "unexpected end tag"),
    "65 bytes of data": ({"text": "x", "reply_markup": card(("A", "d" * 65))}, "button_data_invalid"),
    "65 bytes in 33 characters": ({"text": "x", "reply_markup": card(("A", "é" * 32 + "x"))}, "button_data_invalid"),
    "a button that does nothing": (
        {"text": "x", "reply_markup": {"inline_keyboard": [[{"text": "A"}]]}},
        "text buttons are unallowed",
    ),
    "a button without a text": (
        {"text": "x", "reply_markup": {"inline_keyboard": [[{"text": "", "callback_data": "a"}]]}},
        "can't parse inline keyboard button",
    ),
    "nine buttons in a row": ({"text": "x", "reply_markup": card(*[("A", "a")] * 9)}, "reply_markup_too_long"),
    "a button to no address": (
        {"text": "x", "reply_markup": InlineKeyboardMarkup([[InlineKeyboardButton("A", url="nowhere")]])},
        "wrong http url",
    ),
}


@pytest.mark.parametrize(("message", "words"), BAD_MESSAGES.values(), ids=BAD_MESSAGES.keys())
async def test_messages_that_telegram_refuses_are_refused(
    sim: TelegramSim, bot: Bot, message: dict[str, Any], words: str
) -> None:
    sim.user(1001)
    with pytest.raises(BadRequest) as refused:
        await bot.do_api_request("sendMessage", {"chat_id": 1001, **message})
    assert words in refused.value.message.lower()
    assert [one.method for one in sim.violations] == ["sendMessage"] and sim.messages(1001) == []


async def test_messages_at_their_limits_are_taken(sim: TelegramSim, bot: Bot) -> None:
    sim.user(1001)
    await bot.send_message(1001, f"<b>{'&amp;' * 4096}</b>", parse_mode=ParseMode.HTML)
    rows = [[InlineKeyboardButton("A", callback_data="d" * 64)] * 8] * 12
    await bot.send_message(1001, "😀" * 2048, reply_markup=InlineKeyboardMarkup(rows))
    preview = LinkPreviewOptions(is_disabled=True)
    await bot.send_message(
        1001, "x", link_preview_options=preview, reply_markup=ForceReply(), disable_notification=True
    )
    assert len(sim.messages(1001)) == 3 and sim.violations == []


def test_html_becomes_entities_in_utf16_units() -> None:
    assert parse_html('😀 <b>a<i>b</i></b> <a href="https://x.example">l</a> <code>&lt;&#65;&amp;amp;</code>') == (
        "😀 ab l <A&amp;",
        [
            {"type": "bold", "offset": 3, "length": 2},
            {"type": "italic", "offset": 4, "length": 1},
            {"type": "text_link", "url": "https://x.example", "offset": 6, "length": 1},
            {"type": "code", "offset": 8, "length": 7},
        ],
    )
    assert parse_html("<blockquote expandable>q</blockquote>")[1][0]["type"] == "expandable_blockquote"
    with pytest.raises(Unparsable, match="byte offset 3"):
        parse_html("é <x>")


async def test_the_smaller_methods_answer(sim: TelegramSim, bot: Bot) -> None:
    sim.user(1001)
    assert (await bot.get_me()).username == "sayso_bot"
    posted = await bot.send_message(1001, "hello")
    await bot.send_chat_action(1001, "typing")
    await bot.set_message_reaction(1001, posted.message_id, ReactionTypeEmoji("👀"))
    assert sim.messages(1001)[0].reaction == "👀"
    assert (
        "reaction_invalid"
        in (await refusal(bot.set_message_reaction(1001, posted.message_id, ReactionTypeEmoji("🦖")))).lower()
    )
    await bot.set_my_commands([("run", "Runs a runbook")])
    assert sim.world.commands == [{"command": "run", "description": "Runs a runbook"}]
    assert "command_invalid" in (await refusal(bot.set_my_commands([("Run!", "x")]))).lower()
    await bot.send_message_draft(1001, 7, "thinking")
    assert "textdraft_peer_invalid" in (await refusal(bot.send_message_draft(OPS, 7, "x"))).lower()
    assert "wrong parameter action" in (await refusal(bot.send_chat_action(1001, "dancing"))).lower()
    sim.files["voice/1.ogg"] = b"OggS"
    assert bytes(await (await bot.get_file("voice/1.ogg")).download_as_bytearray()) == b"OggS"


async def test_a_wrong_token_and_an_unknown_method_are_refused(sim: TelegramSim, bot: Bot) -> None:
    async with bot_of(sim, "1:wrong") as stranger:
        with pytest.raises(InvalidToken):
            await stranger.get_me()
    with pytest.raises(TelegramError):
        await bot.do_api_request("sendEverything")
    await bot.do_api_request("sendMessage", {"chat_id": sim.user(1001).id, "text": "x", "wrap": "yes"})
    assert [one.problem for one in sim.violations] == ["Not Found", "unknown parameter 'wrap'"]
    assert "chat_id is empty" in (await refusal(bot.do_api_request("sendMessage", {"text": "x"}))).lower()


async def test_faults_come_on_demand(sim: TelegramSim, bot: Bot) -> None:
    sim.user(1001)
    sim.faults.add("sendMessage", 1, status(429, retry_after_s=7))
    with pytest.raises(RetryAfter) as limited:
        await bot.send_message(1001, "x")
    assert "7" in limited.value.message
    sim.faults.add("sendMessage", 1, status(502))
    with pytest.raises(NetworkError):
        await bot.send_message(1001, "x")
    sim.faults.add("sendMessage", 1, DROP_BEFORE)
    with pytest.raises(NetworkError):
        await bot.send_message(1001, "dropped")
    assert sim.messages(1001) == []
    sim.faults.add("sendMessage", 1, DONE_BUT_ANSWER_LOST)
    with pytest.raises(NetworkError):
        await bot.send_message(1001, "done")
    assert [one.text for one in sim.messages(1001)] == ["done"]
    sim.faults.add("getMe", 1, delay(2))
    with pytest.raises(TimedOut):
        await bot.get_me(read_timeout=0.1)
    sim.faults.add("getMe", 2, status(500))
    assert sim.faults.unmet() == ["getMe: status × 2"]


def test_the_parameters_we_check_by_are_those_that_are_described() -> None:
    ours = contracts.described("telegram_bot_api")["methods"]
    assert set(ours) == set(PARAMETERS)
    for method, declared in PARAMETERS.items():
        told = ours[method]
        assert {name[:-1] for name in declared if name.endswith("!")} == set(told.get("required", [])), method
        assert set(told.get("properties", {})) <= {name.removesuffix("!") for name in declared}, method


@pytest.mark.skipif(not SCHEMA.is_file(), reason="no published Bot API schema: set SAYSO_SPECS")
def test_the_parameters_we_check_by_are_the_published_ones() -> None:
    methods = json.loads(SCHEMA.read_text())["x-methods"]

    def kinds(schema: dict[str, Any]) -> set[str]:
        found = {kind for branch in schema.get("anyOf", []) for kind in kinds(branch)}
        return found | ({schema["type"]} if "type" in schema else set()) | ({"object"} if "$ref" in schema else set())

    for method, ours in PARAMETERS.items():
        told = methods[method]["params"]
        assert {name[:-1] for name in ours if name.endswith("!")} >= set(told["required"]), method
        for name, types in ours.items():
            if (method, name) in NEWER:
                continue
            assert set(types) <= kinds(told["properties"][name.removesuffix("!")]), (method, name)
