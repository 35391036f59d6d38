"""`python -m bench.worker SLOTS`: Sayso's own worker process with a chosen number of slots for ordinary steps."""

from __future__ import annotations

import asyncio
import sys

from core import config
from core.logs import set_up_logging
from core.settings import Settings
from worker.__main__ import work

if __name__ == "__main__":
    settings = Settings.load()
    set_up_logging(settings.log_level, settings.masks())
    asyncio.run(work(settings, slots=int(sys.argv[1]) + config.URGENT_SLOTS))
