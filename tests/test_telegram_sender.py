"""The outgoing side: what is sent, and what each error means for a message."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest

from bot.sending import DraftGone, Drafting, MaybeSent, NotSent
from bot.telegram.client import Client, open_client
from bot.telegram.render import TEXT_UNITS, units
from bot.telegram.sender import TelegramSender
from bot.telegram.spacing import Spacing
from core.cards import Card
from core.settings import Settings
from core.store.conversations import Conversation
from tests.sim.telegram import TelegramSim
from tests.telegram_script import LOST, OK, PROXY_PAGE, TOKEN, Answer, ScriptedApi, error, scripted_api
from tests.test_telegram_render import BASE, HOSTILE, approval, run_card

DM = Conversation(1, "telegram", "1001", "", True)
TOPIC = Conversation(2, "telegram", "-100500", "9", False)
BUTTONS = ["Approve", "Deny", "Stop the task"]


def client_of(url: str, token: str = TOKEN) -> Client:
    return open_client(Settings.model_validate({"telegram_bot_token": token, "telegram_api_url": f"{url}/"}))


@pytest.fixture
async def sim() -> AsyncIterator[TelegramSim]:
    async with TelegramSim() as serving:
        serving.user(1001, "Ann")
        serving.group(-100500, "Ops", topics=(9,))
        yield serving
        assert serving.violations == []


@pytest.fixture
async def to_sim(sim: TelegramSim) -> AsyncIterator[TelegramSender]:
    client = client_of(sim.api_url, sim.token)
    yield TelegramSender(client, BASE)
    await client.close_connections()


@pytest.fixture
async def api() -> AsyncIterator[ScriptedApi]:
    async with scripted_api() as serving:
        yield serving


@pytest.fixture
async def client(api: ScriptedApi) -> AsyncIterator[Client]:
    made = client_of(api.url)
    yield made
    await made.close_connections()


@pytest.fixture
def sender(client: Client) -> TelegramSender:
    return TelegramSender(client, BASE)


# ---------------------------------------------------------------- when all is well


async def test_a_card_is_posted_and_edited_in_place(sim: TelegramSim, to_sim: TelegramSender) -> None:
    ref = await to_sim.post(DM, approval(), 1)
    [shown] = sim.messages(1001)
    assert (str(shown.id), shown.buttons(), shown.link_preview) == (ref, BUTTONS, {"is_disabled": True})
    assert {entity["type"] for entity in shown.entities} == {"bold", "code", "pre"}

    await to_sim.edit(DM, ref, approval(buttons=(), status="approved", expires_at=None))
    [shown] = sim.messages(1001)
    assert ("Approved" in shown.text, shown.buttons()) == (True, [])


@pytest.mark.parametrize("size", [1, 3000, 3700, 4000, 5000, 100_000])
async def test_telegram_takes_cards_of_every_size(sim: TelegramSim, to_sim: TelegramSender, size: int) -> None:
    await to_sim.post(DM, approval(exact="<&>" * (size // 3) + "Z"), 1)
    [shown] = sim.messages(1001)
    assert units(shown.text) <= TEXT_UNITS
    assert ("Approve" in shown.buttons()) == ("<&>" * (size // 3) + "Z" in shown.text)


async def test_telegram_takes_hostile_cards_and_texts_as_they_are(sim: TelegramSim, client: Client) -> None:
    to_sim = client_of(sim.api_url, sim.token)
    sender = TelegramSender(to_sim, BASE, Spacing(private=((1000, 1.0),)))
    for number, text in enumerate(HOSTILE):
        await sender.post(DM, text, number)
        assert sim.messages(1001)[-1].text == text.strip()
        await sender.post(DM, approval(exact=text.strip()), number)
        assert text.strip() in sim.messages(1001)[-1].text
    await to_sim.close_connections()


async def test_a_topic_is_written_into(sim: TelegramSim, to_sim: TelegramSender) -> None:
    await to_sim.post(TOPIC, "hello", 1)
    assert [(m.thread, m.text) for m in sim.messages(-100500)] == [(9, "hello")]


async def test_words_are_sent_without_markup(sim: TelegramSim, to_sim: TelegramSender) -> None:
    await to_sim.post(DM, "<b>5 < 6</b> & `x`", 1)
    assert [(m.text, m.entities) for m in sim.messages(1001)] == [("<b>5 < 6</b> & `x`", [])]


async def test_an_edit_that_changes_nothing_is_a_success(sim: TelegramSim, to_sim: TelegramSender) -> None:
    ref = await to_sim.post(DM, run_card(), 1)
    await to_sim.edit(DM, ref, run_card())
    assert [entry.status for entry in sim.journal.of("telegram", "editMessageText")] == [400]


async def test_a_card_that_is_gone_is_given_up(sim: TelegramSim, to_sim: TelegramSender) -> None:
    with pytest.raises(NotSent, match=r"(?i)message to edit not found") as refused:
        await to_sim.edit(DM, "1", run_card())
    assert refused.value.retry_s is None


async def test_who_blocked_us_or_never_came_is_given_up(sim: TelegramSim, to_sim: TelegramSender) -> None:
    sim.user(1001).block()
    sim.user(1003, started=False)
    for chat in ("1001", "1003", "99"):
        with pytest.raises(NotSent) as refused:
            await to_sim.post(Conversation(5, "telegram", chat, "", True), "hello", 1)
        assert refused.value.retry_s is None


async def test_drafts_are_for_private_chats_and_show_the_end_of_a_long_text(sim: TelegramSim, client: Client) -> None:
    to_sim = client_of(sim.api_url, sim.token)
    sender = TelegramSender(to_sim, BASE, Spacing())
    assert isinstance(sender, Drafting)
    with pytest.raises(NotSent) as refused:
        await sender.draft(TOPIC, 7, "hello", None)
    assert refused.value.retry_s is None
    await sender.draft(DM, 7, "x" * 5000 + "😀", None)
    [shown] = sim.world.drafts
    assert (shown["text"][0], shown["text"][-1], units(shown["text"])) == ("…", "😀", TEXT_UNITS)
    await sender.draft(DM, 7, "too soon", None)
    await sender.draft(DM, 7, "", None)
    assert len(sim.world.drafts) == 1
    with pytest.raises(DraftGone):
        await sender.finish(DM, "1", "hello", 1)
    await to_sim.close_connections()


# ---------------------------------------------------------------- when something is wrong


async def test_markup_that_telegram_cannot_read_is_sent_as_plain_text(api: ScriptedApi, sender: TelegramSender) -> None:
    api.script["sendMessage"] = [error(400, "Bad Request: can't parse entities: unclosed tag at byte offset 3")]
    await sender.post(DM, approval(), 1)
    first, second = api.of("sendMessage")
    assert (first["parse_mode"], "parse_mode" in second) == ("HTML", False)
    assert "<b>" not in second["text"]
    assert [b["text"] for row in second["reply_markup"]["inline_keyboard"] for b in row] == BUTTONS


@pytest.mark.parametrize(
    ("fault", "retry_s"),
    [
        (error(429, "Too Many Requests: retry after 7", retry_after=7), 7.0),
        (error(429, "Too Many Requests"), 1.0),
        (error(403, "Forbidden: bot was blocked by the user"), None),
        (error(400, "Bad Request: chat not found"), None),
        (error(401, "Unauthorized"), 300.0),
    ],
)
async def test_what_was_certainly_not_sent(
    api: ScriptedApi, sender: TelegramSender, fault: Answer, retry_s: float | None
) -> None:
    api.script["sendMessage"] = [fault]
    with pytest.raises(NotSent) as refused:
        await sender.post(DM, "hello", 1)
    assert refused.value.retry_s == retry_s


@pytest.mark.parametrize("fault", [LOST, PROXY_PAGE, error(500, "Internal Server Error"), error(502, "Bad Gateway")])
async def test_what_may_have_been_sent(api: ScriptedApi, sender: TelegramSender, fault: Answer) -> None:
    api.script["sendMessage"] = [fault]
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


async def test_a_group_that_moved_is_followed(api: ScriptedApi, sender: TelegramSender) -> None:
    api.script["sendMessage"] = [error(400, "Bad Request: group chat was upgraded", migrate_to_chat_id=-100900)]
    group = Conversation(3, "telegram", "-77", "", False)
    await sender.post(group, "one", 1)
    await sender.post(group, "two", 2)
    assert [sent["chat_id"] for sent in api.of("sendMessage")] == [-77, -100900, -100900]


async def test_a_long_text_goes_in_parts_and_no_part_twice(api: ScriptedApi, sender: TelegramSender) -> None:
    text = "A sentence of some length. " * 260
    api.script["sendMessage"] = [OK, error(429, "Too Many Requests: retry after 1", retry_after=1)]
    with pytest.raises(NotSent):
        await sender.post(DM, text, 5)
    ref = await sender.post(DM, text, 5)
    sent = [call["text"] for call in api.of("sendMessage")]
    assert ref == "1"
    assert sent[1] == sent[2]  # refused, then sent
    assert " ".join((sent[0], sent[2])) == text.strip()
    assert all(part.endswith(".") and len(part) <= TEXT_UNITS for part in sent)


async def test_an_empty_text_is_given_up(sender: TelegramSender) -> None:
    with pytest.raises(NotSent) as refused:
        await sender.post(DM, " \n ", 1)
    assert refused.value.retry_s is None


async def test_a_busy_group_waits_in_the_outbox_and_holds_nobody_up(api: ScriptedApi, client: Client) -> None:
    sender = TelegramSender(client, BASE, Spacing(group=((2, 60.0),)))
    await sender.post(TOPIC, "one", 1)
    await sender.post(TOPIC, "two", 2)
    with pytest.raises(NotSent) as refused:
        await sender.post(TOPIC, "three", 3)
    assert refused.value.retry_s is not None
    assert 50 < refused.value.retry_s <= 60
    assert len(api.of("sendMessage")) == 2


@pytest.mark.parametrize("fault", [LOST, PROXY_PAGE, error(404, f"Not Found: /bot{TOKEN}/sendMessage")])
@pytest.mark.parametrize("content", ["hello", run_card()])
async def test_the_token_is_in_no_error_and_no_log(
    api: ScriptedApi, sender: TelegramSender, fault: Answer, content: Card | str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    api.script["sendMessage"] = [fault]
    with pytest.raises((NotSent, MaybeSent)) as failed:
        await sender.post(DM, content, 1)
    seen = f"{failed.value!r} {failed.value} {failed.value.__cause__} {caplog.text}"
    assert TOKEN.partition(":")[2] not in seen
