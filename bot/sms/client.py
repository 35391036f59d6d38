"""Twilio's own asynchronous client, pointed at TWILIO_API_URL, and what each of its errors means for a message.

It sends once: the courier tries again where that is safe, and an SMS of which nobody knows whether it left is never sent
twice. Bodies hold codes, so nothing of a request is logged.
"""

from __future__ import annotations

import logging
from base64 import b64encode
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from bot.sending import MaybeSent, NotSent
from core import config
from core.settings import Settings

CALL_TIMEOUT_S: Final = 15.0
RETRY_S: Final = 2.0
OPTED_OUT: Final = 21610
VALID_LEAST_S: Final = 6
VALID_MOST_S: Final = 36_000
_SILENT: Final = logging.getLogger("bot.sms.sdk")


class _AtOurAddress(AsyncTwilioHttpClient):  # type: ignore[misc]  # twilio ships no types
    """The vendor's client with another host. Its session is made when the first request leaves: that needs a loop."""

    def __init__(self, base_url: str) -> None:
        super().__init__(pool_connections=False, timeout=CALL_TIMEOUT_S, logger=_SILENT)
        self.session: aiohttp.ClientSession | None = None
        self._base = urlsplit(base_url)

    async def request(
        self,
        method: str,
        url: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        path = urlsplit(url)
        moved = urlunsplit(
            (self._base.scheme, self._base.netloc, self._base.path.rstrip("/") + path.path, path.query, "")
        )
        if self.session is None:
            self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S))
        signed = dict(headers or {})
        if auth is not None:
            signed["Authorization"] = "Basic " + b64encode(f"{auth[0]}:{auth[1]}".encode()).decode()
        answer: Response = await super().request(method, moved, params=params, data=data, headers=signed)
        return answer


class SmsClient:
    def __init__(self, settings: Settings) -> None:
        _SILENT.setLevel(logging.CRITICAL)
        self._from, self._service = settings.twilio_from, settings.twilio_messaging_service_sid
        self._status_url = f"{settings.base_url()}/twilio/status"
        self._http = _AtOurAddress(settings.twilio_api_url)
        self._client = Client(
            settings.twilio_account_sid, settings.secret_of(settings.twilio_auth_token), http_client=self._http
        )

    async def send(self, to: str, body: str, message: int, valid_s: float | None) -> str:
        """Answer the message's SID. Raises `OptedOut`, `NotSent`, `MaybeSent`."""
        more: dict[str, Any] = {"messaging_service_sid": self._service} if self._service else {}
        if self._from:
            more["from_"] = self._from
        if valid_s is not None:
            more["validity_period"] = int(min(max(valid_s, VALID_LEAST_S), VALID_MOST_S))
        try:
            sent = await self._client.messages.create_async(
                to=to, body=body, status_callback=f"{self._status_url}?message={message}", **more
            )
        except TwilioRestException as error:
            raise meaning(error) from None
        except aiohttp.ClientConnectorError as error:
            raise NotSent(f"Twilio cannot be reached: {type(error).__name__}", RETRY_S) from None
        except (aiohttp.ClientError, TwilioException, TimeoutError, ValueError) as error:
            raise MaybeSent(f"no clear answer of Twilio: {type(error).__name__}") from None
        return str(sent.sid)

    async def close(self) -> None:
        await self._http.close()


class OptedOut(NotSent):
    """The phone has said STOP to this sender."""

    def __init__(self) -> None:
        super().__init__("the phone has said STOP", None)


def meaning(error: TwilioRestException) -> NotSent | MaybeSent:
    """Refused for good, later perhaps, or nobody knows. https://www.twilio.com/docs/api/errors"""
    why = f"Twilio: {error.status} {error.code or ''} {error.msg or ''}".strip()[:300]
    if error.code == OPTED_OUT:
        return OptedOut()
    if error.status == 429:
        return NotSent(why, RETRY_S)
    if error.status in (401, 403):  # the token may be put right while the message waits
        return NotSent(why, config.MESSAGE_RETRY_MOST_S)
    return NotSent(why, None) if 400 <= error.status < 500 else MaybeSent(why)
