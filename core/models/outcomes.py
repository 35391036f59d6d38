"""How a step ended. The worker answers one of these; `worker.outcome` writes it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from core.models.frozen import Frozen
from core.models.work import PlannedStep


class Outcome(StrEnum):
    """Why a terminal step is terminal; only `ok` is success."""

    OK = "ok"
    ERROR = "error"
    REFUSED = "refused"
    DENIED = "denied"
    EXPIRED = "expired"
    UNDELIVERABLE = "undeliverable"
    CANCELLED = "cancelled"
    UPSTREAM = "upstream"
    GIVEN_UP = "given_up"


class Succeeded(Frozen):
    """`added` are steps that this one's output plans, `read` the events that it has read: both in the same commit."""

    kind: Literal["succeeded"] = "succeeded"
    result: dict[str, Any]
    added: tuple[PlannedStep, ...] = ()
    read: tuple[int, ...] = ()


class Failed(Frozen):
    """Known not to have been done (or pure). `retry_in_s` None means that another attempt is useless."""

    kind: Literal["failed"] = "failed"
    error: str
    outcome: Outcome = Outcome.ERROR
    retry_in_s: float | None = None
    added: tuple[PlannedStep, ...] = ()


class Unknown(Frozen):
    """The call may or may not have reached the world."""

    kind: Literal["unknown"] = "unknown"
    error: str


class Parked(Frozen):
    """Policy wants a person: the step waits, the approval and its cards are written in the same commit.

    `ask` is what `park_v1` takes; `places` are the conversations whose card is written.
    """

    kind: Literal["parked"] = "parked"
    ask: dict[str, Any]
    places: tuple[int, ...] = ()
    why: str


class Waiting(Frozen):
    """Nothing to do until a time, or until an event named `key`; the attempt is not charged.

    `reason` is shown to people after "waiting for". `seconds` None means until `within_s` are over, which are counted
    from the step's first wait.
    """

    kind: Literal["waiting"] = "waiting"
    reason: str
    seconds: float | None
    within_s: float
    key: str | None = None
    read: tuple[int, ...] = ()


class Released(Frozen):
    """Given back untouched; the attempt is not charged."""

    kind: Literal["released"] = "released"
    why: str
    ready_in_s: float = 0.0


class Dropped(Frozen):
    """The lease was lost: nothing may be written any more, the evidence is filed."""

    kind: Literal["dropped"] = "dropped"
    evidence: str
