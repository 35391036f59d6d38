"""The statements that run all the time read by index what they need, however much has been done before.

Asked of the server's own counts: whatever a statement does, also inside a function, rows of the growing tables that were
read by scanning the whole table are counted in `pg_stat_xact_user_tables`. The house holds six thousand finished tasks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import asyncpg
import pytest

from bench.peers.sayso import OPEN
from core.db import Pool, prepare
from core.models import Claimed, EffectClass, PlannedStep
from core.store import approvals, conversations, events, looks, people, steps, tasks
from core.store.events import Cursor

FINISHED = 6_000
GROWING = ("tasks", "steps", "moves", "outbox", "inbound", "approvals", "effects", "cards")
LANES = ("urgent", "default")

# As if they had been carried out: without the triggers, which would write what is written here.
SEED = f"""
set session_replication_role = replica;
insert into conversations (channel, external_id) select 'web', i::text from generate_series(1, 500) i;
insert into inbound (channel, delivery_id, principal_id, conversation_id, body, task_id)
  select 'web', i::text, 1, 1 + i % 500, 'do x.y', i from generate_series(1, {FINISHED}) i;
insert into tasks (id, inbound_id, conversation_id, requester_id, goal, status, finished_at) overriding system value
  select i, i, 1 + i % 500, 1, 'g', 'succeeded', now() from generate_series(1, {FINISHED}) i;
insert into steps (task_id, n, kind, skill, status, outcome, finished_at)
  select i, n, 'act', 'x.y', 'succeeded', 'ok', now() from generate_series(1, {FINISHED}) i, generate_series(1, 2) n;
insert into moves (xid, task_id, n, move, version)
  select (i / 50)::text::xid8, i, 1, move_of('step', 'ready', 'running'), 2 from generate_series(1, {FINISHED}) i;
insert into cards (subject, task_id, conversation_id) select 'task', i, 1 + i % 500 from generate_series(1, {FINISHED}) i;
insert into outbox (conversation_id, card_id, kind, status)
  select 1 + i % 500, i, 'card', 'sent' from generate_series(1, {FINISHED}) i;
insert into effects (task_id, n, gen, key, fence, digest, action, state)
  select i, 1, 1, 'k' || i, 1, 'd', '{{}}', 'done' from generate_series(1, {FINISHED}) i;
insert into approvals (kind, task_id, n, items, digest, card, approvers, requester_id, status, expires_at, decided_by)
  select 'action', i, 1, '[]', 'd', '{{}}', '{{}}', 1, 'consumed', now(), 1 from generate_series(1, {FINISHED}) i;
