"""All of an action whose card has no room for it, shown to the one who asked.

In a group nobody else gets it: it is whispered where the server can do that and the bot is an administrator, and else, or
where it is for those who decide alone, written into their private chat. It is reading matter and offers no button; the card
stays what is decided on. The text is the one of the card, from the same rows, and goes out best effort after the
acknowledgement.
"""

from __future__ import annotations

import html
import logging
from typing import Final

from telegram.constants import ParseMode
from telegram.error import BadRequest, Forbidden

from bot.telegram import newer
from bot.telegram.client import Client
from bot.telegram.dialogue import insisting
from bot.telegram.render import split
from bot.telegram.translate import Tapped
from core import cards
from core.cards.approval import is_private
from core.deps import Deps
from core.models import NotFound, Place
from core.organisation import sees_all
from core.store import approvals
from core.store.people import Principal

log = logging.getLogger(__name__)

PART_UNITS: Final = 3900
PARTS_MOST: Final = 8
BELOW: Final = "It is below."
WHISPERED: Final = "It is below, for your eyes only."
IN_PRIVATE: Final = "I have written it into our private chat."
NOT_STARTED: Final = "I can't write to you yet: open our private chat, press Start there, and press this again."


class Details:
    def __init__(self, deps: Deps, client: Client) -> None:
        self._deps, self._client = deps, client
        self._mask = deps.masks()

    async def show(self, tapped: Tapped, person: Principal, approval_id: str) -> str:
        """Send it; answers what to tell the tapper."""
        everything = sees_all(self._deps.organisation, person.roles)
        row = await approvals.whole(self._deps.db, approval_id)
        place = tapped.place
        if row is None or place is None or not await approvals.is_visible(
            self._deps.db, approval_id, person.id, sees_all=everything
        ):  # fmt: skip
            return cards.press_answer(NotFound())
        parts = whole(cards.approval_card(row).masked(self._mask), self._deps.settings.base_url())
        if place.private:
            await self._write(place, parts)
            return BELOW
        # A whisper that the server does not know is seen by all for a moment.
        if not is_private(row) and await self._whisper(place, tapped, parts):
            return WHISPERED
        try:
            await self._write(Place(channel=place.channel, external_id=tapped.sender.external_id, private=True), parts)
        except (Forbidden, BadRequest):
            return NOT_STARTED
        return IN_PRIVATE

    async def _write(self, place: Place, parts: list[str]) -> None:
        thread = int(place.thread) if place.thread else None
        for part in parts:
            await insisting(
                lambda part=part: self._client.send_message(  # type: ignore[misc]  # bound now
                    int(place.external_id), part, message_thread_id=thread, parse_mode=ParseMode.HTML
                )
            )

    async def _whisper(self, place: Place, tapped: Tapped, parts: list[str]) -> bool:
        """Whether the tapper alone has it. A server that does not know whispers shows everybody: that one is taken back."""
        server, chat = self._client.server, int(place.external_id)
        if not server.has_whispers:
            return False
        to = newer.whisper_to(int(tapped.sender.external_id), tapped.query_id)
        for part in parts:
            given = {"chat_id": chat, "text": part, "parse_mode": ParseMode.HTML, **to}
            try:
                sent = await self._client.raw_send(
                    given | ({"message_thread_id": place.thread} if place.thread else {})
                )
            except BadRequest as error:
                log.info("Telegram does not whisper here: %s", error.message)
                return False
            if not newer.was_whispered(sent):
                server.has_whispers = False
                await self._client.delete_message(chat, sent["message_id"])
                return False
        return True


def whole(card: cards.Card, base_url: str) -> list[str]:
    """Everything on the card as HTML messages of nothing but text; past the last one it says where the rest is."""
    text = "\n".join((card.headline, card.status, *card.lines, "", card.exact))
    parts = [f"<pre>{html.escape(part)}</pre>" for part in split(text, PART_UNITS)]
    if len(parts) > PARTS_MOST:
        parts = [*parts[:PARTS_MOST], f"… The rest is at {html.escape(base_url + card.path)}"]
    return parts
