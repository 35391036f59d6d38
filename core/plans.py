"""The first steps of a task: a call that a person spelled out, a turn that plans, a runbook; and the step that asks first.

Pure. Where a plan is to be approved before any of it runs, a step of kind `ask` comes before all others, which need it;
`worker.planned` finds out what is to be asked about. How much that is says `PlanFirst`, and the strictest word counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, get_args

from core import config, provenance
from core.cards.title import call_title
from core.models import ArgumentOrigin, EffectClass, Origin, PlanFirst, PlannedStep, SkillManifest
from core.organisation import Organisation, runbook_steps

WAYS: Final[tuple[PlanFirst, ...]] = get_args(PlanFirst)
# One action asks for itself as early as its plan would.
SEVERAL: Final = 2

Numbered = Callable[[int], tuple[PlannedStep, ...]]


def act_step(manifest: SkillManifest, args: dict[str, Any], n: int = 1) -> PlannedStep:
    """One call that a person spelled out."""
    return PlannedStep(
        n=n,
        kind="act",
        skill=manifest.name,
        args=args,
        origins={name: ArgumentOrigin(origin=Origin.REQUESTER) for name in args},
        title=call_title(manifest, args),
        effect_class=manifest.effect_class,
        timeout_s=manifest.timeout_s,
        max_attempts=config.STEP_ATTEMPTS,
    )


def plan_step(way: PlanFirst = "never") -> PlannedStep:
    """A turn that plans; what it and the turns after it propose is asked about as `way` says."""
    return PlannedStep(
        n=1, kind="plan", args={} if way == "never" else {"plan_first": way}, title="Work out what to do",
        effect_class=EffectClass.PURE, timeout_s=config.TURN_TIMEOUT_S,
    )  # fmt: skip


def runbook_plan(
    organisation: Organisation,
    name: str,
    given: Mapping[str, Any],
    manifests: Mapping[str, SkillManifest],
    way: PlanFirst = "never",
) -> tuple[PlannedStep, ...]:
    """The steps of a runbook, asked about first where the file or `way` says so. Raises `BadInputs`."""
    book = organisation.runbooks.get(name)
    way = strictest(way, organisation.policy.plan_first, book.plan_first if book else "never")
    return asked_first(way, lambda first: runbook_steps(organisation, name, given, manifests, first=first), 1)


def strictest(*ways: PlanFirst) -> PlanFirst:
    return max(ways, key=WAYS.index)


def asked_first(way: PlanFirst, numbered: Numbered, first: int, needs: tuple[int, ...] = ()) -> tuple[PlannedStep, ...]:
    """The steps that `numbered` makes from a number on, behind one that asks for them all; or just they.

    `needs` are what the asking step comes after.
    """
    if way == "never":
        return numbered(first)
    steps = numbered(first + 1)
    changes = sum(step.kind == "act" and step.effect_class is not EffectClass.PURE for step in steps)
    if changes < (SEVERAL if way == "asks" else 1):
        return numbered(first)
    asks = PlannedStep(
        n=first, kind="ask", args={"plan_first": way}, needs=needs, title="Approve the plan",
        effect_class=EffectClass.PURE, timeout_s=config.STEP_TIMEOUT_MOST_S, max_attempts=config.STEP_ATTEMPTS,
    )  # fmt: skip
    return (asks, *(step.model_copy(update={"needs": tuple(sorted({first, *step.needs}))}) for step in steps))


def distrust(steps: Sequence[PlannedStep], text: str, filled_in: tuple[str, ...]) -> tuple[PlannedStep, ...]:
    """Arguments that are not wholly the template's own words come from the body: untrusted."""
    if not filled_in:
        return tuple(steps)
    for part in filled_in:
        text = text.replace(part, " ")
    own = provenance.tokens(text)
    return tuple(step.model_copy(update={"origins": _origins(step, own)}) for step in steps)


def _origins(step: PlannedStep, own: frozenset[str]) -> dict[str, ArgumentOrigin]:
    untrusted = ArgumentOrigin(origin=Origin.UNTRUSTED)
    return {
        name: untrusted if o.origin is Origin.REQUESTER and not provenance.is_own(step.args.get(name), own) else o
        for name, o in step.origins.items()
    }
