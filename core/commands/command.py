"""What a chat text can mean: one frozen command each. `core.commands.reading` finds out which."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from core.commands.words import Word

TaskVerb = Literal["status", "stop", "pause", "resume", "retry", "why", "undo"]
Level = Literal["urgent", "high", "normal", "low"]
LEVELS: tuple[Level, ...] = ("urgent", "high", "normal", "low")
TASK_VERBS: tuple[TaskVerb, ...] = ("status", "stop", "pause", "resume", "retry", "why", "undo")


@dataclass(frozen=True, slots=True)
class Do:
    skill: str
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    runbook: str
    inputs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PlanFirst:
    """What is asked for, with its whole plan approved before any of it runs."""

    asked: Do | Run | PlainText


@dataclass(frozen=True, slots=True)
class OnTask:
    verb: TaskVerb
    task: int | None


@dataclass(frozen=True, slots=True)
class Fork:
    """`words` are what changes; how they are read depends on the step's skill."""

    task: int
    step: int
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class RollBack:
    """`version` is `3`, or `3.2` for a moment in it."""

    task: int
    version: str


@dataclass(frozen=True, slots=True)
class Steer:
    """`now`: the turn that runs is interrupted."""

    task: int
    text: str
    now: bool


@dataclass(frozen=True, slots=True)
class Prioritise:
    task: int
    level: Level


@dataclass(frozen=True, slots=True)
class Follow:
    """Show the task here too."""

    task: int


@dataclass(frozen=True, slots=True)
class Digest:
    """What happened meanwhile; `within_s` None: since the person was last seen."""

    within_s: int | None


@dataclass(frozen=True, slots=True)
class Show:
    what: Literal["tasks", "approvals", "grants", "help"]


@dataclass(frozen=True, slots=True)
class Remember:
    text: str


@dataclass(frozen=True, slots=True)
class Recall:
    words: str


@dataclass(frozen=True, slots=True)
class Pair:
    """An owner lets a stranger in: as somebody known, or as a new person with these roles."""

    code: str
    person: str | None
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LinkTelegram:
    """The speaker wants to bring their Telegram account."""


@dataclass(frozen=True, slots=True)
class Sms:
    """The speaker's own phone: `given` is its number to be linked, or the code that came to it."""

    what: Literal["link", "confirm", "show"]
    given: str


@dataclass(frozen=True, slots=True)
class OnCard:
    """An answer to the card of a task (and step) that needs words: `edit 12 to=bob@acme.example`, `ask 12.3 why him?`."""

    verb: Literal["edit", "ask", "delegate"]
    task: int
    step: int | None
    rest: str


@dataclass(frozen=True, slots=True)
class Revoke:
    """End a standing permission: its number, or the beginning of it."""

    grant: str


@dataclass(frozen=True, slots=True)
class Away:
    """Out of office through this day; `to` decides meanwhile. `until` None: back again."""

    until: date | None
    to: str


@dataclass(frozen=True, slots=True)
class PlainText:
    text: str


@dataclass(frozen=True, slots=True)
class Wrong:
    """A command with a mistake; `say` names the fix."""

    say: str


Command = (
    Do
    | Run
    | PlanFirst
    | OnTask
    | OnCard
    | Revoke
    | Away
    | Steer
    | Prioritise
    | Fork
    | RollBack
    | Follow
    | Digest
    | Show
    | Remember
    | Recall
    | Pair
    | LinkTelegram
    | Sms
    | PlainText
    | Wrong
)
