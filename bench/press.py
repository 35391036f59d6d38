"""W4: from a person's yes to the start of what it allows, with whoever presses and whoever acts as separate processes.

Sayso: a task parks behind an approval, the press goes over HTTP to the bot, the body starts in the worker. The others are
given their own nearest: DBOS a message to a waiting workflow, procrastinate and pgqueuer a job for a sleeping worker.
LangGraph has no worker to wake: whoever presses carries on the graph itself, so no process is crossed.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import httpx

from bench import ledger, raw
from bench.cells import Key, Sample
from bench.children import ChildFailed, Children
from bench.peers import Load, Site
from bench.plant import LOOK_EVERY_S, NeverHappened, Plant, open_plant
from bench.run import Run, words

PRESSES_FULL: Final = 100
PRESSES_QUICK: Final = 20
WARM: Final = 5
SLOTS: Final = 8
PAUSE_S: Final = 0.02  # between presses, so that everybody is idle again
START_S: Final = 30.0
LOOK_S: Final = 0.001
READY: Final = b"ready\n"


async def measure(run: Run) -> AsyncIterator[Sample]:
    presses = PRESSES_QUICK if run.quick else PRESSES_FULL
    for repeat in range(run.repeats):
        before = await raw.probe(run.stand.dsn("raw"), 1, run.probe_s)
        for system in run.systems:
            if run.leaves_out("W4", system):
                continue
            try:
                async with run.site(system) as site:
                    took = await (_sayso(site, presses) if system == "sayso" else _peer(run, system, site, presses))
            except (ChildFailed, NeverHappened) as error:
                run.fail(f"W4 {system}", str(error))
                continue
            after = await raw.probe(run.stand.dsn("raw"), 1, run.probe_s)
            raw_ms = (before.p50_ms + after.p50_ms) / 2
            before = after
            yield Sample(Key("W4", system, 1), repeat, raw_ms=raw_ms, latencies_ms=tuple(took))


# ---------------------------------------------------------------- Sayso


async def _sayso(site: Site, presses: int) -> list[float]:
    async with open_plant(site) as plant:
        await plant.bot()
        await plant.worker(SLOTS)
        return await pressed(plant, presses)


async def pressed(plant: Plant, presses: int, first: int = 0) -> list[float]:
    """One latency a press, over HTTP, of tasks that are made for it one by one; the first few are not counted. Presses go by
    the client that costs the presser least, as its time counts."""
    async with plant.http() as http, aiohttp.ClientSession(plant.base, headers=dict(http.headers)) as presser:
        await _skill_is_known(http)

        async def pause(task: str) -> Any:
            made = await http.post("/api/intents", json={"text": f"do bench.touch n={task}"})
            made.raise_for_status()
            return await plant.pending(int(made.json()["task_id"]))

        async def press(approval: Any) -> None:
            said = {"verdict": "approve", "digest": approval["digest"]}
            async with presser.post(f"/api/approvals/{approval['id']}/decisions", json=said) as answer:
                answer.raise_for_status()

        return (await _latencies(plant.site.ledger, presses + WARM, pause, press, first))[WARM:]


async def _skill_is_known(http: httpx.AsyncClient) -> None:
    deadline = time.monotonic() + START_S
    while "bench.touch" not in {skill["name"] for skill in (await http.get("/api/skills")).json()}:
        if time.monotonic() > deadline:
            raise NeverHappened("the worker published no skills")
        await asyncio.sleep(LOOK_EVERY_S)


# ---------------------------------------------------------------- the others


async def _peer(run: Run, system: str, site: Site, presses: int) -> list[float]:
    load = Load(presses + WARM, 2, SLOTS)
    with Children(site.folder) as children:
        if system != "langgraph":
            host = children.start("bench.peers", *words(system, "host", site, load), environment=run.environment)
            await _said_ready(children, host)
        child = children.start("bench.peers", *words(system, "press", site, load), environment=run.environment)
        said, _ = await asyncio.to_thread(child.communicate)
        if child.returncode != 0:
            raise ChildFailed(children.said(child))
    took: list[float] = json.loads(said)["latencies_ms"]
    return took[WARM:]


async def _said_ready(children: Children, host: Any) -> None:
    reading = asyncio.create_task(asyncio.to_thread(host.stdout.readline))
    try:
        said = await asyncio.wait_for(asyncio.shield(reading), START_S)
    except TimeoutError as error:
        children.end(host)
        raise ChildFailed(f"not ready within {START_S:g} s") from error
    if said != READY:
        raise ChildFailed(children.said(host))


async def press_all(system: Any, site: Site, load: Load) -> dict[str, Any]:
    """In the presser's process."""
    await system.open_presser()

    async def pause(task: str) -> str:
        if hasattr(system, "pause"):
            await system.pause(task)
        return task

    return {"latencies_ms": await _latencies(site.ledger, load.tasks, pause, system.press)}


async def _latencies(
    path: Path,
    presses: int,
    pause: Callable[[str], Awaitable[Any]],
    press: Callable[[Any], Awaitable[None]],
    first: int = 0,
) -> list[float]:
    took = []
    for n in range(first, first + presses):
        paused = await pause(str(n))
        await asyncio.sleep(PAUSE_S)
        began = time.time()
        await press(paused)
        took.append((await _started(path, str(n)) - began) * 1000)
    twice = len(started := [line.task for line in ledger.read(path) if line.n == 2]) - len(set(started))
    if twice:
        raise ChildFailed(f"{twice} bodies started twice")
    return took


async def _started(path: Path, task: str) -> float:
    """When the body wrote that it began."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        for line in reversed(ledger.read(path)[-4:]):
            if line.task == task and line.n == 2:
                return line.at
        await asyncio.sleep(LOOK_S)
    raise NeverHappened(f"the body of press {task} never started")
