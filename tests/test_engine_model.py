"""The engine's SQL against the pure rules of core/state.py, on a real Postgres, under random operations.

Hypothesis draws operations (people, workers, crashes, time) and after each one every invariant that can be seen in the
database is checked. "The world" is a ledger of the calls that were really made, so a repeated effect is seen there.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from core import state
from core.branches import rolled_back
from core.db import open_pool, transaction
from core.models import Claimed, EffectClass, PlannedStep
from core.state import StepView
from core.store import approvals, children, clock, families, people, signals, steps, tasks, versions
from core.store.steps import LeaseLost
from core.versions import history, task_at
from tests.invariants import QUERIES

LEGAL = {(machine, source, target) for machine, source, target in state.transitions()}
LANES = itertools.count()
# Kind, effect class, when it may run, what it needs, within how many seconds.
SHAPE = st.lists(
    st.tuples(
        st.sampled_from(["act", "plan", "think"]),
        st.sampled_from(list(EffectClass)),
        st.sampled_from(["success", "settled"]),
        st.sets(st.integers(0, 4), max_size=3),
        st.sampled_from([None, 1800.0]),
    ),
    min_size=1,
    max_size=6,
)

EXPIRES_IN_S = st.sampled_from([7200, 7200, 1800])

Body = TypeVar("Body", bound=Callable[..., None])
MOVES: list[tuple[Callable[[Any], Any], dict[str, st.SearchStrategy[Any]], Callable[..., None]]] = []


def move(when: Callable[[Any], Any] = bool, **drawn: st.SearchStrategy[Any]) -> Callable[[Body], Body]:
    """One of the things that may happen. They are no rules of Hypothesis's: it leaves most of those out of an example, and with
    them everything that has to come first."""

    def kept(body: Body) -> Body:
        wants_data = {"data": st.data()} if "data" in inspect.signature(body).parameters else {}
        MOVES.append((when, wants_data | drawn, body))
        return body

    return kept


def must_begin(step: Claimed) -> bool:
    """A yes is used up also where nothing changes."""
    return step.effect_class != "pure" or step.approval_id is not None


class Engine(RuleBasedStateMachine):
    dsn: str
    loop: asyncio.AbstractEventLoop

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    def pass_time(self, more: timedelta) -> None:
        self.ahead += more
        self.run(clock.move(self.db, self.ahead))

    # ------------------------------------------------------------ the world

    @initialize(data=st.data())
    def start(self, data: st.DataObject) -> None:
        self.lane = f"lane{next(LANES)}"
        self.db = self.run(open_pool(self.dsn, most=2))
        self.owner = self.run(people.ensure_owner(self.db))
        self.stranger = self.run(
            self.db.fetchval(
                "insert into principals (key) values ('guest') on conflict (key) do update set name = 'Guest' returning id"
            )
        )
        self.ahead = self.run(self.db.fetchval("select coalesce(max(ahead), interval '0') from clock"))
        self.tasks: list[int] = []
        self.workers: list[int] = []
        self.held: list[tuple[int, Claimed]] = []
        self.begun: dict[tuple[int, int], str] = {}
        self.calls: Counter[str] = Counter()
        self.happened: set[str] = set()
        self.presses = itertools.count()
        self.highest: dict[tuple[int, int], tuple[int, int]] = {}
        self.read: set[tuple[int, int]] = set()
        self.enrol()
        for _ in range(2):
            self.create(data.draw(SHAPE))
        self.claim(data)

    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        drawn, body = data.draw(st.sampled_from([(drawn, body) for when, drawn, body in MOVES if when(self)]))
        given = {name: data if name == "data" else data.draw(one) for name, one in drawn.items()}
        body(self, **given)

    def teardown(self) -> None:
        if hasattr(self, "db"):
            for worker in self.workers:
                self.run(steps.leave(self.db, worker))
            self.run(self.db.close())

    @move(when=lambda self: len(self.workers) < 3)
    def enrol(self) -> None:
        self.workers.append(self.run(steps.enrol(self.db, "host", 1, "test", 3600)))

    @move(
        when=lambda self: len(self.tasks) < 4,
        shape=SHAPE,
    )
    def create(self, shape: list[tuple[str, EffectClass, Any, set[int], float | None]]) -> None:
        planned = [
            PlannedStep(
                n=i,
                kind=kind,  # type: ignore[arg-type]  # drawn from the kinds
                skill="x.y",
                needs=tuple(sorted({n % i for n in needs} - {0})) if i > 1 else (),
                after="success" if kind == "act" else after,  # only turns read what has failed
                effect_class=EffectClass.PURE if kind != "act" else effect,
                max_attempts=3,
                within_s=within_s,
            )
            for i, (kind, effect, after, needs, within_s) in enumerate(shape, start=1)
        ]
        task = self.run(
            tasks.create(
                self.db,
                requester=self.owner.id,
                goal="g",
                kind="plan" if any(p.kind == "plan" for p in planned) else "do",
                steps=planned,
                actor="person:owner",
                lane=self.lane,
            )
        )
        self.tasks.append(task)

    # ------------------------------------------------------------ workers

    @move(when=lambda self: self.workers)
    def claim(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.workers))
        # All at once and in their order: which of several equally urgent steps comes first is nobody's promise.
        claimed = self.run(steps.claim(self.db, worker, self.lane, 100))
        self.held += [(worker, step) for step in sorted(claimed, key=lambda s: (s.task_id, s.n))]

    @move(when=lambda self: self.workers and self.tasks)
    def work_a_while(self, data: st.DataObject) -> None:
        """Several steps in a row, so that tasks also come to an end."""
        for _ in range(data.draw(st.integers(1, 6))):
            if not self.held:
                self.claim(data)
            if not self.held:
                return
            what = data.draw(st.sampled_from(["finish", "finish", "finish", "park", "fail", "lose", "approve"]))
            if what == "finish":
                self.begin_and_call(data)
                self.complete(data)
            elif what == "park":
                self.park(data)
            elif what == "fail":
                self.fail(data, None)
            elif what == "lose":
                self.begin_and_call(data)
                self.lose_the_answer(data)
            else:
                self.decide(data, "approve", False)

    def a_step(self, data: st.DataObject) -> tuple[int, Claimed]:
        return data.draw(st.sampled_from(self.held))

    @move(when=lambda self: self.held)
    def begin_and_call(self, data: st.DataObject) -> None:
        worker, step = self.a_step(data)
        if not must_begin(step) or (step.task_id, step.n) in self.begun:
            return
        key = f"sayso:{step.task_id}:{step.n}:{step.gen}"
        approval = step.approval_id
        answer = self.run(
            steps.begin(
                self.db, worker, step, key=key, digest=f"d{step.n}", action={"a": 1}, approval=approval, grant=None
            )
        )
        if answer == "go" and data.draw(st.booleans(), label="the call is made"):
            self.calls[key] += 1
            if step.effect_class == "idempotent":
                self.calls[key] = 1  # the vendor sees the same key
            if data.draw(st.booleans(), label="it happened"):
                self.happened.add(key)
        if answer == "go":
            self.begun[step.task_id, step.n] = key

    def let_go(self, worker: int, step: Claimed) -> None:
        self.held.remove((worker, step))
        self.begun.pop((step.task_id, step.n), None)

    @move(when=lambda self: self.held)
    def complete(self, data: st.DataObject) -> None:
        worker, step = self.a_step(data)
        if must_begin(step) and (step.task_id, step.n) not in self.begun:
            return
        self.let_go(worker, step)
        added = []
        if step.kind == "plan" and data.draw(st.booleans(), label="plans more"):
            last = self.run(steps.last_number(self.db, step.task_id))
            added = [PlannedStep(n=last + 1, kind="act", needs=(step.n,), effect_class=EffectClass.PURE)]
        if step.kind == "act" and not must_begin(step) and not added and data.draw(st.booleans(), label="with others"):
            self.complete_together(data, worker, step)
            return
        result = {"summary": "done"}
        if step.kind == "act":
            done = self.run(steps.complete(self.db, worker, step, result, added))
        else:
            done = self.run(signals.complete_reading(self.db, worker, step, result, added, ()))
        again = self.run(steps.complete(self.db, worker, step, result, added))
        assert not again.ok, "a completed step was completed again"
        if done.next is not None:
            self.held.append((worker, done.next))

    def complete_together(self, data: st.DataObject, worker: int, first: Claimed) -> None:
        """With whatever other calls the worker holds that are pure, and claiming on."""
        pure = [s for w, s in self.held if w == worker and s.kind == "act" and not must_begin(s)]
        batch = [first, *(s for s in pure if data.draw(st.booleans(), label="this one too"))]
        for step in batch[1:]:
            self.let_go(worker, step)
        room = data.draw(st.integers(0, 4), label="free slots")
        ended = [(step, {"summary": "done"}) for step in batch]
        more = data.draw(st.booleans(), label="looks for more")
        done = self.run(steps.complete_many(self.db, worker, ended, [self.lane], [room], more=more))
        assert not done.left_out and len(done.claimed) <= room
        again = self.run(steps.complete_many(self.db, worker, ended, [self.lane], [room], more=False))
        assert again.claimed == [] and not again.freed, "a completed step was completed again"
        self.held += [(worker, step) for step in sorted(done.claimed, key=lambda s: (s.task_id, s.n))]

    @move(when=lambda self: self.held, retry=st.sampled_from([None, 0.0]))
    def fail(self, data: st.DataObject, retry: float | None) -> None:
        worker, step = self.a_step(data)
        key = self.begun.get((step.task_id, step.n))
        if key in self.happened:
            return
        self.let_go(worker, step)
        if key:
            self.calls[key] = 0  # known not to have been done
        self.run(steps.fail(self.db, worker, step, "it did not work", "error", retry))

    @move(when=lambda self: self.held)
    def release(self, data: st.DataObject) -> None:
        worker, step = self.a_step(data)
        if (step.task_id, step.n) not in self.begun:
            self.let_go(worker, step)
            self.run(steps.release(self.db, worker, step, "shutting down"))

    @move(when=lambda self: self.held)
    def park(self, data: st.DataObject) -> None:
        worker, step = self.a_step(data)
        if (step.task_id, step.n) not in self.begun:
            self.ask(worker, step, data.draw(EXPIRES_IN_S))

    @move(when=lambda self: self.held)
    def ask_about_all_of_a_task(self, data: st.DataObject) -> None:
        """On one card; and whatever has a deadline is late when nobody answers for an hour."""
        _, one = self.a_step(data)
        expires_in_s = data.draw(EXPIRES_IN_S)
        for worker, step in [h for h in self.held if h[1].task_id == one.task_id]:
            if (step.task_id, step.n) not in self.begun:
                self.ask(worker, step, expires_in_s)
        self.sweep()
        if data.draw(st.booleans(), label="nobody answers"):
            self.an_hour_goes_by()
            self.sweep()

    def ask(self, worker: int, step: Claimed, expires_in_s: int) -> None:
        self.let_go(worker, step)
        # What one task asks about meanwhile stands on one card.
        card = {"title": "x", "reasons": ["r"]}
        item = {"task": str(step.task_id), "step": step.n, "digest": f"d{step.n}", "action": {"a": 1}, "card": card}
        ask = {
            "kind": "action", "items": [item | {"action_hash": ""}], "digest": f"d{step.n}", "action_hash": "",
            "card": card, "ladder": "default", "expires_in_s": expires_in_s,
            "approvers": {"people": [], "roles": ["owner"], "needed": 1, "veto": True},
        }  # fmt: skip
        self.run(steps.park(self.db, worker, step, ask, [], "risky"))

    @move(when=lambda self: self.held)
    def wait(self, data: st.DataObject) -> None:
        worker, step = self.a_step(data)
        if (step.task_id, step.n) not in self.begun:
            self.let_go(worker, step)
            self.run(signals.wait(self.db, worker, step, "timer", seconds=900, within_s=1800))

    @move(when=lambda self: self.held)
    def lose_the_answer(self, data: st.DataObject) -> None:
        worker, step = self.a_step(data)
        had_begun = (step.task_id, step.n) in self.begun
        self.let_go(worker, step)
        became = self.run(steps.lose(self.db, worker, step, "no answer"))
        if became not in ("stale", "cancelled"):
            effect, last = ("intent" if had_begun else None), step.attempt >= step.max_attempts
            assert became == state.lost_step_becomes(EffectClass(step.effect_class), effect, is_last=last)

    @move(when=lambda self: self.workers)
    def crash(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.workers))
        self.workers.remove(worker)
        self.run(self.db.execute("update workers set lease_until = now() - interval '1 minute' where id = $1", worker))
        self.run(self.db.execute("update steps set deadline_at = now() - interval '1 s' where worker_id = $1", worker))
        with pytest.raises(LeaseLost):
            self.run(steps.heartbeat(self.db, worker, 15))
        for owner, step in [h for h in self.held if h[0] == worker]:
            self.let_go(owner, step)
            answer = self.run(steps.begin(
                self.db, worker, step, key=f"late:{step.task_id}:{step.n}:{step.fence}", digest="d", action={}, approval=None,
                grant=None,
            ))  # fmt: skip
            assert answer == "stale", "a worker without a lease began an effect"

    # ------------------------------------------------------------ events and children

    @move(
        when=lambda self: self.tasks,
        priority=st.sampled_from(["interrupt", "wake", "normal", "low"]),
        name=st.sampled_from(["", "go", "go", "reply"]),
    )
    def signal(self, data: st.DataObject, priority: Any, name: str) -> None:
        task = data.draw(st.sampled_from(self.tasks))
        calls = (
            "select n from steps where task_id = $1 and status = 'running' and kind not in ('plan', 'think') order by n"
        )
        before = self.run(self.db.fetch(calls, task))
        key = f"{self.lane}:{next(self.presses)}"
        for expected in ("sent", "duplicate"):
            sent = self.run(
                signals.send(
                    self.db, task, "task_input", {"text": "x"}, priority=priority, origin="requester", actor="person:owner",
                    sender=self.owner.id, name=name, dedup=key, needs_reader=True,
                )
            )  # fmt: skip
            if sent.kind in ("over", "deaf", "full"):
                return
            assert sent.kind == expected
        assert self.run(self.db.fetch(calls, task)) == before, "an event touched more than a turn"
        turns = self.run(
            self.db.fetchval(
                "select count(*) from steps where task_id = $1 and status = 'running' and kind in ('plan', 'think')"
                " and not cancel_asked",
                task,
            )
        )
        assert priority != "interrupt" or turns == 0, "a turn went on although it was interrupted"

    @move(when=lambda self: any(step.kind in ("plan", "think") for _, step in self.held))
    def read_and_complete(self, data: st.DataObject) -> None:
        worker, step = data.draw(st.sampled_from([h for h in self.held if h[1].kind in ("plan", "think")]))
        new = {one.id for one in self.run(signals.for_turn(self.db, step.task_id)) if one.is_new}
        self.let_go(worker, step)
        done = self.run(signals.complete_reading(self.db, worker, step, {"text": "done"}, (), sorted(new)))
        if done.ok:
            pairs = {(step.task_id, one) for one in new}
            assert not pairs & self.read, "an event was read twice"
            self.read |= pairs
        if done.next is not None:
            self.held.append((worker, done.next))

    @move(when=lambda self: self.held)
    def wait_for_an_event(self, data: st.DataObject) -> None:
        worker, step = self.a_step(data)
        if (step.task_id, step.n) not in self.begun:
            self.let_go(worker, step)
            self.run(signals.wait(self.db, worker, step, "event go", seconds=None, within_s=5400, key="go"))

    @move(when=lambda self: self.held and len(self.tasks) < 6)
    def spawn(self, data: st.DataObject) -> None:
        worker, step = self.a_step(data)
        planned = [PlannedStep(n=1, kind="act", effect_class=EffectClass.PURE)]
        answers = [
            self.run(children.spawn(self.db, worker, step, goal="g", kind="do", steps=planned, origin="trusted"))
            for _ in range(2)
        ]
        assert answers[0] == answers[1], "a step started two children"
        if answers[0]["kind"] == "spawned" and int(answers[0]["task"]) not in self.tasks:
            self.tasks.append(int(answers[0]["task"]))

    @move(when=lambda self: self.tasks, within_s=st.sampled_from([1800, 5400]))
    def set_a_deadline(self, data: st.DataObject, within_s: int) -> None:
        self.run(children.set_deadline(self.db, data.draw(st.sampled_from(self.tasks)), within_s))

    # ------------------------------------------------------------ sweeper

    @move()
    def sweep(self) -> None:
        for task, n, fence in self.run(steps.orphans(self.db, [])):
            self.run(steps.recover(self.db, task, n, fence, []))
            self.pass_time(timedelta(seconds=4))  # what died with its worker comes back within that
        for task, n in self.run(steps.due_timers(self.db)):
            self.run(steps.wake(self.db, task, n))
        for approval in self.run(approvals.due(self.db)):
            self.run(approvals.expire(self.db, approval))
        for task, n in self.run(signals.arrived(self.db)):
            self.run(signals.wake_early(self.db, task, n))
        for task, n in self.run(children.clocks(self.db)):
            self.run(children.heed_clock(self.db, task, n))
        for task in self.run(children.overdue(self.db)):
            self.run(children.end_overdue(self.db, task))
        for _ in self.tasks:  # a child that is stopped may leave one of its own
            for child in self.run(children.forsaken(self.db)):
                self.run(tasks.cancel(self.db, child, "sweeper", "its parent task was stopped"))
        assert not set(self.run(children.forsaken(self.db))) & set(self.tasks), "a child outlives its parent's stop"

    @move(sure=st.booleans())
    def probe(self, sure: bool) -> None:
        for found in self.run(steps.due_probes(self.db, 0, 1000)):
            if found.task_id in self.tasks:
                happened = (found.key in self.happened) if sure else None
                if happened is False:
                    self.calls[found.key] = 0
                self.run(steps.probed(self.db, found, happened, {"summary": "probe"}))

    @move()
    def an_hour_goes_by(self) -> None:
        self.pass_time(timedelta(hours=1))

    # ------------------------------------------------------------ people

    @move(verdict=st.sampled_from(["approve", "deny", "stop"]), by_stranger=st.booleans())
    def decide(self, data: st.DataObject, verdict: str, by_stranger: bool) -> None:
        rows = self.run(
            self.db.fetch(
                "select id, kind, task_id, n, expires_at <= sayso_now() as late, items from approvals"
                " where status = 'pending' and task_id = any ($1) order by created_at",
                self.tasks,
            )
        )
        if not rows:
            return
        row = data.draw(st.sampled_from(rows))
        if row["kind"] == "unknown":
            verdict = data.draw(st.sampled_from(["happened", "not_happened", "abandon"]))
            key = self.run(
                self.db.fetchval(
                    "select key from effects where task_id = $1 and n = $2 order by gen desc limit 1",
                    row["task_id"],
                    row["n"],
                )
            )
            if verdict == "not_happened":
                if key in self.happened:
                    verdict = "happened"  # this person tells the truth
                else:
                    self.calls[key] = 0
        principal = self.stranger if by_stranger else self.owner.id
        answer = self.run(
            approvals.decide(
                self.db, principal=principal, approval=str(row["id"]), verdict=verdict, digest=None, reason="",
                channel="web", delivery_id=f"{self.lane}:{next(self.presses)}",
            )
        )  # fmt: skip
        if by_stranger:
            assert answer["kind"] == "not_allowed"
        elif row["late"] and row["kind"] != "unknown":
            assert answer["kind"] == "too_late" and answer["status"] == "expired"
        else:
            assert answer["kind"] == "accepted", answer
            other = "deny" if row["kind"] != "unknown" else "abandon"
            again = self.run(
                approvals.decide(
                    self.db, principal=principal, approval=str(row["id"]), verdict=other,
                    digest=None, reason="", channel="web", delivery_id=f"{self.lane}:{next(self.presses)}",
                )
            )  # fmt: skip
            assert again["kind"] == "already" and again["status"] == answer["status"]

    @move(
        when=lambda self: self.tasks, verb=st.sampled_from(["cancel", "pause", "resume", "resume", "resume", "retry"])
    )
    def lay_hand(self, data: st.DataObject, verb: str) -> None:
        task = data.draw(st.sampled_from(self.tasks))
        match verb:
            case "cancel":
                self.run(tasks.cancel(self.db, task, "person:owner", "enough"))
            case "pause":
                self.run(self.lay(families.pause, task))
            case "resume":
                self.run(self.lay(families.resume, task))
            case _:
                self.run(self.lay(families.retry, task))

    async def lay(self, hand: Any, task: int) -> None:
        async with transaction(self.db) as tx:
            await hand(tx, task, "person:owner")

    @move(when=lambda self: self.tasks)
    def put_a_plan_back(self, data: st.DataObject) -> None:
        self.run(self.roll_back(data, data.draw(st.sampled_from(self.tasks))))

    async def roll_back(self, data: st.DataObject, task: int) -> None:
        async with transaction(self.db) as tx:
            assert await families.hold(tx, task) is not None
            await versions.lock_steps(tx, task)
            known = await versions.facts(tx, task)
            assert known is not None
            label = data.draw(st.sampled_from([move.label for move in history(known.events)]))
            _, then, _ = task_at(known, label)
            plan = rolled_back(then, known.steps)
            if plan.drop or plan.again:
                await versions.write_rollback(tx, task, plan, "person:owner", "put back")

    # ------------------------------------------------------------ what always holds

    @invariant()
    def everything_holds(self) -> None:
        if not getattr(self, "tasks", None):
            return
        self.run(self.check())

    async def check(self) -> None:
        rows = await self.db.fetch("select * from tasks where id = any ($1)", self.tasks)
        all_steps = await self.db.fetch("select * from steps where task_id = any ($1) order by task_id, n", self.tasks)
        of: dict[int, list[asyncpg.Record]] = {task["id"]: [] for task in rows}
        for step in all_steps:
            of[step["task_id"]].append(step)
            fence, version = self.highest.get((step["task_id"], step["n"]), (0, 0))
            assert step["fence"] >= fence and step["version"] >= version, "fence or version went down"
            self.highest[step["task_id"], step["n"]] = (step["fence"], step["version"])
        for task in rows:
            mine = of[task["id"]]
            views = [StepView(s["status"], s["outcome"], kind=s["kind"], handled=s["handled"]) for s in mine]
            unread = await self.db.fetchval(
                "select count(*) from signals g where g.task_id = $1 and g.priority <> 'low' and g.stream = 'task_input'"
                " and not exists (select from signal_reads r where r.signal_id = g.id and r.by_turn)",
                task["id"],
            )
            if unread and task["status"] == "succeeded" and task["kind"] == "plan":
                raise AssertionError("a task succeeded without reading what it was told")
            assert task["status"] == state.task_after(task["status"], views), (
                task["status"],
                [s["status"] for s in mine],
            )
            by_n = {s["n"]: s for s in mine}
            for s in mine:
                if s["status"] == "blocked":
                    open_needs = [n for n in s["needs"] if by_n[n]["outcome"] is None]
                    assert s["unmet"] == len(open_needs) > 0, "a blocked step waits for nothing or for the wrong number"
                if s["status"] == "awaiting_approval":
                    pending = await self.db.fetchval("select status from approvals where id = $1", s["approval_id"])
                    assert pending == "pending", f"a step waits for an approval that is {pending}"
                if s["status"] == "unknown":
                    asked = await self.db.fetchval("select status from approvals where id = $1", s["approval_id"])
                    assert s["waits_for"] == "probe" or asked == "pending", "nobody will ever resolve this unknown"
        illegal = [
            tuple(e)
            for e in await self.db.fetch(
                "select distinct machine, from_state, to_state from events where task_id = any ($1)", self.tasks
            )
            if tuple(e) not in LEGAL
        ]
        assert not illegal, illegal
        twice = [key for key, calls in self.calls.items() if calls > 1]
        assert not twice, f"effects repeated without a probe or a person: {twice}"
        wrong = {name: query for name, query in QUERIES.items() if name.startswith(("I2", "I6", "I11"))}
        found = [(name, row[0]) for name, query in wrong.items() for row in await self.db.fetch(query, self.tasks)]
        assert not found, found


def test_the_sql_keeps_to_the_rules_of_the_state_machines(database_url: str) -> None:
    loop = asyncio.new_event_loop()
    machine = type("BoundEngine", (Engine,), {"dsn": database_url, "loop": loop})
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=int(os.environ.get("SAYSO_EXAMPLES", "20")),
                # The same plays each time; with a number of examples, others.
                derandomize="SAYSO_EXAMPLES" not in os.environ,
                stateful_step_count=50,
                deadline=None,
                phases=set(Phase) if os.environ.get("SAYSO_SHRINK") else {Phase.explicit, Phase.generate},
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        loop.close()
