"""Which bot shows an answer while it is written, where, and by which message. The text is kept nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core import config
from core.db import Db
from core.store.conversations import Conversation


@dataclass(frozen=True, slots=True)
class Live:
    """A draft in a chat. `ref` is the vendor's id of the message that shows it, if one does; busy: it changes just now."""

    ref: str | None
    is_busy: bool


@dataclass(frozen=True, slots=True)
class Stale:
    """A draft to be taken back."""

    task: int
    conversation: int
    ref: str | None


async def places(db: Db, task: int, channels: Sequence[str]) -> list[Conversation]:
    """Where the answer of a task will be a message of its own: a draft shows there what that message will say."""
    rows = await db.fetch(
        "select c.id, c.channel, c.external_id, c.thread, c.is_private from tasks t"
        " join cards k on k.task_id = t.id and k.subject = 'task' join conversations c on c.id = k.conversation_id"
        " where t.id = $1 and t.kind = 'plan' and t.parent_id is null and c.channel = any ($2)",
        task,
        list(channels),
    )
    return [Conversation(**row) for row in rows]


async def hold(db: Db, task: int, conversation: int, holder: str) -> Live | None:
    """The draft, now ours to change; None when another bot shows it or the task is over."""
    row = await db.fetchrow(
        "select * from hold_draft_v1($1, $2, $3, $4, $5)",
        task, conversation, holder, config.DRAFT_LEASE_S, config.SEND_TIMEOUT_S,
    )  # fmt: skip
    return Live(row["ref"], is_busy=True) if row else None


async def shown(db: Db, task: int, conversation: int, holder: str, ref: str | None) -> None:
    """What `hold` was for is done; `ref` shows the draft."""
    await db.execute("select draft_shown_v1($1, $2, $3, $4)", task, conversation, holder, ref)


async def live(db: Db, task: int, conversation: int) -> Live | None:
    row = await db.fetchrow(
        "select provider_ref, coalesce(busy_until > now(), false) as is_busy from drafts"
        " where task_id = $1 and conversation_id = $2",
        task,
        conversation,
    )
    return Live(row["provider_ref"], row["is_busy"]) if row else None


async def forget(db: Db, task: int, conversation: int) -> None:
    await db.execute("delete from drafts where task_id = $1 and conversation_id = $2", task, conversation)


async def withdrawn(db: Db, task: int | None, holder: str, channels: Sequence[str]) -> list[Stale]:
    """The drafts of a task that this bot shows, or with None all those whose bot is gone; now ours to take back."""
    rows = await db.fetch(
        "select * from withdrawn_drafts_v1($1, $2, $3, $4)", task, holder, list(channels), config.SEND_TIMEOUT_S
    )
    return [Stale(r["task_id"], r["conversation_id"], r["ref"]) for r in rows]
