"""What there is to be swept up, found out in one statement: each look is the existence of something that has come due.

A look that finds something names a part of the sweep (worker/sweeper.py), which then reads what it is, or what others of that
worker take up (ready steps, voices). Each is a probe of a partial index, so an idle house costs one small query a second,
whatever its tables hold.
"""

from __future__ import annotations

from typing import Final

from core import config
from core.db import Db
from core.store.events import LAST, Cursor

# By the name of what the sweeper then does. `$1` is the lock that a living worker holds on its own number, `$2` and `$3` the
# last move that the log has told of.
LOOKS: Final = {
    "ready": "select from steps where status = 'ready' and ready_at <= sayso_now()",
    "voices": "select from attachments where state = 'here' and due_at <= now()",
    "lost": "select from steps s left join workers w on w.id = s.worker_id where s.status = 'running'"
    " and coalesce(w.lease_until, '-infinity') < now()",
    "silent": "select from workers w where exists (select from steps s where s.worker_id = w.id and s.status = 'running')"
    " and not exists (select from pg_locks l where l.locktype = 'advisory' and l.granted and l.classid = $1::bigint::oid"
    " and l.objid = (w.id % 2147483648)::bigint::oid"
    " and l.database = (select oid from pg_database where datname = current_database()))",
    "timers": "select from steps where status = 'waiting' and ready_at <= sayso_now()",
    "probes": "select from steps where status = 'unknown' and waits_for = 'probe' and ready_at <= sayso_now()",
    "expiries": "select from approvals where status = 'pending' and expires_at <= sayso_now()",
    "followers": "select from approvals f join approvals m on m.id = f.merged_into"
    " where f.merged_into is not null and f.status = 'pending' and m.status <> 'pending'",
    "ladders": "select from approvals where status = 'pending' and climb_at <= sayso_now() union all select from ladder_wakes",
    "arrivals": "select from arrived_v1()",
    "forsaken": "select from forsaken_v1()",
    "clocks": "select from clocks_v1()",
    "overdue": "select from overdue_v1()",
    "audit": "select from audit where seq is null",
    "stranded": "select from outbox where status = 'sending' and lease_until < now()",
    "ticks": "select from cards where tick_at <= now()",
    "events": f"select from signals where task_id is null and sent_at < sayso_now() - interval '{config.EVENTS_KEPT_S} seconds'",
    "untold": "select from moves where (xid, id) > ($2::text::xid8, $3) and xid < pg_snapshot_xmin(pg_current_snapshot())",
    "dead workers": "select from workers where lease_until < now() - interval '1 hour'",
}
_DUE: Final = (
    "select array_remove(array["
    + ", ".join(f"case when exists ({look}) then '{name}' end" for name, look in LOOKS.items())
    + "], null)"
)


async def due(db: Db, told: Cursor = LAST) -> frozenset[str]:
    """The names of the looks that found something. `told` is the last move that need not be looked for."""
    return frozenset(await db.fetchval(_DUE, config.WORKER_LOCK, str(told.xid), told.id))
