"""Rings and bells: what is rung leaves before its caller goes on, and what rings together is heard once."""

from __future__ import annotations

import asyncio
import time

import redis

from core.ring import OUTBOX_BELL, Bell, Ring, queue_name
from tests.processes import until

WITHIN_S = 10.0


async def test_a_ring_has_left_before_its_caller_goes_on(redis_url: str) -> None:
    ring, queue = Ring.open(redis_url), queue_name("default")
    with redis.Redis.from_url(redis_url) as elsewhere:
        before = int(elsewhere.zcard(queue))  # type: ignore[arg-type]  # typed as possibly asynchronous

        async def has_connected() -> bool:
            return bool(elsewhere.zcard(queue) == before + 1)

        ring.task(1)
        await until(has_connected, "the first ring came, and its connection stays")
        ring.task(2)
        await ring.go_first()
        deadline = time.monotonic() + WITHIN_S
        while elsewhere.zcard(queue) != before + 2:  # nothing else of this process runs meanwhile
            assert time.monotonic() < deadline, "it waits for its caller to rest"
    await ring.close()


async def test_what_rings_while_others_go_first_is_one_ring(redis_url: str) -> None:
    bell = Bell(redis_url, OUTBOX_BELL)
    bell.ring()
    asyncio.get_running_loop().call_later(0.01, bell.ring)
    assert await bell.wait(5.0, gather_s=0.1)
    assert not await bell.wait(0.01)


async def test_new_tasks_that_come_within_a_moment_are_rung_for_together(redis_url: str) -> None:
    ring, queue = Ring.open(redis_url), queue_name("default")
    with redis.Redis.from_url(redis_url) as elsewhere:
        before = int(elsewhere.zcard(queue))  # type: ignore[arg-type]  # typed as possibly asynchronous
        for task in range(900_001, 900_051):
            ring.new_task(task)

        async def the_last_is_told() -> bool:
            return elsewhere.zscore(queue, "900050.new") is not None

        await until(the_last_is_told, "the ring for those that came meanwhile")
        assert int(elsewhere.zcard(queue)) - before <= 3  # type: ignore[arg-type]  # as above
    await ring.close()
