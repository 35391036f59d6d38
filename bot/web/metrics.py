"""/metrics: the gauges of the moment and what all processes measured, in Prometheus' text format.

Gauges and measures are the whole Sayso's, from the database, so it is enough to ask one bot; only `sayso_database_pool` is
the answering process's own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

import asyncpg
from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from bot.web.auth import deps_of
from core.db import Pool
from core.figures import GAUGES, MEASURES, PREFIX, Measure
from core.measures import Amounts
from core.store import gauges, measures
from core.store.gauges import Reading

log = logging.getLogger(__name__)
router = APIRouter(tags=["health"])

READ_S: Final = 3.0
KEEP_S: Final = 1.0
CANNOT_ASK: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)


@router.get("/metrics", summary="Figures in Prometheus' text format", response_class=Response)
async def metrics(request: Request) -> Response:
    text = await request.app.state.figures.text(deps_of(request).db)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


class Figures:
    """The text of /metrics, read at most once a second however many ask."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._text, self._read_at = b"", 0.0

    async def text(self, pool: Pool) -> bytes:
        async with self._lock:
            if not self._text or time.monotonic() - self._read_at > KEEP_S:
                self._text, self._read_at = await self._read(pool), time.monotonic()
            return self._text

    async def _read(self, pool: Pool) -> bytes:
        used = {
            "used": pool.get_size() - pool.get_idle_size(),
            "idle": pool.get_idle_size(),
            "most": pool.get_max_size(),
        }
        try:
            async with asyncio.timeout(READ_S):
                return rendered(used, await gauges.read(pool), await measures.read(pool))
        except CANNOT_ASK as error:
            log.warning("no figures: %s", type(error).__name__)
            return rendered(used, None, {})


def rendered(pool: dict[str, int], reading: Reading | None, measured: Amounts) -> bytes:
    """The exposition text; with no database only that it is down."""
    registry = CollectorRegistry()
    registry.register(_Shown(pool, reading, measured))
    return generate_latest(registry)


class _Shown(Collector):
    def __init__(self, pool: dict[str, int], reading: Reading | None, measured: Amounts) -> None:
        self._pool, self._reading, self._measured = pool, reading, measured

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(f"{PREFIX}database_up", "1 when the database answers", self._reading is not None)
        connections = GaugeMetricFamily(
            f"{PREFIX}database_pool", "connections of the process that answers", labels=["state"]
        )
        for state, count in self._pool.items():
            connections.add_metric([state], count)
        yield connections
        if self._reading is None:
            return
        for gauge in GAUGES:
            found = self._reading.get(gauge.name, {})
            shown = GaugeMetricFamily(PREFIX + gauge.name, gauge.says, labels=[gauge.label] if gauge.label else [])
            for value in gauge.values or ("",):
                shown.add_metric([value] if gauge.label else [], found.get(value, 0))
            yield shown
        for measure in MEASURES:
            yield self._measure(measure)

    def _measure(self, measure: Measure) -> Metric:
        mine = {labels: amounts for (name, labels), amounts in self._measured.items() if name == measure.name}
        if not measure.buckets:
            counter = CounterMetricFamily(PREFIX + measure.name, measure.says, labels=measure.labels)
            for labels, amounts in mine.items():
                counter.add_metric(labels, amounts[0])
            return counter
        timed = HistogramMetricFamily(PREFIX + measure.name, measure.says, labels=measure.labels)
        bounds = [*(str(bound) for bound in measure.buckets), "+Inf"]
        for labels, amounts in mine.items():
            timed.add_metric(labels, list(zip(bounds, accumulate(amounts[:-1]), strict=True)), amounts[-1])
        return timed
