"""procrastinate: asynchronous tasks on the psycopg connector, one worker with as many at once as the load wants.

LISTEN/NOTIFY is on (the default), the pool has a connection for each job and some to spare. It has no chains: each job
defers the next one. https://procrastinate.readthedocs.io/en/stable/howto/basics/worker.html and
https://procrastinate.readthedocs.io/en/stable/howto/production/concurrency.html
"""

from __future__ import annotations

import asyncio

import procrastinate
from procrastinate.types import JSONDict

from bench import ledger
from bench.ledger import Ledger
from bench.peers import PAYLOAD, Load, Site

SPARE_CONNECTIONS = 4
BATCH = 500


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
        async with self._open(load.concurrency).open_async() as app:
            # It ends when it finds no job left: a job defers the next one before it ends.
            while ledger.count(self._site.ledger) < load.tasks * load.steps:
                await app.run_worker_async(
                    concurrency=load.concurrency, wait=False, install_signal_handlers=False, listen_notify=True
                )

    # ------------------------------------------------------------ a press

    async def wait_for_presses(self, count: int) -> None:
        """A worker that sleeps until a job is deferred."""
        self._stack = self._open(8).open_async()
        app = await self._stack.__aenter__()
        self._worker = asyncio.create_task(app.run_worker_async(concurrency=8, install_signal_handlers=False))

    async def open_presser(self) -> None:
        self._stack = self._open(1).open_async()
        await self._stack.__aenter__()

    async def press(self, task: str) -> None:
        await self._body.defer_async(task=task, n=2, steps=2, payload=PAYLOAD)


def open_system(site: Site) -> Procrastinate:
    return Procrastinate(site)
