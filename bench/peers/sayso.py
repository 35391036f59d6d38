"""Sayso: tasks made by its own `create_task_v1`, carried out by a worker process of its own, as `./sayso up` runs it.

The body is a pure skill from the skills folder, so every step passes registry, argument schema, policy and redaction.
Unless `in_chat`, the tasks belong to no conversation, as those of a program do: there is no card to keep up to date.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from bench.peers import PAYLOAD, Load, Site, drained
from bench.plant import open_plant
from core.db import migrate
from core.models import Channel, Place, PlannedStep
from core.store import conversations
from core.store.steps import planned

SEED: Final = (
    "select create_task_v1(null, $4, $1, 'bench', 'do', $3, 'default', 2::smallint, null, null, 'bench')"
    " from generate_series(1, $2)"
)
OPEN: Final = (
    "select exists (select from tasks where finished_at is null)"  # by its index: this look is part of what is timed
)


def steps_of(load: Load) -> list[dict[str, Any]]:
    def needs(n: int) -> tuple[int, ...]:
        if n == 1:
            return ()
        if load.shape == "chain":
            return (n - 1,)
        return (1,) if n < load.steps else tuple(range(2, n))

    return planned(
        PlannedStep(n=n, kind="act", skill="bench.noop", args={"payload": PAYLOAD}, needs=needs(n))
        for n in range(1, load.steps + 1)
    )


class Sayso:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def install(self) -> None:
        await migrate(self._site.dsn)

    async def seed(self, load: Load) -> None:
        self._plant = open_plant(self._site)
        plant = await self._plant.__aenter__()
        here = Place(channel=Channel.WEB, external_id="ann", private=True)
        place = await conversations.ensure(plant.db, here) if load.in_chat else None
        await plant.db.execute(SEED, plant.ann, load.tasks, steps_of(load), place)
        self._opened = plant

    async def drain(self, load: Load) -> None:
        slots = load.concurrency // load.workers
        workers = await asyncio.gather(*(self._opened.worker(slots) for _ in range(load.workers)))

        def check() -> None:
            for worker in workers:
                self._opened.children.check(worker.process)

        await drained(self._site, load, OPEN, check)

    async def close(self) -> None:
        await self._plant.__aexit__(None, None, None)


def open_system(site: Site) -> Sayso:
    return Sayso(site)
