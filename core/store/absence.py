"""When a person was away, and what happened to what is theirs meanwhile. Read only; nothing is written to know it.

Theirs is what they asked for or follow, and what they may decide: no more than they may see.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from core import config
from core.db import Db

MESSAGES_LOOKED_AT: Final = 200
# As person_of, without a call for every principal there is: every message asks.
_SELF: Final = (
    "(select p.id from principals m"
    " join principals p on p.id = coalesce(m.same_as, m.id) or p.same_as = coalesce(m.same_as, m.id) where m.id = $1)"
)
_OWN: Final = (
    f"(t.requester_id in {_SELF}"
    f" or exists (select from followers f where f.task_id = t.id and f.principal_id in {_SELF}))"
)
_OF_APPROVAL: Final = (
    "select a.id::text as approval_id, a.task_id::text as task_id, coalesce(a.card ->> 'title', '') as title, a.status,"
    " r.key as requester, coalesce(nullif(d.name, ''), d.key) as by, a.decided_at as at, a.expires_at, count(*) over () as total"
    " from approvals a join principals r on r.id = a.requester_id left join principals d on d.id = a.decided_by where "
)
_CONCERNED: Final = f"(a.requester_id in {_SELF} or seat_of($1, a) is not null)"


@dataclass(frozen=True, slots=True)
class Absence:
    """A time in which the person wrote nothing. `is_just_over`: what they write now is the first after it."""

    began_at: datetime
    is_just_over: bool


async def last(
    db: Db, person: int, longer_than_s: float, inbound: int | None = None, *, among: int = MESSAGES_LOOKED_AT
) -> Absence | None:
    """The newest silence of the person that was longer, up to this message or now; None when there is none.

    `among` so many of their newest messages: 2 are enough to know whether they come back with this one.
    """
    row = await db.fetchrow(
        "select at, id from (select received_at as at, lead(received_at, 1, case when $3::bigint is null then now() end)"
        "   over (order by id) as next, lead(id) over (order by id) as id"
        f"   from (select i.id, i.received_at from {_SELF} self cross join lateral (select id, received_at from inbound"
        "     where principal_id = self.id and ($3::bigint is null or id <= $3) order by id desc limit $4) i"
        "     order by i.id desc limit $4) newest) gaps"
        " where next - at > make_interval(secs => $2) order by at desc limit 1",
        person, longer_than_s, inbound, among,
    )  # fmt: skip
    return Absence(row["at"], row["id"] is None or row["id"] == inbound) if row else None


async def missed(db: Db, person: int, since: datetime) -> dict[str, Any]:
    """What `core.cards.missed_text` says and the API answers; each list is bounded and has its `total`."""
    finished = await db.fetch(
        "select t.id::text as task_id, t.goal, t.status, t.finished_at as at, count(*) over () as total from tasks t"
        f" where {_OWN} and t.finished_at > $2 and t.kind <> 'aside' and t.parent_id is null"
        " order by t.finished_at desc limit $3",
        person, since, config.MISSED_LISTED,
    )  # fmt: skip
    waiting = await db.fetch(
        _OF_APPROVAL + "a.status = 'pending' and a.merged_into is null and seat_of($1, a) is not null"
        " order by a.expires_at limit $2",
        person, config.MISSED_LISTED,
    )  # fmt: skip
    decided = await db.fetch(
        _OF_APPROVAL + "a.decided_at > $2 and a.status in ('approved', 'consumed', 'denied')"
        f" and a.decided_by not in {_SELF} and {_CONCERNED} order by a.decided_at desc limit $3",
        person, since, config.MISSED_LISTED,
    )  # fmt: skip
    expired = await db.fetch(
        _OF_APPROVAL + "(a.status = 'expired' and a.expires_at > $2 or a.status = 'undeliverable' and a.created_at > $2)"
        f" and {_CONCERNED} order by a.expires_at desc limit $3",
        person, since, config.MISSED_LISTED,
    )  # fmt: skip
    unknown = await db.fetch(
        "select t.id::text as task_id, s.n as step, s.title, count(*) over () as total"
        " from steps s join tasks t on t.id = s.task_id"
        f" where s.status = 'unknown' and {_OWN} order by t.id limit $2",
        person, config.MISSED_LISTED,
    )  # fmt: skip
    usd = await db.fetchval(
        "select coalesce(sum(c.usd), 0)::float8 from llm_calls c join tasks t on t.id = c.task_id"
        f" where t.requester_id in {_SELF} and c.called_at > $2",
        person, since,
    )  # fmt: skip
    lists = {"finished": finished, "waiting": waiting, "decided": decided, "expired": expired, "unknown": unknown}
    return {
        "since": since.isoformat(),
        **{name: {"total": rows[0]["total"] if rows else 0, "items": [_plain(r) for r in rows]} for name, rows in lists.items()},
        "usd": round(usd, 4),
    }  # fmt: skip


def _plain(row: Any) -> dict[str, Any]:
    shown = {name: value for name, value in dict(row).items() if name != "total"}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in shown.items()}
