"""W6: workers killed with -9 at steady load, Redis and Postgres taken away in the middle: what runs again when, and what
is lost or done twice, counted in a ledger outside.

Half of the load are steps that change nothing: they may run again at once when the kernel says that their worker died,
and after its lease when it does not (a frozen worker keeps its sign). The other half must not be done twice: where a
worker died over one, people are asked, and we answer from the ledger, as somebody would who looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import httpx

from bench import ledger
from bench.cells import Key, Sample, quantile
from bench.plant import NeverHappened, Plant, Worker, open_plant, until
from bench.run import Run
from core.db import DATABASE_AWAY
from core.models import PlannedStep
from core.store import tasks

KILLS_FULL: Final = 200
FREEZES_FULL: Final = 5
KILLS_QUICK: Final = 3
FREEZES_QUICK: Final = 1
WORKERS: Final = 2
SLOTS: Final = 16
OPEN_TASKS: Final = 16  # no more than one worker can carry: what a dead one held does not queue behind others
THINK_MS: Final = 400
ATTEMPTS: Final = 20  # blows come so thick that one step may be caught three times, and then is given up as poison
SEND_MS: Final = 300
SEND_TIMEOUT_S: Final = 2.0
RERUN_S: Final = 60.0
END_S: Final = 180.0
LOOK_EVERY_S: Final = 0.02
ANSWER_EVERY_S: Final = 0.5
REDIS_AWAY_S: Final = 3.0
T = TypeVar("T")


@dataclass
class Field:
    """The plant under fire. `by_…_ms`: from the blow to the next start of a step that it had caught running; of one that
    was caught before, and so is held back for up to four seconds, `caught_again_ms`."""

    run: Run
    plant: Plant
    made: list[int] = field(default_factory=list)
    by_hint_ms: list[float] = field(default_factory=list)
    caught_again_ms: list[float] = field(default_factory=list)
    by_lease_ms: list[float] = field(default_factory=list)
    kills: int = 0
    freezes: int = 0
    asked: int = 0

    async def patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Again while the database is away."""
        while True:
            try:
                return await ask()
            except DATABASE_AWAY:
                await asyncio.sleep(LOOK_EVERY_S * 5)


async def measure(run: Run) -> AsyncIterator[Sample]:
    kills, freezes = (KILLS_QUICK, FREEZES_QUICK) if run.quick else (KILLS_FULL, FREEZES_FULL)
    kills = run.kills or kills
    async with run.site("sayso") as site, open_plant(site) as plant:
        world = Field(run, plant)
        await plant.bot()
        for _ in range(WORKERS):
            await plant.worker(SLOTS)
        feeding = asyncio.create_task(_feed(world))
        answering = asyncio.create_task(_answer(world))
        try:
            await _strike(world, kills, freezes)
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await until(lambda: world.patiently(lambda: _all_ended(world)), "every task ends", END_S)
            answering.cancel()
        finally:
            for task in (feeding, answering):
                task.cancel()
            await asyncio.gather(feeding, answering, return_exceptions=True)
        figures = await _counted(world)
        key = Key("W6", "sayso", SLOTS, f"{world.kills} kills")
        yield Sample(key, 0, latencies_ms=tuple(world.by_hint_ms), figures=figures)


# ---------------------------------------------------------------- load


async def _feed(world: Field) -> None:
    """Keep so many tasks open, by turns of three steps that think and of one that sends."""
    for n in itertools.count():
        await until(lambda: world.patiently(lambda: _has_room(world)), "tasks end", END_S)
        planned = _thinking() if n % 2 else _sending()
        # A key of its own: a commit whose answer was lost is found again instead of being made twice.
        key = f"bench-{n}"
        made = await world.patiently(lambda: _make(world, planned, key))  # noqa: B023  (awaited before the next turn)
        world.made.append(made)


async def _make(world: Field, planned: list[PlannedStep], key: str) -> int:
    db, ann = world.plant.db, world.plant.ann
    made = await tasks.create(
        db, requester=ann, goal="bench", kind="do", steps=planned, actor="bench", idempotency_key=key
    )
    if made is None:
        made = await tasks.by_idempotency_key(db, ann, key)
    assert made is not None
    return made


def _thinking() -> list[PlannedStep]:
    return [
        PlannedStep(
            n=n,
            kind="act",
            skill="bench.think",
            args={"ms": THINK_MS},
            needs=(n - 1,) if n > 1 else (),
            max_attempts=ATTEMPTS,
        )
        for n in (1, 2, 3)
    ]


def _sending() -> list[PlannedStep]:
    args = {"ms": SEND_MS}
    return [
        PlannedStep(
            n=1,
            kind="act",
            skill="bench.send",
            args=args,
            effect_class="unsafe",
            timeout_s=SEND_TIMEOUT_S,
            max_attempts=ATTEMPTS,
        )
    ]


async def _open(world: Field) -> int:
    found: int = await world.plant.db.fetchval("select count(*) from tasks where finished_at is null")
    return found


async def _has_room(world: Field) -> bool:
    return await _open(world) < OPEN_TASKS


async def _all_ended(world: Field) -> bool:
    return await _open(world) == 0


async def _answer(world: Field) -> None:
    """What people do who are asked whether something happened: look, and say so."""
    async with world.plant.http() as http:
        while True:
            with contextlib.suppress(*DATABASE_AWAY, httpx.TransportError):
                for asked in await world.plant.db.fetch(
                    "select id, task_id, digest from approvals where kind = 'unknown' and status = 'pending'"
                ):
                    happened = f"send:{asked['task_id']}" in {
                        line.task for line in ledger.read(world.plant.site.ledger)
                    }
                    said = {"verdict": "happened" if happened else "not_happened", "digest": asked["digest"]}
                    answer = await http.post(f"/api/approvals/{asked['id']}/decisions", json=said)
                    world.asked += answer.is_success
            await asyncio.sleep(ANSWER_EVERY_S)


