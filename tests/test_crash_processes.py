"""Workers killed with -9 between any two of decide, ring, claim, begin, effect and complete; a new worker goes on.

What must hold: nothing that was acknowledged is lost, nothing happens twice at the sink, and where nobody can know
whether it happened, a person is asked in the chat and their answer is followed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from core.models import Accepted
from tests import sink
from tests.processes import Child, Plant, plant_fixture, until  # noqa: F401  (a fixture)

Kill = Callable[[Plant, str], Awaitable[tuple[int, Child]]]


def send(address: str, path: str = "/answer") -> str:
    return f"do http.request method=POST url={address}{path} body=pay"


# ---------------------------------------------------------------- where it is killed


async def before_the_decision(plant: Plant, address: str) -> tuple[int, Child]:
    worker = await plant.worker()
    task = await plant.say(send(address))
    approval = await plant.asked(task)
    worker.kill()
    assert isinstance(await plant.press(approval, "approve"), Accepted)
    return task, worker


async def approved_before_its_eyes(plant: Plant, address: str) -> tuple[int, Child]:
    """A worker that is frozen while somebody approves, so that the test may lock the task before the claim."""
    worker = await plant.worker()
    task = await plant.say(send(address))
    approval = await plant.asked(task)
    worker.freeze()
    assert isinstance(await plant.press(approval, "approve"), Accepted)
    return task, worker


async def between_ring_and_claim(plant: Plant, address: str) -> tuple[int, Child]:
    task, worker = await approved_before_its_eyes(plant, address)
    worker.kill()
    return task, worker


async def between_claim_and_begin(plant: Plant, address: str) -> tuple[int, Child]:
    task, worker = await approved_before_its_eyes(plant, address)
    async with plant.locked(task):
        worker.thaw()
        session = await plant.waits_in("begin_v1")
        worker.kill()
        await plant.end_session(session)
    assert await plant.effects(task) == []
    return task, worker


async def between_begin_and_effect(plant: Plant, address: str) -> tuple[int, Child]:
    """The database carries out the dead worker's `begin`: the intent is there, the call was never made."""
    task, worker = await approved_before_its_eyes(plant, address)
    async with plant.locked(task):
        worker.thaw()
        await plant.waits_in("begin_v1")
        worker.kill()

    async def begun() -> bool:
        return await plant.effects(task) == [(1, "intent")]

    await until(begun, "the intent is written")
    assert sink.calls(plant.ledger) == []
    return task, worker


async def in_the_effect(plant: Plant, address: str) -> tuple[int, Child]:
    worker = await plant.worker()
    task = await plant.approved(send(address, "/hold"))
    await plant.carried_out(1)
    worker.kill()
    return task, worker


async def between_effect_and_complete(plant: Plant, address: str) -> tuple[int, Child]:
    worker = await plant.worker()
    task = await plant.approved(send(address, "/hold"))
    await plant.carried_out(1)
    async with plant.locked(task):
        sink.release(plant.ledger, "/hold")
        session = await plant.waits_in("complete_v1")
        worker.kill()
        await plant.end_session(session)
    return task, worker


async def in_complete(plant: Plant, address: str) -> tuple[int, Child]:
    """The database carries out the dead worker's `complete`; nobody hears the answer."""
    worker = await plant.worker()
    task = await plant.approved(send(address, "/hold"))
    await plant.carried_out(1)
    async with plant.locked(task):
        sink.release(plant.ledger, "/hold")
        await plant.waits_in("complete_v1")
        worker.kill()
    return task, worker


async def after_complete(plant: Plant, address: str) -> tuple[int, Child]:
    worker = await plant.worker()
    task = await plant.approved(send(address))
    await plant.is_task(task, "succeeded")
    worker.kill()
    return task, worker


# ---------------------------------------------------------------- what must hold


@pytest.mark.parametrize(
    "killed",
    [before_the_decision, between_ring_and_claim, between_claim_and_begin, in_complete, after_complete],
    ids=lambda killed: killed.__name__,
)
async def test_the_next_worker_carries_it_out_once_and_asks_nobody(plant: Plant, killed: Kill) -> None:
    task, _ = await killed(plant, plant.sink())
    await plant.worker()
    await plant.is_task(task, "succeeded")
    [(key, body)] = sink.calls(plant.ledger)
    assert body == "pay"
    assert key == await plant.db.fetchval("select key from effects where task_id = $1", task)
    assert await plant.effects(task) == [(1, "done")]
    assert await plant.db.fetchval("select count(*) from approvals where task_id = $1", task) == 1


