"""The clock of a world: the real time, plus what it was stepped ahead by.

What vendors do later (deliver again after a minute, let a form's trigger or a response_url expire) waits on this clock, so
that a test steps it and need not sleep. Request signatures keep the real time, since apps compare them with their own.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

Mover = Callable[[float], Awaitable[None]]


class Clock:
    """`followers` are told the whole number of seconds ahead whenever it was stepped, e.g. to move a database's clock."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.followers: list[Mover] = []
        self._stepped = asyncio.Event()

    def time(self) -> float:
        """Unix time in seconds."""
        return time.time() + self.ahead_s

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s

    async def step(self, seconds: float) -> None:
        """Lets so much time pass at once: whoever sleeps on this clock that long wakes."""
        assert seconds >= 0, "time does not go back"
        self.ahead_s += seconds
        for mover in self.followers:
            await mover(self.ahead_s)
        # Replaced, not cleared: whoever waits on the old event wakes exactly once and looks again.
        self._stepped.set()
        self._stepped = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Until so much time has passed or was stepped over."""
        due = self.monotonic() + seconds
        while (left := due - self.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stepped.wait(), left)
