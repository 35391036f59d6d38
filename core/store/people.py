"""Principals, the identities linked to them, strangers' pairing codes, and tokens.

Secrets (codes, tokens) are stored as SHA-256 only; the plain text is returned once, by the function that makes it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from core import config
from core.db import Db, transaction
from core.models import Identity, Requester
from core.organisation import Organisation

CODE_LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Principal:
    id: int
    key: str
    name: str
    roles: tuple[str, ...]
    is_service: bool

    @property
    def requester(self) -> Requester:
        return Requester(id=str(self.id), key=self.key, name=self.name, roles=self.roles, is_service=self.is_service)

    @property
    def actor(self) -> str:
        return f"person:{self.key}"


def hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _principal(row: Mapping[str, Any]) -> Principal:
    return Principal(row["id"], row["key"], row["name"], tuple(row["roles"]), row["is_service"])


_COLUMNS = "p.id, p.key, p.name, p.roles, p.is_service"


async def behind(db: Db, identity: Identity) -> Principal | None:
    """The active person behind an identity; None for a stranger."""
    row = await db.fetchrow(
        f"select {_COLUMNS} from identities i join principals p on p.id = i.principal_id"
        " where i.channel = $1 and i.external_id = $2 and p.is_active",
        identity.channel, identity.external_id,
    )  # fmt: skip
    return _principal(row) if row else None


async def by_id(db: Db, principal: int) -> Principal | None:
    row = await db.fetchrow(f"select {_COLUMNS} from principals p where p.id = $1 and p.is_active", principal)
    return _principal(row) if row else None


async def requester_in(db: Db, channel: str, task: int, home: str) -> str | None:
    """The requester of a task as that chat knows them in that workspace (`home/id`)."""
    found: str | None = await db.fetchval(
        "select i.external_id from tasks t join identities i on i.principal_id in (t.requester_id, person_of(t.requester_id))"
        " where t.id = $1 and i.channel = $2 and starts_with(i.external_id, $3 || '/') order by i.linked_at limit 1",
        task, channel, home,
    )  # fmt: skip
    return found


async def by_key(db: Db, key: str) -> Principal | None:
    row = await db.fetchrow(f"select {_COLUMNS} from principals p where p.key = $1 and p.is_active", key)
    return _principal(row) if row else None


async def everyone(db: Db) -> list[dict[str, Any]]:
    rows = await db.fetch(
        f"select {_COLUMNS}, coalesce((select jsonb_agg(jsonb_build_array(i.channel, i.external_id) order by i.channel)"
        " from identities i where i.principal_id = p.id), '[]') as identities"
        " from principals p where p.is_active order by p.id"
    )
    return [dict(r) for r in rows]


async def identities_of(db: Db, person: int) -> list[tuple[str, str]]:
    """Every (channel, external id) by which somebody is this human."""
    rows = await db.fetch(
        "select channel, external_id from identities where person_of(principal_id) = person_of($1)"
        " order by channel, external_id",
        person,
    )
    return [(r["channel"], r["external_id"]) for r in rows]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A person as sayso.yaml names them."""

    key: str
    name: str
    roles: tuple[str, ...]
    is_service: bool
    identities: tuple[tuple[str, str], ...]
    away_until: datetime | None = None
    delegate: str = ""


def wanted(organisation: Organisation) -> list[Wanted]:
    """The people of the file, as `store.people.sync` takes them."""
    return [
        Wanted(
            key=key,
            name=person.name or key,
            roles=tuple(person.roles),
            is_service=person.service,
            identities=tuple(
                (("sms" if channel == "phone" else channel), external_id)
                for channel, external_id in person.identities.items()
            ),
            away_until=_end_of(person.out_of_office.until, organisation.timezone) if person.out_of_office else None,
            delegate=person.out_of_office.delegate if person.out_of_office else "",
        )
        for key, person in organisation.people.items()
    ]


def _end_of(day: date, zone: str) -> datetime:
    """The day included."""
    return datetime.combine(day + timedelta(days=1), time(), ZoneInfo(zone))


