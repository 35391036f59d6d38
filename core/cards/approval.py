"""The approval card: what will happen, why it is asked, who may say so, and what became of it.

The facts come from the frozen action and from policy, never from a model. All of the action is on the card.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.cards.answers import DID, STATUS, buttons_of, clock_text, more_of, where_text
from core.cards.card import PREVIEW, YES, Card, Tone
from core.display import names_secret, visible

_DIGEST_SHOWN = 12
_LINE_CHARS = 90
_LATE_SHOWN = 3
_ANSWER_CHARS = 500
_SEVERAL = 2
_OVER = frozenset({"succeeded", "skipped", "cancelled"})
PRIVATE = "What would run is private: those who may decide have it in their direct messages and on the web."
EDITED = "edited"
JUDGED_ANEW = "It goes through the rules again."
YES_VOTES = frozenset({"approve", "approve_similar", "grant", "answer"})
VOTES = YES_VOTES | {"deny", "happened", "not_happened", "abandon", "stop"}
ENDURING = {"approve_similar": "and the same again in this task", "grant": "and the same from now on"}


def approval_card(row: Mapping[str, Any], *, is_shared: bool = False) -> Card:
    """`row` is what `store.approvals.whole` answers. `is_shared`: others read along where it stands."""
    if is_shared and is_private(row):
        return _neutral(row)
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
        lines=tuple(_named(row) + _why(card) + _late(row) + (_who(row) if pending else _became(row)) + _timeline(row)),
        quote=visible(row["goal"]),
        exact="\n\n".join(exact_text(item) for item in row["items"]),
        buttons=buttons_of(row),
        more=more_of(row),
        expires_at=row["expires_at"] if pending and not unknown else None,
        decided="" if pending else _decided(row),
        path=f"/approvals/{row['id']}",
    )


def is_private(row: Mapping[str, Any]) -> bool:
    """Whether what would run is for those who decide alone: an argument of it has a secret's name."""
    return any(names_secret(item.get("action", {}).get("args")) for item in row["items"])


