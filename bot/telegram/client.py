"""The library's Bot, told where the Bot API is, and kept from writing our token anywhere.

The token is part of every URL. The library logs URLs and payloads at DEBUG and puts what a proxy answered into its errors,
so its loggers speak from WARNING up, payloads that are no JSON are not logged, and every error text goes through
`Client.hushed` before it leaves this package.
"""

from __future__ import annotations

import json
import logging
import warnings
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote

from telegram import Bot
from telegram.error import RetryAfter, TelegramError
from telegram.request import HTTPXRequest

from bot.telegram.newer import Server
from bot.telegram.translate import ALLOWED_UPDATES, Me
from core.settings import Settings

CONNECT_S: Final = 5.0
ANSWER_S: Final = 15.0
POLL_S: Final = 25
CONNECTIONS: Final = 32
HIDDEN: Final = "‹token›"


class Request(HTTPXRequest):
    """The library's HTTP client; it says that an answer was no JSON, not what was in it."""

    @staticmethod
    def parse_json_payload(payload: bytes) -> Any:
        try:
            return json.loads(payload.decode("utf-8", "replace"))
        except ValueError:
            raise TelegramError("the answer was no JSON") from None


class Client(Bot):
    """One bot. `raw_updates` gives each update as JSON, so that one that can't be read does not hide the others. `server` is
    what is known of the other end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._server = Server()  # the library lets its own kind have private attributes only
        self._me: Me | None = None

    @property
    def server(self) -> Server:
        return self._server

    async def raw_updates(self, offset: int | None, wait_s: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._post(
            "getUpdates",
            {"offset": offset, "timeout": wait_s, "allowed_updates": list(ALLOWED_UPDATES)},
            read_timeout=wait_s + ANSWER_S,
        )
        return found

    async def raw_send(self, given: dict[str, Any]) -> dict[str, Any]:
        """`sendMessage` with parameters that the library does not know; the answer as it came."""
        sent: dict[str, Any] = await self._post("sendMessage", given)
        return sent

    async def whoami(self) -> Me:
        if self._me is None:
            user = await self.get_me()
            self._me = Me(user.id, user.username or "")
        return self._me

    def hushed(self, error: BaseException | str) -> str:
        """An error's text without the token, in whatever form an answer brought it back."""
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        secret = self.token.partition(":")[2]
        for form in (self.token, quote(self.token, safe=""), secret):
            text = text.replace(form, HIDDEN) if form else text
        return text

    async def open_connections(self) -> None:
        for request in self._request:
            await request.initialize()

    async def close_connections(self) -> None:
        for request in self._request:
            await request.shutdown()


def pause_asked_s(error: RetryAfter) -> float:
    """How long Telegram asks us to wait."""
    with warnings.catch_warnings():  # it warns that this will become a timedelta one day; both are read here
        warnings.simplefilter("ignore")
        after = error.retry_after
    return after.total_seconds() if isinstance(after, timedelta) else float(after)


def open_client(settings: Settings) -> Client:
    """A client for the bot of TELEGRAM_BOT_TOKEN at TELEGRAM_API_URL; makes no request yet."""
    for name in ("telegram", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    api = settings.telegram_api_url.rstrip("/")
    return Client(
        settings.secret_of(settings.telegram_bot_token),
        base_url=f"{api}/bot",
        base_file_url=f"{api}/file/bot",
        request=Request(CONNECTIONS, read_timeout=ANSWER_S, connect_timeout=CONNECT_S, pool_timeout=CONNECT_S),
        get_updates_request=Request(1, read_timeout=ANSWER_S, connect_timeout=CONNECT_S, pool_timeout=CONNECT_S),
    )
