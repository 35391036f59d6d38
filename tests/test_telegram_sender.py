"""The outgoing side against a Bot API: what is sent, and what each error means for a message."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bot.sending import MaybeSent, NotSent
from bot.telegram.client import Client, open_client
from bot.telegram.sender import TelegramSender
from bot.telegram.spacing import Spacing
from core.cards import Card
from core.settings import Settings
from core.store.conversations import Conversation
from tests.telegram_server import SECRET, TOKEN, BotApi, bot_api
from tests.test_telegram_render import BASE, approval, run_card

DM = Conversation(1, "telegram", "1001", "", True)
TOPIC = Conversation(2, "telegram", "-100500", "9", False)


@pytest.fixture
async def api() -> AsyncIterator[BotApi]:
    async with bot_api() as serving:
        yield serving


@pytest.fixture
async def client(api: BotApi) -> AsyncIterator[Client]:
    made = open_client(
        Settings.model_validate(
            {"telegram_bot_token": TOKEN, "telegram_webhook_secret": SECRET, "telegram_api_url": api.url + "/"}
        )
    )
    yield made
    await made.close_connections()


@pytest.fixture
def sender(client: Client) -> TelegramSender:
    return TelegramSender(client, BASE)


def error(code: int, description: str, **parameters: Any) -> tuple[int, dict[str, Any]]:
    said = {"ok": False, "error_code": code, "description": description}
    return code, said | ({"parameters": parameters} if parameters else {})


async def test_a_card_is_posted_and_edited_in_place(api: BotApi, sender: TelegramSender) -> None:
    ref = await sender.post(DM, approval(), 1)
    [shown] = api.shown(1001)
    assert (str(shown["message_id"]), shown["parse_mode"]) == (ref, "HTML")
    assert shown["link_preview_options"] == {"is_disabled": True}
    assert api.labels(shown) == ["Approve", "Deny", "Stop the task"]

    await sender.edit(DM, ref, approval(buttons=(), status="approved", expires_at=None))
    [shown] = api.shown(1001)
    assert "Approved" in shown["text"]
    assert api.labels(shown) == []


async def test_a_topic_is_written_into(api: BotApi, sender: TelegramSender) -> None:
    await sender.post(TOPIC, "hello", 1)
    [call] = api.of("sendMessage")
    assert (call.data["chat_id"], call.data["message_thread_id"], call.data["text"]) == (-100500, 9, "hello")


async def test_words_are_sent_without_markup(api: BotApi, sender: TelegramSender) -> None:
    await sender.post(DM, "<b>5 < 6</b> & `x`", 1)
    assert api.of("sendMessage")[0].data == {
        "chat_id": 1001, "text": "<b>5 < 6</b> & `x`", "link_preview_options": {"is_disabled": True},
    }  # fmt: skip


async def test_an_edit_that_changes_nothing_is_a_success(api: BotApi, sender: TelegramSender) -> None:
    ref = await sender.post(DM, run_card(), 1)
    await sender.edit(DM, ref, run_card())
    assert [call.status for call in api.of("editMessageText")] == [400]


async def test_a_card_that_is_gone_is_given_up(sender: TelegramSender) -> None:
    with pytest.raises(NotSent, match=r"(?i)message to edit not found") as refused:
        await sender.edit(DM, "1", run_card())
    assert refused.value.retry_s is None


async def test_markup_that_telegram_cannot_read_is_sent_as_plain_text(api: BotApi, sender: TelegramSender) -> None:
    api.faults["sendMessage"] = [error(400, "Bad Request: can't parse entities: unclosed tag at byte offset 3")]
    await sender.post(DM, approval(), 1)
    first, second = api.of("sendMessage")
    assert (first.data["parse_mode"], "parse_mode" in second.data) == ("HTML", False)
    assert "<b>" not in second.data["text"]
    assert api.labels(second.data) == ["Approve", "Deny", "Stop the task"]


@pytest.mark.parametrize(
    ("fault", "retry_s"),
    [
        (error(429, "Too Many Requests: retry after 7", retry_after=7), 7.0),
        (error(429, "Too Many Requests"), 1.0),
        (error(403, "Forbidden: bot was blocked by the user"), None),
        (error(400, "Bad Request: chat not found"), None),
        (error(400, "Bad Request: message thread not found"), None),
        (error(401, "Unauthorized"), 300.0),
    ],
)
async def test_what_was_certainly_not_sent(
    api: BotApi, sender: TelegramSender, fault: tuple[int, dict[str, Any]], retry_s: float | None
) -> None:
    api.faults["sendMessage"] = [fault]
    with pytest.raises(NotSent) as refused:
        await sender.post(DM, "hello", 1)
    assert refused.value.retry_s == retry_s
    assert api.shown(1001) == []


@pytest.mark.parametrize("fault", ["lost", "garbage", error(500, "Internal Server Error"), error(502, "Bad Gateway")])
async def test_what_may_have_been_sent(api: BotApi, sender: TelegramSender, fault: Any) -> None:
    api.faults["sendMessage"] = [fault]
    with pytest.raises(MaybeSent):
        await sender.post(DM, "hello", 1)
    assert await sender.find(DM, 1) is None


async def test_nobody_there_is_certainly_not_sent() -> None:
    settings = Settings.model_validate({"telegram_bot_token": TOKEN, "telegram_api_url": "http://127.0.0.1:1"})
    client = open_client(settings)
    with pytest.raises(NotSent) as refused:
        await TelegramSender(client, BASE).post(DM, "hello", 1)
    assert refused.value.retry_s == 1.0
    await client.close_connections()


async def test_a_group_that_moved_is_followed(api: BotApi, sender: TelegramSender) -> None:
    api.faults["sendMessage"] = [error(400, "Bad Request: group chat was upgraded", migrate_to_chat_id=-100900)]
    group = Conversation(3, "telegram", "-77", "", False)
    await sender.post(group, "one", 1)
    await sender.post(group, "two", 2)
    assert [call.data["chat_id"] for call in api.of("sendMessage")] == [-77, -100900, -100900]


async def test_a_long_text_goes_in_parts_and_no_part_twice(api: BotApi, sender: TelegramSender) -> None:
    text = "A sentence of some length. " * 260
    api.faults["sendMessage"] = ["", error(429, "Too Many Requests: retry after 1", retry_after=1)]
    with pytest.raises(NotSent):
        await sender.post(DM, text, 5)
    ref = await sender.post(DM, text, 5)
    shown = api.shown(1001)
    assert ref == str(shown[0]["message_id"])
    assert " ".join(m["text"] for m in shown) == text.strip()
    assert all(m["text"].endswith(".") and len(m["text"]) <= 4096 for m in shown)


async def test_an_empty_text_is_given_up(sender: TelegramSender) -> None:
    with pytest.raises(NotSent) as refused:
        await sender.post(DM, " \n ", 1)
    assert refused.value.retry_s is None


async def test_a_busy_group_waits_in_the_outbox_and_holds_nobody_up(api: BotApi, client: Client) -> None:
    sender = TelegramSender(client, BASE, Spacing(group=((2, 60.0),)))
    await sender.post(TOPIC, "one", 1)
    await sender.post(TOPIC, "two", 2)
    with pytest.raises(NotSent) as refused:
        await sender.post(TOPIC, "three", 3)
    assert refused.value.retry_s is not None
    assert 50 < refused.value.retry_s <= 60
    assert len(api.of("sendMessage")) == 2


@pytest.mark.parametrize("fault", ["lost", "garbage", error(404, f"Not Found: /bot{TOKEN}/sendMessage")])
@pytest.mark.parametrize("content", ["hello", run_card()])
async def test_the_token_is_in_no_error_and_no_log(
    api: BotApi, sender: TelegramSender, fault: Any, content: Card | str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    api.faults["sendMessage"] = [fault]
    with pytest.raises((NotSent, MaybeSent)) as failed:
        await sender.post(DM, content, 1)
    seen = f"{failed.value!r} {failed.value} {failed.value.__cause__} {caplog.text}"
    assert TOKEN.partition(":")[2] not in seen
