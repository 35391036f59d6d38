"""Forks and rollbacks on real parts: a worker carries them out, people are asked anew, what has happened stays."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.app import create_app
from core.models import Accepted
from core.store import children, people, tasks, versions
from tests.sim.llm_script import Asked, Reply, Script
from tests.test_llm_whole_way import FIND, REMOVE, plan, talking
from tests.test_whole_way import Sayso, eventually, running, sayso
from tests.web_house import BASE

__all__ = ["sayso"]
BOB = "T0ACME/U02BOB"
FORK_OF_BOB = """
people:
  ann: {name: Ann, roles: [owner], identities: {slack: T0ACME/U01ALICE}}
  bob: {name: Bob, roles: [engineer], identities: {slack: T0ACME/U02BOB}}
roles:
  engineer: {may: ["skill:files.list"]}
"""


@asynccontextmanager
async def api(sayso: Sayso, who: str = "ann") -> AsyncIterator[httpx.AsyncClient]:
    person = await people.by_key(sayso.deps.db, who)
    assert person is not None
    token = await people.make_token(sayso.deps.db, person.id, "api", None)
    transport = httpx.ASGITransport(create_app(sayso.deps))
    async with httpx.AsyncClient(
        transport=transport, base_url=BASE, headers={"authorization": f"Bearer {token}"}
    ) as made:
        yield made


def write(sayso: Sayso, *names: str) -> None:
    for name in names:
        (sayso.workspace / name).write_text(name, encoding="utf-8")


def there(sayso: Sayso) -> list[str]:
    return sorted(p.name for p in sayso.workspace.iterdir() if p.is_file())


async def said(sayso: Sayso) -> str:
    rows = await sayso.deps.db.fetch("select body ->> 'text' as text from outbox where kind = 'text' order by id")
    return str(rows[-1]["text"]) if rows else ""


async def cleaned(sayso: Sayso) -> int:
    """A runbook that found the logs and removed them with a yes."""
    write(sayso, "old.log", "keep.txt")
    task = await sayso.say("run clean-logs")
    assert task is not None
    await sayso.press((await sayso.approval_of(task))["id"], "approve")
    await sayso.until(task, "succeeded")
    return task


# ---------------------------------------------------------------- forks


async def test_a_fork_keeps_what_came_before_and_asks_anew_for_what_it_does(sayso: Sayso) -> None:
    source = await cleaned(sayso)
    await children.set_deadline(sayso.deps.db, source, 3600)
    write(sayso, "b.txt")
    made = await sayso.say(f"fork {source} 2 paths=b.txt")
    given = await sayso.deps.db.fetch("select ends_by - created_at as time from tasks order by id")
    assert given[0]["time"] == given[1]["time"], "it has as much time"
    assert made not in (None, source)
    approval = await sayso.approval_of(made)
    assert there(sayso) == ["b.txt", "keep.txt"], "the yes for the source is none for the fork"
    assert approval["items"][0]["action"]["args"] == {"paths": ["b.txt"]}
    assert not any("comes from" in line for line in approval["card"].get("provenance", ())), (
        "b.txt is the forker's own word"
    )
    fork = await sayso.task(made)
    assert (fork["forked_from"], fork["steps"][0]["status"]) == (str(source), "succeeded")
    assert fork["steps"][0]["result"]["paths"] == ["old.log"], "kept, not run again"
    assert f"Step 2 happened in task {source} and is done again here" in await said(sayso)
    assert isinstance(await sayso.press(approval["id"], "approve"), Accepted)
    await sayso.until(made, "succeeded")
    assert there(sayso) == ["keep.txt"]
    keys = await sayso.deps.db.fetch("select key from effects where n = 2 order by task_id")
    assert [k["key"] for k in keys] == [f"sayso:{source}:2:1", f"sayso:{made}:2:1"]
    assert (await sayso.task(source))["steps"][1]["args"] == {"paths": "{{ 1.paths }}"}, "the source is as it was"


async def test_a_fork_over_the_api_is_the_caller_s_own_words_and_may_be_sent_twice(sayso: Sayso) -> None:
    source = await cleaned(sayso)
    write(sayso, "a b.txt", 'it"s.txt')
    async with api(sayso) as http:
        body: dict[str, Any] = {"step": 2, "args": {"paths": ["a b.txt"]}, "idempotency_key": uuid.uuid4().hex}
        first = await http.post(f"/api/tasks/{source}/fork", json=body)
        again = await http.post(f"/api/tasks/{source}/fork", json=body)
        assert (first.status_code, first.json()["task_id"]) == (202, again.json()["task_id"])
        made = int(first.json()["task_id"])
        approval = await sayso.approval_of(made)
        assert "provenance" not in approval["card"]
        refused = {}
        for name, odd in {
            "step": {"step": 7}, "argument": {"step": 2, "args": {"colour": "red"}}, "version": {"step": 2, "at": "99"},
            "model": {"step": 2, "model": "openai/x"}, "field": {"step": 2, "policy": "loose.yaml"},
            "old": {"step": 2, "version": 1},
        }.items():  # fmt: skip
            answer = await http.post(f"/api/tasks/{source}/fork", json=odd)
            refused[name] = (answer.status_code, answer.json()["error"])
        assert refused["step"] == (422, "there is no step 7; there are 1, 2")
        assert refused["argument"] == (422, "files.delete takes no 'colour'; it takes paths")
        assert refused["version"][0] == refused["model"][0] == refused["field"][0] == 422
        assert refused["old"][0] == 409
        assert (await http.post("/api/tasks/999/fork", json={"step": 1})).status_code == 404
    assert await sayso.deps.db.fetchval("select count(*) from tasks") == 2, "what is refused leaves nothing behind"
    await sayso.press(approval["id"], "deny")


async def test_a_fork_starts_from_a_version_when_one_is_named(sayso: Sayso) -> None:
    source = await cleaned(sayso)
    listed = await versions.listed(sayso.deps.db, source)
    found = next(m["label"] for v in listed for m in v["moves"] if (m["n"], m["to"]) == (1, "succeeded"))
    write(sayso, "old.log")
    async with api(sayso) as http:
        made = (await http.post(f"/api/tasks/{source}/fork", json={"step": 2, "at": found})).json()
        early = await http.post(f"/api/tasks/{source}/fork", json={"step": 2, "at": "1.0"})
    assert "happened" not in made["said"], "at that version nothing had"
    assert early.status_code == 422
    assert "step 1, which step 2 needs, has not ended yet" in early.json()["error"]
    await sayso.press((await sayso.approval_of(int(made["task_id"])))["id"], "deny")


async def test_whoever_sees_a_task_may_fork_it_and_takes_another_s_words_for_no_own(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with running(database_url, redis_url, tmp_path, FORK_OF_BOB) as sayso:
        write(sayso, "a.log")
        mine = await sayso.say("do files.list pattern=*")
        await sayso.until(mine, "succeeded")
        assert await sayso.say(f"fork {mine} 1", who=BOB) is None
        assert await said(sayso) == "There is no such task, or you may not see it."
        assert await sayso.deps.db.fetchval("select count(*) from tasks") == 1
        his = await sayso.say("do files.list pattern=a.*", who=BOB)
        await sayso.until(his, "succeeded")
        forked = await sayso.until(await sayso.say(f"fork {his} 1"), "succeeded")
        assert forked["requester"] == "ann"
        origins = await sayso.deps.db.fetchval("select origins from steps where task_id = $1", int(forked["id"]))
        assert origins["pattern"]["origin"] == "untrusted"
        bounds = await sayso.deps.db.fetchval(
            "select array_agg(p.key) from tasks t join principals p on p.id = any (t.steered_by) where t.id = $1",
            int(forked["id"]),
        )
        assert bounds == ["bob"], "his rights bound it"


async def test_a_fork_is_bounded_by_the_rights_of_who_had_asked(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Ann may delete, Bob may not: what Bob asked for is not done by Ann's forking it."""
    async with running(database_url, redis_url, tmp_path, FORK_OF_BOB) as sayso:
        write(sayso, "a.log")
        source = await sayso.say("do files.delete paths=a.log", who=BOB)
        assert "may not use files.delete" in (await sayso.until(source, "failed"))["error"]
        ended = await sayso.until(await sayso.say(f"fork {source} 1"), "failed")
        assert "Bob may not use files.delete" in ended["error"]
        assert there(sayso) == ["a.log"]


