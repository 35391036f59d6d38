"""Counters and durations of all processes together, dead ones included: rows that only grow."""

from __future__ import annotations

import json

from core.db import Db
from core.measures import Amounts, Measures


async def flush(db: Db, measures: Measures) -> int:
    """Add what was measured since the last time; nothing measured, nothing asked. Answers how many rows grew."""
    amounts = measures.take()
    if not amounts:
        return 0
    # In one order everywhere, so that two who flush at once wait for each other instead of for ever.
    keys = sorted(amounts)
    try:
        await db.execute(
            "select add_measures_v1($1, $2, $3)",
            [name for name, _ in keys], [json.dumps(labels) for _, labels in keys], [amounts[key] for key in keys],
        )  # fmt: skip
    except BaseException:
        # Perhaps it was written and only the answer was lost; a figure too high is the lesser harm.
        measures.give_back(amounts)
        raise
    return len(keys)


async def read(db: Db) -> Amounts:
    rows = await db.fetch("select name, labels, amounts from measures order by name, labels")
    return {(r["name"], tuple(json.loads(r["labels"]))): list(r["amounts"]) for r in rows}
