"""`python -m worker`: the process that carries steps out.

arq receives the rings; its one job returns in milliseconds and only pokes the executor, which claims from Postgres.
Neither a dead Redis nor a dead arq worker stops the executor: it polls. SIGTERM stops claiming, lets effects end and
hands the rest back.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from typing import Any

from arq.worker import Worker, func

from core import config
from core.db import DATABASE_AWAY, MigrationError
from core.ending import ended
from core.logs import set_up_logging
from core.ring import JOB, Bell, bell_name, dump, heed_cancel, load, open_redis, queue_name
from core.settings import Settings
from worker.crew import Crew, open_crew

log = logging.getLogger("worker")


class BellWorker(Worker):
    """arq's worker, woken by the bell instead of sleeping half a second between polls."""

    bell: Bell

    async def main(self) -> None:
        self.ctx["redis"] = self.pool
        while True:
            await self._poll_iteration()
            heed_cancel()
            if await self.bell.wait(config.BELL_POLL_S):
                await asyncio.sleep(config.RING_READ_AFTER_S)  # the bell itself has woken the executor: that goes first


async def answer_rings(crew: Crew, redis_url: str, lane: str) -> None:
    """Receive the rings of a lane for ever; start anew whenever arq gives up, as it does on any Redis error."""

    async def ring(_: dict[Any, Any], lane_: str, task: int) -> None:
        crew.look_at(task)

    async with Bell(redis_url, bell_name(lane), on_ring=crew.executor.poke) as bell:
        while True:
            arq = BellWorker(
                [func(ring, name=JOB)],  # type: ignore[arg-type]
                redis_pool=open_redis(redis_url, queue=queue_name(lane)),
                queue_name=queue_name(lane),
                handle_signals=False,
                max_jobs=200,
                queue_read_limit=2000,
                job_timeout=30,
                keep_result=0,
                max_tries=1_000_000,
                retry_jobs=True,
                allow_abort_jobs=False,
                log_results=False,
                job_serializer=dump,
                job_deserializer=load,
            )
            arq.bell = bell
            try:
                await arq.async_run()
            except asyncio.CancelledError:
                if arq.main_task:
                    arq.main_task.cancel()
                raise
            except Exception as error:
                log.warning("rings are not heard, polling instead: %s", type(error).__name__)
            await asyncio.sleep(config.IDLE_POLL_S)


async def work(settings: Settings, *, slots: int = config.WORKER_SLOTS) -> None:
    """Run until SIGTERM, SIGINT or a lost lease (after which a fresh lease is taken)."""
    asked = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, asked.set)
    while not asked.is_set():
        try:
            await _one_lease(settings, asked, slots)
        except DATABASE_AWAY as error:
            log.warning("cannot work: %s: %s", type(error).__name__, error)
        if not asked.is_set():
            await asyncio.sleep(config.RETRY_FIRST_S)


async def _one_lease(settings: Settings, asked: asyncio.Event, slots: int) -> None:
    """Work until asked to stop or until the lease is gone."""
    async with open_crew(settings, slots=slots) as crew:
        # Again, now that sayso.yaml has named its secrets.
        set_up_logging(settings.log_level, crew.deps.masks(), settings.log_format)
        gc.freeze()  # what is loaded by now stays: a full collection that walks it would hold up every step for 40 ms
        parts = [asyncio.create_task(crew.run(), name="executor")]
        parts += [
            asyncio.create_task(answer_rings(crew, crew.redis_url, lane), name=f"rings {lane}") for lane in config.LANES
        ]
        stop = asyncio.create_task(asked.wait())
        await asyncio.wait((parts[0], stop), return_when=asyncio.FIRST_COMPLETED)
        if asked.is_set():
            await crew.executor.stop()
        elif parts[0].exception() is not None:
            log.error("the executor broke, starting over", exc_info=parts[0].exception())
        await ended((*parts, stop))


def main() -> None:
    settings = Settings.load()
    set_up_logging(settings.log_level, settings.masks(), settings.log_format)
    try:
        asyncio.run(work(settings))
    except MigrationError as error:
        log.error("cannot work: %s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
