"""A TCP line between a client and its server that a test can spoil: answers lost after the server did it, resets, delays.

What the client says is looked through for a word, and when it is there, the next answer is swallowed and the line is
cut. The server has done it by then; the client never hears. Of the protocols it knows one thing: asyncpg says a
statement's text once and then only its name.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

PIECE_BYTES = 65536
PARSED = re.compile(rb"P.{4}(__asyncpg_stmt_[0-9a-f]+__)\x00([^\x00]*)\x00", re.DOTALL)
BOUND = re.compile(rb"B.{4}\x00(__asyncpg_stmt_[0-9a-f]+__)\x00", re.DOTALL)
# The answer of the server has come when it was silent for so long after it.
SETTLE_S = 0.05

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@dataclass(eq=False)
class Line:
    """`lose_after` holds words still to be answered with silence, once each. `delay_s` is added to every piece."""

    connect: Connect
    port: int = 0
    lose_after: list[bytes] = field(default_factory=list)
    lost: list[bytes] = field(default_factory=list)
    delay_s: float = 0.0
    is_up: bool = True
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    def reset(self) -> int:
        """Cut every connection without a word; how many there were."""
        cut = list(self._open)
        for writer in cut:
            writer.transport.abort()
        return len(cut)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.is_up:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await self.connect()
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, far_writer}
        doomed = asyncio.Event()
        pumps = [
            asyncio.create_task(self._pump(reader, far_writer, doomed, is_client=True)),
            asyncio.create_task(self._pump(far_reader, writer, doomed, is_client=False)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            self._open -= {writer, far_writer}
            for one in (writer, far_writer):
                one.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, doomed: asyncio.Event, *, is_client: bool
    ) -> None:
        texts: dict[bytes, bytes] = {}
        with suppress(OSError):
            while piece := await source.read(PIECE_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if is_client:
                    texts.update(PARSED.findall(piece))
                    said = b" ".join(texts.get(name, b"") for name in BOUND.findall(piece)) if texts else piece
                    word = next((word for word in self.lose_after if word in said), None)
                    if word is not None:
                        self.lose_after.remove(word)
                        self.lost.append(word)
                        doomed.set()
                elif doomed.is_set():
                    # It is done: whatever follows belongs to the same answer and is lost with it.
                    await asyncio.sleep(SETTLE_S)
                    return
                target.write(piece)
                await target.drain()


@asynccontextmanager
async def open_line(connect: Connect) -> AsyncIterator[Line]:
    """A line on a port of its own."""
    line = Line(connect)
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        line.reset()
