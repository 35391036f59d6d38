"""Words for a task that runs: which task they are meant for, whose they are, and what is answered.

The requester's own words count as theirs. Others' count only where rules let them steer, and bind the task to what both
may do; what else is said in its thread is noted as data. Everything happens in the commit that records the words.
"""

from __future__ import annotations

from typing import Any

from core import cards
from core.db import Connection
from core.deps import Deps
from core.models import Received
from core.organisation import may_steer, sees_all, sees_conversation
from core.store import conversations, signals, tasks
from core.store.people import Principal
from core.store.signals import Origin, Priority, Sent
from core.waits import REPLY


async def tell(
    tx: Connection, deps: Deps, person: Principal, task: int, text: str, *, priority: Priority, inbound: int,
    answers_us: bool = False,
) -> tuple[Sent, str]:  # fmt: skip
    """Tell a task something: what became of it, and the sentence to answer with. `answers_us`: it quotes our own card."""
    shown = await seen(tx, deps, person, task)
    if shown is None:
        return Sent("not_found"), cards.NO_TASK
    origin = _whose(deps, person, shown)
    if origin is None:
        return Sent("not_allowed"), cards.NOT_YOURS
    sent = await signals.send(
        tx, task, "task_input", {"text": text}, priority=priority, origin=origin, sender=person.id, name=REPLY,
        actor=person.actor, dedup=f"inbound:{inbound}", needs_reader=True,
    )  # fmt: skip
    if sent.kind == "sent":
        await conversations.give(tx, inbound, task, without_quotes=answers_us)
    said = cards.told_text(task, sent.kind, sent.status, interrupted=sent.interrupted, woken=sent.woken, turn=sent.turn)
    return sent, said


async def overhear(
    tx: Connection, deps: Deps, person: Principal, text: str, *, inbound: int, conversation: int, answers_to: str,
    addressed: bool,
) -> Received | None:  # fmt: skip
    """A message in the thread of a task that listens, or an answer to its card. None when it is no task's."""
    task = await tasks.listening(tx, conversation, person.id, answers_to)
    shown = await seen(tx, deps, person, task) if task is not None else None
    if task is None or shown is None:
        return None
    if _whose(deps, person, shown) is None:
        if addressed:
            return None
        await signals.send(
            tx, task, "task_input", {"text": text}, priority="low", origin="untrusted", sender=person.id,
            actor=person.actor, dedup=f"inbound:{inbound}",
        )  # fmt: skip
        return Received(inbound, None, "ignored")
    sent, said = await tell(
        tx, deps, person, task, text, priority="normal", inbound=inbound, answers_us=bool(answers_to)
    )
    if sent.kind in ("over", "deaf"):
        return None
    await conversations.say(tx, conversation, said)
    return Received(inbound, task, "steered")


async def seen(tx: Connection, deps: Deps, person: Principal, task: int) -> dict[str, Any] | None:
    """The task, if the person may see it."""
    return await tasks.shown(
        tx,
        task,
        person.id,
        sees_all=sees_all(deps.organisation, person.roles),
        sees_conversation=sees_conversation(deps.organisation, person.roles),
    )


def _whose(deps: Deps, person: Principal, task: dict[str, Any]) -> Origin | None:
    """What the words of this person are to the task; None when they may not steer it."""
    if task["requester"] == person.key:
        return "requester"
    return "person" if may_steer(deps.organisation, person.roles) else None
