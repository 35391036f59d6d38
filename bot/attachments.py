"""Fetches what came with messages: claims rows that are wanted, has their channel fetch the bytes, writes what came of it.

It waits for a bell and polls behind it; any number of bots may run. A row that a dead bot had claimed comes due again. What
its arrival leads to is `core.attachments`' business; here only tries, times and sizes are kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from core import attachments, config
from core.db import DATABASE_AWAY
from core.deps import Deps
from core.ring import ATTACHMENTS_BELL, Bell
from core.state import backoff_s
from core.store import attachments as rows
from core.store.attachments import Attachment

log = logging.getLogger(__name__)

BROKE: Final = "something went wrong here while it was fetched"


@dataclass(frozen=True, slots=True)
class Bytes:
    content: bytes
    mime: str


@dataclass(frozen=True, slots=True)
class Words:
    """The vendor has already written down what a voice says."""

    text: str


class NeverThere(Exception):
    """It can't be had, for a reason that a person understands."""


class NotThere(Exception):
    """Not now. Not `charged`: it was no failure, the vendor is still busy with it."""

    def __init__(self, why: str, retry_s: float = 0.0, *, charged: bool = True) -> None:
        super().__init__(why)
        self.why, self.retry_s, self.charged = why, retry_s, charged


class Source(Protocol):
    """One channel's way to the bytes. Raises `NeverThere` and `NotThere`; it never takes more than `most_bytes`."""

    channel: str

    async def fetch(self, wanted: Attachment, most_bytes: int) -> Bytes | Words: ...


async def bounded(chunks: AsyncIterator[bytes], most_bytes: int) -> bytes:
    """All of it, broken off where it becomes too much. Raises `NeverThere`."""
    content = bytearray()
    async for chunk in chunks:
        content += chunk
        if len(content) > most_bytes:
            raise NeverThere(attachments.TOO_LARGE)
    return bytes(content)


class Fetcher:
    def __init__(self, deps: Deps, redis_url: str, sources: Sequence[Source]) -> None:
        self._deps, self._redis_url = deps, redis_url
        self._sources = {source.channel: source for source in sources}

    async def run(self) -> None:
        """Fetch for ever."""
        async with Bell(self._redis_url, ATTACHMENTS_BELL) as bell:
            while True:
                try:
                    while await self.fetch():
                        continue
                except DATABASE_AWAY as error:
                    log.warning("cannot fetch attachments: %s", type(error).__name__)
                await bell.wait(config.ATTACHMENT_POLL_S)

    async def fetch(self) -> int:
        """One round; answers how many were claimed."""
        claimed = await rows.claim(self._deps.db, "wanted", list(self._sources))
        await asyncio.gather(*(self._one(wanted) for wanted in claimed))
        return len(claimed)

    async def _one(self, wanted: Attachment) -> None:
        if wanted.tries > config.ATTACHMENT_TRIES:  # each of them ended without a word, as where a bot dies over it
            await attachments.over(self._deps, wanted.id, BROKE, "lost")
            return
        try:
            async with asyncio.timeout(config.ATTACHMENT_FETCH_S):
                came = await self._sources[wanted.channel].fetch(wanted, config.ATTACHMENT_BYTES)
        except NeverThere as error:
            await attachments.over(self._deps, wanted.id, str(error), "refused")
        except NotThere as error:
            await self._again(wanted, error)
        except TimeoutError:
            await self._again(wanted, NotThere("it did not arrive in time"))
        except Exception:
            log.exception("attachment %s could not be fetched", wanted.id)
            await self._again(wanted, NotThere(BROKE))
        else:
            if isinstance(came, Words):
                await attachments.heard(self._deps, wanted.id, came.text)
            else:
                await attachments.came(self._deps, wanted.id, came.content, came.mime)

    async def _again(self, wanted: Attachment, error: NotThere) -> None:
        """Later, until its tries are used up."""
        if not error.charged:
            await rows.later(self._deps.db, wanted.id, error.retry_s, charged=False)
        elif wanted.tries >= config.ATTACHMENT_TRIES:
            log.warning("attachment %s is given up: %s", wanted.id, error.why)
            await attachments.over(self._deps, wanted.id, error.why, "lost")
        else:
            pause_s = backoff_s(wanted.tries, first_s=config.MESSAGE_RETRY_FIRST_S, most_s=config.ATTACHMENT_LEASE_S)
            await rows.later(self._deps.db, wanted.id, max(error.retry_s, pause_s))
