"""The probe around every cell: what the machine can do right now with asyncpg and nothing else.

As many connections as the cell has, each committing updates of a row of its own: one round trip and one flush a commit,
the least that a durable step can cost.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass
from typing import Final

import asyncpg

TABLE: Final = (
    "create table if not exists raw_probe (id integer primary key, n integer not null) with (fillfactor = 50)"
)


@dataclass(frozen=True, slots=True)
class Raw:
    """`rate` in commits per second over all connections, `p50_ms` of one commit."""

    rate: float
    p50_ms: float


async def probe(dsn: str, connections: int, lasts_s: float) -> Raw:
    opened = [await asyncpg.connect(dsn) for _ in range(connections)]
    try:
        await opened[0].execute(TABLE)
        await opened[0].execute(
            "insert into raw_probe select generate_series(1, $1), 0 on conflict do nothing".replace(
                "$1", str(connections)
            )
        )
        took: list[float] = []
        began = time.perf_counter()
        await asyncio.gather(*(_commit(c, n, began + lasts_s, took) for n, c in enumerate(opened, start=1)))
        return Raw(len(took) / (time.perf_counter() - began), statistics.median(took) * 1000)
    finally:
        await asyncio.gather(*(c.close() for c in opened))


async def _commit(connection: asyncpg.Connection, row: int, until: float, took: list[float]) -> None:
    update = await connection.prepare("update raw_probe set n = n + 1 where id = $1")
    while (began := time.perf_counter()) < until:
        await update.fetchval(row)
        took.append(time.perf_counter() - began)
