"""Long-term memory: notes by person, found by their words."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from core.db import Db

SCOPES = ("person", "conversation", "organisation")


async def remember(
    db: Db,
    principal: int,
    text: str,
    *,
    origin: str,
    scope: str = "person",
    conversation: int | None = None,
    key: str | None = None,
) -> int:
    """Keep a note for the person, their conversation or everyone; the same key twice keeps it once. Answers its id."""
    made: int = await db.fetchval(
        "insert into memories (scope, principal_id, conversation_id, body, origin, key) values ($1, $2, $3, $4, $5, $6)"
        " on conflict (key) do update set body = memories.body returning id",
        scope, principal, conversation if scope == "conversation" else None, text, origin, key,
    )  # fmt: skip
    return made


async def forget(db: Db, principal: int, memory: int) -> bool:
    done: str = await db.execute(
        "update memories set forgotten_at = sayso_now(), version = version + 1"
        " where id = $2 and principal_id = $1 and forgotten_at is null",
        principal, memory,
    )  # fmt: skip
    return done.endswith("1")


async def recall(
    db: Db,
    principal: int,
    query: str,
    limit: int,
    conversation: int | None = None,
    *,
    scopes: Collection[str],
    until: datetime | None = None,
) -> list[dict[str, Any]]:
    """Notes that share words with the query, best first; the newest ones for an empty query.

    The person's own, those of the conversation where they ask, and those for everyone, as far as `scopes` go; `until` as
    they were then.
    """
    rows = await db.fetch(
        "with q as (select string_agg(quote_literal(w), ' | ')::tsquery as any_word from unnest(tsvector_to_array("
        "   to_tsvector('simple', $2))) w)"
        " select m.id, m.scope, m.body, m.origin, m.created_at, coalesce(ts_rank(m.words, q.any_word), 0) as score"
        " from memories m, q where (m.forgotten_at is null or m.forgotten_at > $5)"
        " and ($5::timestamptz is null or m.created_at <= $5) and m.scope = any ($6) and (m.scope = 'organisation'"
        "   or (m.scope = 'person' and m.principal_id = $1) or (m.scope = 'conversation' and m.conversation_id = $4))"
        " and (q.any_word is null or m.words @@ q.any_word) order by score desc, m.id desc limit $3",
        principal, query, limit, conversation, until, list(scopes),
    )  # fmt: skip
    return [dict(r) for r in rows]
