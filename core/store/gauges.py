"""Figures of the moment, for /metrics and alert rules: each a look at a partial index, whatever the tables hold."""

from __future__ import annotations

from typing import Final

from core.db import Db

# {gauge: {label's value: number}}; a gauge without label has the one key ''.
Reading = dict[str, dict[str, float]]

_LABELLED: Final = {
    "queue_depth": "select lane, count(*) from steps where status = 'ready' and ready_at <= sayso_now() group by 1",
    "tasks": "select status, count(*) from tasks where finished_at is null group by 1",
    "outbox_depth": "select status, count(*) from outbox where status in ('pending', 'sending', 'unknown') group by 1",
}
_SINGLE: Final = {
    "queue_oldest_ready_seconds": (
        "select extract(epoch from sayso_now() - min(ready_at)) from steps where status = 'ready' and ready_at <= sayso_now()"
    ),
    "steps_unknown": "select count(*) from steps where status in ('waiting', 'unknown') and status = 'unknown'",
    "approvals_pending": "select count(*) from approvals where status in ('pending', 'approved') and status = 'pending'",
    "approvals_oldest_seconds": (
        "select extract(epoch from now() - min(created_at)) from approvals"
        " where status in ('pending', 'approved') and status = 'pending'"
    ),
    "outbox_oldest_seconds": (
        "select extract(epoch from now() - min(created_at)) from outbox"
        " where status in ('pending', 'sending', 'unknown') and next_at <= now()"
    ),
    "outbox_dead": "select count(*) from outbox where status = 'dead' and created_at > now() - interval '1 day'",
    "workers_alive": "select count(*) from workers where lease_until > now()",
    "oldest_transaction_seconds": (
        "select extract(epoch from now() - min(xact_start)) from pg_stat_activity"
        " where datname = current_database() and (backend_xid is not null or backend_xmin is not null)"
        " and backend_type = 'client backend' and pid <> pg_backend_pid()"
    ),
}
_QUERY: Final = "select " + ", ".join(
    [
        *(
            f"coalesce((select jsonb_object_agg(x.k, x.c) from ({sql}) x (k, c)), '{{}}') as {name}"
            for name, sql in _LABELLED.items()
        ),
        *(f"jsonb_build_object('', coalesce(({sql}), 0)) as {name}" for name, sql in _SINGLE.items()),
    ]
)


async def read(db: Db) -> Reading:
    """All gauges in one round trip."""
    return dict(await db.fetchrow(_QUERY))
