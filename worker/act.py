"""One `act` step: freeze the call, have it classified, park it or begin it, make the call, answer what came of it.

This is the only road to a skill. Nothing here writes a step's state: the answer is a frozen outcome.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, assert_never

from core import config, digest, policy, predicate, provenance, templates
from core.cards import call_title
from core.db import DATABASE_AWAY
from core.deps import Deps
from core.display import names_secret
from core.models import (
    Action,
    ArgumentOrigin,
    Ask,
    Claimed,
    Classified,
    Dropped,
    EffectClass,
    Failed,
    Grant,
    Origin,
    Outcome,
    Parked,
    Permission,
    Place,
    Provenance,
    Released,
    SkillManifest,
    Succeeded,
    Unknown,
    Waiting,
)
from core.state import backoff_s
from core.store import approvals, conversations, situation, spending, steps
from core.store.people import Principal
from core.store.situation import Situation
from core.variables import asks_of_the_past
from worker.context import context_for
from worker.gate import AskPeople, Go, Refuse, pass_gate
from worker.lease import Lease
from worker.outcome import Outcome as StepOutcome
from worker.skills.context import Handles, SkillContext
from worker.skills.errors import BadArguments, NotDone, OutcomeUnknown, RateLimited
from worker.skills.registry import Registry
from worker.skills.run import Skill
from worker.slots import Hold

log = logging.getLogger(__name__)

DESTRUCTIVE = frozenset({Permission.DELETE, Permission.SPEND, Permission.EXECUTE, Permission.ADMIN})
ONCE_AT_MOST = frozenset({EffectClass.CHECKABLE, EffectClass.UNSAFE})
BEGIN_REFUSED: dict[str, StepOutcome] = {
    "cancelled": Failed(error="The task was stopped.", outcome=Outcome.CANCELLED),
    "paused": Released(why="the task is paused"),
    "requester": Failed(error="Who asked for this may no longer do so.", outcome=Outcome.REFUSED),
    "stale": Dropped(evidence="the lease was lost before the action began"),
}
NO_PREVIEW = (NotDone, OutcomeUnknown, BadArguments, OSError, TimeoutError)
NO_LONGER = {
    "drift": "What would run has changed since it was approved",
    "expired": "The approval had expired before the action began",
    "approver": "Someone who approved it may no longer decide",
    "not_approved": "The approval was withdrawn or used up",
}


@dataclass(frozen=True, slots=True)
class Actor:
    """What acting needs; built once per worker. `classify` is the gate's judgement; only a bench compares others with it.

    The handles are guarded as they come in: no skill reaches the world through them once the lease has ended.
    """

    deps: Deps
    lease: Lease
    registry: Registry
    handles: Handles
    classify: Callable[..., Classified] = policy.classify

    def __post_init__(self) -> None:
        object.__setattr__(self, "handles", self.handles.guarded(self.lease.is_good))

    async def act(self, hold: Hold) -> StepOutcome:
        """Carry out the step. Raises only `CancelledError`."""
        step = hold.step
        if step.effect_state == "intent" and step.effect_class in ONCE_AT_MOST:
            return Unknown(error="The worker lost sight of the call after it had begun.")
        skill = self.registry.get(step.skill)
        if skill is None:
            return Failed(error=f"No skill {step.skill!r} is installed on this worker.", outcome=Outcome.REFUSED)
        seen = situation.of_claim(step)
        if seen is None:
            return Failed(error="Who asked for this may no longer do so.", outcome=Outcome.REFUSED)
        try:
            frozen = await self.freeze(step, skill, seen)
        except (BadArguments, templates.BadReference, digest.NotCanonical) as error:
            return Failed(error=str(error), outcome=Outcome.REFUSED)
        except NotDone as error:
            return Failed(error=error.message, retry_in_s=_retry_s(step, error))
        return await self._pass(hold, skill, frozen, seen)

    # ------------------------------------------------------------ freeze

    async def freeze(self, step: Claimed, skill: Skill, seen: Situation) -> FrozenCall:
        """The action exactly as it would run, and where each of its arguments came from."""
        db = self.deps.db
        ago_s = (seen.approval or {}).get("decided_ago_s")
        decided_at = None if ago_s is None else time.monotonic() - ago_s
        needed = templates.steps_named(step.args)
        results = await steps.results(db, step.task_id, sorted(needed)) if needed else {}
        sources = await steps.sources(db, step.task_id, sorted(needed)) if needed else {}
        args, origins = templates.resolve(step.args, results, _origins(step), brought_by(sources, self.registry))
        args = skill.validate(args)
        ctx = await context_for(self, step, skill, seen.requester)
        action = Action(
            skill=step.skill,
            version=skill.manifest.version,
            schema_hash=skill.manifest.schema_hash,
            args=args,
            target=skill.target(args),
            credential=str(args.get("credential") or ""),
            content_hashes=await skill.content_hashes(ctx, args),
            task_id=str(step.task_id),
            step=step.n,
        )
        is_tainted = _origins(step).get(provenance.TURN) is not None and not skill.manifest.is_pure
        read = await steps.read_before(db, step.task_id, step.n) if is_tainted else []
        where = provenance.label(args, origins, seen.own_words, skill.manifest.args_schema, read)
        return FrozenCall(action, where, seen.requester, args, decided_at, ctx)

    # ------------------------------------------------------------ gate

    async def _pass(self, hold: Hold, skill: Skill, frozen: FrozenCall, seen: Situation) -> StepOutcome:
        step = hold.step
        answer = await self.judge(step, skill, frozen, seen)
        match pass_gate(answer, seen.approval, frozen.action):
            case Refuse(why=why, outcome=outcome):
                return Failed(error=f"Refused: {why}", outcome=outcome)
            case AskPeople() as asked:
                return await self._park(step, skill, frozen, asked)
            case Go() as go:
                return await self._go(hold, skill, frozen, go)
            case other:
                assert_never(other)

    async def judge(self, step: Claimed, skill: Skill, frozen: FrozenCall, seen: Situation) -> Classified:
        """What policy says to it, for everyone whose rights count."""
        wanted = asks_of_the_past(self.deps.organisation)
        past = await spending.past(self.deps.db, wanted, step, frozen.action.target) if wanted else {}
        answer = self._classified(step, skill, frozen, seen, seen.requester, seen.grants, past)
        for editor in seen.editors:
            answer = policy.both(answer, self._classified(step, skill, frozen, seen, editor, (), past))
        return answer

    def _classified(
        self,
        step: Claimed,
        skill: Skill,
        frozen: FrozenCall,
        seen: Situation,
        person: Principal,
        grants: Sequence[Grant],
        past: Mapping[str, Any],
    ) -> Classified:
        """What policy says when this person asks for it."""
        return self.classify(
            frozen.action,
            skill.manifest,
            frozen.provenance,
            person.requester,
            self.deps.organisation,
            grants,
            seen.now,
            conversation=seen.conversation,
            task={"id": str(step.task_id), "goal": step.task_goal, **past},
        )

    async def _park(self, step: Claimed, skill: Skill, frozen: FrozenCall, asked: AskPeople) -> StepOutcome:
        ask, manifest = asked.ask, skill.manifest
        try:
            # Once begun, what it changed would be in its own way.
            preview = await skill.preview(frozen.ctx, frozen.args) if step.effect_state is None else None
        except NO_PREVIEW as error:
            # Nobody is asked about what would be refused anyway.
            return Failed(error=f"It would not work: {error}", retry_in_s=_retry_s(step, error))
        item = item_of(manifest, frozen, ask, asked.why, preview or "")
        return Parked(
            ask={
                "kind": "action",
                "items": [item],
                "digest": frozen.digest,
                "action_hash": item["action_hash"],
                "card": item["card"],
                "approvers": ask.approvers.model_dump(mode="json"),
                "ladder": ask.ladder,
                "expires_in_s": ask.expires_in_s,
            },
            places=await self.places(step, ask.approvers.model_dump(mode="json"), names_secret(frozen.action.args)),
            why=asked.why,
        )

    async def places(self, step: Claimed, approvers: Mapping[str, Any], is_private: bool) -> tuple[int, ...]:
        """The task's conversation; and where only the requester reads that, who may not decide, or what is asked about is not
        for everybody there, the direct messages of those who may. The ladder asks on from there."""
        db = self.deps.db
        places = [step.conversation_id] if step.conversation_id is not None else []
        here = await conversations.by_id(db, step.conversation_id) if step.conversation_id is not None else None
        if here is not None and not here.is_private and not is_private:
            return tuple(places)
        deciders = await approvals.deciders(db, approvers, step.requester_id)
        if (is_private and not (here and here.is_private)) or all(p["id"] != step.requester_id for p in deciders):
            for person in deciders:
                for channel, external_id in person["identities"].items():
                    if channel in ("slack", "telegram"):
                        place = Place(channel=channel, external_id=external_id, private=True)
                        places.append(await conversations.ensure(db, place))
        return tuple(dict.fromkeys(places))

    # ------------------------------------------------------------ go

    async def _go(self, hold: Hold, skill: Skill, frozen: FrozenCall, go: Go) -> StepOutcome:
        step = hold.step
        pure = skill.manifest.effect_class is EffectClass.PURE
        if not pure or go.approval or go.grant:  # a yes is checked and used up also where nothing changes
            hold.may_interrupt = pure
            answer = await self._begin(step, frozen.ctx.key, frozen, go)
            if answer in BEGIN_REFUSED:
                return BEGIN_REFUSED[answer]
            if answer != "go":
                hold.may_interrupt = True
                return await self._ask_anew(hold, skill, frozen, go, answer)
            if go.approval and frozen.decided_at is not None:
                self.deps.measures.observe("begin_seconds", time.monotonic() - frozen.decided_at)
        if not self.lease.is_good():
            return Dropped(evidence="the lease ended before the call; it was not made")
        return await self._call(step, skill, frozen)

    async def _begin(self, step: Claimed, key: str, frozen: FrozenCall, go: Go) -> str:
        """Again when its answer is lost: nothing was called yet, and the fence makes it harmless. A grant would be used twice."""
        while True:
            try:
                return await steps.begin(
                    self.deps.db,
                    self.lease.worker,
                    step,
                    key=key,
                    digest=frozen.digest,
                    action=frozen.action.model_dump(mode="json"),
                    approval=go.approval,
                    grant=go.grant,
                )
            except DATABASE_AWAY as error:
                if go.grant is not None or not self.lease.is_good():
                    raise
                log.warning("step %s.%s could not begin yet: %s", step.task_id, step.n, type(error).__name__)
                await asyncio.sleep(config.RETRY_FIRST_S)

    async def _ask_anew(self, hold: Hold, skill: Skill, frozen: FrozenCall, go: Go, why: str) -> StepOutcome:
        """The approval was good a moment ago and is no longer."""
        step = hold.step
        if go.ask is None and go.approval:  # policy wants none any more, so what is wrong with it doesn't matter
            return await self._go(hold, skill, frozen, go.model_copy(update={"approval": None}))
        if go.ask is None:
            return Released(why=f"no longer allowed as it was: {why}", ready_in_s=config.RETRY_FIRST_S)
        return await self._park(step, skill, frozen, AskPeople(ask=go.ask, why=NO_LONGER.get(why, why)))

    async def _call(self, step: Claimed, skill: Skill, frozen: FrozenCall) -> StepOutcome:
        pure = skill.manifest.effect_class is EffectClass.PURE
        try:
            async with asyncio.timeout(step.timeout_s):
                result = await skill.run(frozen.ctx, frozen.args)
        except RateLimited as error:
            return Waiting(reason="rate limit", seconds=error.wait_s, within_s=config.RATE_LIMIT_WAIT_MOST_S)
        except (NotDone, BadArguments) as error:
            return Failed(error=str(error), retry_in_s=_retry_s(step, error))
        except OutcomeUnknown as error:
            return Unknown(error=error.message)
        except TimeoutError:
            why = f"No answer within {step.timeout_s:g} s."
            return Failed(error=why, retry_in_s=_pause_s(step)) if pure else Unknown(error=why)
        except Exception as error:
            log.exception("skill %s raised", step.skill)
            why = f"{step.skill} broke: {type(error).__name__}: {error}"
            return Failed(error=why) if pure else Unknown(error=why)
        return Succeeded(result=bounded(result))


@dataclass(frozen=True)
class FrozenCall:
    """A call as it would be made, and what making it takes.

    `decided_at`: by this process's monotonic clock, in seconds; None where nobody has decided.
    """

    action: Action
    provenance: Provenance
    requester: Principal
    args: dict[str, Any]
    decided_at: float | None
    ctx: SkillContext

    @cached_property
    def digest(self) -> str:
        """Of the action: worked out where it is asked about or written down, which most that only read never are."""
        return digest.digest(self.action)


def item_of(manifest: SkillManifest, frozen: FrozenCall, ask: Ask, why: str, preview: str) -> dict[str, Any]:
    """An action as an approval names it, with what its card says."""
    card = {
        "title": call_title(manifest, frozen.args),
        "reasons": list(dict.fromkeys([why, *ask.reasons])),
        "provenance": list(ask.provenance),
        "risk": ask.risk,
        "rule": ask.rule,
        "destructive": manifest.permission in DESTRUCTIVE,
        "undo": manifest.has_undo,
        "preview": preview,
        "similar": predicate.in_words(manifest.name, predicate.exactly(frozen.args, manifest)),
    }
    return {
        "task": frozen.action.task_id,
        "step": frozen.action.step,
        "digest": frozen.digest,
        "action_hash": digest.action_hash(frozen.action),
        "action": frozen.action.model_dump(mode="json"),
        "card": card,
    }


def _origins(step: Claimed) -> dict[str, ArgumentOrigin]:
    return {name: ArgumentOrigin.model_validate(value) for name, value in step.origins.items()}


def brought_by(sources: Mapping[int, str], registry: Registry) -> dict[int, ArgumentOrigin]:
    """What a reference to each step's result brings with it."""
    origins = {}
    for n, name in sources.items():
        source = registry.get(name)
        trusted = source is not None and source.manifest.output_trusted
        origins[n] = ArgumentOrigin(origin=Origin.TRUSTED if trusted else Origin.UNTRUSTED, step=n, note=name)
    return origins


def _retry_s(step: Claimed, error: Exception) -> float | None:
    wanted = getattr(error, "retry_in_s", None)
    return None if wanted is None else max(wanted, _pause_s(step))


def _pause_s(step: Claimed) -> float:
    return backoff_s(step.attempt, first_s=config.RETRY_FIRST_S, most_s=config.RETRY_MOST_S)


def bounded(result: dict[str, Any]) -> dict[str, Any]:
    """A result that fits into a row; a larger one is cut, and says so."""
    text = digest.plain_json(result)
    if len(text) <= config.RESULT_BYTES:
        return result
    return {
        "summary": f"The result was too large to keep ({len(text):,} bytes).",
        "cut": text[: config.RESULT_BYTES // 2],
    }
