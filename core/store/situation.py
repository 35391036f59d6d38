"""Everything that policy looks at before an action, read in one statement and so at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core.db import Db
from core.models import ConversationRef, Grant
from core.store.people import Principal


@dataclass(frozen=True, slots=True)
class Situation:
    """`own_words` is what the requester wrote that the task comes from; `approval` the one that the step has, if any:
    {id, status, items, approvers, is_expired, decided_ago_s}."""

    requester: Principal
    conversation: ConversationRef
    own_words: list[str]
    grants: list[Grant]
    approval: dict[str, Any] | None
    now: datetime


async def of_step(db: Db, task: int, skill: str, approval: str | None) -> Situation | None:
    """None when who asked is not active any more."""
    row = await db.fetchrow(
        "select p.id, p.key, p.name, p.roles, p.is_service, coalesce(c.channel, '') as channel,"
        " coalesce(c.external_id, '') as place, sayso_now() as now,"
        " coalesce((select jsonb_agg(i.body order by i.id) from inbound i where (i.id = t.inbound_id or i.task_id = t.id)"
        "   and i.principal_id = t.requester_id and i.kind = 'message'), '[]') as own_words,"
        " coalesce((select jsonb_agg(jsonb_build_object('id', g.id, 'skill', g.skill, 'args', g.args, 'principal_key', p.key,"
        "   'task_id', g.task_id::text, 'uses_left', g.uses_left, 'expires_at', g.expires_at)) from grants g"
        "   where g.holder_id = p.id and g.skill = $2 and (g.task_id is null or g.task_id = t.id) and g.revoked_at is null"
        "   and g.expires_at > sayso_now() and coalesce(g.uses_left, 1) > 0), '[]') as grants,"
        " (select jsonb_build_object('id', a.id, 'status', a.status, 'items', a.items, 'approvers', a.approvers,"
        "   'is_expired', a.expires_at <= sayso_now(),"
        "   'decided_ago_s', extract(epoch from sayso_now() - a.decided_at)) from approvals a where a.id = $3) as approval"
        " from tasks t join principals p on p.id = t.requester_id and p.is_active"
        " left join conversations c on c.id = t.conversation_id where t.id = $1",
        task, skill, UUID(approval) if approval else None,
    )  # fmt: skip
    if row is None:
        return None
    return Situation(
        requester=Principal(row["id"], row["key"], row["name"], tuple(row["roles"]), row["is_service"]),
        conversation=ConversationRef(channel=row["channel"], id=row["place"]),
        own_words=list(row["own_words"]),
        grants=[Grant.model_validate(g) for g in row["grants"]],
        approval=row["approval"],
        now=row["now"],
    )
