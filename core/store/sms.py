"""Phones: who agreed to be texted, codes and wrong ones, deliveries and receipts.

Codes come in as keyed hashes and are never stored otherwise; the text of an incoming message is never stored at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core import config
from core.db import Connection, Db, transaction
from core.organisation import Organisation
from core.store.people import Principal

# ---------------------------------------------------------------- consent


def agreed(organisation: Organisation) -> list[tuple[str, str, datetime]]:
    """(phone, person, since) of everybody for whom sayso.yaml keeps a consent."""
    return [
        (person.identities["phone"], key, person.sms.opted_in_at)
        for key, person in organisation.people.items()
        if person.sms is not None and "phone" in person.identities
    ]


async def sync(db: Db, consents: Iterable[tuple[str, str, datetime]]) -> None:
    """Consents are what sayso.yaml says; those given by phone stay, and STOP stays until the phone says START."""
    consents = list(consents)
    async with transaction(db) as tx:
        await tx.execute(
            "update sms_numbers set opted_in_at = null where opted_in_how = 'sayso.yaml' and phone <> all ($1)",
            [phone for phone, _, _ in consents],
        )
        for phone, key, since in consents:
            await tx.execute(
                "insert into sms_numbers (phone, principal_id, opted_in_at, opted_in_how)"
                " select $1, p.id, $3, 'sayso.yaml' from principals p where p.key = $2"
                " on conflict (phone) do update set principal_id = excluded.principal_id,"
                " opted_in_at = coalesce(sms_numbers.opted_in_at, excluded.opted_in_at),"
                " opted_in_how = case when sms_numbers.opted_in_at is null then 'sayso.yaml' else sms_numbers.opted_in_how end",
                phone, key, since,
            )  # fmt: skip


async def opt_out(db: Db, phone: str) -> None:
    """For good, until the phone itself says START; whether we know the number or not."""
    await db.execute(
        "insert into sms_numbers (phone, opted_out_at) values ($1, sayso_now())"
        " on conflict (phone) do update set opted_out_at = coalesce(sms_numbers.opted_out_at, sayso_now())",
        phone,
    )


async def opt_out_of_message(db: Db, sid: str) -> None:
    """The phone to which this message went has said STOP to our sender."""
    phone = await db.fetchval(
        "select c.external_id from outbox o join conversations c on c.id = o.conversation_id"
        " where c.channel = 'sms' and o.provider_ref = $1 limit 1",
        sid,
    )
    if phone is not None:
        await opt_out(db, phone)


async def opt_in(db: Db, phone: str, principal: int | None, how: str) -> None:
    """The phone's own word. For a number that is linked to nobody it only takes a STOP back."""
    await db.execute(
        "insert into sms_numbers as n (phone, principal_id, opted_in_at, opted_in_how)"
        " values ($1, $2, case when $2::bigint is null then null else sayso_now() end, $3)"
        " on conflict (phone) do update set opted_out_at = null, principal_id = coalesce(excluded.principal_id, n.principal_id),"
        " opted_in_at = coalesce(excluded.opted_in_at, n.opted_in_at),"
        " opted_in_how = case when excluded.opted_in_at is null then n.opted_in_how else excluded.opted_in_how end",
        phone, principal, how,
    )  # fmt: skip


async def may_be_texted(db: Db, phone: str) -> bool:
    """Whether its holder agreed, and has not said STOP since."""
    may: bool = await db.fetchval(
        "select exists (select from sms_numbers where phone = $1 and opted_in_at is not null and opted_out_at is null)",
        phone,
    )
    return may


async def has_opted_out(db: Db, phone: str) -> bool:
    out: bool = await db.fetchval(
        "select exists (select from sms_numbers where phone = $1 and opted_out_at is not null)", phone
    )
    return out


