"""Plays a story: each line is `who does what: with what`, and this file is all that the words mean.

ann says: text                    also `ann says in telegram`; without a chat it is the one the story is played in
ann sees: words                   one message shows all these words, now or soon; never twice the same
ann never sees: words             nothing that stands in the chat has them
ann presses: Approve              the newest message with a button that begins so; asked whether one is sure, one is
ann fills in: {Reason: text}      the form that opened
ann is told: words                what only she is shown, for the moment
ann texts: OK {code}              from her phone; {code} is the one of the newest text message
ann gets a text: words            on her phone
file a.txt: is there | is gone | content
the task: succeeded               its status, now or soon; `task 2` the second of the story
time passes: 15m                  on everybody's clock
the model says: words             the answer to its next question; or {plan: [...], then: ...}
the shop: done and the answer lost           what becomes of the next order; `the shop took: 1` counts them
the next message: is overtaken    by the one after it, on its way to us
no task: was made
file a.txt is written: content
in slack | in telegram | in web: [lines]     only when the story is played there
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from core.durations import seconds
from tests.scenarios.mishaps import Mishap, plan
from tests.scenarios.stage import Place, Stage
from tests.sim.faults import DISCONNECT, DONE_BUT_ANSWER_LOST, REORDER
from tests.sim.llm_script import Call, Calls, Reply
from tests.sim.people import Delivered, Seen
from tests.sim.world import Vendor

HERE = Path(__file__).parent
PRESSES_MOST = 6
# A question that was decided before it could leave is rightly not sent.
OVERTAKEN = "it is decided, or its time is over"
LINE = re.compile(
    r"(?P<who>\w+) (?P<verb>says|is answered|sees|never sees|presses|fills in|is told|texts|gets a text)(?: in (?P<chat>\w+))?"
)


@dataclass(frozen=True)
class Story:
    name: str
    story: str
    chats: tuple[str, ...]
    script: tuple[dict[str, Any], ...]
    files: dict[str, str] = field(default_factory=dict)
    mishaps: tuple[str, ...] = ()


def stories() -> list[Story]:
    """All of them, by name. A file that says something unknown is an error."""
    found = []
    for path in sorted(HERE.glob("*.yaml")):
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
        found.append(Story(path.stem, chats=tuple(read.pop("chats")), script=tuple(read.pop("script")), **read))
    return found


@dataclass(frozen=True, slots=True)
class Ending:
    """What is wrong when a story is over: what somebody saw twice, and what was left open."""

    seen_twice: tuple[str, ...] = ()
    left_open: tuple[str, ...] = ()


async def play(stage: Stage, story: Story, chat: str, mishap: Mishap | None = None) -> Ending:
    """To its end, which should be `Ending()`; a line that does not come true on its way is an AssertionError."""
    for name, content in story.files.items():
        (stage.workspace / name).write_text(content, encoding="utf-8")
    player = Player(stage, chat, mishap)  # type: ignore[arg-type]  # a story names chats that there are
    if mishap is not None:
        plan(stage.world, mishap, _vendors(story, chat), presses=_says(story, "presses"))
    for line in story.script:
        await player.line(line)
    await stage.rests()
    return Ending(tuple(await player.seen_twice()), tuple(await player.left_open()))


class Player:
    def __init__(self, stage: Stage, chat: Place, mishap: Mishap | None) -> None:
        self.stage, self.chat, self.mishap = stage, chat, mishap
        self._orders = 0
        self._answers = 0
        self._before: list[str] = []

    async def line(self, line: dict[str, Any]) -> None:
        [(said, value)] = line.items()
        words = said.split(" ", 1)
        if said.startswith("in "):
            for one in value if words[1] == self.chat else ():
                await self.line(one)
        elif said == "time passes":
            await self.stage.world.clock.step(seconds(value))
        elif said == "the model says":
            self._model_says(_written(value))
        elif said == "the shop":
            assert value == "done and the answer lost"
            self.stage.shop.line.faults.add("orders", 1, DONE_BUT_ANSWER_LOST)
        elif said == "the shop took":
            assert len(self.stage.shop.orders) == value
        elif said == "the next message":
            assert value == "is overtaken"
            self.stage.world.plan(self.chat, "message", REORDER, "out")  # type: ignore[arg-type]  # a vendor's chat
        elif said == "no task":
            assert await self.stage.deps.db.fetchval("select count(*) from tasks") == 0
        elif said.endswith(" is written"):
            (self.stage.workspace / words[1].removesuffix(" is written")).write_text(value, encoding="utf-8")
        elif words[0] == "file":
            await self._file(words[1], value)
        elif said == "the task" or words[0] == "task":
            await self._task(None if said == "the task" else int(words[1]), value)
        else:
            await self._person(said, value)

    async def _person(self, said: str, value: Any) -> None:
        found = LINE.fullmatch(said)
        assert found, f"no story says {said!r}"
        place: Place = found["chat"] or self.chat  # type: ignore[assignment]
        doing: dict[str, Callable[[str, Place, Any], Awaitable[None]]] = {
            "says": self._says,
            "sees": self._sees,
            "never sees": self._never_sees,
            "is answered": self._is_answered,
            "presses": self._presses,
            "fills in": self._fills_in,
            "is told": self._is_told,
            "texts": self._texts,
            "gets a text": self._gets_a_text,
        }
        await doing[found["verb"]](found["who"], place, value)

    # ------------------------------------------------------------ what people do

    async def _says(self, who: str, place: Place, text: str) -> None:
        """Said once. What the vendor could not deliver it delivers again, or time has to pass for that."""
        text = _filled(text).replace("{shop}", self.stage.shop.line.url)
        self._orders += 1
        self._before = [seen.text for seen in await self.stage.sees(who, place)]
        if place == "web":
            assert await self.stage.pages[who].say(text)
        else:
            await self.stage.who(who).say(text, place)

    async def _presses(self, who: str, place: Place, label: str) -> None:
        """Until the app has taken it: whoever is not answered presses again."""
        self._orders += label == "Undo"
        button = await self._button(who, place, label)
        for _ in range(PRESSES_MOST):
            if await self._pressed(who, place, *button):
                break
            # It may have been taken all the same, and the answer lost: then the button is gone.
            await self.stage.rests()
            again = [seen for seen in await self.stage.sees(who, place) if button[1] in seen.buttons]
            if not again:
                break
            button = (again[-1], button[1])
        if place == "telegram":
            await self._is_sure(who, button[0])

    async def _is_sure(self, who: str, pressed: Seen) -> None:
        """Telegram has no dialogs: what cannot be taken back asks once more on the same message."""

        def turned() -> Seen | bool:
            now = next(one for one in self.stage.who(who).sees("telegram") if one.ref == pressed.ref)
            if any(label.startswith("Confirm") for label in now.buttons):
                return now
            return now.buttons != pressed.buttons or now.text != pressed.text

        found = await self.stage.until(turned, lambda: "nothing comes of the press")
        if isinstance(found, Seen):
            for _ in range(PRESSES_MOST):
                confirm = next(label for label in found.buttons if label.startswith("Confirm"))
                if await self._pressed(who, "telegram", found, confirm):
                    return

    async def _button(self, who: str, place: Place, label: str) -> tuple[Seen, str]:
        async def look() -> tuple[Seen, str] | None:
            for seen in reversed(await self.stage.sees(who, place)):
                found = next((one for one in seen.buttons if one.startswith(label)), None)
                if found is not None:
                    return seen, found
            return None

        found: tuple[Seen, str] = await self.stage.until(look, lambda: f"{who} sees no button {label!r} in {place}")
        return found

    async def _pressed(self, who: str, place: Place, seen: Seen, label: str) -> bool:
        if place == "web":
            return await self.stage.pages[who].press(seen, label)
        delivered: Delivered = await self.stage.who(who).on(place).press(seen, label)
        return delivered.acked or (place == "telegram" and self.stage.world.telegram_mode == "polling")

    async def _fills_in(self, who: str, place: Place, values: dict[str, str]) -> None:
        await self.stage.until(lambda: self._form(who, place), lambda: f"no form opens for {who}")
        await self.stage.who(who).submit(values, place)

    def _form(self, who: str, place: Place) -> bool:
        return place != "slack" or bool(self.stage.world.slack.user(self.stage.who(who).on("slack").person.id).views())

    async def _texts(self, who: str, place: Place, text: str) -> None:
        codes = re.findall(r"\bOK ([0-9A-Z]{8})\b", " ".join(one.text for one in self.stage.who(who).sees("sms")))
        for _ in range(PRESSES_MOST):
            if (await self.stage.who(who).sms(text.format(code=codes[-1] if codes else ""))).acked:
                return

    # ------------------------------------------------------------ what people see

    async def _sees(self, who: str, place: Place, words: str | list[str]) -> None:
        wanted = [words] if isinstance(words, str) else words

        async def look() -> bool:
            return any(all(one in seen.text for one in wanted) for seen in await self.stage.sees(who, place))

        await self.stage.until(look, lambda: f"{who} does not see {wanted} in {place}")

    async def _is_answered(self, who: str, place: Place, _: Any) -> None:
        """Something of ours stands there that was not there, or not so, when they said it."""

        async def look() -> bool:
            return [seen.text for seen in await self.stage.sees(who, place)] != self._before

        await self.stage.until(look, lambda: f"{who} gets no answer in {place}")

    async def _never_sees(self, who: str, place: Place, words: str) -> None:
        await self.stage.rests()
        assert not [seen for seen in await self.stage.sees(who, place) if words in seen.text]

    async def _is_told(self, who: str, place: Place, words: str) -> None:
        def look() -> bool:
            told = self.stage.pages[who].notices if place == "web" else self.stage.who(who).told(place)
            return any(words in one for one in told)

        await self.stage.until(look, lambda: f"{who} is not told {words!r} in {place}")

    async def _gets_a_text(self, who: str, place: Place, words: str) -> None:
        await self._sees(who, "sms", words)

    # ------------------------------------------------------------ what is so

    async def _file(self, name: str, wanted: str) -> None:
        path = self.stage.workspace / name

        def look() -> bool:
            if wanted in ("is there", "is gone"):
                return path.exists() == (wanted == "is there")
            return path.is_file() and path.read_text(encoding="utf-8") == wanted

        await self.stage.until(look, lambda: f"{name} not: {wanted}")

    async def _task(self, number: int | None, status: str) -> None:
        async def look() -> bool:
            row = await self.stage.deps.db.fetchval(
                "select status from tasks where $1::bigint is null or id = $1 order by id desc limit 1", number
            )
            return bool(row == status)

        await self.stage.until(look, lambda: f"the task is not {status}")

    def _model_says(self, reply: Reply | str) -> None:
        """An answer that is lost on its way is bought again, and says the same."""
        lost = self.mishap is not None and self.mishap.call in (DONE_BUT_ANSWER_LOST, DISCONNECT) and not self._answers
        self._answers += 1
        self.stage.script.push(*[reply] * (2 if lost else 1))

    async def seen_twice(self) -> list[str]:
        """One task for each order at most, and no message of ours twice: on Telegram, which cannot be asked, one more for an
        answer that was lost."""
        db = self.stage.deps.db
        made = await db.fetchval("select count(*) from tasks")
        found = [f"{made} tasks of {self._orders} orders"] if made > self._orders else []
        known = {row[0] for row in await db.fetch("select distinct provider_ref from outbox where status = 'sent'")}
        for who in self.stage.world.people:
            for place in ("slack", "telegram"):
                mine = [one for one in self.stage.who(who).sees(place) if one.is_mine and not one.is_private]
                heads = {one.text.partition("\n")[0] for one in mine if one.ref in known}
                strays = [one.text for one in mine if one.ref not in known and one.text.partition("\n")[0] in heads]
                allowed = 1 if place == "telegram" and self.mishap is not None and self.mishap.may_double else 0
                found += [f"{who} in {place}: {text}" for text in strays[allowed:]]
        return found

    async def left_open(self) -> list[str]:
        """Buttons for what is decided already, and messages of ours that never arrived."""
        db, found = self.stage.deps.db, []
        if not await db.fetchval("select exists (select from approvals where status = 'pending')"):
            for who in self.stage.world.people:
                for place in ("slack", "telegram"):
                    seen = [one for one in self.stage.who(who).sees(place) if one.is_mine and "Approve" in one.buttons]
                    found += [f"{who} in {place}: {one.text}" for one in seen]
        rows = await db.fetch("select status, error from outbox where status <> 'sent' and error <> $1", OVERTAKEN)
        return [*found, *(f"{row['status']}: {row['error']}" for row in rows)]


def _vendors(story: Story, chat: str) -> tuple[Vendor, ...]:
    """Whose lines the story goes over."""
    also = {"twilio": "texts", "anthropic": "the model says"}
    found = [chat] if chat != "web" else []
    return (*found, *(vendor for vendor, words in also.items() if _says(story, words)))  # type: ignore[arg-type]


def _says(story: Story, words: str) -> bool:
    return any(words in name for line in story.script for name in line)


def _filled(text: str) -> str:
    """`{41000 characters}` and `{1200 sentences}` stand for that many."""
    text = re.sub(r"\{(\d+) characters\}", lambda found: "x" * int(found[1]), text)
    return re.sub(r"\{(\d+) sentences\}", lambda found: " ".join(f"Sentence {n}." for n in range(int(found[1]))), text)


def _written(value: Any) -> Reply | str:
    if isinstance(value, str):
        return _filled(value)
    plan = {"say": value.get("say", ""), "steps": value["plan"], "then": value.get("then", "answer")}
    return Calls(Call("propose_plan", plan))
