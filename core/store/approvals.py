"""Approvals: shown, decided, expired."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from core.db import Db
from core.store import archive

MERGE_TRIES = 3


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
    " case when a.kind = 'unknown' then coalesce((select jsonb_agg(jsonb_build_object("
    "   'said', l.evidence ->> 'said', 'summary', l.evidence #>> '{result,summary}', 'at', l.filed_at) order by l.id)"
    "   from late_evidence l join effects e on e.task_id = l.task_id and e.n = l.n and e.fence = l.fence"
    "   where l.task_id = a.task_id and l.n = a.n and e.gen = a.gen), '[]') else '[]' end as late,"
    " votes_of(a.id) as votes,"
    " coalesce((select jsonb_agg(jsonb_build_object('by', r.name, 'question', x.question, 'answer', coalesce("
    "   nullif(x.answer, ''), o.result ->> 'text', o.error, ''), 'is_open', x.answer = '' and o.finished_at is null)"
    "   order by x.id)"
    "   from questions x join principals r on r.id = x.asker_id left join tasks o on o.id = x.task_id"
    "   where x.approval_id = a.id), '[]') as questions,"
    " (select m.task_id from approvals m where m.id = a.merged_into) as merged_task, a.held_until > sayso_now() as is_held,"
    " case when jsonb_typeof(a.items) = 'array' then case when jsonb_array_length(a.items) > 1 then"
    " (select jsonb_object_agg(x.task_id || '.' || x.n, x.status) from steps x"
    "   join jsonb_array_elements(a.items) i on x.task_id = (i ->> 'task')::bigint and x.n = (i ->> 'step')::integer)"
    " end end as item_states"
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
        " and ($3 or person_of(a.requester_id) = person_of($2) or seat_of($2, a) is not null))",
        key, viewer, sees_all,
    )  # fmt: skip
    return found


async def listed(
    db: Db, viewer: int, *, sees_all: bool, status: str | None = "pending", limit: int = 100
) -> list[dict[str, Any]]:
    """Approvals that the viewer may see, oldest first."""
    rows = await db.fetch(
        _SELECT + " where ($3::text is null or a.status = $3)"
        " and ($2 or person_of(a.requester_id) = person_of($1) or seat_of($1, a) is not null)"
        " order by a.created_at limit $4",
        viewer, sees_all, status, limit,
    )  # fmt: skip
    return [dict(r) | {"id": str(r["id"])} for r in rows]


async def decidable(db: Db, viewer: int, asked: Collection[str]) -> set[str]:
    """Those of the approvals that the viewer is among the deciders of, open or not."""
    rows = await db.fetch(
        "select a.id from approvals a where a.id = any ($2) and seat_of($1, a) is not null",
        viewer, [UUID(a) for a in asked],
    )  # fmt: skip
    return {str(r["id"]) for r in rows}


async def waiting_for(db: Db, viewer: int) -> int:
    """How many pending approvals the viewer may decide."""
    count: int = await db.fetchval(
        "select count(*) from approvals a where a.status = 'pending' and seat_of($1, a) is not null",
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
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One decision, one commit; see decide_v1 for the answers and for what `more` holds by verdict."""
    key = parse_id(approval)
    if key is None:
        return {"kind": "not_found"}
    answer: dict[str, Any] = await db.fetchval(
        "select decide_v1($1, $2, $3, $4, $5, $6, $7, $8)",
        principal, key, verdict, digest, reason, channel, delivery_id, dict(more or {}),
    )  # fmt: skip
    return answer


async def state(db: Db, approval: str) -> dict[str, Any]:
    """What it came to so far, as `decide` answers it."""
    found: dict[str, Any] = await db.fetchval("select approval_state($1)", parse_id(approval))
    return found


async def due(db: Db) -> list[UUID]:
    """Pending approvals whose time is over."""
    rows = await db.fetch(
        "select id from approvals where status = 'pending' and expires_at <= sayso_now() order by expires_at limit 500"
    )
    return [r["id"] for r in rows]


async def expire(db: Db, approval: UUID) -> bool:
    done: bool = await db.fetchval("select expire_v1($1)", approval)
    return done


async def merge(db: Db, approval: str) -> str | None:
    """Put this ask and another pending one that asks the same onto one card, the older one's; its new id, or None.

    Of two that are parked at once either may be the first to see the other.
    """
    for _ in range(MERGE_TRIES):
        pair = await db.fetchrow(
            "select case when is_older then f.id else o.id end as leader, case when is_older then o.id else f.id end as follower"
            " from approvals f join approvals o on o.action_hash = f.action_hash and o.status = 'pending'"
            "   and o.merged_into is null and o.task_id <> f.task_id and person_of(o.requester_id) = person_of(f.requester_id)"
            " cross join lateral (select (f.created_at, f.id) < (o.created_at, o.id) as is_older) x"
            " where f.id = $1 and f.status = 'pending' and f.action_hash <> '' and f.merged_into is null"
            "   and (not is_older or jsonb_array_length(o.items) = 1) order by o.created_at, o.id limit 1",
            UUID(approval),
        )
        made = await db.fetchval("select merge_v1($1, $2)", pair["leader"], pair["follower"]) if pair else None
        if pair is None or made is not None:
            return str(made) if made else None
    return None


async def followers(db: Db, approval: str) -> list[UUID]:
    """The merged asks that are decided with this approval's card and have not heard of it."""
    rows = await db.fetch(
        "select id from approvals where merged_into = $1 and status = 'pending' order by task_id", parse_id(approval)
    )
    return [r["id"] for r in rows]


async def unled(db: Db) -> list[UUID]:
    """Merged asks whose card was decided or replaced without their having heard of it."""
    rows = await db.fetch(
        "select f.id from approvals f join approvals m on m.id = f.merged_into"
        " where f.status = 'pending' and m.status <> 'pending' limit 500"
    )
    return [r["id"] for r in rows]


async def follow(db: Db, follower: UUID) -> bool:
    done: bool = await db.fetchval("select follow_v1($1)", follower)
    return done


async def task_of(db: Db, approval: UUID) -> int:
    task: int = await db.fetchval("select task_id from approvals where id = $1", approval)
    return task


async def deciders(db: Db, approvers: Mapping[str, Any], requester: int) -> list[dict[str, Any]]:
    """The people who may decide now, with their identities."""
    rows = await db.fetch(
        "select p.id, p.key, p.name, coalesce((select jsonb_object_agg(i.channel, i.external_id) from identities i"
        " where i.principal_id = p.id), '{}') as identities from principals p"
        " where p.same_as is null and seat_for(p.id, null, $1, $2) is not null order by p.id",
        dict(approvers), requester,
    )  # fmt: skip
    return [dict(r) for r in rows]
