"""What a stand-in for a model says: answers written down beforehand, and what it was asked.

The same script serves both vendors: their messages are read into one form. A question that nothing was written down
for is refused and remembered, and an answer that nobody asked for is left over: `check()` fails on both, so that no
test passes on a conversation that did not happen.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Body = dict[str, Any]
Stop = Literal["end", "tools", "length", "refused"]


@dataclass(frozen=True)
class Call:
    """A tool call by the model. `args` as text are what the model wrote, which need not be JSON."""

    name: str
    args: Body | str = field(default_factory=dict)
    id: str = ""

    def text(self) -> str:
        return self.args if isinstance(self.args, str) else json.dumps(self.args, ensure_ascii=False)


class Gate:
    """Lets one through each time that it is opened."""

    def __init__(self) -> None:
        self._passes = asyncio.Semaphore(0)

    def open(self) -> None:
        self._passes.release()

    async def wait(self) -> None:
        await self._passes.acquire()


@dataclass(frozen=True)
class Reply:
    """One answer. `breaks_after` closes a stream after so many pieces, `fails_after` puts the vendor's error there, and
    `held_after` holds it there until `held` is set; a gate holds it at each of `held_again` too."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    stop: Stop = "end"
    cached_tokens: int = 0
    breaks_after: int | None = None
    fails_after: int | None = None
    pause_s: float = 0.0
    held: "asyncio.Event | Gate | None" = None
    held_after: int = 0
    held_again: tuple[int, ...] = ()


def Say(text: str, **how: Any) -> Reply:
    return Reply(text, **how)


def Calls(*calls: Call, text: str = "", **how: Any) -> Reply:
    return Reply(text, calls, "tools", **how)


def Refuse(text: str = "I can't help with that.") -> Reply:
    return Reply(text, stop="refused")


def CutOff(text: str = "", *calls: Call) -> Reply:
    """The answer was longer than allowed."""
    return Reply(text, calls, "length")


@dataclass(frozen=True)
class Said:
    """One turn as the model sees it; `calls` are (name, args), `call_id` names the call that a tool's turn answers."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    calls: tuple[tuple[str, Any], ...] = ()
    call_id: str | None = None


@dataclass(frozen=True)
class Asked:
    """One question as it came over the wire."""

    vendor: str
    model: str
    turns: tuple[Said, ...]
    tools: tuple[str, ...]
    is_streamed: bool
    body: Body

    def last(self, role: str = "user") -> str:
        """The text of the last turn of this role, "" when there is none."""
        return next((turn.text for turn in reversed(self.turns) if turn.role == role), "")


Writing = Reply | str | Call | Callable[[Asked], "Reply | str"]


@dataclass
class _Rule:
    fits: Callable[[tuple[Said, ...]], bool]
    writing: Writing
    left: int | None
    met: int = 0


class When:
    def __init__(self, script: "Script", fits: Callable[[tuple[Said, ...]], bool], times: int | None) -> None:
        self._script, self._fits, self._times = script, fits, times

    def answer(self, writing: Writing) -> "Script":
        self._script.rules.append(_Rule(self._fits, writing, self._times))
        return self._script


class Script:
    """Rules first, in the order written; then the queue; then `otherwise`, where there is one. `repeats`: what was lost on
    its way is given once more."""

    def __init__(self, *queue: Writing, otherwise: Writing | None = None, repeats: bool = False) -> None:
        self.repeats = repeats
        self.rules: list[_Rule] = []
        self.asked: list[Asked] = []
        self.surprises: list[str] = []
        self.otherwise = otherwise
        self._queue: deque[Writing] = deque(queue)

    def push(self, *writings: Writing) -> "Script":
        """Answers for the next questions, whatever they are."""
        self._queue.extend(writings)
        return self

    def when(self, fits: Callable[[tuple[Said, ...]], bool], times: int | None = None) -> When:
        """`script.when(lambda turns: "weather" in turns[-1].text).answer("Rain.")`, at most `times` if given."""
        return When(self, fits, times)

    def reply_to(self, asked: Asked) -> Reply | None:
        """The answer to this question, None when nothing was written down for it."""
        self.asked.append(asked)
        for rule in self.rules:
            if rule.left != 0 and rule.fits(asked.turns):
                rule.met += 1
                rule.left = rule.left - 1 if rule.left is not None else None
                return _written(rule.writing, asked)
        if self._queue:
            return _written(self._queue.popleft(), asked)
        if self.otherwise is not None:
            return _written(self.otherwise, asked)
        self.surprises.append(f"{asked.vendor}/{asked.model}: {asked.last()[:200]!r}")
        return None

    def was_lost(self, reply: Reply) -> None:
        """Whoever asked did not get this answer, or not all of it."""
        if self.repeats:
            self._queue.appendleft(reply)

    def unmet(self) -> list[str]:
        """Answers that nobody asked for."""
        rules = [f"rule {i}" for i, rule in enumerate(self.rules, start=1) if not rule.met or (rule.left or 0) > 0]
        return [*rules, *(f"queued {writing!r}" for writing in self._queue)]

    def check(self) -> None:
        """Raises AssertionError unless every question was expected and every answer was asked for."""
        assert not self.surprises, f"questions without an answer in the script: {self.surprises}"
        assert not self.unmet(), f"answers that nobody asked for: {self.unmet()}"


def _written(writing: Writing, asked: Asked) -> Reply:
    if callable(writing):
        writing = writing(asked)
    if isinstance(writing, str):
        return Say(writing)
    if isinstance(writing, Call):
        return Calls(writing)
    return writing


def with_ids(reply: Reply, prefix: str, number: int) -> Reply:
    """Calls without an id get one in the vendor's manner."""
    calls = tuple(
        replace(call, id=call.id or f"{prefix}{number:04d}{i:04d}Sim") for i, call in enumerate(reply.calls, start=1)
    )
    return replace(reply, calls=calls)


def pieces(text: str, size: int = 12) -> Sequence[str]:
    """The text as a stream brings it."""
    return [text[i : i + size] for i in range(0, len(text), size)]


def tokens(text: str) -> int:
    """About as many as a real tokenizer finds; the same every time."""
    return (len(text) + 3) // 4


def by_hand(asked: Asked) -> Reply | str:
    """The model of a stand-in that is started by hand: `call NAME {json}` calls a tool, all else is said back."""
    text = asked.last().strip()
    word, _, rest = text.partition(" ")
    name, _, args = rest.partition(" ")
    if word == "call" and name and asked.turns[-1].role == "user":
        return Calls(Call(name, args or "{}"))
    return f"You said: {text[-500:]}" if asked.turns[-1].role == "user" else f"It came to: {asked.last('tool')[-500:]}"
