"""W7: whether a step costs more when much has been done before: W1 in databases with 10³ to 10⁶ finished tasks.

One database for each size, filled with copies of a finished task (`bench.clones`); the sizes take turns within a repeat.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from bench import clones, raw
from bench.cells import Key, Sample
from bench.children import ChildFailed
from bench.peers import Load, Site
from bench.plant import open_plant, until
from bench.run import Run

SIZES_FULL: Final = (1_000, 10_000, 100_000, 1_000_000)
SIZES_QUICK: Final = (1_000, 10_000)
TASKS_FULL: Final = 1_500
TASKS_QUICK: Final = 300
SLOTS: Final = 8


async def measure(run: Run) -> AsyncIterator[Sample]:
    sizes = SIZES_QUICK if run.quick else SIZES_FULL
    load = Load(TASKS_QUICK if run.quick else TASKS_FULL, 1, SLOTS)
    async with contextlib.AsyncExitStack() as stack:
        sites = {size: await stack.enter_async_context(run.site("sayso")) for size in sizes}
        for size, site in sites.items():
            await _fill(site, size)
        for repeat in range(run.repeats):
            least = 0.0
            before = await raw.probe(run.stand.dsn("raw"), SLOTS, run.probe_s)
            for size, site in sites.items():
                folder = site.folder / f"run-{repeat}"
                folder.mkdir()
                try:
                    took = await run.ask(
                        "sayso", "run", Site(site.dsn, site.redis_url, folder, folder / "ledger"), load
                    )
                except ChildFailed as error:
                    took = {"problems": [str(error)]}
                if took["problems"]:
                    run.fail(f"W7 {size}", "; ".join(took["problems"]))
                    continue
                after = await raw.probe(run.stand.dsn("raw"), SLOTS, run.probe_s)
                raw_rate = (before.rate + after.rate) / 2
                before = after
                rate = took["steps"] / took["seconds"]
                least = least or raw_rate / rate
                figures = {"cost_to_1000": raw_rate / rate / least}
                yield Sample(Key("W7", "sayso", SLOTS, f"{size:,} done"), repeat, raw_rate, rate, figures=figures)


async def _fill(site: Site, size: int) -> None:
    folder = site.folder / "fill"
    folder.mkdir()
    async with open_plant(Site(site.dsn, site.redis_url, folder, folder / "ledger")) as plant:
        await plant.bot()
        await plant.worker(SLOTS)
        async with plant.http() as http:
            made = await http.post("/api/intents", json={"text": "do bench.noop payload=x"})
            task = int(made.json()["task_id"])

        async def shown() -> bool:
            return bool(
                await plant.db.fetchval(
                    "select exists (select from tasks where id = $1 and status = 'succeeded')"
                    " and not exists (select from cards where task_id = $1 and shown < wanted)",
                    task,
                )
            )

        await until(shown, "a task is done and its card shown")
    await clones.clone(site.dsn, task, size)
    await clones.tidy(site.dsn)
