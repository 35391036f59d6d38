"""The narrow paths through the gate: where a stop, a lost worker or a broken skill meets an action on its way.

Each test stands at one such crossing and checks that the task comes to an end, that nothing runs without a yes, and that
nothing runs twice. The store's moves are called as worker and bot call them, on a real Postgres.
"""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from core.db import Pool
from core.models import Claimed, EffectClass, PlannedStep
from core.store import approvals, clock, people, steps, tasks
from core.store.people import Principal, Wanted
from core.store.steps import Probing

NUMBERS = itertools.count(1)
DIGEST = "d1"


class Desk:
    """One worker, two owners, and tasks of a single risky step."""

    def __init__(self, db: Pool, worker: int, ann: Principal, bob: Principal) -> None:
        self.db, self.worker, self.ann, self.bob = db, worker, ann, bob

    async def task(self, *effects: EffectClass, max_attempts: int = 3) -> int:
        made = await tasks.create(
            self.db,
            requester=self.ann.id,
            goal="do it",
            kind="do",
            actor=self.ann.actor,
            steps=[
                PlannedStep(n=n, kind="act", skill="x.y", effect_class=effect, max_attempts=max_attempts)
                for n, effect in enumerate(effects, start=1)
            ],
        )
        assert made is not None
        return made

    async def claim(self) -> Claimed:
        [step] = await steps.claim(self.db, self.worker, "default", 1)
        return step

    async def park(self, step: Claimed, needed: int = 1) -> str | None:
        item = {"task": str(step.task_id), "step": step.n, "digest": DIGEST, "action": {"args": {}}}
        ask = {
            "kind": "action", "items": [item], "digest": DIGEST, "action_hash": "h", "ladder": "default",
            "card": {"title": "x", "reasons": ["It sends."]}, "expires_in_s": 3600,
            "approvers": {"people": [], "roles": ["owner"], "needed": needed, "four_eyes": False, "veto": True},
        }  # fmt: skip
        return await steps.park(self.db, self.worker, step, ask, [], "risky")

    async def begin(self, step: Claimed, approval: str | None = None) -> str:
        return await steps.begin(
            self.db, self.worker, step, key=f"sayso:{step.task_id}:{step.n}:{step.gen}", digest=DIGEST, action={},
            approval=approval, grant=None,
        )  # fmt: skip

    async def decide(self, approval: str, verdict: str, who: Principal | None = None) -> dict[str, Any]:
        return await approvals.decide(
            self.db, principal=(who or self.ann).id, approval=approval, verdict=verdict, digest=None, reason="",
            channel="web", delivery_id=f"p{next(NUMBERS)}",
        )  # fmt: skip

    async def pending(self, task: int) -> str:
        found = await self.db.fetchval("select id from approvals where task_id = $1 and status = 'pending'", task)
        assert found is not None, "nobody is asked"
        return str(found)

    async def status(self, task: int) -> str:
        shown = await tasks.whole(self.db, task)
        assert shown is not None
        return str(shown["status"])

    async def step(self, task: int, n: int = 1) -> dict[str, Any]:
        shown = await tasks.whole(self.db, task)
        assert shown is not None
        found: dict[str, Any] = shown["steps"][n - 1]
        return found


@pytest.fixture
async def desk(db: Pool) -> Desk:
    await people.sync(db, [Wanted(key, key.title(), ("owner",), False, (("web", key),)) for key in ("ann", "bob")])
    ann, bob = await people.by_key(db, "ann"), await people.by_key(db, "bob")
    assert ann is not None and bob is not None
    return Desk(db, await steps.enrol(db, "test", 1, "test", 3600), ann, bob)


async def test_a_step_that_wants_to_ask_in_a_task_being_stopped_ends_and_the_task_with_it(desk: Desk) -> None:
    task = await desk.task(EffectClass.UNSAFE)
    step = await desk.claim()
    assert await tasks.cancel(desk.db, task, desk.ann.actor, "stopped") == "cancelling"
    assert await desk.park(step) is None, "nobody is asked about a task that is being stopped"
    assert await desk.status(task) == "cancelled"
    assert (await desk.step(task))["status"] == "cancelled"


async def test_stopping_the_task_from_its_question_leaves_the_question_open(desk: Desk) -> None:
    task = await desk.task(EffectClass.UNSAFE)
    step = await desk.claim()
    assert await desk.begin(step) == "go"
    assert await steps.lose(desk.db, desk.worker, step, "no answer") == "unknown"
    question = await desk.pending(task)
    await desk.decide(question, "stop")
    assert await desk.status(task) == "cancelling", "what may have happened is not settled by stopping"
    assert await desk.pending(task) == question
    assert (await desk.decide(question, "not_happened"))["kind"] == "accepted"
    assert await desk.status(task) == "cancelled"
    assert await desk.db.fetchval("select state from effects where task_id = $1", task) == "not_done"


