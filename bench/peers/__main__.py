"""`python -m bench.peers NAME VERB SITE [LOAD]`: one cell of one system; the answer is one line of JSON.

The time begins when a tenth of the bodies have begun (so that pools are open and statements prepared) and ends when the
system itself knows every task to be done. What the ledger does not prove is no result.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench import ledger
from bench.peers import Load, Site
from bench.press import READY, press_all

WARM: Final = 0.1


async def install(system: Any, site: Site, load: Load) -> dict[str, Any]:
    await system.install()
    return {}


async def run(system: Any, site: Site, load: Load) -> dict[str, Any]:
    """How long so many steps took, and the gaps between the steps of a task; or what is wrong with the ledger."""
    await system.seed(load)
    connection = await asyncpg.connect(site.dsn)
    await connection.execute("analyze")
    await connection.execute("checkpoint")
    await connection.close()
    await system.drain(load)
    ended = time.time()
    await system.close()
    lines = ledger.read(site.ledger)
    warm = max(1, int(len(lines) * WARM))
    wrong = ledger.problems(lines, load.tasks, load.steps)
    if wrong:
        return {"problems": wrong}
    return {
        "problems": [],
        "steps": len(lines) - warm,
        "seconds": ended - lines[warm].at,
        "gaps_ms": ledger.gaps_ms(lines[warm:]) if load.steps > 1 and load.shape == "chain" else [],
    }


async def host(system: Any, site: Site, load: Load) -> dict[str, Any]:
    """Wait for presses until told to end."""
    await system.wait_for_presses(load.tasks)
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    await asyncio.Event().wait()
    return {}


VERBS: Final = {"install": install, "run": run, "host": host, "press": press_all}


async def main(module: Any, verb: str, site_text: str, load_text: str) -> None:
    at = json.loads(site_text)
    site = Site(at["dsn"], at["redis_url"], Path(at["folder"]), Path(at["ledger"]))
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    answer = await VERBS[verb](module.open_system(site), site, Load(**json.loads(load_text)))
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    module: Any = importlib.import_module(f"bench.peers.{sys.argv[1]}")
    loop_factory = importlib.import_module("uvloop").new_event_loop if hasattr(module, "WANTS_UVLOOP") else None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main(module, *sys.argv[2:5]))
