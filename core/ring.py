"""Rings: "look at this task", said after the commit, best effort, never waited for.

A ring is an arq job that carries ids only and a bell published beside it, both in one Lua call. It may be lost or
doubled without harm: executors also poll Postgres. This module and the worker's entry point are the only ones that
know arq.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from arq.connections import ArqRedis
from arq.constants import job_key_prefix, result_key_prefix
from arq.jobs import serialize_job
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from core import config
from core.ending import ended

log = logging.getLogger(__name__)

JOB: Final = "ring"
OUTBOX_BELL: Final = "sayso:bell:outbox"
EVENTS_BELL: Final = "sayso:bell:events"
DRAFTS: Final = "sayso:drafts"
ATTACHMENTS_BELL: Final = "sayso:bell:attachments"

# From `task` to the bytes on their way redis-py takes three turns of the loop; one more for a version that takes another.
TURNS_TO_LEAVE: Final = 4

# arq's own wire format, in one round trip: unless the job is known, store it, queue it; ring the bells either way.
_ENQUEUE: Final = """
if redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 then
    redis.call('PSETEX', KEYS[1], ARGV[2], ARGV[1])
    redis.call('ZADD', KEYS[3], ARGV[3], ARGV[4])
end
for i = 5, #ARGV do redis.call('PUBLISH', ARGV[i], '') end
return 1
"""


def queue_name(lane: str) -> str:
    """The arq queue of a lane."""
    return f"sayso:ring:{lane}"


def bell_name(lane: str) -> str:
    """The channel on which a lane's bell is published."""
    return f"sayso:bell:{lane}"


def dump(value: Any) -> bytes:
    """JSON on both sides: arq's default unpickles what it finds."""
    return json.dumps(value, default=str).encode()


def load(data: bytes) -> Any:
    return json.loads(data)


def open_redis(url: str, *, queue: str = queue_name("default")) -> ArqRedis:
    """A pool with socket timeouts: with none, a frozen Redis hangs its callers."""
    pool: Any = ConnectionPool.from_url(
        url,
        socket_connect_timeout=config.REDIS_TIMEOUT_S,
        socket_timeout=config.REDIS_TIMEOUT_S,
        health_check_interval=15,
    )
    return ArqRedis(connection_pool=pool, job_serializer=dump, job_deserializer=load, default_queue_name=queue)


