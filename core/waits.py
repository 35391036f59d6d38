"""What a step may wait for: a time, an event, a reply, a child task, a condition; and when such a wait is over.

Pure. `Wait` is the form in runbooks and in a model's plan, `arguments` turns it into a step's arguments, `judge` decides
from what has been seen whether the wait is over, was in vain, or goes on. The worker looks and writes, nothing else does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta, tzinfo
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from core import config
from core.durations import Duration, in_words
from core.expressions import BadExpression, Expression
from core.state import TERMINAL

REPLY: Final = "reply"
# What a step of this kind does to a child task, where it waits for nothing.
FAMILY: Final = frozenset({"spawn", "send", "kill"})
EVENT_NAME: Final = r"[A-Za-z0-9_][\w.:@/-]{0,119}"
_CLOCK: Final = re.compile(r"(?:(\d{4}-\d{2}-\d{2})[T ])?(\d{1,2}:\d{2}(?::\d{2})?)(Z|[+-]\d{2}:\d{2})?", re.ASCII)


class Wait(BaseModel):
    """One of `for`, `until`, `event`, `reply`, `task`, `when`; `within` bounds it, `or` says what follows in vain."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    for_: Duration | None = Field(default=None, alias="for", description="Wait so long, e.g. 10m")
    until: str | None = Field(default=None, description="Wait until a clock time, e.g. 22:00 or 2026-12-01 09:00")
    event: str | None = Field(default=None, description="Wait for the event of this name")
    reply: Literal[True] | None = Field(default=None, description="Wait for the person's next message in this thread")
    task: str | None = Field(default=None, description="Wait for the end of this child task")
    when: str | None = Field(
        default=None,
        description="CEL. Beside `event`: which events count (`event.x`). Beside `poll`: what its `result` must be."
        " Alone: over the results of steps, by their ids",
    )
    poll: str | None = Field(default=None, description="A skill that only reads, called until `when` holds")
    args: dict[str, Any] = Field(default_factory=dict, description="The polled skill's arguments")
    every: Duration = Field(default=config.POLL_EVERY_S, ge=config.POLL_LEAST_S, description="How often to look")
    within: Duration = Field(default=config.WAIT_WITHIN_S, ge=1, le=config.WAIT_MOST_S, description="Wait no longer")
    or_: Literal["fail", "continue"] = Field(
        default="fail", alias="or", description="What follows when it was in vain: the step fails, or goes on"
    )

    @field_validator("until")
    @classmethod
    def _is_a_time(cls, until: str | None) -> str | None:
        if until is not None and "{{" not in until:
            clock(until)
        return until

    @field_validator("event")
    @classmethod
    def _is_a_name(cls, event: str | None) -> str | None:
        if event is not None and "{{" not in event:
            event_name(event)
        return event

    @model_validator(mode="after")
    def _waits_for_one_thing(self) -> Wait:
        things = [n for n in ("for_", "until", "event", "reply", "task") if getattr(self, n) is not None]
        if self.when is not None and self.event is None:
            things.append("when")
        if len(things) != 1:
            raise ValueError("wait for exactly one of for, until, event, reply, task, when")
        if self.poll is not None and things != ["when"]:
            raise ValueError("poll goes with when: which result ends the wait")
        if self.args and self.poll is None:
            raise ValueError("args are those of poll; name the skill that is polled")
        if "every" in self.model_fields_set and self.within > self.every * config.POLLS_MOST:
            raise ValueError(
                f"that would be {self.within // self.every:,.0f} looks, at most {config.POLLS_MOST:,} are made:"
                f" look every {in_words(-(-self.within // config.POLLS_MOST))} or less often, or wait shorter"
            )
        if self.when is not None and (self.event or self.poll):
            _compile(self.when, {"event"} if self.event else {"result"})
        return self


