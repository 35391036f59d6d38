"""The outbox under two hands at once: what changes while a courier takes a card's message is still shown."""

import asyncio

import pytest

from bot.__main__ import keep_going
from bot.attachments import Fetcher
from bot.drafts import Drafts
from core import config
from core.db import Connection, transaction
from core.store import conversations
from tests.processes import until
from tests.web_house import House

LEASE_S = config.MESSAGE_LEASE_S


async def touch(db: Connection, task: int) -> None:
    await db.execute("select touch_cards($1)", task)


async def is_shown(house: House) -> bool:
    """Whether every card shows what was wanted of it last, or a message is on its way to do so."""
    return bool(
        await house.db.fetchval(
            "select not exists (select from cards k where k.shown < k.wanted and not exists"
            " (select from outbox m where m.card_id = k.id and m.status = 'pending'))"
        )
    )


async def test_a_card_that_changes_while_its_message_is_taken_is_shown_as_it_became(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await house.task(ann)
    async with transaction(house.db) as changing:
        await touch(changing, task)
        early = await conversations.claim_messages(house.db, ["web"], 10, LEASE_S)
        assert early == [], "its change is not written yet, so it can't be shown"
    [message] = await conversations.claim_messages(house.db, ["web"], 10, LEASE_S)
    await conversations.sent(house.db, message.id, "ref", message.wanted)
    assert await is_shown(house)
    assert await house.db.fetchval("select shown = wanted from cards")


async def test_a_card_that_changes_after_its_message_was_taken_gets_another(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await house.task(ann)
    [message] = await conversations.claim_messages(house.db, ["web"], 10, LEASE_S)
    async with transaction(house.db) as changing:
        await touch(changing, task)
    await conversations.sent(house.db, message.id, "ref", message.wanted)
    assert await is_shown(house)
    [again] = await conversations.claim_messages(house.db, ["web"], 10, LEASE_S)
    assert again.wanted > message.wanted


async def test_a_question_overtakes_an_edit_that_waits_and_keeps_its_place_behind_what_is_new(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await house.task(ann)
    [posted] = await conversations.claim_messages(house.db, ["web"], 10, LEASE_S)
    place = posted.conversation.id
    await conversations.say(house.db, place, "first")
    await conversations.not_sent(house.db, posted.id, "too early", 60.0, charged=False)
    assert await conversations.claim_messages(house.db, ["web"], 10, LEASE_S) == [], "the card itself is not there yet"

    await house.db.execute("update outbox set next_at = now()")
    [posted] = await conversations.claim_messages(house.db, ["web"], 10, LEASE_S)
    await conversations.sent(house.db, posted.id, "ref", posted.wanted)
    await touch(house.db, task)  # type: ignore[arg-type]  # a pool serves as well
    [first] = await conversations.claim_messages(house.db, ["web"], 10, LEASE_S)
    await conversations.sent(house.db, first.id, "ref 2", 0)
    [edit] = await conversations.claim_messages(house.db, ["web"], 10, LEASE_S)
    await conversations.not_sent(house.db, edit.id, "too early", 60.0, charged=False)
    await conversations.say(house.db, place, "may I?")
    [question] = await conversations.claim_messages(house.db, ["web"], 10, LEASE_S)
    assert question.body == {"text": "may I?"}


async def test_many_changes_and_a_courier_at_once_leave_the_last_one_shown(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await house.task(ann)
    changes = 60

    async def change() -> None:
        for _ in range(changes):
            async with transaction(house.db) as changing:
                await touch(changing, task)
                await asyncio.sleep(0)

    async def deliver() -> None:
        while not changing.done():
            for message in await conversations.claim_messages(house.db, ["web"], 10, LEASE_S):
                await conversations.sent(house.db, message.id, "ref", message.wanted)

    changing = asyncio.ensure_future(change())
    await asyncio.gather(changing, deliver(), deliver())
    assert await is_shown(house)


async def test_a_message_that_is_put_back_while_its_card_changes_replaces_the_newer_one(house: House) -> None:
    task = await house.task(await house.person("ann", "owner"))
    [message] = await conversations.claim_messages(house.db, ["web"], 10, LEASE_S)

    async def waits() -> bool:
        locked = "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())"
        return bool(await house.db.fetchval(locked))

    async with transaction(house.db) as changing:
        await touch(changing, task)
        putting = asyncio.create_task(conversations.not_sent(house.db, message.id, "the line broke", 0.0))
        await until(waits, "putting it back waits for the change")
    await putting
    [again] = await conversations.claim_messages(house.db, ["web"], 10, LEASE_S)
    assert (again.id, again.wanted) == (message.id, await house.db.fetchval("select wanted from cards"))


@pytest.mark.parametrize("table", ["drafts", "attachments"])
async def test_a_loop_that_breaks_says_so_and_is_begun_again(
    house: House, redis_url: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "RETRY_FIRST_S", 0.2)
    drafts, fetcher = Drafts(house.db, redis_url, [], str), Fetcher(house.deps, redis_url, [])
    states: dict[str, str] = {}

    async def says(word: str) -> bool:
        return states.get(table, "").startswith(word)

    await house.db.execute(f"alter table {table} rename to not_there")
    part = drafts.run if table == "drafts" else fetcher.run
    going = asyncio.create_task(keep_going(table, part, states))
    await until(lambda: says("broken"), "it breaks")
    await house.db.execute(f"alter table not_there rename to {table}")
    await until(lambda: says("running"), "it runs again")
    assert not going.done()
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
