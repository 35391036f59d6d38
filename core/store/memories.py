"""Long-term memory: notes by person, found by their words."""

from __future__ import annotations

from typing import Any

from core.db import Db


async def remember(db: Db, principal: int, text: str, *, origin: str, key: str | None = None) -> int:
    """Keep a note; the same key twice keeps it once. Answers its id."""
    made: int = await db.fetchval(
        "insert into memories (scope, principal_id, body, origin, key) values ('person', $1, $2, $3, $4)"
        " on conflict (key) do update set body = memories.body returning id",
        principal, text, origin, key,
    )  # fmt: skip
    return made


async def forget(db: Db, principal: int, memory: int) -> bool:
    done: str = await db.execute(
        "update memories set forgotten_at = sayso_now(), version = version + 1"
        " where id = $2 and principal_id = $1 and forgotten_at is null",
        principal, memory,
    )  # fmt: skip
    return done.endswith("1")


async def recall(db: Db, principal: int, query: str, limit: int) -> list[dict[str, Any]]:
    """Notes of the person that share words with the query, best first; the newest ones for an empty query."""
    rows = await db.fetch(
        "with q as (select string_agg(quote_literal(w), ' | ')::tsquery as any_word from unnest(tsvector_to_array("
        "   to_tsvector('simple', $2))) w)"
        " select m.id, m.body, m.origin, m.created_at, coalesce(ts_rank(m.words, q.any_word), 0) as score"
        " from memories m, q where m.principal_id = $1 and m.forgotten_at is null"
        " and (q.any_word is null or m.words @@ q.any_word) order by score desc, m.id desc limit $3",
        principal, query, limit,
    )  # fmt: skip
    return [dict(r) for r in rows]
