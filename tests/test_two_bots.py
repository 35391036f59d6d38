"""Two bots on one outbox, one of them dying in the middle of a send: people see each thing once, in its order, and its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from bot.courier import Courier
from core.cards import Card
from core.store import conversations
from core.store.conversations import Conversation
from tests.patience import PATIENCE_S
from tests.test_whole_way import eventually
from tests.web_house import House

MESSAGES = 12


@dataclass
class Chat:
    """A vendor: what stands in each conversation, in the order of arrival. `can_find`: by our id, as Slack can."""

    can_find: bool = True
    channel: str = "slack"
    stands: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    cards: dict[str, Card] = field(default_factory=dict)
    hangs_at: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def post(self, conversation: Conversation, content: Card | str, message: int) -> str:
        await asyncio.sleep(0)
        here = self.stands.setdefault(conversation.id, [])
        here.append((message, content if isinstance(content, str) else "card"))
        ref = f"{conversation.id}.{len(here)}"
        if isinstance(content, Card):
            self.cards[ref] = content
        await self._answer()
        return ref

    async def edit(self, conversation: Conversation, ref: str, card: Card) -> None:
        self.cards[ref] = card
        await self._answer()

    async def _answer(self) -> None:
        """The request has arrived; the answer never leaves where it hangs."""
        self.hangs_at -= 1
        if self.hangs_at == 0:
            self.reached.set()
            await asyncio.Event().wait()

    async def find(self, conversation: Conversation, message: int) -> str | None:
        here = self.stands.get(conversation.id, [])
        at = next((i for i, (number, _) in enumerate(here, start=1) if number == message), None)
        return f"{conversation.id}.{at}" if at and self.can_find else None


async def places(house: House, count: int) -> list[int]:
    return [
        await house.db.fetchval(
            "insert into conversations (channel, external_id, is_private) values ('slack', $1, true) returning id",
            f"T/D{i}",
        )
        for i in range(count)
    ]


def bot(house: House, chat: Chat) -> Courier:
    return Courier(house.db, house.deps.settings.redis_address(), [chat], str)


async def is_delivered(house: House, *bots: Courier) -> bool:
    await asyncio.gather(*(one.deliver() for one in bots))
    return not await house.db.fetchval(
        "select exists (select from outbox where status in ('pending', 'sending', 'unknown'))"
    )


async def test_two_bots_send_each_message_once_and_in_order(house: House) -> None:
    chat = Chat()
    here = await places(house, 3)
    for n in range(MESSAGES):
        for place in here:
            await conversations.say(house.db, place, f"word {n}")
    first, second = bot(house, chat), bot(house, chat)
    await eventually(lambda: is_delivered(house, first, second))
    for place in here:
        assert [text for _, text in chat.stands[place]] == [f"word {n}" for n in range(MESSAGES)]


@pytest.mark.parametrize(("can_find", "seen"), [(True, 1), (False, 2)], ids=["slack", "telegram"])
async def test_a_message_whose_bot_died_before_the_answer_came(house: House, can_find: bool, seen: int) -> None:
    """Where nobody can look it up, one harmless duplicate is the price; never more, and nothing overtakes it."""
    chat = Chat(can_find=can_find, hangs_at=2)
    [place] = await places(house, 1)
    for n in range(3):
        await conversations.say(house.db, place, f"word {n}")
    await _die_in_the_middle(house, chat)
    await eventually(lambda: is_delivered(house, bot(house, chat)))
    assert [text for _, text in chat.stands[place]] == ["word 0", *["word 1"] * seen, "word 2"]


async def test_a_card_whose_bot_died_in_an_edit_shows_its_end_in_one_message(house: House) -> None:
    chat = Chat(hangs_at=2)
    ann = await house.person("ann", "owner")
    task = await house.task(ann)
    await house.db.execute("update conversations set channel = 'slack'")
    await bot(house, chat).deliver()
    await house.db.execute("update tasks set status = 'waiting' where id = $1", task)
    await house.db.execute("select touch_cards($1)", task)
    await _die_in_the_middle(house, chat)
    await house.db.execute("update tasks set status = 'running' where id = $1", task)
    await house.db.execute("select touch_cards($1)", task)
    await eventually(lambda: is_delivered(house, bot(house, chat)))
    [card] = chat.cards.values()
    assert card.status == "running"
    assert await house.db.fetchval("select bool_and(shown = wanted) from cards")


async def _die_in_the_middle(house: House, chat: Chat) -> None:
    """A bot sends until the vendor has a request whose answer it does not live to read; its lease passes."""

    async def send() -> None:
        courier = bot(house, chat)
        while True:
            await courier.deliver()

    dying = asyncio.create_task(send())
    async with asyncio.timeout(PATIENCE_S):
        await chat.reached.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    assert await bot(house, chat).deliver() == 0, "what it held is nobody else's yet"
    await house.db.execute("update outbox set lease_until = now() - interval '1 second' where status = 'sending'")
    assert len(await conversations.strand(house.db)) == 1