async def test_another_model_plans_a_fork_and_knows_what_was_wanted(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    script = Script(plan(FIND, then="answer"), plan(FIND), "Two ways.")
    async with talking("openai", script, database_url, redis_url, tmp_path) as (sayso, _):
        source = await sayso.say("please look for logs")
        await sayso.until(source, "succeeded")
        made = await sayso.until(await sayso.say(f"fork {source} 1 model=openai/gpt-5.4-mini"), "succeeded")
        assert [s["kind"] for s in made["steps"]] == ["plan", "act", "think"]
        models = await sayso.deps.db.fetch(
            "select model from llm_calls where task_id = $1 order by id", int(made["id"])
        )
        assert [m["model"] for m in models] == ["gpt-5.4-mini"] * 2
        assert [asked.last() for asked in script.asked[:2]] == ["please look for logs"] * 2, (
            "not the words that forked it"
        )
        unknown = await sayso.until(await sayso.say(f"fork {source} 1 model=openai/gpt-99"), "failed")
        assert "openai/gpt-99 is not among the models configured here" in unknown["error"]


@pytest.mark.parametrize("words", ["fork the repository for me", "fork 12", "rollback the release", "rollback 12"])
async def test_plain_sentences_are_no_forks(sayso: Sayso, words: str) -> None:
    assert await sayso.say(words) is None
    assert "no language model" in await said(sayso)


# ---------------------------------------------------------------- rollbacks


async def test_an_open_task_goes_back_to_its_plan_and_is_planned_anew(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    script = Script(plan(FIND, REMOVE), plan(FIND, then="answer", say="Only looking."))
    async with talking("openai", script, database_url, redis_url, tmp_path) as (sayso, _):
        write(sayso, "old.log")
        task = await sayso.say("please tidy the logs")
        assert task is not None
        approval = await sayso.approval_of(task)
        before = await sayso.task(task)
        assert await sayso.say(f"rollback {task} 1.0") == task
        done = await sayso.until(task, "succeeded")
        assert there(sayso) == ["old.log"]
        pending = await sayso.deps.db.fetchval("select status from approvals where id = $1::text::uuid", approval["id"])
        assert pending == "cancelled", "a yes to what was dropped comes too late"
        statuses = {s["n"]: (s["status"], s["error"]) for s in done["steps"]}
        assert statuses[3] == ("cancelled", "rolled back to version 1.0")
        assert done["steps"][-1]["skill"] == "files.list"
        assert done["plan_version"] == before["plan_version"] + 2
        then = await versions.shown_at(sayso.deps.db, task, str(before["version"]))
        assert then is not None and then["steps"] == before["steps"], (
            "and what was before the rollback can still be shown"
        )
        assert len(script.asked) == 2


async def test_what_has_happened_stays_and_is_said_with_its_undo(sayso: Sayso) -> None:
    write(sayso, "a.log", "b.log")
    task = await sayso.say("run clean-logs pattern=a.log")
    await sayso.press((await sayso.approval_of(task))["id"], "approve")
    await sayso.until(task, "succeeded")
    made = await sayso.say(f"rollback {task} 1.0")
    words = await said(sayso)
    assert f"Task {task} has ended, so task {made} goes on from its version 1.0" in words
    assert f"do files.delete.undo task={task} step=2" in words
    ended = await sayso.until(made, "succeeded")
    assert [s["status"] for s in ended["steps"]] == ["succeeded", "succeeded"]
    assert there(sayso) == ["b.log"]
    effects = await sayso.deps.db.fetchval("select count(*) from effects")
    assert effects == 1, "deleted once"
    await sayso.until(await sayso.say(f"do files.delete.undo task={task} step=2"), "succeeded")
    assert there(sayso) == ["a.log", "b.log"]


async def test_a_failed_task_goes_back_and_on(sayso: Sayso) -> None:
    task = await sayso.say("do files.read path=a.txt")
    assert task is not None
    failed = await sayso.until(task, "failed")
    write(sayso, "a.txt")
    assert await sayso.say(f"rollback {task} 1") == task
    await sayso.until(task, "succeeded")
    then = await versions.shown_at(sayso.deps.db, task, str(failed["version"]))
    assert then is not None
    assert (then["status"], then["error"], then["steps"]) == ("failed", failed["error"], failed["steps"])


async def test_what_was_denied_is_asked_anew_in_a_task_that_goes_on(sayso: Sayso) -> None:
    write(sayso, "a.txt")
    task = await sayso.say("do files.delete paths=a.txt")
    first = await sayso.approval_of(task)
    await sayso.press(first["id"], "deny")
    await sayso.until(task, "abandoned")
    made = await sayso.say(f"rollback {task} 1")
    assert made != task, "an abandoned task is over"
    second = await sayso.approval_of(made)
    assert second["digest"] != first["digest"], "another task is another action"
    await sayso.press(second["id"], "approve")
    await sayso.until(made, "succeeded")
    assert there(sayso) == []


async def test_a_rollback_is_for_who_may_steer_and_names_what_it_cannot_do(sayso: Sayso) -> None:
    write(sayso, "a.txt")
    task = await sayso.say("do files.delete paths=a.txt")
    await sayso.approval_of(task)
    async with api(sayso, "bob") as bob, api(sayso) as ann:
        path = f"/api/tasks/{task}/rollback"
        assert (await bob.post(path, json={"to": "1"})).status_code == 404
        version = (await ann.get(f"/api/tasks/{task}")).json()["version"]
        answers = {to: await ann.post(path, json={"to": to}) for to in (str(version), "99", "soon")}
        assert {to: a.status_code for to, a in answers.items()} == {str(version): 422, "99": 422, "soon": 422}
        assert answers[str(version)].json()["error"] == f"task {task} is at version {version} already"
        assert (await ann.post(path, json={"to": "1", "version": 1})).status_code == 409
    await tasks.cancel(sayso.deps.db, task or 0, "person:ann", "enough")


async def test_a_running_turn_of_a_plan_that_was_put_back_writes_nothing(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """The turn is with the model when the plan is put back; what it then proposes is thrown away."""

    def answer(asked: Asked) -> Reply:
        meddling = plan(REMOVE | {"needs": [], "args": {"paths": ["old.log"]}})
        return replace(meddling, held=held) if "<result step" in asked.last() else plan(FIND, then="answer")

    held = asyncio.Event()
    script = Script(plan(FIND), answer, answer)
    async with talking("openai", script, database_url, redis_url, tmp_path) as (sayso, _):
        write(sayso, "old.log")
        task = await sayso.say("please tidy the logs")

        async def thinking() -> bool:
            steps = (await sayso.task(task))["steps"]
            return any(s["kind"] == "think" and s["status"] == "running" for s in steps)

        await eventually(thinking)
        await eventually(lambda: len(script.asked) == 2)
        assert await sayso.say(f"rollback {task} 1.0") == task
        held.set()
        done = await sayso.until(task, "succeeded")
        await eventually(lambda: len(script.asked) == 3)
        await eventually(
            lambda: sayso.deps.db.fetchval(
                "select count(*) = 3 from llm_calls where outcome in ('answered', 'cancelled')"
            )
        )
        done = await sayso.task(task)
        assert there(sayso) == ["old.log"]
    assert "files.delete" not in {s["skill"] for s in done["steps"]}
