"""W5: a hundred thousand tasks that wait for a person: what they take on disk and in memory, and whom they slow down.

One task is paused by the real processes and its rows are copied (`bench.clones`); a fresh worker then starts among them,
looks for work, and acts on presses as in W4.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from bench import clones, raw, readings
from bench.cells import Key, Sample
from bench.plant import Plant, open_plant, until
from bench.press import SLOTS, pressed
from bench.run import Run
from core.store import steps

PAUSED_FULL: Final = 100_000
PAUSED_QUICK: Final = 10_000
PRESSES_FULL: Final = 200
PRESSES_QUICK: Final = 20
CLAIMS: Final = 200
CLAIM_BATCH: Final = 16
SETTLE_S: Final = 3.0
ENGINE: Final = ("tasks", "steps", "approvals", "decisions", "effects", "moves")
AROUND: Final = ("inbound", "conversations", "cards", "outbox")


@dataclass(frozen=True, slots=True)
class Seen:
    start_s: float
    memory_mb: float
    threads: int
    claim_ms: float
    presses_ms: list[float]


async def measure(run: Run) -> AsyncIterator[Sample]:
    count, presses = (PAUSED_QUICK, PRESSES_QUICK) if run.quick else (PAUSED_FULL, PRESSES_FULL)
    before = await raw.probe(run.stand.dsn("raw"), 1, run.probe_s)
    async with run.site("sayso") as site, open_plant(site) as plant:
        await plant.bot()
        empty = await _look(plant, presses, first=0)
        sizes = await readings.table_bytes(site.dsn, ENGINE + AROUND)
        await clones.clone(site.dsn, await _paused_task(plant), count)
        await clones.tidy(site.dsn)
        grown = await readings.table_bytes(site.dsn, ENGINE + AROUND)
        full = await _look(plant, presses, first=100_000)
    after = await raw.probe(run.stand.dsn("raw"), 1, run.probe_s)
    each = {table: (grown[table] - sizes[table]) / count for table in grown}
    figures = {
        "engine_bytes": sum(each[table] for table in ENGINE),
        "all_bytes": sum(each.values()),
        **{f"{table}_bytes": each[table] for table in (*ENGINE, *AROUND) if each[table] >= 1},
        "memory_mb": full.memory_mb,
        "memory_mb_empty": empty.memory_mb,
        "threads": full.threads,
        "threads_empty": empty.threads,
        "start_s": full.start_s,
        "start_s_empty": empty.start_s,
        "claim_ms": full.claim_ms,
        "claim_ms_empty": empty.claim_ms,
        "press_ms_empty": statistics.median(empty.presses_ms),
    }
    raw_ms = (before.p50_ms + after.p50_ms) / 2
    key = Key("W5", "sayso", 1, f"{count:,} paused")
    yield Sample(key, 0, raw_ms=raw_ms, latencies_ms=tuple(full.presses_ms), figures=figures)


async def _look(plant: Plant, presses: int, first: int) -> Seen:
    """A fresh worker: how long it takes to start, what it holds, how fast it finds nothing, how fast it acts."""
    worker = await plant.worker(SLOTS)
    took = await pressed(plant, presses, first=first)
    claims = []
    for _ in range(CLAIMS):
        began = time.perf_counter()
        assert await steps.claim(plant.db, worker.id, "default", CLAIM_BATCH) == []
        claims.append((time.perf_counter() - began) * 1000)
    await asyncio.sleep(SETTLE_S)
    pid = worker.process.pid
    seen = Seen(worker.started_in_s, readings.memory_mb(pid), readings.threads(pid), statistics.median(claims), took)
    plant.children.end(worker.process)
    return seen


async def _paused_task(plant: Plant) -> int:
    """One task that waits for its approval, with cards shown."""
    worker = await plant.worker(SLOTS)
    async with plant.http() as http:
        made = await http.post("/api/intents", json={"text": "do bench.touch n=50000"})
        task = int(made.json()["task_id"])

    async def shown() -> bool:
        return bool(
            await plant.db.fetchval(
                "select exists (select from cards where approval_id is not null and task_id = $1)"
                " and not exists (select from cards where task_id = $1 and shown < wanted)",
                task,
            )
        )

    await until(shown, "its cards are shown")
    plant.children.end(worker.process)
    return task
