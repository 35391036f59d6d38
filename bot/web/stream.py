"""Server-sent events: history as it is written, for programs, and "look again", for open pages.

A stream reads Postgres in commit order and is woken by a bell with a slow poll behind it, so nothing in Redis is needed.
Only events of tasks that the viewer may see leave; who they are is asked again at every heartbeat. Open pages also hear
answers while they are written.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import StreamingResponse

from bot.web.auth import Asking, Viewer, bearer, deps_of
from core import config
from core.cards import NO_TASK
from core.db import DATABASE_AWAY, Pool
from core.display import visible_lines
from core.ring import DRAFTS, EVENTS_BELL, Bell, overheard
from core.store import events, tasks
from core.store.events import Cursor

log = logging.getLogger(__name__)
router = APIRouter(prefix="/api", tags=["events"])

HEARTBEAT_S: Final = 15.0
HUB_POLL_S: Final = 1.0
REPLAY_MOST: Final = 10_000
RETRY_MS: Final = 2_000
MEDIA: Final = "text/event-stream"


class Ear(asyncio.Event):
    """An open stream's: set whenever it should look again. `drafted` is the text so far of answers that are being written, by
    task, for a stream that shows them to empty; `is_news`: something was written besides."""

    def __init__(self, *, hears_drafts: bool) -> None:
        super().__init__()
        self.is_news = False
        self.drafted: dict[int, str] = {}
        self.hears_drafts = hears_drafts


class Hub:
    """Wakes this process's open streams when something was written. Rests while there are none."""

    def __init__(self, db: Pool, redis_url: str, mask: Callable[[str], str] = str) -> None:
        self._db, self._redis_url, self._mask = db, redis_url, mask
        self._open: set[Ear] = set()
        self._watches: list[asyncio.Task[None]] = []
        self.is_closing = False
        self.heartbeat_s = HEARTBEAT_S

    @asynccontextmanager
    async def subscribed(self, *, hears_drafts: bool = False) -> AsyncIterator[Ear]:
        """An event that is set whenever a stream should look again."""
        wake = Ear(hears_drafts=hears_drafts)
        self._open.add(wake)
        if not self._watches or any(watch.done() for watch in self._watches):
            self._rest()
            self._watches = [asyncio.create_task(self._listen()), asyncio.create_task(self._overhear())]
        try:
            yield wake
        finally:
            self._open.discard(wake)
            if not self._open:
                self._rest()

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self.is_closing = True
        self._wake()

    def _rest(self) -> None:
        for watch in self._watches:
            watch.cancel()
        self._watches = []

    def _wake(self) -> None:
        for wake in self._open:
            wake.is_news = True
            wake.set()

    async def _overhear(self) -> None:
        async for said in overheard(self._redis_url, DRAFTS):
            if said.get("is_over") and said["text"]:
                continue  # the page's own card has it
            text = visible_lines(self._mask(str(said["text"])))
            for wake in self._open:
                if wake.hears_drafts and len(wake.drafted) < config.DRAFTS_MOST:
                    wake.drafted[int(said["task"])] = text
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
    if number is None or number not in await seen(deps_of(request).db, viewer, {number}):
        raise HTTPException(404, NO_TASK)
    start = request.headers.get("last-event-id")
    return answer(_History(request, viewer, task=number).frames(start, from_the_start=True))


async def seen(db: Pool, viewer: Viewer, asked: set[int]) -> set[int]:
    """Those of these tasks that the viewer may see."""
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
            asked_at = time.monotonic()
            while not self._hub.is_closing:
                more = True
                while more:
                    text, cursor, more = await self._page(cursor)
                    if text:
                        yield text
                is_idle = not await looked(wake, self._hub.heartbeat_s)
                if is_idle:
                    yield ": still here\n\n"
                if is_idle or time.monotonic() - asked_at > self._hub.heartbeat_s:
                    if not await self._is_still_welcome():
                        return
                    asked_at = time.monotonic()

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
        may_be_seen = await seen(self._db, self._viewer, asked) if asked else set()
        shown = [e for e in page if e["task_id"] and int(e["task_id"]) in may_be_seen]
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
    hub: Hub,
    known: str,
    stamp: Callable[[], Awaitable[str | None]],
    every_s: float,
    visible: Callable[[set[int]], Awaitable[set[int]]],
) -> AsyncIterator[str]:
    """`look` events, each with the page's new stamp, whenever the page would show something else; `draft` events with the
    text so far of an answer that is being written, of those tasks that are `visible`.

    `stamp` answers None when the viewer may not see the page any more, which ends the stream.
    """
    async with hub.subscribed(hears_drafts=True) as wake:
        wake.is_news = True
        yield f"retry: {RETRY_MS}\n: hello\n\n"
        while not hub.is_closing:
            if wake.is_news:
                wake.is_news = False
                now = await stamp()
                if now is None:
                    yield frame({}, event="gone")
                    return
                if now != known:
                    known = now
                    yield frame({"stamp": now}, event="look")
            told, wake.drafted = wake.drafted, {}
            for task in sorted(await visible(set(told)) if told else ()):
                yield frame({"task": str(task), "text": told[task]}, event="draft")
            if not await looked(wake, every_s):
                wake.is_news = True
                yield ": still here\n\n"
