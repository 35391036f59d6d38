"""The tick of the ladders: looks at every unanswered approval whose time has come, and carries its next moves out.

What comes next is decided in `core.ladder`; each move is a guarded commit, so that two workers at once, a restart between
rungs or a clock that jumps do no harm. An approval that cannot be read does not stop the others.
"""

from __future__ import annotations

import logging
from uuid import UUID

import asyncpg

from core import config
from core.deps import Deps
from core.ladder import AskNow, Climb, GiveUp, Plan, Rest, next_move
from core.store import approvals, ladder

log = logging.getLogger(__name__)


class Climber:
    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        on = {"slack": deps.settings.slack_on, "telegram": deps.settings.telegram_on, "sms": deps.settings.twilio_on}
        self._channels = frozenset(name for name, is_on in on.items() if is_on)

    async def tick(self) -> int:
        """One round; answers how many approvals moved."""
        moved = 0
        for approval in await ladder.due(self._deps.db, config.LADDER_BATCH):
            try:
                moved += await self._move_on(approval)
            except (asyncpg.PostgresError, ValueError, KeyError):
                log.exception("the ladder of approval %s could not be climbed; the others go on", approval)
        if moved:
            self._deps.ring.outbox()
        return moved

    async def _move_on(self, approval: UUID) -> bool:
        """Move after move until there is nothing to do for now."""
        db, moved = self._deps.db, False
        for _ in range(config.LADDER_MOVES_MOST):
            pending = await ladder.look(db, approval)
            if pending is None:
                return moved
            match next_move(pending, self._deps.organisation, self._channels):
                case Plan(rungs=rungs):
                    await ladder.plan(db, approval, rungs)
                case Climb(n=n, why=why, asks=asks):
                    moved |= await ladder.climb(db, approval, n, why, asks)
                case AskNow(asks=over):
                    for ask in over:
                        moved |= await ladder.ask_now(db, ask)
                case GiveUp(why=why):
                    if await ladder.give_up(db, approval, why):
                        self._deps.ring.task(await approvals.task_of(db, approval))
                    return True
                case Rest(until=until):
                    await ladder.rest(db, approval, until)
                    return moved
        log.warning("the ladder of approval %s takes more moves than one round has", approval)
        return moved
