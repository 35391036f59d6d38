"""The state machines: what may follow what, and what follows from it.

Six tables say which moves are legal; a move that is not in its table raises. Beside them stand the
consequences as pure functions: what a task becomes when its steps are as they are, what a lost step may do, what
a decision makes of an approval. Everything that chooses a next state does it here; the SQL functions in
`migrations/` apply the same tables (seeded from here into `transitions`) and a property test keeps the two equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from core.models import EffectClass, Outcome

Machine = Literal["task", "plan", "step", "approval", "effect", "message"]
Moves = Mapping[str, frozenset[str]]


def _moves(**table: str) -> Moves:
    return {source: frozenset(targets.split()) for source, targets in table.items()}


TASK: Final = _moves(
    queued="planning running cancelling",
    planning="running waiting paused failed abandoned cancelling",
    running="planning waiting paused succeeded failed abandoned cancelling",
    waiting="planning running paused failed abandoned cancelling",
    paused="planning running waiting cancelling",
    cancelling="cancelled",
    failed="running",
)

# A plan grows by what a turn proposes and is put back by a rollback; `tasks.plan_version` counts.
PLAN: Final = _moves(
    drawn="changed",
    changed="changed",
)

STEP: Final = _moves(
    blocked="ready running skipped cancelled",
    ready="running skipped cancelled",
    running="succeeded failed ready awaiting_approval waiting unknown cancelled",
    waiting="ready skipped cancelled failed",
    awaiting_approval="ready awaiting_approval skipped cancelled failed",
    unknown="succeeded ready failed cancelled",
    # What has ended is taken up again only in a recorded retry or rollback; what succeeded only where it left no effect.
    failed="ready blocked",
    skipped="blocked",
    cancelled="blocked",
    succeeded="blocked",
)

APPROVAL: Final = _moves(
    pending="approved denied expired superseded cancelled undeliverable",
    approved="consumed superseded expired cancelled",
)

EFFECT: Final = _moves(
    intent="done not_done unknown",
    unknown="done not_done",
    not_done="intent",
)

MESSAGE: Final = _moves(
    pending="sending",
    sending="sent pending unknown dead",
    unknown="sent pending dead",
)

MACHINES: Final[Mapping[Machine, Moves]] = {
    "task": TASK,
    "plan": PLAN,
    "step": STEP,
    "approval": APPROVAL,
    "effect": EFFECT,
    "message": MESSAGE,
}

FIRST: Final[Mapping[Machine, frozenset[str]]] = {
    "task": frozenset({"queued", "planning", "running"}),
    "plan": frozenset({"drawn"}),
    # Those that have ended come with a fork: copies of another task's steps.
    "step": frozenset({"blocked", "ready", "waiting", "succeeded", "failed", "skipped", "cancelled"}),
    "approval": frozenset({"pending"}),
    "effect": frozenset({"intent"}),
    "message": frozenset({"pending"}),
}

TERMINAL: Final[Mapping[Machine, frozenset[str]]] = {
    "task": frozenset({"succeeded", "failed", "abandoned", "cancelled"}),
    "plan": frozenset(),
    "step": frozenset({"succeeded", "failed", "skipped", "cancelled"}),
    "approval": frozenset({"denied", "expired", "superseded", "cancelled", "undeliverable", "consumed"}),
    "effect": frozenset({"done"}),
    "message": frozenset({"sent", "dead"}),
}


class IllegalMove(Exception):
    """A state was about to follow one that it may not follow."""

    def __init__(self, machine: Machine, source: str, target: str) -> None:
        legal = ", ".join(sorted(MACHINES[machine].get(source, frozenset()))) or "nothing, it is terminal"
        super().__init__(f"{machine} may not go from {source!r} to {target!r}; legal: {legal}")


def move(machine: Machine, source: str, target: str) -> str:
    """Return `target`, or raise `IllegalMove`."""
    if target not in MACHINES[machine].get(source, frozenset()):
        raise IllegalMove(machine, source, target)
    return target


def transitions() -> list[tuple[str, str, str]]:
    """Every legal move as (machine, from, to); '' stands before the first state. This seeds the SQL guard."""
    rows = [(m, "", first) for m, firsts in FIRST.items() for first in firsts]
    rows += [(m, source, target) for m, table in MACHINES.items() for source, ts in table.items() for target in ts]
    return sorted(rows)


# ---------------------------------------------------------------- what follows

OPEN_STEPS: Final = frozenset({"blocked", "ready", "running", "waiting", "awaiting_approval", "unknown"})
BUSY_STEPS: Final = frozenset({"ready", "running"})
HELD_STEPS: Final = frozenset({"waiting", "awaiting_approval", "unknown"})
GIVEN_UP: Final = frozenset({Outcome.DENIED, Outcome.EXPIRED, Outcome.UNDELIVERABLE, Outcome.GIVEN_UP})
FAILURES: Final = frozenset({Outcome.ERROR, Outcome.REFUSED})


class StepView:
    """What the consequences look at. `handled` is true when a later step reads this one's failure."""

    __slots__ = ("handled", "kind", "outcome", "status")

    def __init__(self, status: str, outcome: str | None = None, *, kind: str = "act", handled: bool = False) -> None:
        self.status, self.outcome, self.kind, self.handled = status, outcome, kind, handled


