"""Hands answers that are being written to the channels that can show them: best effort, beside the courier.

It hears the worker over Redis, coalesces, and asks the database before every call whether this bot may show the draft there:
of several bots one does, and none after the task's end. The courier ends a draft with the whole answer; one that comes to
nothing is taken back, also after its bot has died.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from bot.sending import Drafting, MaybeSent, NotSent, Sender
from core import config
from core.db import DATABASE_AWAY, Pool
from core.ending import ended
from core.ring import DRAFTS, overheard
from core.store import conversations, drafts
from core.store.conversations import Conversation
from core.store.drafts import Stale

log = logging.getLogger(__name__)


class Drafts:
    def __init__(self, db: Pool, redis_url: str, senders: Sequence[Sender], mask: Callable[[str], str]) -> None:
        self._db, self._redis_url, self._mask = db, redis_url, mask
        self._senders = {s.channel: s for s in senders if isinstance(s, Drafting)}
        self._channels = list(self._senders)
        self._holder = uuid.uuid4().hex
        self._followed: dict[int, _Followed] = {}

    async def run(self) -> None:
        """Show drafts for ever. What breaks the sweep breaks this too, so that both are begun again."""
        try:
            async with asyncio.TaskGroup() as beside:
                beside.create_task(self._sweep())
                async for said in overheard(self._redis_url, DRAFTS):
                    self.hear(said)
        finally:
            await ended([followed.following for followed in self._followed.values()])

    def hear(self, said: dict[str, Any]) -> None:
        """One piece of news: the whole text so far of one task's answer."""
        task = int(said["task"])
        followed = self._followed.get(task)
        if followed is None:
            if not self._channels or not said["text"] or len(self._followed) >= config.DRAFTS_MOST:
                return
            followed = self._followed[task] = _Followed()
            followed.following = asyncio.create_task(self._follow(task, followed))
        followed.text, followed.is_over = str(said["text"]), bool(said.get("is_over"))
        followed.news.set()

    async def _follow(self, task: int, followed: _Followed) -> None:
        """Show one answer wherever it goes, until it is over."""
        try:
            places = await drafts.places(self._db, task, self._channels)
            while places:
                if not await _told(followed.news, config.DRAFT_SILENCE_S):
                    followed.text = ""
                    break
                followed.news.clear()
                if followed.is_over or not followed.text:
                    break
                text = self._mask(followed.text)
                places = [place for place in places if await self._show(task, place, text, followed)]
                await asyncio.sleep(config.DRAFT_SHOW_GAP_S)
            if not followed.text:
                await self._take_back(task)
        except DATABASE_AWAY as error:
            log.info("the answer of task %s is not shown while it is written: %s", task, type(error).__name__)
        finally:
            del self._followed[task]

    async def _show(self, task: int, place: Conversation, text: str, followed: _Followed) -> bool:
        """Whether to go on there."""
        if followed.is_early(place.id):
            return True
        held = await drafts.hold(self._db, task, place.id, self._holder)
        if held is None:
            return False
        sender = self._senders[place.channel]
        ref, goes_on = held.ref, False
        try:
            async with asyncio.timeout(config.SEND_TIMEOUT_S / 2):
                ref = await sender.draft(place, task, text, held.ref)
            goes_on = True
        except (NotSent, MaybeSent, TimeoutError) as error:
            log.info("a draft of task %s is not shown: %s", task, type(error).__name__)
            if isinstance(error, NotSent) and error.retry_s is not None:
                followed.show_again_in(error.retry_s, place.id)
                goes_on = True
        except Exception as error:
            log.warning("a draft of task %s broke: %s", task, type(error).__name__)
        await drafts.shown(self._db, task, place.id, self._holder, ref)
        return goes_on

    async def _sweep(self) -> None:
        """Take back what bots that are gone have left."""
        while True:
            try:
                await self._take_back(None)
            except DATABASE_AWAY as error:
                log.info("drafts cannot be looked after: %s", type(error).__name__)
            await asyncio.sleep(config.DRAFT_SILENCE_S)

    async def _take_back(self, task: int | None) -> None:
        for stale in await drafts.withdrawn(self._db, task, self._holder, self._channels):
            place = await conversations.by_id(self._db, stale.conversation)
            is_shown = place is not None and (stale.ref is not None or task is not None)
            if place is None or not is_shown or await self._taken_back(place, stale):
                await drafts.forget(self._db, stale.task, stale.conversation)

    async def _taken_back(self, place: Conversation, stale: Stale) -> bool:
        """Whether it is gone, or never will be. What may pass is tried once more here, and then again with what others left."""
        for is_last in (False, True):
            try:
                async with asyncio.timeout(config.SEND_TIMEOUT_S / 2):
                    await self._senders[place.channel].draft(place, stale.task, "", stale.ref)
                return True
            except (NotSent, MaybeSent, TimeoutError) as error:
                pause_s = error.retry_s if isinstance(error, NotSent) else config.DRAFT_GAP_S
                log.warning("a draft of task %s could not be taken back: %s", stale.task, type(error).__name__)
                if pause_s is None:
                    return True
                if not is_last and pause_s < config.SEND_TIMEOUT_S / 4:
                    await asyncio.sleep(pause_s)
            except Exception as error:
                log.warning("a draft of task %s could not be taken back: %s", stale.task, type(error).__name__)
                return True
        return False


class _Followed:
    """An answer that is being shown, and its newest text."""

    following: asyncio.Task[None]

    def __init__(self) -> None:
        self.text, self.is_over = "", False
        self.news = asyncio.Event()
        self._not_before: dict[int, float] = {}

    def show_again_in(self, seconds: float, place: int) -> None:
        """Not before then, and then also without anything new."""
        self._not_before[place] = time.monotonic() + seconds
        asyncio.get_running_loop().call_later(seconds, self.news.set)

    def is_early(self, place: int) -> bool:
        return time.monotonic() < self._not_before.get(place, 0.0)


async def _told(news: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return False
    return True
