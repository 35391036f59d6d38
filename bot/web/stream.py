"""Server-sent events: history as it is written, for programs, and "look again", for open pages.

A stream reads Postgres in commit order and is woken by a bell with a slow poll behind it, so nothing in Redis is needed.
Only events of tasks that the viewer may see leave; who they are is asked again at every heartbeat.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import StreamingResponse

from bot.web.auth import Asking, Viewer, bearer, deps_of
from core import config
from core.db import DATABASE_AWAY, Pool
from core.ring import EVENTS_BELL, Bell
from core.store import events, tasks
from core.store.events import Cursor

log = logging.getLogger(__name__)
router = APIRouter(prefix="/api", tags=["events"])

HEARTBEAT_S: Final = 15.0
HUB_POLL_S: Final = 1.0
REPLAY_MOST: Final = 10_000
RETRY_MS: Final = 2_000
MEDIA: Final = "text/event-stream"


class Hub:
    """Wakes this process's open streams when something was written. Rests while there are none."""

    def __init__(self, db: Pool, redis_url: str) -> None:
        self._db, self._redis_url = db, redis_url
        self._open: set[asyncio.Event] = set()
        self._watch: asyncio.Task[None] | None = None
        self.is_closing = False
        self.heartbeat_s = HEARTBEAT_S

    @asynccontextmanager
    async def subscribed(self) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever a stream should look again."""
        wake = asyncio.Event()
        self._open.add(wake)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._listen())
        try:
            yield wake
        finally:
            self._open.discard(wake)
            if not self._open and self._watch is not None:
                self._watch.cancel()
                self._watch = None

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self.is_closing = True
        self._wake()

    def _wake(self) -> None:
        for wake in self._open:
            wake.set()

    async def _listen(self) -> None:
        seen: Cursor | None = None
        async with Bell(self._redis_url, EVENTS_BELL) as bell:
            while True:
                rang = await bell.wait(HUB_POLL_S)
                try:
                    newest = await events.newest(self._db)
                except DATABASE_AWAY as error:
                    log.warning("streams cannot look: %s", type(error).__name__)
                    continue
                if rang or newest != seen:
                    self._wake()
                seen = newest


async def looked(wake: asyncio.Event, seconds: float) -> bool:
    """Wait until the hub says to look again: True, or False after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return False
    wake.clear()
    return True


def answer(frames: AsyncIterator[str]) -> StreamingResponse:
    return StreamingResponse(frames, media_type=MEDIA, headers={"x-accel-buffering": "no"})


def frame(data: Any, *, id: str = "", event: str = "") -> str:
    """One event on the wire (HTML standard, section 9.2.6). JSON on one line, so no data can end the frame."""
    lines = [f"id: {id}"] if id else []
    lines += [f"event: {event}"] if event else []
    return "\n".join([*lines, f"data: {json.dumps(data)}", "", ""])


# ---------------------------------------------------------------- the API's streams


@router.get("/events", response_class=StreamingResponse, summary="Events of every task that you may see (SSE)")
async def all_events(request: Request, viewer: Asking) -> StreamingResponse:
    start = request.headers.get("last-event-id")
    return answer(_History(request, viewer, task=None).frames(start, from_the_start=False))


@router.get("/tasks/{task_id}/events", response_class=StreamingResponse, summary="One task's events (SSE)")
async def task_events(request: Request, viewer: Asking, task_id: str) -> StreamingResponse:
    """From its first event on, or from after `Last-Event-ID`."""
    number = tasks.parse_id(task_id)
    if number is None or number not in await _visible(deps_of(request).db, viewer, {number}):
        raise HTTPException(404, "no such task")
    start = request.headers.get("last-event-id")
    return answer(_History(request, viewer, task=number).frames(start, from_the_start=True))


async def _visible(db: Pool, viewer: Viewer, asked: set[int]) -> set[int]:
    return await tasks.visible_among(
        db, asked, viewer.person.id, sees_all=viewer.sees_all, sees_conversation=viewer.sees_conversation
    )


class _History:
    """One open API stream."""

    def __init__(self, request: Request, viewer: Viewer, *, task: int | None) -> None:
        self._request, self._viewer, self._task = request, viewer, task
        self._db = deps_of(request).db
        self._hub: Hub = request.app.state.hub

    async def frames(self, last_id: str | None, *, from_the_start: bool) -> AsyncIterator[str]:
        try:
            async for text in self._frames(last_id, from_the_start):
                yield text
        except DATABASE_AWAY as error:  # the reader comes back with its Last-Event-ID
            log.warning("a stream ends: %s", type(error).__name__)

    async def _frames(self, last_id: str | None, from_the_start: bool) -> AsyncIterator[str]:
        async with self._hub.subscribed() as wake:
            yield f"retry: {RETRY_MS}\n: hello\n\n"
            cursor, gap = await self._beginning(last_id, from_the_start)
            if gap:
                yield frame({"why": gap}, id=str(cursor), event="reset")
            while not self._hub.is_closing:
                more = True
                while more:
                    text, cursor, more = await self._page(cursor)
                    if text:
                        yield text
                if not await looked(wake, self._hub.heartbeat_s):
                    yield ": still here\n\n"
                    if not await self._is_still_welcome():
                        return

    async def _beginning(self, last_id: str | None, from_the_start: bool) -> tuple[Cursor, str]:
        """Where to begin, and why that is not where the reader left off, if it is not."""
        if last_id is None:
            return (Cursor(), "") if from_the_start else (await events.newest(self._db), "")
        cursor = Cursor.parse(last_id)
        if cursor is None:
            return await events.newest(self._db), "Last-Event-ID is not one of ours"
        if cursor != Cursor() and not await events.is_known(self._db, cursor):
            return await events.newest(self._db), "the event of Last-Event-ID is no longer kept"
        if len(await events.since(self._db, cursor, task=self._task, limit=REPLAY_MOST + 1)) > REPLAY_MOST:
            return await events.newest(self._db), f"more than {REPLAY_MOST} events were missed"
        return cursor, ""

    async def _page(self, cursor: Cursor) -> tuple[str, Cursor, bool]:
        """The next events that may be seen as one text, how far that is, and whether there are more at once."""
        page = await events.since(self._db, cursor, task=self._task)
        asked = {int(event["task_id"]) for event in page if event["task_id"]}
        seen = await _visible(self._db, self._viewer, asked) if asked else set()
        shown = [e for e in page if e["task_id"] and int(e["task_id"]) in seen]
        last = (Cursor.parse(page[-1]["cursor"]) if page else None) or cursor
        return ("".join(frame(e, id=e["cursor"]) for e in shown), last, len(page) == config.EVENTS_PAGE)

    async def _is_still_welcome(self) -> bool:
        try:
            self._viewer = await bearer(self._request)
        except HTTPException:
            return False
        return True


# ---------------------------------------------------------------- the pages' stream


async def stamps(
    hub: Hub, known: str, stamp: Callable[[], Awaitable[str | None]], every_s: float
) -> AsyncIterator[str]:
    """`look` events, each with the page's new stamp, whenever the page would show something else.

    `stamp` answers None when the viewer may not see the page any more, which ends the stream.
    """
    async with hub.subscribed() as wake:
        yield f"retry: {RETRY_MS}\n: hello\n\n"
        while not hub.is_closing:
            now = await stamp()
            if now is None:
                yield frame({}, event="gone")
                return
            if now != known:
                known = now
                yield frame({"stamp": now}, event="look")
            if not await looked(wake, every_s):
                yield ": still here\n\n"
