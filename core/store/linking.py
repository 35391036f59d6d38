"""One-time links by which a person brings another chat account, and what vendors call our bots.

A link's secret is stored hashed and returned once, by `offer`. Whether an account may be linked is decided in `core.linking`.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from core import config
from core.db import Db
from core.store import people
from core.store.people import Principal


@dataclass(frozen=True, slots=True)
class Offered:
    """A link that was taken just now: whose it is, and the conversation in which it was asked for."""

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


async def offer(db: Db, person: int, conversation: int) -> str:
    """The secret of a new link, of 43 characters that a URL takes as they are."""
    secret = secrets.token_urlsafe(32)
    await db.execute(
        "insert into tokens (hash, kind, principal_id, conversation_id, expires_at)"
        " values ($1, 'link', $2, $3, sayso_now() + make_interval(secs => $4))",
        people.hashed(secret), person, conversation, config.PAIRING_EXPIRES_S,
    )  # fmt: skip
    return secret


async def take(db: Db, secret: str) -> Offered | None:
    """Use a link up; None when it was used, is old or never was."""
    row = await db.fetchrow(
        "update tokens set used_at = now() where hash = $1 and kind = 'link' and used_at is null"
        " and expires_at > sayso_now() returning principal_id, conversation_id",
        people.hashed(secret),
    )
    person = await people.by_id(db, row["principal_id"]) if row else None
    return Offered(person, row["conversation_id"]) if row and person else None
