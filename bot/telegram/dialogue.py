"""Answers to a card that are given in words: asks for them, and takes the reply to the same commit as a press.

A reply is a press with words in it: who may give it and what follows is decided behind `Intake`. What does not fit is said
and asked again in the same place. Questions are sent best effort after the commit; the reply itself is never lost, since
its update is acknowledged only when its commit is done.
"""

from __future__ import annotations

import asyncio
import html
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from telegram import ForceReply, ReplyParameters
from telegram.constants import ParseMode
from telegram.error import BadRequest, NetworkError, RetryAfter

from bot.telegram.client import Client, pause_asked_s
from bot.telegram.prompts import NO_WORDS, Prompt, filled_in, placeholder, question
from bot.telegram.spacing import Spacing
from bot.telegram.translate import Replied, Wanted
from core import cards, deciding, editing
from core.deps import Deps
from core.models import (
    Changed,
    Channel,
    Decided,
    Identity,
    Invalid,
    NotAllowed,
    NotFound,
    Place,
    Press,
    Verdict,
)
from core.store import approvals, people
from core.store.people import Principal

log = logging.getLogger(__name__)

TRIES: Final = 3
PAUSE_MOST_S: Final = 20.0
STRANGER: Final = "I don't know you"
NOT_OPEN: Final = "This is not open any more."
NOT_YOURS: Final = "you are not among those who may decide this"


class Presses(Protocol):
    """What `core.intake` offers for a decision."""

    async def press(self, deps: Deps, pressed: Press, /) -> Decided: ...


@dataclass(frozen=True, slots=True)
class Subject:
    """What words are asked for about; `fields` are the arguments of an edit."""

    row: Mapping[str, Any]
    headline: str
    fields: tuple[editing.Field, ...] = ()

    def prompt(self, verb: str, field: int | None) -> Prompt:
        return Prompt(
            verb, self.row["id"], self.row["digest"], field if field is not None else int(len(self.fields) == 1)
        )


