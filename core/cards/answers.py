"""What a card offers to press, and what is told to whoever pressed.

Pure. The few answers that most people need are buttons of their own; the others are offered as "more", which each chat
shows in its own way. What a permission would cover is said before it is given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, assert_never

from core import config
from core.cards.card import Button
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

COVERS_CHARS = 160
VERB_CHARS = 20

STATUS = {
    "pending": "waiting for a decision",
    "approved": "approved",
    "consumed": "approved",
    "denied": "denied",
    "expired": "expired: nobody answered in time",
    "superseded": "replaced by a newer card",
    "cancelled": "cancelled",
    "undeliverable": "nobody could be asked",
}

DID = {
    "approved": "Approved",
    "consumed": "Approved",
    "denied": "Denied",
    "cancelled": "Stopped",
    "superseded": "Changed",
}

WHERE = {
    "slack": "in Slack",
    "telegram": "in Telegram",
    "sms": "by SMS",
    "web": "on the web",
    "cli": "in the shell",
    "direct": "in a direct message",
}

TOLD = {
    "looking": "Noted: reminders wait for up to 15 minutes. The deadline does not.",
    "delegate": "Handed on. They have been sent the card, and you may still say no.",
    "ask": "Asked. The answer will stand on the card.",
    "edit": "Edited. It goes through the rules again, and if it has to be asked about, a new card comes.",
}


def buttons_of(row: Mapping[str, Any]) -> tuple[Button, ...]:
    """`row` is what `store.approvals.whole` answers."""
    if row["status"] != "pending" or row.get("merged_task"):
        return ()
    if row["kind"] == "unknown":
        return (
            Button(verb="happened", label="It happened"),
            Button(
                verb="not_happened",
                label="It did not, run again",
                style="primary",
                confirm="Run it again?",
                yes="Run again",
            ),
            Button(verb="abandon", label="Give it up", style="danger"),
        )
    card, many = row["card"], len(row["items"]) > 1
    title = visible(card.get("title") or row.get("skill") or "")
    asks_again = card.get("destructive") or many
    return (
        Button(
            verb="approve", label="Approve all" if many else "Approve", style="primary",
            confirm=f"{'Approve ' if many else ''}{title}?" if asks_again else "",
            yes="Approve all" if many else _verb(row, title), is_final=bool(card.get("destructive")),
        ),
        Button(verb="deny", label="Deny", style="danger"),
        Button(verb="stop", label="Stop the task", confirm="Stop the whole task?", yes="Stop", is_final=True),
    )  # fmt: skip


def _verb(row: Mapping[str, Any], title: str) -> str:
    """`Delete` of `Delete old.log from the workspace`. A title that begins with an argument could call a yes "Cancel"."""
    word = title.partition(" ")[0]
    given = json.dumps([item.get("action", {}).get("args") for item in row["items"]], ensure_ascii=False)
    is_word = word.isascii() and word.isalpha() and len(word) <= VERB_CHARS
    return word if row["kind"] == "action" and is_word and word not in given else "Approve"


def more_of(row: Mapping[str, Any]) -> tuple[Button, ...]:
    """The rarer answers, as far as this card takes them."""
    if row["status"] != "pending" or row.get("merged_task"):
        return ()
    looking = Button(verb="looking", label="I'm looking")
    if row["kind"] in ("unknown", "question"):
        return (looking,)
    ask = Button(verb="ask", label="Ask the agent…")
    hand_on = Button(verb="delegate", label="Hand it on…")
    if row["kind"] != "action":
        return (looking, ask, hand_on)
    return (*_enduring(row), Button(verb="edit", label="Edit…"), looking, ask, hand_on)


def _enduring(row: Mapping[str, Any]) -> tuple[Button, ...]:
    card, approvers = row["card"], row["approvers"]
    covers = visible(card.get("similar") or "")
    strict = approvers.get("four_eyes") or int(approvers.get("needed", 1)) > 1 or card.get("risk") == "critical"
    if not covers or len(covers) > COVERS_CHARS or strict or card.get("provenance"):
        return ()  # what does not fit into the question is not asked there: the web and the API still take it
    similar = f"up to {config.SIMILAR_USES} times within {config.SIMILAR_S // 60} minutes, in this task"
    always = f"for {config.GRANT_S // 86400} days, until you revoke it"
    return (
        Button(
            verb="approve_similar", label="Approve similar…", confirm=f"Approve this, and {covers}, {similar}?",
            yes="Approve similar",
        ),
        Button(verb="grant", label="Always allow…", confirm=f"Approve this, and always {covers}, {always}?", yes="Always allow"),
    )  # fmt: skip


def clock_text(at: datetime | str) -> str:
    """`14:32 UTC`."""
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return moment.strftime("%H:%M UTC")


def where_text(channel: str) -> str:
    """`in Slack`, `by SMS`: where somebody did something."""
    return WHERE.get(channel, f"in {channel}")


def press_answer(decided: Decided) -> str:
    """What the presser is told, at most 200 characters."""
    match decided:
        case Accepted(verdict=verdict) if verdict in TOLD:
            return TOLD[verdict]
        case Accepted(status="pending"):
            return "Your vote is counted; more are needed."
        case Accepted(status="approved" | "consumed", verdict="approve_similar" | "grant"):
            return "Approved, and the permission is given. Say grants to see it, revoke to end it."
        case Accepted(status="approved" | "consumed"):
            return "Approved."
        case Accepted(status=status):
            return f"{DID.get(status, 'Done')}."
        case AlreadyDecided(status=status, by=by, at=at):
            who = f" by {visible(by)}" if by else ""
            when = f" at {clock_text(at)}" if at else ""
            return f"Too late: already {STATUS.get(status, status)}{who}{when}."[:200]
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
