"""Ends tasks for certain, also one that loses a cancellation.

redis-py now and then swallows it in a read, and so does `asyncio.wait_for` of Python 3.11 when its answer comes in the same
moment; a part that works for ever would then work on, and whoever waits for its end would wait as long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final

log = logging.getLogger(__name__)

AGAIN_S: Final = 5.0


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel them, again and again until they have ended; says which do not. What they raise on the way is theirs."""
    every = list(tasks)
    rest = {task for task in every if not task.done()}
    while rest:
        for task in rest:
            task.cancel()
        _, rest = await asyncio.wait(rest, timeout=AGAIN_S)
        for task in rest:
            log.warning("it does not end, and is asked again: %r", task)
    await asyncio.gather(*every, return_exceptions=True)
