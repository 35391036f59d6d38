"""Figures about the whole: for doctor, readiness and metrics."""

from __future__ import annotations

from dataclasses import dataclass

from core.db import Db


@dataclass(frozen=True, slots=True)
class Seen:
    """`oldest_ready_s` is how long the oldest ready step of a running task waits, in seconds."""

    server: str
    workers: int
    oldest_ready_s: float
    open_messages: int
    dead_messages: int
    unknown_steps: int


async def seen(db: Db) -> Seen:
    row = await db.fetchrow(
        "select split_part(version(), ' on ', 1) as server,"
        " (select count(*) from workers where lease_until > now()) as workers,"
        " (select coalesce(extract(epoch from sayso_now() - min(ready_at)), 0)::float from steps"
        "   where status = 'ready' and ready_at <= sayso_now()) as oldest_ready_s,"
        " (select count(*) from outbox where status in ('pending', 'sending', 'unknown')) as open_messages,"
        " (select count(*) from outbox where status = 'dead') as dead_messages,"
        " (select count(*) from steps where status = 'unknown') as unknown_steps"
    )
    return Seen(**row)


async def workers_alive(db: Db) -> int:
    count: int = await db.fetchval("select count(*) from workers where lease_until > now()")
    return count
