"""Reads what is known of a task's past, for `core.versions` to put together."""

from __future__ import annotations

from typing import Any

from core.db import Db, Pool
from core.store import archive, tasks
from core.versions import Facts, Move, history, task_at


async def shown_at(db: Pool, task: int, label: str) -> dict[str, Any] | None:
    """The task as the API showed it at that version, with `as_of` = {version, at}. Raises `NoSuchVersion`."""
    known = await snapshot(db, task)
    if known is None:
        return None
    row, steps, last = task_at(known, label)
    as_of = {"version": last.label, "at": last.event["at"].isoformat()}
    return tasks.shape(row, steps) | {"as_of": as_of}


async def listed(db: Pool, task: int) -> list[dict[str, Any]]:
    """The versions of a task, oldest first, each with what happened in it."""
    known = await snapshot(db, task)
    found: list[dict[str, Any]] = []
    for move in history(known.events) if known else []:
        if move.place == 0:
            found.append(_told(move) | {"version": move.version, "moves": []})
        else:
            found[-1]["moves"].append(_told(move))
    return found


def _told(move: Move) -> dict[str, Any]:
    event = move.event
    return {
        "label": move.label,
        "at": event["at"].isoformat(),
        "machine": event["machine"],
        "n": event["n"],
        "subject": event["subject"],
        "from": event["from_state"],
        "to": event["to_state"],
        "actor": event["actor"],
        "why": event["why"],
    }


async def snapshot(db: Pool, task: int) -> Facts | None:
    """`facts` as of one moment, without a lock."""
    async with db.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        return await facts(connection, task)


async def facts(db: Db, task: int) -> Facts | None:
    """Everything of one task as it is now, with its whole history. Consistent in a snapshot or under the task's lock.

    Events are in the order of their ids, which is the order in which they were made: whoever writes one holds the row that it
    tells of. A task that was put away is read from the archive.
    """
    row = await db.fetchrow(
        "select t.*, p.key as requester, p.name as requester_name from (select * from tasks where id = $1 union all"
        " select t.* from archived_tasks a cross join jsonb_populate_recordset(null::tasks, a.doc -> 'tasks') t"
        "  where a.task_id = $1) t join principals p on p.id = t.requester_id",
        task,
    )
    if row is None:
        return None
    return Facts(
        task=dict(row),
        steps=await _rows(db, task, "steps", "n"),
        events=await _rows(db, task, "events", "id"),
        kept=await _rows(db, task, "row_versions", "n, version"),
    )


async def _rows(db: Db, task: int, table: str, order: str) -> list[dict[str, Any]]:
    live = await db.fetch(f"select * from {table} where task_id = $1 order by {order}", task)
    return [dict(r) for r in live or await archive.rows(db, task, table, order)]
