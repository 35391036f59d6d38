"""A deploy: the schema moves on under processes of the old release, which go on or refuse clearly, and never guess."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core import intake
from core.db import (
    BREAKS,
    DATABASE_AWAY,
    MIGRATIONS,
    MigrationError,
    migrate,
    open_pool,
    pending,
    refuse_misfit,
    transaction,
)
from core.models import Accepted
from core.store import people, tasks
from tests.processes import Plant, plant_fixture, until
from tests.web_house import House

__all__ = ["plant_fixture"]
# What the next release might bring: wider rows of every table that hot statements read whole, and a new version of a function.
ADDITIVE = """
alter table tasks add column colour text;
alter table steps add column colour text not null default 'grey';
alter table approvals add column colour text;
alter table moves add column colour text;
create function is_alive_v2(p_worker bigint) returns boolean language plpgsql stable as $$
begin
    return is_alive(p_worker);
end $$;
"""


def release(folder: Path, **more: str) -> Path:
    """The migrations of this release and those of a later one."""
    folder.mkdir()
    for path in MIGRATIONS.glob("*.sql"):
        shutil.copy(path, folder)
    for name, text in more.items():
        (folder / f"{name.removeprefix('m')}.sql").write_text(text, encoding="utf-8")
    return folder


async def test_a_worker_of_the_old_release_goes_on_while_the_schema_grows(plant: Plant, tmp_path: Path) -> None:
    worker = await plant.worker()
    dsn = plant.environment["DATABASE_URL"]
    (plant.home / "workspace" / "a.txt").write_text("a", encoding="utf-8")
    before = await plant.say("do files.list pattern=*")
    await plant.is_task(before, "succeeded")
    waiting = await plant.say("do files.delete paths=a.txt")
    approval = await plant.asked(waiting)
    assert await migrate(dsn, release(tmp_path / "next", m9001_more=ADDITIVE)) == ["9001_more.sql"]
    # Bot and worker of the old release: a decision, a task, a hand on one, with statements prepared before.
    assert isinstance(await plant.press(approval, "approve"), Accepted)
    await plant.is_task(waiting, "succeeded")
    assert not (plant.home / "workspace" / "a.txt").exists()
    after = [await plant.say("do files.list pattern=*") for _ in range(3)]
    for task in after:
        await plant.is_task(task, "succeeded")
    ann = await people.by_key(plant.db, "ann")
    assert ann is not None
    assert "is succeeded" in await intake.control(plant.deps, ann, after[0], "pause")
    assert worker.is_up(), worker.said()
    assert "Traceback" not in worker.said()


async def test_an_old_worker_starts_on_a_database_that_only_grew(plant: Plant, tmp_path: Path) -> None:
    await migrate(plant.environment["DATABASE_URL"], release(tmp_path / "next", m9001_more=ADDITIVE))
    worker = await plant.worker()
    task = await plant.say("do files.list pattern=*")
    await plant.is_task(task, "succeeded")
    assert worker.is_up(), worker.said()
    assert "Traceback" not in worker.said()


async def test_a_worker_refuses_a_database_that_took_away_what_it_uses(plant: Plant, tmp_path: Path) -> None:
    breaking = f"{BREAKS}: nothing calls it any more\ndrop function adopt_v1(bigint, bigint, integer, bigint);\n"
    await migrate(plant.environment["DATABASE_URL"], release(tmp_path / "next", m9001_less=breaking))
    child = plant.start("worker", "worker")
    assert await child.ended() == 1
    assert "9001_less.sql took away what it uses; start the newer release" in child.said()
    assert "Traceback" not in child.said()
    assert await plant.db.fetchval("select count(*) from workers") == 0, "it took no lease"
    await refuse_misfit(plant.db, tmp_path / "next")  # the release that brought it works


async def test_a_worker_refuses_a_database_that_was_not_migrated(plant: Plant, tmp_path: Path) -> None:
    await plant.db.execute("delete from schema_migrations where name like '0008%'")
    child = plant.start("worker", "worker")
    assert await child.ended() == 1
    assert "it lacks 0008_" in child.said()
    assert "run ./sayso migrate" in child.said()
    [lacking] = await pending(plant.db)
    assert lacking.startswith("0008_")


async def test_a_migration_that_was_applied_may_not_change(database_url: str, tmp_path: Path) -> None:
    folder = release(tmp_path / "next", m9001_more=ADDITIVE)
    await migrate(database_url, folder)
    (folder / "9001_more.sql").write_text(ADDITIVE + "-- and more", encoding="utf-8")
    with pytest.raises(MigrationError, match=r"9001_more.sql has changed since it was applied"):
        await migrate(database_url, folder)
    pool = await open_pool(database_url, most=1)
    await until(lambda: pool.fetchval("select is_alive_v2(0) is not null"), "what was applied stays")
    await pool.close()


async def test_statements_prepared_before_the_schema_grew_are_prepared_anew(house: House, database_url: str) -> None:
    """Inside a transaction the driver can't do that by itself: the first try says to come again, the second works."""
    ann = await house.person("ann", "owner")
    task = await house.task(ann)
    pool = await open_pool(database_url, most=1)

    async def look() -> str:
        async with transaction(pool) as tx:
            found = await tasks.shown(tx, task, ann.id, sees_all=True, sees_conversation=False)
        assert found is not None
        return str(found["status"])

    first = await look()
    await house.db.execute(
        "alter table tasks add column colour text; alter type claimed_step add attribute colour text"
    )
    seen = []
    for _ in range(3):
        try:
            seen.append(await look())
        except DATABASE_AWAY as error:
            seen.append(type(error).__name__)
    assert seen[-1] == first
    await pool.close()
