"""What the tests of the Telegram stand-in share: the library's own Bot, a card, a webhook that listens."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup
from telegram.error import BadRequest, TelegramError
from telegram.request import HTTPXRequest

from tests.sim.telegram import TelegramSim

OPS = -1_000_500


@asynccontextmanager
async def telegram() -> AsyncIterator[TelegramSim]:
    """A stand-in with one group, whose topic is 9."""
    async with TelegramSim() as running:
        running.group(OPS, "Ops", topics=(9,))
        yield running


@asynccontextmanager
async def bot_of(sim: TelegramSim, token: str | None = None) -> AsyncIterator[Bot]:
    request = HTTPXRequest(connection_pool_size=8, read_timeout=5)
    bot = Bot(
        token or sim.token, base_url=f"{sim.api_url}/bot", base_file_url=f"{sim.api_url}/file/bot", request=request
    )
    await request.initialize()
    try:
        yield bot
    finally:
        await request.shutdown()


def card(*buttons: tuple[str, str]) -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup([[InlineKeyboardButton(text, callback_data=data) for text, data in buttons]])


CARD = card(("Approve", "a:17:approve"), ("Deny", "a:17:deny"))


@asynccontextmanager
async def webhook(sim: TelegramSim, *codes: int) -> AsyncIterator[list[tuple[str | None, dict[str, Any]]]]:
    """A listener that answers with these codes in turn, then 200; collects (secret header, update)."""
    got: list[tuple[str | None, dict[str, Any]]] = []
    left = list(codes)

    async def listen(request: web.Request) -> web.Response:
        got.append((request.headers.get("X-Telegram-Bot-Api-Secret-Token"), await request.json()))
        return web.Response(status=left.pop(0) if left else 200)

    app = web.Application()
    app.router.add_post("/telegram/webhook", listen)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sim.deliver_to = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield got
    finally:
        await runner.cleanup()


async def refusal(call: Awaitable[Any], kind: type[TelegramError] = BadRequest) -> str:
    with pytest.raises(kind) as refused:
        await call
    return refused.value.message
