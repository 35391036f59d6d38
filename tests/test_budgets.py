"""Budgets: what is used up asks, a yes allows the same once more, and nothing is bought while nobody has answered."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.budgets import Over, Used, day_began, tokens_left, used_up
from core.db import Pool
from core.models import Accepted, PlannedStep
from core.organisation import Budget, OrganisationError, parse
from core.store import spending, steps
from tests.sim.llm_script import Asked, Reply, Script
from tests.sim.llm_server import KEY
from tests.sim.openai import OpenAISim
from tests.test_children import claimed, spawn
from tests.test_llm_whole_way import plan
from tests.test_whole_way import ACME, running

TASK = {"task": Budget(usd=2.0, tokens=1000, steps=10, minutes=5)}


def used(raised: dict[str, int] | None = None, **task: float) -> Used:
    return Used({"task": {"usd": 0, "tokens": 0, "steps": 0, "minutes": 0} | task, "person_day": {}}, raised or {})


@pytest.mark.parametrize(
    ("amounts", "thinking", "names"),
    [
        ({"usd": 1.99, "tokens": 999, "steps": 9, "minutes": 4.9}, True, None),
        ({"usd": 2.0}, True, "task.usd"),
        ({"usd": 2.0}, False, None),
        ({"tokens": 1000}, True, "task.tokens"),
        ({"steps": 10}, False, "task.steps"),
        ({"steps": 10}, True, "task.steps"),
        ({"minutes": 5}, False, "task.minutes"),
    ],
)
def test_a_budget_is_used_up_exactly_at_its_limit(amounts: dict[str, float], thinking: bool, names: str | None) -> None:
    over = used_up(TASK, used(**amounts), thinking=thinking)
    assert (over.name if over else None) == names


def test_each_yes_allows_the_same_amount_once_more() -> None:
    assert used_up(TASK, used({"task.steps": 1}, steps=19), thinking=False) is None
    over = used_up(TASK, used({"task.steps": 1}, steps=20), thinking=False)
    assert over == Over("task", "steps", 20, 20, 10)
    assert over.title == "Go on, with another 10 steps?"
    assert over.reason == "This task has used 20 steps; the budget is 20 steps."


def test_an_answer_gets_no_more_tokens_than_are_left() -> None:
    both = {"task": Budget(tokens=1000), "person_day": Budget(tokens=500)}
    seen = Used({"task": {"tokens": 100}, "person_day": {"tokens": 450}}, {})
    assert tokens_left(both, seen) == 50
    assert tokens_left({"task": Budget(usd=1)}, seen) is None


def test_a_day_begins_at_midnight_where_the_organisation_is() -> None:
    began = day_began(datetime(2026, 10, 25, 23, 30, tzinfo=UTC), "Europe/Berlin")
    assert (began.day, began.hour) == (26, 0)
    assert day_began(began, "Europe/Berlin") == began


def test_steps_of_a_day_cannot_be_counted_and_the_file_is_told_so() -> None:
    with pytest.raises(OrganisationError, match="steps and minutes belong under task"):
        parse("policy: {budgets: {person_day: {steps: 5}}}")


RUNBOOK = """
people:
  ann: {name: Ann, roles: [owner], identities: {slack: T0ACME/U01ALICE}}
policy: {budgets: {task: {steps: 2}}}
runbooks:
  look:
    steps:
      - {id: a, skill: files.list}
      - {id: b, skill: files.list, needs: [a]}
      - {id: c, skill: files.list, needs: [b]}
      - {id: d, skill: files.list, needs: [c]}
      - {id: e, skill: files.list, needs: [d]}
