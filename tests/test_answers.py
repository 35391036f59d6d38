"""No answer is bought twice: a turn whose worker died after the model had answered goes on with what it said."""

from __future__ import annotations

from pathlib import Path

from tests.processes import open_plant, until
from tests.sim.llm_script import Script
from tests.sim.llm_server import KEY
from tests.sim.openai import OpenAISim
from tests.test_llm_whole_way import plan, talking

UNREADABLE = {"id": "find", "skill": "files.lst", "args": {}}


async def test_a_turn_whose_worker_died_before_its_outcome_goes_on_with_the_answer_it_had(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with (
        OpenAISim(Script("All is well.")) as sim,
        open_plant(tmp_path / "home", database_url, redis_url) as plant,
    ):
        environment = dict(plant.environment) | {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": sim.base_url}
        plant.environment = environment
        settings = type(plant.deps.settings).load(environment, plant.home)
        plant.deps = type(plant.deps)(settings, plant.deps.organisation, plant.db, plant.deps.ring)
        task = await plant.say("how are you?")
        async with plant.locked(task):
            first = await plant.worker()

            async def answered() -> bool:
                return bool(await plant.db.fetchval("select count(*) from answers where task_id = $1", task))

            await until(answered, "the model's answer is kept")
            waiting = await plant.waits_in("")  # to write the outcome
            first.kill()
            await plant.end_session(waiting)
        await plant.worker()
        await plant.is_task(task, "succeeded")
        step = await plant.step(task)
        assert (step["result"], step["attempt"]) == ({"text": "All is well."}, 2)
        assert len(sim.script.asked) == 1
        assert await plant.db.fetchval("select count(*) from llm_calls") == 1


async def test_answers_that_made_no_sense_are_not_kept_for_another_try(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    script = Script(plan(UNREADABLE), plan(UNREADABLE), "Now I see.")
    async with talking("openai", script, database_url, redis_url, tmp_path) as (sayso, _):
        task = await sayso.say("what is there?")
        approval = await sayso.approval_of(task)
        assert await sayso.deps.db.fetchval("select count(*) from answers") == 0
        await sayso.press(approval["id"], "approve")
        await sayso.until(task, "succeeded")
        kept = await sayso.deps.db.fetch("select answer from answers")
    assert [row["answer"]["text"] for row in kept] == ["Now I see."]
    assert len(script.asked) == 3


async def test_a_kept_answer_holds_no_secret_of_ours(database_url: str, redis_url: str, tmp_path: Path) -> None:
    script = Script(f"The key is {KEY}.")
    async with talking("openai", script, database_url, redis_url, tmp_path) as (sayso, _):
        await sayso.until(await sayso.say("what is the key?"), "succeeded")
        kept = await sayso.deps.db.fetchval("select answer ->> 'text' from answers")
    assert kept == "The key is ‹secret›."
