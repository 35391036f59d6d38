"""Hears what was spoken: claims voices whose bytes are here, has a model put them into words, writes what came of it.

Beside the engine, since a spoken message is no task yet: what it is, its words say. A voice that a dead worker had claimed
comes due again, and may then be paid for anew, until its tries are used up. What is done with the words is
`core.attachments`' business.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from core import attachments, config
from core.db import DATABASE_AWAY
from core.deps import Deps
from core.ring import ATTACHMENTS_BELL, Bell
from core.store import attachments as rows
from core.store.attachments import Attachment
from worker.llm import ModelRefused, Models, ModelUnavailable, Recording
from worker.llm.reading import storable

log = logging.getLogger(__name__)

TRIES: Final = 3
NO_MODEL: Final = "no model that transcribes is set up (models.routes.transcribe)"
AWAY: Final = "the model that transcribes does not answer"
BROKE: Final = "something went wrong here while it was written down"
REFUSED: Final = "the model would not write it down"


class Listener:
    def __init__(self, deps: Deps, models: Models, redis_url: str) -> None:
        self._deps, self._models = deps, models
        self._bell = Bell(redis_url, ATTACHMENTS_BELL)

    def poke(self) -> None:
        """A voice may wait: look now."""
        self._bell.ring()

    async def run(self) -> None:
        """Listen for ever."""
        async with self._bell as bell:
            while True:
                try:
                    while await self.listen():
                        continue
                except DATABASE_AWAY as error:
                    log.warning("cannot listen: %s", type(error).__name__)
                except Exception:
                    log.exception("a round of listening broke; the next one begins anew")
                await bell.wait(config.VOICE_POLL_S)

    async def listen(self) -> int:
        """One round; answers how many were claimed."""
        claimed = await rows.claim(self._deps.db, "here")
        await asyncio.gather(*(self._one(voice) for voice in claimed))
        return len(claimed)

    async def _one(self, voice: Attachment) -> None:
        if not self._models.available("transcribe"):
            await self._not_heard(voice, NO_MODEL)
            return
        if voice.tries > TRIES:  # each was paid for and ended without a word, as where a worker dies over it
            await self._not_heard(voice, BROKE)
            return
        content = await rows.content(self._deps.db, voice.id)
        try:
            answer = await self._models.transcribe(
                Recording(voice.name, voice.mime, content), deadline_s=config.TRANSCRIBE_S
            )
        except ModelRefused:
            await self._not_heard(voice, REFUSED)
        except ModelUnavailable as error:
            log.warning("voice %s is not heard: %s", voice.id, error.reason)
            if error.retry_after_s is None or voice.tries >= TRIES:
                await self._not_heard(voice, AWAY)
            else:
                await rows.later(self._deps.db, voice.id, error.retry_after_s)
        else:
            await attachments.heard(self._deps, voice.id, storable(answer.text))

    async def _not_heard(self, voice: Attachment, why: str) -> None:
        await attachments.over(self._deps, voice.id, why, "lost")
