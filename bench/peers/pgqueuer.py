"""pgqueuer: durable tables with its own autovacuum settings, asyncpg and uvloop, batches as large as the load allows.

As its checklist says: a connection of its own for the queue manager, a pool for who enqueues; `max_concurrent_tasks` is
at least twice the batch. It has no chains: each job enqueues the next one.
https://janbjorge.github.io/pgqueuer/guides/performance-tuning (its command line runs on uvloop; so do we)
"""

from __future__ import annotations

import asyncio
import json
from typing import Final

import asyncpg
from pgqueuer import Job, PgQueuer, Queries
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver

from bench.ledger import Ledger
from bench.peers import PAYLOAD, Load, Site, drained

WANTS_UVLOOP: Final = True
PRESS_CONCURRENCY: Final = 8
OPEN: Final = "select exists (select from pgqueuer where status in ('queued', 'picked'))"


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
        self._worker = asyncio.create_task(self._work(load.concurrency))
        await drained(self._site, load, OPEN, self._check)

    def _check(self) -> None:
        if self._worker.done():
            self._worker.result()

    async def close(self) -> None:
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)

    async def _work(self, concurrency: int) -> None:
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

            await queue.run(batch_size=concurrency, max_concurrent_tasks=2 * concurrency)

    # ------------------------------------------------------------ a press

    async def wait_for_presses(self, count: int) -> None:
        """A worker that sleeps until a job is enqueued."""
        self._worker = asyncio.create_task(self._work(PRESS_CONCURRENCY))

    async def open_presser(self) -> None:
        self._queries = Queries(AsyncpgPoolDriver(await asyncpg.create_pool(self._site.dsn, min_size=1, max_size=2)))

    async def press(self, task: str) -> None:
        await self._queries.enqueue("body", _written(task, 2, 2))


def _written(task: str, n: int, steps: int) -> bytes:
    return json.dumps({"task": task, "n": n, "steps": steps, "payload": PAYLOAD}).encode()


def open_system(site: Site) -> Pgqueuer:
    return Pgqueuer(site)
