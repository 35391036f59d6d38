"""pgqueuer: durable tables with its own autovacuum settings, asyncpg and uvloop, batches as large as the load allows.

As its checklist says: a connection of its own for the queue manager, a pool for who enqueues; `max_concurrent_tasks` is
at least twice the batch. It has no chains: each job enqueues the next one.
https://janbjorge.github.io/pgqueuer/guides/performance-tuning (its command line runs on uvloop; so do we)
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import asyncpg
from pgqueuer import Job, PgQueuer, Queries
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.types import QueueExecutionMode

from bench import ledger
from bench.ledger import Ledger
from bench.peers import PAYLOAD, Load, Site

WANTS_UVLOOP = True


class Pgqueuer:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def install(self) -> None:
        connection = await asyncpg.connect(self._site.dsn)
        queries = Queries(AsyncpgDriver(connection))
        await queries.install()
        await queries.optimize_autovacuum()
        await connection.close()

    async def seed(self, load: Load) -> None:
        connection = await asyncpg.connect(self._site.dsn)
        payloads: list[bytes | None] = [_written(str(task), 1, load.steps) for task in range(load.tasks)]
        await Queries(AsyncpgDriver(connection)).enqueue(["body"] * load.tasks, payloads, [0] * load.tasks)
        await connection.close()

    async def drain(self, load: Load) -> None:
        while ledger.count(self._site.ledger) < load.tasks * load.steps:
            await self._work(load.concurrency, QueueExecutionMode.drain)

    async def _work(self, concurrency: int, mode: QueueExecutionMode) -> None:
        book = Ledger(self._site.ledger)
        connection = await asyncpg.connect(self._site.dsn)
        async with asyncpg.create_pool(self._site.dsn, min_size=1, max_size=2 * concurrency) as pool:
            queue, producer = PgQueuer(AsyncpgDriver(connection)), Queries(AsyncpgPoolDriver(pool))

            @queue.entrypoint("body")
            async def body(job: Job) -> None:
                given = json.loads(job.payload or b"{}")
                task, n, steps = given["task"], given["n"], given["steps"]
                book.note(task, n)
                if n < steps:
                    await producer.enqueue("body", _written(task, n + 1, steps))

            await queue.run(
                batch_size=concurrency,
                max_concurrent_tasks=2 * concurrency,
                mode=mode,
                dequeue_timeout=timedelta(seconds=30),
            )

    # ------------------------------------------------------------ a press

    async def wait_for_presses(self, count: int) -> None:
        self._worker = asyncio.create_task(self._work(8, QueueExecutionMode.continuous))

    async def open_presser(self) -> None:
        self._queries = Queries(AsyncpgPoolDriver(await asyncpg.create_pool(self._site.dsn, min_size=1, max_size=2)))

    async def press(self, task: str) -> None:
        await self._queries.enqueue("body", _written(task, 2, 2))


def _written(task: str, n: int, steps: int) -> bytes:
    return json.dumps({"task": task, "n": n, "steps": steps, "payload": PAYLOAD}).encode()


def open_system(site: Site) -> Pgqueuer:
    return Pgqueuer(site)