async def sync(db: Db, people: Iterable[Wanted]) -> None:
    """Make principals and identities what sayso.yaml says. People it no longer names lose their roles, not their history.

    Those made here (the first owner, paired strangers) stay as they are.
    """
    async with transaction(db) as tx:
        people = list(people)
        for person in people:
            principal = await tx.fetchval(
                "insert into principals (key, name, roles, is_service, is_from_config) values ($1, $2, $3, $4, true)"
                " on conflict (key) do update set name = excluded.name, roles = excluded.roles, is_active = true,"
                " is_service = excluded.is_service, is_from_config = true, version = principals.version + 1 returning id",
                person.key, person.name, list(person.roles), person.is_service,
            )  # fmt: skip
            for channel, external_id in person.identities:
                await tx.execute(
                    "insert into identities (channel, external_id, principal_id) values ($1, $2, $3)"
                    " on conflict (channel, external_id) do update set principal_id = excluded.principal_id",
                    channel, external_id, principal,
                )  # fmt: skip
        await tx.execute(
            "update principals set is_active = false, version = version + 1"
            " where is_from_config and is_active and key <> all ($1)",
            [p.key for p in people],
        )
        away = [p for p in people if p.away_until]
        await tx.execute(
            "select away_from_file($1, $2, $3)",
            [p.key for p in away],
            [p.delegate for p in away],
            [p.away_until for p in away],
        )


async def go_away(db: Db, person: int, to: int, until: datetime) -> None:
    """Whoever `to` is decides from the person's seat until then, in place of whoever did before."""
    await db.execute("select away_v1($1, $2, $3, false)", person, to, until)


async def come_back(db: Db, person: int) -> bool:
    done: bool = await db.fetchval("select back_v1($1)", person)
    return done


async def ensure_owner(db: Db, key: str = "owner", name: str = "Owner") -> Principal:
    """The person who may do everything: one whom sayso.yaml gives the role `owner`, else one made here."""
    async with transaction(db) as tx:
        row = await tx.fetchrow(
            f"select {_COLUMNS} from principals p where 'owner' = any (p.roles) and p.is_active and not p.is_service"
            " order by p.id limit 1"
        )
        if row is None:
            row = await tx.fetchrow(
                "insert into principals as p (key, name, roles) values ($1, $2, '{owner}') on conflict (key)"
                f" do update set roles = '{{owner}}', is_active = true returning {_COLUMNS}",
                key, name,
            )  # fmt: skip
        await tx.execute(
            "insert into identities (channel, external_id, principal_id) values ('web', $1, $2) on conflict do nothing",
            row["key"], row["id"],
        )  # fmt: skip
        return _principal(row)


async def web_identity(db: Db, person: Principal) -> str:
    """A web identity that is this person's own: their key, or, where that name is linked to somebody else, another."""
    found = (
        "select external_id from identities where channel = 'web' and principal_id = $1"
        " order by external_id = $2 desc limit 1"
    )
    own: str | None = await db.fetchval(found, person.id, person.key)
    for name in (person.key, f"{person.key}#{person.id}") if own is None else ():
        await db.execute(
            "insert into identities (channel, external_id, principal_id) select 'web', $1, $2 where not exists"
            " (select from identities where channel = 'web' and principal_id = $2) on conflict do nothing",
            name, person.id,
        )  # fmt: skip
    return own or str(await db.fetchval(found, person.id, person.key))


# ---------------------------------------------------------------- tokens


async def make_token(db: Db, principal: int, kind: str, lives_s: float | None) -> str:
    """A new secret of 256 bits; only its hash is kept."""
    token = secrets.token_urlsafe(32)
    await db.execute(
        "insert into tokens (hash, kind, principal_id, expires_at)"
        " values ($1, $2, $3, case when $4::real is null then null else sayso_now() + make_interval(secs => $4) end)",
        hashed(token), kind, principal, lives_s,
    )  # fmt: skip
    return token


