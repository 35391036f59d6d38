"""Session advisory locks: they elect one of several processes, and fall with the connection that holds them."""

from __future__ import annotations

from typing import Any


async def try_hold(connection: Any, lock: int) -> bool:
    """Take the lock for as long as this connection lives; False while another holds it."""
    held: bool = await connection.fetchval("select pg_try_advisory_lock($1)", lock)
    return held


async def let_go(connection: Any, lock: int) -> None:
    """Give it back before the connection ends. On one of a pool that is a must: the pool leaves the session as it is."""
    await connection.execute("select pg_advisory_unlock($1)", lock)
