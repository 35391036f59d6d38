"""Real parts for tests: one embedded Postgres and Valkey for the whole run, a database of its own for each test.

The servers are the ones that `./sayso up` uses, in a home of their own inside the checkout. Every test process joins the
Postgres and has a Valkey of its own: what is published there is heard in all of its numbered databases. Each test has a clean
database for itself alone (`tests.databases`), with a clock that may be moved.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest
from redis import Redis

from core import config
from core.db import Pool, open_pool
from core.embedded import RunningServers, start_servers
from tests.databases import Databases, open_databases
from tests.patience import PATIENCE_S
from tests.web_house import House, open_house

HOME = Path(__file__).resolve().parent.parent / ".sayso" / "test"
# The name that xdist gave this process.
PROCESS = os.environ.get("PYTEST_XDIST_WORKER", "only")
NUMBERS = itertools.count()
# A busy machine is no failure.
hypothesis.settings.register_profile("sayso", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("sayso")
# Those with the longest tests; each process of a run begins with some of them, so that at the end none waits for one.
LONGEST = (
    "test_crash_points.py", "test_chaos.py", "test_oversight.py", "test_up.py", "test_launcher.py", "test_bench.py",
    "test_sim_page.py", "test_review_table.py", "test_engine_model.py", "test_replay.py", "test_replayed.py",
)  # fmt: skip
LOOPBACK = ("127.", "::1", "localhost")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long: list[list[pytest.Item]] = [[] for _ in range(processes)]
    for at, name in enumerate(LONGEST):
        long[at % processes] += [item for item in items if item.path.name == name]
    others = [item for item in items if item.path.name not in LONGEST]
    ordered: list[pytest.Item] = []
    for at, share in enumerate(long):
        # xdist deals them out in equal shares from the front.
        room = max(0, (len(items) - len(ordered)) // (processes - at) - len(share))
        ordered += share + others[:room]
        del others[:room]
    items[:] = ordered + others


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


@pytest.fixture(scope="session", autouse=True)
def rings_arrive() -> Iterator[None]:
    """A ring that a busy machine is slow with is lost only where a test means it to be."""
    patched = pytest.MonkeyPatch()
    patched.setattr(config, "RING_CAP_S", PATIENCE_S)
    yield
    patched.undo()


@pytest.fixture(scope="session")
def servers() -> Iterator[RunningServers]:
    with start_servers(HOME, redis=False, fast=True) as running:
        yield running


@pytest.fixture(scope="session")
def valkey() -> Iterator[RunningServers]:
    with start_servers(HOME / PROCESS, postgres=False) as running:
        yield running


@pytest.fixture(scope="session")
def databases(servers: RunningServers) -> Iterator[tuple[Databases, asyncio.AbstractEventLoop]]:
    """With a loop of their own, since those of the tests end with them."""
    loop = asyncio.new_event_loop()
    opened = loop.run_until_complete(open_databases(servers))
    yield opened, loop
    loop.run_until_complete(opened.drop_all())
    loop.close()


@pytest.fixture
def database_url(databases: tuple[Databases, asyncio.AbstractEventLoop]) -> Iterator[str]:
    """A clean, migrated database, nobody else's while the test runs."""
    known, loop = databases
    taken = loop.run_until_complete(known.take())
    yield known.servers.postgres.url(taken.name)
    loop.run_until_complete(known.give_back(taken))


@pytest.fixture
def redis_url(valkey: RunningServers) -> str:
    """An empty, numbered database of its own."""
    url = valkey.valkey.url(1 + next(NUMBERS) % 255)
    with Redis.from_url(url) as redis:
        redis.flushdb()
    return url


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database_url, most=8)
    yield pool
    await asyncio.wait_for(pool.close(), PATIENCE_S)


@pytest.fixture
async def house(db: Pool, tmp_path: Path) -> AsyncIterator[House]:
    """A Sayso with its web face on, and people in it."""
    async with open_house(db, tmp_path) as opened:
        yield opened