# ---------------------------------------------------------------- blows


async def _strike(world: Field, kills: int, freezes: int) -> None:
    """The freezes are spread over the kills; Redis goes after a third of them, Postgres after two thirds."""
    for n in range(kills):
        if n == kills // 3:
            await _without_redis(world)
        if n == 2 * kills // 3:
            await _restart_postgres(world)
        if n * freezes // kills > (n - 1) * freezes // kills:
            await _blow(world, freeze=True)
        await _blow(world, freeze=False)


async def _blow(world: Field, freeze: bool) -> None:
    """Kill, or freeze, a worker that is at work; a new one takes its place; wait for what it held to start again."""
    plant = world.plant
    victim = plant.workers.pop(0)
    held = await until(lambda: world.patiently(lambda: _held(plant, victim)), "a worker is at work")
    at = time.time()
    if freeze:
        victim.process.send_signal(signal.SIGSTOP)
        world.freezes += 1
    else:
        victim.process.kill()
        victim.process.wait()
        world.kills += 1
    successor = asyncio.create_task(world.patiently(lambda: plant.worker(SLOTS)))
    took = [await _again(world, task, n, fence, at) for task, n, fence in held]
    for (_, _, fence), ms in zip(held, took, strict=True):
        if ms is not None:
            of_kills = world.by_hint_ms if fence == 1 else world.caught_again_ms
            (world.by_lease_ms if freeze else of_kills).append(ms)
    await successor
    if freeze:
        victim.process.kill()
        victim.process.wait()


async def _held(plant: Plant, victim: Worker) -> list[tuple[int, int, int]]:
    """Its thinking steps whose bodies have begun. A process that lost its lease goes on as another worker."""
    begun = {(line.task, line.n) for line in ledger.read(plant.site.ledger)}
    rows: list[Any] = await plant.db.fetch(
        "select s.task_id, s.n, s.fence from steps s join workers w on w.id = s.worker_id"
        " where w.pid = $1 and s.status = 'running' and s.skill = 'bench.think'",
        victim.process.pid,
    )
    return [(r["task_id"], r["n"], r["fence"]) for r in rows if (f"think:{r['task_id']}", r["n"]) in begun]


async def _again(world: Field, task: int, n: int, fence: int, since: float) -> float | None:
    """When the body started once more; None when the step had come to its end before the blow after all."""
    deadline = time.monotonic() + RERUN_S
    while time.monotonic() < deadline:
        for line in ledger.read(world.plant.site.ledger):
            if line.task == f"think:{task}" and line.n == n and line.at > since:
                return (line.at - since) * 1000
        ended = await world.patiently(
            lambda: world.plant.db.fetchval(
                "select status = 'succeeded' and fence = $3 from steps where task_id = $1 and n = $2", task, n, fence
            )
        )
        if ended:
            return None
        await asyncio.sleep(LOOK_EVERY_S)
    raise NeverHappened(f"step {task}.{n} did not run again within {RERUN_S:g} s")


async def _without_redis(world: Field) -> None:
    servers = world.run.stand.servers
    await asyncio.to_thread(servers.valkey.stop, "immediate")
    await asyncio.sleep(REDIS_AWAY_S)
    await asyncio.to_thread(servers.keep)


async def _restart_postgres(world: Field) -> None:
    servers = world.run.stand.servers
    await asyncio.to_thread(servers.postgres.stop, "immediate")
    await asyncio.to_thread(servers.keep)


# ---------------------------------------------------------------- the account


async def _counted(world: Field) -> dict[str, float]:
    """Lost: a task that is not done, or done without its body in the ledger. Repeated: a sending that is there twice."""
    rows = await world.patiently(
        lambda: world.plant.db.fetch(
            "select t.id, t.status, t.error, s.skill from tasks t join steps s on s.task_id = t.id and s.n = 1"
            " where t.goal = 'bench'"
        )
    )
    ran = Counter((line.task, line.n) for line in ledger.read(world.plant.site.ledger))
    sent = {task: times for (task, _), times in ran.items() if task.startswith("send:")}
    done = {r["id"] for r in rows if r["status"] == "succeeded"}
    senders = {r["id"] for r in rows if r["skill"] == "bench.send"}
    for row in rows:
        if row["status"] != "succeeded":
            world.run.fail(f"W6 task {row['id']} ({row['skill']})", f"{row['status']}: {row['error']}")
    figures = {
        "tasks": float(len(world.made)),
        "lost": float(sum(task not in done for task in world.made))
        + sum(f"send:{task}" not in sent for task in senders & done),
        "silent_repeats": float(sum(times - 1 for times in sent.values())),
        "asked_people": float(world.asked),
        "reruns_that_change_nothing": float(
            sum(times - 1 for (task, _), times in ran.items() if task.startswith("think:"))
        ),
        "hint_most_ms": max(world.by_hint_ms),
        "hint_p99_ms": quantile(world.by_hint_ms, 0.99),
    }
    if world.caught_again_ms:
        again = world.caught_again_ms
        figures |= {"caught_again_p50_ms": quantile(again, 0.5), "caught_again_most_ms": max(again)}
    if world.by_lease_ms:
        figures |= {"lease_p50_ms": quantile(world.by_lease_ms, 0.5), "lease_most_ms": max(world.by_lease_ms)}
    return figures
