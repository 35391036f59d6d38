"""For the machines that watch: is the process alive, can it serve, and a few figures for Prometheus."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

import asyncpg
from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from starlette.responses import JSONResponse, Response

from bot.web.auth import deps_of
from core import db
from core.db import Pool
from core.store import gauges

log = logging.getLogger(__name__)
router = APIRouter(tags=["health"])

READY_S: Final = 3.0
KEEP_S: Final = 1.0
TASK_STATES: Final = ("queued", "planning", "running", "waiting", "paused", "cancelling")
OUTBOX_STATES: Final = ("pending", "sending", "unknown")
CANNOT_ASK: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)


@router.get("/healthz", summary="The process runs")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="The database answers and is migrated")
async def readyz(request: Request) -> JSONResponse:
    try:
        async with asyncio.timeout(READY_S):
            missing = await db.pending(deps_of(request).db)
    except CANNOT_ASK as error:
        log.warning("not ready: %s", type(error).__name__)
        return JSONResponse({"error": "the database does not answer"}, 503)
    if missing:
        return JSONResponse({"error": "the database lacks migrations", "missing": missing}, 503)
    return JSONResponse({"status": "ready"})


@router.get("/metrics", summary="Figures in Prometheus' text format", response_class=Response)
async def metrics(request: Request) -> Response:
    text = await request.app.state.figures.text(deps_of(request).db)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


class Figures:
    """The text of /metrics, read at most once a second however many ask."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._text, self._read_at = b"", 0.0

    async def text(self, pool: Pool) -> bytes:
        async with self._lock:
            if not self._text or time.monotonic() - self._read_at > KEEP_S:
                self._text, self._read_at = await self._read(pool), time.monotonic()
            return self._text

    async def _read(self, pool: Pool) -> bytes:
        try:
            async with asyncio.timeout(READY_S):
                return rendered(await gauges.read(pool))
        except CANNOT_ASK as error:
            log.warning("no figures: %s", type(error).__name__)
            return rendered(None)


def rendered(now: gauges.Gauges | None) -> bytes:
    """The exposition text; with no database only that it is down."""
    registry = CollectorRegistry()
    Gauge("sayso_database_up", "1 when the database answers", registry=registry).set(now is not None)
    if now is not None:
        outbox = Gauge("sayso_outbox_depth", "messages not yet delivered", ["status"], registry=registry)
        for state in OUTBOX_STATES:
            outbox.labels(state).set(now.outbox_open.get(state, 0))
        tasks = Gauge("sayso_tasks", "unfinished tasks", ["status"], registry=registry)
        for state in TASK_STATES:
            tasks.labels(state).set(now.tasks_open.get(state, 0))
        for name, says, value in (
            ("sayso_queue_oldest_ready_seconds", "how long the longest-waiting ready step waits", now.oldest_ready_s),
            ("sayso_approvals_pending", "approvals that wait for a decision", now.approvals_pending),
            ("sayso_steps_unknown", "steps of which it is not known whether they happened", now.steps_unknown),
            ("sayso_workers_alive", "workers whose lease holds", now.workers_alive),
        ):
            Gauge(name, says, registry=registry).set(value)
    return generate_latest(registry)
