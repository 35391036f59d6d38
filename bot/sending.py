"""What the courier asks of a channel: post a card or words, edit a card, and look whether a message arrived.

Senders know their vendor's limits and turn its errors into `NotSent` and `MaybeSent`; they decide nothing else. A channel
that can show an answer while it is written also has the two methods of `Drafting`, one that can send files those of `Filing`.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

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


@runtime_checkable
class Filing(Sender, Protocol):
    """A channel that shortens long words and takes a file: all of them follow as one, a message of its own."""

    def is_shortened(self, words: str) -> bool:
        """Whether `post` and `finish` show less than all of it."""
        ...

    async def post_file(self, conversation: Conversation, words: str, message: int) -> str:
        """Send them as a text file called `file_name(message)`; raises as `post`, and is looked for by `find` as well."""
        ...


def file_name(message: int) -> str:
    """What a message's file is called: by our id, never by what anybody wrote."""
    return f"sayso-{message}.txt"


class DraftGone(Exception):
    """The message that showed the draft is no longer there: the answer is posted as any other."""


@runtime_checkable
class Drafting(Sender, Protocol):
    """A channel that shows the final answer of a task as far as it is written. `bot.drafts` calls `draft`, at most once in
    `config.DRAFT_SHOW_GAP_S` a task and place and never two at a time; the courier calls `finish`, once no `draft` is under
    way and after which none follows. They may run in two processes: nothing is to be remembered but `live`.
    """

    async def draft(self, conversation: Conversation, task: int, text: str, live: str | None) -> str | None:
        """Show `text`, the whole answer so far (bounded by `config.DRAFT_CHARS_MOST`), masked; "" takes the draft back.

        `live` is what the last call answered, None at first. Answer the vendor's id of the message that shows the draft and
        that `finish` is to end; None where the draft vanishes by itself and the answer is posted beside it. Whatever is
        raised leaves `live` as it was, so raise only when no new message can have come. `NotSent` with a time asks for another
        try then; anything else ends the drafts of this answer here.
        """
        ...

    async def finish(self, conversation: Conversation, live: str, content: str, message: int) -> str:
        """Make the draft the answer itself: the whole text, in place of what it showed. Answer the vendor's id.

        `message` is our outbox id, as in `post`; `find` looks for it after a lost answer, and then this is asked again,
        so it may be done twice. Raises `DraftGone`, `NotSent` and `MaybeSent`.
        """
        ...