def task_after(current: str, steps: Iterable[StepView]) -> str:
    """The status a task has when its steps are as given. Terminal and paused tasks stay as they are.

    A paused task leaves its pause only by a person (who passes `running` as current). A cancelling one waits
    until nothing is running and no unknown is left.
    """
    steps = list(steps)
    count = Counter(step.status for step in steps)
    is_open = any(count[status] for status in OPEN_STEPS)
    if current in TERMINAL["task"] or current == "paused":
        return current
    if current == "cancelling":
        return current if count["running"] or count["unknown"] else "cancelled"
    if is_open:
        if any(s.status in BUSY_STEPS and s.kind == "plan" for s in steps):
            return "planning"
        if any(count[status] for status in BUSY_STEPS):
            return "running"
        return "waiting"
    outcomes = {step.outcome for step in steps if not step.handled}
    if outcomes & FAILURES:
        return "failed"
    if outcomes & GIVEN_UP:
        return "abandoned"
    return "succeeded"


def task_path(current: str, target: str) -> tuple[str, ...]:
    """The legal moves that lead from `current` to `target`: none, one, or two by way of `running`."""
    if current == target:
        return ()
    if target in TASK.get(current, frozenset()):
        return (target,)
    return (move("task", current, "running"), move("task", "running", target))


def lost_step_becomes(effect_class: EffectClass, effect_state: str | None, *, is_last: bool = False) -> str:
    """What a running step becomes when its worker is gone: run again, or ask whether it happened. `is_last`: its attempts
    are used up."""
    if effect_state != "intent" or effect_class is EffectClass.PURE:
        return "failed" if is_last else "ready"
    return "ready" if effect_class is EffectClass.IDEMPOTENT and not is_last else "unknown"


def approval_after(votes_for: int, votes_against: int, *, needed: int, veto: bool) -> str:
    """What an approval is with these votes of eligible people, one each. Without veto a refusal only withholds."""
    if votes_against and veto:
        return "denied"
    return "approved" if votes_for >= needed else "pending"


# The answers that an approval of a kind takes; the same as verdicts_of() in the database.
VERDICTS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "action": ("approve", "approve_similar", "grant", "deny", "edit", "delegate", "looking", "ask", "stop"),
    "plan": ("approve", "deny", "edit", "delegate", "looking", "ask", "stop"),
    "batch": ("approve", "deny", "edit", "delegate", "looking", "ask", "stop"),
    "budget": ("approve", "deny", "delegate", "looking", "ask", "stop"),
    "question": ("approve", "answer", "deny", "delegate", "looking", "stop"),
    "unknown": ("happened", "not_happened", "abandon", "delegate", "looking", "ask", "stop"),
}

STEP_AFTER_APPROVAL: Final[Mapping[str, tuple[str, Outcome | None]]] = {
    "approved": ("ready", None),
    "denied": ("skipped", Outcome.DENIED),
    "expired": ("skipped", Outcome.EXPIRED),
    "undeliverable": ("skipped", Outcome.UNDELIVERABLE),
    "cancelled": ("cancelled", Outcome.CANCELLED),
    "superseded": ("awaiting_approval", None),
}


def backoff_s(attempt: int, *, first_s: float, most_s: float) -> float:
    """Exponential: `first_s` after attempt 1, doubled each time, never above `most_s`."""
    return min(most_s, first_s * 2.0 ** max(0, attempt - 1))


def diagram(machine: Machine) -> str:
    """The machine as a Mermaid state diagram, for the README."""
    lines = ["stateDiagram-v2"]
    lines += [f"    [*] --> {first}" for first in sorted(FIRST[machine])]
    for source, targets in MACHINES[machine].items():
        lines += [f"    {source} --> {target}" for target in sorted(targets)]
    lines += [f"    {end} --> [*]" for end in sorted(TERMINAL[machine])]
    return "\n".join(lines)
