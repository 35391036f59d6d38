"""A task as it was: its history cut into versions, and its rows put back to any of them.

Pure. A version is a number of the task's own: each change of its status or plan begins one, and what its steps,
approvals and effects do until the next one belongs to it. A moment is the end of a commit, since nobody ever saw less:
`3` is the third version as it ended, `3.0` as it began, `3.2` after two more commits. Rows hold only the present;
what they said before comes from the events, and from `row_versions` where something was written over.
`core.store.versions` reads all of it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from core.state import TERMINAL

Row = Mapping[str, Any]
LABEL: Final = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?", re.ASCII)
# What a row says beside its status, and from which of these it takes up again when it is run anew.
SAID: Final = ("outcome", "result", "error")
BEGINS_ANEW: Final = frozenset({"ready", "blocked"})


class NoSuchVersion(Exception):
    """The task never was at this version; the message says which ones there are."""


@dataclass(frozen=True, slots=True)
class Move:
    """One event, with the commit it came in: the first of version `version` (`place` 0) or one that followed."""

    version: int
    place: int
    event: Row

    @property
    def label(self) -> str:
        return f"{self.version}.{self.place}"


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of a task, as the database has it now. `kept` are the rows of `row_versions`."""

    task: Row
    steps: Sequence[Row]
    events: Sequence[Row]
    kept: Sequence[Row]


def history(events: Sequence[Row]) -> list[Move]:
    """The events of one task, oldest first, each with its version and place."""
    moves: list[Move] = []
    version = place = 0
    for _, grouped in itertools.groupby(events, key=lambda e: e["xid"]):
        commit = list(grouped)
        begins = [i for i, e in enumerate(commit) if e["machine"] in ("task", "plan")]
        place = 0 if begins else place + 1
        for i, event in enumerate(commit):
            # What a commit does on its way to a new version is part of that version: before it nobody saw it.
            at = next((b for b in begins if b >= i), begins[-1] if begins else None)
            version = version if at is None else commit[at]["version"]
            moves.append(Move(version, place, event))
    return moves


def cut(moves: Sequence[Move], label: str) -> int:
    """How many of the moves had been made at the version of this label. Raises `NoSuchVersion`."""
    read = LABEL.fullmatch(label)
    if read is None:
        raise NoSuchVersion(f"{label!r} is no version; write one like 3, or 3.2 for a moment in it")
    number, place = int(read.group(1)), read.group(2)
    there = [i for i, m in enumerate(moves) if m.version == number]
    if not there:
        first, last = moves[0].version, moves[-1].version
        known = f"there are {first} to {last}" if first < last else f"there is only version {last}"
        raise NoSuchVersion(f"there is no version {number}; {known}")
    if place is None:
        return there[-1] + 1
    found = [i for i in there if moves[i].place == int(place)]
    if not found:
        raise NoSuchVersion(f"version {number} has no {label}; it ends with {moves[there[-1]].label}")
    return found[-1] + 1


def task_at(facts: Facts, label: str) -> tuple[dict[str, Any], list[dict[str, Any]], Move]:
    """The task's row, the rows of the steps that it had, and the last move made then. Raises `NoSuchVersion`."""
    moves = history(facts.events)
    done = cut(moves, label)
    then = [m.event for m in moves[:done]]
    until = moves[done].event["id"] - 1 if done < len(moves) else None
    task = _task_row(facts, then)
    steps = [_step_row(facts, step, then) for step in facts.steps if until is None or step["added_after"] <= until]
    return task, steps, moves[done - 1]


def _task_row(facts: Facts, then: Sequence[Row]) -> dict[str, Any]:
    statuses = [e for e in then if e["machine"] == "task"]
    version = max(e["version"] for e in then if e["machine"] in ("task", "plan"))
    plans = [e["data"]["to"] for e in then if e["machine"] == "plan"]
    said = _as_of(facts, 0, version) or facts.task
    ended = statuses[-1]["to_state"] in TERMINAL["task"]
    row = dict(facts.task) | {
        "status": statuses[-1]["to_state"],
        "version": version,
        "plan_version": plans[-1] if plans else 1,
    }
    return row | {
        "result": said["result"] if ended else None,
        "error": said["error"] if ended else None,
        "finished_at": _moment(said["finished_at"]) if ended else None,
    }


def _step_row(facts: Facts, now: Row, then: Sequence[Row]) -> dict[str, Any]:
    """A step that existed, with what it said then. Its first status is what its first event came from."""
    mine = [e for e in then if e["n"] == now["n"]]
    moves = [e for e in mine if e["machine"] == "step"]
    version = moves[-1]["version"] if moves else 1
    status = moves[-1]["to_state"] if moves else _first_status(facts, now)
    said = _as_of(facts, now["n"], version) or now
    ended = status in TERMINAL["step"]
    row = dict(now) | {name: said[name] for name in ("skill", "title", "args", "origins", "needs")}
    waited = {"awaiting_approval": "approval", "waiting": moves[-1]["why"] if moves else ""}.get(status)
    row |= {
        "status": status,
        "version": version,
        "waits_for": now["waits_for"] if now["version"] == version else waited,
    }
    row |= {name: said[name] if ended else None for name in SAID}
    anew = max(
        (e["id"] for e in moves if e["to_state"] in BEGINS_ANEW and e["from_state"] in TERMINAL["step"]), default=0
    )
    effects = [e for e in mine if e["machine"] == "effect" and e["id"] > anew]
    asked = [e for e in mine if e["machine"] == "approval" and e["from_state"] == "" and e["id"] > anew]
    return row | {
        "effect_state": effects[-1]["to_state"] if effects else None,
        "approval_id": asked[-1]["subject"] if asked else None,
    }


def _first_status(facts: Facts, now: Row) -> str:
    first = next((e for e in facts.events if e["n"] == now["n"] and e["machine"] == "step"), None)
    return str(first["from_state"] if first else now["status"])


def _moment(value: Any) -> datetime | None:
    """What was kept of a row is JSON, in which a time is text."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _as_of(facts: Facts, n: int, version: int) -> Row | None:
    """What was kept of the row that held at this version; None when the present one still does."""
    later = [k for k in facts.kept if k["n"] == n and k["version"] >= version]
    found = min(later, key=lambda k: k["version"], default=None)
    return found["was"] if found else None
