"""The one HTTP app of the bot: API, pages, hooks and health here, the chats' webhooks as further routers.

It holds no client and no setting of its own: the entry point builds `Deps` and passes them in. Whatever goes wrong is
answered as `{"error": ...}` to programs and as a page to people, and a database that is away is 503, so that whoever
delivered something delivers it again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

import asyncpg
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles

from bot.web import (
    api,
    attachments,
    digest,
    forms,
    grants,
    hands,
    health,
    hooks,
    metrics,
    pages,
    past,
    policy,
    steering,
    stream,
)
from bot.web.auth import Forged, SignedOut
from bot.web.limits import Limits
from bot.web.metrics import Figures
from bot.web.stream import Hub
from core.db import DATABASE_AWAY
from core.deps import Deps

log = logging.getLogger(__name__)

AWAY = (*DATABASE_AWAY, asyncpg.QueryCanceledError)


def create_app(deps: Deps, *, extra_routers: Iterable[APIRouter] = ()) -> FastAPI:
    """The app; `extra_routers` are the chats' webhooks. Before the server stops, `app.state.hub.close()` ends the streams."""
    mask = deps.masks()
    hub = Hub(deps.db, deps.settings.redis_address(), mask)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        hub.close()

    app = FastAPI(title="Sayso", version="0.1.0", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.deps, app.state.hub, app.state.figures = deps, hub, Figures()
    app.state.parts, app.state.is_stuck = {}, lambda: False  # what the entry point runs beside the web
    app.state.key, app.state.mask = deps.settings.secret_key(), mask
    for router in (
        *extra_routers,  # first: the way to a route leads past all before it
        stream.router,
        policy.router,
        past.router,
        steering.router,
        api.router,
        attachments.api,
        digest.router,
        grants.router,
        hooks.router,
        health.router,
        metrics.router,
    ):
        app.include_router(router)
    for router in (pages.router, hands.router, forms.router, attachments.pages):
        app.include_router(router, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    _answer_errors(app)
    app.add_middleware(Limits, settings=deps.settings)
    return app


def _answer_errors(app: FastAPI) -> None:
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(SignedOut, pages.sign_in_first)
    app.add_exception_handler(Forged, pages.not_our_form)
    app.add_exception_handler(asyncpg.DataError, _unwritable)
    for kind in AWAY:
        app.add_exception_handler(kind, _away)
    app.add_exception_handler(Exception, _broken)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return await _said(request, error.status_code, str(error.detail), error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = [{"where": ".".join(str(p) for p in e["loc"]), "what": e["msg"]} for e in error.errors()]
    if not _is_for_a_program(request):
        return await _said(request, 422, "; ".join(f["what"] for f in fields))
    why = "; ".join(f"{f['where']}: {f['what']}" for f in fields) or "invalid"
    return JSONResponse({"error": why, "fields": fields}, 422)


async def _unwritable(request: Request, error: Exception) -> Response:
    log.info("a value that the database refuses: %s", type(error).__name__)
    return await _said(request, 422, "the database can't hold one of these values")


async def _away(request: Request, error: Exception) -> Response:
    log.warning("%s %s: the database is away: %s", request.method, request.url.path, type(error).__name__)
    return await _said(request, 503, "the database does not answer; try again", {"retry-after": "2"})


async def _broken(request: Request, error: Exception) -> Response:
    return await _said(request, 500, "something went wrong here; it is in the log")


async def _said(request: Request, status: int, why: str, headers: Mapping[str, str] | None = None) -> Response:
    if _is_for_a_program(request):
        return JSONResponse({"error": why}, status, headers=dict(headers or {}))
    return await pages.problem(request, status, why)


def _is_for_a_program(request: Request) -> bool:
    path = request.url.path
    return path.startswith("/api/") or "text/html" not in request.headers.get("accept", "")
