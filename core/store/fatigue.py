"""How approvals are answered: how often, how fast, and how many a person is asked. Read only; nothing follows by itself."""

from __future__ import annotations

from typing import Any

from core.db import Db
from core.fatigue import LEAST

QUICK_S = 2


async def figures(db: Db, days: int) -> dict[str, Any]:
    """What `core.fatigue.report` tells of: `skills`, `people`, and what was `repeated` and never refused."""
    return {
        "skills": await by_skill(db, days),
        "people": await by_person(db, days),
        "repeated": await always_approved(db, days, LEAST),
    }


async def by_skill(db: Db, days: int) -> list[dict[str, Any]]:
    """Per skill, the asks of the last days: how many, how they ended, and the seconds from the card to the decision."""
    rows = await db.fetch(
        "select coalesce(a.items -> 0 -> 'action' ->> 'skill', '') as skill, count(*) as asks,"
        " count(*) filter (where a.status in ('approved', 'consumed')) as approved,"
        " count(*) filter (where a.status = 'denied') as denied,"
        " count(*) filter (where a.status in ('expired', 'undeliverable')) as unanswered,"
        " count(*) filter (where a.decided_at < a.created_at + make_interval(secs => $2)) as quick,"
        " percentile_cont(0.5) within group (order by extract(epoch from a.decided_at - a.created_at)) as median_s"
        " from approvals a where a.created_at > sayso_now() - make_interval(days => $1)"
        " and a.kind in ('action', 'batch', 'plan') and a.status <> 'superseded' and jsonb_typeof(a.items) = 'array'"
        " group by 1 order by 2 desc, 1",
        days, QUICK_S,
    )  # fmt: skip
    return [_plain(row) for row in rows]


async def by_person(db: Db, days: int) -> list[dict[str, Any]]:
    """Per person who was asked or decided: asks that they could have decided, the most in any one hour and the mean of hours
    with any; decisions, yeses, quick ones, and the median of seconds."""
    rows = await db.fetch(
        "with asked as (select a.approvers, a.requester_id, date_trunc('hour', a.created_at) as hour from approvals a"
        "   where a.created_at > sayso_now() - make_interval(days => $1) and a.kind in ('action', 'batch', 'plan')"
        "   and a.status <> 'superseded' and a.merged_into is null),"
        " groups as (select distinct approvers, requester_id from asked),"
        " deciders as materialized (select g.*, p.key from groups g join principals p on p.is_active and not p.is_service"
        "   and p.same_as is null and is_eligible(p.id, g.approvers, g.requester_id)),"
        " hours as (select d.key, a.hour, count(*) as n from asked a join deciders d using (approvers, requester_id)"
        "   group by 1, 2),"
        " load as (select key, sum(n) as asks, max(n) as most_in_an_hour, round(avg(n), 1) as asks_per_hour"
        "   from hours group by 1),"
        " voted as (select p.key, d.verdict, extract(epoch from d.decided_at - a.created_at) as took_s"
        "   from decisions d join approvals a on a.id = d.approval_id join principals p on p.id = d.principal_id"
        "   where d.verdict = any (votes()) and d.decided_at > sayso_now() - make_interval(days => $1)),"
        " answers as (select key, count(*) as decisions, count(*) filter (where verdict = any (yes_verdicts())) as approved,"
        "   count(*) filter (where took_s < $2) as quick, percentile_cont(0.5) within group (order by took_s) as median_s"
        "   from voted group by 1)"
        " select key as person, coalesce(asks, 0)::bigint as asks, coalesce(most_in_an_hour, 0) as most_in_an_hour,"
        " coalesce(asks_per_hour, 0)::float8 as asks_per_hour, coalesce(decisions, 0) as decisions,"
        " coalesce(approved, 0) as approved, coalesce(quick, 0) as quick, median_s"
        " from load full join answers using (key) order by decisions desc, asks desc, person",
        days, QUICK_S,
    )  # fmt: skip
    return [_plain(row) for row in rows]


async def always_approved(db: Db, days: int, least: int) -> list[dict[str, Any]]:
    """Calls with the same requester and the same exact arguments that were asked about often and never refused."""
    rows = await db.fetch(
        "select a.items -> 0 -> 'action' ->> 'skill' as skill, a.card ->> 'similar' as says, p.key as requester,"
        " count(*) as asks from approvals a join principals p on p.id = a.requester_id"
        " where a.created_at > sayso_now() - make_interval(days => $1) and a.kind = 'action'"
        " and a.status in ('approved', 'consumed', 'denied') and coalesce(a.card ->> 'similar', '') <> ''"
        " and a.card ->> 'risk' is distinct from 'critical' and jsonb_array_length(coalesce(a.card -> 'provenance', '[]')) = 0"
        " and (a.approvers ->> 'needed')::integer = 1 and a.approvers -> 'four_eyes' is distinct from 'true'"
        " group by 1, 2, 3 having count(*) >= $2 and count(*) filter (where a.status = 'denied') = 0 order by 4 desc limit 10",
        days, least,
    )  # fmt: skip
    return [dict(row) for row in rows]


def _plain(row: Any) -> dict[str, Any]:
    return dict(row) | {"median_s": round(float(row["median_s"]), 1) if row["median_s"] is not None else None}
