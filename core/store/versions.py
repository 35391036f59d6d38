"""The past of tasks: what is known of it, and the tasks and plans that go on from there.

`core.versions` puts together what is read here, `core.branches` decides what is written.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from core.branches import Branch, Rollback
from core.db import Connection, Db, Pool
from core.store import archive, tasks
from core.store.steps import planned
from core.versions import Facts, Move, history, task_at

_EVENT = (
    "x.id, x.at, x.n, x.machine, x.subject, x.from_state, x.to_state, x.version, x.actor, x.why, x.data,"
    " x.xid::text::bigint as xid"
)


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
    moves = history(known.events) if known else []
    return [
        _told(begins) | {"version": version, "moves": [_told(m) for m in of_it if m is not begins]}
        for version, of_it in ((v, list(g)) for v, g in itertools.groupby(moves, key=lambda m: m.version))
        for begins in of_it
        if begins.event["machine"] in ("task", "plan")
    ]


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
        f" select t.* from archived_tasks a cross join {archive.records('tasks')} t"
        "  where a.task_id = $1) t join principals p on p.id = t.requester_id",
        task,
    )
    if row is None:
        return None
    return Facts(
        task=dict(row),
        steps=await _rows(db, task, "steps", "n"),
        events=await _rows(
            db,
            task,
            "events",
            "id",
            _EVENT,
        ),
        kept=await _rows(db, task, "row_versions", "n, version"),
    )


async def _rows(db: Db, task: int, table: str, order: str, columns: str = "x.*") -> list[dict[str, Any]]:
    live = await db.fetch(f"select {columns} from {table} x where task_id = $1 order by {order}", task)
    return [dict(r) for r in live or await archive.rows(db, task, table, order, columns)]


async def gate_facts(db: Db, task: int) -> tuple[dict[int, dict[str, Any]], dict[int, dict[str, Any]]]:
    """By step: what its newest effect was begun with (action, digest), and what its newest approval asked about."""
    effects = await db.fetch(
        "select distinct on (n) n, action, digest, approval_id from effects where task_id = $1 order by n, gen desc",
        task,
    )
    asked = await db.fetch(
        "select distinct on (n) a.n, a.status, a.card -> 'reasons' as reasons, i.item -> 'action' as action,"
        " i.item ->> 'digest' as digest, coalesce(p.name, '') as by from approvals a"
        " cross join jsonb_array_elements(a.items) i (item) left join principals p on p.id = a.decided_by"
        " where a.task_id = $1 and a.kind not in ('unknown', 'question', 'budget')"
        " and i.item ->> 'task' = $1::text and (i.item ->> 'step')::integer = a.n order by a.n, a.created_at desc",
        task,
    )
    return {r["n"]: dict(r) for r in effects}, {r["n"]: dict(r) for r in asked}


# ---------------------------------------------------------------- going on from there


async def lock_steps(tx: Connection, task: int) -> None:
    """Hold all steps of a task that is locked, so that none is claimed meanwhile."""
    await tx.execute("select from steps where task_id = $1 order by n for update", task)


async def write_fork(
    tx: Connection,
    source: int,
    branch: Branch,
    *,
    step: int | None,
    inbound: int | None,
    conversation: int | None,
    requester: int,
    steered_by: Sequence[int],
    key: str | None,
    actor: str,
    why: str,
) -> int | None:
    """The new task; None when the requester has one with this idempotency key."""
    made: int | None = await tx.fetchval(
        "select fork_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        source, step, inbound, conversation, requester, list(steered_by), list(branch.copies),
        planned(branch.fresh), key, actor, why,
    )  # fmt: skip
    return made


async def write_rollback(tx: Connection, task: int, plan: Rollback, actor: str, why: str) -> str:
    """Put the plan of a locked task back; answers its status."""
    status: str = await tx.fetchval(
        "select rollback_v1($1, $2, $3, $4, $5, $6)",
        task, list(plan.later), list(plan.drop), list(plan.again), actor, why,
    )  # fmt: skip
    return status
