"""Tells in the log what the database moved and no process has told of its own doing.

A step's outcome is told by its worker and a decision by the bot that took it. That a task began, waits or ended, that an
approval ran out or was used up, that a stop or a word moved a step, is read from the history behind them: by the one worker that
sweeps, so that each move is one line. When another takes over, it begins with what moves then.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from core.db import Pool
from core.logs import moved
from core.store import events
from core.store.events import LAST, Cursor

log = logging.getLogger(__name__)

LINES_AT_ONCE: Final = 500


class Chronicle:
    """`told` is the last move that was told, or that nobody wants to hear of."""

    def __init__(self, db: Pool) -> None:
        self._db = db
        self.told = LAST

    async def begin(self) -> None:
        """Nothing of what has moved so far is told."""
        self.told = await events.newest(self._db) if log.isEnabledFor(logging.INFO) else LAST

    def end(self) -> None:
        """Somebody else tells of what moves now."""
        self.told = LAST

    async def tell(self) -> int:
        """One line for each move since the last time; answers how many."""
        newest, lines = await events.newest(self._db), 0
        while self.told < newest:
            rows = await events.untold(self._db, self.told, newest, LINES_AT_ONCE)
            for row in rows:
                _line(row)
            lines += len(rows)
            self.told = Cursor(rows[-1]["xid"], rows[-1]["id"]) if len(rows) == LINES_AT_ONCE else newest
        return lines


def _line(row: Mapping[str, Any]) -> None:
    """Why it moved is often what a person wrote, or an error: who moved it is all that is told."""
    kind, _, name = row["actor"].partition(":")
    moved(
        log, row["machine"], task=row["task_id"], step=row["n"], approval=row["subject"] or None,
        principal=name if kind == "person" else row["requester"], was=row["from_state"], to=row["to_state"], why=kind,
    )  # fmt: skip
