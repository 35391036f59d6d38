"""What the stand-ins for model vendors share: a local server that checks, meets faults, asks its script and answers.

The vendor's own manner (paths, headers, error shapes, streams) is in `openai` and `anthropic`; this file knows none.
It listens on loopback only, and refuses as the vendor would before the script is asked.
"""

import argparse
import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import ClassVar, Self

from aiohttp import web

from tests.sim.clock import Clock
from tests.sim.faults import Kind
from tests.sim.journal import Journal
from tests.sim.line import Line, Site, cut
from tests.sim.llm_script import Asked, Body, Reply, Script, by_hand

ANSWER_DEADLINE_S = 10.0
KEY = "sk-sim-0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Refusal(Exception):
    """The vendor's error answer: a status, its short codes and a sentence."""

    status: int
    message: str
    code: str = ""
    param: str | None = None
    retry_after_s: int | None = None


class ModelServer(ABC):
    """`async with OpenAISim() as sim: …`; `sim.base_url` is what the vendor's SDK is given."""

    vendor: ClassVar[str]
    models: set[str]

    def __init__(
        self,
        script: Script | None = None,
        *,
        journal: Journal | None = None,
        clock: Clock | None = None,
        key: str = KEY,
    ) -> None:
        self.script = script if script is not None else Script()
        self.line = Line(self.vendor, journal, clock, ANSWER_DEADLINE_S)
        self.journal, self.faults = self.line.journal, self.line.faults
        # What the next recordings say.
        self.heard: list[str] = []
        self.key = key
        self._answers = 0

    @property
    @abstractmethod
    def base_url(self) -> str: ...

    @abstractmethod
    def add_routes(self, app: web.Application) -> None: ...

    @abstractmethod
    def check_access(self, request: web.Request) -> None:
        """Raises `Refusal`."""

    @abstractmethod
    def check_body(self, body: Body) -> None:
        """Raises `Refusal`."""

    @abstractmethod
    def read(self, body: Body) -> Asked: ...

    @abstractmethod
    def whole(self, body: Body, reply: Reply, number: int) -> Body: ...

    @abstractmethod
    def stream(self, body: Body, reply: Reply, number: int) -> AsyncIterator[str]: ...

    @abstractmethod
    def error(self, refusal: Refusal) -> Body: ...

    @abstractmethod
    def stream_error(self) -> str: ...

    async def start(self, port: int = 0, site: Site | None = None) -> None:
        await self.line.open(self.add_routes, site, port)

    async def stop(self) -> None:
        await self.line.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        if error is None:
            self.check()

    def check(self) -> None:
        """Raises AssertionError when the script or the planned faults were not met."""
        self.script.check()
        assert not self.faults.unmet(), f"faults that nobody ran into: {self.faults.unmet()}"

    async def converse(self, request: web.Request, method: str) -> web.StreamResponse:
        """One question: refused, gone wrong as planned, or answered by the script."""
        body: Body = {}
        try:
            self.check_access(request)
            body = await read_json(request)
            fault = self.faults.meet(method)
            if (early := await self.line.before(fault, request, method, body, self._planned_refusal)) is not None:
                return early
            self.check_body(body)
            if body["model"] not in self.models:
                raise Refusal(404, f"The model `{body['model']}` does not exist", "model_not_found", "model")
            reply = self.script.reply_to(self.read(body))
            if reply is None:
                raise Refusal(400, "the script has no answer for this", "no_script")
        except Refusal as refusal:
            return self._refuse(method, body, refusal)
        if fault is not None and fault.name in ("done_but_answer_lost", "disconnect"):
            self.script.was_lost(reply)
        self._answers += 1
        self.journal.write(self.vendor, "in", method, body, 200, "streamed" if body.get("stream") else "")
        if reply.pause_s:
            await asyncio.sleep(reply.pause_s)
        if not body.get("stream"):
            return await self.line.after(fault, request, web.json_response(self.whole(body, reply, self._answers)))
        if fault is not None and fault.name == "done_but_answer_lost":
            return cut(request)
        if fault is not None and fault.name == "disconnect":
            reply = replace(reply, breaks_after=1)
        return await self._stream(request, body, reply)

    async def _stream(self, request: web.Request, body: Body, reply: Reply) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        sent = 0
        async for event in self.stream(body, reply, self._answers):
            if reply.held is not None and sent in (reply.held_after, *reply.held_again):
                await reply.held.wait()
            if sent == reply.breaks_after:
                cut(request)
                return response
            if sent == reply.fails_after:
                await response.write(self.stream_error().encode())
                return response
            await response.write(event.encode())
            sent += 1
        await response.write_eof()
        return response

    def _refuse(self, method: str, body: Body, refusal: Refusal) -> web.Response:
        self.journal.write(self.vendor, "in", method, body, refusal.status, refusal.message)
        return self._worded(refusal)

    def _worded(self, refusal: Refusal) -> web.Response:
        headers = {"retry-after": str(refusal.retry_after_s)} if refusal.retry_after_s is not None else {}
        return web.json_response(self.error(refusal), status=refusal.status, headers=headers)

    def _planned_refusal(self, fault: Kind) -> web.Response:
        return self._worded(Refusal(fault.code, "a planned fault", retry_after_s=fault.retry_after_s))


async def read_json(request: web.Request) -> Body:
    if not request.content_type.endswith("json"):
        raise Refusal(400, "the body must be application/json", "invalid_request")
    try:
        body = await request.json()
    except ValueError:
        raise Refusal(400, "We could not parse the JSON body of your request.", "invalid_json") from None
    if not isinstance(body, dict):
        raise Refusal(400, "the body must be a JSON object", "invalid_json")
    return body


def sse(data: Body, event: str = "") -> str:
    """One server-sent event."""
    return (f"event: {event}\n" if event else "") + f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def serve_by_hand(sim: ModelServer, names: dict[str, str]) -> None:
    """Serve until Ctrl-C, and print what to put into the environment; `names` maps its names to our attributes."""
    parser = argparse.ArgumentParser(description=f"A stand-in for {sim.vendor}: echoes, or calls a tool when told to.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default=KEY)
    options = parser.parse_args()
    sim.key = options.key
    sim.script.otherwise = by_hand

    async def serve() -> None:
        await sim.start(options.port)
        for name, attribute in names.items():
            print(f"{name}={getattr(sim, attribute)}", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            await sim.stop()

    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        pass
