"""Ladders in the database: what the next move depends on, and each move as one guarded commit.

A move that came too late (decided meanwhile, climbed already) changes nothing and answers False.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, get_args
from uuid import UUID

from core.db import Db
from core.ladder import Ask, Asked, Consent, Decider, Pending, PlannedRung
from core.models import Risk

FOREVER_YEAR = 9999


async def due(db: Db, limit: int) -> list[UUID]:
    """Pending approvals at which it is time to look: by their timer, or because a delivery has ended."""
    await db.execute(
        "with woken as (delete from ladder_wakes returning approval_id)"
        " update approvals set climb_at = '-infinity' where status = 'pending' and id in (select approval_id from woken)"
    )
    rows = await db.fetch(
        "select id from approvals where status = 'pending' and climb_at <= sayso_now() order by climb_at limit $1",
        limit,
    )
    return [r["id"] for r in rows]


async def look(db: Db, approval: UUID) -> Pending | None:
    """None when it is not pending any more, or asked about on the card of another."""
    a = await db.fetchrow(
        "select a.*, sayso_now() as now, exists (select from approval_opens o where o.approval_id = a.id)"
        " or exists (select from decisions d where d.approval_id = a.id) as is_opened"
        " from approvals a where a.id = $1 and a.status = 'pending' and a.merged_into is null",
        approval,
    )
    if a is None:
        return None
    risk = a["card"].get("risk")
    return Pending(
        kind=a["kind"],
        ladder=a["ladder"],
        risk=risk if risk in get_args(Risk) else None,
        created_at=a["created_at"],
        expires_at=a["expires_at"] if a["expires_at"].year < FOREVER_YEAR else None,
        held_until=a["held_until"],
        now=a["now"],
        is_opened=a["is_opened"],
        names_usergroup=bool(a["approvers"].get("slack_usergroups")),
        rungs=await _rungs(db, approval),
        deciders=await _deciders(db, approval),
        asked=await _asked(db, approval),
    )


async def _rungs(db: Db, approval: UUID) -> tuple[PlannedRung, ...]:
    rows = await db.fetch(
        "select n, kind, due_at, max_risk, wakes, climbed_at from rungs where approval_id = $1 order by n", approval
    )
    return tuple(PlannedRung(**r) for r in rows)


async def _deciders(db: Db, approval: UUID) -> tuple[Decider, ...]:
    rows = await db.fetch(
        "select p.id, p.key, exists (select from decisions d where d.approval_id = a.id and person_of(d.principal_id) = p.id"
        "   and d.verdict = any (votes())) as has_answered,"
        " exists (select from tokens k where k.principal_id = p.id and k.kind in ('api', 'session')"
        "   and (k.expires_at is null or k.expires_at > sayso_now()))"
        " or exists (select from identities i where i.principal_id = p.id and i.channel = 'web') as can_sign_in,"
        " coalesce((select jsonb_object_agg(i.channel, i.external_id order by i.linked_at) from identities i"
        "   where i.principal_id = p.id), '{}') as addresses,"
        " coalesce((select jsonb_agg(jsonb_build_array(i.external_id, case when n.opted_out_at is not null then 'out'"
        "     when n.opted_in_at is not null and n.principal_id = p.id then 'in' else 'none' end) order by i.linked_at)"
        "   from identities i left join sms_numbers n on n.phone = i.external_id"
        "   where i.principal_id = p.id and i.channel = 'sms'), '[]') as phones"
        " from approvals a join principals p on p.same_as is null and p.is_active and seat_of(p.id, a) is not null"
        " where a.id = $1 order by p.id",
        approval,
    )
    return tuple(
        Decider(r["id"], r["key"], r["has_answered"], r["can_sign_in"], r["addresses"], _phones(r["phones"]))
        for r in rows
    )


def _phones(pairs: Sequence[Sequence[str]]) -> tuple[tuple[str, Consent], ...]:
    return tuple((phone, _CONSENTS[consent]) for phone, consent in pairs)


_CONSENTS: dict[str, Consent] = {"in": "in", "out": "out", "none": "none"}


async def _asked(db: Db, approval: UUID) -> tuple[Asked, ...]:
    rows = await db.fetch(
        "select k.id, k.n, k.principal_id as person, k.channel, k.external_id as address, k.due_at,"
        " case when k.skipped is not null then 'skipped' when k.asked_at is null then 'put_off'"
        "   else coalesce(w.state, 'failed') end as state"
        " from asks k left join asked_where($1) w on w.card_id = k.card_id where k.approval_id = $1 order by k.id",
        approval,
    )
    return tuple(Asked(**r) for r in rows)


# ---------------------------------------------------------------- moves


async def plan(db: Db, approval: UUID, rungs: Sequence[PlannedRung]) -> None:
    """Written once: a second plan changes nothing."""
    await db.executemany(
        "insert into rungs (approval_id, n, kind, max_risk, wakes, due_at) values ($1, $2, $3, $4, $5, $6)"
        " on conflict do nothing",
        [(approval, r.n, r.kind, r.max_risk, r.wakes, r.due_at) for r in rungs],
    )


async def climb(db: Db, approval: UUID, n: int, why: str, asks: Sequence[Ask]) -> bool:
    """The rung with everybody it asks, in one commit."""
    listed = [
        {"person": a.person, "channel": a.channel, "address": a.address, "due_at": a.due_at.isoformat(), "skipped": a.skipped}
        for a in asks
    ]  # fmt: skip
    done: bool = await db.fetchval("select climb_v1($1, $2, $3, $4)", approval, n, why, listed)
    return done


async def ask_now(db: Db, ask: int) -> bool:
    done: bool = await db.fetchval("select ask_now_v1($1)", ask)
    return done


async def give_up(db: Db, approval: UUID, why: str) -> bool:
    done: bool = await db.fetchval("select undeliverable_v1($1, $2)", approval, why)
    return done


async def rest(db: Db, approval: UUID, until: datetime | None) -> None:
    """Nothing to do before then; None: until a delivery ends."""
    await db.execute(
        "update approvals set climb_at = coalesce($2::timestamptz, 'infinity') where id = $1 and status = 'pending'",
        approval,
        until,
    )


# ---------------------------------------------------------------- what people see of it


async def opened(db: Db, viewer: int, approvals: Collection[str]) -> None:
    """The viewer has these before their eyes; counts where they may decide."""
    if approvals:
        await db.execute(
            "insert into approval_opens (approval_id, principal_id) select a.id, $1 from approvals a"
            " where a.id = any ($2) and a.status = 'pending' and seat_of($1, a) is not null"
            " on conflict do nothing",
            viewer, [UUID(a) for a in approvals],
        )  # fmt: skip


async def timelines(db: Db, approvals: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """What was done to have each answered, in order: {at, what, channel, who, note}."""
    rows = await db.fetch(
        "with a as (select * from approvals where id = any ($1)), lines as ("
        " select a.id, a.created_at as at, 'requested' as what, '' as channel, null::bigint as who, '' as note from a"
        " union all select r.approval_id, r.climbed_at, 'rung', '', null, r.kind || ': ' || r.why from a"
        "   join rungs r on r.approval_id = a.id where r.climbed_at is not null"
        " union all select k.approval_id, coalesce(k.asked_at, r.climbed_at),"
        "   case when k.skipped is not null then 'skipped' when k.asked_at is null then 'put_off' else 'asked' end,"
        "   k.channel, k.principal_id, coalesce(k.skipped, case when k.asked_at is null"
        "   then 'quiet hours until ' || to_char(k.due_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC' end, '')"
        "   from a join asks k on k.approval_id = a.id join rungs r on r.approval_id = k.approval_id and r.n = k.n"
        " union all select f.approval_id, f.failed_at, 'not_delivered', f.channel, k.principal_id, f.why from a"
        "   join failed_deliveries f on f.approval_id = a.id left join asks k on k.card_id = f.card_id and k.asked_at is not null"
        " union all select k.approval_id, s.received_at, s.status, 'sms', i.principal_id, s.error_code from a"
        "   join cards k on k.approval_id = a.id join sms_receipts s on s.message_sid = k.provider_ref"
        "   join conversations c on c.id = k.conversation_id"
        "   left join identities i on i.channel = 'sms' and i.external_id = c.external_id"
        " union all select o.approval_id, o.opened_at, 'opened', 'web', o.principal_id, '' from a"
        "   join approval_opens o on o.approval_id = a.id"
        " union all select d.approval_id, d.decided_at, d.verdict, d.channel, d.principal_id, d.reason from a"
        "   join decisions d on d.approval_id = a.id"
        " union all select a.id, e.at, e.to_state, '', null, e.why from a"
        "   join events e on e.machine = 'approval' and e.task_id = a.task_id and e.subject = a.id::text"
        "   where e.to_state <> 'pending')"
        " select l.id, l.at, l.what, l.channel, coalesce(p.name, '') as who, l.note from lines l"
        " left join principals p on p.id = l.who order by l.id, l.at",
        [UUID(a) for a in approvals],
    )  # fmt: skip
    found: dict[str, list[dict[str, Any]]] = {a: [] for a in approvals}
    for r in rows:
        line = {
            "at": r["at"].isoformat(),
            "what": r["what"],
            "channel": r["channel"],
            "who": r["who"],
            "note": r["note"],
        }
        found[str(r["id"])].append(line)
    return found
