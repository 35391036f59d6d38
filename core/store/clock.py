"""The database's clock, which a test or simulation may move."""

from __future__ import annotations

from datetime import datetime, timedelta

from core.db import Db


async def now(db: Db) -> datetime:
    """What decisions, deadlines and timers take as the time."""
    at: datetime = await db.fetchval("select sayso_now()")
    return at


async def move(db: Db, ahead: timedelta) -> None:
    """Set the clock `ahead` of the real time. Refused by the database unless it allows it (sayso.clock_may_move)."""
    await db.execute(
        "insert into clock (ahead) values ($1) on conflict (is_only) do update set ahead = excluded.ahead", ahead
    )