async def test_an_effect_that_begins_after_the_sweeper_looked_is_not_taken_from_its_living_worker(desk: Desk) -> None:
    await desk.task(EffectClass.CHECKABLE)
    step = await desk.claim()
    hinted = [desk.worker]
    assert (step.task_id, 1, step.fence) in await steps.orphans(desk.db, hinted)
    assert await desk.begin(step) == "go"
    assert await steps.recover(desk.db, step.task_id, 1, step.fence, hinted) == "stale"
    assert (await steps.complete(desk.db, desk.worker, step, {})).ok


async def test_an_action_that_never_comes_about_is_given_up_after_its_attempts(desk: Desk) -> None:
    task = await desk.task(EffectClass.CHECKABLE, max_attempts=3)
    for number in range(1, 4):
        step = await desk.claim()
        assert await desk.begin(step, step.approval_id) == "go"
        assert await steps.lose(desk.db, desk.worker, step, "cut off") == "unknown"
        assert await steps.due_probes(desk.db, 0, 10) == [], "the call may still be under way"
        await clock.move(desk.db, number * timedelta(seconds=step.timeout_s + 1))
        [probing] = await steps.due_probes(desk.db, 0, 10)
        await steps.probed(desk.db, probing, False, {"summary": "not there"})
    assert await desk.status(task) == "failed"
    step_now = await desk.step(task)
    assert "3 of 3" in step_now["error"] and step_now["effect_state"] == "not_done"


async def test_an_idempotent_call_whose_attempts_are_used_up_is_asked_about(desk: Desk) -> None:
    """It ended as failed, and a retry, under a new key, could have repeated it."""
    task = await desk.task(EffectClass.IDEMPOTENT, max_attempts=2)
    first = await desk.claim()
    assert await desk.begin(first) == "go"
    assert await steps.lose(desk.db, desk.worker, first, "cut off") == "ready"
    second = await desk.claim()
    assert await desk.begin(second) == "go"
    assert await steps.lose(desk.db, desk.worker, second, "cut off") == "unknown"
    assert (await desk.decide(await desk.pending(task), "not_happened"))["kind"] == "accepted"
    assert await desk.db.fetchval("select gen from steps where task_id = $1", task) == 2
    assert await desk.status(task) == "running"


async def test_what_did_not_happen_renews_its_own_item_of_a_card_and_no_other(desk: Desk) -> None:
    task = await desk.task(EffectClass.CHECKABLE, EffectClass.CHECKABLE)
    first, second = await desk.claim(), await desk.claim()
    await desk.park(first)
    approval = await desk.park(second)
    assert approval is not None
    items = await desk.db.fetchval("select items from approvals where id = $1", approval)
    if len(items) == 1:  # the desk's asks name no card of their own, so make them share one
        items = [items[0] | {"step": n, "card": {"title": f"item {n}", "reasons": []}} for n in (1, 2)]
        await desk.db.execute("update approvals set items = $2 where id = $1", approval, items)
    await desk.decide(approval, "approve")
    again = await desk.claim()
    assert await desk.begin(again, approval) == "go"
    await steps.lose(desk.db, desk.worker, again, "cut off")
    probing = Probing(task, again.n, again.gen, again.skill, "k", {})
    await steps.probed(desk.db, probing, False, {"summary": "not there"})
    renewed = await desk.db.fetchrow(
        "select a.status, a.items from steps s join approvals a on a.id = s.approval_id where s.task_id = $1 and s.n = $2",
        task, again.n,
    )  # fmt: skip
    assert renewed["status"] == "approved"
    assert [item["step"] for item in renewed["items"]] == [again.n]


async def test_a_retry_does_not_repeat_what_was_given_up_as_unknown(desk: Desk) -> None:
    task = await desk.task(EffectClass.UNSAFE, EffectClass.PURE)
    first, second = await desk.claim(), await desk.claim()
    assert await desk.begin(first) == "go"
    await steps.lose(desk.db, desk.worker, first, "no answer")
    await desk.decide(await desk.pending(task), "abandon")
    await steps.fail(desk.db, desk.worker, second, "broke", "error", None)
    assert await desk.status(task) == "failed"
    await tasks.retry(desk.db, task, desk.ann.actor)
    again = await steps.claim(desk.db, desk.worker, "default", 10)
    assert first.n not in [step.n for step in again], "it may have happened, and nobody said that it did not"


async def test_a_no_after_ones_own_yes_counts_while_more_are_needed(desk: Desk) -> None:
    task = await desk.task(EffectClass.UNSAFE)
    approval = await desk.park(await desk.claim(), needed=2)
    assert approval is not None
    assert (await desk.decide(approval, "approve"))["status"] == "pending"
    assert (await desk.decide(approval, "deny"))["status"] == "denied"
    assert await desk.status(task) == "abandoned"
    assert await desk.db.fetchval("select count(*) from decisions where approval_id = $1", approval) == 1
