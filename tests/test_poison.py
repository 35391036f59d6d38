"""Poison: skills that kill the worker that calls them, each time. Real processes; the others go on."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path

from core.db import Pool
from core.models import PlannedStep
from core.store import clock, people, steps, tasks
from tests.patience import PATIENCE_S
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

    await until(is_over, "the poisoned task fails", 4 * PATIENCE_S)  # four workers are started
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


async def test_steps_that_die_with_a_poisoned_one_get_a_worker_without_it(db: Pool) -> None:
    owner = await people.ensure_owner(db)
    plan = [PlannedStep(n=1, kind="act", skill="poison.swallow")]
    made = [
        await tasks.create(db, requester=owner.id, goal="g", kind="do", steps=plan, actor="test") for _ in range(25)
    ]
    poisoned = made[12]
    for turn in range(100):
        await clock.move(db, timedelta(seconds=turn * 0.1))
        worker = await steps.enrol(db, "h", 1, "t", 60)
        held = await steps.claim(db, worker, "default", 32)
        if any(step.task_id == poisoned for step in held):
            await steps.leave(db, worker)
            for step in held:
                await steps.recover(db, step.task_id, step.n, step.fence, [worker])
            continue
        for step in held:
            await steps.complete(db, worker, step, {}, claim_next=False)
    ended = dict(await db.fetch("select id, status from tasks order by id"))
    assert ended.pop(poisoned) == "failed"
    assert set(ended.values()) == {"succeeded"}
