"""Standing permissions."""

from __future__ import annotations

from typing import Any

from core.db import Db
from core.models import Grant


async def of(db: Db, principal: int, task: int, skill: str) -> list[Grant]:
    """The person's live grants that could cover a call of the skill in the task."""
    rows = await db.fetch(
        "select g.id, g.skill, g.args, g.task_id, g.uses_left, g.expires_at, p.key from grants g"
        " join principals p on p.id = g.holder_id where g.holder_id = $1 and g.skill = $3"
        " and (g.task_id is null or g.task_id = $2)"
        " and g.revoked_at is null and g.expires_at > sayso_now() and coalesce(g.uses_left, 1) > 0",
        principal, task, skill,
    )  # fmt: skip
    return [
        Grant(
            id=str(r["id"]),
            skill=r["skill"],
            args=r["args"],
            principal_key=r["key"],
            task_id=str(r["task_id"]) if r["task_id"] else None,
            uses_left=r["uses_left"],
            expires_at=r["expires_at"],
        )
        for r in rows
    ]


async def listed(db: Db, principal: int) -> list[dict[str, Any]]:
    """The person's live grants, the one that ends first first."""
    rows = await db.fetch(
        "select id, skill, args, task_id, uses, uses_left, expires_at from grants"
        " where holder_id = $1 and revoked_at is null and expires_at > sayso_now() order by expires_at",
        principal,
    )
    return [dict(r) | {"id": str(r["id"])} for r in rows]
