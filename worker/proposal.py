"""What a model may propose: steps that call skills and refer to each other's results, and whether it wants to read them.

Pure. A proposal is checked whole before any of it becomes a step; what is wrong is said in words that the model can
mend. Numbers are given here: the model names its steps, the engine counts them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core import config, digest, waits
from core.cards import call_title
from core.models import ArgumentOrigin, EffectClass, Origin, PlannedStep, SkillManifest
from core.provenance import PLANNED, TURN
from core.templates import DEPTH_MOST
from core.waits import Wait
from worker.llm import ToolCall, ToolSpec
from worker.tools import task_steps

WEIGHED_MOST: Final = 3
WORDS_CHARS: Final = 300
_REFERENCE = re.compile(r"\{\{\s*([A-Za-z_][\w-]*)((?:\.[\w-]+)*)\s*\}\}")


class ProposedStep(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str = Field(pattern=r"^[A-Za-z_][\w-]{0,40}$", description="Your name for this step, e.g. find")
    skill: str = ""
    wait: Wait | None = Field(default=None, description="Instead of a skill: what to wait for")
    args: dict[str, Any] = Field(default_factory=dict)
    needs: list[str] = Field(default_factory=list, description="ids of steps that must have succeeded before")
    why: str = Field(default="", description="In a few words: what this step is for")


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
    weighed: list[str] = Field(
        default_factory=list,
        max_length=WEIGHED_MOST,
        description="Other ways that you considered, each with why you did not take it, for who asks why",
    )
    language: str = Field(
        default="",
        pattern=r"^([a-z]{2,3}(-[A-Za-z0-9]{2,8})*)?$",
        description="The language of the request, like en or de-CH",
    )

    def told(self, numbers: Sequence[int]) -> dict[str, Any]:
        """What it says of itself, for people who ask; `numbers` are those of its steps, in their order."""
        whys = {str(n): step.why[:WORDS_CHARS] for n, step in zip(numbers, self.steps, strict=False) if step.why}
        kept = {"why": whys, "weighed": [one[:WORDS_CHARS] for one in self.weighed], "language": self.language}
        return {name: value for name, value in kept.items() if value}


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
    proposal: Proposal | None,
    *,
    tasks: Sequence[ToolCall] = (),
    after: int,
    last: int,
    manifests: Mapping[str, SkillManifest],
    read_untrusted: Sequence[tuple[int, str]],
    promised: Sequence[tuple[int, Promise]] = (),
    handed_on: Mapping[str, Any] | None = None,
) -> tuple[PlannedStep, ...]:
    """The proposal as steps numbered from `last + 1`, all of which need step `after` (the turn itself).

    `tasks` are calls about child tasks; a turn follows that reads what they came to. `read_untrusted` are the (step,
    skill) whose untrusted output the turn had read: it taints what the turn proposes, but for the arguments that an
    earlier turn had `promised` before it read any. `handed_on` is what the turns that follow keep to: the model that a fork
    asked for, and whether plans are approved first. Raises `NotAPlan`.
    """
    promises = list(promised)
    steps = proposal.steps if proposal else []
    numbers = {step.id: last + i for i, step in enumerate(steps, start=1)}
    if len(numbers) < len(steps):
        raise NotAPlan("two steps have the same id; give each its own")
    origins = {TURN: _tainted(*read_untrusted[0])} if read_untrusted else {}
    made = [_planned(step, numbers, after, manifests, origins, promises) for step in steps]
    try:
        made += task_steps(tasks, first=last + len(made) + 1, after=after, origins=origins)
    except ValueError as error:
        raise NotAPlan(str(error)) from error
    if tasks or (proposal and proposal.then == "continue"):
        made.append(turn_after(last + len(made) + 1, tuple(step.n for step in made), handed_on))
    return tuple(made)


def _planned(
    step: ProposedStep,
    numbers: Mapping[str, int],
    after: int,
    manifests: Mapping[str, SkillManifest],
    origins: Mapping[str, ArgumentOrigin],
    promises: list[tuple[int, Promise]],
) -> PlannedStep:
    if bool(step.skill) == (step.wait is not None):
        raise NotAPlan(f"step {step.id}: name a skill, or say what to wait for, and not both")
    skill = step.wait.poll if step.wait else step.skill
    manifest = manifests.get(skill) if skill else None
    if skill and manifest is None:
        raise NotAPlan(f"step {step.id}: there is no skill {skill!r}{_nearest(skill, manifests)}")
    n = numbers[step.id]
    own: Mapping[str, Any] = step.args
    unread: dict[str, Any] = {}
    if step.wait is not None:
        own, unread = _waiting(step, step.wait, {name: i for name, i in numbers.items() if i < n}, manifest)
    args, referred = _numbered(own, step, numbers)
    kept = next(((i, p) for i, p in promises if _keeps(p, step.skill, args)), None) if origins else None
    if kept is not None:
        promises.remove(kept)
    needs = {_number_of(need, step, numbers) for need in step.needs} | referred
    title = waits.in_short(args | unread) if step.wait else call_title(manifest, args) if manifest else ""
    return PlannedStep(
        n=n,
        kind="wait" if step.wait else "act",
        skill=skill or "",
        args=args | unread,
        needs=(after, *sorted(needs)),
        origins=dict(origins) | (_as_planned(*kept) if kept else {}),
        title=title,
        effect_class=manifest.effect_class if manifest else EffectClass.PURE,
        timeout_s=manifest.timeout_s if manifest else config.STEP_TIMEOUT_S,
        max_attempts=config.STEP_ATTEMPTS,
    )


def _waiting(
    step: ProposedStep, wait: Wait, before: Mapping[str, int], polled: SkillManifest | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The wait's arguments: those that may refer to results, and those that are conditions."""
    if step.args:
        raise NotAPlan(f"step {step.id}: a step that waits has no args; those of a polled skill stand inside wait")
    if polled is not None and not polled.is_pure:
        raise NotAPlan(f"step {step.id}: {polled.name} does more than read, so it can't be polled")
    try:
        kept = waits.arguments(wait, before)
    except ValueError as error:
        raise NotAPlan(f"step {step.id}: {error}") from error
    unread = {str(name): kept.pop(name) for name in ("when", "names") if name in kept}
    return kept, unread


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


def turn_after(n: int, needs: tuple[int, ...], handed_on: Mapping[str, Any] | None = None) -> PlannedStep:
    """A turn that reads what its needs came to, however they ended."""
    return PlannedStep(
        n=n,
        kind="think",
        args=dict(handed_on or {}),
        needs=needs,
        after="settled",
        title="Read the results",
        effect_class=EffectClass.PURE,
        timeout_s=config.TURN_TIMEOUT_S,
    )


def _numbered(
    args: Mapping[str, Any], step: ProposedStep, numbers: Mapping[str, int]
) -> tuple[dict[str, Any], set[int]]:
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

    return walk(dict(args), 0), referred


def _number_of(name: str, step: ProposedStep, numbers: Mapping[str, int]) -> int:
    if name not in numbers:
        raise NotAPlan(f"step {step.id} refers to {name!r}, which is no step of this plan")
    if numbers[name] >= numbers[step.id]:
        raise NotAPlan(f"step {step.id} needs {name!r}, which comes after it; put it first")
    return numbers[name]


def _nearest(name: str, manifests: Mapping[str, SkillManifest]) -> str:
    close = difflib.get_close_matches(name, list(manifests), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(sorted(manifests))}"
