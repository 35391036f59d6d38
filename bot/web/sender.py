"""The web's outgoing side: nothing is sent, pages render from the rows. Its messages are delivered when they exist."""

from __future__ import annotations

from core.cards import Card
from core.store.conversations import Conversation


class WebSender:
    channel = "web"

    async def post(self, conversation: Conversation, content: Card | str, message: int) -> str:
        """Our own outbox id serves as the reference."""
        return str(message)

    async def edit(self, conversation: Conversation, ref: str, card: Card) -> None:
        """A page that shows the card hears of the change by its stream."""

    async def find(self, conversation: Conversation, message: int) -> str | None:
        """What the outbox holds is what the page shows, so it is there."""
        return str(message)
