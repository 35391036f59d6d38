"""SMS's outgoing side for the courier: a question with its code or link, or the code that links a phone.

A code is made here, right before it leaves, and only its keyed hash is kept. A message that may have left is never sent
again: it stays unknown until the vendor's receipt tells, and is given up after a minute. An SMS cannot be edited.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

from bot.sending import MaybeSent, NotSent
from bot.sms import words
from bot.sms.client import OptedOut, SmsClient
from core import config
from core.cards import Card
from core.deps import Deps
from core.sms import CODE_CHARS, CODE_LETTERS, cut, keyed, whole_action
from core.store import approvals, clock, sms
from core.store.conversations import Conversation

NOTHING: Final = ""


def new_code() -> str:
    """Forty bits of chance."""
    return "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_CHARS))


class SmsSender:
    channel = "sms"

    def __init__(self, deps: Deps, client: SmsClient, mask: Callable[[str], str]) -> None:
        self._deps, self._client, self._mask = deps, client, mask

    async def post(self, conversation: Conversation, content: Card | str, message: int) -> str:
        """Answer the message's SID; `NOTHING` when the question was decided before it left."""
        phone = conversation.external_id
        if isinstance(content, Card):
            asked = await self._question(content.subject_id, phone, message)
            if asked is None:
                return NOTHING
            text, valid_s = asked
        else:
            text, valid_s = await self._words(content, phone, message), None
        try:
            return await self._client.send(phone, text, message, valid_s)
        except OptedOut:
            await sms.opt_out(self._deps.db, phone)
            raise

    async def edit(self, conversation: Conversation, ref: str, card: Card) -> None:
        """It stays as it is; whoever answers it late is told what happened meanwhile."""

    async def find(self, conversation: Conversation, message: int) -> str | None:
        """Never answers None, which would have it sent again."""
        age_s = await sms.sent_for_s(self._deps.db, message)
        if age_s is not None and age_s < config.SMS_LOST_AFTER_S:
            raise MaybeSent("its receipt may still come")
        raise NotSent("its answer was lost, and an SMS is not sent twice", None)

    async def _question(self, approval: str, phone: str, message: int) -> tuple[str, float | None] | None:
        """The text and for how long it is good; None when there is nothing to be asked any more."""
        db, organisation = self._deps.db, self._deps.organisation.organisation
        row = await approvals.whole(db, approval)
        if row is None or row["status"] != "pending":
            return None
        now = await clock.now(db)
        code = new_code()
        text = words.question(row, organisation, code, now) if self._shows_all(row["items"]) else None
        kept = keyed(self._deps.settings.secret_key(), approval, phone, code) if text else None
        if text is None:
            text = words.pointer(row, organisation, self._deps.settings.base_url(), now)
        if text is None:
            raise NotSent("not even the link to the card fits into one message", None)
        refused = await sms.mint(db, approval, phone, message, kept)
        if refused:
            raise NotSent(refused, None)
        left_s = None if row["expires_at"].year >= 9999 else (row["expires_at"] - now).total_seconds()
        return (text if kept else self._mask(text)), left_s

    def _shows_all(self, items: list[dict[str, object]]) -> bool:
        """A secret in it would have to be masked: then it is not the whole action any more."""
        action = whole_action(items)
        return action is not None and self._mask(action) == action

    async def _words(self, content: str, phone: str, message: int) -> str:
        link = await sms.link_of_message(self._deps.db, message)
        if link is None:
            if not await sms.may_be_texted(self._deps.db, phone):
                raise NotSent("its holder has not agreed to SMS, or said STOP", None)
            return cut(content, config.SMS_CHARS)
        if await sms.has_opted_out(self._deps.db, phone):
            raise NotSent("its holder has said STOP", None)
        code = new_code()
        kept = keyed(self._deps.settings.secret_key(), f"link:{link.id}", phone, code)
        await sms.mint_link(self._deps.db, link.id, kept)
        return words.link_code(self._deps.organisation.organisation, code)