select setval(pg_get_serial_sequence('tasks', 'id'), {FINISHED});
set session_replication_role = origin;
analyze;
"""


class Desk:
    """One connection in one transaction, whose counts are its own."""

    def __init__(self, connection: Any, owner: int, worker: int) -> None:
        self.db, self.owner, self.worker = connection, owner, worker

    async def task(self, count: int, effect: EffectClass = EffectClass.PURE) -> int:
        plan = [
            PlannedStep(n=n, kind="act", skill="x.y", needs=(n - 1,) if n > 1 else (), effect_class=effect)
            for n in range(1, count + 1)
        ]
        made = await tasks.create(
            self.db, requester=self.owner, goal="g", kind="do", steps=plan, actor="t", conversation=1
        )
        assert made is not None
        return made

    async def claim(self) -> list[Claimed]:
        return await steps.claim_lanes(self.db, self.worker, LANES, (32, 28))

    async def scanned(self) -> dict[str, int]:
        rows = await self.db.fetch(
            "select relname, seq_tup_read from pg_stat_xact_user_tables where relname = any ($1)", GROWING
        )
        return {row["relname"]: row["seq_tup_read"] for row in rows}

    async def by_index(self, doing: Awaitable[Any]) -> Any:
        before = await self.scanned()
        came = await doing
        after = await self.scanned()
        read = {table: after[table] - before[table] for table in after if after[table] > before[table]}
        assert not read, f"rows read by scanning whole tables: {read}"
        return came


@pytest.fixture
async def desk(db: Pool, database_url: str) -> AsyncIterator[Desk]:
    owner = await people.ensure_owner(db)
    worker = await steps.enrol(db, "host", 1, "test", 3600)
    connection = await asyncpg.connect(database_url)
    await connection.execute(SEED)
    await prepare(connection)
    transaction = connection.transaction()
    await transaction.start()
    yield Desk(connection, owner.id, worker)
    await transaction.rollback()
    await connection.close()


async def test_steps_are_claimed_and_completed_by_index(desk: Desk) -> None:
    await desk.by_index(desk.task(3))
    for _ in range(8):  # the server plans a statement anew for its first runs, then keeps one plan
        await desk.task(1)
    held = await desk.by_index(desk.claim())
    assert len(held) == 9
    done = await desk.by_index(
        steps.complete_many(desk.db, desk.worker, [(s, {}) for s in held], LANES, (32, 28), more=True)
    )
    assert [step.n for step in done.claimed] == [2]
    alone = await desk.by_index(steps.complete(desk.db, desk.worker, done.claimed[0], {}))
    assert alone.next.n == 3
    assert await desk.by_index(steps.heartbeat(desk.db, desk.worker, 3600)) != []
    assert await desk.by_index(steps.adopt(desk.db, desk.worker, alone.next.task_id, 3, alone.next.fence)) is not None
    assert await desk.by_index(steps.fail(desk.db, desk.worker, alone.next, "no", "error", None))


async def test_an_action_is_parked_decided_and_begun_by_index(desk: Desk) -> None:
    task = await desk.task(1, EffectClass.UNSAFE)
    [step] = await desk.claim()
    ask = {
        "kind": "action", "digest": "d", "action_hash": "h", "ladder": "default", "expires_in_s": 60, "card": {"title": "x"},
        "items": [{"task": str(task), "step": 1, "digest": "d", "action": {"a": 1}}],
        "approvers": {"people": ["owner"], "roles": [], "needed": 1, "four_eyes": False, "veto": True},
    }  # fmt: skip
    approval = await desk.by_index(steps.park(desk.db, desk.worker, step, ask, [1], "risky"))
    answer = await desk.by_index(
        approvals.decide(
            desk.db, principal=desk.owner, approval=approval, verdict="approve", digest="d", reason="",
            channel="web", delivery_id="press",
        )
    )  # fmt: skip
    assert answer["status"] == "approved"
    [step] = await desk.by_index(desk.claim())
    begun = steps.begin(
        desk.db, desk.worker, step, key="key", digest="d", action={"a": 1}, approval=approval, grant=None
    )
    assert await desk.by_index(begun) == "go"
    assert (await desk.by_index(steps.complete(desk.db, desk.worker, step, {}))).ok


async def test_an_idle_worker_and_an_idle_courier_look_by_index(desk: Desk) -> None:
    assert await desk.by_index(desk.claim()) == []
    assert await desk.by_index(looks.due(desk.db)) <= {"audit", "silent"}
    assert await desk.by_index(conversations.any_to_deliver(desk.db)) is False
    assert await desk.by_index(conversations.claim_messages(desk.db, ["web"], 20, 30)) == []
    assert await desk.by_index(steps.orphans(desk.db, [])) == []
    assert await desk.by_index(steps.due_timers(desk.db)) == []
    assert await desk.by_index(approvals.due(desk.db)) == []


async def test_the_benchmark_itself_looks_for_open_tasks_by_index(desk: Desk) -> None:
    assert await desk.by_index(desk.db.fetchval(OPEN)) is False


async def test_open_pages_read_the_newest_events_by_index(desk: Desk) -> None:
    newest = await desk.by_index(events.newest(desk.db))
    assert newest != Cursor()
    assert await desk.by_index(events.since(desk.db, newest)) == []
    assert await desk.by_index(events.of_task(desk.db, 77)) != []
