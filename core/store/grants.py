"""Standing permissions: given, listed, revoked. A use is counted where a call begins (`begin_v1`)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from core.db import Db
from core.models import Grant
from core.store.approvals import parse_id

log = logging.getLogger(__name__)

# What of a grant's row makes a `Grant`, as one JSON object; `g` is the grant.
AS_JSON = (
    "jsonb_build_object('id', g.id, 'skill', g.skill, 'skill_version', g.skill_version, 'schema_hash', g.schema_hash,"
    " 'args', g.args, 'principal_key', (select key from principals where id = g.holder_id),"
    " 'owner_key', o.key, 'owner_roles', to_jsonb(o.roles), 'task_id', g.task_id::text, 'uses_left', g.uses_left,"
    " 'expires_at', g.expires_at)"
)
LIVE = "g.revoked_at is null and g.expires_at > sayso_now() and coalesce(g.uses_left, 1) > 0"


async def of(db: Db, principal: int, task: int, skill: str) -> list[Grant]:
    """The live grants that could cover a call of the skill in the task, asked for by the person."""
    rows = await db.fetch(
        f"select {AS_JSON} as one from grants g join principals o on o.id = g.owner_id and o.is_active"
        f" where g.holder_id = $1 and g.skill = $3 and (g.task_id is null or g.task_id = $2) and {LIVE}",
        principal, task, skill,
    )  # fmt: skip
    return readable([row["one"] for row in rows])


def readable(rows: Iterable[Any]) -> list[Grant]:
    """A permission whose row cannot be read permits nothing; the others still do."""
    found = []
    for row in rows:
        try:
            found.append(Grant.model_validate(row))
        except ValidationError:
            log.error("a standing permission cannot be read and permits nothing; doctor names it")
    return found


async def listed(db: Db, principal: int, *, sees_all: bool = False) -> list[dict[str, Any]]:
    """Live grants that the person gave or has (or all), the one that ends first first."""
    rows = await db.fetch(
        "select g.id, g.kind, g.skill, g.args, g.task_id, g.uses, g.uses_left, g.approval_id, g.created_at, g.expires_at,"
        " o.key as owner, o.name as owner_name, h.key as holder, h.name as holder_name"
        " from grants g join principals o on o.id = g.owner_id join principals h on h.id = g.holder_id"
        f" where ($2 or person_of($1) in (person_of(g.owner_id), person_of(g.holder_id))) and {LIVE}"
        " order by g.expires_at, g.id",
        principal, sees_all,
    )  # fmt: skip
    return [dict(r) | {"id": str(r["id"])} for r in rows]


async def give(db: Db, *, owner: int, holder: int, grant: Mapping[str, Any]) -> str:
    """A grant without an ask; `grant` is {skill, skill_version, schema_hash, args, uses, lasts_s}."""
    made: UUID = await db.fetchval("select give_grant($1, $2, null, 'grant', $3)", owner, holder, dict(grant))
    return str(made)


async def revoke(db: Db, grant: str, by: int, *, is_owner: bool) -> bool:
    """By who gave it, who has it, or an owner. False: none of theirs is live under this id (or its beginning)."""
    key = parse_id(grant) or await _begins(db, grant, by, is_owner)
    done: bool = key is not None and await db.fetchval("select revoke_v1($1, $2, $3)", key, by, is_owner)
    return done


async def _begins(db: Db, text: str, by: int, is_owner: bool) -> UUID | None:
    """The one live grant of theirs whose id begins so: what people copy from a list."""
    found = [g["id"] for g in await listed(db, by, sees_all=is_owner) if text and g["id"].startswith(text.lower())]
    return UUID(found[0]) if len(found) == 1 else None
