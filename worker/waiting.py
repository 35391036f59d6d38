"""`wait` steps: looks at what the step waits for and answers whether it is over, in vain, or goes on.

What is decided is decided in `core.waits`; a polled skill is called through the gate like any other. A waiting step
holds no worker: the row waits, and the sweeper or an event makes it ready for the next look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

from core import templates
from core.models import ArgumentOrigin, Claimed, EffectClass, Failed, Parked, Succeeded, Waiting
from core.models import Outcome as Why
from core.store import signals, steps, tasks
from core.waits import FAMILY, Child, Event, Goes, InVain, Over, Seen, event_name, judge
from worker.act import Actor, brought_by
from worker.family import Family, is_tainted
from worker.outcome import Outcome
from worker.slots import Hold


@dataclass(frozen=True, slots=True)
class Waiter:
    actor: Actor

    async def wait(self, hold: Hold) -> Outcome:
        """One look. Raises only `CancelledError`."""
        step = hold.step
        try:
            args, origins = await self._filled(step)
            if args["for"] in FAMILY:
                return await Family(self.actor).act(step, args, is_tainted(step, origins))
            if args["for"] == "poll":
                return await self._poll(hold, args)
            return await self._look(step, args, await self._results(step, args))
        except (templates.BadReference, ValueError) as error:
            return Failed(error=str(error), outcome=Why.REFUSED)

    async def _filled(self, step: Claimed) -> tuple[dict[str, Any], dict[str, ArgumentOrigin]]:
        """The arguments with earlier results put in, and what those bring along. A polled skill's own wait for its call."""
        own = {name: value for name, value in step.args.items() if name != "args"}
        named = sorted(templates.steps_named(own))
        if not named:
            return dict(step.args), {}
        results = await steps.results(self.actor.deps.db, step.task_id, named)
        sources = await steps.sources(self.actor.deps.db, step.task_id, named)
        filled, origins = templates.resolve(own, results, {}, brought_by(sources, self.actor.registry))
        return filled | ({"args": step.args["args"]} if "args" in step.args else {}), origins

    async def _results(self, step: Claimed, args: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """What a condition looks at, by the ids it uses, and whether any of it has still to come."""
        names: dict[str, int] = args.get("names", {})
        if not names:
            return {}, False
        found, is_open = await signals.outcomes(self.actor.deps.db, step.task_id, list(names.values()))
        return {name: found[n] for name, n in names.items() if n in found}, is_open

    async def _look(self, step: Claimed, args: Mapping[str, Any], results: tuple[dict[str, Any], bool]) -> Outcome:
        db = self.actor.deps.db
        at = await signals.waited(db, step.task_id, step.n)
        events: list[Event] = []
        child: Child | None = None
        if args["for"] == "event":
            events = await signals.events_named(db, step.task_id, event_name(str(args["event"])))
        elif args["for"] == "child" and (number := tasks.parse_id(str(args["task"]))) is not None:
            child = await signals.awaited(db, step.task_id, number)
        seen = Seen(at.now, at.until, at.woken, events, child, *results)
        match judge(args, seen, ZoneInfo(self.actor.deps.organisation.timezone)):
            case Over(result=result, read=read):
                return Succeeded(result=result, read=read)
            case InVain(error=error):
                return Failed(error=error)
            case Goes() as goes:
                return Waiting(
                    reason=goes.reason, seconds=goes.seconds, within_s=goes.within_s, key=goes.key, read=goes.read
                )

    async def _poll(self, hold: Hold, args: Mapping[str, Any]) -> Outcome:
        """Call the skill once and look at what it answers. What would ask a person each time is refused."""
        step = hold.step
        skill = self.actor.registry.get(step.skill)
        if skill is not None and skill.manifest.effect_class is not EffectClass.PURE:
            return Failed(error=f"{step.skill} does more than read, so it can't be polled.", outcome=Why.REFUSED)
        came = await self.actor.act(Hold(replace(step, args=dict(args["args"]))))
        match came:
            case Succeeded(result=result):
                return await self._look(step, args, ({"result": result}, True))
            case Failed(retry_in_s=float() | int()):
                return await self._look(step, args, ({}, True))
            case Waiting(seconds=seconds):
                return came.model_copy(update={"seconds": seconds, "within_s": float(args["within"])})
            case Parked(why=why):
                asks = f"{step.skill} would ask a person each time ({why}), so it can't be polled."
                return Failed(error=asks, outcome=Why.REFUSED)
        return came
