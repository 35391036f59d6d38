"""A database that a test has used is as new for the next one, or is not used again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from core.embedded import RunningServers
from tests import databases
from tests.databases import Cleaner, Databases, open_databases

TABLES = """
select relname, case relkind when 'r' then '*' else 'last_value, is_called' end as columns
from pg_class where relkind in ('r', 'S') and relnamespace = 'public'::regnamespace order by relname
"""
# When it is due is new for each test.
UPKEEP = "select u::text, '\"' || due_at || '\"' from upkeep u order by job"
# Ordinary rows, rows of the migrations, and the log that refuses to be emptied.
WRITES = """
insert into principals (key, name) values ('ann', 'Ann');
insert into clock (ahead) values ('1 hour');
update upkeep set cursor = 1;
delete from transitions;
insert into audit (kind, actor) values ('looked', 'person:ann');
"""


@pytest.fixture
async def known(servers: RunningServers) -> AsyncIterator[Databases]:
    opened = await open_databases(servers)
    yield opened
    await opened.drop_all()


async def session(known: Databases, taken: Cleaner) -> asyncpg.Connection:
    return await asyncpg.connect(known.servers.postgres.url(taken.name))


async def content(known: Databases, taken: Cleaner) -> dict[str, list[str]]:
    """The rows of each table, and where each sequence stands."""
    connection = await session(known, taken)
    found = {
        row["relname"]: [
            line
            for (line,) in await connection.fetch(
                f"select t::text from (select {row['columns']} from {row['relname']}) t order by 1"
            )
        ]
        for row in await connection.fetch(TABLES)
    }
    found["upkeep"] = [line.replace(due, "") for line, due in await connection.fetch(UPKEEP)]
    await connection.close()
    return found


async def next_after(known: Databases, taken: Cleaner) -> Cleaner:
    await known.give_back(taken)
    return await known.take()


async def test_what_a_test_wrote_is_gone_and_what_the_migrations_wrote_is_back(known: Databases) -> None:
    taken = await known.take()
    new = await content(known, taken)
    for _ in range(2):
        connection = await session(known, taken)
        await connection.execute(WRITES)
        await connection.close()
        assert await content(known, taken) != new
        same = await next_after(known, taken)
        assert same is taken, "it is used again"
        assert await content(known, taken) == new
    await known.give_back(taken)


@pytest.mark.parametrize(
    "change",
    ["alter table audit disable trigger user",
     "insert into audit (kind, actor) select repeat('x', 1500), 'x' from generate_series(1, 6000)"],
    ids=["shape", "size"],
)  # fmt: skip
async def test_a_database_with_another_shape_or_of_another_size_is_not_used_again(
    known: Databases, change: str
) -> None:
    taken = await known.take()
    connection = await session(known, taken)
    await connection.execute(change)
    await connection.close()
    another = await next_after(known, taken)
    assert another.name != taken.name
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await session(known, taken)
    await known.give_back(another)


async def test_a_database_in_which_somebody_stays_or_whose_cleaner_was_ended_is_not_used_again(
    known: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "GONE_WITHIN_S", 0.1)
    taken = await known.take()
    stays = await session(known, taken)
    second = await next_after(known, taken)
    assert second.name != taken.name
    stays.terminate()
    ends = await session(known, second)
    cleaners = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = $1"
    await ends.execute(cleaners, second.name)
    await ends.close()
    third = await next_after(known, second)
    assert third.name != second.name
    await known.give_back(third)
