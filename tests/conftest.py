"""Real parts for tests: one embedded Postgres and Valkey for the whole run, a database of its own for each test.

The servers are the ones that `./sayso up` uses, in a home of their own inside the checkout, joined by every test
process. Each test's database is a copy of a migrated template, with a clock that may be moved.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import hypothesis
import pytest

from core.db import Pool, migrate, open_pool
from core.embedded import RunningServers, start_servers
from tests.web_house import House, open_house

HOME = Path(__file__).resolve().parent.parent / ".sayso" / "test"
TEMPLATE = "sayso_template"
NUMBERS = itertools.count()
# A busy machine is no failure.
hypothesis.settings.register_profile("sayso", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("sayso")
LOOPBACK = ("127.", "::1", "localhost")


@pytest.fixture(scope="session", autouse=True)
def only_loopback() -> Iterator[None]:
    """No test talks to anything outside this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(LOOPBACK):
            raise AssertionError(f"a test tried to reach {address!r}; tests stay on loopback")
        connect(self, address)  # type: ignore[arg-type]

    socket.socket.connect = guarded  # type: ignore[method-assign]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def servers() -> Iterator[RunningServers]:
    with start_servers(HOME, fast=True) as running:
        with open(HOME / "template.lock", "w", encoding="ascii") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            asyncio.run(_make_template(running))
        yield running


async def _make_template(running: RunningServers) -> None:
    """Migrated anew when the migrations have changed."""
    url = running.postgres.url(TEMPLATE)
    admin = await asyncpg.connect(running.database_url)
    try:
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
    finally:
        await admin.close()


@pytest.fixture
async def database_url(servers: RunningServers) -> AsyncIterator[str]:
    """A fresh, migrated database."""
    name = f"t{os.getpid()}_{next(NUMBERS)}"
    admin = await asyncpg.connect(servers.database_url)
    try:
        await admin.execute(f"create database {name} template {TEMPLATE} strategy file_copy")
        await admin.execute(f"alter database {name} set sayso.clock_may_move = 'on'")
        yield servers.postgres.url(name)
        await admin.execute(f"drop database {name} with (force)")
    finally:
        await admin.close()


@pytest.fixture
def redis_url(servers: RunningServers) -> str:
    """A numbered database of its own, emptied by nobody: keys of rings expire by themselves."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    return servers.valkey.url(1 + (worker * 100 + next(NUMBERS)) % 255)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database_url, most=8)
    yield pool
    await asyncio.wait_for(pool.close(), 10)


@pytest.fixture
async def house(db: Pool, tmp_path: Path) -> AsyncIterator[House]:
    """A Sayso with its web face on, and people in it."""
    async with open_house(db, tmp_path) as opened:
        yield opened
