"""Asking Slack, at the moment of an answer, whether somebody is in the user group that may decide.

Whoever holds a connection to Slack says so by `answer_by`; where nobody does, nothing is looked up, and the commit of
the answer refuses it in words (`group_seat_is_stale`). The wait is bounded: a look that comes too late is none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

from core import config
from core.db import Db
from core.store import groups

log = logging.getLogger(__name__)

LookUp = Callable[[Sequence[str]], Awaitable[None]]


class SlackGroups:
    def __init__(self) -> None:
        self._look_up: LookUp | None = None

    def answer_by(self, look_up: LookUp) -> None:
        """`look_up` asks Slack about these groups and writes down what it says."""
        self._look_up = look_up

    async def recheck(self, db: Db, person: int, approvals: Collection[str]) -> None:
        """Before an answer is recorded: who has no other right to give it is looked up again."""
        if self._look_up is None:
            return
        try:
            async with asyncio.timeout(config.GROUP_LOOKUP_S):
                names = await groups.to_ask_about(db, person, approvals)
                if names:
                    await self._look_up(names)
        except TimeoutError:
            log.warning("Slack did not say in %g s who is in a group that may decide", config.GROUP_LOOKUP_S)
