"""Everything that policy looks at before an action, read in one statement and so at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core.db import Db
from core.models import ConversationRef, Grant
from core.store import grants
from core.store.people import Principal


@dataclass(frozen=True, slots=True)
class Situation:
    """`own_words` is what the requester wrote that the task comes from; `approval` the one that the step has, if any:
    {id, status, items, approvers, card, is_expired, decided_ago_s}; `editors` are others who changed the call: their rights
    count too."""

    requester: Principal
    conversation: ConversationRef
    own_words: list[str]
    grants: list[Grant]
    approval: dict[str, Any] | None
    now: datetime
    editors: tuple[Principal, ...] = ()


async def of_step(db: Db, task: int, n: int, skill: str, approval: str | None) -> Situation | None:
    """None when who asked is not active any more."""
    row = await db.fetchrow(
        "select p.id, p.key, p.name, p.roles, p.is_service, coalesce(c.channel, '') as channel,"
        " coalesce(c.external_id, '') as place, sayso_now() as now,"
        " coalesce((select jsonb_agg(i.body order by i.id) from inbound i where (i.id = t.inbound_id or i.task_id = t.id)"
        "   and i.principal_id = t.requester_id and i.kind = 'message'), '[]') as own_words,"
        f" coalesce((select jsonb_agg({grants.AS_JSON}) from grants g join principals o on o.id = g.owner_id and o.is_active"
        f"   where g.holder_id = p.id and g.skill = $2 and (g.task_id is null or g.task_id = t.id) and {grants.LIVE}),"
        " '[]') as grants,"
        " coalesce((select jsonb_agg(jsonb_build_object('id', e.id, 'key', e.key, 'name', e.name, 'roles', to_jsonb(e.roles),"
        "   'is_service', e.is_service)) from steps s join principals e on e.id = any (s.editors)"
        "   where s.task_id = $1 and s.n = $4 and e.id <> p.id), '[]') as editors,"
        " (select jsonb_build_object('id', a.id, 'status', a.status, 'items', a.items, 'approvers', a.approvers, 'card', a.card,"
        "   'is_expired', a.expires_at <= sayso_now(),"
        "   'decided_ago_s', extract(epoch from sayso_now() - a.decided_at)) from approvals a where a.id = $3) as approval"
        " from tasks t join principals p on p.id = t.requester_id and p.is_active"
        " left join conversations c on c.id = t.conversation_id where t.id = $1",
        task, skill, UUID(approval) if approval else None, n,
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
        editors=tuple(
            Principal(e["id"], e["key"], e["name"], tuple(e["roles"]), e["is_service"]) for e in row["editors"]
        ),
    )
