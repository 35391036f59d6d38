"""The approval card: what will happen, why it is asked, who may say so, and what became of it.

The facts come from the frozen action and from policy, never from a model. All of the action is on the card.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, assert_never

from core.cards.card import Button, Card, Tone
from core.display import visible
from core.models import (
    Accepted,
    AlreadyDecided,
    Changed,
    Decided,
    Invalid,
    NotAllowed,
    NotFound,
    TooLate,
)

_DIGEST_SHOWN = 12
_LINE_CHARS = 90
_LATE_SHOWN = 3

_STATUS = {
    "pending": "waiting for a decision",
    "approved": "approved",
    "consumed": "approved",
    "denied": "denied",
    "expired": "expired: nobody answered in time",
    "superseded": "replaced by a newer card",
    "cancelled": "cancelled",
    "undeliverable": "nobody could be asked",
}

_DID = {
    "approved": "Approved",
    "consumed": "Approved",
    "denied": "Denied",
    "cancelled": "Stopped",
}


def approval_card(row: Mapping[str, Any]) -> Card:
    """`row` is what `store.approvals.whole` answers."""
    card, status = row["card"], row["status"]
    unknown = row["kind"] == "unknown"
    title = visible(card.get("title") or row["skill"])
    pending = status == "pending"
    return Card(
        subject="approval",
        subject_id=row["id"],
        task_id=str(row["task_id"]),
        tone=_tone(row),
        headline=f"Did it happen? {title}" if unknown else title,
        status=_status(row),
        lines=tuple(_why(card) + _late(row) + (_who(row) if pending else _became(row))),
        quote=visible(row["goal"]),
        exact="\n\n".join(exact_text(item) for item in row["items"]),
        buttons=(_questions() if unknown else _answers(card, title)) if pending else (),
        expires_at=row["expires_at"] if pending and not unknown else None,
        path=f"/approvals/{row['id']}",
    )


def exact_text(item: Mapping[str, Any]) -> str:
    """Everything of one action that is hashed, one field a line; JSON with every hidden character shown."""
    action = item.get("action", {})
    lines = [f"{action.get('skill', '')} (version {action.get('version', '')})"]
    for name, value in action.get("args", {}).items():
        lines.append(f"{visible(name, technical=True)}: {_multiline(_shown(value))}")
    if action.get("target"):
        lines.append(f"target: {visible(action['target'])}")
    if action.get("credential"):
        lines.append(f"credential: {visible(action['credential'], technical=True)}")
    for name, digest in action.get("content_hashes", {}).items():
        lines.append(f"content of {visible(name)}: sha256 {digest}")
    lines.append(f"step {item.get('step')} of task {item.get('task')}, digest {item.get('digest', '')[:_DIGEST_SHOWN]}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    """Text as it is, anything else as JSON, on one line where it fits."""
    if isinstance(value, str):
        return value
    short = json.dumps(value, ensure_ascii=False)
    return short if len(short) <= _LINE_CHARS else json.dumps(value, ensure_ascii=False, indent=2)


def _multiline(text: str) -> str:
    return "\n    ".join(visible(line) for line in text.split("\n"))


def _tone(row: Mapping[str, Any]) -> Tone:
    if row["status"] == "pending":
        return "ask"
    if row["status"] in ("approved", "consumed"):
        return {"succeeded": "good", "failed": "bad", "unknown": "ask"}.get(row["step_status"], "busy")  # type: ignore[return-value]
    return "bad" if row["status"] == "denied" else "neutral"


def _status(row: Mapping[str, Any]) -> str:
    return _STATUS[row["status"]]


def _why(card: Mapping[str, Any]) -> list[str]:
    lines = [f"Why you are asked: {visible(reason)}" for reason in card.get("reasons", [])]
    lines += [f"Beware: {visible(line)}" for line in card.get("provenance", [])]
    if card.get("preview"):
        lines += [f"What it would do: {visible(line)}" for line in card["preview"].split("\n") if line]
    if card.get("undo"):
        lines.append("Can be undone afterwards.")
    return lines


def _late(row: Mapping[str, Any]) -> list[str]:
    """What the worker that made the call said after it had lost its lease: for people to weigh, it decided nothing."""
    lines = []
    for evidence in row.get("late", [])[:_LATE_SHOWN]:
        said = ": ".join(visible(part) for part in (evidence["said"], evidence["summary"]) if part)
        lines.append(f"Its worker said late, at {clock_text(evidence['at'])}: {said}")
    return lines


def _who(row: Mapping[str, Any]) -> list[str]:
    approvers = row["approvers"]
    names = [visible(p) for p in approvers.get("people", [])] + [
        f"any {visible(r)}" for r in approvers.get("roles", [])
    ]
    needed = int(approvers.get("needed", 1))
    whose = " or ".join(names) or "nobody"
    line = f"May decide: {whose}" + (f"; {needed} people needed" if needed > 1 else "")
    if approvers.get("four_eyes"):
        line += "; not the one who asked"
    lines = [line, f"Asked by {visible(row['requester_name'] or row['requester'])}. No answer means no."]
    votes = [v["by"] for v in row["votes"] if v["verdict"] == "approve"]
    if votes:
        lines.append(f"{len(votes)} of {needed} approved: {', '.join(visible(v) for v in votes)}")
    return lines


def _became(row: Mapping[str, Any]) -> list[str]:
    lines = []
    if row["decided_at"]:
        vote = next((v for v in reversed(row["votes"]) if v["by"] == row["decider"]), None)
        where = f" in {vote['channel']}" if vote else ""
        did = "Answered" if row["kind"] == "unknown" else _DID.get(row["status"], "Decided")
        said = f" ({vote['verdict'].replace('_', ' ')})" if vote and row["kind"] == "unknown" else ""
        lines.append(f"{did} by {visible(row['decider'] or '')}{where} at {clock_text(row['decided_at'])}{said}")
    if row["reason"]:
        lines.append(f"Reason: {visible(row['reason'])}")
    if row["status"] in ("approved", "consumed") and row["step_approval_id"] is not None:
        lines.append(_outcome(row))
    return lines


def _outcome(row: Mapping[str, Any]) -> str:
    status = row["step_status"]
    if status == "succeeded":
        result = row["step_result"] or {}
        return f"Done. {visible(str(result.get('summary', '')))}".strip()
    if status == "unknown":
        return "It is not known whether it happened; a question about it follows."
    if status in ("failed", "skipped", "cancelled"):
        return f"Not done: {visible(row['step_error'] or status)}"
    return "Running." if status == "running" else "About to run."


def _answers(card: Mapping[str, Any], title: str) -> tuple[Button, ...]:
    return (
        Button(
            verb="approve", label="Approve", style="primary", confirm=f"{title}?" if card.get("destructive") else ""
        ),
        Button(verb="deny", label="Deny", style="danger"),
        Button(verb="stop", label="Stop the task", confirm="Stop the whole task?"),
    )


def _questions() -> tuple[Button, ...]:
    return (
        Button(verb="happened", label="It happened"),
        Button(verb="not_happened", label="It did not, run again", style="primary", confirm="Run it again?"),
        Button(verb="abandon", label="Give it up", style="danger"),
    )


def clock_text(at: datetime | str) -> str:
    """`14:32 UTC`."""
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return moment.strftime("%H:%M UTC")


def press_answer(decided: Decided) -> str:
    """What the presser is told, at most 200 characters."""
    match decided:
        case Accepted(status="pending"):
            return "Your vote is counted; more are needed."
        case Accepted(status="approved" | "consumed"):
            return "Approved."
        case Accepted(status=status):
            return f"{_DID.get(status, 'Done')}."
        case AlreadyDecided(status=status, by=by, at=at):
            who = f" by {visible(by)}" if by else ""
            when = f" at {clock_text(at)}" if at else ""
            return f"Too late: already {_STATUS.get(status, status)}{who}{when}."[:200]
        case NotAllowed(why=why):
            return f"Not decided: {why}."[:200]
        case TooLate(expired_at=at):
            return f"Too late: this expired at {clock_text(at)}."
        case Changed():
            return "Not decided: this has changed since you saw it. Read the new card."
        case Invalid(why=why):
            return f"Nothing is changed: {visible(why)}."[:200]
        case NotFound():
            return "There is no such approval."
        case _:
            assert_never(decided)
