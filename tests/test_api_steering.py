"""A hand on a running task over the API: steer, signal, priority, and a hook's event, as programs see them."""

from typing import Any

import httpx
import pytest

from core import config
from core.models import PlannedStep
from core.store import signals, tasks
from core.store.people import Principal
from tests.web_house import House

EVENT_WAIT = {"for": "event", "event": "go", "within": 3600, "or": "fail"}


async def a_task(house: House, person: Principal, kind: str = "plan", **args: Any) -> int:
    step = PlannedStep(n=1, kind="plan" if kind == "plan" else "wait", args=args)
    made = await tasks.create(
        house.db, requester=person.id, goal="g", kind=kind, steps=[step], actor=person.actor,
        conversation=await house.place(person),
    )  # fmt: skip
    assert made is not None
    return made


async def post(house: House, person: Principal, task: int, call: str, **body: Any) -> httpx.Response:
    client = await house.api(person)
    return await client.post(f"/api/tasks/{task}/{call}", json=body)


async def test_steering_says_when_it_is_read_and_the_same_key_counts_once(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await a_task(house, ann)
    first = await post(house, ann, task, "steer", text="only b", idempotency_key="k")
    assert first.status_code == 200
    assert first.json()["said"] == f"Noted: the next turn of task {task} reads this."
    again = await post(house, ann, task, "steer", text="only b", idempotency_key="k")
    assert again.status_code == 200
    assert [(s.body, s.origin, s.by) for s in await signals.for_turn(house.db, task)] == [
        ({"text": "only b"}, "requester", "Ann")
    ]
    own = await house.db.fetchval("select body from inbound where task_id = $1", task)
    assert own == "only b"


@pytest.mark.parametrize(
    "body",
    [{}, {"text": ""}, {"text": "x", "priority": "now"}, {"text": "x", "to": "bob"}, {"text": "x" * 40_001}],
)
async def test_steering_with_a_wrong_body_is_refused(house: House, body: dict[str, Any]) -> None:
    ann = await house.person("ann", "owner")
    task = await a_task(house, ann)
    assert (await post(house, ann, task, "steer", **body)).status_code == 422


async def test_who_may_not_see_a_task_hears_that_there_is_none_and_who_may_not_steer_it_is_refused(
    house: House,
) -> None:
    ann, bob = await house.person("ann", "owner"), await house.person("bob", "engineer")
    task = await a_task(house, bob)
    other = await a_task(house, ann)
    for call, body in (("steer", {"text": "x"}), ("signal", {"name": "go"}), ("priority", {"priority": "low"})):
        assert (await post(house, bob, other, call, **body)).status_code == 404
        assert (await post(house, bob, 10**9, call, **body)).status_code == 404
        assert (await post(house, bob, task, call, **body)).status_code == 200
    # An owner may steer others' tasks, as rules say: `*` holds steering too.
    assert (await post(house, ann, task, "steer", text="x")).status_code == 200
    assert [s.origin for s in await signals.for_turn(house.db, task)] == ["requester", "untrusted", "person"]


async def test_a_signal_wakes_who_waits_for_its_name_and_ended_tasks_are_refused(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await a_task(house, ann, "run", **EVENT_WAIT)
    sent = await post(house, ann, task, "signal", name="go", data={"n": 1}, idempotency_key="k")
    assert sent.status_code == 200
    assert [e.body for e in await signals.events_named(house.db, task, "go")] == [{"n": 1}]
    assert (await post(house, ann, task, "steer", text="faster")).status_code == 409
    await tasks.cancel(house.db, task, ann.actor, "enough")
    late = await post(house, ann, task, "signal", name="go")
    assert late.status_code == 409
    assert "cancelled" in late.json()["error"]


@pytest.mark.parametrize("name", ["reply", "goal", "child:7", "two words", ""])
async def test_names_of_our_own_are_not_for_others(house: House, name: str) -> None:
    ann = await house.person("ann", "owner")
    task = await a_task(house, ann)
    assert (await post(house, ann, task, "signal", name=name)).status_code == 422


async def test_an_event_that_is_too_large_is_refused(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await a_task(house, ann)
    large = {"x": "y" * config.EVENT_BYTES}
    assert (await post(house, ann, task, "signal", name="go", data=large)).status_code == 422


async def test_a_priority_is_set_and_shown(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await a_task(house, ann)
    set_ = await post(house, ann, task, "priority", priority="urgent")
    assert set_.json()["said"] == f"Task {task} has priority urgent now."
    shown = (await (await house.api(ann)).get(f"/api/tasks/{task}")).json()
    assert shown["priority"] == "urgent"
    assert (await post(house, ann, task, "priority", priority="soon")).status_code == 422


async def test_an_intent_may_bring_the_deadline_of_its_task(house: House) -> None:
    ann = await house.person("ann", "owner")
    client = await house.api(ann)
    body = {"text": "do files.list pattern=*", "idempotency_key": "k", "within_s": 60}
    said = await client.post("/api/intents", json=body)
    assert said.status_code == 202, said.text
    first = (await client.get(f"/api/tasks/{said.json()['task_id']}")).json()
    assert first["ends_by"] is not None
    assert (await client.post("/api/intents", json=body)).json() == said.json()
    assert (await client.post("/api/intents", json=body | {"within_s": 0})).status_code == 422
