"""A dry rerun: the same plan judged again, with nothing done, nobody asked and nothing written."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from bot.cli import app
from core.db import open_pool
from core.store import skills
from tests import sink
from tests.patience import PATIENCE_S
from tests.processes import Plant, plant_fixture
from tests.sim.llm_script import Script
from tests.test_llm_whole_way import FIND, REMOVE, plan, talking
from tests.test_whole_way import ACME, Sayso, sayso
from worker.replay import replayed
from worker.replay_walk import Line

__all__ = ["plant_fixture", "sayso"]
KEEP = "    - name: keep\n"
STRICTER = ACME.replace(
    KEEP, f"    - {{name: no deletions, skill: files.delete, then: deny, say: Nothing is deleted.}}\n{KEEP}"
)
LOOSER = ACME.replace(KEEP, f"    - {{name: all of it, skill: files.delete, then: allow}}\n{KEEP}")
ROOT = Path(__file__).resolve().parent.parent


async def again(
    sayso: Sayso, task: int | None, rules: Path | None = None, changed: dict[int, dict[str, Any]] | None = None
) -> list[Line]:
    lines = await replayed(sayso.deps.settings, task or 0, rules, changed or {})
    assert lines is not None
    return lines


async def test_a_planned_task_replays_as_it_was_and_no_model_is_asked(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    script = Script(plan(FIND, REMOVE), "Gone: old.log.")
    async with talking("openai", script, database_url, redis_url, tmp_path) as (sayso, sim):
        (sayso.workspace / "old.log").write_text("old", encoding="utf-8")
        task = await sayso.say("please tidy away the logs")
        await sayso.press((await sayso.approval_of(task))["id"], "approve")
        await sayso.until(task, "succeeded")
        (sayso.workspace / "old.log").write_text("here again", encoding="utf-8")
        await sayso.say("tasks")  # what is said later changes no question of then
        lines = await again(sayso, task)
        assert [(line.what, line.then, line.now) for line in lines] == [
            ("plan", "answered", "answered"), ("files.list", "allow", "allow"), ("files.delete", "ask", "ask"),
            ("turn", "answered", "answered"),
        ]  # fmt: skip
        assert all(line.is_same for line in lines)
        assert lines[2].digest == "same", "the deleted file's content is as it was recorded, not as it is"
        assert "approved by Ann" in lines[2].why_then
        assert len(script.asked) == len(sim.journal) == 2
        assert (sayso.workspace / "old.log").exists()


async def test_other_rules_are_tried_on_what_was_done_and_change_nothing(sayso: Sayso, tmp_path: Path) -> None:
    (sayso.workspace / "old.log").write_text("old", encoding="utf-8")
    task = await sayso.say("do files.delete paths=old.log")
    await sayso.press((await sayso.approval_of(task))["id"], "approve")
    await sayso.until(task, "succeeded")
    events = await sayso.deps.db.fetchval("select count(*) from events")
    for text, now, why in ((STRICTER, "deny", "Nothing is deleted."), (LOOSER, "allow", "all of it")):
        rules = tmp_path / "other.yaml"
        rules.write_text(text, encoding="utf-8")
        [line] = await again(sayso, task, rules)
        assert (line.then, line.now, line.is_same) == ("ask", now, False)
        assert why in line.why_now
    [line] = await again(sayso, task, changed={1: {"paths": ["keep/a.log"]}})
    assert (line.now, line.drift, line.digest) == ("deny", ("target", "args.paths"), "differs")
    assert "keep/ stays." in line.why_now
    assert await sayso.deps.db.fetchval("select count(*) from events") == events
    assert (sayso.workspace / "old.log").exists() is False


async def test_the_pool_of_a_replay_can_write_nothing(database_url: str) -> None:
    pool = await open_pool(database_url, most=1, readonly=True)
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await pool.execute("insert into principals (key) values ('eve')")
    await pool.close()


async def test_a_denied_step_and_what_it_kept_from_running_are_told_apart(sayso: Sayso) -> None:
    (sayso.workspace / "old.log").write_text("old", encoding="utf-8")
    task = await sayso.say("run clean-logs")
    await sayso.press((await sayso.approval_of(task))["id"], "deny", reason="still needed")
    await sayso.until(task, "abandoned")
    _, denied = await again(sayso, task)
    assert (denied.then, denied.now) == ("ask", "ask")
    assert "denied by Ann" in denied.why_then
    missing = await sayso.say("do files.read path=nowhere.txt")
    await sayso.until(missing, "failed")
    [read] = await again(sayso, missing)
    assert (read.then, read.now, read.is_same) == ("allow", "allow", True)


async def test_from_a_terminal_nothing_outside_is_called_and_the_exit_code_tells(plant: Plant) -> None:
    address = plant.sink()
    await plant.worker()
    task = await plant.say(f"do http.request method=POST url={address}/answer body=pay")
    await plant.press(await plant.asked(task), "approve")
    await plant.is_task(task, "succeeded")
    assert len(sink.calls(plant.ledger)) == 1

    async def run(*args: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["replay", *args], env=plant.environment)

    same = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "bot.cli", "replay", "--dry", str(task), "--json"], cwd=ROOT,
        env={**os.environ, **plant.environment}, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert same.returncode == 0, same.stderr
    [line] = json.loads(same.stdout)
    assert (line["what"], line["then"], line["now"], line["digest"]) == ("http.request", "ask", "ask", "same")
    rules = plant.home / "other.yaml"
    rules.write_text(
        "policy: {rules: [{name: closed, skill: 'http.*', then: deny, say: No calls.}]}\n", encoding="utf-8"
    )
    other = await run("--dry", str(task), "--policy", str(rules))
    assert (other.exit_code, "then ask, now deny" in other.stdout, "No calls." in other.stdout) == (1, True, True)
    for words in ((str(task),), ("--dry", "999"), ("--dry", str(task), "--step", "1")):
        assert (await run(*words)).exit_code == 2
    assert len(sink.calls(plant.ledger)) == 1
    assert await skills.manifests(plant.db)
