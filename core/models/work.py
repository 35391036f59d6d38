"""What is to be done: the action that people approve, the steps of a plan, and a step that a worker holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field, field_serializer

from core.models.frozen import Frozen
from core.models.skills import ArgumentOrigin, EffectClass


class Action(Frozen):
    """One skill call with frozen arguments. Its digest is what people approve.

    `target` names what is acted on in words of the skill, `credential` the name (never the value) of the
    credential used, `content_hashes` the SHA-256 of every file or prior result that the arguments name.
    """

    skill: str
    version: str
    schema_hash: str
    args: dict[str, Any]
    target: str = ""
    credential: str = ""
    content_hashes: dict[str, str] = Field(default_factory=dict)
    task_id: str = ""
    step: int = 0


# Whether a plan is approved before any of it runs: what would ask anyway, or every change in it.
PlanFirst = Literal["never", "asks", "always"]
StepKind = Literal["plan", "think", "act", "wait", "ask", "reflect"]


class PlannedStep(Frozen):
    """A step to be inserted. `n` is its number in the task, from 1; `needs` are numbers lower than its own.

    `within_s` is its deadline, counted from when it could first run.
    `after` says when it may run: `success` when all needs succeeded, `settled` when all have ended somehow.
    `args` may hold `{{ 3.paths }}` references to fields of earlier results; they are resolved before it runs.
    """

    n: int
    kind: StepKind
    skill: str = ""
    args: dict[str, Any] = Field(default_factory=dict)
    needs: tuple[int, ...] = ()
    after: Literal["success", "settled"] = "success"
    origins: dict[str, ArgumentOrigin] = Field(default_factory=dict)
    title: str = ""
    effect_class: EffectClass = EffectClass.PURE
    timeout_s: float = 30.0
    max_attempts: int = 3
    ready_in_s: float = 0.0
    within_s: float | None = None

    @field_serializer("origins")
    def _no_more_than_there_is_to_say(self, origins: dict[str, ArgumentOrigin]) -> dict[str, dict[str, Any]]:
        """Each step's row keeps it."""
        return {name: origin.model_dump(mode="json", exclude_defaults=True) for name, origin in origins.items()}


@dataclass(frozen=True, slots=True)
class Claimed:
    """A step that this worker holds until its lease ends; `fence` proves it.

    `row` is what the claim answered; beside the step it holds what policy looks at (core/store/situation.py).
    """

    task_id: int
    n: int
    kind: str
    skill: str
    args: dict[str, Any]
    origins: dict[str, Any]
    effect_class: str
    needs: tuple[int, ...]
    fence: int
    attempt: int
    max_attempts: int
    gen: int
    timeout_s: float
    approval_id: str | None
    effect_state: str | None
    task_goal: str
    plan_version: int
    requester_id: int
    conversation_id: int | None
    lane: str
    row: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
