"""For the machines that watch: is the process alive, and can it serve. The figures are in `bot.web.metrics`."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import asyncpg
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from bot.web.auth import deps_of
from core import db
from core.store import health

log = logging.getLogger(__name__)
router = APIRouter(tags=["health"])

READY_S: Final = 3.0
CANNOT_ASK: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)


@router.get("/healthz", summary="The process runs, and delivers; what its parts are doing")
async def healthz(request: Request) -> JSONResponse:
    """503 only for what a restart would put right: a courier that has not come round. A vendor that is away is no such thing."""
    state = request.app.state
    if state.is_stuck():
        return JSONResponse({"error": "the courier has not come round for minutes", "parts": state.parts}, 503)
    return JSONResponse({"status": "ok", "parts": state.parts})


@router.get("/readyz", summary="The database answers and is migrated; how many workers are alive")
async def readyz(request: Request) -> JSONResponse:
    """Ready to receive is ready: with no worker alive, what is said waits in the database and the answer says so."""
    deps = deps_of(request)
    try:
        async with asyncio.timeout(READY_S):
            missing = await db.pending(deps.db)
            if missing:
                return JSONResponse({"error": "the database lacks migrations", "missing": missing}, 503)
            workers = await health.workers_alive(deps.db)
    except CANNOT_ASK as error:
        log.warning("not ready: %s", type(error).__name__)
        return JSONResponse({"error": "the database does not answer"}, 503)
    return JSONResponse({"status": "ready", "workers_alive": workers})
