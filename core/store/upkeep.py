"""What keeps the database small: jobs that are due, finished tasks into the archive, old rows away.

Each call is one bounded commit that can be broken off and gone on with: a walk over a table keeps its place in its job's
row. Open tasks, unknown effects and waiting cards are never touched, audit rows never deleted. `worker.upkeep` calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from core import config
from core.db import Db

ARCHIVE: Final = "archive"
MONTHS: Final = "archive months"
LEFTOVERS: Final = "leftovers"
QUARANTINE: Final = "quarantine"


@dataclass(frozen=True, slots=True)
class Keep:
    """For how long what is over stays where it is, in seconds of the database's clock."""

    tasks_s: float = config.ARCHIVE_AFTER_S
    archive_s: float = config.ARCHIVE_DROP_AFTER_S
    inbound_s: float = config.INBOUND_KEEP_S
    outbox_s: float = config.OUTBOX_KEEP_S
    card_edits_s: float = config.CARD_EDITS_KEEP_S
    llm_calls_s: float = config.LLM_CALLS_KEEP_S
    leftovers_s: float = config.LEFTOVERS_KEEP_S

    def __post_init__(self) -> None:
        if min(self.tasks_s, self.inbound_s) < config.REDELIVERY_S:
            raise ValueError(
                f"what came in is kept for at least {config.REDELIVERY_S:,} s: a vendor may deliver it again"
            )


@dataclass(frozen=True, slots=True)
class Walked:
    """One window of a walk: how far it came, whether it is through, how many rows went, and why others stayed."""

    last: int
    at_end: bool
    gone: int
    held: Mapping[str, int]


# ---------------------------------------------------------------- jobs


async def take_due(db: Db, every_s: Mapping[str, float]) -> dict[str, int]:
    """The jobs that are due, now ours: {job: cursor}. Whoever asks next is told of them `every_s` seconds later."""
    rows = await db.fetch(
        "update upkeep u set due_at = now() + make_interval(secs => w.every), ran_at = now()"
        " from unnest($1::text[], $2::float8[]) w (job, every) where u.job = w.job and u.due_at <= now()"
        " returning u.job, u.cursor",
        list(every_s), list(every_s.values()),
    )  # fmt: skip
    return {r["job"]: r["cursor"] for r in rows}


async def leave_off(db: Db, job: str, cursor: int, did: Mapping[str, Any], due_in_s: float) -> None:
    """Keep the place of a walk for whoever takes the job next."""
    await db.execute(
        "update upkeep set cursor = $2, did = $3, due_at = now() + make_interval(secs => $4) where job = $1",
        job, cursor, dict(did), due_in_s,
    )  # fmt: skip


# ---------------------------------------------------------------- walks

# Each: $1 the id after which to go on, $2 how many rows to look at, from $3 on the ages at which rows go.
_WALKS: Final = {
    # A card's first message places it in the web chat; its later edits say nothing once they are sent.
    "outbox": (
        "with seen as materialized (select id, created_at from outbox where id > $1 order by id limit $2),"
        " gone as (delete from outbox o using seen s where o.id = s.id and ("
        "   o.card_id is null and o.status in ('sent', 'dead') and o.created_at < sayso_now() - $3::interval"
        "   or o.card_id is not null and o.status = 'sent' and o.created_at < sayso_now() - $4::interval"
        "   and exists (select from outbox f where f.card_id = o.card_id and f.id < o.id)) returning 1)"
        " select max(id) as last, max(created_at) >= sayso_now() - least($3::interval, $4::interval) as young,"
        " count(*) as seen, (select count(*) from gone) as gone from seen"
    ),
    "inbound": (
        "with seen as materialized (select id, received_at from inbound where id > $1 order by id limit $2),"
        " gone as (delete from inbound i using seen s where i.id = s.id"
        "   and i.received_at < sayso_now() - $3::interval"
        "   and not exists (select from tasks t where t.id = i.task_id)"
        "   and not exists (select from tasks t where t.inbound_id = i.id) returning 1)"
        " select max(id) as last, max(received_at) >= sayso_now() - $3::interval as young,"
        " count(*) as seen, (select count(*) from gone) as gone from seen"
    ),
    "llm_calls": (
        "with seen as materialized (select id, called_at from llm_calls where id > $1 order by id limit $2),"
        " gone as (delete from llm_calls c using seen s where c.id = s.id"
        "   and c.called_at < sayso_now() - $3::interval"
        "   and not exists (select from tasks t where t.id = c.task_id and t.finished_at is null) returning 1)"
        " select max(id) as last, max(called_at) >= sayso_now() - $3::interval as young,"
        " count(*) as seen, (select count(*) from gone) as gone from seen"
    ),
}
WALKS: Final = (ARCHIVE, *_WALKS)


