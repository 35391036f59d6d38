"""The line between one vendor and the app: the vendor's server, its posts to the app, and what goes wrong on the way.

Every stand-in has one. Here planned faults are met and journalled, in both directions and for all vendors alike; what a
request means, and how a vendor words a refusal, is the stand-in's. Several lines may share one site.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

from tests.sim.clock import Clock
from tests.sim.faults import Faults, Kind
from tests.sim.journal import Journal
from tests.sim.violation import Violation

HOST = "127.0.0.1"
MOST_BYTES = 32 * 2**20
# A delivery that is to be overtaken does not wait for ever for one that overtakes it.
OVERTAKEN_WITHIN_S = 0.5
CANCELLED_AGAIN_S = 1.0

D = TypeVar("D")


class Site:
    """One port of loopback with everybody's routes; add them before it opens."""

    def __init__(self) -> None:
        self.app = web.Application(client_max_size=MOST_BYTES)
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def open(self, port: int = 0) -> "Site":
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


class Line:
    """`answer_within_s` is how long the vendor waits for the app."""

    def __init__(self, vendor: str, journal: Journal | None, clock: Clock | None, answer_within_s: float) -> None:
        self.vendor, self.answer_within_s = vendor, answer_within_s
        self.clock = clock or Clock()
        self.journal = journal if journal is not None else Journal(self.clock)
        self.faults = Faults()
        self.violations: list[Violation] = []
        self.site: Site | None = None
        self._own = False
        self._session: aiohttp.ClientSession | None = None
        self._overtaking = asyncio.Event()
        self._later: set[asyncio.Task[Any]] = set()

    async def open(self, add_routes: Callable[[web.Application], object], site: Site | None, port: int) -> None:
        """With a site of others the routes join it, and it is opened by whoever made it."""
        self._own, self.site = site is None, site or Site()
        add_routes(self.site.app)
        if self._own:
            await self.site.open(port)
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self.answer_within_s))

    async def close(self) -> None:
        while (
            self._later
        ):  # one that lost its cancellation, as `wait_for` may, would wait for a clock that nobody steps
            for task in self._later:
                task.cancel()
            await asyncio.wait(list(self._later), timeout=CANCELLED_AGAIN_S)
        if self._session is not None:
            await self._session.close()
        if self._own and self.site is not None:
            await self.site.close()

    @property
    def url(self) -> str:
        assert self.site is not None, "start the stand-in first"
        return self.site.url

    def later(self, doing: Coroutine[Any, Any, Any]) -> None:
        """Something of the vendor's own accord; ended with the line."""
        task = asyncio.create_task(doing)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    # ------------------------------------------------------------ the app calls the vendor

    async def call(
        self,
        request: web.Request,
        method: str,
        given: dict[str, Any],
        answer: Callable[[], Awaitable[web.Response]],
        refusal: Callable[[Kind], web.Response],
    ) -> web.StreamResponse:
        """What `answer` says and does, unless something was planned for this call."""
        fault = self.faults.meet(method)
        early = await self.before(fault, request, method, given, refusal)
        return early if early is not None else await self.after(fault, request, await answer())

    async def before(
        self,
        fault: Kind | None,
        request: web.Request,
        method: str,
        given: dict[str, Any],
        refusal: Callable[[Kind], web.Response],
    ) -> web.Response | None:
        """The end of a call that goes wrong before it has an effect."""
        if fault is None:
            return None
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault.name == "drop_before":
            self.journal.write(self.vendor, "in", method, given, 0, "fault: dropped before effect")
            return cut(request)
        if fault.name != "status":
            return None
        self.journal.write(self.vendor, "in", method, given, fault.code, "fault")
        return refusal(fault)

    async def after(self, fault: Kind | None, request: web.Request, response: web.Response) -> web.StreamResponse:
        """How the answer to a call that had its effect arrives."""
        if fault is not None and fault.name == "done_but_answer_lost":
            return cut(request)
        if fault is not None and fault.name == "disconnect":
            return await _half(request, response)
        return response

    # ------------------------------------------------------------ the vendor delivers to the app

    async def deliver(
        self,
        method: str,
        body: dict[str, Any],
        send: Callable[[], Awaitable[D]],
        unanswered: Callable[[int], D],
        cut_line: Callable[[], Awaitable[None]] | None = None,
    ) -> D:
        """`send` delivers and journals; `unanswered` is how it looks to the vendor when nothing, or a proxy, answered.

        Without `cut_line` there is no standing line to cut: a disconnected delivery is then one that was dropped.
        """
        fault = self.faults.meet(method, "out")
        if fault is not None and fault.name == "reorder":
            self.journal.write(self.vendor, "out", method, body, 0, "fault: held back until the next one is through")
            self.later(self._overtaken(send, self._overtaking))
            return unanswered(200)
        try:
            return await self._sent(fault, method, body, send, unanswered, cut_line)
        finally:
            # Replaced, not cleared: what was held back before this one goes now, what is held back later does not.
            self._overtaking.set()
            self._overtaking = asyncio.Event()

    async def _sent(
        self,
        fault: Kind | None,
        method: str,
        body: dict[str, Any],
        send: Callable[[], Awaitable[D]],
        unanswered: Callable[[int], D],
        cut_line: Callable[[], Awaitable[None]] | None,
    ) -> D:
        if fault is None:
            return await send()
        if fault.name == "delay":
            await asyncio.sleep(fault.delay_s)
            return await send()
        if fault.name == "done_but_answer_lost":
            await send()
            return unanswered(0)
        if fault.name == "duplicate":
            first, _ = await asyncio.gather(send(), send())
            return first
        if fault.name == "disconnect" and cut_line is not None:
            await cut_line()
            return await send()
        code = fault.code if fault.name == "status" else 0
        self.journal.write(self.vendor, "out", method, body, code, f"fault: {fault}")
        return unanswered(code)

    async def _overtaken(self, send: Callable[[], Awaitable[Any]], next_is_through: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(next_is_through.wait(), OVERTAKEN_WITHIN_S)
        await send()

    async def post(self, url: str, headers: dict[str, str], **content: Any) -> tuple[int, str, float]:
        """A raw POST to the app: (status, text, seconds), status 0 when nothing answered."""
        assert self._session is not None, "start the stand-in first"
        begun = time.monotonic()
        try:
            async with self._session.post(url, headers=headers, **content) as response:
                return response.status, await response.text(), time.monotonic() - begun
        except (TimeoutError, aiohttp.ClientError) as error:
            return 0, f"{type(error).__name__}: {error}", time.monotonic() - begun


def cut(request: web.Request) -> web.Response:
    """The connection closes without an answer."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()


async def _half(request: web.Request, response: web.Response) -> web.StreamResponse:
    body = response.body if isinstance(response.body, bytes) else b""
    torn = web.StreamResponse(status=response.status, headers=response.headers)
    torn.content_length = len(body) + 1
    await torn.prepare(request)
    await torn.write(body[: len(body) // 2])
    cut(request)
    return torn
