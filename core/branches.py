"""What a fork is made of, and what a rollback does to a plan.

Pure. A fork is a row copy into a task of its own: what the chosen step does not depend on it keeps with its results, the
step itself and all that follows from it are fresh. A rollback puts a plan back to what it was at a version; what has
happened in the world stays, so a step that left an effect is never taken up again by it. Whatever runs anew passes
the gate anew. `core.branching` reads the rows, asks here, and writes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from core import templates
from core.cards.title import call_title
from core.models import ArgumentOrigin, EffectClass, Origin, PlannedStep, SkillManifest
from core.waits import FAMILY

Row = Mapping[str, Any]
MODEL: Final = re.compile(r"[A-Za-z0-9_.-]{1,60}/[^\s/][^\s]{0,120}", re.ASCII)
TURNS: Final = frozenset({"plan", "think"})
# What was given up may have happened. Nobody said that it did not, so nothing here runs it again.
GIVEN_UP: Final = "given_up"
COPIED: Final = (
    "n", "kind", "skill", "title", "args", "origins", "needs", "run_after", "handled", "status", "outcome", "effect_class",
    "timeout_s", "max_attempts", "result", "error",
)  # fmt: skip


class CannotBranch(Exception):
    """The task cannot go on from there; the message says why and what can be done instead."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a fork changes: arguments of its first step, the model of the turns that follow. `own`: who forks asked for the
    source as well; else its arguments are another's words."""

    args: Mapping[str, Any]
    model: str | None = None
    own: bool = True


@dataclass(frozen=True, slots=True)
class Branch:
    """`copies` are rows that keep how they ended, `fresh` run anew; `repeats` are those of them that left an effect before."""

    copies: tuple[dict[str, Any], ...]
    fresh: tuple[PlannedStep, ...]
    repeats: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Rollback:
    """Numbers of steps. `later` came after the version, `drop` are those of them that end now; `again` wait for their turn once
    more; `remains` left an effect since then, which stays; `busy` are under way or in doubt, and are let end."""

    later: tuple[int, ...]
    drop: tuple[int, ...]
    again: tuple[int, ...]
    remains: tuple[int, ...]
    busy: tuple[int, ...]


# ---------------------------------------------------------------- fork


def forked(
    steps: Sequence[Row],
    start: int,
    change: Change,
    manifests: Mapping[str, SkillManifest],
    open_children: Collection[str] = (),
) -> Branch:
    """The steps of a task that goes on from step `start` of these. Raises `CannotBranch`.

    `open_children` are the tasks that this one had started and that have not ended.
    """
    by_n = {s["n"]: s for s in steps}
    if start not in by_n:
        raise CannotBranch(f"there is no step {start}; there are {_listed(by_n)}")
    fresh = {start} | _below(by_n, {start})
    planned = {m for n in fresh if by_n[n]["kind"] in TURNS for m in _planned_by(by_n[n]) if m in by_n}
    fresh -= (planned | _below(by_n, planned)) - {start}  # a turn that runs anew plans anew
    rest = set(by_n) - fresh - planned - _below(by_n, planned)
    kept = _with_needs(by_n, {n for n in rest if by_n[n]["status"] == "succeeded"} | _needs(by_n, fresh) - fresh)
    _refuse_unfit(by_n, fresh, kept, open_children)
    changed = dict(by_n) | {start: _changed(by_n[start], change, manifests, kept)}
    if change.model is not None:
        _check_model(change.model, [by_n[n] for n in fresh])
    return Branch(
        _copies(by_n, kept),
        tuple(_anew(changed[n], change, manifests) for n in sorted(fresh)),
        tuple(n for n in sorted(fresh) if _left_effect(by_n[n])),
    )


def _planned_by(turn: Row) -> Iterable[int]:
    listed = (turn["result"] or {}).get("steps", [])
    return [n for n in listed if isinstance(n, int)] if isinstance(listed, list) else []


