"""A Telegram account brought by a link: whose it becomes, who has to say so, and what is told to whom."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.courier import Courier
from bot.web.auth import web_identity, web_place
from core import cards, config, intake, linking
from core.db import Pool
from core.models import Channel, Identity, Inbound, Place
from core.store import conversations, people
from core.store import linking as links
from tests.patience import PATIENCE_S
from tests.telegram_town import Town, open_town
from tests.test_whole_way import RecordingChat
from tests.web_house import NOWHERE, open_house

ON_SLACK = Place(channel=Channel.SLACK, external_id="D01", private=True)


@pytest.fixture
async def town(db: Pool, tmp_path: Path) -> AsyncIterator[Town]:
    """Ann is an owner, Bob has no role; here both are known on Slack too."""
    async with open_town(db, tmp_path, "webhook") as opened:
        for key in ("ann", "bob"):
            person = await people.by_key(db, key)
            assert person is not None
            slack = Identity(channel=Channel.SLACK, external_id=f"T1/{key}", display_name=key)
            await people.link(db, slack, person, by=person)
        async with asyncio.timeout(PATIENCE_S):
            while not await links.username(db, "telegram"):  # noqa: ASYNC110  (there is nothing to wait on)
                await asyncio.sleep(0.01)
        yield opened


async def says(town: Town, who: str, text: str, place: Place = ON_SLACK) -> str:
    """What is answered to somebody on Slack."""
    count = await town.db.fetchval("select count(*) from inbound")
    sender = Identity(channel=Channel.SLACK, external_id=f"T1/{who}")
    inbound = Inbound(channel=Channel.SLACK, delivery_id=f"{who}:{count}", sender=sender, place=place, text=text)
    await intake.receive(town.deps, inbound)
    return await last_said(town, place)


async def last_said(town: Town, place: Place) -> str:
    conversation = await conversations.find(town.db, place.channel, place.external_id)
    body = await town.db.fetchval(
        "select body from outbox where conversation_id = $1 order by id desc limit 1", conversation
    )
    key = town.deps.settings.secret_key()
    return linking.with_secret(body["text"], body["link"], key) if "link" in body else str(body["text"])


async def opens(town: Town, link: str, who: int) -> str:
    """What the account that opens the link is told."""
    found = re.search(r"https://t\.me/sayso_bot\?start=([\w-]+)", link)
    assert found is not None, link
    await town.until_taken(await town.sim.user(who, "Annie").start(found[1]))
    assert await town.db.fetchval("select count(*) from inbound where strpos(body, $1) > 0", found[1]) == 0
    return await last_said(town, Place(channel=Channel.TELEGRAM, external_id=str(who)))


async def key_of(town: Town, account: int) -> str | None:
    person = await people.behind(town.db, Identity(channel=Channel.TELEGRAM, external_id=str(account)))
    return person.key if person else None


async def test_an_owners_link_makes_the_account_theirs_and_says_so_where_it_was_asked_for(town: Town) -> None:
    link = await says(town, "ann", "link telegram")
    assert await opens(town, link, 7001) == linking.WELCOME.format(name="Ann")
    assert await last_said(town, ON_SLACK) == linking.LINKED.format(account="Annie (7001)")
    assert await key_of(town, 7001) == "ann"
    linked = await town.db.fetchval("select data from audit where kind = 'linked' order by id desc limit 1")
    assert linked == {"person": "ann", "channel": "telegram", "external_id": "7001"}


async def test_a_link_is_good_once_and_for_an_hour(town: Town) -> None:
    link = await says(town, "ann", "link telegram")
    await opens(town, link, 7001)
    assert await opens(town, link, 7002) == linking.GONE
    assert await opens(town, link, 7001) == linking.KNOWN.format(name="Ann")
    old = await says(town, "ann", "Link Telegram.")
    await town.db.execute("update tokens set expires_at = now() - interval '1 second' where kind = 'link'")
    assert await opens(town, old, 7002) == linking.GONE
    assert await key_of(town, 7002) is None


async def test_the_link_of_who_is_no_owner_waits_for_one(town: Town) -> None:
    link = await says(town, "bob", "link telegram")
    assert link.endswith(linking.OWNER_CONFIRMS)
    told = await opens(town, link, 7001)
    assert told == await last_said(town, ON_SLACK)
    assert await key_of(town, 7001) is None
    confirm = re.search(r"pair \w{8} as bob", told)
    assert confirm is not None
    assert await says(town, "bob", confirm[0]) == "Only an owner may let people in."
    assert (await says(town, "ann", confirm[0])).startswith("Bob is let in as bob")
    assert await key_of(town, 7001) == "bob"


async def test_a_link_is_given_in_private_only_and_where_there_is_a_bot(town: Town) -> None:
    shared = Place(channel=Channel.SLACK, external_id="C0OPS")
    assert await says(town, "ann", "link telegram", shared) == linking.IN_PRIVATE
    await town.db.execute("delete from bots")
    assert await says(town, "ann", "link telegram") == linking.NO_BOT
    assert await town.db.fetchval("select count(*) from tokens where kind = 'link'") == 0


async def test_a_link_opens_no_session_and_elsewhere_its_words_are_words(town: Town) -> None:
    link = await says(town, "ann", "link telegram")
    secret = link.partition("?start=")[2].split()[0]
    for kind in ("api", "session"):
        assert await people.holder(town.db, secret, kind) is None
    assert await people.trade_login(town.db, secret) is None
    who = Identity(channel=Channel.SLACK, external_id="x")
    said = Inbound(channel=Channel.SLACK, delivery_id="1", sender=who, place=ON_SLACK, text=f"start {secret}")
    assert linking.opened(said) is None


async def test_a_links_secret_stands_in_no_row_and_in_what_the_person_reads(db: Pool, tmp_path: Path) -> None:
    async with open_house(db, tmp_path, telegram_bot_token="1:x") as house:
        await links.introduce(db, "telegram", "sayso_bot")
        ann = await house.person("ann", "owner")
        sender = await web_identity(house.deps, ann)
        asked = Inbound(channel=Channel.WEB, delivery_id="1", sender=sender, place=web_place(ann), text="link telegram")
        await intake.receive(house.deps, asked)
        page = await (await house.browser(ann)).get("/")
        chat = RecordingChat("web")
        await Courier(db, NOWHERE, [chat], str, key=house.deps.settings.secret_key()).deliver()
        for shown in (page.text, chat.texts[-1]):
            found = re.search(r"https://t\.me/sayso_bot\?start=([\w-]{43})\s", shown)
            assert found is not None, shown
            assert await db.fetchval("select count(*) from tokens where hash = $1", people.hashed(found[1])) == 1
            assert await db.fetchval("select count(*) from outbox where strpos(body::text, $1) > 0", found[1]) == 0


async def test_a_link_stays_good_where_no_code_can_be_had_for_the_account(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await says(town, "bob", "link telegram")
    with monkeypatch.context() as full:
        full.setattr(config, "PAIRINGS_MOST", 0)
        assert await opens(town, link, 7001) == cards.pairing_text(None)
    assert "An owner lets it in with" in await opens(town, link, 7001)
