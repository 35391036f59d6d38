"""The Telegram stand-in's two transports and a person's verbs, met by python-telegram-bot.

Every update it makes must be readable by the library, field for field, and fit the published schema where
$SAYSO_SPECS has it.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from telegram import (
    Bot,
    Update,
)
from telegram.constants import ParseMode
from telegram.error import (
    Conflict,
)

from tests import contracts
from tests.sim.telegram import SECRET, TelegramSim
from tests.sim.telegram_example import CARD, OPS, bot_of, refusal, telegram, webhook

SCHEMA = Path(os.environ.get("SAYSO_SPECS", "../shared/specs")) / "telegram" / "bot_api.schema.json"


@pytest.fixture
async def sim() -> AsyncIterator[TelegramSim]:
    async with telegram() as running:
        yield running


@pytest.fixture
async def bot(sim: TelegramSim) -> AsyncIterator[Bot]:
    async with bot_of(sim) as made:
        yield made


async def test_a_message_a_press_and_an_edit_go_round_by_polling(sim: TelegramSim, bot: Bot) -> None:
    ann = sim.user(1001, "Ann")
    said = await ann.say("do files.delete paths=old.log")
    [update] = await bot.get_updates(timeout=5)
    assert update.message is not None and update.message.text == "do files.delete paths=old.log"
    posted = await bot.send_message(1001, "<b>Delete</b> old.log?", parse_mode=ParseMode.HTML, reply_markup=CARD)
    shown = ann.messages()[-1]
    assert shown.buttons() == ["Approve", "Deny"] and shown.text == "Delete old.log?"
    pressed = await ann.press(shown, "Approve")
    [update] = await bot.get_updates(offset=said.update_id + 1, timeout=5)
    query = update.callback_query
    assert query is not None and query.data == "a:17:approve" and update.update_id == pressed.update_id
    await bot.answer_callback_query(query.id, "Approved", show_alert=True)
    await bot.edit_message_text("Approved by Ann", 1001, posted.message_id)
    assert [(one.text, one.show_alert, one.user) for one in sim.answers] == [("Approved", True, 1001)]
    assert (shown.text, shown.buttons()) == ("Approved by Ann", [])
    assert [version.text for version in shown.edits] == ["Delete old.log?"]
    stale = await ann.press(shown, "a:17:deny", version=0)
    assert stale.update is not None and sim.violations == []
    await bot.get_updates(offset=stale.update_id + 1, timeout=0)
    await sim.wait_confirmed(stale)


async def test_updates_come_again_until_the_offset_moves(sim: TelegramSim, bot: Bot) -> None:
    ann = sim.user(1001)
    ids = [(await ann.say(str(n))).update_id for n in range(3)]
    for _ in range(2):
        assert [one.update_id for one in await bot.get_updates()] == ids
    assert [one.update_id for one in await bot.get_updates(limit=1)] == ids[:1]
    assert [one.update_id for one in await bot.get_updates(offset=-1)] == ids[2:]
    assert [one.update_id for one in await bot.get_updates()] == ids[2:]
    assert await bot.get_updates(offset=ids[2] + 1) == ()


async def test_a_poll_waits_for_the_next_update(sim: TelegramSim, bot: Bot) -> None:
    poll = asyncio.create_task(bot.get_updates(timeout=20))
    await sim.wait_polled()
    assert not poll.done()
    said = await sim.user(1001).say("hello")
    assert [one.update_id for one in await poll] == [said.update_id]


async def test_of_two_pollers_the_older_is_sent_away(sim: TelegramSim, bot: Bot) -> None:
    async with bot_of(sim) as other:
        first = asyncio.create_task(bot.get_updates(timeout=20))
        await sim.wait_polled()
        second = asyncio.create_task(other.get_updates(timeout=20))
        assert "terminated by other getUpdates" in await refusal(first, Conflict)
        said = await sim.user(1001).say("hello")
        assert [one.update_id for one in await second] == [said.update_id]


async def test_a_webhook_and_polling_exclude_each_other(sim: TelegramSim, bot: Bot) -> None:
    async with webhook(sim) as got:
        await bot.set_webhook(f"{sim.deliver_to}/telegram/webhook", secret_token="s3cret", allowed_updates=["message"])
        assert "while webhook is active" in await refusal(bot.get_updates(), Conflict)
        assert (await sim.user(1001).say("hello")).status == 200
        assert got[0][0] == "s3cret"
        info = await bot.get_webhook_info()
        assert info.url.endswith("/telegram/webhook") and info.allowed_updates == ("message",)
        await bot.send_message(1001, "card", reply_markup=CARD)
        assert (await sim.user(1001).press(sim.messages(1001)[-1], "Approve")).update is None
        await bot.delete_webhook(drop_pending_updates=True)
        assert (await bot.get_webhook_info()).url == "" and await bot.get_updates() == ()
        assert "unallowed characters" in await refusal(bot.set_webhook("https://x.example", secret_token="a b"))


async def test_an_update_that_was_not_taken_comes_again_with_the_same_id(sim: TelegramSim) -> None:
    async with webhook(sim, 503) as got:
        said = await sim.user(1001).say("hello")
        again = await sim.redeliver(said)
        assert (said.status, again.status) == (503, 200) and not said.acked
        assert [one["update_id"] for _, one in got] == [said.update_id] * 2
        assert {secret for secret, _ in got} == {SECRET}
        status_of_forged, _, _ = await sim.post({"update_id": 1}, {"X-Telegram-Bot-Api-Secret-Token": "wrong"})
        assert status_of_forged == 200 and got[-1][0] == "wrong"


async def test_what_waited_is_pushed_once_a_webhook_is_set_and_back_to_polling_when_it_is_gone(
    sim: TelegramSim, bot: Bot
) -> None:
    ann = sim.user(1001)
    first = await ann.say("before")
    async with webhook(sim) as got:
        address, sim.deliver_to = f"{sim.deliver_to}/telegram/webhook", ""
        await bot.set_webhook(address)
        await sim.journal.wait_for(lambda entry: entry.note == "pushed again" and entry.status == 200)
        assert [one["update_id"] for _, one in got] == [first.update_id] and sim.world.pending == []
    second = await ann.say("after the app died")
    assert second.status == 0 and (await bot.get_webhook_info()).pending_update_count == 1
    await bot.delete_webhook()
    assert [one.update_id for one in await bot.get_updates()] == [second.update_id]


async def test_an_app_that_is_not_there_is_a_status_of_zero(sim: TelegramSim) -> None:
    sim.deliver_to = "http://127.0.0.1:9"
    assert (await sim.user(1001).say("hello")).status == 0


async def test_the_library_reads_every_update_whole(sim: TelegramSim, bot: Bot) -> None:
    """`api_kwargs` is where the library keeps what it does not know: there must be nothing in it."""
    ann, bob = sim.user(1001, "Ann", "ann_a"), sim.user(1002, "Bob")
    posted = await bot.send_message(OPS, "card", message_thread_id=9, reply_markup=CARD)
    shown = sim.messages(OPS)[0]
    mine = await ann.say("/run tidy now", OPS, 9, reply_to=shown, quote="ca")
    assert mine.message is not None
    made = [
        mine,
        await ann.say("from elsewhere", forwarded_from=bob),
        await ann.say("from nowhere", forwarded_from="Somebody"),
        await ann.edit(mine.message, "/run tidy later"),
        await ann.press(shown, "Deny"),
    ]
    updates = [Update.de_json(dict(one.update or {}), bot) for one in made]

    def unknown(thing: Any) -> list[str]:
        names = ("message", "edited_message", "callback_query", "reply_to_message")
        parts = [getattr(thing, name, None) for name in names]
        return [*thing.api_kwargs, *(key for part in parts if part is not None for key in unknown(part))]

    assert [unknown(one) for one in updates] == [[]] * 5
    message = updates[0].message
    assert message is not None and message.reply_to_message is not None and message.quote is not None
    assert message.reply_to_message.message_id == posted.message_id and message.message_thread_id == 9
    assert message.is_topic_message and message.parse_entity(message.entities[0]) == "/run"
    assert updates[1].message is not None and updates[1].message.forward_origin is not None
    assert updates[1].message.forward_origin.type == "user"
    assert updates[3].edited_message is not None and updates[3].edited_message.edit_date is not None
    assert updates[4].callback_query is not None and updates[4].callback_query.from_user.id == 1001


async def test_in_privacy_mode_a_group_message_must_address_the_bot(sim: TelegramSim, bot: Bot) -> None:
    ann = sim.user(1001)
    await bot.send_message(OPS, "card")
    assert (await ann.say("just talking", OPS)).update is None
    reached = [
        await ann.say("/status", OPS),
        await ann.say("@sayso_bot tidy", OPS),
        await ann.say("yes", OPS, reply_to=sim.messages(OPS)[0]),
    ]
    assert all(one.update is not None for one in reached)
    sim.privacy = False
    assert (await ann.say("just talking", OPS)).update is not None


async def test_every_update_and_message_is_as_it_is_described(sim: TelegramSim, bot: Bot) -> None:
    ann = sim.user(1001, "Ann", "ann_a")
    await bot.send_message(OPS, "<b>card</b>", parse_mode="HTML", message_thread_id=9, reply_markup=CARD)
    shown = sim.messages(OPS)[0]
    mine = await ann.say("/run tidy", OPS, 9, reply_to=shown)
    made = [
        mine,
        await ann.say("x", forwarded_from=sim.user(1002)),
        await ann.say("x", forwarded_from="Somebody"),
        await ann.edit(shown if mine.message is None else mine.message, "later"),
        await ann.press(shown, "Deny"),
    ]
    updates = [one.update for one in made if one.update is not None]
    assert [contracts.problem_of("telegram", "out", "update", update) for update in updates] == [""] * 5
    if SCHEMA.is_file():
        check = Draft7Validator(
            {"$ref": "#/definitions/Update"} | {"definitions": json.loads(SCHEMA.read_text())["definitions"]}
        )
        assert [[error.message for error in check.iter_errors(update)] for update in updates] == [[]] * 5
