"""Figures of the moment for /metrics: each a count over a partial index, whatever the tables hold."""

from __future__ import annotations

from dataclasses import dataclass

from core.db import Db


@dataclass(frozen=True, slots=True)
class Gauges:
    """`oldest_ready_s`: for how long the longest-waiting ready step could have run. Finished tasks are not counted."""

    outbox_open: dict[str, int]
    oldest_ready_s: float
    approvals_pending: int
    tasks_open: dict[str, int]
    steps_unknown: int
    workers_alive: int


async def read(db: Db) -> Gauges:
    """One round trip."""
    row = await db.fetchrow(
        "select"
        " (select coalesce(jsonb_object_agg(o.status, o.c), '{}') from (select status, count(*) as c from outbox"
        "   where status in ('pending', 'sending', 'unknown') group by status) o) as outbox_open,"
        " (select coalesce(extract(epoch from sayso_now() - min(ready_at)), 0)::float8 from steps"
        "   where status = 'ready' and ready_at <= sayso_now()) as oldest_ready_s,"
        " (select count(*) from approvals where status = 'pending') as approvals_pending,"
        " (select coalesce(jsonb_object_agg(t.status, t.c), '{}') from (select status, count(*) as c from tasks"
        "   where status not in ('succeeded', 'failed', 'abandoned', 'cancelled') group by status) t) as tasks_open,"
        " (select count(*) from steps where status in ('waiting', 'unknown') and status = 'unknown') as steps_unknown,"
        " (select count(*) from workers where lease_until > now()) as workers_alive"
    )
    return Gauges(**dict(row))
