"""One card asks about several steps; one of them wants no answer any more: the others go on being asked about."""

from datetime import timedelta
from typing import Any

import pytest

from core.branches import Rollback
from core.db import transaction
from core.models import EffectClass, PlannedStep
from core.store import approvals, children, clock, families, people, signals, steps, tasks, upkeep, versions
from tests.invariants import broken
from tests.test_children import claimed, spawn, status, sweep, waiting


def act(n: int, *needs: int, **how: Any) -> PlannedStep:
    return PlannedStep(n=n, kind="act", needs=needs, effect_class=EffectClass.UNSAFE, **how)


async def asked(db: Any, *planned: PlannedStep) -> int:
    """A task whose first steps are asked about on one card."""
    worker = await steps.enrol(db, "host", 1, "test", 3600)
    task, held = await claimed(db, worker, *planned)
    for step in held:
        card = {"title": f"Do {step.n}", "reasons": ["r"]}
        item = {
            "task": str(task),
            "step": step.n,
            "digest": f"d{step.n}",
            "action": {"a": step.n},
            "card": card,
            "action_hash": "",
        }
        ask = {
            "kind": "action", "items": [item], "digest": f"d{step.n}", "action_hash": "", "card": card, "ladder": "default",
            "expires_in_s": 1800, "approvers": {"roles": ["owner"], "needed": 1},
        }  # fmt: skip
        await steps.park(db, worker, step, ask, [], "risky")
    return task


async def cards(db: Any, task: int) -> list[tuple[str, list[int]]]:
    """The approvals of the task that did not make way for another: their status and the steps they name."""
    rows = await db.fetch("select status, items from approvals where task_id = $1 and status <> 'superseded'", task)
    return [(r["status"], [i["step"] for i in r["items"]]) for r in rows]


async def decide(db: Any, task: int, verdict: str) -> dict[str, Any]:
    owner = await people.ensure_owner(db)
    approval = await db.fetchval("select id from approvals where task_id = $1 and status = 'pending'", task)
    return await approvals.decide(
        db,
        principal=owner.id,
        approval=str(approval),
        verdict=verdict,
        digest=None,
        reason="",
        channel="web",
        delivery_id="1",
    )


@pytest.mark.parametrize("late", [1, 2, 3])
async def test_a_step_that_is_late_leaves_the_card_and_the_others_are_decided(db: Any, late: int) -> None:
    task = await asked(db, *(act(n, within_s=60 if n == late else None) for n in (1, 2, 3)))
    await sweep(db)
    await clock.move(db, timedelta(seconds=61))
    await sweep(db)
    rest = [n for n in (1, 2, 3) if n != late]
    assert await cards(db, task) == [("pending", rest)]
    assert await broken(db) == []
    assert (await decide(db, task, "approve"))["kind"] == "accepted"
    assert [n for n, (at, _) in enumerate((await status(db, task))[1], start=1) if at == "ready"] == rest


async def test_a_yes_that_another_step_still_needs_outlives_the_step_that_is_late(db: Any) -> None:
    task = await asked(db, act(1, within_s=60), act(2))
    await sweep(db)
    await decide(db, task, "approve")
    await clock.move(db, timedelta(seconds=61))
    await sweep(db)
    assert await cards(db, task) == [("approved", [1, 2])]
    worker = await db.fetchval("select max(id) from workers")
    (step,) = await steps.claim(db, worker, "default", 5)
    begun = await steps.begin(
        db, worker, step, key="k", digest="d2", action={"a": 2}, approval=step.approval_id, grant=None
    )
    assert (step.n, begun) == (2, "go")
    await steps.complete(db, worker, step, {})
    assert await cards(db, task) == [("consumed", [1, 2])], "one of the two has used it"
    assert await broken(db) == []


async def test_the_deadline_of_the_task_ends_the_card_once(db: Any) -> None:
    task = await asked(db, act(1), act(2), act(3))
    await children.set_deadline(db, task, 60)
    await clock.move(db, timedelta(seconds=61))
    await sweep(db)
    assert await cards(db, task) == [("cancelled", [1, 2, 3])]
    assert (await status(db, task))[0] == "abandoned"
    assert await broken(db) == []


async def test_a_step_that_a_rollback_drops_leaves_the_card(db: Any) -> None:
    task = await asked(db, act(1), act(2), act(3))
    plan = Rollback(later=(1,), drop=(1,), again=(), remains=(), busy=())
    async with transaction(db) as tx:
        await versions.write_rollback(tx, task, plan, "person:owner", "rolled back")
    assert await cards(db, task) == [("pending", [2, 3])]
    assert await broken(db) == []


