"""What the courier asks of a channel: post a card or words, edit a card, and look whether a message arrived.

Senders know their vendor's limits and turn its errors into `NotSent` and `MaybeSent`; they decide nothing else.
"""

from __future__ import annotations

from typing import Protocol

from core.cards import Card
from core.store.conversations import Conversation


class NotSent(Exception):
    """The vendor certainly does not have it. `retry_s` None: another try is useless. Not `charged`: it was no real try,
    so that waiting for one's turn never uses a message's tries up."""

    def __init__(self, why: str, retry_s: float | None, *, charged: bool = True) -> None:
        super().__init__(why)
        self.why, self.retry_s, self.charged = why, retry_s, charged


class MaybeSent(Exception):
    """The request left, the answer did not come."""


class Sender(Protocol):
    """One channel's outgoing side. `message` is our outbox id, put into the vendor's metadata where it has any."""

    channel: str

    async def post(self, conversation: Conversation, content: Card | str, message: int) -> str:
        """Answer the vendor's id of the new message."""
        ...

    async def edit(self, conversation: Conversation, ref: str, card: Card) -> None:
        """Show the card's new state in place. 'Not modified' is success; a message that is gone is `NotSent(.., None)`."""
        ...

    async def find(self, conversation: Conversation, message: int) -> str | None:
        """The vendor's id of a message whose answer was lost; None when it is not there or cannot be looked up."""
        ...
