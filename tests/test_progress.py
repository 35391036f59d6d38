"""Progress on the run card: what and why, how far, for how long; edits only when there is something new to see."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.courier import Courier
from bot.sending import MaybeSent
from core import config
from core.cards import Card, status_text, task_card
from core.cards.task import answer_text, elapsed
from core.store import clock, conversations, looks, tasks
from core.store.conversations import Conversation
from tests.processes import until
from tests.web_house import House

LONG_S = 3600.0
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def step(n: int, kind: str, status: str, **more: Any) -> dict[str, Any]:
    return {
        "n": n,
        "kind": kind,
        "skill": "",
        "title": f"Step {n}",
        "status": status,
        "result": None,
        "error": None,
        **more,
    }


def task(status: str, *steps: Mapping[str, Any], begun_min: float = 0, over_min: float | None = None) -> dict[str, Any]:
    over = None if over_min is None else (NOW - timedelta(minutes=over_min)).isoformat()
    return {
        "id": "7", "goal": "tidy up", "kind": "plan", "status": status, "steps": list(steps), "result": None, "error": None,
        "created_at": (NOW - timedelta(minutes=begun_min)).isoformat(), "finished_at": over,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("minutes", "said"),
    [(0.98, ""), (1, "1 min"), (9.9, "9 min"), (14, "10 min"), (59, "55 min"), (60, "1 h"), (76, "1 h 15 min"), (185, "3 h")],
)  # fmt: skip
def test_time_is_told_roughly_and_not_before_a_minute(minutes: float, said: str) -> None:
    assert elapsed(timedelta(minutes=minutes)) == said


def test_the_card_says_what_is_meant_how_far_it_is_and_for_how_long() -> None:
    steps = [
        step(1, "plan", "succeeded", result={"say": "I look for old\u202e logs, then ask before I delete them."}),
        step(2, "act", "succeeded"), step(3, "act", "running"), step(4, "act", "blocked"), step(5, "think", "blocked"),
    ]  # fmt: skip
    card = task_card(task("running", *steps, begun_min=4), now=NOW)
    assert card.status == "running, 1 of 3 steps done, 4 min"
    assert card.lines == ("I look for old⟨U+202E⟩ logs, then ask before I delete them.",)
    over = task_card(task("succeeded", *steps, begun_min=20, over_min=8), now=NOW)
    assert over.status == "succeeded, 1 of 3 steps done, after 10 min"
    assert over.lines == ()
    waiting = task_card(task("waiting", step(1, "act", "awaiting_approval"), begun_min=90), now=NOW)
    assert waiting.status == "waiting for approval"


def test_what_the_answer_says_anyway_is_not_said_of_its_step_too() -> None:
    done = step(1, "act", "succeeded", result={"summary": "Deleted 1 file: old.log"})
    ended = {"result": done["result"], "error": None}
    card = task_card(task("succeeded", done, begun_min=1, over_min=1) | ended, now=NOW)
    assert (card.answer, card.steps[0].note) == ("Deleted 1 file: old.log", "")
    apart = task_card(task("succeeded", done, begun_min=1, over_min=1) | ended, now=NOW, answered_apart=True)
    assert (apart.answer, apart.steps[0].note) == ("", "Deleted 1 file: old.log")


def test_what_a_skill_answered_without_words_for_people_is_told_by_its_fields() -> None:
    found = {"paths": ["a.log", "b\u202e.log"], "count": 2, "notes": [{"id": 1}], "long": "x" * 600, "left": []}
    done = step(1, "act", "succeeded", result=found)
    told = answer_text(task("succeeded", done, begun_min=1, over_min=1) | {"result": found, "error": None})
    assert told.split("\n")[:3] == ["paths: a.log, b⟨U+202E⟩.log", "count: 2", 'notes: [{"id": 1}]']
    assert told.endswith("…\nleft: none") and len(told) < 700
    waited = step(2, "wait", "succeeded", result={"reason": "time"})
    assert answer_text(task("succeeded", waited) | {"result": waited["result"], "error": None}) == ""


def test_a_field_that_has_a_secrets_name_is_told_without_its_words() -> None:
    found = {"status": 200, "headers": {"set-cookie": "opensesame"}, "api_key": "opensesame"}
    done = step(1, "act", "succeeded", result=found)
    told = answer_text(task("succeeded", done, begun_min=1, over_min=1) | {"result": found, "error": None})
    assert told.split("\n") == ["status: 200", "headers: (private)", "api_key: (private)"]


def test_status_tells_what_a_task_came_to_and_an_error_once() -> None:
    done = step(1, "act", "succeeded", result={"summary": "Deleted 1 file: old.log"})
    assert status_text(task("succeeded", done) | {"result": done["result"], "error": None}).split("\n")[-1] == (
        "Deleted 1 file: old.log"
    )
    failed = step(1, "act", "failed", error="there is no file 'x'")
    told = status_text(task("failed", failed) | {"result": None, "error": failed["error"]})
    assert told.count("there is no file") == 1


async def test_a_clock_that_was_moved_does_not_make_a_task_long(house: House) -> None:
    await clock.move(house.db, timedelta(minutes=15))
    task_id = await house.task(await house.person("ann", "owner"))
    await house.db.execute("select move_task($1, 'failed')", task_id)
    whole = await tasks.whole(house.db, task_id)
    assert whole is not None
    assert task_card(whole, now=datetime.now(UTC)).status == "failed"


# ---------------------------------------------------------------- what is sent


@dataclass
class Chat:
    channel: str = "telegram"
    posts: int = 0
    edits: list[Card] = field(default_factory=list)
    lost: int = 0

    async def post(self, conversation: Conversation, content: Card | str, message: int) -> str:
        self.posts += 1
        return "m1"

    async def edit(self, conversation: Conversation, ref: str, card: Card) -> None:
        self.edits.append(card)
        if self.lost:
            self.lost -= 1
            raise MaybeSent("the line broke")

    async def find(self, conversation: Conversation, message: int) -> str | None:
        return None


@dataclass
class Shown:
    """A task of Ann's, whose card stands in a chat."""

    house: House
    chat: Chat
    task: int

    async def deliver(self, *, touched: bool = True, hold_s: float = 0.0) -> None:
        """Twice, each time by a courier of its own, as after a restart: so none waits for the gap between two edits."""
        if touched:
            await self.house.db.execute("select touch_cards($1)", self.task)
        for _ in range(2):
            await self.courier().deliver(hold_s)

    def courier(self) -> Courier:
        return Courier(self.house.db, self.house.deps.settings.redis_address(), [self.chat], str)

    async def move(self, status: str) -> None:
        await self.house.db.execute("update tasks set status = $2 where id = $1", self.task, status)