def _refuse_unfit(
    by_n: Mapping[int, Row], fresh: Collection[int], kept: Collection[int], open_children: Collection[str]
) -> None:
    """A fresh step needs steps that have ended, and ended well where it wants that. What was started for the other task is that
    task's: a fresh step reads what it came to, and can neither wait for it nor tell or stop it."""
    for n in sorted(fresh):
        for need in sorted(set(by_n[n]["needs"]) & set(kept)):
            if by_n[need]["outcome"] is None:
                raise CannotBranch(f"step {need}, which step {n} needs, has not ended yet; wait for it or fork from it")
            if by_n[need]["outcome"] != "ok" and by_n[n]["run_after"] == "success":
                raise CannotBranch(f"step {need}, which step {n} needs, did not succeed; fork from step {need}")
            child = str((by_n[need]["result"] or {}).get("task")) if _is_family(by_n[need]) else None
            if child in open_children and by_n[n]["args"].get("for") == "child":
                raise CannotBranch(
                    f"step {n} waits for task {child}, which has not ended; fork from step {need}, or wait"
                )
            if child is not None and _is_family(by_n[n]):
                raise CannotBranch(f"step {n} is for task {child}, which the other task started; fork from step {need}")


def _changed(row: Row, change: Change, manifests: Mapping[str, SkillManifest], kept: Collection[int]) -> Row:
    """The first step with its new arguments, which are the words of who forks."""
    if not change.args:
        return row
    if row["kind"] in TURNS:
        raise CannotBranch(f"step {row['n']} is a turn of the model and takes no arguments; name a model instead")
    manifest = manifests.get(row["skill"])
    takes = manifest.args_schema.get("properties", {}) if row["kind"] == "act" and manifest else row["args"]
    odd = sorted(set(change.args) - set(takes))
    if odd:
        raise CannotBranch(
            f"{row['skill'] or row['kind']} takes no {odd[0]!r}; it takes {', '.join(takes) or 'nothing'}"
        )
    named = templates.steps_named(change.args)
    if not named <= set(kept):
        raise CannotBranch(f"step {min(named - set(kept))} has no result that step {row['n']} could read")
    said = {name: {"origin": str(Origin.REQUESTER)} for name in change.args}
    return dict(row) | {
        "args": {**row["args"], **change.args},
        "origins": {**row["origins"], **said},
        "needs": sorted({*row["needs"], *named}),
        "said": set(said),
    }


def _check_model(model: str, fresh: Sequence[Row]) -> None:
    if MODEL.fullmatch(model) is None:
        raise CannotBranch(f"{model!r} is no model; write provider/model, like openai/gpt-5.4")
    if not any(s["kind"] in TURNS for s in fresh):
        raise CannotBranch("no turn of a model runs anew from there, so a model changes nothing")


def _anew(row: Row, change: Change, manifests: Mapping[str, SkillManifest]) -> PlannedStep:
    """A row as a step that has never run, with what its skill is today."""
    manifest = manifests.get(row["skill"])
    if row["kind"] == "act" and manifest is None:
        raise CannotBranch(f"no worker has the skill {row['skill']!r}, which step {row['n']} calls")
    args = dict(row["args"])
    if row["kind"] in TURNS and change.model is not None:
        args["model"] = change.model
    return PlannedStep(
        n=row["n"],
        kind=row["kind"],
        skill=row["skill"],
        args=args,
        needs=tuple(row["needs"]),
        after=row["run_after"],
        origins=_origins(row, change),
        title=call_title(manifest, args) if manifest and row["kind"] == "act" else row["title"],
        effect_class=manifest.effect_class if manifest else EffectClass(row["effect_class"]),
        timeout_s=row["timeout_s"],
        max_attempts=row["max_attempts"],
        within_s=row["within_s"],
    )


def _origins(row: Row, change: Change) -> dict[str, ArgumentOrigin]:
    """Where the arguments come from. What another asked for is no word of who forks, whatever it was there."""
    labels = {name: ArgumentOrigin.model_validate(value) for name, value in row["origins"].items()}
    if change.own or row["kind"] != "act":
        return labels
    others = ArgumentOrigin(origin=Origin.UNTRUSTED)
    said = row.get("said", ())
    kept = {name: o for name, o in labels.items() if name in said or o.origin is Origin.CONFIG}
    return {name: others for name in row["args"] if name not in kept} | kept


# ---------------------------------------------------------------- rollback


