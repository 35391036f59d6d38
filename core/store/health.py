"""How the whole is doing, for doctor and readiness: read-only, each part a bounded look.

What of it is well is judged in `bot.cli.findings`; nothing here repairs anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from core.db import Db
from core.models import Grant, SkillManifest

LATE_S: Final = 60.0
LISTED: Final = 20

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """One look. Ages are in seconds of the server's clock; rows are named after what they list."""

    server: str
    version_num: int
    pgvector: str | None
    now: datetime
    clock_is_moved: bool
    is_autovacuum_on: bool
    xid_age: int
    oldest_transaction: Row | None
    bloat: Sequence[Row]
    workers: Sequence[Row]
    ready: Sequence[Row]
    orphaned_steps: int
    overdue_steps: int
    stuck_messages: int
    due_messages_s: float
    dead_messages: Sequence[Row]
    unknown: Sequence[Row]
    unmoved_tasks: Sequence[int]
    quarantined: Sequence[Row]
    late_jobs: Sequence[Row]
    unreadable: Sequence[str]


_ONE: Final = (
    "select split_part(version(), ' on ', 1) as server, current_setting('server_version_num')::integer as version_num,"
    " (select extversion from pg_extension where extname = 'vector') as pgvector, clock_timestamp() as now,"
    " exists (select from clock) as clock_is_moved, current_setting('autovacuum') = 'on' as is_autovacuum_on,"
    " (select age(datfrozenxid) from pg_database where datname = current_database()) as xid_age,"
    " (select count(*) from steps s left join workers w on w.id = s.worker_id where s.status = 'running'"
    "   and coalesce(w.lease_until, '-infinity') < now() - make_interval(secs => $1)"
    "   and coalesce(s.deadline_at, '-infinity') < now() - make_interval(secs => $1)) as orphaned_steps,"
    " (select count(*) from steps where status in ('waiting', 'unknown')"
    "   and ready_at < sayso_now() - make_interval(secs => $1)) as overdue_steps,"
    " (select count(*) from outbox where status = 'sending'"
    "   and lease_until < now() - make_interval(secs => $1)) as stuck_messages,"
    " (select coalesce(extract(epoch from now() - min(created_at)), 0)::float8 from outbox"
    "   where status = 'pending' and next_at <= now()) as due_messages_s"
)
_MANY: Final = {
    # A table is listed when more than a fifth of it, and not merely a few rows, is dead.
    "bloat": (
        "select relname as name, n_live_tup as live, n_dead_tup as dead, last_autovacuum from pg_stat_user_tables"
        " where n_dead_tup > 10000 and n_dead_tup > n_live_tup / 5 order by n_dead_tup desc"
    ),
    "workers": (
        "select id, host, pid, release, skills_hash, extract(epoch from lease_until - now())::float8 as lease_left_s from workers"
        " where lease_until > now() order by id"
    ),
    "ready": (
        "select lane, count(*) as count, extract(epoch from sayso_now() - min(ready_at))::float8 as oldest_s from steps"
        " where status = 'ready' and ready_at <= sayso_now() group by lane order by lane"
    ),
    "dead_messages": (
        "select o.id, c.channel, o.error from outbox o join conversations c on c.id = o.conversation_id"
        " where o.status = 'dead' and o.created_at > now() - interval '7 days' order by o.id desc"
    ),
    "unknown": (
        "select task_id, n, waits_for from steps where status in ('waiting', 'unknown') and status = 'unknown' order by 1, 2"
    ),
    "quarantined": (
        "select task_id, n, error from steps where status = 'failed' and error like 'Quarantined:%'"
        " and finished_at > now() - interval '7 days' order by finished_at desc"
    ),
    "late_jobs": "select job, due_at from upkeep where job <> 'alerts' and due_at < now() - interval '15 minutes' order by job",
}
_OLDEST_TRANSACTION: Final = (
    "select pid, application_name as name, state, extract(epoch from now() - xact_start)::float8 as age_s from pg_stat_activity"
    " where datname = current_database() and (backend_xid is not null or backend_xmin is not null)"
    " and backend_type = 'client backend' and pid <> pg_backend_pid() order by xact_start limit 1"
)
# Open, not paused by a person, and nothing would ever move it: no open step, or a step that waits for an answer that nobody
# is asked for any more.
_UNMOVED: Final = (
    "select t.id from tasks t where t.finished_at is null and t.status <> 'paused'"
    " and (not exists (select from steps s where s.task_id = t.id and s.outcome is null)"
    "   or exists (select from steps s left join approvals a on a.id = s.approval_id"
    "     where s.task_id = t.id and a.status is distinct from 'pending' and (s.status = 'awaiting_approval'"
    "       or s.status = 'unknown' and s.waits_for is distinct from 'probe')))"
    " order by t.id limit $1"
)


async def look(db: Db) -> Seen:
    """Everything at once, some ten small statements."""
    one = await db.fetchrow(_ONE, LATE_S)
    many = {name: await db.fetch(f"{sql} limit {LISTED}") for name, sql in _MANY.items()}
    return Seen(
        **one,
        **many,
        oldest_transaction=await db.fetchrow(_OLDEST_TRANSACTION),
        unmoved_tasks=[r["id"] for r in await db.fetch(_UNMOVED, LISTED)],
        unreadable=[*await _unreadable_manifests(db), *await _unreadable_grants(db)],
    )


async def _unreadable_manifests(db: Db) -> list[str]:
    rows = await db.fetch("select name, manifest from skills order by name")
    return [f"the manifest of skill {r['name']}" for r in rows if not _fits(SkillManifest, r["manifest"])]


async def _unreadable_grants(db: Db) -> list[str]:
    rows = await db.fetch(
        "select g.id::text, g.skill, g.args, '' as principal_key, g.task_id::text, g.uses_left, g.expires_at from grants g"
        " where g.revoked_at is null and g.expires_at > sayso_now() order by g.created_at limit 1000"
    )
    return [f"standing permission {r['id']}" for r in rows if not _fits(Grant, dict(r))]


def _fits(model: type[SkillManifest] | type[Grant], row: Any) -> bool:
    try:
        model.model_validate(row)
    except ValidationError:
        return False
    return True


async def workers_alive(db: Db) -> int:
    count: int = await db.fetchval("select count(*) from workers where lease_until > now()")
    return count
