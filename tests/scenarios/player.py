"""Plays a story: each line is `who does what: with what`, and this file is all that the words mean.

ann says: text                    also `ann says in telegram`; without a chat it is the one the story is played in
ann says aloud: words             into the chat's own recorder
ann mentions: text                the app, in the channel of Slack that is called ops; `in ops` is what stands there
ann commands: text                /sayso, in ops
ann chooses: the shortcut         in the menu of the newest message in ops
ann opens: home                   the Home tab in Slack; `at home` is what stands there; or `messages`, the conversation with us
ann is offered: words             in an empty conversation, what to begin with
ann sees: words                   one message shows all these words, now or soon; never twice the same
ann never sees: words             nothing that stands in the chat has them
ann no longer sees: words         nor will anything have them that stands there now
ann reads along: words            what is being written to her shows them so far
ann stops: what is written        by the chat's own Stop, not a button of ours
ann gets a file: words            one file has them, and no two are the same
bob joins: on call                the user group in Slack
ann presses: Approve              the newest message with a button that begins so; asked whether one is sure, one is
ann fills in: {Reason: text}      the form that opened
ann is told: words                what only she is shown, for the moment
ann texts: OK {code}              from her phone; {code} is the one of the newest text message
ann gets a text: words            on her phone
file a.txt: is there | is gone | content
the task: succeeded               its status, now or soon; `task 2` the second of the story
time passes: 15m                  on everybody's clock
the model says: words             the answer to its next question; or {plan: [...], then: ...}, or [words, words]: each part waits
the model: goes on                with the next part
the shop: done and the answer lost           what becomes of the next order; `the shop took: 1` counts them
the chat hears: chat.appendStream we call this method of its vendor
the next text: never leaves       and nobody can know that; or `breaks their server`. `the text: is given up` in the end
the next message: is overtaken    by the one after it, on its way to us
the forms: open too late          Slack's triggers are over before we can use them
no task: was made
file a.txt is written: content
in slack | in telegram | in web: [lines]     only when the story is played there
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

from core.durations import seconds
from tests.scenarios.hands import Hands, filled, told
from tests.scenarios.mishaps import Mishap, plan
from tests.scenarios.stage import Place, Stage
from tests.sim.faults import DONE_BUT_ANSWER_LOST, DROP_BEFORE, REORDER, status
from tests.sim.llm_script import Call, Calls, Gate, Reply, pieces
from tests.sim.people import Seen
from tests.sim.slack_world import texts
from tests.sim.telegram_world import TgMessage

HERE = Path(__file__).parent
PLACES: tuple[Place, ...] = ("slack", "ops", "telegram")
# Rightly not sent: a question that was decided before it could leave, and a text that may have left.
OVERTAKEN, LOST = "it is decided, or its time is over", "its answer was lost, and an SMS is not sent twice"
RIGHTLY = [OVERTAKEN, LOST]
# A stream begins with up to so many pieces in which nothing is said.
PIECES_AROUND = 3
LOADING = "One moment…"
HEAD_CHARS = 40
LINE = re.compile(
    r"(?P<who>\w+) (?P<verb>says aloud|says|mentions|commands|chooses|opens|is answered|is offered|sees at home|sees"
    r"|never sees|no longer sees|reads along|stops|joins|presses at home|presses|fills in|is told|texts|gets a text"
    r"|gets a file)(?: in (?P<chat>\w+))?"
)


@dataclass(frozen=True)
class Story:
    name: str
    story: str
    chats: tuple[str, ...]
    script: tuple[dict[str, Any], ...]
    files: dict[str, str] = field(default_factory=dict)
    over: dict[str, str] = field(default_factory=dict)


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
        plan(stage.world, mishap, story.name, chat)
    for line in story.script:
        await player.line(line)
    await stage.until(lambda: not stage.world.unmet(), lambda: f"nobody ran into: {stage.world.unmet()}")
    await stage.rests()
    views = stage.world.slack.world.views
    await stage.until(
        lambda: not [one for one in views.values() if LOADING in texts(one.body["blocks"])],
        lambda: "a form never became one",
    )
    return Ending(tuple(await player.seen_twice()), tuple(await player.left_open()))


class Player:
    def __init__(self, stage: Stage, chat: Place, mishap: Mishap | None) -> None:
        self.stage, self.chat, self.mishap = stage, chat, mishap
        self.hands = Hands(stage)
        self._gate = Gate()

    async def line(self, line: dict[str, Any]) -> None:
        [(said, value)] = line.items()
        words = said.split(" ", 1)
        if said.startswith("in "):
            for one in value if words[1] == self.chat else ():
                await self.line(one)
        elif said == "time passes":
            await self.stage.world.clock.step(seconds(value))
        elif said == "the model says":
            self.stage.script.push(self._written(value))
        elif said == "the model":
            assert value == "goes on"
            self._gate.open()
        elif said == "the chat hears":
            heard, journal = self.chat, self.stage.world.journal
            await self.stage.until(lambda: journal.of(heard, value), lambda: f"{heard} does not hear {value}")
        elif said == "the next text":
            kind = {"never leaves": DROP_BEFORE, "breaks their server": status(500)}[value]
            self.stage.world.plan("twilio", "messages.create", kind)
        elif said == "the shop":
            assert value == "done and the answer lost"
            self.stage.shop.line.faults.add("orders", 1, DONE_BUT_ANSWER_LOST)
        elif said == "the shop took":
            assert len(self.stage.shop.orders) == value
        elif said == "the text":
            assert value == "is given up"
            await self._given_up()
        elif said == "the next message":
            assert value == "is overtaken"
            self.stage.world.plan(self.chat, "message", REORDER, "out")  # type: ignore[arg-type]  # a vendor's chat
        elif said == "the forms":
            assert value == "open too late"
            self.stage.world.slack.world.trigger_life_s = 0.0
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
            "sees": self._sees,
            "sees at home": self._sees_at_home,
            "never sees": self._never_sees,
            "no longer sees": self._no_longer_sees,
            "reads along": self._reads_along,
            "gets a file": self._gets_a_file,
            "is offered": self._is_offered,
            "is answered": self._is_answered,
            "is told": self._is_told,
            "gets a text": self._gets_a_text,
        }
        found_out = doing.get(found["verb"]) or self.hands.verbs[found["verb"]]
        await found_out(found["who"], place, value)

    # ------------------------------------------------------------ what people see

    async def _sees(self, who: str, place: Place, words: str | list[str]) -> None:
        wanted = [words] if isinstance(words, str) else words

        async def look() -> bool:
            await self.hands.press_again()
            return any(all(one in seen.text for one in wanted) for seen in await self.stage.sees(who, place))

        await self.stage.until(look, lambda: f"{who} does not see {wanted} in {place}")

    async def _sees_at_home(self, who: str, place: Place, words: str) -> None:
        """In the Home tab as it stands, which follows what happens."""

        def look() -> bool:
            tab = self.stage.world.slack.home(self.stage.slack_person(who).id)
            return tab is not None and words in "\n".join(texts(tab.body["blocks"]))

        await self.stage.until(look, lambda: f"{who} does not see {words!r} at home")

    async def _is_answered(self, who: str, place: Place, _: Any) -> None:
        """Something of ours stands there that was not there, or not so, when they said it."""

        async def look() -> bool:
            return [seen.text for seen in await self.stage.sees(who, place)] != self.hands.before

        await self.stage.until(look, lambda: f"{who} gets no answer in {place}")

    async def _never_sees(self, who: str, place: Place, words: str) -> None:
        await self.stage.rests()
        assert not [seen for seen in await self.stage.sees(who, place) if words in seen.text]

    async def _no_longer_sees(self, who: str, place: Place, words: str) -> None:
        async def look() -> bool:
            return not [seen for seen in await self.stage.sees(who, place) if words in seen.text]

        await self.stage.until(look, lambda: f"{who} still sees {words!r} in {place}")

    async def _reads_along(self, who: str, place: Place, words: str) -> None:
        """In Telegram it stands in no message yet; pages without a script show nothing unfinished."""
        if place != "telegram":
            await self._sees(who, place, words)
            return
        drafts = self.stage.world.telegram.world.drafts
        await self.stage.until(lambda: drafts and words in drafts[-1]["text"], lambda: f"{who} does not read {words!r}")

    async def _gets_a_file(self, who: str, place: Place, words: str) -> None:
        await self.stage.until(
            lambda: any(words in content for _, content in self.stage.files(who, place)),
            lambda: f"{who} gets no file with {words!r} in {place}",
        )

    async def _is_offered(self, who: str, place: Place, words: str) -> None:
        def look() -> bool:
            slack = self.stage.world.slack.world
            shown = [one["prompts"] for one in slack.statuses if "prompts" in one]
            return bool(shown) and any(words in prompt["title"] for prompt in shown[-1])

        await self.stage.until(look, lambda: f"{who} is not offered {words!r}")

    async def _is_told(self, who: str, place: Place, words: str) -> None:
        def look() -> bool:
            return any(words in one for one in told(self.stage, who, place))

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

    def _written(self, value: Any) -> Reply | str:
        if isinstance(value, str):
            return filled(value)
        if isinstance(value, list):
            parts = [filled(one) for one in value]
            *holds, _ = accumulate(len(pieces(one)) for one in parts)
            first, *more = (hold + PIECES_AROUND for hold in holds)
            self._gate = Gate()
            return Reply("".join(parts), held=self._gate, held_after=first, held_again=tuple(more))
        plan = {"say": value.get("say", ""), "steps": value["plan"], "then": value.get("then", "answer")}
        return Calls(Call("propose_plan", plan))

    async def _given_up(self) -> None:
        """A minute after it was tried, in which nobody said what became of it."""
        db = self.stage.deps.db
        tried = (
            "select exists (select from outbox o join conversations c on c.id = o.conversation_id"
            " where o.status = 'unknown' and c.channel = 'sms')"
        )
        await self.stage.until(lambda: db.fetchval(tried), lambda: "no text was tried")
        await self.stage.world.clock.step(seconds("2m"))
        is_over = "select exists (select from outbox where error = $1)"
        await self.stage.until(lambda: db.fetchval(is_over, LOST), lambda: "no text is given up")

    async def seen_twice(self) -> list[str]:
        """One task for each order at most, and no message of ours twice: on Telegram, which cannot be asked, one more for an
        answer that was lost."""
        db = self.stage.deps.db
        made = await db.fetchval("select count(*) from tasks")
        found = [f"{made} tasks of {self.hands.orders} orders"] if made > self.hands.orders else []
        known = await self._known()
        for who in self.stage.world.people:
            for place in PLACES:
                mine = [one for one in await self.stage.sees(who, place) if not one.is_private]
                heads = {_head(one) for one in mine if _where(one) in known} - {""}
                strays = [one.text for one in mine if _where(one) not in known and _head(one) in heads]
                files = [name for name, _ in self.stage.files(who, place)]
                twice = [name for i, name in enumerate(files) if name in files[:i]]
                most = self._strays(place)
                found += [f"{who} in {place}: {text}" for text in strays[most:] + twice[most:]]
        return found

    def _strays(self, place: str) -> int:
        return 1 if place == "telegram" and self.mishap is not None and self.mishap.may_double else 0

    async def _known(self) -> set[tuple[str, str]]:
        """The messages that we know of, as `_where` tells one."""
        rows = await self.stage.deps.db.fetch(
            "select distinct case when c.channel = 'telegram' then c.external_id else '' end, o.provider_ref"
            " from outbox o join conversations c on c.id = o.conversation_id where o.status = 'sent'"
        )
        return {(row[0], row[1]) for row in rows}

    async def left_open(self) -> list[str]:
        """Buttons for what is decided already, but on a stray copy, which closes when it is pressed; and messages of ours that
        never arrived."""
        db, found, known = self.stage.deps.db, [], await self._known()
        if not await db.fetchval("select exists (select from approvals where status = 'pending')"):
            for who in self.stage.world.people:
                for place in PLACES:
                    seen = [one for one in await self.stage.sees(who, place) if "Approve" in one.buttons]
                    strays = [one for one in seen if _where(one) not in known][: self._strays(place)]
                    found += [f"{who} in {place}: {one.text}" for one in seen if one not in strays]
        rows = await db.fetch("select status, error from outbox where status <> 'sent' and error <> all ($1)", RIGHTLY)
        return [*found, *(f"{row['status']}: {row['error']}" for row in rows)]


def _where(seen: Seen) -> tuple[str, str]:
    """Telegram counts the messages of each chat by itself."""
    return (str(seen.raw.chat.id) if isinstance(seen.raw, TgMessage) else "", seen.ref)


def _head(seen: Seen) -> str:
    """How it begins, by which one knows it again."""
    return seen.text.strip().partition("\n")[0][:HEAD_CHARS]
