"""A Bot API that answers what the test tells it to: errors in Telegram's words, a proxy's page, or nothing at all.

What Telegram does when all is well is in `tests.sim.telegram`; this is for answers that the stand-in never gives.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

TOKEN = "4242:AAtest-token_ofTelegram-0123456789abc"
OK = ""
LOST = "lost"
PROXY_PAGE = "proxy page"
BOT = {"id": 4242, "is_bot": True, "first_name": "Sayso", "username": "SaysoBot"}

Answer = tuple[int, dict[str, Any]] | str


def error(code: int, description: str, **parameters: Any) -> Answer:
    said = {"ok": False, "error_code": code, "description": description}
    return code, said | ({"parameters": parameters} if parameters else {})


@dataclass(frozen=True)
class Call:
    method: str
    data: dict[str, Any]


class ScriptedApi:
    """`script[method]` holds the answers to come; without one the call succeeds."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.script: dict[str, list[Answer]] = defaultdict(list)
        self.updates: list[dict[str, Any]] = []
        self.url = ""

    def of(self, method: str) -> list[dict[str, Any]]:
        return [call.data for call in self.calls if call.method == method]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        data = {name: _read(value) for name, value in (await request.post()).items() if isinstance(value, str)}
        self.calls.append(Call(method, data))
        answer = self.script[method].pop(0) if self.script[method] else OK
        if isinstance(answer, tuple):
            return web.json_response(answer[1], status=answer[0])
        if answer == LOST and request.transport is not None:
            request.transport.close()
        if answer == PROXY_PAGE:
            return web.Response(text=f"<html>nothing at /bot{TOKEN}/{method}</html>", status=502)
        return web.json_response({"ok": True, "result": self._result(method, data)})

    def _result(self, method: str, data: dict[str, Any]) -> Any:
        if method == "getMe":
            return BOT
        if method == "getUpdates":
            self.updates = [update for update in self.updates if update["update_id"] >= data.get("offset", 0)]
            return self.updates
        if method in ("sendMessage", "editMessageText"):
            chat = {"id": data["chat_id"], "type": "private"}
            return {"message_id": len(self.calls), "date": 1, "chat": chat, "from": BOT, "text": str(data["text"])}
        return True


def _read(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


@asynccontextmanager
async def scripted_api() -> AsyncIterator[ScriptedApi]:
    api = ScriptedApi()
    app = web.Application()
    app.router.add_post("/bot{token}/{method}", api.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.2, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield api
    finally:
        await runner.cleanup()
