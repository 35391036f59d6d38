"""DBOS Transact: asynchronous workflows of steps, started in the process that carries them out.

Started directly rather than through a DBOS queue, which looks for work once a second: so it is fastest. What it takes to
record a workflow's start is therefore part of its figures. The pool is as large as the load, LISTEN/NOTIFY is on (the
default). https://docs.dbos.dev/python/tutorials/workflow-tutorial and https://docs.dbos.dev/python/reference/configuration
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from dbos import DBOS, DBOSClient, DBOSConfig, SetWorkflowID

from bench import ledger
from bench.ledger import Ledger
from bench.peers import PAYLOAD, Load, Site

POOL_LEAST = 20  # its default
book: Ledger


@DBOS.step()
async def body(task: str, n: int, payload: str) -> dict[str, str]:
    book.note(task, n)
    return {"payload": payload}


@DBOS.workflow()
async def chain(task: str, steps: int) -> int:
    for n in range(1, steps + 1):
        await body(task, n, PAYLOAD)
    return steps


@DBOS.workflow()
async def fan(task: str, steps: int) -> int:
    await body(task, 1, PAYLOAD)
    await asyncio.gather(*(body(task, n, PAYLOAD) for n in range(2, steps)))
    await body(task, steps, PAYLOAD)
    return steps


@DBOS.workflow()
async def gated(task: str) -> int:
    await body(task, 1, PAYLOAD)
    await DBOS.recv_async("press", timeout_seconds=600)
    await body(task, 2, PAYLOAD)
    return 2


class Dbos:
    def __init__(self, site: Site) -> None:
        self._site = site

    def _launch(self, concurrency: int) -> None:
        config: DBOSConfig = {
            "name": "bench",
            "system_database_url": self._site.dsn,
            "sys_db_pool_size": max(POOL_LEAST, 2 * concurrency),
            "log_level": "ERROR",
            "application_version": "1",
        }
        DBOS(config=config)
        DBOS.launch()

    async def install(self) -> None:
        self._launch(1)
        DBOS.destroy()

    async def seed(self, load: Load) -> None:
        global book
        book = Ledger(self._site.ledger)
        self._launch(load.concurrency)

    async def drain(self, load: Load) -> None:
        workflow: Any = chain if load.shape == "chain" else fan
        tasks = iter([uuid.uuid4().hex for _ in range(load.tasks)])

        async def one_after_another() -> None:
            for task in tasks:
                await workflow(task, load.steps)

        await asyncio.gather(*(one_after_another() for _ in range(load.concurrency)))

    async def close(self) -> None:
        DBOS.destroy()

    # ------------------------------------------------------------ a press

    async def wait_for_presses(self, count: int) -> None:
        """Workflows that wait for a message; they are gone with this process."""
        await self.seed(Load(count, 2, count))
        for n in range(count):
            with SetWorkflowID(str(n)):
                await DBOS.start_workflow_async(gated, str(n))
        await ledger.filled(self._site.ledger, count, lambda: None)

    async def open_presser(self) -> None:
        self._client = DBOSClient(system_database_url=self._site.dsn)

    async def press(self, task: str) -> None:
        await self._client.send_async(task, "yes", "press")


def open_system(site: Site) -> Dbos:
    return Dbos(site)
