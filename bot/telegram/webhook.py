"""`POST /telegram/webhook`: who is not Telegram is turned away before a byte of the body is read.

The secret is compared in constant time; then the body is read within a size and a time, the update committed, and only
then 200 answered. Whatever was not committed is answered 500, so that Telegram delivers it again.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from bot.bodies import whole_body
from bot.telegram.translate import Malformed
from core import config
from core.settings import Settings, SettingsError

log = logging.getLogger(__name__)

PATH: Final = "/telegram/webhook"
HEADER: Final = "x-telegram-bot-api-secret-token"
SECRET_CHARS: Final = 32
IN_FLIGHT: Final = 100  # Telegram opens 40 connections unless told otherwise


def secret_of(settings: Settings) -> str:
    """The webhook's secret. Raises `SettingsError`: without a long one anybody can pose as Telegram and as anyone on it."""
    secret = settings.secret_of(settings.telegram_webhook_secret)
    if len(secret) < SECRET_CHARS:
        raise SettingsError([f"TELEGRAM_WEBHOOK_SECRET is missing or shorter than {SECRET_CHARS} characters"])
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", secret, re.ASCII):
        raise SettingsError(["TELEGRAM_WEBHOOK_SECRET may hold A-Z a-z 0-9 _ - only, at most 256 of them"])
    return secret


def webhook_router(secret: str, take: Callable[[Any], Awaitable[None]]) -> APIRouter:
    """`take` commits one update and returns, or raises."""
    router = APIRouter(tags=["telegram"])
    in_flight = asyncio.Semaphore(IN_FLIGHT)

    @router.post(PATH, include_in_schema=False)
    async def receive_update(request: Request) -> Response:
        if not is_telegram(request.headers.getlist(HEADER), secret):
            return Response(status_code=403)
        if in_flight.locked():
            return Response(status_code=503, headers={"retry-after": "1"})
        async with in_flight:
            return Response(status_code=await _received(request, take))

    return router


def is_telegram(given: list[str], secret: str) -> bool:
    """Whether the header is there once and right. Bytes are compared: text that is not ASCII would raise."""
    return len(given) == 1 and hmac.compare_digest(given[0].encode("utf-8", "replace"), secret.encode())


async def _received(request: Request, take: Callable[[Any], Awaitable[None]]) -> int:
    """The status that tells Telegram whether to deliver this again."""
    body = await whole_body(request, config.BODY_BYTES)
    if isinstance(body, int):
        return body
    try:
        await take(json.loads(body))
    except (Malformed, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        log.warning("a webhook body is refused: %s", error if isinstance(error, Malformed) else type(error).__name__)
        return 400
    except Exception:
        log.exception("an update could not be saved; Telegram will deliver it again")
        return 500
    return 200
