"""Telegram's outgoing side for the courier: posts, edits, and what each of the vendor's errors means for a message.

It knows limits and error texts and decides nothing else. The Bot API has no way to look a message up, so one whose answer
was lost is sent again: at most one harmless duplicate, since a card's second copy is edited and decided like the first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import httpx
from telegram import InlineKeyboardMarkup, InputFile, LinkPreviewOptions, Message
from telegram.constants import ParseMode
from telegram.error import BadRequest, ChatMigrated, Forbidden, InvalidToken, NetworkError, RetryAfter, TelegramError

from bot.sending import DraftGone, MaybeSent, NotSent, file_name
from bot.telegram import newer
from bot.telegram.client import Client, pause_asked_s
from bot.telegram.render import TEXT_UNITS, Rendered, newest, rendered, split
from bot.telegram.spacing import Spacing
from core import config
from core.cards import Card
from core.store.conversations import Conversation

WAIT_HERE_S: Final = 1.5  # a longer wait is given back to the courier, so that other chats are not held up
RETRY_S: Final = 1.0
PARTS_MOST: Final = 3  # words that need more are cut to one message, and a file follows
REST_UNITS: Final = 300  # for saying where the rest is
LONG_MESSAGES: Final = 100  # whose parts that have arrived are remembered
NOT_MODIFIED: Final = "message is not modified"
TOPIC_GONE: Final = ("message thread not found", "topic_deleted", "topic_closed")
T = TypeVar("T")
Send = Callable[[str, str | None, InlineKeyboardMarkup | None], Awaitable[T]]
Write = Callable[[int, int | None], Awaitable[Message]]  # into this chat and topic

NO_PREVIEW: Final = LinkPreviewOptions(is_disabled=True)
NEVER_LEFT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class TelegramSender:
    channel = "telegram"

    def __init__(self, client: Client, base_url: str, spacing: Spacing | None = None) -> None:
        self._client, self._base_url = client, base_url
        self._spacing = spacing or Spacing()
        self._moved: dict[int, int] = {}
        self._arrived: dict[int, list[str]] = {}

    async def post(self, conversation: Conversation, content: Card | str, message: int) -> str:
        """Answer the message id; of a text in several parts, the first's."""
        if isinstance(content, Card):
            drawn = rendered(content, self._base_url)
            return await self._send(conversation, self._words(drawn.html, drawn))
        # What has arrived is not sent again when a later part fails: the courier calls with the same message.
        arrived = self._arrived.setdefault(message, [])
        while len(self._arrived) > LONG_MESSAGES:
            self._arrived.pop(next(iter(self._arrived)))
        for part in self._parts(content)[len(arrived) :]:
            arrived.append(await self._send(conversation, self._words(part, None)))
        self._arrived.pop(message, None)
        if not arrived:
            raise NotSent("there is no text in it", None)
        return arrived[0]

    def is_shortened(self, words: str) -> bool:
        return len(split(words)) > PARTS_MOST

    async def post_file(self, conversation: Conversation, words: str, message: int) -> str:
        """Answer the message id."""
        content = words.encode("utf-8", "replace")

        async def write(chat: int, topic: int | None) -> Message:
            file = InputFile(content, filename=file_name(message))
            return await self._client.send_document(chat, file, message_thread_id=topic)

        return await self._send(conversation, write)

    def _parts(self, words: str) -> list[str]:
        parts = split(words)
        if len(parts) <= PARTS_MOST:
            return parts
        shown = split(words, TEXT_UNITS - REST_UNITS)[0]
        return [f"{shown}\n\n… ({len(words) - len(shown):,} more characters; the whole is at {self._base_url})"]

    async def edit(self, conversation: Conversation, ref: str, card: Card) -> None:
        """Show the card's state in place; without buttons the keyboard goes away."""
        drawn = rendered(card, self._base_url)
        chat = self._chat(conversation)

        async def change(text: str, mode: str | None, buttons: InlineKeyboardMarkup | None) -> object:
            return await self._client.edit_message_text(
                text, chat_id=chat, message_id=int(ref), parse_mode=mode, reply_markup=buttons,
                link_preview_options=NO_PREVIEW,
            )  # fmt: skip

        await self._turn(chat, is_progress=card.subject == "task" and card.tone == "busy")
        try:
            await self._accepted(change, drawn.html, drawn)
        except ChatMigrated as error:
            # What was posted stayed in the old group; Telegram's own word about the move has open cards posted anew.
            self._moved[chat] = error.new_chat_id
            raise NotSent(self._client.hushed(error), None) from None
        except BadRequest as error:
            if NOT_MODIFIED not in error.message.lower():
                raise NotSent(self._client.hushed(error), None) from None
        except TelegramError as error:
            raise meaning(error, self._client.hushed(error)) from None

    async def find(self, conversation: Conversation, message: int) -> str | None:
        """The Bot API can't look messages up."""
        return None

    # ------------------------------------------------------------ an answer while it is written

    async def draft(self, conversation: Conversation, task: int, text: str, live: str | None) -> str | None:
        """A preview that vanishes by itself, in private chats: Telegram has none elsewhere. Its Stop stops the task."""
        if not conversation.is_private:
            raise NotSent("Telegram shows drafts in private chats only", None)
        chat, topic = self._chat(conversation), int(conversation.thread) if conversation.thread else None
        if not text or self._spacing.wait_s(chat, time.monotonic(), is_progress=True) > 0:
            return None
        try:
            await self._client.send_message_draft(
                chat, task, newest(text), message_thread_id=topic, api_kwargs=dict(newer.WITH_STOP)
            )
        except TelegramError as error:
            why = meaning(error, self._client.hushed(error))
            # The same draft again changes nothing.
            raise (NotSent(str(why), RETRY_S) if isinstance(why, MaybeSent) else why) from None
        return None

    async def finish(self, conversation: Conversation, live: str, content: str, message: int) -> str:
        """There is never a message to be finished: the real answer, posted as any other, takes the draft's place."""
        raise DraftGone

    # ------------------------------------------------------------ one message

    async def _send(self, conversation: Conversation, write: Write) -> str:
        chat = self._chat(conversation)
        try:
            return await self._send_to(chat, conversation, write)
        except ChatMigrated as error:
            # A group that became a supergroup has a new id from then on.
            self._moved[chat] = error.new_chat_id
        try:
            return await self._send_to(self._moved[chat], conversation, write)
        except ChatMigrated as error:
            raise NotSent(self._client.hushed(error), RETRY_S) from None

    def _words(self, text: str, drawn: Rendered | None) -> Write:
        async def write(chat: int, topic: int | None) -> Message:
            async def send(words: str, mode: str | None, buttons: InlineKeyboardMarkup | None) -> Message:
                return await self._client.send_message(
                    chat,
                    words,
                    message_thread_id=topic,
                    parse_mode=mode,
                    reply_markup=buttons,
                    link_preview_options=NO_PREVIEW,
                )

            return await self._accepted(send, text, drawn)

        return write

    async def _send_to(self, chat: int, conversation: Conversation, write: Write) -> str:
        topic = int(conversation.thread) if conversation.thread else None
        await self._turn(chat)
        try:
            try:
                sent = await write(chat, topic)
            except BadRequest as error:
                if topic is None or not any(words in error.message.lower() for words in TOPIC_GONE):
                    raise
                sent = await write(chat, None)  # in the same group, so before the same eyes
        except ChatMigrated:
            raise
        except TelegramError as error:
            raise meaning(error, self._client.hushed(error)) from None
        return str(sent.message_id)

    async def _accepted(self, call: Send[T], text: str, drawn: Rendered | None) -> T:
        """With markup and the newest buttons where there are any; without, when Telegram can't read them."""
        server = self._client.server
        if drawn is None:
            return await call(text, None, None)
        try:
            return await server.sent(drawn.keyboard, lambda buttons: call(text, ParseMode.HTML, buttons))
        except BadRequest as error:
            if "can't parse entities" not in error.message.lower():
                raise
        return await server.sent(drawn.keyboard, lambda buttons: call(drawn.plain, None, buttons))

    async def _turn(self, chat: int, *, is_progress: bool = False) -> None:
        """Keep the vendor's spacing: wait a little here, much in the outbox."""
        while (wait_s := self._spacing.wait_s(chat, time.monotonic(), is_progress=is_progress)) > 0:
            if wait_s > WAIT_HERE_S:
                raise NotSent("this chat has had as many messages as Telegram allows for now", wait_s, charged=False)
            await asyncio.sleep(wait_s)

    def _chat(self, conversation: Conversation) -> int:
        chat = int(conversation.external_id)
        return self._moved.get(chat, chat)


def meaning(error: TelegramError, why: str) -> NotSent | MaybeSent:
    """What an error says about the message: never there, there later, or nobody knows."""
    if isinstance(error, RetryAfter):
        return NotSent(why, pause_asked_s(error))
    if "too many requests" in error.message.lower():
        return NotSent(why, RETRY_S)
    if isinstance(error, InvalidToken):  # the token may be put right while the message waits
        return NotSent(why, config.MESSAGE_RETRY_MOST_S)
    if isinstance(error, (Forbidden, BadRequest)):  # blocked, no such chat, gone, or not acceptable: for good
        return NotSent(why, None)
    if isinstance(error, NetworkError) and isinstance(error.__cause__, NEVER_LEFT):
        return NotSent(why, RETRY_S)
    return MaybeSent(why)
