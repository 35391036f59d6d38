"""A vendor's stand-in that is slow for exactly as long as a test wants: what waits at its door has no effect yet."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.sim.line import Line


def hold(line: Line, method: str = "") -> asyncio.Event:
    """Calls of this method, or of any, from now on wait until the event is set."""
    let_go, before = asyncio.Event(), line.before

    async def held(fault: Any, request: Any, called: str, *rest: Any) -> Any:
        if method in ("", called):
            await let_go.wait()
        return await before(fault, request, called, *rest)

    line.before = held  # type: ignore[method-assign]
    return let_go