async def numbers_of(db: Db, principal: int) -> list[dict[str, Any]]:
    """The linked phones of a person: phone, is_on."""
    rows = await db.fetch(
        "select i.external_id as phone, coalesce(n.opted_in_at is not null and n.opted_out_at is null"
        " and n.principal_id = i.principal_id, false) as is_on from identities i"
        " left join sms_numbers n on n.phone = i.external_id"
        " where i.channel = 'sms' and i.principal_id = $1 order by i.linked_at",
        principal,
    )
    return [dict(r) for r in rows]


# ---------------------------------------------------------------- what comes in


async def take(tx: Connection, sid: str, phone: str) -> dict[str, Any] | None:
    """None when this delivery is new; else what it came to. A second one at the same moment waits for the first."""
    made = await tx.fetchval(
        "insert into sms_received (message_sid, phone, outcome) values ($1, $2, '{}') on conflict do nothing returning 1",
        sid, phone,
    )  # fmt: skip
    if made is not None:
        await tx.execute("select pg_advisory_xact_lock(hashtextextended('sms:' || $1, 0))", phone)
        return None
    outcome: dict[str, Any] = await tx.fetchval("select outcome from sms_received where message_sid = $1", sid)
    return outcome


async def came_to(tx: Connection, sid: str, outcome: Mapping[str, Any]) -> None:
    await tx.execute("update sms_received set outcome = $2 where message_sid = $1", sid, dict(outcome))


async def was_told_lately(tx: Connection, phone: str, kind: str) -> bool:
    """Whether this phone had such an answer within the last hour."""
    told: bool = await tx.fetchval(
        "select exists (select from sms_received where phone = $1 and outcome ->> 'kind' = $2"
        " and received_at > sayso_now() - make_interval(secs => $3))",
        phone, kind, config.SMS_STRANGER_ANSWER_S,
    )  # fmt: skip
    return told


async def wrong_lately(tx: Connection, phone: str) -> int:
    count: int = await tx.fetchval(
        "select count(*) from sms_wrong where phone = $1 and tried_at > sayso_now() - make_interval(secs => $2)",
        phone, config.SMS_WRONG_WITHIN_S,
    )  # fmt: skip
    return count


async def count_wrong(tx: Connection, phone: str) -> None:
    await tx.execute("insert into sms_wrong (phone) values ($1)", phone)


@dataclass(frozen=True, slots=True)
class Code:
    id: int
    approval: str
    principal: int
    digest: str
    code_hash: str
    is_used: bool
    title: str


async def codes_of(db: Db, phone: str) -> list[Code]:
    """The codes that went to this phone, the decided ones of the last days too, so that they can be told about."""
    rows = await db.fetch(
        "select c.id, c.approval_id, c.principal_id, c.digest, c.code_hash, c.used_at is not null as is_used,"
        " coalesce(a.card ->> 'title', '') as title from sms_codes c join approvals a on a.id = c.approval_id"
        " where c.phone = $1 and c.purpose = 'approval' and c.code_hash is not null"
        " and c.minted_at > sayso_now() - interval '30 days' order by c.id desc limit 500",
        phone,
    )
    return [
        Code(r["id"], str(r["approval_id"]), r["principal_id"], r["digest"], r["code_hash"], r["is_used"], r["title"])
        for r in rows
    ]


async def use(tx: Connection, code: int) -> None:
    """It was answered with. Who answers from one phone comes one after the other: see `take`."""
    await tx.execute("update sms_codes set used_at = sayso_now() where id = $1 and used_at is null", code)


# ---------------------------------------------------------------- what goes out


async def mint(db: Db, approval: str, phone: str, message: int, code_hash: str | None) -> str | None:
    """None when the message may go, else why not; see sms_mint_v1."""
    why: str | None = await db.fetchval("select sms_mint_v1($1, $2, $3, $4)", UUID(approval), phone, message, code_hash)
    return why


async def sent_for_s(db: Db, message: int) -> float | None:
    """Seconds since the code of this message was made; None when it carried none."""
    age: float | None = await db.fetchval(
        "select extract(epoch from sayso_now() - max(minted_at))::float8 from sms_codes where message_id = $1", message
    )
    return age


