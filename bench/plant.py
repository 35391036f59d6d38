"""A whole Sayso on a site: home, people, bot and workers as processes of their own, and our own look at its database."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx

from bench.children import HOUSE, Children
from bench.peers import Site
from core import organisation
from core.db import Pool, open_pool
from core.store import people

FURNITURE: Final = Path(__file__).resolve().parent / "house"
READY_S: Final = 60.0
LOOK_EVERY_S: Final = 0.01
T = TypeVar("T")


class NeverHappened(Exception):
    """What a measurement waits for did not come about in its time."""


def furnish(site: Site) -> dict[str, str]:
    """The home with skills and sayso.yaml; the environment of the processes that live in it."""
    shutil.copytree(FURNITURE / "skills", site.folder / "skills", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(FURNITURE / "sayso.yaml", site.folder)
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(HOUSE),
        "BENCH_LEDGER": str(site.ledger),
        "DATABASE_URL": site.dsn,
        "REDIS_URL": site.redis_url,
        "SAYSO_HOME": str(site.folder),
        "SAYSO_CONFIG": str(site.folder / "sayso.yaml"),
        "SAYSO_SECRET_KEY": "k" * 32,
        "LOG_LEVEL": "WARNING",
        "HOST": "127.0.0.1",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(look: Callable[[], Awaitable[T | None]], what: str, within_s: float = READY_S) -> T:
    """What `look` answers once it is something. Raises `NeverHappened`."""
    deadline = time.monotonic() + within_s
    while not (seen := await look()):
        if time.monotonic() > deadline:
            raise NeverHappened(f"not within {within_s:g} s: {what}")
        await asyncio.sleep(LOOK_EVERY_S)
    return seen


@dataclass(eq=False)
class Worker:
    process: subprocess.Popen[bytes]
    id: int
    started_in_s: float


@dataclass
class Plant:
    """`ann` is the owner's id; she asks for everything and decides everything."""

    site: Site
    children: Children
    environment: dict[str, str]
    db: Pool
    ann: int
    token: str
    base: str = ""
    workers: list[Worker] = field(default_factory=list)

    async def bot(self) -> subprocess.Popen[bytes]:
        """A bot that answers."""
        port = free_port()
        child = self.children.start("bot", environment=self.environment | {"PORT": str(port)})
        self.base = f"http://127.0.0.1:{port}"
        async with self.http() as http:

            async def ready() -> bool:
                self.children.check(child)
                try:
                    return (await http.get("/readyz")).status_code in (200, 503)
                except httpx.TransportError:
                    return False

            await until(ready, "the bot answers")
        return child

    async def worker(self, slots: int) -> Worker:
        """A worker that has its lease."""
        began = time.monotonic()
        child = self.children.start("bench.worker", str(slots), environment=self.environment)

        async def enrolled() -> int | None:
            self.children.check(child)
            number: int | None = await self.db.fetchval("select max(id) from workers where pid = $1", child.pid)
            return number

        made = Worker(child, await until(enrolled, "the worker takes a lease"), time.monotonic() - began)
        self.workers.append(made)
        return made

    def http(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.AsyncClient(base_url=self.base, headers=headers, trust_env=False, timeout=30)

    async def pending(self, task: int) -> Any:
        """The open approval of a task, once it is there: id and digest."""

        async def look() -> Any:
            return await self.db.fetchrow(
                "select id, digest from approvals where task_id = $1 and status = 'pending'", task
            )

        return await until(look, f"task {task} asks")


@asynccontextmanager
async def open_plant(site: Site, *, connections: int = 4) -> AsyncIterator[Plant]:
    environment = furnish(site)
    db = await open_pool(site.dsn, most=connections, name="sayso bench")
    try:
        await people.sync(db, people.wanted(organisation.load(site.folder / "sayso.yaml")))
        ann = await people.ensure_owner(db)
        token = await people.make_token(db, ann.id, "api", None)
        with Children(site.folder) as children:
            yield Plant(site, children, environment, db, ann.id, token)
    finally:
        db.terminate()
