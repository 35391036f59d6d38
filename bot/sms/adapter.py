"""SMS in and out: each incoming message becomes one call of `core.texting`, and is answered when that has committed.

It translates and calls; what a code may decide is settled behind it, in the database.
"""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from bot.sms import words
from bot.sms.client import OPTED_OUT, SmsClient
from bot.sms.sender import SmsSender
from bot.sms.signature import Signer
from bot.sms.webhook import sms_router
from core import texting
from core.deps import Deps
from core.store import sms
from core.texting import Text


class SmsAdapter:
    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._client = SmsClient(deps.settings)
        self._mask = deps.masks()
        self.sender = SmsSender(deps, self._client, self._mask)

    def router(self) -> APIRouter:
        account = self._deps.settings.twilio_account_sid or ""
        return sms_router(Signer(self._deps.settings), account, self.hear, self.note)

    async def run(self) -> None:
        """Nothing to do but to close what was opened: messages come in as requests."""
        try:
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self) -> None:
        await self._client.close()

    async def hear(self, text: Text) -> str | None:
        """One message: committed when this returns. Answers what to say."""
        told = await texting.receive(self._deps, text)
        said = words.reply(told, self._deps.organisation.organisation)
        return self._mask(said) if said else None

    async def note(self, sid: str, status: str, error_code: str, message: int | None) -> None:
        """What became of a message of ours."""
        await sms.receipt(self._deps.db, sid, status, error_code, message)
        if error_code == str(OPTED_OUT):
            await sms.opt_out_of_message(self._deps.db, sid)
