"""A small Bot API on loopback for the adapter's own tests: it keeps what was sent and plans what goes wrong.

Only what these tests need of the wire format is here: updates and their confirmation by offset, one poller at a time,
messages with their keyboards, and errors as Telegram words them.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

TOKEN = "4242:AAtest-token_ofTelegram-0123456789abc"
SECRET = "s" * 16 + "-_" + "S" * 16
BOT = {"id": 4242, "is_bot": True, "first_name": "Sayso", "username": "SaysoBot"}
WITHIN_S = 10.0


@dataclass(frozen=True)
class Call:
    at: float
    method: str
    data: dict[str, Any]
    status: int


class BotApi:
    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.updates: list[dict[str, Any]] = []
        self.messages: dict[tuple[int, int], dict[str, Any]] = {}
        self.faults: dict[str, list[tuple[int, dict[str, Any]] | str]] = defaultdict(list)
        self.polling = 0
        self.polled_at_once = 0
        self.next_update, self.next_message = 100, 500
        self.url = ""
        self._new = asyncio.Event()

    # ------------------------------------------------------------ a person's verbs

    def user(self, number: int) -> dict[str, Any]:
        return {"id": number, "is_bot": False, "first_name": f"User {number}"}

    def say(self, text: str, who: int = 1001, chat: int | None = None, **more: Any) -> dict[str, Any]:
        """A new message update, in the queue of getUpdates."""
        where = {"id": who, "type": "private"} if chat is None else {"id": chat, "type": "supergroup", "title": "Ops"}
        self.next_message += 1
        body = {
            "message_id": self.next_message,
            "date": int(time.time()),
            "chat": where,
            "from": self.user(who),
            "text": text,
        }
        return self.queue({"message": body | more})

    def press(self, message: dict[str, Any], label: str, who: int = 1001) -> dict[str, Any]:
        """A tap on a button that the message shows now."""
        shown = self.messages[(message["chat_id"], message["message_id"])]
        buttons = [b for row in (shown["reply_markup"] or {"inline_keyboard": []})["inline_keyboard"] for b in row]
        [data] = [b["callback_data"] for b in buttons if b["text"] == label]
        return self.tap(data, message, who)

    def tap(self, data: str, message: dict[str, Any], who: int = 1001) -> dict[str, Any]:
        chat = {"id": message["chat_id"], "type": "private"}
        card = {"message_id": message["message_id"], "date": 1, "chat": chat, "from": BOT, "text": "card"}
        query = {
            "id": f"q{self.next_update + 1}",
            "from": self.user(who),
            "chat_instance": "c",
            "message": card,
            "data": data,
        }
        return self.queue({"callback_query": query})

    def queue(self, update: dict[str, Any]) -> dict[str, Any]:
        self.next_update += 1
        self.updates.append({"update_id": self.next_update} | update)
        self._new.set()
        return self.updates[-1]

    # ------------------------------------------------------------ what was seen

    def of(self, method: str) -> list[Call]:
        return [call for call in self.calls if call.method == method]

    def shown(self, chat: int) -> list[dict[str, Any]]:
        return [m for (where, _), m in sorted(self.messages.items()) if where == chat]

    def labels(self, message: dict[str, Any]) -> list[str]:
        rows = (message["reply_markup"] or {"inline_keyboard": []})["inline_keyboard"]
        return [b["text"] for row in rows for b in row]

    # ------------------------------------------------------------ the API

    async def serve(self, request: web.Request) -> web.StreamResponse:
        token, method = request.match_info["token"], request.match_info["method"]
        data = {k: _read(v) for k, v in (await request.post()).items() if isinstance(v, str)}
        status, body = 401, {"ok": False, "error_code": 401, "description": "Unauthorized"}
        fault = self.faults[method].pop(0) if self.faults[method] else None
        if isinstance(fault, tuple):
            status, body = fault
        elif token == TOKEN:
            status, body = await self._answer(method, data)
        self.calls.append(Call(time.monotonic(), method, data, status))
        if fault == "lost":
            assert request.transport is not None
            request.transport.close()
        if fault == "garbage":
            return web.Response(text=f"<html>no such page /bot{TOKEN}/{method}</html>", status=502)
        return web.json_response(body, status=status)

    async def _answer(self, method: str, data: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        answers: dict[str, Callable[[dict[str, Any]], Any]] = {
            "getMe": lambda _: BOT, "sendMessage": self._post, "editMessageText": self._edit,
            "editMessageReplyMarkup": self._edit_markup,
        }  # fmt: skip
        if method == "getUpdates":
            return await self._get_updates(data)
        try:
            return 200, {"ok": True, "result": answers.get(method, lambda _: True)(data)}
        except Refused as error:
            return 400, {"ok": False, "error_code": 400, "description": f"Bad Request: {error}"}

    async def _get_updates(self, data: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.polling:
            self.polled_at_once += 1
            said = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
            return 409, {"ok": False, "error_code": 409, "description": said}
        self.polling += 1
        try:
            self.updates = [u for u in self.updates if u["update_id"] >= data.get("offset", 0)]
            if not self.updates:
                self._new.clear()
                try:
                    await asyncio.wait_for(self._new.wait(), min(data.get("timeout", 0), 1))
                except TimeoutError:
                    pass
            return 200, {"ok": True, "result": list(self.updates)}
        finally:
            self.polling -= 1

    def _post(self, data: dict[str, Any]) -> dict[str, Any]:
        _check(data)
        self.next_message += 1
        shown = {"reply_markup": None} | data | {"message_id": self.next_message}
        self.messages[(data["chat_id"], self.next_message)] = shown
        return _message(shown)

    def _edit(self, data: dict[str, Any]) -> dict[str, Any]:
        _check(data)
        shown = self._found(data)
        new = {"reply_markup": data.get("reply_markup"), "text": data["text"]}
        if new == {"reply_markup": shown["reply_markup"], "text": shown["text"]}:
            raise Refused(
                "message is not modified: specified new message content and reply markup are exactly the same"
            )
        shown.update(new)
        return _message(shown)

    def _edit_markup(self, data: dict[str, Any]) -> dict[str, Any]:
        shown = self._found(data)
        shown["reply_markup"] = data.get("reply_markup")
        return _message(shown)

    def _found(self, data: dict[str, Any]) -> dict[str, Any]:
        found = self.messages.get((data["chat_id"], data["message_id"]))
        if found is None:
            raise Refused("message to edit not found")
        return found


class Refused(Exception):
    """A 400 of the Bot API."""


def _check(data: dict[str, Any]) -> None:
    if not str(data["text"]).strip():
        raise Refused("message text is empty")
    if data.get("parse_mode") == "HTML" and "<bad>" in str(data["text"]):
        raise Refused("can't parse entities: unsupported start tag")


def _message(shown: dict[str, Any]) -> dict[str, Any]:
    chat = {"id": shown["chat_id"], "type": "private" if shown["chat_id"] > 0 else "supergroup"}
    return {"message_id": shown["message_id"], "date": 1, "chat": chat, "from": BOT, "text": str(shown["text"])}


def _read(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


@asynccontextmanager
async def bot_api() -> AsyncIterator[BotApi]:
    api = BotApi()
    app = web.Application()
    app.router.add_route("*", "/bot{token}/{method}", api.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.2, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield api
    finally:
        await runner.cleanup()


async def eventually(look: Callable[[], Any], within_s: float = WITHIN_S) -> Any:
    """What `look` answers as soon as it is true."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {within_s} s"
        await asyncio.sleep(0.01)
    return found
