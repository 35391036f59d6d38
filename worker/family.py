"""Steps that start a child task, send it words, or stop it.

A child is a task like any other, for the same person: each of its actions passes the gate by itself. Starting, sending
and stopping carry the step's key, so a step that runs again after a crash does them once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from core import config, plans
from core.models import ArgumentOrigin, Claimed, Dropped, Failed, Origin, PlannedStep, Succeeded
from core.models import Outcome as Why
from core.organisation import BadInputs
from core.store import children, signals, skills, tasks
from worker.act import Actor
from worker.context import effect_key
from worker.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Family:
    actor: Actor

    async def act(self, step: Claimed, args: Mapping[str, Any], tainted: bool) -> Outcome:
        match args["for"]:
            case "spawn":
                return await self._spawn(step, args, tainted)
            case "send":
                return await self._send(step, args, tainted)
        return await self._kill(step, args)

    async def _spawn(self, step: Claimed, args: Mapping[str, Any], tainted: bool) -> Outcome:
        db = self.actor.deps.db
        goal, kind, words = str(args.get("goal", "")), "plan", str(args.get("goal", ""))
        planned: tuple[PlannedStep, ...] = (plans.plan_step(),)
        if "run" in args:
            try:
                planned = plans.runbook_plan(
                    self.actor.deps.organisation,
                    str(args["run"]),
                    dict(args.get("inputs", {})),
                    await skills.manifests(db),
                )
            except BadInputs as error:
                return Failed(error=str(error), outcome=Why.REFUSED)
            planned = tuple(_inherited(one, tainted) for one in planned)
            goal, kind, words = f"run {args['run']}", "run", ""
        answer = await children.spawn(
            db, self.actor.lease.worker, step, goal=goal, kind=kind, steps=planned, origin=_origin(tainted), words=words
        )
        if answer["kind"] == "stale":
            return Dropped(evidence="the lease was lost before the child task was started")
        if answer["kind"] != "spawned":
            return Failed(error=f"No child task was started: {answer['why']}.", outcome=Why.REFUSED)
        book = self.actor.deps.organisation.runbooks.get(str(args.get("run")))
        if book is not None and book.within is not None:
            await children.set_deadline(db, int(answer["task"]), book.within)
        self.actor.deps.ring.task(int(answer["task"]))
        return Succeeded(result={"task": answer["task"], "summary": f"Started task {answer['task']}."})

    async def _send(self, step: Claimed, args: Mapping[str, Any], tainted: bool) -> Outcome:
        child = await self._child(step, args)
        if child is None:
            return _no_child(args)
        sent = await signals.send(
            self.actor.deps.db, child, "task_input", {"text": str(args["text"])},
            priority=cast(signals.Priority, args.get("priority", "normal")), origin=_origin(tainted), name="parent",
            actor=f"task:{step.task_id}", dedup=effect_key(step), needs_reader=True,
        )  # fmt: skip
        if sent.kind not in ("sent", "duplicate"):
            return Failed(error=f"Task {child} can't be told anything: it is {sent.status} ({sent.kind}).")
        self.actor.deps.ring.task(child)
        return Succeeded(result={"task": str(child), "summary": f"Told task {child}."})

    async def _kill(self, step: Claimed, args: Mapping[str, Any]) -> Outcome:
        child = await self._child(step, args)
        if child is None:
            return _no_child(args)
        why = str(args.get("why") or "stopped by its parent")[: config.REASON_CHARS]
        status = await tasks.cancel(self.actor.deps.db, child, f"task:{step.task_id}", why)
        self.actor.deps.ring.task(child)
        return Succeeded(result={"task": str(child), "status": status, "summary": f"Task {child} is {status}."})

    async def _child(self, step: Claimed, args: Mapping[str, Any]) -> int | None:
        number = tasks.parse_id(str(args["task"]))
        found = await signals.child(self.actor.deps.db, step.task_id, number) if number is not None else None
        return int(found.task) if found else None


def _no_child(args: Mapping[str, Any]) -> Failed:
    return Failed(error=f"There is no child task {args['task']!r} of this task.", outcome=Why.REFUSED)


def is_tainted(step: Claimed, filled: Mapping[str, ArgumentOrigin]) -> bool:
    """Whether what others wrote had a part in it: in the turn that planned it, or in a result put into it."""
    planned = (one.get("origin") for one in step.origins.values())
    return Origin.UNTRUSTED in (*planned, *(one.origin for one in filled.values()))


def _origin(tainted: bool) -> signals.Origin:
    return "untrusted" if tainted else "trusted"


def _inherited(planned: PlannedStep, tainted: bool) -> PlannedStep:
    """A runbook's step as the child runs it: what the parent put in was not written by the person for this task."""
    given = ArgumentOrigin(origin=Origin.UNTRUSTED if tainted else Origin.TRUSTED)
    return planned.model_copy(update={"origins": {
        name: given if one.origin is Origin.REQUESTER else one for name, one in planned.origins.items()
    }})  # fmt: skip