class Dialogue:
    def __init__(self, deps: Deps, intake: Presses, client: Client, spacing: Spacing) -> None:
        self._deps, self._intake, self._client, self._spacing = deps, intake, client, spacing
        self._mask = deps.masks()

    async def subject(self, person: Principal, approval_id: str, verb: str) -> Subject | str:
        """What to ask about, or why this person can't be asked."""
        row = await approvals.whole(self._deps.db, approval_id)
        if row is None:
            return cards.press_answer(NotFound())
        card = cards.approval_card(row)
        if all(button.verb != verb for button in (*card.buttons, *card.more)):
            return NOT_OPEN
        if not await deciding.may_answer(self._deps, person, row):
            return cards.press_answer(NotAllowed(approval_id, NOT_YOURS))
        if verb != "edit":
            return Subject(row, card.headline)
        found = await deciding.editable(self._deps, row)
        if found is None:
            return cards.press_answer(Invalid(approval_id, deciding.SKILL_GONE))
        return Subject(row, card.headline, editing.form(*found))

    async def begin(self, wanted: Wanted) -> Coroutine[Any, Any, None]:
        """The question, or why there is none; to be awaited after the acknowledgement."""
        person = await people.behind(self._deps.db, wanted.sender)
        if person is None:
            return self.tell(wanted.place, f"{STRANGER}.")
        subject = await self.subject(person, wanted.prompt.approval_id, wanted.prompt.verb)
        if isinstance(subject, str):
            return self.tell(wanted.place, subject)
        return self.ask(subject, wanted.prompt, wanted.place, wanted.sender)

    async def take(self, replied: Replied) -> Coroutine[Any, Any, None]:
        """Commit the answer; what is to be said about it is awaited after the acknowledgement. Raises as the database."""
        person = await people.behind(self._deps.db, replied.sender)
        if person is None:
            return self.tell(replied.place, f"{STRANGER}.", replied, stays=True)
        row = await approvals.whole(self._deps.db, replied.prompt.approval_id)
        if row is None:
            return self.tell(replied.place, cards.press_answer(NotFound()), replied)
        given = await self._given(person, row, replied)
        decided: Decided = (
            Invalid(row["id"], given) if isinstance(given, str) else await self._press(row, replied, given)
        )
        if isinstance(decided, Invalid):
            return self._again(person, replied, decided)
        # In a group somebody else may have replied: the one who was asked can still do so.
        return self.tell(replied.place, cards.press_answer(decided), replied, stays=isinstance(decided, NotAllowed))

    async def _given(self, person: Principal, row: Mapping[str, Any], replied: Replied) -> dict[str, Any] | str:
        """What of a press the words fill in, or what is wrong with them. Of what is not open, or not theirs, nothing is read."""
        if row["status"] != "pending" or not await deciding.may_answer(self._deps, person, row):
            return {}
        text = replied.text
        if not text:
            return NO_WORDS
        match replied.prompt.verb:
            case "deny":
                return {"reason": text}
            case "ask":
                return {"text": text}
            case "delegate":
                return {"to": text.removeprefix("to ").strip().rstrip(".")}
        found = await deciding.editable(self._deps, row)
        if found is None:
            return deciding.SKILL_GONE
        args, manifest = found
        try:
            given = filled_in(replied.prompt, text, editing.form(args, manifest))
            return {"args": editing.changes(args, given, manifest)}
        except editing.BadEdit as error:
            return str(error)

    async def _press(self, row: Mapping[str, Any], replied: Replied, given: dict[str, Any]) -> Decided:
        if not row["digest"].startswith(replied.prompt.digest):
            return Changed(row["id"])
        verdict: Verdict = replied.prompt.verb  # type: ignore[assignment]  # a prompt is made for these verdicts only
        pressed = Press(
            channel=Channel.TELEGRAM, delivery_id=replied.delivery_id, sender=replied.sender, approval_id=row["id"],
            verdict=verdict, digest=row["digest"], **given,
        )  # fmt: skip
        return await self._intake.press(self._deps, pressed)

    async def _again(self, person: Principal, replied: Replied, wrong: Invalid) -> None:
        """Say what is wrong and ask once more; the old question goes, so that only one is open."""
        subject = await self.subject(person, wrong.approval_id, replied.prompt.verb)
        if isinstance(subject, str):
            await self.tell(replied.place, subject, replied)
            return
        await self.ask(subject, replied.prompt, replied.place, replied.sender, replied=replied, wrong=wrong.why)

    # ------------------------------------------------------------ what is sent

    async def ask(
        self,
        subject: Subject,
        prompt: Prompt,
        place: Place,
        who: Identity,
        *,
        replied: Replied | None = None,
        wrong: str = "",
    ) -> None:
        """The question, with the reply field open for the one who is asked."""
        me = await self._client.whoami()
        field = subject.fields[prompt.field - 1] if 0 < prompt.field <= len(subject.fields) else None
        name = html.escape(who.display_name or who.external_id)
        to = "" if place.private else f'<a href="tg://user?id={who.external_id}">{name}</a>, '
        text = self._mask(question(prompt, subject.headline, field, me.username, to=to, wrong=wrong))
        # A message that opens the reply field can't be edited, so it is replaced and taken away.
        opened = ForceReply(selective=not place.private, input_field_placeholder=placeholder(prompt, field))
        await self._say(place, text, replied, parse_mode=ParseMode.HTML, reply_markup=opened)

    async def tell(self, place: Place, text: str, replied: Replied | None = None, *, stays: bool = False) -> None:
        """An answer to the words; the question that they answered goes, or `stays` open."""
        await self._say(place, self._mask(text), replied, stays=stays)

    async def _say(self, place: Place, text: str, replied: Replied | None, *, stays: bool = False, **more: Any) -> None:
        if replied is not None:
            more["reply_parameters"] = ReplyParameters(replied.message_id, allow_sending_without_reply=True)
        chat, thread = int(place.external_id), int(place.thread) if place.thread else None
        self._spacing.spend(chat, time.monotonic())
        await insisting(lambda: self._client.send_message(chat, text, message_thread_id=thread, **more))
        if replied is not None and not stays:
            try:
                await insisting(lambda: self._client.delete_message(chat, replied.question))
            except BadRequest as error:  # taken away before, or too old to be
                log.debug("a question stays: %s", error.message)


async def insisting(call: Callable[[], Awaitable[object]]) -> None:
    """Call again where Telegram asks for a little patience, and once where its answer was lost: somebody waits for this, and
    seeing it twice harms nobody. Raises what the last call raised."""
    is_lost = False
    for left in reversed(range(TRIES)):
        try:
            await call()
            return
        except RetryAfter as error:
            pause_s = pause_asked_s(error)
            if not left or pause_s > PAUSE_MOST_S:
                raise
            await asyncio.sleep(pause_s)
        except BadRequest:
            raise  # an answer, though the library calls it an error of the network
        except NetworkError:
            if is_lost or not left:
                raise
            is_lost = True