def heed_cancel() -> None:
    """Raise the cancellation that somebody asked for and a library swallowed: redis-py does now and then, in a read."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class Ring:
    """The producing side. Every call returns at once; what goes wrong is logged and forgotten."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis
        self._pending: set[asyncio.Task[None]] = set()
        self._must_tell = self._tells = False
        self._new: int | None = None
        self._tells_new = False

    @classmethod
    def open(cls, url: str) -> Ring:
        return cls(open_redis(url))

    def task(
        self, task: int, *, n: int = 0, fence: int = 0, lane: str = "default", outbox_after_s: float = 0.0
    ) -> None:
        """Have some worker look at the task, open pages at the events, and the courier at the outbox: at once or later."""
        others = (EVENTS_BELL,) if outbox_after_s else (OUTBOX_BELL, EVENTS_BELL)
        self._soon(self._enqueue(f"{task}.{n}.{fence}.{time.time_ns() // 1_000_000}", lane, task, *others))
        if outbox_after_s:
            self._soon(self._outbox_after(outbox_after_s))

    def new_task(self, task: int) -> None:
        """As `task`, of one that nobody has looked at yet: one ring has them all looked at that came within a moment."""
        self._new = task
        if not self._tells_new:
            self._tells_new = True
            self._soon(self._tell_new())

    async def _tell_new(self) -> None:
        task, self._new = self._new, None
        try:
            if task is not None:
                await self._enqueue(f"{task}.new", "default", task, OUTBOX_BELL, EVENTS_BELL)
            await asyncio.sleep(config.RING_GAP_S)
        finally:
            self._tells_new = False
            if self._new is not None:
                self.new_task(self._new)

    async def go_first(self) -> None:
        """Let what was rung just now leave before the caller goes on with what takes time. It waits for nobody's answer."""
        for _ in range(TURNS_TO_LEAVE):
            await asyncio.sleep(0)

    def outbox(self) -> None:
        """Have the courier look at the outbox and open pages at the events."""
        self._must_tell = True
        if not self._tells:
            self._tells = True
            self._soon(self._tell())

    def draft(self, said: dict[str, Any]) -> None:
        """Let whoever shows answers while they are written have the next piece of one."""
        self._soon(self._publish_body(DRAFTS, dump(said)))

    async def _publish_body(self, channel: str, body: bytes) -> None:
        await self._redis.publish(channel, body)

    def attachments(self) -> None:
        """Have bots fetch what is wanted, and workers listen to what is there."""
        self._soon(self._publish_body(ATTACHMENTS_BELL, b""))

    async def _outbox_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.outbox()

    async def _enqueue(self, job: str, lane: str, task: int, *others: str) -> None:
        """The lane's job and bell, and the other bells."""
        now_ms = int(time.time() * 1000)
        body = serialize_job(JOB, (lane, task), {}, None, now_ms, serializer=dump)
        arguments: list[Any] = [body, config.RING_JOB_EXPIRES_MS, now_ms, job, bell_name(lane), *others]
        keys = (job_key_prefix + job, result_key_prefix + job, queue_name(lane))
        await self._redis.eval(_ENQUEUE, len(keys), *keys, *arguments)  # type: ignore[misc]  # typed as possibly synchronous

    async def _tell(self) -> None:
        """The first at once, then one for all that came meanwhile: a busy worker would ring for each commit."""
        self._must_tell = False
        try:
            for bell in (OUTBOX_BELL, EVENTS_BELL):
                await self._redis.publish(bell, "")
            await asyncio.sleep(config.RING_GAP_S)
        finally:
            self._tells = False
            if self._must_tell:
                self.outbox()

    def _soon(self, ringing: Any) -> None:
        ring = asyncio.create_task(self._capped(ringing))
        self._pending.add(ring)
        ring.add_done_callback(self._pending.discard)

    async def _capped(self, ringing: Any) -> None:
        try:
            async with asyncio.timeout(config.RING_CAP_S):
                await ringing
        except (RedisError, OSError, TimeoutError) as error:
            log.debug("a ring was lost: %s", type(error).__name__)

    async def close(self) -> None:
        """Let the last rings out, then close."""
        if self._pending:
            await asyncio.wait(self._pending, timeout=config.RING_CAP_S)
        await self._redis.aclose()


class Bell:
    """The listening side: `wait` returns when one of the bells was rung, or after `poll_s`.

    A lost connection is mended in the background; meanwhile `wait` only polls.
    """

    def __init__(self, url: str, *names: str, on_ring: Callable[[], None] | None = None) -> None:
        self._url, self._names, self._on_ring = url, names, on_ring
        self._rung = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Bell:
        self._listener = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listener:
            await ended([self._listener])

    def ring(self) -> None:
        """Ring it from this process."""
        self._rung.set()
        if self._on_ring:
            self._on_ring()

    async def wait(self, poll_s: float) -> bool:
        """True when it rang, False when `poll_s` went by."""
        try:
            async with asyncio.timeout(poll_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True

    async def _listen(self) -> None:
        while True:
            try:
                async for _ in _published(self._url, *self._names):
                    self.ring()
            except (RedisError, OSError, TimeoutError) as error:
                log.debug("the bell is silent: %s", type(error).__name__)
            await asyncio.sleep(config.BELL_POLL_S)


async def overheard(url: str, name: str) -> AsyncIterator[Any]:
    """Every body that is published under a name from now on, for ever. What was said while Redis was away is not heard."""
    while True:
        try:
            async for body in _published(url, name):
                yield load(body)
        except (RedisError, OSError, TimeoutError, ValueError) as error:
            log.debug("nothing is heard: %s", type(error).__name__)
        await asyncio.sleep(config.BELL_POLL_S)


async def _published(url: str, *names: str) -> AsyncIterator[bytes]:
    redis = open_redis(url)
    try:
        async with redis.pubsub() as channel:
            await channel.subscribe(*names)
            while True:
                message = await channel.get_message(ignore_subscribe_messages=True, timeout=config.REDIS_TIMEOUT_S / 2)
                heed_cancel()
                if message is not None:
                    yield message["data"]
    finally:
        await redis.aclose()
