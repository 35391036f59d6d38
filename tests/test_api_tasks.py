"""Tasks over the API: shown to those who may see them, steered by those who may steer."""

from __future__ import annotations

from core.store import steps
from tests.web_house import House

FIELDS = {"id", "status", "goal", "requester", "plan_version", "version", "parent_id", "steps", "result", "error"}
STEP_FIELDS = {
    "n", "kind", "skill", "args", "status", "effect_class", "effect_state", "depends_on", "approval_id", "result", "error",
}  # fmt: skip


async def test_a_task_has_every_promised_field_and_its_ids_are_text(house: House) -> None:
    ann = await house.person("ann", "owner")
    task, approval = await house.ask(ann)
    shown = (await (await house.api(ann)).get(f"/api/tasks/{task}")).json()
    assert set(shown) >= FIELDS
    assert (shown["id"], shown["status"], shown["requester"]) == (str(task), "waiting", "ann")
    [step] = shown["steps"]
    assert set(step) >= STEP_FIELDS
    assert (step["n"], step["status"], step["approval_id"]) == (1, "awaiting_approval", approval)


async def test_the_list_holds_only_what_one_may_see_newest_first(house: House) -> None:
    ann, bob, eve = [await house.person(k, r) for k, r in (("ann", "owner"), ("bob", "engineer"), ("eve", "engineer"))]
    hers, his = await house.task(ann), await house.task(bob)
    seen = {p.key: [t["id"] for t in (await (await house.api(p)).get("/api/tasks")).json()] for p in (ann, bob, eve)}
    assert seen == {"ann": [str(his), str(hers)], "bob": [str(his)], "eve": []}
    listed = (await (await house.api(bob)).get("/api/tasks?limit=1&open=true")).json()
    assert set(listed[0]) >= FIELDS
    assert listed[0]["steps"][0]["n"] == 1


async def test_a_task_that_one_may_not_see_answers_like_one_that_is_not_there(house: House) -> None:
    ann, bob = await house.person("ann", "owner"), await house.person("bob", "engineer")
    task = await house.task(ann)
    api = await house.api(bob)
    answers = [await api.get(f"/api/tasks/{i}") for i in (task, 999, "abc", "1e3", "-1", "²", "9" * 40, "%00")]
    answers += [await api.post(f"/api/tasks/{i}/cancel") for i in (task, 999, "abc")]
    assert {(a.status_code, a.text) for a in answers} == {
        (404, '{"error":"There is no such task, or you may not see it."}')
    }


async def test_a_task_is_paused_resumed_and_cancelled(house: House) -> None:
    ann = await house.person("ann", "engineer")
    task, api = await house.task(ann), await house.api(ann)
    statuses = [
        (await api.post(f"/api/tasks/{task}/{hand}")).json()["status"] for hand in ("pause", "resume", "cancel")
    ]
    assert statuses == ["paused", "running", "cancelled"]


async def test_a_failed_task_is_retried(house: House) -> None:
    ann = await house.person("ann", "owner")
    task, api = await house.task(ann), await house.api(ann)
    [step] = await steps.claim(house.db, house.worker, "default", 1)
    await steps.fail(house.db, house.worker, step, "no", "error", None)
    assert (await api.get(f"/api/tasks/{task}")).json()["status"] == "failed"
    answer = await api.post(f"/api/tasks/{task}/retry")
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    said = [(await api.post(f"/api/tasks/{task}/retry")).json()["said"]]
    await api.post(f"/api/tasks/{task}/cancel")
    said.append((await api.post(f"/api/tasks/{task}/retry")).json()["said"])
    assert said == [
        f"Task {task} is running: there is nothing to retry.",
        f"Task {task} is cancelled: only a task that failed is retried."
        f" Say fork {task} and the number of a step to go on from there.",
    ]


async def test_an_approver_sees_the_task_but_does_not_steer_it(house: House) -> None:
    bob, carl = await house.person("bob", "engineer"), await house.person("carl", "oncall")
    task, _ = await house.ask(bob, roles=("oncall",))
    api = await house.api(carl)
    assert (await api.get(f"/api/tasks/{task}")).status_code == 200
    refused = await api.post(f"/api/tasks/{task}/cancel")
    assert refused.status_code == 403
    assert (await api.get(f"/api/tasks/{task}")).json()["status"] == "waiting"
