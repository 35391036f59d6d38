"""One-time links by which a person brings another chat account, and what vendors call our bots.

A link's secret is stored hashed. Whether an account may be linked is decided in `core.linking`.
"""

from __future__ import annotations

from dataclasses import dataclass

from core import config
from core.db import Connection, Db
from core.store import people
from core.store.people import Principal


@dataclass(frozen=True, slots=True)
class Offered:
    """A link that is good: whose it is, and the conversation in which it was asked for."""

    person: Principal
    conversation: int | None


async def introduce(db: Db, channel: str, username: str) -> None:
    """Remember what the vendor calls our bot."""
    await db.execute(
        "insert into bots (channel, username) values ($1, $2)"
        " on conflict (channel) do update set username = excluded.username, seen_at = now()",
        channel, username,
    )  # fmt: skip


async def username(db: Db, channel: str) -> str:
    """Empty where no bot has introduced itself."""
    found: str | None = await db.fetchval("select username from bots where channel = $1", channel)
    return found or ""


async def offer(db: Db, person: int, conversation: int, secret: str) -> None:
    await db.execute(
        "insert into tokens (hash, kind, principal_id, conversation_id, expires_at)"
        " values ($1, 'link', $2, $3, sayso_now() + make_interval(secs => $4))",
        people.hashed(secret), person, conversation, config.PAIRING_EXPIRES_S,
    )  # fmt: skip


async def find(tx: Connection, secret: str) -> Offered | None:
    """A link, held until the commit; None when it was used, is old or never was."""
    row = await tx.fetchrow(
        "select principal_id, conversation_id from tokens where hash = $1 and kind = 'link' and used_at is null"
        " and expires_at > sayso_now() for update",
        people.hashed(secret),
    )
    person = await people.by_id(tx, row["principal_id"]) if row else None
    return Offered(person, row["conversation_id"]) if row and person else None


async def use(tx: Connection, secret: str) -> None:
    """It is good no more."""
    await tx.execute("update tokens set used_at = now() where hash = $1 and used_at is null", people.hashed(secret))
