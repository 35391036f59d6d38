"""`python -m bench.peers NAME VERB SITE [LOAD]`: one cell of one system; the answer is one line of JSON.

The time begins when a tenth of the bodies have begun (so that pools are open and statements prepared) and ends when the
system itself knows every task to be done. What the ledger does not prove is no result.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench import ledger
from bench.peers import Load, Site, System, open_system

WARM: Final = 0.1


async def measure(system: System, site: Site, load: Load) -> dict[str, Any]:
    await system.seed(load)
    connection = await asyncpg.connect(site.dsn)
    await connection.execute("analyze")
    await connection.execute("checkpoint")
    await connection.close()
    await system.drain(load)
    ended = time.time()
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


async def main() -> None:
    name, verb, site_text, *rest = sys.argv[1:]
    at = json.loads(site_text)
    site = Site(at["dsn"], at["redis_url"], Path(at["folder"]), Path(at["ledger"]))
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    system = open_system(name, site)
    if verb == "install":
        await system.install()
        answer: dict[str, Any] = {"problems": []}
    else:
        answer = await measure(system, site, Load(**json.loads(rest[0])))
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
