"""The run card: what a task is doing, how far it is, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.cards.card import Button, Card, StepLine, Tone
from core.display import visible

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

_WAITS = {
    "awaiting_approval": "waiting for approval",
    "unknown": "waiting for an answer: did it happen?",
}


def task_card(task: Mapping[str, Any], *, answered_apart: bool = False) -> Card:
    """`task` is what `store.tasks.whole` answers. `answered_apart`: its answer is a message of its own in this chat."""
    steps = task["steps"]
    status = task["status"]
    done = sum(1 for s in steps if s["status"] == "succeeded")
    word = status_word(task)
    return Card(
        subject="task",
        subject_id=task["id"],
        task_id=task["id"],
        tone=_TONE[status],
        headline=visible(task["goal"]),
        status=word if len(steps) < 2 else f"{word}, {done} of {len(steps)} steps done",
        steps=tuple(
            _line(s) for s in steps if s["kind"] not in ("plan", "think") or s["status"] in ("failed", "running")
        ),
        answer="" if answered_apart else answer_text(task),
        buttons=_buttons(task),
        path=f"/tasks/{task['id']}",
    )


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
    if "text" in result:
        return visible_lines(str(result["text"]))
    return visible_lines(str(result.get("summary", "")))


def visible_lines(text: str) -> str:
    """Text over several lines, with every hidden character but the line breaks shown."""
    return "\n".join(visible(line) for line in text.split("\n"))


def _line(step: Mapping[str, Any]) -> StepLine:
    note = ""
    if step["status"] == "succeeded":
        note = visible(str((step["result"] or {}).get("summary", "")))
    elif step["error"]:
        note = visible(step["error"])
    title = visible(step["title"] or step["skill"] or step["kind"])
    word = _waiting(step) if step["status"] == "waiting" else _STEP_WORD[step["status"]]
    return StepLine(n=step["n"], title=title, status=word, note=note)


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
