"""What a model may propose: steps that call skills and refer to each other's results, and whether it wants to read them.

Pure. A proposal is checked whole before any of it becomes a step; what is wrong is said in words that the model can
mend. Numbers are given here: the model names its steps, the engine counts them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core import config, digest
from core.cards import action_title
from core.models import ArgumentOrigin, EffectClass, Origin, PlannedStep, SkillManifest
from core.provenance import PLANNED, TURN
from core.templates import DEPTH_MOST
from worker.llm import ToolSpec

_REFERENCE = re.compile(r"\{\{\s*([A-Za-z_][\w-]*)((?:\.[\w-]+)*)\s*\}\}")


class ProposedStep(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str = Field(pattern=r"^[A-Za-z_][\w-]{0,40}$", description="Your name for this step, e.g. find")
    skill: str
    args: dict[str, Any] = Field(default_factory=dict)
    needs: list[str] = Field(default_factory=list, description="ids of steps that must have succeeded before")
    why: str = ""


class Promise(BaseModel):
    """A call that a turn means to make once it has read results; `args` are those that it knows already."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    skill: str
    args: dict[str, Any] = Field(default_factory=dict)


class Proposal(BaseModel):
    """Steps to be run now. `then`: `continue` to read their results in another turn, `answer` when that is not needed."""

    model_config = ConfigDict(extra="forbid")

    say: str = Field(default="", description="One sentence for the person: what you are about to do")
    steps: list[ProposedStep] = Field(min_length=1, max_length=config.PLAN_STEPS_MOST)
    later: list[Promise] = Field(
        default_factory=list,
        max_length=config.PLAN_STEPS_MOST,
        description="Calls that you will make after reading these results, with the arguments that you know already",
    )
    then: Literal["continue", "answer"] = "continue"


PROPOSE = ToolSpec(
    name="propose_plan",
    description="Propose the steps to be run next. Risky ones are shown to a person first.",
    schema=Proposal.model_json_schema(),
)


class NotAPlan(ValueError):
    """The proposal cannot become steps; the message says why."""


def read_proposal(args: Mapping[str, Any]) -> Proposal:
    """Raises `NotAPlan`."""
    try:
        return Proposal.model_validate(args)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise NotAPlan(f"propose_plan: {problems}") from error


def steps_of(
    proposal: Proposal,
    *,
    after: int,
    last: int,
    manifests: Mapping[str, SkillManifest],
    read_untrusted: Sequence[tuple[int, str]],
    promised: Sequence[tuple[int, Promise]] = (),
) -> tuple[PlannedStep, ...]:
    """The proposal as steps numbered from `last + 1`, all of which need step `after` (the turn itself).

    `read_untrusted` are the (step, skill) whose untrusted output the turn had read: it taints what the turn proposes,
    but for the arguments that an earlier turn had `promised` before it read any. Raises `NotAPlan`.
    """
    open_promises = list(promised)
    numbers = {step.id: last + i for i, step in enumerate(proposal.steps, start=1)}
    if len(numbers) < len(proposal.steps):
        raise NotAPlan("two steps have the same id; give each its own")
    origins = {TURN: _tainted(*read_untrusted[0])} if read_untrusted else {}
    made = []
    for step in proposal.steps:
        manifest = manifests.get(step.skill)
        if manifest is None:
            raise NotAPlan(f"step {step.id}: there is no skill {step.skill!r}{_nearest(step.skill, manifests)}")
        args, referred = _numbered(step, numbers)
        kept = next(((n, p) for n, p in open_promises if _keeps(p, step.skill, args)), None) if origins else None
        if kept is not None:
            open_promises.remove(kept)
        needs = {_number_of(need, step, numbers) for need in step.needs} | referred
        made.append(
            PlannedStep(
                n=numbers[step.id],
                kind="act",
                skill=step.skill,
                args=args,
                needs=(after, *sorted(needs)),
                origins=origins | (_as_planned(*kept) if kept else {}),
                title=action_title(manifest.card, args),
                effect_class=manifest.effect_class,
                timeout_s=manifest.timeout_s,
                max_attempts=config.STEP_ATTEMPTS,
            )
        )
    if proposal.then == "continue":
        made.append(turn_after(last + len(made) + 1, tuple(numbers.values())))
    return tuple(made)


def open_promises(past: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, Promise], ...]:
    """What turns that had read nothing of others meant to do and have not done yet, each with its turn's number.

    A later call of the same skill with the same arguments keeps a promise, once.
    """
    made = [
        (turn["n"], Promise.model_validate(one))
        for turn in past
        if turn["kind"] in ("plan", "think")
        for one in (turn["result"] or {}).get("later", ())
    ]
    for step in past:
        kept = next((m for m in made if m[0] < step["n"] and _keeps(m[1], step["skill"], step["args"])), None)
        if step["kind"] == "act" and kept is not None:
            made.remove(kept)
    return tuple(made)


def _keeps(promise: Promise, skill: str, args: Mapping[str, Any]) -> bool:
    """Whether a call is the one that was promised; what was promised of it must stand in it to the letter."""
    return promise.skill == skill and all(
        name in args and digest.plain_json({"": args[name]}) == digest.plain_json({"": value})
        for name, value in promise.args.items()
    )


def _as_planned(turn: int, promise: Promise) -> dict[str, ArgumentOrigin]:
    return {name: ArgumentOrigin(origin=Origin.TRUSTED, step=turn, note=PLANNED) for name in promise.args}


def _tainted(step: int, by: str) -> ArgumentOrigin:
    """Step 0 is what came along with the request itself."""
    return ArgumentOrigin(origin=Origin.UNTRUSTED, step=step or None, note=by)


def turn_after(n: int, needs: tuple[int, ...]) -> PlannedStep:
    """A turn that reads what its needs came to, however they ended."""
    return PlannedStep(
        n=n,
        kind="think",
        needs=needs,
        after="settled",
        title="Read the results",
        effect_class=EffectClass.PURE,
        timeout_s=config.TURN_TIMEOUT_S,
    )


def _numbered(step: ProposedStep, numbers: Mapping[str, int]) -> tuple[dict[str, Any], set[int]]:
    """The arguments with `{{ find.paths }}` as `{{ 3.paths }}`, and the steps they refer to."""
    referred: set[int] = set()

    def number(match: re.Match[str]) -> str:
        n = _number_of(match.group(1), step, numbers)
        referred.add(n)
        return f"{{{{ {n}{match.group(2)} }}}}"

    def walk(value: Any, depth: int) -> Any:
        if depth > DEPTH_MOST:
            raise NotAPlan(f"step {step.id}: the arguments are nested more than {DEPTH_MOST} deep; make them flatter")
        if isinstance(value, str):
            return _REFERENCE.sub(number, value)
        if isinstance(value, list):
            return [walk(v, depth + 1) for v in value]
        if isinstance(value, dict):
            return {k: walk(v, depth + 1) for k, v in value.items()}
        return value

    return walk(step.args, 0), referred


def _number_of(name: str, step: ProposedStep, numbers: Mapping[str, int]) -> int:
    if name not in numbers:
        raise NotAPlan(f"step {step.id} refers to {name!r}, which is no step of this plan")
    if numbers[name] >= numbers[step.id]:
        raise NotAPlan(f"step {step.id} needs {name!r}, which comes after it; put it first")
    return numbers[name]


def _nearest(name: str, manifests: Mapping[str, SkillManifest]) -> str:
    close = difflib.get_close_matches(name, list(manifests), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(sorted(manifests))}"
