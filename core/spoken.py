"""Answers to a card that need words, given in any chat: an edit, a question, a name to hand it on to; and being away.

A yes or a no is never read out of what somebody writes: those are pressed. The words here change what is asked, or who
is, and go through the same commit as a press.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from core import cards, commands, config, deciding
from core.db import Connection, Db
from core.deps import Deps
from core.models import Channel, Identity, Inbound, Invalid, NotFound, Press
from core.store import approvals, people, skills
from core.store.people import Principal

NO_CARD = "Nothing of task {task} waits for your decision. Say approvals to see what does."
SEVERAL = "Several actions of task {task} wait. Say which step, e.g. {verb} {task}.{step} …"
REVOKED = "That permission has ended."
NO_GRANT = "There is no such permission of yours. Say grants to see them."
BACK = "Welcome back. Nobody decides for you any more."
NOT_AWAY = "You were not away."


async def look_up_groups(deps: Deps, inbound: Inbound) -> None:
    """Ask who is in a group that may decide, where the words are about its card: before the commit of the words begins, since
    it waits for Slack."""
    said = commands.parse(inbound.text, {}, ())
    if not isinstance(said, commands.OnCard):
        return
    person = await people.behind(deps.db, inbound.sender)
    found = await _meant(deps.db, person, said) if person is not None else NO_CARD
    if person is not None and not isinstance(found, str):
        await deps.groups.recheck(deps.db, person.id, [found[0]["id"]])


async def on_card(
    tx: Connection, deps: Deps, person: Principal, said: commands.OnCard, inbound: int
) -> tuple[str, int | None]:
    """What to say, and the task when something was changed."""
    found = await _meant(tx, person, said)
    if isinstance(found, str):
        return found, None
    row, item = found
    pressed = Press(
        channel=Channel.WEB,
        delivery_id=f"said:{inbound}",
        sender=Identity(channel=Channel.WEB, external_id=person.key),
        approval_id=row["id"],
        verdict=said.verb,
        digest=row["digest"],
        items=(item["digest"],) if said.verb == "edit" and len(row["items"]) > 1 else (),
        text=said.rest,
        to=said.rest if said.verb == "delegate" else None,
    )
    if said.verb == "edit":
        manifest = (await skills.manifests(tx)).get(item["action"].get("skill", ""))
        if manifest is None:
            return deciding.SKILL_GONE.capitalize() + ".", None
        try:
            args = commands.read_changes(commands.split(said.rest), manifest)
        except ValueError as error:
            return f"{error}. {commands.usage(manifest).replace('Say: do', 'It takes:')}", None
        pressed = pressed.model_copy(update={"args": args})
    more = await deciding.prepared(deps, person, pressed)
    if isinstance(more, Invalid | NotFound):
        return cards.press_answer(more), None
    answer = await approvals.decide(
        tx, principal=person.id, approval=row["id"], verdict=said.verb, digest=row["digest"], reason="",
        channel="chat", delivery_id=pressed.delivery_id, more=more,
    )  # fmt: skip
    decided = deciding.decided(answer, row["id"], person, said.verb)
    return cards.press_answer(decided), said.task if answer["kind"] == "accepted" else None


async def _meant(db: Db, person: Principal, said: commands.OnCard) -> str | tuple[dict[str, Any], dict[str, Any]]:
    """The pending card and its item; or a sentence about why it can't be told."""
    waiting = [a for a in await approvals.of_task(db, said.task) if a["status"] == "pending" and not a["merged_task"]]
    own = await approvals.decidable(db, person.id, [a["id"] for a in waiting])
    asked = [
        (a, item)
        for a in waiting
        if a["id"] in own or a["requester"] == person.key
        for item in a["items"]
        if said.step in (None, item["step"]) and str(item["task"]) == str(said.task)
    ]
    if not asked:
        return NO_CARD.format(task=said.task)
    if len(asked) > 1 and (said.verb == "edit" or len({a["id"] for a, _ in asked}) > 1):
        return SEVERAL.format(task=said.task, verb=said.verb, step=asked[0][1]["step"])
    return asked[0]


async def away(tx: Connection, deps: Deps, person: Principal, until: date | None, to: str) -> str:
    """Somebody decides from the person's seat; it ends by itself."""
    if until is None:
        return BACK if await people.come_back(tx, person.id) else NOT_AWAY
    other = await people.by_key(tx, to)
    if other is None or other.is_service or other.id == person.id or person.is_service:
        return f"{to!r} can't decide for you: name a person by their key, and not yourself."
    end = datetime.combine(until + timedelta(days=1), time(), ZoneInfo(deps.organisation.timezone))
    if not timedelta() < end - datetime.now(UTC) <= timedelta(seconds=config.AWAY_MOST_S):
        return f"That day is past, or more than {config.AWAY_MOST_S // 86400} days ahead."
    await people.go_away(tx, person.id, other.id, end)
    return f"Until {until} (that day included) {other.name or other.key} may decide what you may. Say back to end it."
