"""The past of tasks from a terminal, against a bot that serves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner, Result

from bot.cli import app
from core.store import people, tasks
from tests.web_house import House, served

Sayso = Callable[..., Awaitable[Result]]


@pytest.fixture
async def sayso(house: House, tmp_path: Path) -> AsyncIterator[Sayso]:
    """`sayso …` as Ann, who is an owner."""
    ann = await house.person("ann", "owner")
    (tmp_path / "api-token").write_text(await people.make_token(house.db, ann.id, "api", None), encoding="ascii")
    async with served(house.app) as base:
        environment = {"SAYSO_HOME": str(tmp_path), "HOST": "127.0.0.1", "PORT": str(urlsplit(base).port)}

        async def run(*args: str) -> Result:
            return await asyncio.to_thread(CliRunner().invoke, app, list(args), env=environment)

        yield run


async def ann_s_task(house: House) -> str:
    ann = await people.by_key(house.db, "ann")
    assert ann is not None
    task = await house.task(ann, goal="do files.delete\x1b[2J")
    await tasks.pause(house.db, task, ann.actor)
    return str(task)


async def test_tasks_are_listed_shown_and_shown_as_they_were(house: House, sayso: Sayso) -> None:
    task = await ann_s_task(house)
    listed = (await sayso("tasks")).stdout
    assert f"{task}: do files.delete" in listed and "\x1b" not in listed
    assert json.loads((await sayso("tasks", "--json")).stdout)[0]["status"] == "paused"
    now = await sayso("tasks", task)
    assert "(paused)" in now.stdout
    assert "1. files.delete: ready" in now.stdout
    assert "\x1b" not in now.stdout, "what others wrote does not move the cursor"
    for words in (("tasks", "show", task, "--at", "1"), ("tasks", task, "--at", "1"), ("tasks", "at", task, "1")):
        then = await sayso(*words)
        assert f"task {task} as of version 1.0" in then.stdout
        assert "(running)" in then.stdout
    assert json.loads((await sayso("tasks", task, "--at", "1", "--json")).stdout)["status"] == "running"


async def test_the_history_tells_who_changed_what_and_why(house: House, sayso: Sayso) -> None:
    task = await ann_s_task(house)
    lines = (await sayso("tasks", "history", task)).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert lines[1].endswith("task running → paused by ann: paused")


async def test_a_task_is_forked_and_put_back_from_a_terminal(house: House, sayso: Sayso) -> None:
    task = await ann_s_task(house)
    forked = await sayso("fork", task, "1", "--args", 'paths=["b.log"]', "--json")
    made = json.loads(forked.stdout)["task_id"]
    assert json.loads((await sayso("tasks", made, "--json")).stdout)["steps"][0]["args"] == {"paths": ["b.log"]}
    assert f"Task {int(made) + 1} goes on from step 1" in (await sayso("fork", task, "1", "--at", "2")).stdout
    back = await sayso("tasks", "rollback", task, "1")
    assert (back.exit_code, "nothing of the plan" in back.stderr) == (1, True)
    loose = await sayso("fork", task, "1", "--policy", "loose.yaml")
    assert (loose.exit_code, "replay --dry" in loose.stderr) == (2, True)
    assert (await sayso("fork", task, "1", "--args", "paths")).exit_code == 2


@pytest.mark.parametrize("verdict", ["approve", "deny"])
@pytest.mark.parametrize("is_verdict_first", [True, False])
async def test_an_approval_is_answered_with_the_verdict_before_or_after_its_id(
    house: House, sayso: Sayso, verdict: str, is_verdict_first: bool
) -> None:
    ann = await people.by_key(house.db, "ann")
    assert ann is not None
    _, approval = await house.ask(ann, args={"paths": ["old.log\x1b[2J"]})
    listed = (await sayso("approvals")).stdout
    assert approval in listed and "\x1b" not in listed
    words = (verdict, approval) if is_verdict_first else (approval, verdict)
    assert (await sayso("approvals", *words)).stdout == {"approve": "approved\n", "deny": "denied\n"}[verdict]
    again = await sayso("approvals", *words)
    assert (again.exit_code, "no such pending approval" in again.stderr) == (1, True)
    assert (await sayso("approvals", verdict)).exit_code == 2


async def test_an_approval_is_named_by_the_number_of_its_task_or_the_beginning_of_its_id(
    house: House, sayso: Sayso
) -> None:
    ann = await people.by_key(house.db, "ann")
    assert ann is not None
    three = [await house.ask(ann) for _ in range(3)]
    in_one_minute = three[:2] if three[0][1][:8] == three[1][1][:8] else three[1:]  # an id begins with its time
    (first, approval), (second, other) = in_one_minute
    shown = await sayso("approvals", approval[:30])
    assert f"{approval}, task {first}" in shown.stdout and other not in shown.stdout
    both = await sayso("approvals", "approve", approval[:8])
    assert (both.exit_code, "approvals are meant" in both.stderr) == (1, True)
    assert (await sayso("approvals", "deny", approval[:3])).exit_code == 1
    assert (await sayso("approvals", "approve", str(second))).stdout == "approved\n"
    assert await house.db.fetchval("select status from approvals where id = $1", approval) == "pending"


async def test_what_is_answered_in_words_is_printed(house: House, sayso: Sayso) -> None:
    task = await ann_s_task(house)
    assert "files.delete" in (await sayso("ask", "help")).stdout
    why = (await sayso("ask", f"why {task}", "--json")).stdout
    assert f"task {task}" in json.loads(why)["said"].lower()


async def test_what_is_not_there_ends_with_the_reason(house: House, sayso: Sayso) -> None:
    task = await ann_s_task(house)
    for words, why in (
        (("tasks", task, "--at", "9"), "there is no version 9; there are 1 to 2"),
        (("tasks", "history", "999"), "no such task"),
        (("tasks", "999"), "no such task"),
    ):
        ended = await sayso(*words)
        assert ended.exit_code == 1
        assert why in ended.stderr
    assert (await sayso("tasks", "sing")).exit_code == 2
