"""The systems that are measured, each in a small file of its own behind one protocol.

`python -m bench.peers NAME …` runs one cell of one system in a process of its own, as its documentation says it is run
at its best. A system that is not installed is named so in the results and the run goes on.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

import asyncpg

from bench import ledger

LOOK_EVERY_S: Final = 0.002
Shape = Literal["chain", "fan"]
PAYLOAD: Final = "x" * 200  # what every step is given and answers
# The module and the distribution that has to be installed for it, in the order in which they run.
SYSTEMS: Final = {
    "sayso": "sayso",
    "dbos": "dbos",
    "langgraph": "langgraph-checkpoint-postgres",
    "procrastinate": "procrastinate",
    "pgqueuer": "pgqueuer",
}
# What a system has no means for; the run says so in place of a figure.
LACKS: Final = {
    ("procrastinate", "W3"): "has no step that waits for several others",
    ("pgqueuer", "W3"): "has no step that waits for several others",
}


@dataclass(frozen=True, slots=True)
class Load:
    """`tasks` tasks of `steps` steps each, at most `concurrency` at once over all `workers`, of which only Sayso is ever
    given several. A fan is one step, then all but two, then one."""

    tasks: int
    steps: int
    concurrency: int
    shape: Shape = "chain"
    in_chat: bool = False
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Site:
    """Where a cell runs: an empty folder of its own, a database that `install` prepared, the ledger to write to."""

    dsn: str
    redis_url: str
    folder: Path
    ledger: Path


class System(Protocol):
    """What `open_system(site)` of each module here answers.

    `seed` puts the load where a queue keeps it and is not timed; `drain` returns when every task is durably done;
    `close` is not timed either. `wait_for_presses` and `press` are W4's: see `bench.press`.
    """

    async def install(self) -> None: ...

    async def seed(self, load: Load) -> None: ...

    async def drain(self, load: Load) -> None: ...

    async def close(self) -> None: ...


async def drained(site: Site, load: Load, any_open: str, check: Callable[[], None]) -> None:
    """Until the ledger is full and then `any_open`, a query, answers that nothing is open. `check` raises when the worker
    is gone."""
    await ledger.filled(site.ledger, load.tasks * load.steps, check)
    connection = await asyncpg.connect(site.dsn)
    while await connection.fetchval(any_open):
        check()
        await asyncio.sleep(LOOK_EVERY_S)
    await connection.close()


def version(name: str) -> str | None:
    """None: not installed."""
    if name == "sayso":
        from core import __version__

        return __version__
    try:
        return importlib.metadata.version(SYSTEMS[name])
    except importlib.metadata.PackageNotFoundError:
        return None
