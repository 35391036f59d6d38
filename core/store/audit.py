"""The audit table: chained in the order in which its rows were committed, never changed, never shortened.

Every statement that decides or acts inserts its own row in its own commit; this only numbers and hashes what has
come, and reads it again. A trigger refuses every other change, whoever asks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from core import config
from core.audit import FIRST, Anchor, Entry, entry_hash
from core.db import Db, transaction

_COLUMNS = "seq, at, kind, actor, task_id, approval_id, data, prev_hash, hash"


def _entry(row: Mapping[str, Any], seq: int | None = None) -> Entry:
    return Entry(
        seq=row["seq"] if seq is None else seq,
        at=row["at"],
        kind=row["kind"],
        actor=row["actor"],
        task=str(row["task_id"]) if row["task_id"] is not None else None,
        approval=str(row["approval_id"]) if row["approval_id"] is not None else None,
        data=row["data"],
        prev_hash=row["prev_hash"],
        hash=row["hash"],
    )


async def chain(db: Db, limit: int = config.AUDIT_BATCH) -> int:
    """Number and hash the rows that no running transaction can still precede; answers how many.

    One writer at a time, by a lock of the transaction: another that comes meanwhile does nothing.
    """
    async with transaction(db) as tx:
        if not await tx.fetchval("select pg_try_advisory_xact_lock($1)", config.AUDIT_LOCK):
            return 0
        rows = await tx.fetch(
            f"select id, {_COLUMNS} from audit where seq is null and xid < pg_snapshot_xmin(pg_current_snapshot())"
            " order by xid, id limit $1",
            limit,
        )
        if not rows:
            return 0
        last = await head(tx)
        seq, before = (last.seq, last.hash) if last else (0, FIRST)
        written = []
        for row in rows:
            seq += 1
            entry = replace(_entry(row, seq), prev_hash=before)
            written.append((row["id"], seq, before, entry_hash(entry)))
            before = written[-1][3]
        await tx.executemany("update audit set seq = $2, prev_hash = $3, hash = $4 where id = $1", written)
        return len(written)


async def head(db: Db) -> Anchor | None:
    """The last chained row."""
    row = await db.fetchrow("select seq, hash, at from audit where seq is not null order by seq desc limit 1")
    return Anchor(row["seq"], row["hash"], row["at"].isoformat()) if row else None


async def waits(db: Db) -> bool:
    """Whether a row waits to be chained."""
    found: bool = await db.fetchval("select exists (select from audit where seq is null)")
    return found


async def unchained(db: Db) -> int:
    """How many rows wait to be chained."""
    found: int = await db.fetchval("select count(*) from audit where seq is null")
    return found


async def rows(db: Db, *, since: int = 1, task: int | None = None) -> AsyncIterator[Entry]:
    """The chained rows from `since` on, a page at a time; of one task when it is given."""
    while True:
        page = await db.fetch(
            f"select {_COLUMNS} from audit where seq >= $1 and ($2::bigint is null or task_id = $2) order by seq limit $3",
            since, task, config.AUDIT_BATCH,
        )  # fmt: skip
        for row in page:
            yield _entry(row)
        if len(page) < config.AUDIT_BATCH:
            return
        since = page[-1]["seq"] + 1


async def grant_use(db: Db, role: str) -> None:
    """Let a database role run Sayso without being able to change history. Raises when there is no such role."""
    await db.execute("select grant_use($1)", role)