async def receipt(db: Db, sid: str, status: str, error_code: str, message: int | None) -> bool:
    """Whether it was new."""
    new: bool = await db.fetchval("select sms_receipt_v1($1, $2, $3, $4)", sid, status, error_code, message)
    return new


# ---------------------------------------------------------------- linking a phone


async def holder(tx: Db, phone: str) -> int | None:
    found: int | None = await tx.fetchval(
        "select principal_id from identities where channel = 'sms' and external_id = $1", phone
    )
    return found


async def links_lately(tx: Connection, principal: int, phone: str) -> int:
    """Codes for linking that this person asked for, or that went to this phone."""
    count: int = await tx.fetchval(
        "select count(*) from sms_codes where purpose = 'link' and (principal_id = $1 or phone = $2)"
        " and minted_at > sayso_now() - make_interval(secs => $3)",
        principal, phone, config.SMS_LINKS_WITHIN_S,
    )  # fmt: skip
    return count


async def ask_link(tx: Connection, principal: int, phone: str, conversation: int, text: str) -> None:
    """A message to the phone whose code is made when it is sent. An older open link of the person ends."""
    await tx.execute(
        "update sms_codes set used_at = sayso_now() where purpose = 'link' and principal_id = $1 and used_at is null",
        principal,
    )
    await tx.execute(
        "with m as (insert into outbox (conversation_id, kind, body) values ($3, 'text', $4) returning id)"
        " insert into sms_codes (purpose, principal_id, phone, message_id, expires_at)"
        " select 'link', $1, $2, m.id, sayso_now() + make_interval(secs => $5) from m",
        principal, phone, conversation, {"text": text}, config.SMS_LINK_EXPIRES_S,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Link:
    id: int
    phone: str
    code_hash: str | None
    wrong: int


async def link_of_message(db: Db, message: int) -> Link | None:
    """The open link whose code this message is to carry."""
    row = await db.fetchrow(
        "select id, phone, code_hash, wrong from sms_codes where purpose = 'link' and message_id = $1"
        " and used_at is null and expires_at > sayso_now()",
        message,
    )
    return Link(**row) if row else None


async def mint_link(db: Db, link: int, code_hash: str) -> None:
    await db.execute("update sms_codes set code_hash = $2, minted_at = sayso_now() where id = $1", link, code_hash)


async def open_link(tx: Connection, principal: int) -> Link | None:
    """The person's link that waits for its code; locked, so that tries are counted one after the other."""
    row = await tx.fetchrow(
        "select id, phone, code_hash, wrong from sms_codes where purpose = 'link' and principal_id = $1"
        " and used_at is null and expires_at > sayso_now() order by id desc limit 1 for update",
        principal,
    )
    return Link(**row) if row else None


async def count_wrong_link(tx: Connection, link: int) -> None:
    """The last try too many ends it."""
    await tx.execute(
        "update sms_codes set wrong = wrong + 1, used_at = case when wrong + 1 >= $2 then sayso_now() end where id = $1",
        link, config.SMS_WRONG_MOST,
    )  # fmt: skip


async def link(tx: Connection, link: int, phone: str, person: Principal) -> bool:
    """The phone is theirs now, and agreed to; False when it is somebody else's."""
    await tx.execute("update sms_codes set used_at = sayso_now() where id = $1", link)
    await tx.execute(
        "insert into identities (channel, external_id, principal_id) values ('sms', $1, $2) on conflict do nothing",
        phone, person.id,
    )  # fmt: skip
    if await holder(tx, phone) != person.id:
        return False
    await opt_in(tx, phone, person.id, "code")
    await tx.execute(
        "insert into audit (kind, actor, data) values ('linked', $1, $2)",
        person.actor, {"person": person.key, "channel": "sms", "external_id": phone},
    )  # fmt: skip
    return True
