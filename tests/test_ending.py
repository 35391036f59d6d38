"""Tasks end when they are to end, also one that has lost the cancellation; and a process, whatever is still held."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from core import config, ending
from core.db import close_pool, open_pool
from core.ending import ended
from core.measures import Measures
from worker.lease import Lease
from worker.upkeep import Housekeeper


async def test_a_task_that_loses_its_cancellation_is_asked_again_and_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ending, "AGAIN_S", 0.05)
    lost = 0

    async def deaf() -> None:
        nonlocal lost
        while lost < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost += 1
        await asyncio.Event().wait()

    async def broken() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("on its way out")

    tasks = [asyncio.create_task(deaf(), name="the deaf one"), asyncio.create_task(broken())]
    await asyncio.sleep(0)
    await ended(tasks)
    assert lost == 2
    assert ["the deaf one" in line.getMessage() for line in caplog.records] == [True, True]
    assert tasks[0].cancelled()
    assert isinstance(tasks[1].exception(), ValueError)


async def test_a_worker_leaves_although_a_connection_is_never_given_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await open_pool(database_url, most=1)
    lease, measures = Lease(pool, database_url), Measures()
    await lease.take("test")
    measures.count("messages_total", "web", "sent")
    held = await pool.acquire()
    monkeypatch.setattr(config, "LEAVE_S", 0.05)
    await Housekeeper(pool, measures).leave()
    await lease.leave()
    await close_pool(pool)
    with pytest.raises(asyncpg.InterfaceError):
        await held.fetchval("select 1")
    assert not lease.is_good()