async def test_a_card_that_cannot_be_read_ends_every_step_that_waits_for_it(db: Any) -> None:
    task = await asked(db, act(1), act(2))
    await db.execute("update approvals set card = '7' where status = 'pending'")
    assert await upkeep.quarantine(db) == [task]
    assert await status(db, task) == ("abandoned", [("failed", "undeliverable")] * 2)
    assert await broken(db) == []


async def planned(db: Any, *then: PlannedStep) -> int:
    """A task whose plan of two actions is asked about before any of it runs; `then` is the second and what follows it."""
    worker = await steps.enrol(db, "host", 1, "test", 3600)
    task, (step,) = await claimed(db, worker, PlannedStep(n=1, kind="ask"), act(2, 1), *(then or (act(3, 1),)))
    item = {"task": str(task), "action": {}, "card": {"title": "x", "reasons": []}, "action_hash": ""}
    ask = {
        "kind": "plan", "items": [item | {"step": n, "digest": f"d{n}"} for n in (2, 3)], "digest": "d", "action_hash": "",
        "ladder": "default", "card": {"title": "A plan", "reasons": []}, "expires_in_s": 1800,
        "approvers": {"roles": ["owner"], "needed": 1},
    }  # fmt: skip
    await steps.park(db, worker, step, ask, [], "plan first")
    return task


async def test_a_plan_that_cannot_be_read_is_not_run(db: Any) -> None:
    task = await planned(db)
    await db.execute("update approvals set approvers = '[]' where status = 'pending'")
    fine = await asked(db, act(1))
    assert await upkeep.quarantine(db) == [task]
    assert await status(db, task) == (
        "abandoned",
        [("failed", "undeliverable"), ("skipped", "upstream"), ("skipped", "upstream")],
    )
    assert await cards(db, fine) == [("pending", [1])]


@pytest.mark.parametrize(("dropped", "left"), [((2,), [("pending", [3])]), ((1, 2), [("cancelled", [2, 3])])])
async def test_a_plan_of_which_something_is_dropped_is_asked_about_without_it(db: Any, dropped: Any, left: Any) -> None:
    task = await planned(db)
    plan = Rollback(later=dropped, drop=dropped, again=(), remains=(), busy=())
    async with transaction(db) as tx:
        await versions.write_rollback(tx, task, plan, "person:owner", "rolled back")
    assert await cards(db, task) == left
    if left[0][0] == "pending":
        assert (await decide(db, task, "approve"))["kind"] == "accepted"
        assert [at for at, _ in (await status(db, task))[1]] == ["ready", "cancelled", "blocked"]


async def test_no_yes_is_left_over_when_a_quick_step_ends_the_task(db: Any) -> None:
    read = PlannedStep(n=4, kind="act", needs=(2, 3), after="settled", effect_class=EffectClass.PURE)
    task = await planned(db, act(3, 2), read)
    await decide(db, task, "approve")
    worker = await db.fetchval("select max(id) from workers")
    for n in (1, 2, 4):
        (step,) = await steps.claim(db, worker, "default", 5)
        assert step.n == n
        if n == 1:
            await steps.complete(db, worker, step, {}, claim_next=False)
        elif n == 2:
            await steps.fail(db, worker, step, "no", "error", None)
        else:
            await steps.complete_many(db, worker, [(step, {})], ["default"], [5], more=False)
    assert (await status(db, task))[0] == "succeeded"
    assert await cards(db, task) == [("cancelled", [2, 3])]
    assert await broken(db) == []


async def test_the_time_that_a_step_waits_on_the_card_of_another_is_no_waiting_of_its_own(db: Any) -> None:
    worker = await steps.enrol(db, "host", 1, "test", 3600)
    task, (first, second) = await claimed(db, worker, act(1), act(2))
    await signals.wait(db, worker, second, "rate limit", seconds=0, within_s=60)
    assert await steps.wake(db, task, 2)
    for step in (first, *await steps.claim(db, worker, "default", 5)):
        item = {"task": str(task), "step": step.n, "digest": f"d{step.n}", "action": {"args": {"budget": "task.steps"}}}
        ask = {
            "kind": "budget", "items": [item], "digest": f"d{step.n}", "action_hash": "", "ladder": "default",
            "card": {"title": "More?", "reasons": []}, "expires_in_s": 7200, "approvers": {"roles": ["owner"], "needed": 1},
        }  # fmt: skip
        await steps.park(db, worker, step, ask, [], "budget")
    assert await cards(db, task) == [("pending", [1])]
    await clock.move(db, timedelta(hours=1))
    await decide(db, task, "approve")
    _, second = await steps.claim(db, worker, "default", 5)
    assert await signals.wait(db, worker, second, "rate limit", seconds=5, within_s=60) == "waiting"


