"""Databases for tests, each taken clean: a copy of a migrated template, emptied after its test and used again.

Copying costs more than most tests do. Postgres counts what is written to each table: where a test wrote, rows are deleted
and those of the migrations put back. A database whose shape was changed, that has grown, or to which somebody stays
connected is dropped instead, and the next test gets a new copy.
"""

from __future__ import annotations

import asyncio
import fcntl
import io
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from core.db import migrate
from core.embedded import RunningServers

TEMPLATE = "sayso_template"
# Deleted rows stay where they were: a database is used so often, and grows so far.
USES = 200
MOST_BYTES = 8_000_000
GONE_WITHIN_S = 2.0
NUMBERS = itertools.count()
LOOK_EVERY_S = 0.002

OTHERS = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
# Rows written so far, by table of ours, and of the catalogues together ("") as a sign of a changed shape.
WRITTEN = """
select case when relnamespace = 'public'::regnamespace then relname else '' end as name,
    sum(pg_stat_get_tuples_inserted(oid) + pg_stat_get_tuples_updated(oid) + pg_stat_get_tuples_deleted(oid))::bigint as rows
from pg_class
where relkind = 'r' and (relnamespace = 'public'::regnamespace or oid = any ('{pg_class, pg_attribute, pg_attrdef, pg_proc,
    pg_type, pg_trigger, pg_constraint, pg_index, pg_namespace, pg_rewrite, pg_policy}'::regclass[]))
group by 1
"""
BYTES = "select sum(pg_relation_size(oid))::bigint from pg_class where relkind = 'r' and relname = any ($1)"
# The housekeeping that the migrations ordered is due from now on, not from when the template was made.
DUE = "update upkeep set due_at = now()"
NUMBERED = "select seqrelid::regclass::text as name, pg_sequence_last_value(seqrelid) as last from pg_sequence"
RESTART = "select setval(seqrelid, seqstart, false) from pg_sequence where pg_sequence_last_value(seqrelid) is not null"


@dataclass
class Cleaner:
    """The session that cleans one database, and what had been written to it when it was clean last."""

    name: str
    connection: asyncpg.Connection
    written: dict[str, int]
    uses: int = 0


@dataclass
class Databases:
    """`seeds` is what the migrations wrote, as COPY's text, by table; `numbers_at` where they left the sequences that they used.

    One test process has one, for its whole run.
    """

    servers: RunningServers
    seeds: dict[str, bytes]
    numbers_at: dict[str, int]
    clean: list[Cleaner] = field(default_factory=list)

    async def take(self) -> Cleaner:
        taken = self.clean.pop() if self.clean else await self._copy()
        await taken.connection.execute(DUE)
        return taken

    async def give_back(self, used: Cleaner) -> None:
        """Cleaned for the next test, or dropped."""
        used.uses += 1
        try:
            is_clean = used.uses < USES and await self._cleaned(used)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
            # The session was ended, by its test say.
            is_clean = False
        if is_clean:
            self.clean.append(used)
        else:
            await self._drop(used)

    async def drop_all(self) -> None:
        for cleaner in self.clean:
            await self._drop(cleaner)
        self.clean.clear()

    async def _copy(self) -> Cleaner:
        name = f"t{os.getpid()}_{next(NUMBERS)}"
        async with _admin(self.servers) as admin:
            await admin.execute(f"create database {name} template {TEMPLATE} strategy file_copy")
            await admin.execute(f"alter database {name} set sayso.clock_may_move = 'on'")
        connection = await asyncpg.connect(self.servers.postgres.url(name))
        return Cleaner(name, connection, await _written(connection))

    async def _drop(self, cleaner: Cleaner) -> None:
        cleaner.connection.terminate()
        async with _admin(self.servers) as admin:
            await admin.execute(f"drop database {cleaner.name} with (force)")

    async def _cleaned(self, used: Cleaner) -> bool:
        connection = used.connection
        if not await _everybody_leaves(connection):
            return False
        written = await _written(connection)
        tables = [name for name, rows in written.items() if name and rows != used.written.get(name)]
        if written[""] != used.written[""] or (await connection.fetchval(BYTES, tables) or 0) > MOST_BYTES:
            return False
        # Triggers and references rest meanwhile: everything goes, in whatever order.
        await connection.execute(
            "begin; set local session_replication_role = replica;"
            + "".join(f"delete from {name};" for name in tables)
            + f"commit; {RESTART};"
            + "".join(f"select setval('{name}', {last});" for name, last in self.numbers_at.items())
        )
        for name in set(tables) & set(self.seeds):
            await connection.copy_to_table(name, source=io.BytesIO(self.seeds[name]))
        used.written = await _written(connection)
        return True


async def open_databases(servers: RunningServers) -> Databases:
    """Makes the template first, unless another process did."""
    with open(servers.home / "template.lock", "w", encoding="ascii") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        return Databases(servers, *await _make_template(servers))


async def _make_template(servers: RunningServers) -> tuple[dict[str, bytes], dict[str, int]]:
    """Migrated anew when the migrations have changed; answers what they wrote."""
    url = servers.postgres.url(TEMPLATE)
    async with _admin(servers) as admin:
        if not await admin.fetchval("select exists (select from pg_database where datname = $1)", TEMPLATE):
            await admin.execute(f"create database {TEMPLATE}")
        try:
            await migrate(url)
        except Exception:
            await admin.execute(f"drop database {TEMPLATE} with (force)")
            await admin.execute(f"create database {TEMPLATE}")
            await migrate(url)
        # What an interrupted run left behind.
        for row in await admin.fetch("select datname from pg_database where datname ~ '^t[0-9]+_'"):
            pid = int(row["datname"][1:].split("_")[0])
            if not Path(f"/proc/{pid}").exists():
                await admin.execute(f'drop database if exists "{row["datname"]}" with (force)')
    template = await asyncpg.connect(url)
    try:
        rows = {name: await _rows(template, name) for name in await _written(template) if name}
        numbered = {row["name"]: row["last"] for row in await template.fetch(NUMBERED) if row["last"] is not None}
        return {name: those for name, those in rows.items() if those}, numbered
    finally:
        await template.close()


@asynccontextmanager
async def _admin(servers: RunningServers) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(servers.database_url)
    try:
        yield connection
    finally:
        await connection.close()


async def _everybody_leaves(connection: asyncpg.Connection) -> bool:
    """A closed session takes a moment to end."""
    try:
        async with asyncio.timeout(GONE_WITHIN_S):
            while await connection.fetchval(OTHERS):  # noqa: ASYNC110  (Postgres tells nobody who left)
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        return False
    return True


async def _written(connection: asyncpg.Connection) -> dict[str, int]:
    return {row["name"]: row["rows"] for row in await connection.fetch(WRITTEN)}


async def _rows(connection: asyncpg.Connection, table: str) -> bytes:
    rows = io.BytesIO()
    await connection.copy_from_table(table, output=rows)
    return rows.getvalue()
