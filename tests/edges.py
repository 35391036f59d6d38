"""Every await at the edge of the process, numbered, so that something may go wrong at exactly one of them.

The edges are the database (a connection class under asyncpg's own pool), Redis and the providers that skills and the
courier call. A point is the k-th await of one kind by one party; the same scenario meets the same points, so a first
run lists them and each later run spoils one. Nothing in the product knows of this.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeVar

import asyncpg
from redis.exceptions import ConnectionError as RedisGone

from core.db import Pool, prepare

T = TypeVar("T")
Edge = Literal["database", "redis", "provider"]
Fault = Literal["before", "lost", "killed before", "killed after", "hang", "asleep before", "asleep after"]
FAULTS: Final[tuple[Fault, ...]] = ("before", "lost", "killed before", "killed after", "hang")
# How long a hanging await hangs; limits of the product that end it are set below it by the tests that need it.
HANG_S: Final = 0.25
# How long a stopped process believes to have slept: past every lease.
SLEEP_S: Final = 60.0
MOVE: Final = re.compile(r"\b(\w+_v\d+)\b")


class ProviderGone(Exception):
    """The provider can't be reached. `reached` says whether the request had left when the line broke."""

    def __init__(self, reached: bool) -> None:
        super().__init__("the line broke")
        self.reached = reached


class Point(NamedTuple):
    party: str
    edge: Edge
    what: str
    k: int

    def __str__(self) -> str:
        return f"{self.party}/{self.edge}/{self.what}#{self.k}"


@dataclass(eq=False)
class Party:
    """A process as far as its edges go: once it is dead, none of its awaits ever returns; while it is stopped, none does.

    `slept_s` is how long it was stopped, in the time of its machine.
    """

    name: str
    died: asyncio.Event = field(default_factory=asyncio.Event)
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    slept_s: float = 0.0
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.awake.set()

    def fall_asleep(self, for_s: float) -> None:
        self.awake.clear()
        self.slept_s += for_s


WHO: ContextVar[Party] = ContextVar("who awaits")


@dataclass
class Edges:
    """`at` is the point that `fault` spoils, once; without it everything is only counted."""

    at: Point | None = None
    fault: Fault = "before"
    was_hit: bool = False
    is_counting: bool = False
    seen: list[Point] = field(default_factory=list)
    _counts: Counter[tuple[str, Edge, str]] = field(default_factory=Counter)

    def arm(self, at: Point | None, fault: Fault = "before") -> None:
        self.at, self.fault, self.was_hit = at, fault, False
        self.seen, self._counts, self.is_counting = [], Counter(), True

    def disarm(self) -> None:
        self.at, self.is_counting = None, False

    async def cross(self, edge: Edge, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """Make the call, unless this is the point at which something goes wrong."""
        party = WHO.get(None)
        if party is None or not self.is_counting:
            return await call()
        if party.died.is_set():
            return await _never()
        await party.awake.wait()
        self._counts[party.name, edge, what] += 1
        point = Point(party.name, edge, what, self._counts[party.name, edge, what])
        self.seen.append(point)
        if point != self.at:
            answer = await call()
            await party.awake.wait()
            return await _never() if party.died.is_set() else answer
        self.was_hit = True
        if self.fault == "asleep before":
            party.fall_asleep(SLEEP_S)
            await party.awake.wait()
        if self.fault.startswith("asleep"):
            answer = await call()
            if self.fault == "asleep after":
                party.fall_asleep(SLEEP_S)
            await party.awake.wait()
            return answer
        if self.fault in ("lost", "killed after", "hang"):
            await call()
        if self.fault in ("killed before", "killed after"):
            party.died.set()
            return await _never()
        if self.fault == "hang":
            await asyncio.sleep(HANG_S)
        raise _gone(edge, self.fault)


async def _never() -> Any:
    await asyncio.get_running_loop().create_future()


def _gone(edge: Edge, fault: Fault) -> Exception:
    """What the client library of that edge raises."""
    match edge:
        case "database":
            if fault == "hang":
                return TimeoutError()
            return asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        case "redis":
            return RedisGone("Connection closed by server.")
        case "provider":
            return ProviderGone(reached=fault != "before")


def named(query: str) -> str:
    """A statement's name: the move that it calls, or its first words."""
    found = MOVE.search(query)
    return found.group(1) if found else " ".join(query.split()[:6]).lower()[:48]


async def open_numbered_pool(dsn: str, edges: Edges, *, most: int, timeout_s: float = 30) -> Pool:
    """A pool like `core.db.open_pool`'s, whose statements cross the edge. Connections are opened as they are needed."""

    class Numbered(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
        async def _cross(self, query: str, call: Callable[[], Awaitable[Any]]) -> Any:
            try:
                return await edges.cross("database", named(query), call)
            except (asyncpg.ConnectionDoesNotExistError, TimeoutError):
                self.terminate()
                raise

        async def fetch(self, query: str, *args: Any, **more: Any) -> Any:
            return await self._cross(query, lambda: super(Numbered, self).fetch(query, *args, **more))

        async def fetchrow(self, query: str, *args: Any, **more: Any) -> Any:
            return await self._cross(query, lambda: super(Numbered, self).fetchrow(query, *args, **more))

        async def fetchval(self, query: str, *args: Any, **more: Any) -> Any:
            return await self._cross(query, lambda: super(Numbered, self).fetchval(query, *args, **more))

        async def execute(self, query: str, *args: Any, **more: Any) -> Any:
            return await self._cross(query, lambda: super(Numbered, self).execute(query, *args, **more))

        def get_reset_query(self) -> str:
            return ""  # no await of ours

    return await asyncpg.create_pool(
        dsn, min_size=1, max_size=most, init=prepare, command_timeout=timeout_s, connection_class=Numbered,
        server_settings={"application_name": "sayso numbered", "timezone": "UTC"},
    )  # fmt: skip


@dataclass
class NumberedRedis:
    """What a `Ring` asks of Redis. A ring that arrives calls `on_ring` with the task."""

    edges: Edges
    on_ring: Callable[[int], None]

    async def eval(self, script: str, keys: int, *rest: Any) -> None:
        await self.edges.cross("redis", "ring", lambda: self._arrive(int(rest[0].rpartition(":")[2].split(".")[0])))

    async def publish(self, bell: str, message: str) -> None:
        await self.edges.cross("redis", f"publish {bell.rpartition(':')[2]}", lambda: self._arrive(0))

    async def aclose(self) -> None:
        """Nothing is open."""

    async def _arrive(self, task: int) -> None:
        self.on_ring(task)


@contextmanager
def acting_as(party: Party) -> Iterator[None]:
    """What is awaited, and the tasks that are created, belong to this party."""
    token = WHO.set(party)
    try:
        yield
    finally:
        WHO.reset(token)
