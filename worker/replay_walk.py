"""Walks a task's plan again without doing any of it: what would the gate say today, and is it still the same action?

Every step is frozen anew from the recorded results before it, hashed, and judged by today's rules or by others; what a
turn of the model asked is put together anew and its recorded answer read anew. Effects are answered from the record.
Nothing is written and nobody is asked: the pool is read-only, no provider is open, no skill gets a handle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from core import digest, templates
from core.deps import Deps
from core.models import Action, Claimed, Classified
from core.store import answers, people, situation, steps, versions
from worker.act import Actor
from worker.lease import Lease
from worker.llm import Models
from worker.llm.structured import Invalid
from worker.prompts import BadPrompt
from worker.recorded import read_back
from worker.skills.context import Handles
from worker.skills.errors import BadArguments, NotDone
from worker.skills.registry import Registry
from worker.skills.run import Skill
from worker.think import ASKED_WITH, Thinker

NOT_REACHED = "not reached"
COMPARED = ("skill", "version", "schema_hash", "target", "credential")


@dataclass(frozen=True, slots=True)
class Line:
    """One step, then and now. `drift` names what differs in the action; `digest` is same, differs, or '' where none was made."""

    n: int
    what: str
    then: str
    now: str
    why_then: str = ""
    why_now: str = ""
    drift: tuple[str, ...] = ()
    digest: str = ""

    @property
    def is_same(self) -> bool:
        return self.then in (self.now, NOT_REACHED) and not self.drift and self.digest != "differs"


@dataclass(frozen=True, slots=True)
class Walker:
    """`deps.organisation` has the rules that judge; `models` can ask nobody. `changed` are other arguments, by step."""

    deps: Deps
    registry: Registry
    models: Models
    changed: Mapping[int, Mapping[str, Any]]

    async def walk(self, task: int) -> list[Line]:
        db = self.deps.db
        rows = {s["n"]: s for s in await steps.transcript(db, task, await steps.last_number(db, task) + 1)}
        effects, asked = await versions.gate_facts(db, task)
        lines = []
        for step in await steps.looked_at(db, task):
            row = rows[step.n]
            if step.kind in ("plan", "think"):
                lines.append(await self._turn(step, row))
            elif step.kind == "act":
                lines.append(await self._act(step, row, effects.get(step.n), asked.get(step.n)))
            else:
                lines.append(Line(step.n, step.kind, row["status"], row["status"], "", "answered from the record"))
        return lines

    # ------------------------------------------------------------ a call

    async def _act(
        self, step: Claimed, row: Mapping[str, Any], effect: Mapping[str, Any] | None, asked: Mapping[str, Any] | None
    ) -> Line:
        then, why_then = _then(row, effect, asked)
        was = effect or asked
        if step.n in self.changed:
            step = replace(step, args={**step.args, **self.changed[step.n]})
        now = await self._now(step, was["action"].get("content_hashes", {}) if was else {})
        if isinstance(now, str):
            unreached = then == NOT_REACHED and now.startswith("there is no result")
            return Line(step.n, step.skill, then, NOT_REACHED if unreached else "deny", why_then, now)
        action, verdict = now
        reasons = "; ".join(verdict.reasons)
        if was is None:
            # A call that needed no begin left no record of its action: only the judgement can be compared.
            return Line(step.n, step.skill, then, verdict.kind, why_then, reasons)
        return Line(
            step.n, step.skill, then, verdict.kind, why_then, reasons,
            _drift(was["action"], action.model_dump(mode="json")),
            "same" if was["digest"] == digest.digest(action) else "differs",
        )  # fmt: skip

    async def _now(self, step: Claimed, hashes: Mapping[str, str]) -> str | tuple[Action, Classified]:
        """The action as it would be frozen today and what policy says to it; or why it would be refused before that."""
        skill = self.registry.get(step.skill)
        if skill is None:
            return f"no skill {step.skill!r} is installed here"
        seen = situation.of_claim(step)
        if seen is None:
            return "who asked for this may no longer do so"
        actor = Actor(self.deps, Lease(self.deps.db, ""), self.registry, Handles())
        try:
            frozen = await actor.freeze(step, _with_hashes(skill, hashes), seen)
        except (BadArguments, templates.BadReference, digest.NotCanonical, NotDone) as error:
            return str(error)
        verdict = await actor.judge(step, skill, frozen, seen)
        return frozen.action, verdict

    # ------------------------------------------------------------ a turn

    async def _turn(self, step: Claimed, row: Mapping[str, Any]) -> Line:
        """The question put together as it was then, from today's prompts and skills; and its answer read today."""
        what = "plan" if step.kind == "plan" else "turn"
        kept = await answers.last(self.deps.db, step.task_id, step.n)
        requester = await people.by_id(self.deps.db, step.requester_id)
        if row["status"] != "succeeded" or kept is None:
            return Line(step.n, what, row["status"], row["status"], row["error"] or "", "no answer is recorded")
        if requester is None:
            return Line(step.n, what, "answered", "deny", "", "who asked for this may no longer do so")
        prompt, answer, at = kept
        try:
            question = await Thinker(self.deps, self.registry, self.models).question(step, requester, at)
        except BadPrompt as error:
            return Line(step.n, what, "answered", "fails", "", str(error))
        if self.models.fingerprint(question.turns, ASKED_WITH) != prompt:
            return Line(step.n, what, "answered", "asked anew", "", "the question would be another one today")
        came = await Thinker(self.deps, self.registry, self.models).read(step, read_back(answer, prompt), question)
        if isinstance(came, Invalid):
            return Line(step.n, what, "answered", "fails", "", came.message)
        return Line(step.n, what, "answered", "answered", "", "the recorded answer is used")


# ---------------------------------------------------------------- parts


def _then(row: Mapping[str, Any], effect: Mapping[str, Any] | None, asked: Mapping[str, Any] | None) -> tuple[str, str]:
    """What the gate had said, and why."""
    if asked is not None and (effect is None or effect["approval_id"] is not None):
        by = f" by {asked['by']}" if asked["by"] else ""
        status = "approved" if asked["status"] == "consumed" else asked["status"]
        return "ask", f"{status}{by}: {'; '.join(asked['reasons'] or [])}"
    if row["outcome"] == "refused":
        return "deny", row["error"] or ""
    if effect is not None or row["status"] == "succeeded" or row["outcome"] == "error":
        return "allow", ""
    return NOT_REACHED, row["error"] or ""


def _with_hashes(skill: Skill, hashes: Mapping[str, str]) -> Skill:
    """The skill, but what its arguments name is as it was recorded: nothing is read."""

    async def recorded(*_: Any, **__: Any) -> dict[str, str]:
        return dict(hashes)

    return replace(skill, parts={**skill.parts, "content_hashes": recorded})


def _drift(was: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    fields = [name for name in COMPARED if was.get(name) != now[name]]
    named = sorted({*was["args"], *now["args"]})
    return (*fields, *(f"args.{name}" for name in named if was["args"].get(name) != now["args"].get(name)))
