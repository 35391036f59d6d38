"""Postgres: the pool, and the migrations under an advisory lock.

The pool speaks JSON as Python values. Nothing here knows a table; statements live in `core.store` and `migrations/`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
from pydantic_core import from_json

from core import config

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"

# asyncpg ships no types; these names say what is meant.
Pool: TypeAlias = asyncpg.Pool
Connection: TypeAlias = asyncpg.Connection
Db: TypeAlias = Pool | Connection

# What is raised while the database is not there, stops, starts again, has just been given another schema under statements
# prepared before (the driver forgets those, but cannot prepare anew inside a transaction), or has ended one of two that waited
# for each other: wait and ask once more.
DATABASE_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection was cut between two messages
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.OutdatedSchemaCacheError,
    asyncpg.DeadlockDetectedError,
)


BREAKS = "-- breaks older releases"


class MigrationError(Exception):
    """The migrations on disk and the database do not fit together."""


JSONB_VERSION = b"\x01"


# Made once: `json.dumps` makes an encoder for every value that is not written its own way.
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _dump(value: Any) -> bytes:
    return JSONB_VERSION + _COMPACT(value).encode()


def _load(data: bytes) -> Any:
    """By the reader that is two to twenty times as fast; what is nested too deep for it, by the other."""
    try:
        return from_json(data[1:])
    except ValueError:
        return _load_deep(data)


def _load_deep(data: bytes) -> Any:
    """What Python can't read (a number of thousands of digits, nesting without end) becomes a text that is no object, so that
    its reader stumbles over this row alone."""
    try:
        return json.loads(data[1:])
    except (ValueError, RecursionError) as error:
        return f"unreadable JSON of {len(data):,} bytes: {type(error).__name__}"


class _Plain(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """Given back to the pool as it is: nothing here changes a session, and the reset would be a second round trip a query."""

    def get_reset_query(self) -> str:
        return ""


async def prepare(connection: Any) -> None:
    """Make a connection speak JSON as Python values. In binary, since asyncpg reads composites only so."""
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=_dump, decoder=_load, format="binary")


async def open_pool(dsn: str, *, most: int = config.POOL_MOST, name: str = "sayso", readonly: bool = False) -> Pool:
    """Open a pool; one that is `readonly` can write nothing.

    Connections are direct: behind a transaction-mode pooler advisory locks and prepared statements break.
    """
    return await asyncpg.create_pool(
        dsn,
        connection_class=_Plain,
        min_size=1,
        max_size=most,
        init=prepare,
        timeout=config.CONNECT_TIMEOUT_S,
        command_timeout=config.STATEMENT_TIMEOUT_S,
        server_settings={"application_name": name, "timezone": "UTC"}
        | ({"default_transaction_read_only": "on"} if readonly else {}),
    )


async def close_pool(pool: Pool) -> None:
    """Close it once its connections are given back, and without that after a while: asyncpg would wait for ever, and with it
    the end of a process, or a worker's next lease."""
    try:
        async with asyncio.timeout(config.LEAVE_S):
            await pool.close()
    except TimeoutError:
        log.warning("connections to the database were not given back in %g s; they are cut", config.LEAVE_S)


@asynccontextmanager
async def transaction(db: Db) -> AsyncIterator[Connection]:
    """One transaction on a connection of the pool (or on the connection given, nested)."""
    if isinstance(db, asyncpg.Pool):
        async with db.acquire() as connection, connection.transaction():
            yield connection
    else:
        async with db.transaction():
            yield db


async def migrate(dsn: str, folder: Path = MIGRATIONS) -> list[str]:
    """Apply the migrations that the database lacks, in name order, one transaction each; answer their names.

    Forward only: a file that was applied and has changed since raises `MigrationError`. A file whose first line is `BREAKS`
    takes away what older releases use, and is remembered as such.
    """
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("select pg_advisory_lock($1)", config.MIGRATION_LOCK)
        await connection.execute(
            "create table if not exists schema_migrations ("
            " name text primary key, sha256 text not null, applied_at timestamptz not null default now())"
        )
        await connection.execute(
            "alter table schema_migrations add column if not exists breaks_older boolean not null default false"
        )
        known = {r["name"]: r["sha256"] for r in await connection.fetch("select name, sha256 from schema_migrations")}
        applied = []
        for path in sorted(folder.glob("[0-9]*.sql")):
            text = path.read_text(encoding="utf-8")
            digest = hashlib.sha256(text.encode()).hexdigest()
            if path.name in known:
                if known[path.name] != digest:
                    raise MigrationError(f"{path.name} has changed since it was applied; write a new migration instead")
                continue
            async with connection.transaction():
                await connection.execute(text)
                await connection.execute(
                    "insert into schema_migrations (name, sha256, breaks_older) values ($1, $2, $3)",
                    path.name, digest, text.startswith(BREAKS),
                )  # fmt: skip
            applied.append(path.name)
        return applied
    finally:
        await connection.close()


async def pending(db: Db, folder: Path = MIGRATIONS) -> list[str]:
    """The migrations on disk that this database lacks."""
    if await db.fetchval("select to_regclass('schema_migrations')") is None:
        known: set[str] = set()
    else:
        known = {r["name"] for r in await db.fetch("select name from schema_migrations")}
    return [p.name for p in sorted(folder.glob("[0-9]*.sql")) if p.name not in known]


async def refuse_misfit(db: Db, folder: Path = MIGRATIONS) -> None:
    """Raise `MigrationError` when this release and the database do not fit.

    The database may be newer: releases only add, so an older process goes on beside newer ones. It may not lack a migration
    that this release has, nor hold one that this release does not know and that broke with older ones.
    """
    lacking = await pending(db, folder)
    if lacking:
        raise MigrationError(
            f"the database is older than this release, it lacks {', '.join(lacking)}; run ./sayso migrate"
        )
    rows = await db.fetch("select name from schema_migrations where breaks_older order by name")
    unknown = [r["name"] for r in rows if not (folder / r["name"]).exists()]
    if unknown:
        raise MigrationError(
            f"the database is newer than this release: {', '.join(unknown)} took away what it uses; start the newer release"
        )
