"""A task as it was at any of its versions, and calls that name the version they saw."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import httpx
import pytest

from core.models import EffectClass, PlannedStep
from core.store import families, steps, tasks, versions
from core.versions import NoSuchVersion
from tests.web_house import House


def act(n: int, *needs: int, skill: str = "files.list", args: dict[str, Any] | None = None) -> PlannedStep:
    return PlannedStep(n=n, kind="act", skill=skill, args=args or {"pattern": f"{n}.*"}, needs=needs, title=f"step {n}")


def turn(n: int, *needs: int, kind: Any = "think") -> PlannedStep:
    return PlannedStep(n=n, kind=kind, needs=needs, after="settled", effect_class=EffectClass.PURE)


async def planned_task(house: House, *planned: PlannedStep, who: str = "ann") -> int:
    person = await house.person(who, "owner")
    made = await tasks.create(
        house.db, requester=person.id, goal="tidy up", kind="plan", actor=person.actor, steps=planned,
        conversation=await house.place(person),
    )  # fmt: skip
    assert made is not None
    return made


async def carry(house: House, task: int, result: dict[str, Any], *added: PlannedStep) -> None:
    """The next ready step of the task succeeds."""
    [step] = [s for s in await steps.claim(house.db, house.worker, "default", 1) if s.task_id == task]
    done = await steps.complete(house.db, house.worker, step, result, added, claim_next=False)
    assert done.ok


async def whole(house: House, task: int) -> dict[str, Any]:
    found = await tasks.whole(house.db, task)
    assert found is not None
    return found


async def at(house: House, task: int, label: str) -> dict[str, Any]:
    found = await versions.shown_at(house.db, task, label)
    assert found is not None
    return found


def gist(task: dict[str, Any]) -> tuple[str, int, list[tuple[int, str, Any]]]:
    return task["status"], task["plan_version"], [(s["n"], s["status"], s["result"]) for s in task["steps"]]


async def test_every_version_shows_plan_steps_and_results_as_they_were(house: House) -> None:
    task = await planned_task(house, turn(1, kind="plan"))
    then = {}
    for result, added in (
        ({"steps": [2, 3]}, (act(2, 1), act(3, 2))),
        ({"paths": ["a.log"]}, ()),
        ({"paths": ["b.log"]}, ()),
    ):
        now = await whole(house, task)
        then[now["version"]] = gist(now)
        await carry(house, task, result, *added)
    final = await whole(house, task)
    then[final["version"]] = gist(final)
    assert final["status"] == "succeeded"
    assert final["plan_version"] == 2
    listed = await versions.listed(house.db, task)
    assert [v["version"] for v in listed] == list(range(1, final["version"] + 1))
    # What was seen before the first move was the task at version 1, before anything happened in it.
    assert gist(await at(house, task, "1.0")) == then[1] == ("planning", 1, [(1, "ready", None)])
    assert gist(await at(house, task, str(final["version"]))) == gist(final)
    every = list(dict.fromkeys(m["label"] for v in listed for m in (v, *v["moves"])))
    seen = [gist(await at(house, task, label)) for label in every]
    assert ("planning", 2, [(1, "succeeded", {"steps": [2, 3]}), (2, "ready", None), (3, "blocked", None)]) in seen
    for before, after in itertools.pairwise(seen):
        assert before != after, "each commit changes what is seen"
    assert [len(s[2]) for s in seen] == sorted(len(s[2]) for s in seen), "steps do not vanish"


async def test_each_version_says_who_made_it_and_why(house: House) -> None:
    task = await planned_task(house, turn(1, kind="plan"))
    await carry(house, task, {"steps": [2]}, act(2, 1))
    await tasks.pause(house.db, task, "person:ann")
    listed = await versions.listed(house.db, task)
    assert [(v["machine"], v["to"]) for v in listed] == [
        ("task", "planning"), ("plan", "changed"), ("task", "running"), ("task", "paused"),
    ]  # fmt: skip
    assert (listed[0]["actor"], listed[0]["why"]) == ("person:ann", "tidy up")
    assert (listed[-1]["actor"], listed[-1]["why"]) == ("person:ann", "paused")
    assert listed[1]["actor"] == f"worker:{house.worker}"


async def test_what_a_retry_writes_over_is_still_shown(house: House) -> None:
    task = await planned_task(house, act(1), act(2, 1))
    [step] = await steps.claim(house.db, house.worker, "default", 1)
    await steps.fail(house.db, house.worker, step, "disk full", "error", None)
    failed = await whole(house, task)
    assert failed["status"] == "failed"
    await tasks.retry(house.db, task, "person:ann")
    await carry(house, task, {"paths": []})
    await carry(house, task, {"paths": []})
    then = await at(house, task, str(failed["version"]))
    then.pop("as_of")
    assert then == failed
    assert (await whole(house, task))["status"] == "succeeded"


async def test_arguments_that_were_amended_are_shown_as_they_were(house: House) -> None:
    ann = await house.person("ann", "owner")
    task, approval = await house.ask(ann)
    before = await whole(house, task)
    async with house.db.acquire() as connection, connection.transaction():
        await connection.execute("update steps set args = $2 where task_id = $1", task, {"paths": ["new.log"]})
        await connection.execute("update approvals set status = 'superseded' where task_id = $1", task)
        await connection.execute(
            "update steps set status = 'ready', ready_at = now(), waits_for = null where task_id = $1", task
        )
        await connection.fetchval("select settle($1)", task)
    then, now = await at(house, task, str(before["version"])), await whole(house, task)
    assert now["steps"][0]["args"] == {"paths": ["new.log"]}
    listed = await versions.listed(house.db, task)
    parked = next(m["label"] for v in listed for m in v["moves"] if m["to"] == "awaiting_approval")
    then = await at(house, task, parked)
    assert then["steps"][0]["args"] == {"paths": ["old.log"]}
    assert then["steps"][0]["approval_id"] == approval


@pytest.mark.parametrize("label", ["0", "9", "1.7", "x", "-1", "1.", "9" * 30, "²"])
async def test_a_version_that_never_was_is_refused_with_those_that_were(house: House, label: str) -> None:
    task = await planned_task(house, act(1))
    with pytest.raises(NoSuchVersion, match=r"there is only version 1|it ends with 1\.0|write one like"):
        await versions.shown_at(house.db, task, label)


# ---------------------------------------------------------------- over the API


async def test_the_past_is_shown_over_the_api_to_those_who_may_see_the_task(house: House) -> None:
    ann, eve = await house.person("ann", "engineer"), await house.person("eve", "engineer")
    task = await house.task(ann)
    api, other = await house.api(ann), await house.api(eve)
    assert (await api.get(f"/api/tasks/{task}")).headers["etag"] == '"1"'
    assert (await pause(api, task)).status_code == 200
    now = await api.get(f"/api/tasks/{task}")
    assert (now.headers["etag"], now.json()["status"]) == ('"2"', "paused")
    then = (await api.get(f"/api/tasks/{task}?version=1")).json()
    assert (then["status"], then["version"], then["as_of"]["version"]) == ("running", 1, "1.0")
    missing = await api.get(f"/api/tasks/{task}?version=7")
    assert (missing.status_code, missing.json()["error"]) == (
        404, f"task {task}: there is no version 7; there are 1 to 2",
    )  # fmt: skip
    listed = (await api.get(f"/api/tasks/{task}/versions")).json()
    assert [(v["version"], v["from"], v["to"]) for v in listed] == [(1, "", "running"), (2, "running", "paused")]
    refused = [await other.get(f"/api/tasks/{task}{rest}") for rest in ("?version=1", "?version=7", "/versions")]
    assert {(r.status_code, r.text) for r in refused} == {
        (404, '{"error":"There is no such task, or you may not see it."}')
    }


async def pause(api: httpx.AsyncClient, task: int, **how: Any) -> httpx.Response:
    return await api.post(f"/api/tasks/{task}/pause", **how)


async def test_a_hand_on_a_task_that_has_changed_since_is_told_the_version_it_has(house: House) -> None:
    ann = await house.person("ann", "engineer")
    task, api = await house.task(ann), await house.api(ann)
    for how in ({"headers": {"if-match": '"7"'}}, {"headers": {"if-match": "7"}}, {"json": {"version": 7}}):
        late = await pause(api, task, **how)
        assert (late.status_code, late.json()["version"]) == (409, 1)
    assert (await api.get(f"/api/tasks/{task}")).json()["status"] == "running"
    for how in (
        {"headers": {"if-match": '"1"'}},
        {"json": {"version": 2}},
        {"headers": {"if-match": "*"}},
        {"json": {}},
    ):
        hand = "pause" if "1" in json.dumps(how) else "resume"
        assert (await api.post(f"/api/tasks/{task}/{hand}", **how)).status_code == 200
    wrong = await pause(api, task, headers={"if-match": "yesterday"})
    assert wrong.status_code == 422
    assert "If-Match is a task's version" in wrong.json()["error"]


async def test_of_two_hands_that_saw_the_same_version_one_acts(house: House) -> None:
    """Both name version 1; the one that comes second is told that it is 2 by now."""
    ann = await house.person("ann", "engineer")
    task, api = await house.task(ann), await house.api(ann)
    async with house.db.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await families.hold(connection, task)
        second = api.build_request("POST", f"/api/tasks/{task}/cancel", json={"version": 1})
        waiting = asyncio.create_task(api.send(second))
        await tasks.pause(connection, task, "person:ann")
        await transaction.commit()
    answer = await waiting
    assert (answer.status_code, answer.json()["version"]) == (409, 2)


async def test_the_history_of_a_task_goes_with_it_into_the_archive(house: House) -> None:
    task = await planned_task(house, act(1))
    [step] = await steps.claim(house.db, house.worker, "default", 1)
    await steps.fail(house.db, house.worker, step, "no", "error", None)
    await tasks.retry(house.db, task, "person:ann")
    await carry(house, task, {"paths": []})
    assert await house.db.fetchval("select count(*) from row_versions where task_id = $1", task) == 2
    labels = [m["label"] for v in await versions.listed(house.db, task) for m in (v, *v["moves"])]
    before = [await at(house, task, label) for label in labels]
    await house.db.execute("delete from outbox")
    await house.db.fetchval("select ensure_archive_month_v1(sayso_now())")
    assert await house.db.fetchval("select archive_task_v1($1, now() + interval '1 day')", task) == "archived"
    assert await house.db.fetchval("select count(*) from row_versions") == 0
    assert [await at(house, task, label) for label in labels] == before