def _neutral(row: Mapping[str, Any]) -> Card:
    """That something is asked, of whom, and what they said; no argument, no word of anybody's, and no yes."""
    pending = row["status"] == "pending"
    said = _who(row) if pending else [f"{_decided(row)}."]
    return Card(
        subject="approval",
        subject_id=row["id"],
        task_id=str(row["task_id"]),
        tone=_tone(row),
        headline=f"{'Did it happen?' if row['kind'] == 'unknown' else 'Asked about:'} {visible(row['skill'], technical=True)}",
        status=_status(row),
        lines=(PRIVATE, *said),
        buttons=tuple(b for b in buttons_of(row) if row["kind"] == "unknown" and b.verb not in YES),
        expires_at=row["expires_at"] if pending and row["kind"] != "unknown" else None,
        decided="" if pending else _decided(row),
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
        states = set((row.get("item_states") or {"": row["step_status"]}).values())
        if "unknown" in states or "failed" in states:
            return "ask" if "unknown" in states else "bad"
        if states <= _OVER:
            return "good" if states == {"succeeded"} else "neutral"
        return "busy"
    return "bad" if row["status"] == "denied" else "neutral"


def _status(row: Mapping[str, Any]) -> str:
    if row["status"] == "pending" and row.get("merged_task"):
        return f"decided together with task {row['merged_task']}, on its card"
    return EDITED if _is_edited(row) else STATUS[row["status"]]


def _is_edited(row: Mapping[str, Any]) -> bool:
    """And nothing is asked about what it was edited to: it runs by the rules, was refused, or is judged just now."""
    is_replaced = row["status"] == "superseded" and row["step_approval_id"] is None and len(row["items"]) < _SEVERAL
    return is_replaced and any(vote["verdict"] == "edit" for vote in row["votes"])


def _why(card: Mapping[str, Any]) -> list[str]:
    lines = [f"Why you are asked: {visible(reason)}" for reason in card.get("reasons", [])]
    lines += [f"Beware: {visible(line)}" for line in card.get("provenance", [])]
    if preview := [visible(line) for line in (card.get("preview") or "").split("\n") if line]:
        # One label for all of them; the sign keeps what others wrote from beginning a line as one of ours.
        lines.append(f"{PREVIEW}: " + "\n· ".join(preview))
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
    names = [visible(p) for p in approvers.get("people", [])]
    names += [f"any {visible(r)}" for r in approvers.get("roles", [])]
    names += [f"anyone in the Slack group {visible(g)}" for g in approvers.get("slack_usergroups", [])]
    needed = int(approvers.get("needed", 1))
    whose = " or ".join(names) or "nobody"
    line = f"May decide: {whose}" + (f"; {needed} people needed" if needed > 1 else "")
    if approvers.get("four_eyes"):
        line += "; not the one who asked"
    lines = [line, f"Asked by: {visible(row['requester_name'] or row['requester'])}", "No answer means no."]
    if approvers.get("editors"):
        lines[0] += ", nor who edited or steered it" if approvers.get("four_eyes") else ""
    votes = [_voter(v) for v in row["votes"] if v["verdict"] in YES_VOTES]
    if votes or needed > 1:
        lines.append(f"{len(votes)} of {needed} approved: {', '.join(votes) or 'nobody yet'}")
    if row.get("held_until") and row.get("is_held"):
        lines.append(f"Somebody is looking at it: reminders wait until {clock_text(row['held_until'])}")
    return lines


def _named(row: Mapping[str, Any]) -> list[str]:
    """Of a card with several actions, each by its name and what became of it."""
    if len(row["items"]) < _SEVERAL:
        return []
    states = row.get("item_states") or {}
    lines = []
    for item in row["items"]:
        title = visible((item.get("card") or {}).get("title") or item.get("action", {}).get("skill", ""))
        became = states.get(f"{item['task']}.{item['step']}", "") if row["status"] != "pending" else ""
        elsewhere = f" of task {item['task']}" if str(item["task"]) != str(row["task_id"]) else ""
        lines.append(f"Step {item['step']}{elsewhere}: {title}" + (f" ({became.replace('_', ' ')})" if became else ""))
    return lines


def _voter(vote: Mapping[str, Any]) -> str:
    return visible(vote["by"]) + (f" for {visible(vote['for'])}" if vote.get("for") else "")


def _timeline(row: Mapping[str, Any]) -> list[str]:
    """What people did beside voting, and what they asked the agent. Its answer is a model's and is marked as that."""
    lines = []
    for vote in row["votes"]:
        who, why = visible(vote["by"]), visible(vote["reason"] or "")
        said = {
            "delegate": f"{who} handed it on {why}",
            "edit": f"{who} edited it: {why}",
            "withdrawn": f"The vote of {who} is withdrawn: the identity that gave it belongs to somebody else now",
            "overruled": f"The vote of {who} is overruled by the person they stood in for",
        }.get(vote["verdict"])
        lines += [said] if said else []
    for one in row.get("questions") or ():
        lines.append(f"{visible(one['by'])} asked: {visible(one['question'])}")
        if one["is_open"]:
            lines.append("The answer follows here.")
        else:
            lines.append(f"A model's words, not checked: {visible(one['answer'][:_ANSWER_CHARS])}")
    return lines


def _became(row: Mapping[str, Any]) -> list[str]:
    lines = []
    if row["decided_at"]:
        vote = _deciding(row)
        where = f" {where_text(vote['channel'])}" if vote else ""
        said = f" ({vote['verdict'].replace('_', ' ')})" if vote and row["kind"] == "unknown" else ""
        if vote and vote["verdict"] in ENDURING:
            said = f", {ENDURING[vote['verdict']]}"
        who = _voter(vote) if vote else visible(row["decider"] or "")
        lines.append(f"{_did(row)} by {who}{where} at {clock_text(row['decided_at'])}{said}")
    if row["reason"] and not _is_edited(row):
        lines.append(f"Reason: {visible(row['reason'])}")
    # Of several actions each line above says its own.
    if (
        row["status"] in ("approved", "consumed")
        and row["step_approval_id"] is not None
        and len(row["items"]) < _SEVERAL
    ):
        lines.append(_outcome(row))
    if _is_edited(row):
        lines.append(JUDGED_ANEW if row["step_status"] in ("blocked", "ready", "running") else _outcome(row))
    return lines


def _decided(row: Mapping[str, Any]) -> str:
    """`Approved by Ann, 14:32 UTC`."""
    vote, is_over = _deciding(row), row["kind"] != "unknown" and row["status"] not in ("approved", "consumed")
    if not row["decided_at"] or not row["decider"] or (vote and vote["verdict"] in YES_VOTES and is_over):
        return EDITED.capitalize() if _is_edited(row) else STATUS[row["status"]].partition(":")[0].capitalize()
    return f"{_did(row)} by {visible(row['decider'])}, {clock_text(row['decided_at'])}"


def _deciding(row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((v for v in reversed(row["votes"]) if v["by"] == row["decider"] and v["verdict"] in VOTES), None)


def _did(row: Mapping[str, Any]) -> str:
    """A yes stays one also where something else ended it."""
    if row["kind"] == "unknown":
        return "Answered"
    vote = _deciding(row)
    return DID["approved"] if vote and vote["verdict"] in YES_VOTES else DID.get(row["status"], "Decided")


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