def rolled_back(then: Sequence[Row], now: Sequence[Row]) -> Rollback:
    """What becomes of the steps `now` when the plan is put back to the steps of `then`."""
    by_n, there = {s["n"]: s for s in now}, {s["n"]: s for s in then}
    busy = {n for n, s in by_n.items() if _is_busy(s)}
    again: set[int] = set()
    for n in sorted(there):
        s = by_n[n]
        if n in busy or there[n]["outcome"] is not None:
            continue
        ended = s["outcome"] is not None and s["outcome"] != GIVEN_UP and not _left_effect(s)
        waits_anew = bool(set(s["needs"]) & again)
        broken = s["run_after"] == "success" and any(
            by_n[m]["outcome"] not in (None, "ok") and m not in again for m in s["needs"]
        )
        if (ended or (s["outcome"] is None and waits_anew)) and not broken:
            again.add(n)
    return Rollback(
        later=tuple(n for n in sorted(by_n) if n not in there),
        drop=tuple(n for n in sorted(by_n) if n not in there and by_n[n]["outcome"] is None and n not in busy),
        again=tuple(sorted(again)),
        remains=tuple(
            n for n, s in sorted(by_n.items()) if _left_effect(s) and there.get(n, {}).get("outcome") is None
        ),
        busy=tuple(n for n in sorted(busy) if n not in there or there[n]["outcome"] is None),
    )


def _is_busy(step: Row) -> bool:
    begun = step["effect_state"] == "intent" or _is_family(step)
    return bool(step["status"] == "unknown" or (step["status"] == "running" and begun))


def continued(
    then: Sequence[Row],
    now: Sequence[Row],
    manifests: Mapping[str, SkillManifest],
    *,
    own: bool,
    open_children: Collection[str] = (),
) -> Branch:
    """The steps of a task that goes on where an ended one was at `then`. Raises `CannotBranch`."""
    by_n = {s["n"]: s for s in now}
    lost = [n for s in then if s["outcome"] is None and by_n[n := s["n"]]["outcome"] == GIVEN_UP]
    if lost:
        raise CannotBranch(f"step {lost[0]} was given up without knowing whether it happened; fork from another step")
    rows = {s["n"]: by_n[s["n"]] if s["outcome"] is None and _left_effect(by_n[s["n"]]) else s for s in then}
    kept = {n for n, s in rows.items() if s["outcome"] is not None}
    fresh = set(rows) - kept
    if not fresh:
        raise CannotBranch("every step had ended at that version; fork from one of them")
    _refuse_unfit(rows, fresh, kept, open_children)
    return Branch(_copies(rows, kept), tuple(_anew(rows[n], Change({}, None, own), manifests) for n in sorted(fresh)))


# ---------------------------------------------------------------- parts


def _left_effect(step: Row) -> bool:
    return bool(step["status"] == "succeeded" and (step["effect_state"] == "done" or _is_family(step)))


def _is_family(step: Row) -> bool:
    """It starts a child task, tells it something, or stops it."""
    return bool(step["kind"] == "wait" and step["args"].get("for") in FAMILY)


def _copies(by_n: Mapping[int, Row], kept: Collection[int]) -> tuple[dict[str, Any], ...]:
    """Without effects and approvals: those belong to the task in which they happened."""
    return tuple(
        {name: by_n[n][name] for name in COPIED} | {"dependents": [m for m in by_n[n]["dependents"] if m in kept]}
        for n in sorted(kept)
    )


def _below(by_n: Mapping[int, Row], roots: Collection[int]) -> set[int]:
    """All steps that need one of these, directly or not. A step needs only lower numbers."""
    found: set[int] = set()
    for n in sorted(by_n):
        if set(by_n[n]["needs"]) & (found | set(roots)):
            found.add(n)
    return found


def _needs(by_n: Mapping[int, Row], of: Collection[int]) -> set[int]:
    return {need for n in of for need in by_n[n]["needs"]}


def _with_needs(by_n: Mapping[int, Row], of: Collection[int]) -> set[int]:
    """These and all that they need, directly or not."""
    found = set(of)
    for n in sorted(by_n, reverse=True):
        if n in found:
            found |= set(by_n[n]["needs"])
    return found


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
