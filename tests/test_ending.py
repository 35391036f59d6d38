"""Tasks end when they are to end, also one that has lost the cancellation."""

from __future__ import annotations

import asyncio

import pytest

from core import ending
from core.ending import ended


async def test_a_task_that_loses_its_cancellation_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
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

    tasks = [asyncio.create_task(deaf()), asyncio.create_task(broken())]
    await asyncio.sleep(0)
    await ended(tasks)
    assert lost == 2
    assert tasks[0].cancelled()
    assert isinstance(tasks[1].exception(), ValueError)
