"""History: what moved from where to where, who moved it and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from core import config
from core.db import Db
from core.store import archive


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in commit order. As text `xid-id`: the SSE event id."""

    xid: int = 0
    id: int = 0

    def __str__(self) -> str:
        return f"{self.xid}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        xid, dash, number = text.partition("-")
        if not (dash and text.isascii() and xid.isdigit() and number.isdigit() and len(text) <= 40):
            return None
        cursor = cls(int(xid), int(number))
        return cursor if cursor.xid < 2**63 and cursor.id < 2**63 else None


# No event comes after it.
LAST: Final = Cursor(2**63 - 1, 2**63 - 1)


def _event(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "cursor": str(Cursor(int(row["xid"]), row["id"])),
        "at": row["at"].isoformat(),
        "task_id": str(row["task_id"]) if row["task_id"] else None,
        "n": row["n"],
        "machine": row["machine"],
        "subject": row["subject"],
        "from": row["from_state"],
        "to": row["to_state"],
        "version": row["version"],
        "actor": row["actor"],
        "why": row["why"],
    }


# The answer's `xid` is a number, for Python; whoever orders has to say events.xid, which has the index.
_COLUMNS = "xid::text::bigint as xid, id, at, task_id, n, machine, subject, from_state, to_state, version, actor, why"


async def since(
    db: Db, cursor: Cursor, *, task: int | None = None, limit: int = config.EVENTS_PAGE
) -> list[dict[str, Any]]:
    """Events after the cursor in commit order, only those that no running transaction can still precede."""
    rows = await db.fetch(
        f"select {_COLUMNS} from events where (xid, id) > ($1::text::xid8, $2)"
        " and xid < pg_snapshot_xmin(pg_current_snapshot()) and ($3::bigint is null or task_id = $3)"
        " order by events.xid, events.id limit $4",
        str(cursor.xid), cursor.id, task, limit,
    )  # fmt: skip
    return [_event(r) for r in rows]


async def newest(db: Db) -> Cursor:
    """The cursor behind which everything has been seen."""
    row = await db.fetchrow(
        "select xid::text::bigint as xid, id from events where xid < pg_snapshot_xmin(pg_current_snapshot())"
        " order by events.xid desc, events.id desc limit 1"
    )
    return Cursor(row["xid"], row["id"]) if row else Cursor()


async def untold(db: Db, after: Cursor, until: Cursor, limit: int) -> list[dict[str, Any]]:
    """Moves after the one cursor up to the other that neither a worker, its sweeper nor a bot tells of: those of tasks, approvals
    that nobody decided, and steps that something else than their own outcome moved."""
    rows = await db.fetch(
        "select e.xid::text::bigint as xid, e.id, e.machine, e.task_id, e.n, e.subject, e.actor,"
        "   e.from_state, e.to_state, coalesce(p.key, '') as requester"
        " from events e left join tasks t on t.id = e.task_id left join principals p on p.id = t.requester_id"
        " where (e.xid, e.id) > ($1::text::xid8, $2) and (e.xid, e.id) <= ($3::text::xid8, $4)"
        "   and case e.machine when 'task' then true when 'approval' then e.to_state not in ('approved', 'denied')"
        "     when 'step' then e.actor not like 'worker:%'"
        "       and (e.actor <> 'sweeper' or e.to_state <> 'ready' and e.from_state <> 'running') else false end"
        " order by e.xid, e.id limit $5",
        str(after.xid), after.id, str(until.xid), until.id, limit,
    )  # fmt: skip
    return [dict(r) for r in rows]


async def is_known(db: Db, cursor: Cursor) -> bool:
    """Whether the event of the cursor is still here: if not, what followed it may be gone too."""
    found: bool = await db.fetchval(
        "select exists (select from events where xid = $1::text::xid8 and id = $2)", str(cursor.xid), cursor.id
    )
    return found


async def of_task(db: Db, task: int, limit: int = config.EVENTS_PAGE) -> list[dict[str, Any]]:
    """The history of one task, archived or not, oldest first."""
    rows = await db.fetch(f"select {_COLUMNS} from events where task_id = $1 order by xid, id limit $2", task, limit)
    rows = rows or await archive.events_of(db, task, _COLUMNS, limit)
    return [_event(r) for r in rows]