@pytest.mark.parametrize(
    ("killed", "really"),
    [(between_begin_and_effect, 0), (in_the_effect, 1), (between_effect_and_complete, 1)],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_person_is_asked_whether_it_happened_and_the_truth_is_followed(
    plant: Plant, killed: Kill, really: int
) -> None:
    task, dead = await killed(plant, plant.sink())
    await plant.pass_lease(dead)
    await plant.worker()
    question = await plant.asked(task, "unknown")
    assert await in_chat(plant, question)
    assert len(sink.calls(plant.ledger)) == really
    verdict = "happened" if really else "not_happened"
    assert isinstance(await plant.press(question, verdict), Accepted)
    await plant.is_task(task, "succeeded")
    assert len(sink.calls(plant.ledger)) == 1
    assert await plant.effects(task) == ([(1, "done")] if really else [(1, "not_done"), (2, "done")])


async def test_each_answer_to_the_question_does_what_it_says(plant: Plant) -> None:
    address = plant.sink()
    dead = await plant.worker()
    tasks = [await plant.approved(send(address, f"/hold-{i}")) for i in range(3)]
    await plant.carried_out(3)
    dead.kill()
    await plant.pass_lease(dead)
    for i in range(3):
        sink.release(plant.ledger, f"/hold-{i}")
    await plant.worker()
    questions = [await plant.asked(task, "unknown") for task in tasks]
    for question, verdict in zip(questions, ("happened", "not_happened", "abandon"), strict=True):
        assert isinstance(await plant.press(question, verdict), Accepted)

    happened, again, given_up = tasks
    await plant.is_task(happened, "succeeded")
    await plant.is_task(again, "succeeded")
    await plant.is_step(given_up, "failed")
    made = sink.calls(plant.ledger)
    assert len(made) == 4
    assert len({key for key, _ in made}) == 4
    assert await plant.effects(happened) == [(1, "done")]
    assert await plant.effects(again) == [(1, "not_done"), (2, "done")]
    assert await plant.effects(given_up) == [(1, "unknown")]


async def test_an_effect_of_a_killed_worker_is_not_judged_before_lease_and_timeout(plant: Plant) -> None:
    """The call may still be under way: the worker's machine may be alive where its process is not."""
    task, dead = await in_the_effect(plant, plant.sink())
    await plant.lengthen_lease(dead)
    second = await plant.worker()
    other = await plant.say("do files.list")
    await plant.is_task(other, "succeeded")
    assert (await plant.step(task))["status"] == "running"
    assert second.is_up()
    assert len(sink.calls(plant.ledger)) == 1


async def test_a_lost_file_deletion_is_found_out_without_a_person(plant: Plant) -> None:
    """A checkable effect is probed; an idempotent one runs again under its key."""
    (plant.home / "workspace" / "old.log").write_text("x", encoding="utf-8")
    worker = await plant.worker()
    task = await plant.say("do files.delete paths=old.log")
    approval = await plant.asked(task)
    worker.freeze()
    assert isinstance(await plant.press(approval, "approve"), Accepted)
    async with plant.locked(task):
        worker.thaw()
        await plant.waits_in("begin_v1")
        worker.kill()
    await plant.pass_lease(worker)
    await plant.worker()
    await plant.is_task(task, "succeeded")
    assert not (plant.home / "workspace" / "old.log").exists()
    assert await plant.db.fetchval("select count(*) from approvals where task_id = $1 and kind = 'unknown'", task) == 0


async def test_an_answer_that_never_comes_is_asked_about_at_once(plant: Plant) -> None:
    address = plant.sink()
    await plant.worker()
    task = await plant.approved(send(address, "/close"))
    question = await plant.asked(task, "unknown")
    assert await in_chat(plant, question)
    assert len(sink.calls(plant.ledger)) == 1


async def test_a_refused_call_is_known_not_to_have_happened(plant: Plant) -> None:
    address = plant.sink()
    await plant.worker()
    task = await plant.approved(send(address, "/refuse"))
    await plant.is_task(task, "failed")
    assert sink.calls(plant.ledger) == []
    assert await plant.effects(task) == [(1, "not_done")]


async def in_chat(plant: Plant, approval: str) -> bool:
    """Whether the question's card is on its way to the conversation where the task was asked for."""
    return bool(
        await plant.db.fetchval(
            "select exists (select from outbox o join cards c on c.id = o.card_id where c.approval_id = $1::text::uuid)",
            approval,
        )
    )
