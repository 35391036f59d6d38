"""Approvals: shown, decided, expired."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from core.db import Db
from core.store import archive


def parse_id(text: str) -> UUID | None:
    """An approval id as buttons and URLs carry it; None when it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None


_SELECT = (
    "select a.*, p.key as requester, p.name as requester_name, q.name as decider, t.goal, t.status as task_status,"
    " t.conversation_id, s.status as step_status, s.title as step_title, s.error as step_error, s.result as step_result,"
    " s.approval_id as step_approval_id, s.skill,"
    " coalesce((select jsonb_agg(jsonb_build_object('by', r.name, 'key', r.key, 'verdict', d.verdict,"
    "   'reason', d.reason, 'channel', d.channel, 'at', d.decided_at) order by d.id)"
    "   from decisions d join principals r on r.id = d.principal_id where d.approval_id = a.id), '[]') as votes"
    " from approvals a join tasks t on t.id = a.task_id join steps s on s.task_id = a.task_id and s.n = a.n"
    " join principals p on p.id = a.requester_id left join principals q on q.id = a.decided_by"
)


async def whole(db: Db, approval: str) -> dict[str, Any] | None:
    """Everything a card shows of an approval, whoever looks."""
    key = parse_id(approval)
    row = await db.fetchrow(_SELECT + " where a.id = $1", key) if key else None
    return dict(row) | {"id": str(row["id"])} if row else None


async def is_visible(db: Db, approval: str, viewer: int, *, sees_all: bool) -> bool:
    """Its requester, who may decide it, and who may see everything."""
    key = parse_id(approval)
    found: bool = key is not None and await db.fetchval(
        "select exists (select from approvals a where a.id = $1"
        " and ($3 or a.requester_id = $2 or is_eligible($2, a.approvers, a.requester_id)))",
        key, viewer, sees_all,
    )  # fmt: skip
    return found


async def listed(
    db: Db, viewer: int, *, sees_all: bool, status: str | None = "pending", limit: int = 100
) -> list[dict[str, Any]]:
    """Approvals that the viewer may see, oldest first."""
    rows = await db.fetch(
        _SELECT + " where ($3::text is null or a.status = $3)"
        " and ($2 or a.requester_id = $1 or is_eligible($1, a.approvers, a.requester_id))"
        " order by a.created_at limit $4",
        viewer, sees_all, status, limit,
    )  # fmt: skip
    return [dict(r) | {"id": str(r["id"])} for r in rows]


async def decidable(db: Db, viewer: int, asked: Collection[str]) -> set[str]:
    """Those of the approvals that the viewer is among the deciders of, open or not."""
    rows = await db.fetch(
        "select a.id from approvals a where a.id = any ($2) and is_eligible($1, a.approvers, a.requester_id)",
        viewer, [UUID(a) for a in asked],
    )  # fmt: skip
    return {str(r["id"]) for r in rows}


async def waiting_for(db: Db, viewer: int) -> int:
    """How many pending approvals the viewer may decide."""
    count: int = await db.fetchval(
        "select count(*) from approvals a where a.status = 'pending' and is_eligible($1, a.approvers, a.requester_id)",
        viewer,
    )
    return count


async def of_task(db: Db, task: int) -> list[dict[str, Any]]:
    """All approvals of a task, oldest first; of one that was put away only their own columns."""
    rows = await db.fetch(_SELECT + " where a.task_id = $1 order by a.created_at", task)
    return [dict(r) | {"id": str(r["id"])} for r in rows] or await archive.approvals_of(db, task)


async def decide(
    db: Db,
    *,
    principal: int,
    approval: str,
    verdict: str,
    digest: str | None,
    reason: str,
    channel: str,
    delivery_id: str,
) -> dict[str, Any]:
    """One decision, one commit; see decide_v1 for the answers."""
    key = parse_id(approval)
    if key is None:
        return {"kind": "not_found"}
    answer: dict[str, Any] = await db.fetchval(
        "select decide_v1($1, $2, $3, $4, $5, $6, $7)", principal, key, verdict, digest, reason, channel, delivery_id
    )
    return answer


async def due(db: Db) -> list[UUID]:
    """Pending approvals whose time is over."""
    rows = await db.fetch(
        "select id from approvals where status = 'pending' and expires_at <= sayso_now() order by expires_at limit 500"
    )
    return [r["id"] for r in rows]


async def expire(db: Db, approval: UUID) -> bool:
    done: bool = await db.fetchval("select expire_v1($1)", approval)
    return done


async def deciders(db: Db, approvers: Mapping[str, Any], requester: int) -> list[dict[str, Any]]:
    """The people who may decide now, with their identities."""
    rows = await db.fetch(
        "select p.id, p.key, p.name, coalesce((select jsonb_object_agg(i.channel, i.external_id) from identities i"
        " where i.principal_id = p.id), '{}') as identities from principals p where is_eligible(p.id, $1, $2) order by p.id",
        dict(approvers), requester,
    )  # fmt: skip
    return [dict(r) for r in rows]
