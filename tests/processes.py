"""A whole Sayso of real processes for tests that kill them: bots, workers and the sink, on a database of the test's own.

What people say and press goes through the same intake as in the bot, in the test's process, so that a test knows when a
decision was committed. Every process started here is ended by its id when the test ends, whatever happened to it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx
import pytest

from bench.children import die_with_parent
from core import intake, organisation
from core.db import Pool, open_pool
from core.deps import Deps
from core.models import Accepted, Channel, Decided, Identity, Inbound, Place, Press, Received
from core.ring import Ring
from core.settings import Settings
from core.store import people
from tests import nursery, sink
from tests.patience import PATIENCE_S
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
NOWHERE = "redis://127.0.0.1:1/0"
LOOK_EVERY_S = 0.03
ORGANISATION = """
people:
  ann: {name: Ann, roles: [owner], identities: {web: ann, slack: T0ACME/U01ANN, telegram: "1001"}}
  bob: {name: Bob, roles: [owner], identities: {web: bob, slack: T0ACME/U02BOB, telegram: "1002"}}
skills:
  http: {allow_private: ["127.0.0.1"]}
"""
T = TypeVar("T")
ANN = Identity(channel=Channel.WEB, external_id="ann")
BOB = Identity(channel=Channel.WEB, external_id="bob")
ANN_TELEGRAM = Identity(channel=Channel.TELEGRAM, external_id="1001")
HERE = Place(channel=Channel.WEB, external_id="ann", private=True)


async def until(look: Callable[[], Awaitable[T | None]], what: str, within_s: float = PATIENCE_S) -> T:
    """What `look` answers once it is something. Fails with `what` when the time is over."""
    try:
        async with asyncio.timeout(within_s):
            while not (seen := await look()):  # noqa: ASYNC110  (another process has no event for us)
                await asyncio.sleep(LOOK_EVERY_S)
            return seen
    except TimeoutError:
        raise AssertionError(f"did not happen within {within_s:g} s: {what}") from None


@dataclass(eq=False)
class Child:
    """One process. `number` is a worker's id in the database, 0 for others."""

    name: str
    running: nursery.Process
    log: Path
    number: int = 0

    @property
    def pid(self) -> int:
        return self.running.pid

    def is_up(self) -> bool:
        return self.running.poll() is None

    def kill(self) -> None:
        """kill -9, and collected."""
        self.running.kill()
        self.running.wait(timeout=10)

    def freeze(self) -> None:
        self.running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.running.send_signal(signal.SIGCONT)

    async def ended(self, within_s: float = PATIENCE_S) -> int:
        """Its exit code."""
        return await asyncio.to_thread(self.running.wait, within_s)

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@dataclass
class Plant:
    """`environment` is that of every process; `deps` that of the test, whose rings go where `rings` says."""

    home: Path
    environment: Mapping[str, str]
    deps: Deps
    children: list[Child] = field(default_factory=list)

    @property
    def db(self) -> Pool:
        return self.deps.db

    @property
    def ledger(self) -> Path:
        return self.home / "ledger.sqlite"

    # ------------------------------------------------------------ processes

    def start(self, name: str, *command: str, more: Mapping[str, str] | None = None, pipe: bool = False) -> Child:
        log = self.home / f"{name}-{len(self.children)}.log"
        environment = {**self.environment, **(more or {})}
        with open(log, "wb") as out:
            if command == (name,):
                running: nursery.Process = nursery.start(name, environment, out)
            else:
                running = subprocess.Popen(
                    [sys.executable, "-m", *command], cwd=ROOT, env=environment,
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if pipe else out, stderr=out, start_new_session=True,
                    preexec_fn=die_with_parent,
                )  # fmt: skip
        child = Child(name, running, log)
        self.children.append(child)
        return child

    async def worker(self) -> Child:
        """A worker that has its lease."""
        child = self.start("worker", "worker")

        async def enrolled() -> int | None:
            assert child.is_up(), child.said()
            number: int | None = await self.db.fetchval("select max(id) from workers where pid = $1", child.pid)
            return number

        child.number = await until(enrolled, "the worker takes a lease")
        return child

    async def bot(self) -> tuple[Child, str]:
        """A bot that answers, and its address."""
        port = int(self.environment.get("PORT") or free_port())
        child = self.start("bot", "bot", more={"PORT": str(port)})
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=base) as client:

            async def ready() -> bool:
                assert child.is_up(), child.said()
                try:
                    return (await client.get("/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(ready, "the bot is ready")
        return child, base

    def sink(self) -> str:
        """The sink's address."""
        child = self.start("sink", "tests.sink", str(self.ledger), pipe=True)
        assert child.running.stdout is not None
        return f"http://127.0.0.1:{int(child.running.stdout.readline())}"

    def close(self) -> None:
        for child in self.children:
            if child.is_up():
                child.kill()
            if child.running.stdout is not None:
                child.running.stdout.close()

    # ------------------------------------------------------------ people

    async def say(self, text: str) -> int:
        """Ann writes it; the task that it starts."""
        received = await intake.receive(
            self.deps, Inbound(channel=Channel.WEB, delivery_id=uuid.uuid4().hex, sender=ANN, place=HERE, text=text)
        )
        assert isinstance(received, Received)
        assert received.task_id is not None
        return received.task_id

    async def asked(self, task: int, kind: str = "action") -> str:
        """The open approval of the task."""

        async def look() -> Any:
            return await self.db.fetchval(
                "select id from approvals where task_id = $1 and kind = $2 and status = 'pending'", task, kind
            )

        return str(await until(look, f"task {task} asks ({kind})"))

    async def press(self, approval: str, verdict: Any, sender: Identity = ANN) -> Decided:
        return await intake.press(
            self.deps,
            Press(
                channel=sender.channel, delivery_id=uuid.uuid4().hex, sender=sender, approval_id=approval,
                verdict=verdict,
            ),
        )  # fmt: skip

    async def approved(self, text: str) -> int:
        """Ann says it and says yes; the task."""
        task = await self.say(text)
        assert isinstance(await self.press(await self.asked(task), "approve"), Accepted)
        return task

    # ------------------------------------------------------------ rows

    async def step(self, task: int, n: int = 1) -> asyncpg.Record:
        return await self.db.fetchrow("select * from steps where task_id = $1 and n = $2", task, n)

    async def is_step(self, task: int, status: str, n: int = 1) -> asyncpg.Record:
        """The step once it has this status."""

        async def look() -> asyncpg.Record | None:
            step = await self.step(task, n)
            return step if step["status"] == status else None

        return await until(look, f"step {task}.{n} is {status}; it is {dict(await self.step(task, n))}")

    async def is_task(self, task: int, status: str) -> None:
        async def look() -> bool:
            return bool(await self.db.fetchval("select status = $2 from tasks where id = $1", task, status))

        await until(look, f"task {task} is {status}")

    async def effects(self, task: int) -> list[tuple[int, str]]:
        rows = await self.db.fetch("select gen, state from effects where task_id = $1 order by n, gen", task)
        return [(r["gen"], r["state"]) for r in rows]

    async def carried_out(self, count: int) -> list[tuple[str, str]]:
        """The sink's ledger once it holds so many calls."""

        async def look() -> list[tuple[str, str]] | None:
            made = sink.calls(self.ledger)
            return made if len(made) >= count else None

        return await until(look, f"{count} calls at the sink")

    @asynccontextmanager
    async def locked(self, task: int) -> AsyncIterator[None]:
        """Everything that would move the task waits meanwhile."""
        async with self.db.acquire() as connection, connection.transaction():
            await connection.execute("select from tasks where id = $1 for update", task)
            yield

    async def waits_in(self, move: str) -> int:
        """The database session in which somebody waits for a lock in this move."""

        async def look() -> int | None:
            backend: int | None = await self.db.fetchval(
                "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
                " and query like '%' || $1 || '(%' and pid <> pg_backend_pid()",
                move,
            )
            return backend

        return await until(look, f"somebody waits in {move}")

    async def end_session(self, backend: int) -> None:
        await self.db.execute("select pg_terminate_backend($1)", backend)

    async def lengthen_lease(self, worker: Child) -> None:
        """A dead worker's lease and deadlines do not end while a busy machine takes its time."""
        await self.db.execute("update workers set lease_until = now() + interval '1 hour' where id = $1", worker.number)
        await self.db.execute(
            "update steps set deadline_at = now() + interval '1 hour' where worker_id = $1 and status = 'running'",
            worker.number,
        )

    async def pass_lease(self, worker: Child) -> None:
        """Time goes by for a dead worker: its lease and the deadlines of what it had begun."""
        await self.db.execute("update workers set lease_until = now() - interval '1 s' where id = $1", worker.number)
        await self.db.execute(
            "update steps set deadline_at = now() - interval '1 s' where worker_id = $1 and status = 'running'",
            worker.number,
        )


@asynccontextmanager
async def open_plant(
    home: Path, database_url: str, redis_url: str, *, rings: str | None = None
) -> AsyncIterator[Plant]:
    """`rings` is where the test's own rings go, when not to `redis_url`."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "sayso.yaml").write_text(ORGANISATION, encoding="utf-8")
    (home / "workspace").mkdir(exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SAYSO_HOME": str(home),
        "SAYSO_CONFIG": str(home / "sayso.yaml"),
        "SAYSO_SECRET_KEY": "k" * 32,
        "HOST": "127.0.0.1",
    }
    settings = Settings.load(environment, home)
    known = organisation.load(settings.config_path)
    db = await open_pool(database_url, most=30, name="sayso test")
    ring = Ring.open(rings or redis_url)
    plant = Plant(home, environment, Deps(settings, known, db, ring))
    try:
        await people.sync(db, people.wanted(known))
        yield plant
    finally:
        plant.close()
        await ring.close()
        await asyncio.wait_for(db.close(), PATIENCE_S)


@pytest.fixture(name="plant")
async def plant_fixture(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Plant]:
    async with open_plant(tmp_path / "home", database_url, redis_url) as opened:
        yield opened