def clock(text: str) -> tuple[str | None, time, str | None]:
    """`22:00`, `2026-12-01 09:00`, `2026-12-01T09:00+01:00` → (date, time, offset). Raises ValueError."""
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no time; write it like 22:00 or 2026-12-01 09:00")
    date, hour, offset = match.groups()
    if date:
        datetime.fromisoformat(date)
    elif offset:
        raise ValueError(f"{text!r}: a time with an offset needs a date")
    return date, time.fromisoformat(hour.zfill(5) if hour.count(":") == 1 else hour.zfill(8)), offset


def moment(text: str, now: datetime, zone: tzinfo) -> datetime:
    """The moment that a clock time means: without a date, the next one. Raises ValueError."""
    date, at, offset = clock(text)
    if date:
        local = datetime.combine(datetime.fromisoformat(date), at)
        return datetime.fromisoformat(f"{local.isoformat()}{offset}") if offset else local.replace(tzinfo=zone)
    today = datetime.combine(now.astimezone(zone).date(), at, zone)
    return today if today > now else datetime.combine(now.astimezone(zone).date() + timedelta(days=1), at, zone)


def event_name(text: str) -> str:
    """Raises ValueError."""
    if not re.fullmatch(EVENT_NAME, text, re.ASCII):
        raise ValueError(f"{text!r} is no name of an event; write letters, digits and . _ - : @ / like deploy-done")
    return text


def _compile(source: str, variables: set[str]) -> Expression:
    try:
        return Expression(source, frozenset(variables))
    except BadExpression as error:
        raise ValueError(f"the condition does not compile: {error}") from error


# ---------------------------------------------------------------- as a step


def arguments(wait: Wait, numbers: Mapping[str, int]) -> dict[str, Any]:
    """What the step keeps of it. `numbers` are the steps that a condition may look at, by their ids. Raises ValueError."""
    kept: dict[str, Any] = {"within": wait.within, "or": wait.or_}
    if wait.for_ is not None:
        return {"for": "timer", "seconds": wait.for_}
    if wait.until is not None:
        return {"for": "clock", "until": wait.until}
    if wait.reply:
        return kept | {"for": "event", "event": REPLY}
    if wait.event is not None:
        return kept | {"for": "event", "event": wait.event} | ({"when": wait.when} if wait.when else {})
    if wait.task is not None:
        return kept | {"for": "child", "task": wait.task}
    if wait.poll is not None:
        return kept | {"for": "poll", "when": wait.when, "args": dict(wait.args), "every": _pace(wait)}
    _compile(str(wait.when), set(numbers))
    seen = {name: n for name, n in numbers.items() if re.search(rf"\b{re.escape(name)}\b", str(wait.when))}
    return kept | {"for": "condition", "when": wait.when, "names": seen, "every": _pace(wait)}


def _pace(wait: Wait) -> float:
    """How often it is looked, in seconds: a long wait that names no pace looks less often."""
    return max(wait.every, wait.within / config.POLLS_MOST)


def in_short(args: Mapping[str, Any]) -> str:
    """The step's title."""
    match args["for"]:
        case "timer":
            return f"Wait {in_words(args['seconds'])}"
        case "clock":
            return f"Wait until {args['until']}"
        case "event":
            return "Wait for a reply" if args["event"] == REPLY else f"Wait for event {args['event']}"
        case "child":
            return "Wait for a child task"
    return f"Wait until {args['when']}"


# ---------------------------------------------------------------- is it over?


@dataclass(frozen=True, slots=True)
class Event:
    id: int
    name: str
    body: dict[str, Any]
    by: str = ""
    origin: str = "untrusted"


