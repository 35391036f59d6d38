"""What stands in the place of a card whose row cannot be read: that it can't, and no button that says yes."""

from __future__ import annotations

from typing import Final, Literal

from core.cards.card import Card

# What rendering raises when a row is not of the shape that we wrote.
UNSHOWABLE: Final = (AttributeError, LookupError, TypeError, ValueError, RecursionError)


def damaged_card(subject: Literal["task", "approval"], subject_id: str, task_id: str) -> Card:
    return Card(
        subject=subject,
        subject_id=subject_id,
        task_id=task_id,
        tone="bad",
        headline=f"Task {task_id}" if subject == "task" else f"An approval of task {task_id}",
        status="unreadable",
        lines=("Its row in the database cannot be read. Nothing runs because of it; an operator sees more in doctor.",),
        path=f"/{subject}s/{subject_id}",
    )
