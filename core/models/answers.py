"""Answers of intake: what became of a message, and of a press. Expected ends are values that callers match."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Received:
    """An inbound that is now a row. `task_id` is the task it started or steered, if any; `kept` waits for more to come."""

    inbound_id: int
    task_id: int | None = None
    kind: Literal["task", "steered", "answered", "pairing", "kept", "ignored"] = "task"


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The same delivery again: nothing changed. `task_id` is what it led to the first time."""

    task_id: int | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """`status` is the approval's after this decision: still `pending` while votes are missing."""

    approval_id: str
    status: str
    task_id: int
    decisions: tuple[dict[str, Any], ...] = ()
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class AlreadyDecided:
    approval_id: str
    status: str
    by: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class NotAllowed:
    approval_id: str
    why: str


@dataclass(frozen=True, slots=True)
class TooLate:
    approval_id: str
    expired_at: datetime


@dataclass(frozen=True, slots=True)
class Changed:
    """The digest the presser saw is not the approval's; the card has to be read again."""

    approval_id: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """The answer does not fit, or policy refuses what it asks for; nothing was changed. `field`: the argument meant."""

    approval_id: str
    why: str
    field: str = ""


@dataclass(frozen=True, slots=True)
class NotFound:
    """No such thing, or it is not visible to you: the same answer."""


Decided = Accepted | AlreadyDecided | NotAllowed | TooLate | Changed | Invalid | NotFound
