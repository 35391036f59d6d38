"""What is told of a step's outcome: the line in the log and the count in the figures, in words of our own.

Pure. Errors, arguments and results are not in it: they belong to those who may see the task.
"""

from __future__ import annotations

from typing import assert_never

from core.models import Dropped, EffectClass, Failed, Outcome, Parked, Released, Succeeded, Unknown, Waiting
from worker.outcome import Outcome as StepOutcome


def told(outcome: StepOutcome, effect_class: str, attempts_left: bool) -> tuple[str, str]:
    """(the state that the step goes to, a word for the outcome)."""
    match outcome:
        case Succeeded():
            return "succeeded", "ok"
        case Failed(retry_in_s=float() | int()) if attempts_left:
            return "ready", "retry"
        case Failed(outcome=Outcome.CANCELLED):
            return "cancelled", "cancelled"
        case Failed(outcome=why):
            return "failed", str(why)
        case Unknown() if effect_class in (EffectClass.PURE, EffectClass.IDEMPOTENT):
            return ("ready" if attempts_left else "failed"), "lost"
        case Unknown():
            return "unknown", "unknown"
        case Parked():
            return "awaiting_approval", "asked"
        case Released():
            return "ready", "released"
        case Waiting():
            return "waiting", "waiting"
        case Dropped():
            return "running", "dropped"
        case _:
            assert_never(outcome)
