"""Whether a task may be shown in one more conversation: a task follows its person, and nobody else's eyes.

Pure. `core.answering` asks when somebody says `follow`, or lays a hand on a task from elsewhere; the store places the cards,
and the courier keeps them in step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from core.models import Channel, Place

Following = Literal["joins", "is_here", "is_over", "not_here"]
SHOWN_IN: Final = frozenset({Channel.SLACK, Channel.TELEGRAM, Channel.WEB})

IS_HERE = "Task {task} is shown here already."
NOT_HERE = "Others read this conversation, and task {task} belongs to another one. Say follow {task} in a direct message to me."


def following(task: Mapping[str, Any], place: Place, home: Place | None) -> Following:
    """`task` is one that the person may see, `place` where they say it, `home` where it was begun.

    A private conversation has one reader, who may see it. Elsewhere it joins only a thread beside its own: those who read
    the one read the other.
    """
    is_beside = home is not None and (home.channel, home.external_id) == (place.channel, place.external_id)
    if is_beside and home is not None and home.thread == place.thread:
        return "is_here"
    if task["finished_at"] is not None:
        return "is_over"
    return "joins" if place.channel in SHOWN_IN and (place.private or is_beside) else "not_here"
