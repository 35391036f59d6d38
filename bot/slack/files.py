"""Fetches what people attached in Slack: files.info first, then the bytes with our token; Slack's own transcript of a clip.

The token goes to Slack's hosts only: a file's address may lie anywhere. Without the scope files:read Slack answers with a
login page instead of the bytes, which is told apart. https://docs.slack.dev/reference/objects/file-object
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError

from bot.attachments import Bytes, NeverThere, NotThere, Words, bounded
from bot.sending import NotSent
from bot.slack.attached import CLIP
from bot.slack.payload import Json, object_at, text_at
from bot.slack.sender import AWAY_S, RATE_LIMIT_S, refusal, web_client
from core import attachments
from core.models import Channel
from core.settings import Settings
from core.store.attachments import Attachment

log = logging.getLogger(__name__)

# Slack writes clips down by itself, mostly within a few seconds.
TRANSCRIPT_S: Final = 20.0
TRANSCRIPT_LOOK_S: Final = 2.0
TRANSCRIPT_BYTES: Final = 1_000_000
SOCK_S: Final = 15.0
ELSEWHERE: Final = "it is kept outside Slack; please upload the file itself"
GONE: Final = "it is gone from Slack"
NO_ACCESS: Final = "Slack does not let this app read files: add the permission files:read and install it again"
_HIDDEN: Final = frozenset({"tombstone", "hidden_by_limit"})
_CUE: Final = re.compile(r"(?:\d+:)?\d\d:\d\d\.\d{3} --> ")
_TAG: Final = re.compile(r"<[^>]*>")


class SlackFiles:
    channel = Channel.SLACK.value

    def __init__(self, settings: Settings) -> None:
        self._client = web_client(settings, may_repeat=True)
        self._token = settings.secret_of(settings.slack_bot_token)
        self._api = urlsplit(settings.slack_api_url)

    async def fetch(self, wanted: Attachment, most_bytes: int) -> Bytes | Words:
        file = await self._info(wanted.ref)
        if file.get("is_external") or file.get("mode") == "external":
            raise NeverThere(ELSEWHERE)
        if file.get("mode") in _HIDDEN:
            raise NeverThere(GONE)
        size = file.get("size")
        if isinstance(size, int) and size > most_bytes:
            raise NeverThere(attachments.TOO_LARGE)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(sock_read=SOCK_S, sock_connect=SOCK_S)) as http:
            if text_at(file, "subtype") == CLIP and (words := await self._transcript(http, file, wanted)):
                return Words(words)
            url = text_at(file, "url_private_download") or text_at(file, "url_private")
            content = await self._download(http, url, text_at(file, "mimetype"), most_bytes)
        if isinstance(size, int) and len(content) != size:
            raise NotThere("it arrived incomplete")
        return Bytes(content, text_at(file, "mimetype"))

    async def _info(self, file: str) -> Mapping[str, Any]:
        try:
            return object_at((await self._client.files_info(file=file)).data, "file")  # type: ignore[arg-type]  # a mapping
        except SlackApiError as error:
            why = refusal(error)
            if isinstance(why, NotSent) and why.retry_s is None:
                raise NeverThere(GONE if why.why.startswith("file_") else why.why) from None
            raise NotThere(str(why), getattr(why, "retry_s", None) or AWAY_S) from None
        except (aiohttp.ClientError, SlackClientError, TimeoutError, OSError) as error:
            raise NotThere(f"Slack does not answer: {type(error).__name__}", AWAY_S) from None

    async def _transcript(self, http: aiohttp.ClientSession, file: Json, wanted: Attachment) -> str:
        """What Slack heard; empty when it hears nothing, or takes too long for it. Raises `NotThere` while it listens."""
        heard = object_at(file, "transcription")
        status, preview = text_at(heard, "status"), object_at(heard, "preview")
        if status == "processing" and (datetime.now(UTC) - wanted.created_at).total_seconds() < TRANSCRIPT_S:
            raise NotThere("Slack is still writing it down", TRANSCRIPT_LOOK_S, charged=False)
        if status != "complete":
            return ""
        if preview.get("has_more") and (url := text_at(file, "vtt")):
            try:
                return spoken(
                    (await self._download(http, url, "text/vtt", TRANSCRIPT_BYTES)).decode("utf-8", "replace")
                )
            except NeverThere as error:
                log.warning("Slack's transcript of a clip can't be had: %s", error)
                return ""
        return text_at(preview, "content").strip()

    async def _download(self, http: aiohttp.ClientSession, url: str, mime: str, most_bytes: int) -> bytes:
        if not self._is_slack(url):
            raise NeverThere(ELSEWHERE)
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            async with http.get(url, headers=headers, allow_redirects=False) as answer:
                if answer.status in (404, 410):
                    raise NeverThere(GONE)
                if answer.status == 429:
                    after = answer.headers.get("retry-after", "")
                    raise NotThere(
                        "Slack limits how fast files are read", float(after) if after.isdigit() else RATE_LIMIT_S
                    )
                # Without the right to read, Slack sends the browser to its login page, or shows that page at once.
                is_page = answer.content_type == "text/html" and mime != "text/html"
                if 300 <= answer.status < 500 or (answer.status == 200 and is_page):
                    raise NeverThere(NO_ACCESS)
                if answer.status != 200:
                    raise NotThere(f"Slack answered HTTP {answer.status}", AWAY_S)
                content = await bounded(answer.content.iter_chunked(2**16), most_bytes)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NotThere(f"Slack broke off: {type(error).__name__}", AWAY_S) from None
        if mime != "text/html" and content[:64].lstrip().lower().startswith(b"<!doctype html"):
            raise NeverThere(NO_ACCESS)
        return content

    def _is_slack(self, url: str) -> bool:
        try:
            there = urlsplit(url)
            host, port = there.hostname or "", there.port
        except ValueError:
            return False
        if there.scheme != self._api.scheme or port != self._api.port or "@" in there.netloc:
            return False
        return host == self._api.hostname or host.endswith(f".{self._api.hostname}")


def spoken(vtt: str) -> str:
    """The words of a WebVTT file, without times and marks. https://www.w3.org/TR/webvtt1/"""
    words = []
    for block in vtt.replace("\r\n", "\n").split("\n\n"):
        lines = block.split("\n")
        at = next((i for i, line in enumerate(lines) if _CUE.match(line)), None)
        if at is not None:
            words += [text for line in lines[at + 1 :] if (text := _TAG.sub("", line).removeprefix("- ").strip())]
    return " ".join(words)