async def holder(db: Db, token: str, kind: str) -> Principal | None:
    """The active person who holds an unexpired token of the kind."""
    row = await db.fetchrow(
        f"select {_COLUMNS} from tokens k join principals p on p.id = k.principal_id where k.hash = $1 and k.kind = $2"
        " and p.is_active and (k.expires_at is null or k.expires_at > sayso_now())",
        hashed(token), kind,
    )  # fmt: skip
    return _principal(row) if row else None


async def trade_login(db: Db, code: str) -> tuple[Principal, str] | None:
    """A one-time login code for a session token; None when it was used, is old or never was."""
    async with transaction(db) as tx:
        row = await tx.fetchrow(
            "update tokens set used_at = now() where hash = $1 and kind = 'login' and used_at is null"
            " and expires_at > sayso_now() returning principal_id",
            hashed(code),
        )
        principal = await by_id(tx, row["principal_id"]) if row else None
        if principal is None:
            return None
        return principal, await make_token(tx, principal.id, "session", config.SESSION_EXPIRES_S)


async def end_session(db: Db, token: str) -> None:
    await db.execute("delete from tokens where hash = $1 and kind = 'session'", hashed(token))


# ---------------------------------------------------------------- strangers


async def offer_pairing(db: Db, identity: Identity) -> str | None:
    """A pairing code for a stranger, shown to them; None when they have had enough of them lately."""
    async with transaction(db) as tx:
        open_codes = await tx.fetchval(
            "select count(*) from pairings where channel = $1 and external_id = $2 and used_at is null"
            " and expires_at > sayso_now()",
            identity.channel, identity.external_id,
        )  # fmt: skip
        if open_codes >= config.PAIRINGS_MOST:
            return None
        code = "".join(secrets.choice(CODE_LETTERS) for _ in range(8))
        await tx.execute(
            "insert into pairings (channel, external_id, display_name, code_hash, expires_at)"
            " values ($1, $2, $3, $4, sayso_now() + make_interval(secs => $5))",
            identity.channel, identity.external_id, identity.display_name, hashed(code), config.PAIRING_EXPIRES_S,
        )  # fmt: skip
        return code


async def confirm_pairing(
    db: Db, code: str, owner: Principal, *, link_to: str | None, roles: Sequence[str]
) -> Principal | None:
    """An owner confirms a stranger's code: linked to an existing person, or a new one with `roles`. None: no such code."""
    async with transaction(db) as tx:
        person = await by_key(tx, link_to) if link_to else None
        if link_to and person is None:
            return None
        row = await tx.fetchrow(
            "update pairings set used_at = now(), confirmed_by = $2 where code_hash = $1 and used_at is null"
            " and expires_at > sayso_now() returning *",
            hashed(code.strip().upper()), owner.id,
        )  # fmt: skip
        if row is None:
            return None
        if person is None:
            made = await tx.fetchrow(
                "insert into principals as p (key, name, roles) values ($1, $2, $3)"
                f" on conflict (key) do update set is_active = true returning {_COLUMNS}",
                f"{row['channel']}-{row['external_id']}".lower().replace("/", "-"),
                row["display_name"] or row["external_id"], list(roles),
            )  # fmt: skip
            person = _principal(made)
        stranger = Identity(channel=row["channel"], external_id=row["external_id"], display_name=row["display_name"])
        await link(tx, stranger, person, by=owner)
        return person


async def link(db: Db, identity: Identity, person: Principal, *, by: Principal) -> None:
    """From now on the identity is the person; `by` says so. The caller's transaction holds both writes together."""
    await db.execute(
        "insert into identities (channel, external_id, principal_id, display_name) values ($1, $2, $3, $4)"
        " on conflict (channel, external_id) do update set principal_id = excluded.principal_id",
        identity.channel, identity.external_id, person.id, identity.display_name,
    )  # fmt: skip
    await db.execute(
        "insert into audit (kind, actor, data) values ('linked', $1, $2)",
        by.actor, {"person": person.key, "channel": identity.channel, "external_id": identity.external_id},
    )  # fmt: skip