"""


async def test_a_runbook_asks_after_each_allowance_of_steps_and_goes_on_with_a_yes(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with running(database_url, redis_url, tmp_path, RUNBOOK) as sayso:
        number = await sayso.say("run look")
        first = await sayso.approval_of(number)
        statuses = [step["status"] for step in (await sayso.task(number))["steps"]]
        assert statuses == ["succeeded", "succeeded", "awaiting_approval", "blocked", "blocked"]
        assert (first["kind"], first["card"]["title"]) == ("budget", "Go on, with another 2 steps?")
        assert isinstance(await sayso.press(first["id"], "approve"), Accepted)
        await sayso.until(number, "waiting")
        second = await sayso.approval_of(number)
        assert second["id"] != first["id"]
        assert second["card"]["reasons"] == ["This task has used 4 steps; the budget is 4 steps."]
        await sayso.press(second["id"], "deny", reason="enough")
        ended = await sayso.until(number, "abandoned")
    assert "enough" in ended["error"]


async def test_steps_that_run_out_at_once_ask_once(database_url: str, redis_url: str, tmp_path: Path) -> None:
    looks = "".join(f"      - {{id: s{n}, skill: files.list}}\n" for n in range(5))
    file = RUNBOOK.partition("runbooks:")[0] + f"runbooks:\n  wide:\n    steps:\n{looks}"
    async with running(database_url, redis_url, tmp_path, file) as sayso:
        number = await sayso.say("run wide")
        for done in (2, 4):
            await sayso.until(number, "waiting")
            approval = await sayso.approval_of(number)
            task = await sayso.task(number)
            assert [s["status"] for s in task["steps"]].count("succeeded") == done
            assert {s["approval_id"] for s in task["steps"] if s["status"] == "awaiting_approval"} == {approval["id"]}
            await sayso.press(approval["id"], "approve")
        await sayso.until(number, "succeeded")
        kinds = await sayso.deps.db.fetch("select kind, status from approvals")
    assert [tuple(k) for k in kinds] == [("budget", "consumed")] * 2


async def test_a_child_uses_the_budget_of_who_started_it(database_url: str, redis_url: str, tmp_path: Path) -> None:
    file = (
        RUNBOOK
        + "  over:\n    steps:\n      - {id: sub, spawn: {run: look}}\n      - {id: end, wait: {task: sub}}\n"
        + ("      - {id: look, skill: files.list, needs: [end]}\n")
    )
    async with running(database_url, redis_url, tmp_path, file.replace("steps: 2", "steps: 5")) as sayso:
        number = await sayso.say("run over")
        approval = await sayso.approval_of(number)
    assert approval["card"]["reasons"] == ["This task has used 5 steps; the budget is 5 steps."]


async def test_rules_see_what_the_whole_piece_of_work_has_spent(db: Pool) -> None:
    worker = await steps.enrol(db, "host", 1, "test", 3600)
    top, (step,) = await claimed(db, worker, PlannedStep(n=1, kind="wait", args={"for": "spawn", "goal": "g"}))
    spawned = await spawn(db, worker, step)
    for task in (top, int(spawned["task"])):
        await db.execute(
            "insert into llm_calls (task_id, purpose, provider, model, prompt_sha256, usd, outcome)"
            " values ($1, '', '', '', '', 2, 'ok')",
            task,
        )
    (turn,) = await steps.claim(db, worker, "default", 5)
    for one in (step, turn):
        assert await spending.past(db, {"spent", "new_target", "rate"}, one, "x") == {
            "spent": 4.0, "new_target": True, "rate": 0,
        }  # fmt: skip


async def test_a_model_that_never_ends_is_stopped_at_the_budget_and_asked_nothing_after(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    look = {"id": "look", "skill": "files.list", "args": {}}

    def again(_: Asked) -> Reply:
        return plan(look)

    script = Script(otherwise=again)
    file = ACME.replace("policy:\n", "policy:\n  budgets: {task: {tokens: 9000}}\n")
    async with OpenAISim(script) as sim:
        environment: dict[str, Any] = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": sim.base_url}
        async with running(database_url, redis_url, tmp_path, file, **environment) as sayso:
            number = await sayso.say("look again and again")
            approval = await sayso.approval_of(number)
            bought = await sayso.deps.db.fetchrow(
                "select count(*) as calls, sum(input_tokens + output_tokens) as tokens from llm_calls"
            )
            assert approval["kind"] == "budget"
            assert bought["tokens"] >= 9000
            assert bought["calls"] == len(script.asked), "nothing was asked after it was used up"
            await sayso.press(approval["id"], "approve")
            await sayso.until(number, "waiting", "failed")
            assert len(script.asked) > bought["calls"]


async def test_a_yes_to_the_budget_is_no_yes_to_the_action(database_url: str, redis_url: str, tmp_path: Path) -> None:
    file = RUNBOOK.replace("steps: 2", "steps: 1").replace(
        "- {id: b, skill: files.list, needs: [a]}", "- {id: b, skill: files.delete, args: {paths: [x.md]}, needs: [a]}"
    )
    async with running(database_url, redis_url, tmp_path, file) as sayso:
        (sayso.workspace / "x.md").write_text("x", encoding="utf-8")
        number = await sayso.say("run look")
        budget = await sayso.approval_of(number)
        assert budget["kind"] == "budget"
        await sayso.press(budget["id"], "approve")
        await sayso.until(number, "waiting")
        action = await sayso.approval_of(number)
        assert action["kind"] == "action"
        assert "changed since" not in str(action["card"]["reasons"])
        assert (sayso.workspace / "x.md").exists()
        await sayso.press(action["id"], "approve")
        await sayso.until(number, "waiting")
        assert not (sayso.workspace / "x.md").exists()
