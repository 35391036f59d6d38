"""What every measurement stands on: one Postgres with fsync on and one Valkey, of its own, in a temporary folder.

Each system has a template database, made once; each cell runs on a fresh copy of it, after a checkpoint. The servers
end with the stand, also when it is killed: a reaper sees to that (`core.embedded`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from core.embedded import RunningServers, start_servers

SERVERS_END_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Stand:
    folder: Path
    servers: RunningServers

    @property
    def redis_url(self) -> str:
        return self.servers.valkey.url()

    def dsn(self, database: str) -> str:
        return self.servers.postgres.url(database)

    async def create(self, database: str, template: str = "template1") -> str:
        """A fresh database; its address."""
        await self.drop(database)
        await self._run(f'create database "{database}" template "{template}"')
        return self.dsn(database)

    async def drop(self, database: str) -> None:
        await self._run(f'drop database if exists "{database}" with (force)')

    async def settle(self, database: str) -> None:
        """Nothing of what came before is still to be written, and the planner knows the tables."""
        connection = await asyncpg.connect(self.dsn(database))
        await connection.execute("analyze")
        await connection.execute("checkpoint")
        await connection.close()

    async def version(self) -> str:
        connection = await asyncpg.connect(self.dsn("postgres"))
        found: str = await connection.fetchval("select current_setting('server_version')")
        await connection.close()
        return found

    async def _run(self, statement: str) -> None:
        connection = await asyncpg.connect(self.dsn("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@asynccontextmanager
async def open_stand(folder: Path) -> AsyncIterator[Stand]:
    servers = await asyncio.to_thread(start_servers, folder / "servers")
    try:
        yield Stand(folder, servers)
    finally:
        servers.close()
        await asyncio.to_thread(_wait_gone, servers)


def _wait_gone(servers: RunningServers) -> None:
    """Until the reaper has stopped the servers: their folder is removed after this."""
    deadline = time.monotonic() + SERVERS_END_S
    while (servers.postgres.pid() or servers.valkey.pid()) and time.monotonic() < deadline:
        time.sleep(0.05)
