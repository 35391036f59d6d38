"""The Bot API of the stand-in: reads a request as Telegram does, refuses what it refuses, answers in its shape.

Order of judging: token, method, planned fault, parameters, effect (telegram_methods). getUpdates waits here: its offset
confirms, a webhook excludes it, and of two pollers at once the older is told to go.
"""

import asyncio
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.sim.faults import Kind
from tests.sim.slack_files import cut_short
from tests.sim.telegram_check import PARAMETERS, Refused, decode
from tests.sim.telegram_methods import EFFECTS
from tests.sim.telegram_world import Body
from tests.sim.violation import Violation

if TYPE_CHECKING:
    from tests.sim.telegram import TelegramSim

MOST_UPDATES = 100
LONGEST_POLL_S = 50
DOWNLOAD_BYTES = 20 * 2**20
WEBHOOK_ACTIVE = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
OTHER_POLLER = "terminated by other getUpdates request; make sure that only one bot instance is running"


class TelegramApi:
    """Routes: /bot{token}/{method}, /file/bot{token}/{path}."""

    def __init__(self, sim: "TelegramSim") -> None:
        self.sim = sim

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/bot{token}/{method}", self.call),
            web.get("/bot{token}/{method}", self.call),
            web.get("/file/bot{token}/{path:.+}", self.download),
        ]

    async def call(self, request: web.Request) -> web.StreamResponse:
        method, given = request.match_info["method"], await self._parameters(request)
        token = request.match_info["token"]
        return await self.sim.line.call(
            request, method, given, lambda: self._carry_out(token, method, given), _planned_refusal
        )

    async def _carry_out(self, token: str, method: str, given: Body) -> web.Response:
        try:
            result = await self._result(token, method, given)
        except Refused as refusal:
            if refusal.is_fault:
                self.sim.violations.append(Violation("telegram", method, refusal.description, given))
            self.sim.journal.write("telegram", "in", method, given, refusal.code, refusal.description)
            return _refusal(refusal.code, refusal.description, refusal.parameters)
        self.sim.journal.write("telegram", "in", method, given)
        self.sim.after_call(method)
        return web.json_response({"ok": True, "result": result})

    async def _result(self, token: str, method: str, given: Body) -> Any:
        if token != self.sim.token:
            raise Refused("Unauthorized", 401)
        if method not in PARAMETERS:
            raise Refused("Not Found", 404, is_fault=True)
        args, unknown = decode(method, given)
        for name in unknown:
            self.sim.violations.append(Violation("telegram", method, f"unknown parameter {name!r}", given))
        if method == "getUpdates":
            return await self._updates(args)
        if method == "getFile":
            return self._file(args["file_id"])
        return EFFECTS[method](self.sim.world, args)

    async def _updates(self, args: Body) -> list[Body]:
        world = self.sim.world
        if world.webhook["url"]:
            raise Refused(WEBHOOK_ACTIVE, 409)
        if world.poll is not None and not world.poll.done():
            world.poll.set_exception(Refused(OTHER_POLLER, 409))
        poll: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        world.poll = poll
        world.polled.set()
        if args.get("allowed_updates") is not None:
            world.allowed_updates = list(args["allowed_updates"])
        offset = args.get("offset") or 0
        if offset > 0:
            world.confirm(offset)
        elif offset < 0:
            world.pending = world.pending[offset:]
        deadline = asyncio.get_running_loop().time() + min(args.get("timeout") or 0, LONGEST_POLL_S)
        try:
            while not world.pending and (left := deadline - asyncio.get_running_loop().time()) > 0:
                grew = asyncio.ensure_future(world.grew.wait())
                either: set[asyncio.Future[Any]] = {grew, poll}
                await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                grew.cancel()
                if poll.done():
                    poll.result()
            return world.pending[: args.get("limit") or MOST_UPDATES]
        finally:
            if not poll.done():
                poll.set_result(None)
            if world.poll is poll:
                world.poll = None
                world.polled.clear()

    async def _parameters(self, request: web.Request) -> Body:
        """An uploaded file is kept, and stands there by its id."""
        given: Body = dict(request.query)
        if request.content_type == "application/json":
            try:
                body = json.loads(await request.text() or "{}")
            except ValueError:
                body = {}
            return given | (body if isinstance(body, dict) else {})
        form = await request.post()
        return given | {name: value if isinstance(value, str) else self._keep(value) for name, value in form.items()}

    def _keep(self, field: bytes | bytearray | web.FileField) -> str:
        assert isinstance(field, web.FileField), "a file without a name"
        content, file_id = field.file.read(), f"sent{self.sim.world.query_id()}"
        self.sim.files[file_id] = content
        self.sim.world.uploads[file_id] = {
            "file_id": file_id,
            "file_unique_id": file_id,
            "file_name": field.filename,
            "mime_type": field.content_type,
            "file_size": len(content),
        }
        return file_id

    def _file(self, file_id: str) -> Body:
        content = self.sim.files.get(file_id)
        if content is None:
            raise Refused("invalid file_id", is_fault=True)
        if len(content) > DOWNLOAD_BYTES:
            raise Refused("file is too big")
        return {"file_id": file_id, "file_unique_id": file_id, "file_size": len(content), "file_path": file_id}

    async def download(self, request: web.Request) -> web.StreamResponse:
        given = {"path": request.match_info["path"]}
        content = self.sim.files.get(given["path"])
        fault = self.sim.faults.meet("download")
        early = await self.sim.line.before(
            fault, request, "download", given, lambda met: _refusal(met.code, "fault", {})
        )
        if early is not None:
            return early
        self.sim.journal.write("telegram", "in", "download", given)
        if fault is not None and fault.name == "cut_short" and content is not None:
            return await cut_short(request, content)
        if request.match_info["token"] != self.sim.token or content is None:
            return _refusal(404, "Not Found", {})
        return await self.sim.line.after(fault, request, web.Response(body=content))


def _refusal(code: int, description: str, parameters: Body) -> web.Response:
    body: Body = {"ok": False, "error_code": code, "description": description}
    return web.json_response(body | ({"parameters": parameters} if parameters else {}), status=code)


def _planned_refusal(fault: Kind) -> web.Response:
    if fault.code == 429:
        after = fault.retry_after_s or 0
        return _refusal(429, f"Too Many Requests: retry after {after}", {"retry_after": after})
    return _refusal(fault.code, "Internal Server Error" if fault.code >= 500 else "Bad Request", {})
