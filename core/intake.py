"""Where everything that people say comes in: one commit for a message, one for a decision.

Adapters call `receive`, `press` and `control` and acknowledge after they return. What a text means is decided by
`core.commands` (pure) and answered by `core.answering`; rings come after the commit and may be lost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from core import answering, attachments, branching, cards, config, deciding, linking, spoken, steering
from core.commands import Level
from core.db import Connection, transaction
from core.deps import Deps
from core.logs import moved
from core.models import (
    Accepted,
    Changed,
    Channel,
    Decided,
    Duplicate,
    Inbound,
    Invalid,
    NotAllowed,
    NotFound,
    Press,
    Received,
    TooLate,
)
from core.organisation import sees_all
from core.store import approvals, conversations, families, people, signals, tasks
from core.store.people import Principal
from core.store.signals import Priority, Sent

log = logging.getLogger(__name__)

FOREIGN_ONLY = (
    "I don't act on forwarded or quoted text. Tell me in your own words what to do with it, and quote it again."
)
TOO_LONG = f"That is too long for me: at most {config.INBOUND_CHARS:,} characters, please."
EMPTY = "There was nothing in that message. Say help to see what I can do."
NOT_HERE = "I don't know you. Write me a direct message and I will tell you how to be let in."


class Told(NamedTuple):
    """What became of words for a task, and the sentence to show."""

    sent: Sent
    said: str


class NotVisible(Exception):
    """No such task, or not one that this person may see: the same answer."""


class Stale(Exception):
    """The task is no longer at the version that was named; `version` is the one that it has."""

    def __init__(self, task: int, version: int, named: int) -> None:
        super().__init__(f"task {task} is at version {version}, not {named}; look at it again")
        self.version = version


# ---------------------------------------------------------------- messages


async def receive(deps: Deps, inbound: Inbound) -> Received | Duplicate:
    """Write the message and what follows from it in one commit, then ring.

    Raises only when the database does: then the adapter must not acknowledge, and the vendor delivers again.
    """
    received = await deps.orders.take(deps.db, deps.organisation, inbound)
    if received is None:
        await spoken.look_up_groups(deps, inbound)
        async with transaction(deps.db) as tx:
            received = await _receive(tx, deps, inbound)
    if isinstance(received, Received):
        if received.task_id is not None and received.kind == "task":
            deps.ring.new_task(received.task_id)
        elif received.task_id is not None:
            deps.ring.task(received.task_id)
        elif received.kind != "ignored":
            deps.ring.outbox()
        if inbound.attached:
            deps.ring.attachments()
    return received


async def _receive(tx: Connection, deps: Deps, inbound: Inbound) -> Received | Duplicate:
    if not inbound.addressed:
        # What people say among themselves leaves no trace, unless a task owns the thread in which they say it.
        place = inbound.place
        thread = await conversations.find(tx, place.channel, place.external_id, place.thread) if place.thread else None
        if thread is None or not await tasks.owns_thread(tx, thread):
            return Received(0, None, "ignored")
    conversation = await conversations.ensure(tx, inbound.place)
    person = await people.behind(tx, inbound.sender)
    secret = linking.opened(inbound)
    if secret is not None:
        inbound = inbound.model_copy(update={"text": linking.REDACTED})
    made = await conversations.record(tx, inbound, person.id if person else None, conversation)
    if made is None:
        return Duplicate(await conversations.task_of_delivery(tx, inbound.channel, inbound.delivery_id))
    if secret is not None:
        await conversations.say(tx, conversation, await linking.redeem(tx, inbound.sender, person, secret))
        return Received(made, None, "pairing")
    if person is None:
        return await _greet_stranger(tx, inbound, made, conversation)
    text = inbound.text.strip()
    if len(text) > config.INBOUND_CHARS:
        answer = TOO_LONG
    elif attachments.is_spoken(inbound):
        return await attachments.listen(tx, deps, made, inbound, conversation)
    elif not text and inbound.attached:
        return await attachments.keep_loose(tx, made, inbound, conversation, person)
    elif not text:
        answer = FOREIGN_ONLY if inbound.foreign else EMPTY
    else:
        filled_in = inbound.foreign if inbound.channel is Channel.HOOK else ()
        received = await answering.answer(
            tx, deps, text, person, inbound=made, conversation=conversation, filled_in=filled_in,
            answers_to=inbound.answers_to, addressed=inbound.addressed,
        )  # fmt: skip
        return await attachments.hand_over(tx, received, inbound, conversation, person)
    await conversations.say(tx, conversation, answer)
    return Received(made, None, "answered")


async def _greet_stranger(tx: Connection, inbound: Inbound, made: int, conversation: int) -> Received:
    """A pairing code and nothing else; in a shared place not even that."""
    if not inbound.addressed:
        return Received(made, None, "ignored")
    if inbound.place.private:
        code = await people.offer_pairing(tx, inbound.sender)
        said_once = None if code else f"enough codes:{inbound.sender.channel}:{inbound.sender.external_id}:{made // 50}"
        await conversations.say(tx, conversation, cards.pairing_text(code), dedup=said_once)
    else:
        stranger = f"{inbound.sender.channel}:{inbound.sender.external_id}"
        await conversations.say(tx, conversation, NOT_HERE, dedup=f"stranger:{conversation}:{stranger}")
    return Received(made, None, "pairing")


# ---------------------------------------------------------------- decisions


async def press(deps: Deps, pressed: Press, *, by: Principal | None = None) -> Decided:
    """One decision in one commit: who may, which card, still open, one vote a person.

    `by` where the surface has just made sure of the person, as the web has of who is signed in; else whoever is behind
    `sender`.
    """
    began = time.monotonic()
    person = by or await people.behind(deps.db, pressed.sender)
    if person is None:
        return NotAllowed(pressed.approval_id, "I don't know you")
    await deps.groups.recheck(deps.db, person.id, [pressed.approval_id])
    more = await deciding.prepared(deps, person, pressed)
    if isinstance(more, Invalid | NotFound):
        return more
    answer = await approvals.decide(
        deps.db,
        principal=person.id,
        approval=pressed.approval_id,
        verdict=pressed.verdict,
        digest=pressed.digest,
        reason=pressed.reason[: config.REASON_CHARS],
        channel=pressed.channel,
        delivery_id=pressed.delivery_id,
        more=more,
    )
    decided = deciding.decided(answer, pressed.approval_id, person, pressed.verdict)
    if isinstance(decided, Accepted):
        # What was allowed begins first: its card then often shows both at once.
        deps.ring.task(decided.task_id, outbox_after_s=config.CARD_AFTER_PRESS_S)
        await deps.ring.go_first()
        if answer.get("leads", True):  # of a delivery that came before it is not said
            for approval in {pressed.approval_id, decided.approval_id}:
                await deciding.lead(deps, approval)
        deps.measures.observe("press_seconds", time.monotonic() - began, pressed.channel)
        moved(
            log, "approval", task=decided.task_id, approval=decided.approval_id, principal=person.key, was="pending",
            to=decided.status, why=pressed.verdict,
        )  # fmt: skip
    elif isinstance(decided, TooLate | Changed):
        deps.ring.task(int(answer["task_id"]))
    return decided


# ---------------------------------------------------------------- a hand on a task


AGAIN = "That was done already."


async def control(
    deps: Deps,
    person: Principal,
    task: int,
    verb: str,
    *,
    delivery: tuple[Channel, str] | None = None,
    version: int | None = None,
) -> str:
    """`stop pause resume retry undo` from a button; answers the sentence to show. Raises `NotVisible` and `Stale`.

    `delivery` is the press as the vendor names it: the same one again does nothing. `version` is the one of the task that
    the person saw, where they named it: with another one nothing is done.
    """
    everything = sees_all(deps.organisation, person.roles)
    async with transaction(deps.db) as tx:
        found = await tasks.shown(tx, task, person.id, sees_all=everything, sees_conversation=False)
        if found is None:
            raise NotVisible(task)
        if found["requester"] != person.key and not everything:
            return cards.NOT_YOURS
        if found.get("archived_at"):
            return cards.ARCHIVED
        if version is not None:
            await _refuse_stale(tx, task, version)
        if delivery and not await conversations.record_press(tx, *delivery, person.id, task, verb):
            return AGAIN
        said, started = await answering.lay_hand(tx, deps, person, verb, task, inbound=None)
    deps.ring.task(started or task)
    return said


async def fork(
    deps: Deps,
    person: Principal,
    inbound: Inbound,
    task: int,
    step: int,
    *,
    args: Mapping[str, Any],
    model: str | None = None,
    at: str | None = None,
    key: str | None = None,
    version: int | None = None,
) -> branching.Branched:
    """A task of the person's own from a step of one that they may see; `inbound` are their words, as `branching.in_words`.

    Raises `branching.CannotBranch`, `branching.NoSuchVersion` and `Stale`.
    """
    async with transaction(deps.db) as tx:
        if version is not None:
            await _refuse_stale(tx, task, version)
        conversation = await conversations.ensure(tx, inbound.place)
        said = await conversations.record(tx, inbound, person.id, conversation)
        asked = branching.Asked(person, said, conversation)
        done = await branching.fork(tx, asked, task, step, args=args, model=model, at=at, key=key)
    deps.ring.task(done.task)
    return done


async def roll_back(
    deps: Deps,
    person: Principal,
    inbound: Inbound,
    task: int,
    label: str,
    *,
    why: str = "",
    key: str | None = None,
    version: int | None = None,
) -> branching.Branched:
    """The plan of a task that the person may steer, put back. Raises as `fork` does."""
    async with transaction(deps.db) as tx:
        if version is not None:
            await _refuse_stale(tx, task, version)
        conversation = await conversations.ensure(tx, inbound.place)
        asked = branching.Asked(person, await conversations.record(tx, inbound, person.id, conversation), conversation)
        done = await branching.roll_back(tx, asked, task, label, why=why[: config.REASON_CHARS], key=key)
    deps.ring.task(done.task)
    return done


async def _refuse_stale(tx: Connection, task: int, named: int) -> None:
    """Lock the task, so that nobody changes it between this look and what follows. Raises `Stale`."""
    current = await families.hold(tx, task)
    if current is not None and current != named:
        raise Stale(task, current, named)


async def steer(deps: Deps, person: Principal, task: int, text: str, priority: Priority, inbound: Inbound) -> Told:
    """Tell a running task something; `inbound` is how it came. The same delivery again changes nothing."""
    async with transaction(deps.db) as tx:
        made = await conversations.record(tx, inbound, person.id, None)
        if made is None:
            return Told(Sent("duplicate"), AGAIN)
        told = Told(*await steering.tell(tx, deps, person, task, text, priority=priority, inbound=made))
    deps.ring.task(task)
    return told


async def relocate(deps: Deps, channel: Channel, was: str, is_now: str) -> None:
    """A group has another id from now on, as its vendor says."""
    await conversations.moved(deps.db, channel, was, is_now)
    deps.ring.outbox()


async def announce(
    deps: Deps, name: str, body: Mapping[str, Any], *, sender: Principal | None, dedup: str | None
) -> bool:
    """An event from outside, for whoever waits for its name; whether it is new. Nobody's order: its body is data."""
    is_new = await signals.send_to_all(
        deps.db, name, body, origin="untrusted", sender=sender.id if sender else None, dedup=dedup
    )
    for task, n in await signals.arrived(deps.db):
        if await signals.wake_early(deps.db, task, n):
            deps.ring.task(task)
    return is_new


async def signal(
    deps: Deps, person: Principal, task: int, name: str, body: Mapping[str, Any], priority: Priority, dedup: str | None
) -> Sent:
    """An event for one task, which the person may steer."""
    sent = await signals.send(
        deps.db, task, "signals", body, priority=priority, origin="untrusted", sender=person.id, name=name,
        actor=person.actor, dedup=dedup,
    )  # fmt: skip
    deps.ring.task(task)
    return sent


async def prioritise(deps: Deps, person: Principal, task: int, level: Level) -> str:
    """Answers the sentence to show."""
    async with transaction(deps.db) as tx:
        status = await families.set_priority(tx, task, config.PRIORITIES.index(level), person.actor)
    deps.ring.task(task)
    return cards.prioritised_text(task, level, status)