async def walk(db: Db, job: str, after: int, keep: Keep, window: int = config.UPKEEP_WINDOW) -> Walked:
    """Look at the next rows of a job's table and take away what is over and old."""
    if job == ARCHIVE:
        row = await db.fetchrow(
            "select * from archive_v1($1, $2, sayso_now() - $3::interval)", after, window, timedelta(seconds=keep.tasks_s)
        )  # fmt: skip
        return Walked(row["last"], row["at_end"], row["archived"], row["held"])
    ages = {
        "outbox": (keep.outbox_s, keep.card_edits_s),
        "inbound": (keep.inbound_s,),
        "llm_calls": (keep.llm_calls_s,),
    }[job]
    row = await db.fetchrow(_WALKS[job], after, window, *(timedelta(seconds=age) for age in ages))
    return Walked(row["last"] or after, row["seen"] < window or row["young"], row["gone"], {})


# ---------------------------------------------------------------- the rest

_LEFTOVERS: Final = {
    "pairings": "expires_at < sayso_now() - make_interval(secs => $1)",
    "tokens": "expires_at < sayso_now() - make_interval(secs => $1)",
    "late_evidence": (
        "filed_at < sayso_now() - make_interval(secs => $1) and not exists (select from tasks t where t.id = task_id)"
    ),
    "sms_received": "received_at < sayso_now() - make_interval(secs => $1)",
    "sms_receipts": "received_at < sayso_now() - make_interval(secs => $1)",
    "sms_wrong": "tried_at < sayso_now() - make_interval(secs => $1)",
    "sms_codes": "purpose = 'link' and expires_at < sayso_now() - make_interval(secs => $1)",
}


async def clear_leftovers(db: Db, keep: Keep, limit: int = config.UPKEEP_WINDOW) -> dict[str, int]:
    """Codes and tokens that no longer open anything, and evidence of no task: {table: rows deleted}."""
    gone = {}
    for table, is_over in _LEFTOVERS.items():
        done = await db.execute(
            f"delete from {table} where ctid = any (array(select ctid from {table} where {is_over} limit $2))",
            float(keep.leftovers_s), limit,
        )  # fmt: skip
        gone[table] = int(done.split()[-1])
    return gone


async def turn_months(db: Db, keep: Keep) -> list[str]:
    """Make this month's and the next month's part of the archive; drop those that are over. Answers what was dropped."""
    await db.execute(
        "select ensure_archive_month_v1(sayso_now()), ensure_archive_month_v1(sayso_now() + interval '1 month')"
    )
    dropped: list[str] = await db.fetchval(
        "select drop_archive_months_v1(sayso_now() - $1::interval)", timedelta(seconds=keep.archive_s)
    )
    return dropped


async def quarantine(db: Db, limit: int = config.UPKEEP_WINDOW) -> list[int]:
    """End the approvals that nobody can read, without a yes; answers their tasks."""
    return [r[0] for r in await db.fetch("select quarantine_approvals_v1($1)", limit)]
