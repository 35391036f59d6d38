"""`python -m bench.engine`: Sayso's engine and its peers in one run on one Postgres, with the machine's limit beside each.

`sayso bench engine` is this. It makes a temporary folder with servers of its own, runs the workloads system by system
and repeat by repeat, prints what it finds as it finds it, and writes JSON and a plot. Nothing is left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

from bench import growth, idle, kills, paused, plot, press, throughput
from bench.cells import Sample, gathered, told
from bench.children import ChildFailed
from bench.peers import SYSTEMS, version
from bench.plant import NeverHappened
from bench.run import Run
from bench.stand import Stand, open_stand

REPEATS: Final = 5
REPEATS_QUICK: Final = 1
CONCURRENCY_MOST: Final = 64  # the embedded Postgres takes 120 connections
ABSENT: Final = "not installed"
NAMES: Final = ("W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8")


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench.engine", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="everything once, small; about three minutes")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="an SVG")
    parser.add_argument("--only", default=",".join(NAMES), help="workloads, as W1,W4")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="systems, as sayso,dbos")
    parser.add_argument("--concurrency", metavar="N,N", help="of W1 to W3, as 8; otherwise 1, 8 and 32")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--kills", type=int, help="of W6; otherwise 200, with --quick 3")
    read = parser.parse_args(given)
    read.only, read.systems = read.only.upper().split(","), read.systems.lower().split(",")
    for what, wanted, known in (("workload", read.only, NAMES), ("system", read.systems, SYSTEMS)):
        for name in wanted:
            if name not in known:
                parser.error(f"there is no {what} {name!r}; there are {', '.join(known)}")
    if read.concurrency is not None:
        numbers = read.concurrency.split(",")
        if not all(n.isdecimal() and 1 <= int(n) <= CONCURRENCY_MOST for n in numbers):
            parser.error(f"--concurrency takes numbers from 1 to {CONCURRENCY_MOST}, as 1,8")
        read.concurrency = tuple(int(n) for n in numbers)
    if read.repeats is None:
        read.repeats = REPEATS_QUICK if read.quick else REPEATS
    if read.repeats < 1:
        parser.error("--repeats is at least 1")
    if read.kills is not None and read.kills < 1:
        parser.error("--kills is at least 1")
    return read


OTHERS: Final = {
    "W4": press.measure,
    "W5": paused.measure,
    "W6": kills.measure,
    "W7": growth.measure,
    "W8": idle.measure,
}


async def measure(run: Run, only: Sequence[str]) -> AsyncIterator[Sample]:
    for load in throughput.WORKLOADS:
        if load.name in only and (not load.variant or ("sayso" in run.systems and run.concurrencies is None)):
            async for sample in throughput.measure(run, load):
                yield sample
    for name, workload in OTHERS.items():
        if name in only and (name == "W4" or "sayso" in run.systems):
            try:
                async for sample in workload(run):
                    yield sample
            except (ChildFailed, NeverHappened) as error:
                run.fail(name, str(error))


async def benchmark(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    began = time.monotonic()
    installed = [name for name in given.systems if version(name) is not None]
    async with open_stand(folder) as stand:
        run = Run(stand, installed, given.repeats, given.quick, given.concurrency, given.kills)
        await stand.create("raw")
        for system in installed:
            try:
                await run.install(system)
            except ChildFailed as error:
                run.fail(f"{system}: its tables", str(error))
                run.systems.remove(system)
        about = await _about(stand)
        samples = []
        async for sample in measure(run, given.only):
            samples.append(sample)
            print(f"  {time.monotonic() - began:5.0f} s  {told(gathered([sample])[0])}", file=sys.stderr, flush=True)
    return {
        **about,
        "quick": given.quick,
        "repeats": given.repeats,
        "seconds": round(time.monotonic() - began, 1),
        "versions": {name: version(name) or ABSENT for name in given.systems},
        "failures": run.failures,
        "lacks": run.lacks,
        "cells": gathered(samples),
    }


async def _about(stand: Stand) -> dict[str, Any]:
    return {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "cores": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "system": platform.platform(),
            "python": platform.python_version(),
            "postgres": await stand.version(),
            "load_average": [round(load, 2) for load in os.getloadavg()],
        },
    }


def tell(found: dict[str, Any]) -> str:
    machine = found["machine"]
    lines = [
        f"repeats: {found['repeats']}, in {found['seconds']:.0f} s, on {machine['cores']} cores with PostgreSQL"
        f" {machine['postgres']} (fsync on), load {machine['load_average'][0]} at the start",
        ", ".join(f"{name} {number}" for name, number in found["versions"].items()),
        *(told(cell) for cell in found["cells"]),
        *(f"{system}: not installed; see docs/benchmarks.md" for system, v in found["versions"].items() if v == ABSENT),
        *(f"{cell}: not measured: it {why}" for cell, why in found["lacks"].items()),
        *(f"{cell}: no result: {why}" for cell, why in found["failures"].items()),
    ]
    return "\n".join(lines)


async def _cancellable(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    running = asyncio.current_task()
    assert running is not None
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(sign, running.cancel)
    return await benchmark(given, folder)


def main() -> None:
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)  # W6 takes the database away on purpose
    given = arguments(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="sayso-bench-", ignore_cleanup_errors=True) as folder:
        try:
            found = asyncio.run(_cancellable(given, Path(folder)))
        except asyncio.CancelledError:
            sys.exit("Stopped; nothing is left behind.")
    print(tell(found))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if given.plot:
        given.plot.write_text(plot.svg(found), encoding="utf-8")
    sys.exit(1 if found["failures"] else 0)


if __name__ == "__main__":
    main()