@pytest.fixture
async def begun(house: House) -> Shown:
    """Nothing of it is shown yet."""
    ann = await house.person("ann", "owner")
    task = await house.task(ann)
    await house.db.execute("update conversations set channel = 'telegram'")
    return Shown(house, Chat(), task)


@pytest.fixture
async def shown(begun: Shown) -> Shown:
    await begun.deliver(touched=False)
    assert begun.chat.posts == 1
    return begun


async def test_a_task_that_is_over_at_once_is_one_message_and_no_edit(begun: Shown) -> None:
    await begun.deliver(touched=False, hold_s=LONG_S)
    assert begun.chat.posts == 0
    await begun.house.db.execute("update tasks set status = 'succeeded', finished_at = now() where id = $1", begun.task)
    await begun.deliver(hold_s=LONG_S)
    assert (begun.chat.posts, begun.chat.edits) == (1, [])
    assert await begun.house.db.fetchval("select wanted = shown from cards"), "it shows the end"
    await begun.deliver()
    assert (begun.chat.posts, begun.chat.edits) == (1, [])


async def test_the_receipt_of_work_that_goes_on_comes_though_nothing_rings(begun: Shown) -> None:
    async def is_posted() -> bool:
        return begun.chat.posts == 1

    running = asyncio.create_task(begun.courier().run())
    await until(is_posted, "the card is posted")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert begun.chat.edits == []


async def test_a_question_and_the_card_of_what_waits_for_it_are_not_held(house: House) -> None:
    await house.ask(await house.person("ann", "owner"))
    await house.db.execute("update conversations set channel = 'telegram'")
    chat = Chat()
    for _ in range(2):
        await Courier(house.db, house.deps.settings.redis_address(), [chat], str).deliver(LONG_S)
    assert chat.posts == await house.db.fetchval("select count(*) from cards") == 2


async def test_an_edit_that_would_change_nothing_is_not_sent(shown: Shown) -> None:
    await shown.deliver()
    assert shown.chat.edits == []
    assert await shown.house.db.fetchval("select wanted = shown from cards"), "it counts as shown"
    await shown.move("waiting")
    await shown.deliver()
    assert [card.status for card in shown.chat.edits] == ["waiting"]
    await shown.deliver()
    assert (shown.chat.posts, len(shown.chat.edits)) == (1, 1)


async def test_after_a_lost_answer_the_card_is_sent_whatever_it_showed_before(shown: Shown) -> None:
    shown.chat.lost = 1
    await shown.move("waiting")
    await shown.deliver()
    assert [card.status for card in shown.chat.edits] == ["waiting", "waiting"]
    shown.chat.lost = 1
    await shown.move("running")
    await shown.house.db.execute("select touch_cards($1)", shown.task)
    await shown.courier().deliver()
    await shown.move("waiting")
    await shown.deliver()
    assert [card.status for card in shown.chat.edits][2:] == ["running", "waiting"], "the chat may show either"


async def test_the_card_of_work_that_goes_on_is_shown_again_when_time_has_gone_by(shown: Shown) -> None:
    db = shown.house.db
    assert await conversations.tick(db) == 0
    due = "update cards set tick_at = now() - interval '1 second' where tick_at is not null returning tick_at"
    assert len(await db.fetch(due)) == 1
    await db.execute("update tasks set created_at = now() - interval '3 minutes'")
    assert "ticks" in await looks.due(db)
    assert await conversations.tick(db) == 1
    await shown.deliver(touched=False)
    assert [card.status for card in shown.chat.edits] == ["running, 3 min"]
    again_s = await db.fetchval("select extract(epoch from tick_at - now()) from cards")
    assert again_s > config.CARD_TICK_S / 2
    await shown.move("waiting")
    await shown.deliver()
    assert await db.fetch(due) == [], "what waits does not tick"