# ---------------------------------------------------------------- a retry


def turn(n: int, *needs: int) -> PlannedStep:
    return PlannedStep(n=n, kind="think", needs=needs, after="settled")


async def fail(db: Any, worker: int, error: str = "no") -> int:
    (step,) = await steps.claim(db, worker, "default", 5)
    await steps.fail(db, worker, step, error, "error", None)
    return step.n


async def test_a_retry_leaves_alone_what_the_model_has_gone_round(db: Any) -> None:
    worker = await steps.enrol(db, "host", 1, "test", 3600)
    task, (step,) = await claimed(db, worker, act(1), act(2, 1), turn(3, 1, 2))
    await steps.fail(db, worker, step, "no such address", "error", None)
    assert await fail(db, worker, "the model is away") == 3
    assert await status(db, task) == ("failed", [("failed", "error"), ("skipped", "upstream"), ("failed", "error")])
    assert await tasks.retry(db, task, "person:owner") == "running"
    assert await status(db, task) == ("running", [("failed", "error"), ("skipped", "upstream"), ("ready", None)])


async def test_a_retried_step_waits_for_those_before_it_that_run_again(db: Any) -> None:
    worker = await steps.enrol(db, "host", 1, "test", 3600)
    task, held = await claimed(db, worker, act(1), act(2), act(3, 1, 2), act(4, 3))
    await steps.complete(db, worker, held[0], {}, claim_next=False)
    await steps.fail(db, worker, held[1], "no", "error", None)
    await tasks.retry(db, task, "person:owner")
    assert [s for s, _ in (await status(db, task))[1]] == ["succeeded", "ready", "blocked", "blocked"]
    for n in (2, 3, 4):
        (step,) = await steps.claim(db, worker, "default", 5)
        assert step.n == n
        await steps.complete(db, worker, step, {}, claim_next=False)
    assert (await status(db, task))[0] == "succeeded"


async def test_a_retry_runs_at_the_priority_that_the_task_has(db: Any) -> None:
    worker = await steps.enrol(db, "host", 1, "test", 3600)
    task, held = await claimed(db, worker, act(1), act(2))
    await steps.fail(db, worker, held[0], "no", "error", None)
    await children.set_priority(db, task, 0, "person:owner")
    await steps.complete(db, worker, held[1], {})
    await tasks.retry(db, task, "person:owner")
    assert [(s.task_id, s.n) for s in await steps.claim(db, worker, "urgent", 5)] == [(task, 1)]


async def test_a_retry_that_is_refused_leaves_the_children_as_they_are(db: Any) -> None:
    worker = await steps.enrol(db, "host", 1, "test", 3600)
    task, (first, effect) = await claimed(db, worker, waiting(1), act(2))
    child = int((await spawn(db, worker, first))["task"])
    await steps.complete(
        db, worker, first, {}, added=[PlannedStep(n=3, kind="wait", args={"for": "child", "task": child})]
    )
    await steps.begin(db, worker, effect, key="k", digest="d", action={"a": 1}, approval=None, grant=None)
    assert await steps.lose(db, worker, effect, "no answer") == "unknown"
    turn, await_ = sorted(await steps.claim(db, worker, "default", 5), key=lambda s: s.kind)
    await signals.wait(db, worker, await_, "child", seconds=None, within_s=60, key=f"child:{child}")
    await steps.fail(db, worker, turn, "no", "error", None)
    await signals.wake_early(db, task, 3)
    (await_,) = await steps.claim(db, worker, "default", 5)
    await steps.fail(db, worker, await_, "the child failed", "error", None)
    assert (await decide(db, task, "abandon"))["kind"] == "accepted"
    assert (await status(db, task))[0] == (await status(db, child))[0] == "failed"
    async with transaction(db) as tx:
        assert await families.retry(tx, task, "person:owner") == families.Hand("failed")
    assert await status(db, child) == ("failed", [("failed", "error")])
