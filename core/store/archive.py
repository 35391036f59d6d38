"""Finished tasks that were put away: read-only, whole, until their month is dropped.

A document holds the rows as they were; they are read back through the types of today's tables. Nothing here changes a task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.db import Db


def records(table: str) -> str:
    """The rows of one table in a document `a.doc`; none where it has none, or is older than the table."""
    return f"jsonb_populate_recordset(null::{table}, coalesce(nullif(a.doc -> '{table}', 'null'), '[]'))"


# Who may see it: as `core.store.tasks.VISIBLE`, over the document.
_VISIBLE = (
    "(t.requester_id = $2 or $3 or ($4 and exists (select from inbound i"
    " where i.conversation_id = t.conversation_id and i.principal_id = $2))"
    f" or exists (select from {records('approvals')} v where seat_of($2, v) is not null))"
)


async def shown(
    db: Db, task: int, viewer: int, *, sees_all: bool, sees_conversation: bool
) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]] | None:
    """An archived task and its steps as rows, with `archived_at`; None when there is none or the viewer may not see it."""
    row = await db.fetchrow(
        "select t.*, a.archived_at, p.key as requester, p.name as requester_name from archived_tasks a"
        f" cross join {records('tasks')} t join principals p on p.id = t.requester_id"
        f" where a.task_id = $1 and {_VISIBLE}",
        task, viewer, sees_all, sees_conversation,
    )  # fmt: skip
    return (row, await rows(db, task, "steps", "n")) if row else None


async def events_of(db: Db, task: int, columns: str, limit: int) -> Sequence[Mapping[str, Any]]:
    """Its history as rows of `events`, oldest first."""
    return await rows(db, task, "events", "xid, id", columns, limit)


async def approvals_of(db: Db, task: int) -> list[dict[str, Any]]:
    """Its approvals as rows of `approvals`, oldest first."""
    return [dict(r) | {"id": str(r["id"])} for r in await rows(db, task, "approvals", "created_at")]


async def rows(
    db: Db, task: int, table: str, order: str, columns: str = "x.*", limit: int | None = None
) -> Sequence[Mapping[str, Any]]:
    """Its rows of one table, through the type that the table has today; none where it had none."""
    found: Sequence[Mapping[str, Any]] = await db.fetch(
        f"select {columns} from (select e.* from archived_tasks a, {records(table)} e where a.task_id = $1) x"
        f" order by {order} limit $2",
        task, limit,
    )  # fmt: skip
    return found
