"""What people read, without any vendor's markup: run cards, approval cards, and the replies to commands.

Pure: rows come in, a `Card` or a text goes out. Every string is plain text in which hidden characters are visible
already; senders escape it for their markup and shorten nothing of an approval card's `exact` part.
"""

from core.cards.alerts import alert_text
from core.cards.answers import press_answer
from core.cards.approval import approval_card, exact_text
from core.cards.branches import forked_text, rolled_back_text
from core.cards.card import PREVIEW, YES, Button, Card, StepLine, Tone, labelled
from core.cards.damaged import UNSHOWABLE, damaged_card
from core.cards.missed import missed_text, nothing_missed
from core.cards.replies import (
    ARCHIVED,
    NO_TASK,
    NOT_YOURS,
    approvals_text,
    grant_text,
    grants_text,
    help_text,
    moved_text,
    not_retried_text,
    notes_text,
    pairing_text,
    prioritised_text,
    sentence,
    status_text,
    stopped_text,
    tasks_text,
    told_text,
)
from core.cards.task import answer_text, task_card
from core.cards.timeline import timeline_lines
from core.cards.title import call_title, step_title
from core.cards.why import why_text

__all__ = [
    "ARCHIVED",
    "NOT_YOURS",
    "NO_TASK",
    "PREVIEW",
    "UNSHOWABLE",
    "YES",
    "Button",
    "Card",
    "StepLine",
    "Tone",
    "alert_text",
    "answer_text",
    "approval_card",
    "approvals_text",
    "call_title",
    "damaged_card",
    "exact_text",
    "forked_text",
    "grant_text",
    "grants_text",
    "help_text",
    "labelled",
    "missed_text",
    "moved_text",
    "not_retried_text",
    "notes_text",
    "nothing_missed",
    "pairing_text",
    "press_answer",
    "prioritised_text",
    "rolled_back_text",
    "sentence",
    "status_text",
    "step_title",
    "stopped_text",
    "task_card",
    "tasks_text",
    "timeline_lines",
    "told_text",
    "why_text",
]
