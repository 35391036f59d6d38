"""`python -m worker.replay TASK`: a dry rerun of a task, printed as JSON for `sayso replay --dry`.

It opens the database read-only and nothing else; `--policy` judges by another sayso.yaml, which is never the one in force.
Exit 0: everything as it was; 1: something differs; 2: it could not be done.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core import organisation
from core.db import open_pool
from core.deps import Deps
from core.logs import set_up_logging
from core.ring import Ring
from core.settings import Settings
from core.store import tasks
from worker.llm import Models
from worker.replay_walk import Line, Walker
from worker.skills.registry import Registry


async def replayed(
    settings: Settings, task: int, rules: Path | None, changed: dict[int, dict[str, Any]]
) -> list[Line] | None:
    """None when there is no such task."""
    known = organisation.load(settings.config_path)
    judging = organisation.load(rules) if rules else known
    db = await open_pool(settings.database_dsn(), most=2, name="sayso replay", readonly=True)
    ring = Ring.open(settings.redis_address())
    try:
        if await tasks.conversation_of(db, task) is None and await tasks.whole(db, task) is None:
            return None
        registry = Registry.load(settings.home, known.skills)
        models = Models.silent(settings, known.models)
        return await Walker(Deps(settings, judging, db, ring), registry, models, changed).walk(task)
    finally:
        await ring.close()
        await db.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m worker.replay")
    parser.add_argument("task", type=int)
    parser.add_argument("--policy", type=Path)
    parser.add_argument("--changed", type=json.loads, default={}, help="other arguments, by step")
    given = parser.parse_args()
    settings = Settings.load()
    set_up_logging(settings.log_level, settings.masks())
    changed = {int(n): args for n, args in given.changed.items()}
    try:
        lines = asyncio.run(replayed(settings, given.task, given.policy, changed))
    except (OSError, organisation.OrganisationError) as error:
        sys.exit(_refused(str(error)))
    if lines is None:
        sys.exit(_refused(f"there is no task {given.task} that could be replayed"))
    print(json.dumps([asdict(line) | {"same": line.is_same} for line in lines], ensure_ascii=False))
    sys.exit(0 if all(line.is_same for line in lines) else 1)


def _refused(why: str) -> int:
    print(why, file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
