"""`python -m bench.worker SLOTS`: Sayso's own worker process with a chosen number of slots for ordinary steps."""

from __future__ import annotations

import asyncio
import itertools
import sys

from core.logs import set_up_logging
from core.settings import Settings
from worker.__main__ import work
from worker.slots import kept_free

if __name__ == "__main__":
    settings = Settings.load()
    set_up_logging(settings.log_level, settings.masks())
    wanted = int(sys.argv[1])
    asyncio.run(work(settings, slots=next(n for n in itertools.count(wanted) if n - kept_free(n) == wanted)))
