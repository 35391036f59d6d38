"""What people say by SMS, and what they say in chat about SMS: one commit each, like `core.intake`.

A number can be forged, so a phone gives no orders: it answers with a code that was sent to it, or says STOP, START, HELP.
Codes are compared as keyed hashes, all of them and in constant time; what it came to is kept with the vendor's message id,
so that the same delivery again is answered the same. The wording of what goes to a phone is in `bot.sms.words`.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from core import config, deciding
from core.db import Connection, Db, transaction
from core.deps import Deps
from core.models import Channel, Frozen, Identity, Place
from core.sms import PHONE, Answer, Keyword, Other, keyed, read, read_code
from core.store import approvals, conversations, people, sms
from core.store.people import Principal

NOT_SET_UP = "SMS is not set up here."
NO_PHONE = "That is no phone number. Write it with its country code: sms link +41791234567."
TAKEN = "That number is linked to somebody else here."
SAID_STOP = "That phone has said STOP. Send START from it first."
ENOUGH = "That were enough codes for one hour. Try again later."
SENT = "A code is on its way to {phone}. Say here within ten minutes: sms confirm <code>"
LINK_WORDS = "A code for linking this phone."
NO_LINK = "There is no code to confirm. Begin with: sms link +41791234567."
# What an answer came to that leaves nothing to say with its code again. Whoever was refused is refused again.
USES_CODE = ("accepted", "already", "duplicate", "too_late")
WRONG_LINK = "That is not the code; {left} tries left."
WRONG_LINK_LAST = "That is not the code, and it was the last try. Begin again with: sms link +41791234567."
LINKED = (
    "{phone} is yours now. Where a rule's ladder says so, approvals that wait for you come to it by SMS. STOP from that"
    " phone ends it, START begins it again."
)


@dataclass(frozen=True, slots=True)
class Text:
    """One incoming message. `opt_out`: the vendor has seen a STOP, START or HELP in it and answered that itself."""

    sid: str
    phone: str
    body: str
    opt_out: Literal["stop", "start", "help"] | None = None


class Told(Frozen):
    """What an SMS came to; kept, so without any code. `left`: tries; `vendor`: the vendor has answered it."""

    kind: Literal[
        "approved", "denied", "counted", "already", "expired", "not_allowed", "changed", "wrong", "locked", "no_code",
        "stopped", "started", "help", "other", "stranger", "silent",
    ]  # fmt: skip
    title: str = ""
    status: str = ""
    by: str = ""
    at: datetime | None = None
    why: str = ""
    left: int = 0
    vendor: bool = False


async def receive(deps: Deps, text: Text) -> Told:
    """Raises only what the database raises: then the vendor is told that it failed."""
    await _look_up_groups(deps, text)
    async with transaction(deps.db) as tx:
        before = await sms.take(tx, text.sid, text.phone)
        if before is not None:
            return Told.model_validate(before)
        told, decided = await _hear(tx, deps, text)
        await sms.came_to(tx, text.sid, told.model_dump(mode="json"))
    if decided is not None:
        deps.ring.task(int(decided["task_id"]))
        await deciding.lead(deps, str(decided["approval_id"]))
    return told


async def _look_up_groups(deps: Deps, text: Text) -> None:
    """Ask who is in a group that may decide, before the commit of the answer begins, since it waits for Slack."""
    said = read(text.body)
    if text.opt_out or not isinstance(said, Answer) or said.code is None:
        return
    found = await _find(deps.db, deps.settings.secret_key(), text.phone, said.code)
    if found is not None and not found.is_used:
        await deps.groups.recheck(deps.db, found.principal, [found.approval])


async def _hear(tx: Connection, deps: Deps, text: Text) -> tuple[Told, dict[str, Any] | None]:
    said = Keyword(text.opt_out) if text.opt_out else read(text.body)
    person = await people.behind(tx, Identity(channel=Channel.SMS, external_id=text.phone))
    match said:
        case Keyword(word="stop"):
            await sms.opt_out(tx, text.phone)
            return Told(kind="stopped", vendor=True), None  # carriers answer STOP, and let nothing of ours through
        case Keyword(word="start"):
            await sms.opt_in(tx, text.phone, person.id if person else None, "START")
            return Told(kind="started" if person else "silent", vendor=text.opt_out is not None), None
        case Keyword(word="help"):
            return Told(kind="help", vendor=text.opt_out is not None), None
    if person is None:
        known = await sms.was_told_lately(tx, text.phone, "stranger")
        return Told(kind="silent" if known else "stranger"), None
    match said:
        case Answer(verdict=verdict, code=str() as code):
            return await _decide(tx, deps, text, person, verdict, code)
        case Answer():
            return Told(kind="no_code"), None
        case Keyword() | Other():
            return Told(kind="other"), None


# ---------------------------------------------------------------- a code


async def _decide(
    tx: Connection, deps: Deps, text: Text, person: Principal, verdict: str, code: str
) -> tuple[Told, dict[str, Any] | None]:
    wrong = await sms.wrong_lately(tx, text.phone)
    if wrong >= config.SMS_WRONG_MOST:
        return Told(kind="locked"), None
    found = await _find(tx, deps.settings.secret_key(), text.phone, code)
    if found is None:
        await sms.count_wrong(tx, text.phone)
        left = config.SMS_WRONG_MOST - wrong - 1
        return Told(kind="wrong" if left else "locked", left=left), None
    if found.principal != person.id:
        return Told(kind="not_allowed", title=found.title, why="this code was sent to somebody else"), None
    if found.is_used:
        return await _told_before(tx, found), None
    answer = await approvals.decide(
        tx,
        principal=person.id,
        approval=found.approval,
        verdict=verdict,
        digest=found.digest,
        reason="",
        channel=Channel.SMS.value,
        delivery_id=text.sid,
    )
    if answer["kind"] in USES_CODE:
        await sms.use(tx, found.id)
    return _told(answer, found.title), answer if answer["kind"] in ("accepted", "too_late") else None


async def _find(db: Db, key: bytes, phone: str, code: str) -> sms.Code | None:
    """Every code of the phone is compared, also after one has matched."""
    found = None
    for one in await sms.codes_of(db, phone):
        if hmac.compare_digest(keyed(key, one.approval, phone, code), one.code_hash):
            found = one
    return found


def _told(answer: dict[str, object], title: str) -> Told:
    status = str(answer.get("status", ""))
    match answer["kind"]:
        case "accepted":
            kinds = {"approved": "approved", "consumed": "approved", "denied": "denied"}
            return Told.model_validate({"kind": kinds.get(status, "counted"), "title": title})
        case "already" | "duplicate":
            return _already(answer, title)
        case "too_late":
            return Told(kind="expired", title=title)
        case "changed":
            return Told(kind="changed", title=title)
        case _:
            return Told(kind="not_allowed", title=title, why=str(answer.get("why", "it is not there any more")))


async def _told_before(tx: Connection, code: sms.Code) -> Told:
    """A code is good once; what became of its approval may be asked as often as one likes."""
    return _already(await approvals.state(tx, code.approval), code.title)


def _already(state: dict[str, object], title: str) -> Told:
    if state.get("status") == "expired":
        return Told(kind="expired", title=title)
    at = state.get("decided_at")
    return Told(
        kind="already",
        title=title,
        status=str(state.get("status", "")),
        by=str(state.get("by", "")),
        at=datetime.fromisoformat(str(at)) if at else None,
    )


# ---------------------------------------------------------------- about SMS, in chat


async def begin_link(tx: Connection, deps: Deps, person: Principal, number: str) -> str:
    """Send a code to the phone; answers what to say in the chat."""
    phone = "".join(ch for ch in number if ch not in " -()./")
    if not deps.settings.twilio_on:
        return NOT_SET_UP
    if not PHONE.fullmatch(phone):
        return NO_PHONE
    if await sms.holder(tx, phone) not in (None, person.id):
        return TAKEN
    if await sms.has_opted_out(tx, phone):
        return SAID_STOP
    if await sms.links_lately(tx, person.id, phone) >= config.SMS_LINKS_MOST:
        return ENOUGH
    place = Place(channel=Channel.SMS, external_id=phone, private=True)
    await sms.ask_link(tx, person.id, phone, await conversations.ensure(tx, place), LINK_WORDS)
    return SENT.format(phone=phone)


async def confirm_link(tx: Connection, deps: Deps, person: Principal, typed: str) -> str:
    """The code that came by SMS, said in chat: both are the same person's."""
    link = await sms.open_link(tx, person.id)
    if link is None or link.code_hash is None:
        return NO_LINK
    code = read_code(typed) or ""
    if not hmac.compare_digest(keyed(deps.settings.secret_key(), f"link:{link.id}", link.phone, code), link.code_hash):
        await sms.count_wrong_link(tx, link.id)
        left = config.SMS_WRONG_MOST - link.wrong - 1
        return WRONG_LINK.format(left=left) if left > 0 else WRONG_LINK_LAST
    return LINKED.format(phone=link.phone) if await sms.link(tx, link.id, link.phone, person) else TAKEN


async def numbers(tx: Connection, deps: Deps, person: Principal) -> str:
    """Which phones are linked, and how to link one."""
    if not deps.settings.twilio_on:
        return NOT_SET_UP
    linked = await sms.numbers_of(tx, person.id)
    lines = [f"{n['phone']}: {'on' if n['is_on'] else 'off; send START from it'}" for n in linked]
    return "\n".join([*lines, "Link a phone with: sms link +41791234567"])
