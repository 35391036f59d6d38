"""Orders on their way in, many in one statement: what `core.orders` has read, and what became of each.

Written as one message alone is (`store.conversations.record`, `store.tasks.create`), in `migrations/0016_intake.sql`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core import config
from core.db import Pool
from core.models import Duplicate, Inbound, PlannedStep, Received
from core.store.steps import planned


@dataclass(frozen=True, slots=True)
class Order:
    """A message, and the task that it asks for, as read by the skills of `skills_mark`."""

    inbound: Inbound
    kind: str
    steps: tuple[PlannedStep, ...]
    skills_mark: str


async def take(db: Pool, orders: Sequence[Order], back_after_s: float) -> list[Received | Duplicate | None]:
    """What became of each: None where it goes the ordinary way, as it does when skills were published since it was read."""
    rows = await db.fetch(
        "select place, inbound_id, task_id, is_new from take_orders_v1($1, $2, $3)",
        [_given(place, order) for place, order in enumerate(orders)], back_after_s, config.ATTACHMENT_LOOSE_S,
    )  # fmt: skip
    taken: list[Received | Duplicate | None] = [None] * len(orders)
    for row in rows:
        taken[row["place"]] = (
            Received(row["inbound_id"], row["task_id"]) if row["is_new"] else Duplicate(row["task_id"])
        )
    return taken


def _given(place: int, order: Order) -> dict[str, object]:
    inbound, where = order.inbound, order.inbound.place
    return {
        "place": place,
        "channel": inbound.channel,
        "delivery_id": inbound.delivery_id,
        "sender": inbound.sender.external_id,
        "external_id": where.external_id,
        "thread": where.thread,
        "is_private": where.private,
        "title": where.title,
        "body": inbound.text,
        "quotes": list(inbound.foreign),
        "message_ref": inbound.message_ref,
        "goal": inbound.text.strip()[: config.GOAL_CHARS],
        "kind": order.kind,
        "skills": order.skills_mark,
        "steps": planned(order.steps),
    }
