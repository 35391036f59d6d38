"""An action too long for its card, shown whole to the one who asks, and in a group to nobody else."""

from __future__ import annotations

import html
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from bot.telegram.adapter import NOT_SHOWN
from bot.telegram.details import BELOW, IN_PRIVATE, NOT_STARTED, PARTS_MOST, WHISPERED, whole
from bot.telegram.render import TEXT_UNITS, units
from core.db import Pool
from tests.sim.faults import status
from tests.sim.telegram_world import TgMessage
from tests.telegram_town import GROUP, Town, open_town
from tests.test_telegram_render import BASE, approval

PATHS = [f"{i:05d}.log" for i in range(600)]


@pytest.fixture
async def town(db: Pool, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(db, tmp_path, "webhook") as opened:
        opened.sim.group(GROUP, "Ops", topics=(9,))
        yield opened


async def long_card(town: Town, chat: int = 1001, thread: int | None = None) -> TgMessage:
    await town.say("/do@sayso_bot files.delete paths=old.log", chat=chat, thread=thread)
    await town.inbound(1)
    await town.ask(args={"paths": PATHS})
    return await town.card("Show it whole", chat)


def shown(texts: list[str]) -> bool:
    return all(path in "\n".join(texts) for path in PATHS)


async def test_in_a_private_chat_it_stands_below_the_card(town: Town) -> None:
    card = await long_card(town)
    assert not shown([card.text])
    await town.press(card, "Show it whole")
    assert (await town.answer()).text == BELOW
    below = [m for m in town.sim.messages(1001) if m.id > card.id]
    assert shown([m.text for m in below])
    assert {e["type"] for m in below for e in m.entities} == {"pre"}
    assert [m.buttons() for m in below] == [[] for _ in below]


async def test_in_a_group_it_is_whispered_where_the_bot_is_an_administrator(town: Town) -> None:
    town.sim.world.chats[GROUP].has_bot_as_admin = True
    card = await long_card(town, GROUP, 9)
    await town.press(card, "Show it whole")
    assert (await town.answer()).text == WHISPERED
    assert shown([one["text"] for one in town.sim.world.whispers])
    assert {(one["user"], one["thread"]) for one in town.sim.world.whispers} == {(1001, 9)}
    assert [m for m in town.sim.messages(GROUP) if m.id > card.id] == []


async def test_where_it_cannot_be_whispered_it_goes_into_their_private_chat(town: Town) -> None:
    card = await long_card(town, GROUP, 9)
    await town.press(card, "Show it whole")
    assert (await town.answer()).text == IN_PRIVATE
    assert shown([m.text for m in town.sim.messages(1001)])
    assert [m for m in town.sim.messages(GROUP) if m.id > card.id] == []


async def test_a_server_that_shows_a_whisper_to_all_has_it_taken_back_and_is_not_asked_again(town: Town) -> None:
    town.sim.world.is_newest = False
    card = await long_card(town, GROUP, 9)
    for count in (1, 2):
        await town.press(card, "Show it whole")
        assert (await town.answer(count)).text == IN_PRIVATE
    assert [m for m in town.sim.messages(GROUP) if m.id > card.id] == []
    assert len([call for call in town.calls("sendMessage") if "ephemeral_message_parameters" in call]) == 1


async def test_who_never_started_the_bot_is_told_how_and_who_may_not_see_it_gets_nothing(town: Town) -> None:
    card = await long_card(town, GROUP, 9)
    town.sim.user(1001).block()
    await town.press(card, "Show it whole")
    answer = await town.answer(1)
    assert (answer.text, answer.show_alert) == (NOT_STARTED, True)
    await town.press(card, "Show it whole", who=1002)
    assert (await town.answer(2)).text == "There is no such approval."
    assert town.sim.messages(1002) == []


async def test_what_telegram_does_not_take_is_said(town: Town) -> None:
    card = await long_card(town)
    town.sim.faults.add("sendMessage", 2, status(500))  # what may be lost is sent once more
    await town.press(card, "Show it whole")
    answer = await town.answer()
    assert (answer.text, answer.show_alert) == (NOT_SHOWN, True)


@pytest.mark.parametrize("size", [1, 5000, 200_000])
def test_every_part_fits_and_past_the_last_it_says_where_the_rest_is(size: int) -> None:
    parts = whole(approval(exact="<&>\n" * (size // 4 + 1)), BASE)
    assert len(parts) <= PARTS_MOST + 1
    assert all(units(html.unescape(part)) <= TEXT_UNITS for part in parts)
    assert parts[-1].startswith("… The rest is at https://sayso.example.com/approvals/") == (size > 100_000)


async def private_card(town: Town) -> tuple[TgMessage, str]:
    """The card of an action with a secret in it, as a group sees it; and its approval as buttons name it."""
    await town.say("/do@sayso_bot files.delete paths=old.log", chat=GROUP)
    await town.inbound(1)
    key = UUID(await town.ask(destructive=True, args={"password": "hunter2"})).hex
    card = await town.delivered_until(
        lambda: next((m for m in town.sim.messages(GROUP) if "is private" in m.text), None)
    )
    return card, key


async def test_what_is_private_is_not_told_by_a_made_up_tap_in_a_group_either(town: Town) -> None:
    card, key = await private_card(town)
    for count, data in enumerate((f"c:{key}:approve", f"b:{key}", f"m:{key}"), start=1):
        await town.until_taken(await town.sim.user(1002).press_data(card, data))
        assert "old.log" not in (await town.answer(count)).text
    assert card.buttons() == []


async def test_what_is_private_is_never_whispered_since_a_server_may_not_know_how(town: Town) -> None:
    town.sim.world.is_newest = False
    card, key = await private_card(town)
    await town.until_taken(await town.sim.user(1001).press_data(card, f"s:{key}"))
    assert (await town.answer()).text == IN_PRIVATE
    assert "hunter2" in "".join(m.text for m in town.sim.messages(1001))
    assert [call for call in town.calls("sendMessage") if "ephemeral_message_parameters" in call] == []
