"""Rings and bells: what is rung leaves before its caller goes on, and a press wakes the workers first."""

from __future__ import annotations

import time

import redis

from core.ring import EVENTS_BELL, OUTBOX_BELL, Ring, bell_name, queue_name
from tests.patience import PATIENCE_S
from tests.processes import until


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
        deadline = time.monotonic() + PATIENCE_S
        while elsewhere.zcard(queue) != before + 2:  # nothing else of this process runs meanwhile
            assert time.monotonic() < deadline, "it waits for its caller to rest"
    await ring.close()


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


class Told:
    """Stands for Redis: which bells it was told to ring, in order."""

    def __init__(self) -> None:
        self.bells: list[list[str]] = []

    async def eval(self, *said: object) -> None:
        self.bells.append([str(one) for one in said if str(one).startswith("sayso:bell:")])

    async def publish(self, bell: str, _: str) -> None:
        self.bells.append([bell])

    async def aclose(self) -> None:
        self.bells.append([])


async def test_a_press_rings_the_workers_at_once_and_the_courier_a_moment_later() -> None:
    told = Told()
    ring = Ring(told)  # type: ignore[arg-type]  # all that a ring uses of it
    ring.task(1, outbox_after_s=0.01)
    await ring.go_first()
    assert told.bells[:1] == [[bell_name("default"), EVENTS_BELL]]

    async def has_both() -> bool:
        return len(told.bells) == 3

    await until(has_both, "the courier is rung too")
    assert told.bells[1:] == [[OUTBOX_BELL], [EVENTS_BELL]]
    await ring.close()
