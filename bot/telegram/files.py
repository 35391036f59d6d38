"""Fetches what people attached in Telegram: getFile, then the bytes, piece by piece and no more than allowed.

The address of a file holds the bot's token, so nothing of it reaches a log or a person.
https://core.telegram.org/bots/api#getfile
"""

from __future__ import annotations

from typing import Final

import httpx
from telegram import File
from telegram.error import TelegramError

from bot.attachments import Bytes, NeverThere, NotThere, Words, bounded
from bot.sending import NotSent
from bot.telegram.client import Client
from bot.telegram.sender import RETRY_S, meaning
from core import attachments
from core.models import Channel
from core.store.attachments import Attachment

TIMEOUT: Final = httpx.Timeout(15.0, connect=5.0)
GONE: Final = "Telegram has it no more"


class TelegramFiles:
    channel = Channel.TELEGRAM.value

    def __init__(self, client: Client) -> None:
        self._client = client

    async def fetch(self, wanted: Attachment, most_bytes: int) -> Bytes | Words:
        file = await self._file(wanted.ref)
        if not file.file_path:
            raise NeverThere(GONE)
        try:
            async with (
                httpx.AsyncClient(timeout=TIMEOUT) as http,
                http.stream("GET", file.file_path) as answer,
            ):
                if answer.status_code == 404:
                    raise NeverThere(GONE)
                if answer.status_code != 200:
                    raise NotThere(f"Telegram answered HTTP {answer.status_code}", RETRY_S)
                content = await bounded(answer.aiter_raw(), most_bytes)
        except (httpx.HTTPError, OSError) as error:
            raise NotThere(f"Telegram broke off: {type(error).__name__}", RETRY_S) from None
        if file.file_size is not None and len(content) != file.file_size:
            raise NotThere("it arrived incomplete")
        return Bytes(content, wanted.mime)

    async def _file(self, ref: str) -> File:
        try:
            return await self._client.get_file(ref)
        except TelegramError as error:
            if "file is too big" in error.message.lower():
                raise NeverThere(attachments.TOO_LARGE) from None
            why = meaning(error, self._client.hushed(error))
            if isinstance(why, NotSent) and why.retry_s is None:
                raise NeverThere(GONE) from None
            raise NotThere(str(why), getattr(why, "retry_s", None) or RETRY_S) from None
