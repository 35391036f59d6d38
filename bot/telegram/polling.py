"""Our own `getUpdates` loop: the offset moves only after an update is committed, so none is lost between us and Postgres.

One process of a deployment polls, elected by a session advisory lock; the others stand by. An update that cannot be saved
comes again after a pause. The library's Updater is not used: it moves the offset before anyone has written anything down.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg
from telegram.error import Conflict, InvalidToken, RetryAfter, TelegramError

from bot.telegram.client import POLL_S, Client, pause_asked_s
from bot.telegram.translate import Malformed, update_id
from core import config
from core.db import Pool
from core.state import backoff_s
from core.store import locks

log = logging.getLogger(__name__)

STAND_BY_S: Final = 2.0
CONFLICT_PAUSE_S: Final = 10.0
PAUSE_FIRST_S: Final = 0.5
PAUSE_MOST_S: Final = 30.0
UPDATE_ATTEMPTS: Final = 5

# The database is away or busy: the update waits for it, however long. Anything else is the update's own fault.
AWAY: Final = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
)


class Poller:
    """`take` commits one update and returns, or raises."""

    def __init__(
        self,
        client: Client,
        db: Pool,
        take: Callable[[Any], Awaitable[None]],
        *,
        pause_first_s: float = PAUSE_FIRST_S,
        pause_most_s: float = PAUSE_MOST_S,
    ) -> None:
        self._client, self._db, self._take = client, db, take
        self._first_s, self._most_s = pause_first_s, pause_most_s

    async def run(self) -> None:
        """Poll for ever; stand by while another process does."""
        while True:
            try:
                async with self._db.acquire() as connection:
                    if await locks.try_hold(connection, config.POLLING_LOCK):
                        log.info("this process polls Telegram")
                        try:
                            await self._poll(connection)
                        finally:
                            await locks.let_go(connection, config.POLLING_LOCK)
            except AWAY as error:
                log.warning("Telegram is not polled: the database is away (%s)", type(error).__name__)
            await asyncio.sleep(STAND_BY_S)

    async def _poll(self, connection: Any) -> None:
        """As long as the connection lives, and with it the lock: to take it again raises once it is gone."""
        offset: int | None = None
        has_webhook, failures = True, 0
        while await locks.try_hold(connection, config.POLLING_LOCK):
            try:
                if has_webhook:
                    await self._client.delete_webhook()
                    has_webhook = False
                updates = await self._client.raw_updates(offset, POLL_S)
            except TelegramError as error:
                failures += 1
                await asyncio.sleep(self._pause_s(error, failures))
                continue
            failures = 0
            before = offset
            for raw in updates:
                try:
                    number = update_id(raw)
                except Malformed as error:
                    log.warning("%s", error)
                    continue
                await self._save(raw, number)
                offset = max(offset or 0, number + 1)
            if updates and offset == before:  # nothing that could be counted: don't ask for it in a tight loop
                await asyncio.sleep(PAUSE_MOST_S)

    def _pause_s(self, error: TelegramError, failures: int) -> float:
        """Seconds to wait after a poll that failed; says why it did."""
        if isinstance(error, RetryAfter):
            return pause_asked_s(error)
        if isinstance(error, Conflict):
            log.error(
                "Telegram lets only one program receive this bot's updates, and another one does (polling, or a webhook)."
                " Stop it, or give each its own bot. Trying again in %g s",
                CONFLICT_PAUSE_S,
            )
            return CONFLICT_PAUSE_S
        if isinstance(error, InvalidToken):
            log.error("Telegram does not know TELEGRAM_BOT_TOKEN; take it from @BotFather again")
            return PAUSE_MOST_S
        log.warning("polling Telegram failed: %s", self._client.hushed(error))
        return backoff_s(failures, first_s=self._first_s, most_s=self._most_s)

    async def _save(self, raw: Any, number: int) -> None:
        """Until it is committed. One that fails for a reason of its own is given up, or nothing behind it would ever come."""
        attempt, own_failures = 0, 0
        while True:
            attempt += 1
            try:
                return await self._take(raw)
            except Malformed as error:
                return log.warning("%s", error)
            except Exception as error:
                is_away = isinstance(error, AWAY) and not isinstance(error, ValueError)
                own_failures += not is_away
                log.warning("update %s is not saved yet: %s", number, type(error).__name__, exc_info=not is_away)
            if own_failures >= UPDATE_ATTEMPTS:
                return log.error("update %s is given up after %s attempts", number, own_failures)
            await asyncio.sleep(backoff_s(attempt, first_s=self._first_s, most_s=self._most_s))
