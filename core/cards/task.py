"""The run card: what a task is doing and why, how far it is, for how long, and what came of it.

Pure: `now` comes in. Times are told roughly, so that a card looks the same until there is something to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from core.cards.card import Button, Card, StepLine, Tone
from core.cards.title import PRIVATE_VALUE, step_title
from core.display import names_secret, visible, visible_lines

_TONE: dict[str, Tone] = {
    "queued": "neutral",
    "planning": "busy",
    "running": "busy",
    "waiting": "ask",
    "paused": "neutral",
    "cancelling": "busy",
    "succeeded": "good",
    "failed": "bad",
    "abandoned": "bad",
    "cancelled": "neutral",
}

_STEP_WORD = {
    "blocked": "waits for earlier steps",
    "ready": "next",
    "running": "running",
    "waiting": "waiting",
    "awaiting_approval": "waits for approval",
    "unknown": "not known whether it happened",
    "succeeded": "done",
    "failed": "failed",
    "skipped": "skipped",
    "cancelled": "cancelled",
}

SAID_CHARS: Final = 300
FIELDS_SHOWN: Final = 20
FIELD_CHARS: Final = 500
_THINKING: Final = ("plan", "think", "reflect")
# (from how many minutes on, told in steps of so many): a card of long work is edited ever more rarely.
_ROUGHLY: Final = ((60, 15), (10, 5), (1, 1))

_WAITS = {
    "awaiting_approval": "waiting for approval",
    "unknown": "waiting for an answer: did it happen?",
}


def task_card(task: Mapping[str, Any], *, now: datetime, answered_apart: bool = False) -> Card:
    """`task` is what `store.tasks.whole` answers. `answered_apart`: its answer is a message of its own in this chat."""
    steps = task["steps"]
    status = task["status"]
    answer = "" if answered_apart else answer_text(task)
    return Card(
        subject="task",
        subject_id=task["id"],
        task_id=task["id"],
        tone=_TONE[status],
        headline=visible(task["goal"]),
        status=", ".join(part for part in (status_word(task), _how_far(steps), _how_long(task, now)) if part),
        lines=_intention(task),
        steps=tuple(
            _line(s, steps, answer) for s in steps if s["kind"] not in _THINKING or s["status"] in ("failed", "running")
        ),
        answer=answer,
        buttons=_buttons(task),
        path=f"/tasks/{task['id']}",
    )


def _how_far(steps: Sequence[Mapping[str, Any]]) -> str:
    """Thinking is how the work is found, and no part of it."""
    work = [s for s in steps if s["kind"] not in _THINKING]
    done = sum(1 for s in work if s["status"] == "succeeded")
    return f"{done} of {len(work)} steps done" if len(work) > 1 else ""


def _how_long(task: Mapping[str, Any], now: datetime) -> str:
    """Of work that goes on and of work that is done; what waits for somebody says so instead."""
    begun, over = datetime.fromisoformat(task["created_at"]), task["finished_at"]
    if over is not None:
        lasted = elapsed(datetime.fromisoformat(over) - begun)
        return f"after {lasted}" if lasted else ""
    return elapsed(now - begun) if task["status"] in ("planning", "running", "cancelling") else ""


def elapsed(time: timedelta) -> str:
    """`4 min`, `25 min`, `1 h 15 min`; nothing under a minute."""
    minutes = int(time.total_seconds() // 60)
    rough = next((step for least, step in _ROUGHLY if minutes >= least), None)
    if rough is None:
        return ""
    hours, left = divmod(minutes - minutes % rough, 60)
    return " ".join(part for part in (f"{hours} h" if hours else "", f"{left} min" if left else "") if part)


def _intention(task: Mapping[str, Any]) -> tuple[str, ...]:
    """What the newest turn of an open task means to do, in its own words."""
    if task["finished_at"] is not None:
        return ()
    turns = [s for s in task["steps"] if s["kind"] in _THINKING and isinstance(s["result"], Mapping)]
    said = str(turns[-1]["result"].get("say") or "") if turns else ""
    return (visible(said[:SAID_CHARS]),) if said.strip() else ()


def status_word(task: Mapping[str, Any]) -> str:
    """The task's state in words; of a waiting one, what it waits for; whether it was put away."""
    if task.get("archived_at"):
        return f"{task['status']}, archived"
    if task["status"] != "waiting":
        return str(task["status"])
    steps = task.get("steps", ())
    for kind, words in _WAITS.items():
        if any(s["status"] == kind for s in steps):
            return words
    return next((_waiting(s) for s in steps if s["status"] == "waiting"), "waiting")


def _waiting(step: Mapping[str, Any]) -> str:
    reason = step.get("waits_for")
    return f"waiting for {visible(reason)}" if reason else "waiting"


def answer_text(task: Mapping[str, Any]) -> str:
    """What the task came to, for people."""
    if task["status"] in ("failed", "abandoned"):
        return visible_lines(task["error"] or "It did not work.")
    if task["status"] != "succeeded":
        return ""
    result = task["result"] or {}
    if "text" in result or "summary" in result:
        return visible_lines(str(result.get("text", result.get("summary"))))
    is_of_call = any(s["kind"] == "act" and s["result"] == result for s in task["steps"])
    return "\n".join(_field(name, value) for name, value in list(result.items())[:FIELDS_SHOWN]) if is_of_call else ""


def _field(name: str, value: Any) -> str:
    """One field of what a skill answered that words nothing for people."""
    if names_secret({name: value}):
        return f"{visible(name)}: {PRIVATE_VALUE}"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        words = ", ".join(value) or "none"
    else:
        words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return visible(f"{name}: {words if len(words) <= FIELD_CHARS else words[:FIELD_CHARS] + '…'}")


def _line(step: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], answer: str) -> StepLine:
    """What the answer says anyway stands there alone."""
    note = ""
    if step["status"] == "succeeded":
        note = visible(str((step["result"] or {}).get("summary", "")))
    elif step["error"]:
        note = visible(step["error"])
    word = _waiting(step) if step["status"] == "waiting" else _STEP_WORD[step["status"]]
    return StepLine(n=step["n"], title=step_title(step, steps), status=word, note="" if note == answer else note)


def _buttons(task: Mapping[str, Any]) -> tuple[Button, ...]:
    status = task["status"]
    if task.get("archived_at"):
        return ()
    if status in ("planning", "running", "waiting"):
        return (Button(verb="stop", label="Stop", confirm="Stop this task?"), Button(verb="pause", label="Pause"))
    if status == "paused":
        return (Button(verb="resume", label="Resume", style="primary"), Button(verb="stop", label="Stop"))
    if status == "failed":
        return (Button(verb="retry", label="Try again"),)
    if status == "succeeded" and task.get("can_undo"):
        return (Button(verb="undo", label="Undo"),)
    return ()
