"""Looks at the whole now and then: alert rules, and what this process counted.

It is here and not in the worker, since an alert must be able to say that no worker is alive. Of several bots one judges
each time, whichever finds it due.
"""

from __future__ import annotations

import asyncio
import logging

from core import config
from core.db import DATABASE_AWAY
from core.deps import Deps
from core.store import alerts, measures, upkeep

log = logging.getLogger(__name__)
ALERTS = "alerts"


class Watch:
    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(config.MEASURES_FLUSH_S)
            try:
                await measures.flush(self._deps.db, self._deps.measures)
                await self.look()
            except DATABASE_AWAY as error:
                log.warning("cannot watch: %s", type(error).__name__)

    async def look(self) -> list[str]:
        """Judge the alert rules if that is due; answers what was said."""
        rules = self._deps.organisation.alerts
        if not rules or not await upkeep.take_due(self._deps.db, {ALERTS: config.ALERTS_EVERY_S}):
            return []
        said = await alerts.look(self._deps.db, rules)
        for text in said:
            log.warning("%s", text)
            self._deps.ring.outbox()
        return said
