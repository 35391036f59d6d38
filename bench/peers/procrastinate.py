"""procrastinate: asynchronous tasks on the psycopg connector, one worker with as many at once as the load wants.

LISTEN/NOTIFY is on (the default), the pool has a connection for each job and some to spare. It has no chains: each job
defers the next one. https://procrastinate.readthedocs.io/en/stable/howto/basics/worker.html and
https://procrastinate.readthedocs.io/en/stable/howto/production/concurrency.html
"""

from __future__ import annotations

import asyncio
from typing import Final

import procrastinate
from procrastinate.types import JSONDict

from bench.ledger import Ledger
from bench.peers import PAYLOAD, Load, Site, drained

SPARE_CONNECTIONS: Final = 4
BATCH: Final = 500
PRESS_CONCURRENCY: Final = 8
OPEN: Final = "select exists (select from procrastinate_jobs where status in ('todo', 'doing'))"


class Procrastinate:
    def __init__(self, site: Site) -> None:
        self._site = site

    def _open(self, concurrency: int) -> procrastinate.App:
        connector = procrastinate.PsycopgConnector(
            conninfo=self._site.dsn, min_size=2, max_size=concurrency + SPARE_CONNECTIONS
        )
        self._app = procrastinate.App(connector=connector)
        self._book = Ledger(self._site.ledger)

        @self._app.task(name="body")
        async def body(task: str, n: int, steps: int, payload: str) -> dict[str, str]:
            self._book.note(task, n)
            if n < steps:
                await body.defer_async(task=task, n=n + 1, steps=steps, payload=payload)
            return {"payload": payload}

        self._body = body
        return self._app

    async def install(self) -> None:
        async with self._open(1).open_async() as app:
            await app.schema_manager.apply_schema_async()

    async def seed(self, load: Load) -> None:
        async with self._open(load.concurrency).open_async():
            for first in range(0, load.tasks, BATCH):
                tasks = range(first, min(first + BATCH, load.tasks))
                jobs: list[JSONDict] = [
                    {"task": str(task), "n": 1, "steps": load.steps, "payload": PAYLOAD} for task in tasks
                ]
                await self._body.batch_defer_async(*jobs)

    async def drain(self, load: Load) -> None:
        await self._start(load.concurrency)
        await drained(self._site, load, OPEN, self._check)

    async def _start(self, concurrency: int) -> None:
        self._opened = self._open(concurrency).open_async()
        app = await self._opened.__aenter__()
        self._worker = asyncio.create_task(
            app.run_worker_async(concurrency=concurrency, install_signal_handlers=False, listen_notify=True)
        )

    def _check(self) -> None:
        if self._worker.done():
            self._worker.result()

    async def close(self) -> None:
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        await self._opened.__aexit__(None, None, None)

    # ------------------------------------------------------------ a press

    async def wait_for_presses(self, count: int) -> None:
        """A worker that sleeps until a job is deferred."""
        await self._start(PRESS_CONCURRENCY)

    async def open_presser(self) -> None:
        self._opened = self._open(1).open_async()
        await self._opened.__aenter__()

    async def press(self, task: str) -> None:
        await self._body.defer_async(task=task, n=2, steps=2, payload=PAYLOAD)


def open_system(site: Site) -> Procrastinate:
    return Procrastinate(site)
