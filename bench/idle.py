"""W8: what a bot and a worker with nothing to do cost: processor time of both, and transactions in their database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlsplit

from bench import readings
from bench.cells import Key, Sample
from bench.plant import open_plant
from bench.press import SLOTS
from bench.run import Run

SETTLE_S: Final = 12.0  # what a worker does once at its start is over
LASTS_FULL_S: Final = 60.0
LASTS_QUICK_S: Final = 10.0


async def measure(run: Run) -> AsyncIterator[Sample]:
    lasts_s = LASTS_QUICK_S if run.quick else LASTS_FULL_S
    elsewhere = run.stand.dsn("postgres")
    async with run.site("sayso") as site, open_plant(site) as plant:
        pids = {"bot": (await plant.bot()).pid, "worker": (await plant.worker(SLOTS)).process.pid}
        await plant.db.close()
        await asyncio.sleep(SETTLE_S)
        database = urlsplit(site.dsn).path.lstrip("/")
        began, cpu = time.monotonic(), {name: readings.cpu_s(pid) for name, pid in pids.items()}
        done = await readings.transactions(elsewhere, database)
        await asyncio.sleep(lasts_s)
        took = time.monotonic() - began
        figures = {f"{name}_cpu_percent": 100 * (readings.cpu_s(pid) - cpu[name]) / took for name, pid in pids.items()}
        figures["cpu_percent"] = sum(figures.values())
        figures["queries_per_s"] = (await readings.transactions(elsewhere, database) - done) / took
        yield Sample(Key("W8", "sayso", 0, "idle"), 0, figures=figures)