@dataclass(frozen=True, slots=True)
class Child:
    task: str
    status: str
    result: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What there was at one moment. `until` is when the wait ends at the latest, None before its first look.

    `results` are those of the steps (or the poll, as `result`) that the condition names, `open` whether any of them
    has still to come.
    """

    now: datetime
    until: datetime | None = None
    woken: bool = False
    events: Sequence[Event] = ()
    child: Child | None = None
    results: Mapping[str, Any] = field(default_factory=dict)
    open: bool = False


@dataclass(frozen=True, slots=True)
class Over:
    result: dict[str, Any]
    read: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class InVain:
    error: str
    read: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Goes:
    """It goes on: for `seconds` until the next look (None: as long as it may), at most `within_s` in all."""

    reason: str
    within_s: float
    seconds: float | None = None
    key: str | None = None
    read: tuple[int, ...] = ()


def judge(args: Mapping[str, Any], seen: Seen, zone: tzinfo) -> Over | InVain | Goes:
    """Raises ValueError when the arguments, with results put in, make no sense."""
    if seen.woken:
        return Over({"woken": True, "summary": "Woken before its time."})
    match args["for"]:
        case "timer":
            return _timer(seen, f"{in_words(args['seconds'])} to pass", float(args["seconds"]))
        case "clock":
            rest_s = (moment(str(args["until"]), seen.now, zone) - seen.now).total_seconds()
            return _timer(seen, str(args["until"]), max(rest_s, 0.0))
    came = _look(args, seen)
    if not isinstance(came, Goes) or seen.until is None or seen.now < seen.until:
        return came if not isinstance(came, InVain) else _or(args, came)
    return _or(args, InVain(f"In vain: no {came.reason} within {in_words(args['within'])}.", came.read))


def _timer(seen: Seen, what: str, lasts_s: float) -> Over | Goes:
    if (seen.until is not None and seen.now >= seen.until) or lasts_s <= 0:
        return Over({"waited": True, "summary": "Waited."})
    return Goes(what, lasts_s)


def _or(args: Mapping[str, Any], vain: InVain) -> Over | InVain:
    if args["or"] == "fail":
        return vain
    return Over({"timed_out": True, "summary": vain.error}, vain.read)


def _look(args: Mapping[str, Any], seen: Seen) -> Over | InVain | Goes:
    match args["for"]:
        case "event":
            return _event(args, seen)
        case "child":
            return _child(args, seen)
        case "poll":
            holds = _holds(str(args["when"]), {"result"}, seen.results)
            if holds:
                return Over(dict(seen.results["result"]))
            return Goes("result that is wanted", args["within"], args["every"])
    names = set(args["names"])
    if _holds(str(args["when"]), names, seen.results):
        return Over({"held": True, "summary": f"{args['when']} holds."})
    if not seen.open:
        return InVain(f"{args['when']} does not hold, and nothing is left that could change it.")
    return Goes(f"moment at which {args['when']}", args["within"], args["every"])


def _event(args: Mapping[str, Any], seen: Seen) -> Over | Goes:
    name = event_name(str(args["event"]))
    passed: list[int] = []
    for event in seen.events:
        passed.append(event.id)
        if not args.get("when") or _holds(args["when"], {"event"}, {"event": event.body}):
            said = f"{event.by} answered." if name == REPLY and event.by else f"Event {name} arrived."
            text = {"text": event.body["text"]} if "text" in event.body else {}
            came = {"event": name, "data": event.body, "by": event.by, "origin": event.origin, **text, "summary": said}
            return Over(came, tuple(passed))
    return Goes(REPLY if name == REPLY else f"event {name}", args["within"], key=name, read=tuple(passed))


def _child(args: Mapping[str, Any], seen: Seen) -> Over | InVain | Goes:
    child = seen.child
    if child is None:
        return InVain(f"There is no child task {args['task']!r} of this task.")
    if child.status not in TERMINAL["task"]:
        return Goes(f"child task {child.task}", args["within"], key=f"child:{child.task}")
    if child.status != "succeeded":
        return InVain(f"Task {child.task} {child.status}: {child.error or 'it gave no reason'}")
    return Over({"task": child.task, "status": child.status, "result": child.result, "summary": _summary(child)})


def _summary(child: Child) -> str:
    result = child.result if isinstance(child.result, dict) else {}
    said = result.get("text") or result.get("summary") or "done"
    return f"Task {child.task}: {str(said)[: config.REASON_CHARS]}"


def _holds(source: str, names: set[str], values: Mapping[str, Any]) -> bool:
    """What is not there, or is no truth value, does not hold."""
    try:
        return Expression(source, frozenset(names)).holds(values)
    except BadExpression:
        return False
