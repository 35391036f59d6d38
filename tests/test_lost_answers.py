"""A worker behind a line to Postgres that loses answers after the commit, resets and delays; and one to Redis.

The worker is a process of its own; the sink's ledger counts what it did. Nothing is done twice, nothing is lost, and
nobody is asked about what the rows already know.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from core.models import Accepted
from tests import sink
from tests.invariants import broken
from tests.lossy import Line, open_line
from tests.patience import PATIENCE_S
from tests.processes import Child, Plant, open_plant, until
from tests.test_crash_processes import send

RESET_EVERY_S = 0.2
# After them the line is left alone: on a busy machine nothing may come to an end between two.
RESETS = 10


def socket_of(url: str) -> tuple[str, str]:
    """The unix socket that a database URL of the tests names, and the URL of the same database over TCP."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    folder = query["host"][0]
    port = query.get("port", ["5432"])[0]
    user = parts.username or query.get("user", ["postgres"])[0]
    return f"{folder}/.s.PGSQL.{port}", f"postgresql://{user}@127.0.0.1:{{port}}{parts.path}?sslmode=disable"


@asynccontextmanager
async def behind(database_url: str, redis_url: str, home: Path) -> AsyncIterator[tuple[Plant, Line]]:
    """A plant whose workers reach Postgres by the line; the test itself does not."""
    path, over_tcp = socket_of(database_url)
    async with (
        open_line(lambda: asyncio.open_unix_connection(path)) as line,
        open_plant(home, database_url, redis_url) as plant,
    ):
        plant.environment = {**plant.environment, "DATABASE_URL": over_tcp.format(port=line.port)}
        yield plant, line


@pytest.fixture
async def lossy(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[tuple[Plant, Line]]:
    async with behind(database_url, redis_url, tmp_path / "home") as opened:
        yield opened


async def done_once(plant: Plant, worker: Child, tasks: list[int]) -> None:
    for task in tasks:
        await plant.is_task(task, "succeeded")
    assert worker.is_up(), worker.said()
    made = sink.calls(plant.ledger)
    assert len({key for key, _ in made}) == len(made), "a call was made twice"
    assert len(made) == len(tasks)
    assert await broken(plant.db) == []
    assert await plant.db.fetchval("select count(*) from approvals where kind = 'unknown'") == 0


async def test_commits_whose_answers_are_lost_are_neither_repeated_nor_forgotten(lossy: tuple[Plant, Line]) -> None:
    """Of claim, park, begin and complete in turn: Postgres did it, the worker hears of a broken line."""
    plant, line = lossy
    address = plant.sink()
    worker = await plant.worker()
    tasks = []
    for move in (b"park_v1", b"claim_v1", b"begin_v1", b"complete_v1"):
        if move != b"claim_v1":
            line.lose_after.append(move)
        task = await plant.say(send(address))
        approval = await plant.asked(task)
        if move == b"claim_v1":
            line.lose_after.append(move)
        assert isinstance(await plant.press(approval, "approve"), Accepted)
        await plant.is_task(task, "succeeded")
        tasks.append(task)
    await done_once(plant, worker, tasks)
    assert len(line.lost) == 4, f"only of {line.lost} the answers were lost"


async def test_a_line_that_is_reset_again_and_again_and_slow_does_nothing_twice(lossy: tuple[Plant, Line]) -> None:
    plant, line = lossy
    address = plant.sink()
    worker = await plant.worker()
    cut = 0

    async def spoil() -> None:
        nonlocal cut
        for _ in range(RESETS):
            cut += line.reset()
            line.delay_s = 0.0 if line.delay_s else 0.005
            await asyncio.sleep(RESET_EVERY_S)

    spoiling = asyncio.create_task(spoil())
    tasks = [await plant.say(send(address, f"/answer-{i}")) for i in range(4)]
    approvals = [await plant.asked(task) for task in tasks]
    for approval in approvals:
        await plant.press(approval, "approve")

    async def carried_or_asked() -> bool:
        for row in await plant.db.fetch(
            "select id, task_id from approvals where kind = 'unknown' and status = 'pending'"
        ):
            keys = {key for key, _ in sink.calls(plant.ledger)}
            key = await plant.db.fetchval(
                "select key from effects where task_id = $1 order by gen desc limit 1", row["task_id"]
            )
            await plant.press(str(row["id"]), "happened" if key in keys else "not_happened")
        return bool(await plant.db.fetchval("select bool_and(status = 'succeeded') from tasks"))

    try:
        await until(carried_or_asked, "all tasks end", RESETS * RESET_EVERY_S + PATIENCE_S)
    finally:
        spoiling.cancel()
        await asyncio.gather(spoiling, return_exceptions=True)
    assert cut > 0
    made = sink.calls(plant.ledger)
    assert len(made) == len({key for key, _ in made}) == 4
    assert worker.is_up(), worker.said()
    assert await broken(plant.db) == []


async def test_a_redis_whose_answers_are_lost_and_whose_line_is_cut_costs_nothing_but_time(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    parts = urlsplit(redis_url)

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(parts.path)

    number = parse_qs(parts.query).get("db", ["0"])[0]
    async with open_line(connect) as line, open_plant(tmp_path / "home", database_url, redis_url) as plant:
        plant.environment = {**plant.environment, "REDIS_URL": f"redis://127.0.0.1:{line.port}/{number}"}
        address = plant.sink()
        worker = await plant.worker()
        tasks = []
        for word in (b"PUBLISH", b"zrangebyscore", b"EVAL"):
            line.lose_after += [word, word.lower(), word.upper()]
            task = await plant.approved(send(address))
            await plant.is_task(task, "succeeded")
            tasks.append(task)
        line.is_up = False
        line.reset()
        tasks.append(await plant.approved(send(address)))
        await done_once(plant, worker, tasks)
        assert line.lost, "no answer of Redis was lost"
