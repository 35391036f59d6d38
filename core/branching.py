"""Forks a task, or puts it back to a version, inside a transaction of the caller.

Rows are read under the task's lock, `core.branches` (pure) decides, `core.store.versions` writes. Who may see a task may
fork it: the fork is theirs, and where they did not ask for the source, bounded by the rights of who did. Who may
steer it may put it back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from core import cards
from core.branches import Branch, CannotBranch, Change, continued, forked, rolled_back
from core.db import Connection
from core.models import SkillManifest
from core.state import TERMINAL
from core.store import children, families, skills, tasks, versions
from core.store.people import Principal
from core.versions import Facts, NoSuchVersion, history, task_at

__all__ = ["Asked", "Branched", "CannotBranch", "NoSuchVersion", "fork", "in_words", "roll_back"]

PLAIN: Final = re.compile(r"[\w./@:+-]+")
OPEN: Final = frozenset({"queued", "planning", "running", "waiting", "paused", "failed"})


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks, where, and the message in which they did."""

    person: Principal
    inbound: int | None
    conversation: int | None


@dataclass(frozen=True, slots=True)
class Branched:
    """`task` goes on: a new one, or the one that was put back."""

    task: int
    status: str
    said: str


async def fork(
    tx: Connection,
    asked: Asked,
    task: int,
    step: int,
    *,
    args: Mapping[str, Any],
    model: str | None = None,
    at: str | None = None,
    key: str | None = None,
) -> Branched:
    """A task of the person's own from step `step` of this one. Raises `CannotBranch` and `NoSuchVersion`."""
    known = await _known(tx, task)
    if at is None:
        rows = known.steps
    else:
        _, rows, _ = task_at(known, at)
    own = known.task["requester_id"] == asked.person.id
    branch = forked(rows, step, Change(args, model, own), await skills.manifests(tx), await _open_children(tx, task))
    made = await _write(tx, asked, known, branch, step, key, f"forked from step {step} of task {task}")
    titles = {s["n"]: s["title"] or s["skill"] for s in rows}
    return Branched(*made, cards.forked_text(task, step, made[0], [(n, titles[n]) for n in branch.repeats]))


async def roll_back(
    tx: Connection, asked: Asked, task: int, label: str, *, why: str = "", key: str | None = None
) -> Branched:
    """The task's plan as it was at the version, in the task itself while it is open or failed; else in a new one.

    Raises `CannotBranch` and `NoSuchVersion`.
    """
    known = await _known(tx, task)
    _, then, last = task_at(known, label)
    plan = rolled_back(then, known.steps)
    manifests = await skills.manifests(tx)
    remains = await _remaining(tx, known, plan.remains, manifests)
    reason = f"rolled back to version {label}" + (f": {why}" if why else "")
    if known.task["status"] == "cancelling":
        raise CannotBranch(f"task {task} is being stopped; put it back when it has ended")
    if last.label == history(known.events)[-1].label:
        raise CannotBranch(f"task {task} is at version {label} already")
    if known.task["status"] in OPEN:
        if not (plan.drop or plan.again):
            raise CannotBranch(f"nothing of the plan of task {task} has changed since version {label}")
        status = await versions.write_rollback(tx, task, plan, asked.person.actor, reason)
        made = None
    else:
        own = known.task["requester_id"] == asked.person.id
        branch = continued(then, known.steps, manifests, own=own, open_children=await _open_children(tx, task))
        made, status = await _write(tx, asked, known, branch, None, key, reason)
    said = cards.rolled_back_text(
        task, label, made=made, again=plan.again if made is None else (), dropped=plan.drop if made is None else (),
        busy=plan.busy, remains=remains,
    )  # fmt: skip
    return Branched(made or task, status, said)


def in_words(task: int, step: int, args: Mapping[str, Any], model: str | None) -> str:
    """A fork as a person would write it. What a program asks for is recorded so: its values are then its person's own."""
    given = dict(args) | ({"model": model} if model else {})
    return " ".join(["fork", str(task), str(step), *(f"{name}={_written(value)}" for name, value in given.items())])


def _written(value: Any) -> str:
    return value if isinstance(value, str) and PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


# ---------------------------------------------------------------- parts


async def _known(tx: Connection, task: int) -> Facts:
    """All of a live task, held until the transaction ends."""
    if await families.hold(tx, task) is None:
        raise CannotBranch(cards.ARCHIVED)
    await versions.lock_steps(tx, task)
    known = await versions.facts(tx, task)
    assert known is not None, "it is locked"
    return known


async def _write(
    tx: Connection, asked: Asked, known: Facts, branch: Branch, step: int | None, key: str | None, why: str
) -> tuple[int, str]:
    """The new task and its status; the one that has the idempotency key already, if there is one."""
    task, own = known.task, known.task["requester_id"] == asked.person.id
    editors = (editor for s in known.steps for editor in s["editors"])
    bounds = {*task["steered_by"], *editors, task["requester_id"]} - {asked.person.id}
    made = await versions.write_fork(
        tx, task["id"], branch, step=step, inbound=asked.inbound, requester=asked.person.id,
        conversation=task["conversation_id"] if own and task["conversation_id"] else asked.conversation,
        steered_by=sorted(bounds), key=key, actor=asked.person.actor, why=why,
    )  # fmt: skip
    if made is None:
        made = await tasks.by_idempotency_key(tx, asked.person.id, key or "")
    assert made is not None, "only a known key makes no task"
    status = await tasks.status_of(tx, made)
    return made, status


async def _open_children(tx: Connection, task: int) -> set[str]:
    return {c["id"] for c in await children.of(tx, task) if c["status"] not in TERMINAL["task"]}


async def _remaining(
    tx: Connection, known: Facts, numbers: tuple[int, ...], manifests: Mapping[str, SkillManifest]
) -> list[tuple[int, str, str | None]]:
    """What has happened and stays: (step, title, the command that takes it back)."""
    can_undo = await tasks.undoable_steps(tx, known.task["id"])
    going_on = await _open_children(tx, known.task["id"])
    found: list[tuple[int, str, str | None]] = []
    for s in known.steps:
        if s["n"] in numbers and s["kind"] == "wait":
            child = str(s["result"].get("task"))
            found.append((s["n"], s["title"], f"stop {child}" if child in going_on else None))
        elif s["n"] in numbers:
            undo = f"do {s['skill']}.undo task={known.task['id']} step={s['n']}"
            offered = s["n"] in can_undo and f"{s['skill']}.undo" in manifests
            found.append((s["n"], s["title"] or s["skill"], undo if offered else None))
    return found
