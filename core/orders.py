"""Orders that a message spells out, and the quick way in for them: those that are there at one moment share a commit.

Quick is only what `core.answering` would answer with a new task and nothing else, whoever says it; all other messages, and
what the database finds to be less plain, go through `core.intake` one by one. Nothing is acknowledged before its commit, and
whatever goes wrong with a commit that is shared is tried once more alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Final

from core import commands, config, plans
from core.db import Pool
from core.models import Channel, Duplicate, Inbound, PlanFirst, PlannedStep, Received, SkillManifest
from core.organisation import BadInputs, Organisation
from core.store import orders, skills
from core.store.orders import Order
from core.store.skills import Published

log = logging.getLogger(__name__)

FIRST_WORDS: Final = frozenset({"do", "run", "plan"})
Taken = Received | Duplicate | None


def spelled_out(
    asked: commands.Do | commands.Run,
    organisation: Organisation,
    manifests: Mapping[str, SkillManifest],
    way: PlanFirst = "never",
) -> tuple[str, tuple[PlannedStep, ...], float | None]:
    """The kind of the task, its steps, and within how many seconds it ends. Raises `BadInputs`."""
    match asked:
        case commands.Do(skill, args):
            return "do", plans.asked_first(way, lambda n: (plans.act_step(manifests[skill], args, n),), 1), None
        case commands.Run(runbook, inputs):
            steps = plans.runbook_plan(organisation, runbook, inputs, manifests, way)
            return "run", steps, organisation.runbooks[runbook].within


def may_be_order(inbound: Inbound) -> bool:
    """Whether it is worth reading as one: a typed message to us with nothing attached, that begins like one."""
    word = inbound.text[: config.INBOUND_CHARS].split(None, 1)[:1]
    return (
        inbound.addressed
        and not inbound.attached
        and inbound.channel is not Channel.HOOK
        and inbound.channel is inbound.sender.channel is inbound.place.channel
        and len(inbound.text) <= config.INBOUND_CHARS
        and word != []
        and word[0].lower().removeprefix("/") in FIRST_WORDS
    )


def read(inbound: Inbound, organisation: Organisation, published: Published) -> Order | None:
    """The order, or None when there is more to say to it than a task."""
    command = commands.parse(inbound.text, published.manifests, organisation.runbooks)
    way: PlanFirst = "never"
    if isinstance(command, commands.PlanFirst):
        command, way = command.asked, "always"
    if not isinstance(command, commands.Do | commands.Run):
        return None
    try:
        kind, steps, within_s = spelled_out(command, organisation, published.manifests, way)
    except BadInputs:
        return None
    return Order(inbound, kind, steps, published.mark) if within_s is None else None


class Orders:
    """Writes orders, a few statements at a time; those that come meanwhile go together into the next one."""

    def __init__(self) -> None:
        self._published: Published | None = None
        self._writing = 0
        self._waiting: deque[tuple[Order, asyncio.Future[Taken]]] = deque()
        self._writers: set[asyncio.Task[None]] = set()

    async def take(self, db: Pool, organisation: Organisation, inbound: Inbound) -> Taken:
        """What became of the message once it is committed; None when it is for `core.intake` to receive."""
        if not may_be_order(inbound):
            return None
        if self._published is None:
            self._published = await skills.published(db)
        order = read(inbound, organisation, self._published)
        if order is None:
            return None
        if self._writing >= config.ORDERS_WRITING_MOST:
            taken: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
            self._waiting.append((order, taken))
            return await taken
        self._writing += 1
        try:
            return (await self._write(db, organisation, [order]))[0]
        finally:
            self._writing -= 1
            if self._waiting:
                self._writing += 1
                writer = asyncio.create_task(self._write_waiting(db, organisation))
                self._writers.add(writer)
                writer.add_done_callback(self._writers.discard)

    async def _write_waiting(self, db: Pool, organisation: Organisation) -> None:
        try:
            while self._waiting:
                count = min(len(self._waiting), config.ORDERS_BATCH)
                batch = [self._waiting.popleft() for _ in range(count)]
                came: list[Taken] = [None] * count  # each alone, then: one of them may have spoilt it for all
                try:
                    came = await self._write(db, organisation, [order for order, _ in batch])
                except Exception as error:
                    log.warning("%s orders are taken one by one: %s", count, type(error).__name__)
                finally:
                    for (_, taken), one in zip(batch, came, strict=True):
                        if not taken.done():  # else whoever asked is gone
                            taken.set_result(one)
        finally:
            self._writing -= 1

    async def _write(self, db: Pool, organisation: Organisation, batch: list[Order]) -> list[Taken]:
        taken = await orders.take(db, batch, organisation.digest_after)
        if None in taken:
            self._published = None  # it may be that the skills are others by now
        return taken
