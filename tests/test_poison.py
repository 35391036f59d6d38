"""Poison: skills that kill the worker that calls them, each time. Real processes; the others go on."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.processes import Child, Plant, plant_fixture, until  # noqa: F401  (a fixture)

SKILLS = '''
import os
import sqlite3
from typing import Annotated, Any

from worker.skills import Control, Permission, SkillContext, skill

LEDGER = {ledger!r}


def note(who: str) -> None:
    with sqlite3.connect(LEDGER, timeout=10) as db:
        db.execute("create table if not exists calls (who text)")
        db.execute("insert into calls values (?)", (who,))


@skill(permissions=[(Permission.READ, "poison:{{what}}")], effect="pure", card="Swallow {{what}}")
async def swallow(ctx: SkillContext, what: Annotated[str, Control]) -> dict[str, Any]:
    """Die while reading."""
    note("swallow")
    os._exit(9)


@skill(permissions=[(Permission.READ, "poison:{{what}}")], effect="unsafe", card="Drink {{what}}")
async def drink(ctx: SkillContext, what: Annotated[str, Control]) -> dict[str, Any]:
    """Die after having acted."""
    note("drink")
    os._exit(9)
'''


def calls(plant: Plant, who: str) -> int:
    if not plant.ledger.exists():
        return 0
    with sqlite3.connect(plant.ledger, timeout=10) as db:
        return int(db.execute("select count(*) from calls where who = ?", (who,)).fetchone()[0])


def poison(plant: Plant) -> None:
    folder = plant.home / "skills"
    folder.mkdir(exist_ok=True)
    (folder / "poison.py").write_text(SKILLS.format(ledger=str(plant.ledger)), encoding="utf-8")
    (Path(plant.environment["SAYSO_HOME"]) / "workspace" / "a.log").write_text("a", encoding="utf-8")


async def test_a_step_that_kills_its_worker_each_time_fails_after_its_attempts_and_others_go_on(plant: Plant) -> None:
    poison(plant)
    worker: Child = await plant.worker()
    poisoned = await plant.say("do poison.swallow what=it")
    deaths = 0
    healthy: list[int] = []

    async def is_over() -> bool:
        nonlocal worker, deaths
        if not worker.is_up():
            deaths += 1
            healthy.append(await plant.say("do files.list pattern=*.log"))
            worker = await plant.worker()
        return bool(await plant.db.fetchval("select status = 'failed' from tasks where id = $1", poisoned))

    await until(is_over, "the poisoned task fails", 60)
    for task in healthy:
        await plant.is_task(task, "succeeded")
    step = await plant.step(poisoned)
    assert (deaths, calls(plant, "swallow"), step["attempt"]) == (3, 3, 3)
    assert step["error"] == "The worker was lost in the middle of it. (attempt 3 of 3)"
    assert worker.is_up()


async def test_an_unsafe_step_that_kills_its_worker_is_never_called_again_but_asked_about(plant: Plant) -> None:
    poison(plant)
    worker = await plant.worker()
    task = await plant.say("do poison.drink what=it")
    if await plant.db.fetchval("select count(*) from approvals where task_id = $1", task):
        await plant.press(await plant.asked(task), "approve")
    await until(lambda: dead(worker), "the worker dies")
    other = await plant.worker()
    await plant.pass_lease(worker)
    question = await plant.asked(task, "unknown")
    assert (await plant.step(task))["status"] == "unknown"
    await plant.is_task(await plant.say("do files.list pattern=*.log"), "succeeded")
    assert calls(plant, "drink") == 1
    await plant.press(question, "abandon")
    await plant.is_task(task, "abandoned")
    assert calls(plant, "drink") == 1
    assert other.is_up()


async def dead(child: Child) -> bool:
    return not child.is_up()
