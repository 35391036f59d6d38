"""A task follows its person: begun in one chat, steered, decided and answered in another, each kept in step, nothing leaked."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bot.courier import Courier
from core import followers, intake
from core.following import following
from core.models import Accepted, Channel, Identity, Inbound, Place, Press, Received
from core.organisation import parse
from core.store import people
from tests.sim.llm_script import Reply, Script
from tests.sim.llm_server import KEY
from tests.sim.openai import OpenAISim
from tests.test_whole_way import ACME, RecordingChat, Sayso, eventually, running

NUMBERS = itertools.count(1)
DM = Place(channel=Channel.TELEGRAM, external_id="1001", private=True)
GROUP = Place(channel=Channel.TELEGRAM, external_id="-500")
CARLS = Place(channel=Channel.TELEGRAM, external_id="1003", private=True)
CARL = """
  carl: {name: Carl, roles: [reader], identities: {slack: T0ACME/U03CARL, telegram: "1003"}}
roles:
  reader: {see: [conversation]}
"""
PEOPLE = ACME.replace("\nroles:\n", CARL, 1)


@dataclass
class Town:
    """A Sayso whose Slack and Telegram are served by two bots."""

    sayso: Sayso
    slack: RecordingChat
    telegram: RecordingChat

    async def tell(self, text: str, place: Place = DM, who: str = "1001") -> Received:
        answer = await intake.receive(
            self.sayso.deps,
            Inbound(
                channel=place.channel,
                delivery_id=f"T{next(NUMBERS)}",
                sender=Identity(channel=place.channel, external_id=who),
                place=place,
                text=text,
            ),
        )
        assert isinstance(answer, Received)
        return answer

    async def shows(self, chat: RecordingChat, subject: str, tone: str) -> None:
        """Until the one card of this kind in the chat looks like this."""
        await eventually(lambda: [c.tone for c in chat.now(subject)] == [tone])


@asynccontextmanager
async def town(
    database_url: str, redis_url: str, home: Path, slack: RecordingChat | None = None, **env: str
) -> AsyncIterator[Town]:
    slack, telegram = slack or RecordingChat("slack"), RecordingChat("telegram")
    async with running(database_url, redis_url, home, PEOPLE, chat=slack, **env) as sayso:
        second = asyncio.create_task(Courier(sayso.deps.db, redis_url, [telegram], sayso.deps.settings.masks()).run())
        yield Town(sayso, slack, telegram)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)


async def test_a_task_begun_in_slack_is_followed_and_decided_in_telegram(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with town(database_url, redis_url, tmp_path) as here:
        (here.sayso.workspace / "old.log").write_text("old", encoding="utf-8")
        number = await here.sayso.say("do files.delete paths=old.log")
        approval = await here.sayso.approval_of(number)
        for _ in range(2):
            await here.tell(f"follow {number}")
        await here.shows(here.telegram, "task", "ask")
        await here.shows(here.telegram, "approval", "ask")
        await eventually(lambda: here.telegram.texts == [f"Task {number} is shown here already."])
        pressed = Press(
            channel=Channel.TELEGRAM, delivery_id="P1", sender=Identity(channel=Channel.TELEGRAM, external_id="1001"),
            approval_id=approval["id"], verdict="approve",
        )  # fmt: skip
        assert isinstance(await intake.press(here.sayso.deps, pressed), Accepted)
        for chat in (here.slack, here.telegram):
            await here.shows(chat, "task", "good")
            await here.shows(chat, "approval", "good")
        assert here.slack.texts == []
        await here.tell(f"follow {number}")
        await eventually(lambda: any("(succeeded)" in text for text in here.telegram.texts))


async def test_a_hand_laid_on_from_elsewhere_brings_the_task_along(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with town(database_url, redis_url, tmp_path) as here:
        (here.sayso.workspace / "a.txt").write_text("a", encoding="utf-8")
        number = await here.sayso.say("do files.delete paths=a.txt")
        await here.sayso.approval_of(number)
        await here.tell(f"priority {number} high")
        await here.shows(here.telegram, "task", "ask")
        assert (await here.tell("stop")).task_id == number, "the newest task here is the one that was brought along"
        await here.sayso.until(number, "cancelled")
        for chat in (here.slack, here.telegram):
            await here.shows(chat, "task", "neutral")


async def test_what_is_asked_later_is_shown_to_followers_who_may_see_it(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    channel = Place(channel=Channel.SLACK, external_id="T0ACME/C1", thread="17.1")
    async with town(database_url, redis_url, tmp_path) as here:
        for name in ("a.log", "b.log"):
            (here.sayso.workspace / name).write_text("x", encoding="utf-8")
        await here.tell("hello", channel, "T0ACME/U03CARL")
        number = (await here.tell("run clean-logs pattern=a.log", channel, "T0ACME/U01ALICE")).task_id
        await here.sayso.approval_of(number)
        followed = await here.tell(f"follow {number}", CARLS, "1003")
        assert followed.task_id == number, "Carl sees the tasks of his conversations"
        await here.shows(here.telegram, "task", "ask")
        await here.tell(f"follow {number}", GROUP)
        await eventually(lambda: any("Others read this conversation" in text for text in here.telegram.texts))
        assert here.telegram.now("approval") == [], "Carl may neither decide nor has he asked"
        rows = await here.sayso.deps.db.fetch(
            "select c.external_id from followers f join conversations c on c.id = f.conversation_id"
        )
        assert [row["external_id"] for row in rows] == ["1003"]


async def test_who_may_no_longer_see_a_task_follows_it_no_longer(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    channel = Place(channel=Channel.SLACK, external_id="T0ACME/C1", thread="17.1")
    async with town(database_url, redis_url, tmp_path) as here:
        (here.sayso.workspace / "a.log").write_text("x", encoding="utf-8")
        await here.tell("hello", channel, "T0ACME/U03CARL")
        number = (await here.tell("do files.delete paths=a.log", channel, "T0ACME/U01ALICE")).task_id
        assert number is not None
        approval = await here.sayso.approval_of(number)
        await here.tell(f"follow {number}", CARLS, "1003")
        await here.shows(here.telegram, "task", "ask")
        deps = here.sayso.deps
        assert await followers.let_go(deps) == 0, "he may see the tasks of his conversations"
        narrower = parse(PEOPLE.replace("see: [conversation]", "see: [own]", 1))
        await people.sync(deps.db, people.wanted(narrower))
        assert await followers.let_go(replace(deps, organisation=narrower)) == 1
        shown = here.telegram.now("task")
        pressed = Press(
            channel=Channel.TELEGRAM, delivery_id="P9", sender=Identity(channel=Channel.TELEGRAM, external_id="1001"),
            approval_id=approval["id"], verdict="approve",
        )  # fmt: skip
        assert isinstance(await intake.press(deps, pressed), Accepted)
        await here.shows(here.slack, "task", "good")
        assert here.telegram.now("task") == shown
        left = (
            "select count(*) from cards k join conversations c on c.id = k.conversation_id where c.external_id = '1003'"
        )
        assert await deps.db.fetchval(left) == 0


async def test_who_may_not_see_a_task_cannot_follow_it(database_url: str, redis_url: str, tmp_path: Path) -> None:
    async with town(database_url, redis_url, tmp_path) as here:
        (here.sayso.workspace / "a.txt").write_text("a", encoding="utf-8")
        number = await here.sayso.say("do files.delete paths=a.txt")
        await here.sayso.approval_of(number)
        assert (await here.tell(f"follow {number}", CARLS, "1003")).task_id is None
        await eventually(lambda: here.telegram.texts == ["There is no such task, or you may not see it."])
        assert here.telegram.cards == {}


async def test_an_answer_is_said_once_in_every_place(database_url: str, redis_url: str, tmp_path: Path) -> None:
    held = asyncio.Event()
    answer = "The logs take 3 GB."
    script = Script(Reply("About 3.", held=held, held_after=1), answer)
    async with OpenAISim(script) as sim:
        env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": sim.base_url}
        async with town(database_url, redis_url, tmp_path, **env) as here:
            number = await here.sayso.say("how big are the logs?")
            await here.tell(f"follow {number}")
            await eventually(lambda: len(script.asked) == 1)  # else the first turn reads the word itself
            await here.tell(f"steer {number} in gigabytes")
            held.set()
            await here.sayso.until(number, "succeeded")
            for chat in (here.slack, here.telegram):
                await eventually(lambda chat=chat: chat.texts.count(answer) == 1)
                await here.shows(chat, "task", "good")
            assert here.slack.texts == [answer]


# ---------------------------------------------------------------- the rule

THREAD = Place(channel=Channel.SLACK, external_id="T1/C1", thread="1.1")
BESIDE = Place(channel=Channel.SLACK, external_id="T1/C1", thread="2.2")
PHONE = Place(channel=Channel.SMS, external_id="+41", private=True)


@pytest.mark.parametrize(
    ("place", "home", "is_open", "came"),
    [
        (DM, THREAD, True, "joins"),
        (DM, None, True, "joins"),
        (BESIDE, THREAD, True, "joins"),
        (THREAD, THREAD, True, "is_here"),
        (THREAD, THREAD, False, "is_here"),
        (DM, THREAD, False, "is_over"),
        (GROUP, THREAD, True, "not_here"),
        (GROUP, DM, True, "not_here"),
        (GROUP, None, True, "not_here"),
        (THREAD, GROUP, True, "not_here"),
        (PHONE, THREAD, True, "not_here"),
    ],
)
def test_a_task_joins_only_where_nobody_else_reads(place: Place, home: Place | None, is_open: bool, came: str) -> None:
    task: dict[str, Any] = {"finished_at": None if is_open else "2026-01-01T00:00:00+00:00"}
    assert following(task, place, home) == came
