"""The final answer while it is written: a stream in a thread, else an edited message, ended by the whole text.

A stream shows pieces as plain blocks, never as Markdown: what a model writes may call a channel or hide a link in it. It
dies after some minutes or in another process; then the message is edited instead. However it went, the answer is the same
message with the whole text, put there by an edit, which may be repeated.
https://docs.slack.dev/reference/methods/chat.startStream
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bot.sending import DraftGone, MaybeSent, NotSent
from bot.slack.blocks.elements import Block, paragraph
from core.display import visible_lines
from core.store.conversations import Conversation

if TYPE_CHECKING:
    from bot.slack.sender import SlackSender

log = logging.getLogger(__name__)

# One edit of a whole text costs more than a piece of a stream: chat.update takes 50 calls a minute, appendStream 100.
EDIT_GAP_S: Final = 3.0
# Fifty blocks go into one stream; the rest of a longer answer comes with its end.
PIECES_MOST: Final = 45
PIECE_CHARS_LEAST: Final = 160
REMEMBERED_MOST: Final = 1000
REFUSED_S: Final = 600.0

# What Slack calls a stream that is over, and an edit of one that is not.
_OVER: Final = frozenset({"message_not_in_streaming_state"})
_GONE: Final = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
_NOWHERE: Final = frozenset({"missing_scope", "unknown_method", "not_allowed", "no_permission", "feature_not_enabled"})
_STILL_STREAMING: Final = "streaming_state_conflict"
AGAIN_S: Final = 1.0

Recipient = Callable[[int, str], Awaitable[str | None]]


@dataclass
class _Stream:
    """A stream of this process. `shown` is what it shows already of the answer."""

    shown: str
    pieces: int = 1
    is_over: bool = False
    not_before: float = 0.0


class SlackDrafts:
    """`recipient` answers the Slack id (`workspace/user`) of the person of that workspace for whom a task is."""

    def __init__(self, sender: SlackSender, recipient: Recipient) -> None:
        self._sender, self._recipient = sender, recipient
        self._streams: dict[str, _Stream] = {}
        self._refused_until = 0.0

    async def draft(self, conversation: Conversation, task: int, text: str, live: str | None) -> str | None:
        """See `bot.sending.Drafting`."""
        if not text:
            if live is not None:
                await self._delete(conversation, live)
            return None
        if live is None:
            return await self._begin(conversation, task, text)
        stream = self._streams.get(live)
        if stream is None or not text.startswith(stream.shown):
            stream = self._remember(live, _Stream(text, is_over=True))
            await self._stop(conversation, live)
        if time.monotonic() >= stream.not_before:
            await (self._edit if stream.is_over else self._append)(conversation, live, stream, text)
        return live

    async def finish(self, conversation: Conversation, live: str, content: str, metadata: dict[str, Any]) -> str:
        """See `bot.sending.Drafting`. `metadata` is what a posted answer would carry."""
        stream = self._streams.pop(live, None)
        if stream is None or not stream.is_over:
            await self._stop(conversation, live)
        try:
            await self._replace(conversation, live, content, metadata=metadata)
        except NotSent as error:
            if _code(error) in _GONE:
                await self._delete(conversation, live)
                raise DraftGone from None
            if _code(error) == _STILL_STREAMING:
                raise NotSent(error.why, AGAIN_S) from None
            raise
        return live

    # ------------------------------------------------------------ how it begins

    async def _begin(self, conversation: Conversation, task: int, text: str) -> str | None:
        # A stream is a reply, and has one reader outside of direct messages: all others are shown no more than its beginning.
        can_stream = conversation.thread and time.monotonic() >= self._refused_until
        whom = await self._recipient(task, conversation.external_id.partition("/")[0]) if can_stream else None
        if not can_stream or (whom is None and not conversation.is_private):
            return await self._begin_message(conversation, task, text)
        piece = _piece(text, most=1)
        if not piece:
            return None
        team, _, user = (whom or "").partition("/")
        named = {"recipient_team_id": team, "recipient_user_id": user} if user else {}
        channel = await self._sender.channel_of(conversation)
        block_id = f"sayso-draft-{task}"
        try:
            answer = await self._sender.called(
                self._sender.once.chat_startStream,
                channel=channel,
                thread_ts=conversation.thread,
                chunks=[_chunk(piece, block_id)],
                **named,
            )
            live = str(answer["ts"])
        except MaybeSent:
            found = await self._sender.find_at_once(conversation, lambda message: _has_block(message, block_id))
            if found is None:
                raise NotSent("it was lost on its way", AGAIN_S) from None
            live = found
        except NotSent as error:
            if _code(error) not in _NOWHERE:
                raise
            log.info("Slack streams no answers of this app, so they are edited: %s", error.why)
            self._refused_until = time.monotonic() + REFUSED_S
            return await self._begin_message(conversation, task, text)
        self._remember(live, _Stream(piece))
        return live

    async def _begin_message(self, conversation: Conversation, task: int, text: str) -> str:
        live = await self._sender.post_once(conversation, visible_lines(text), f"draft-{task}")
        self._remember(live, _Stream(text, is_over=True, not_before=time.monotonic() + EDIT_GAP_S))
        return live

    # ------------------------------------------------------------ how it goes on

    async def _append(self, conversation: Conversation, live: str, stream: _Stream, text: str) -> None:
        piece = _piece(text[len(stream.shown) :], most=PIECE_CHARS_LEAST)
        if not piece or stream.pieces >= PIECES_MOST:
            return
        try:
            await self._sender.called(
                self._sender.once.chat_appendStream,
                channel=await self._sender.channel_of(conversation),
                ts=live,
                chunks=[_chunk(piece)],
            )
        except MaybeSent:
            log.info("a piece of an answer may be missing until its end")
        except NotSent as error:
            if error.retry_s is not None:
                stream.not_before = time.monotonic() + error.retry_s
                raise
            stream.is_over = True
            if _code(error) not in _OVER:
                raise
            return
        stream.shown += piece
        stream.pieces += 1

    async def _edit(self, conversation: Conversation, live: str, stream: _Stream, text: str) -> None:
        stream.not_before, stream.shown = time.monotonic() + EDIT_GAP_S, text
        await self._replace(conversation, live, visible_lines(text))

    # ------------------------------------------------------------ single calls

    async def _replace(self, conversation: Conversation, live: str, words: str, **more: Any) -> None:
        channel = await self._sender.channel_of(conversation)
        args = {"channel": channel, "ts": live, "parse": "none", **more}
        await self._sender.shown(words, self._sender.again.chat_update, args)

    async def _stop(self, conversation: Conversation, live: str) -> None:
        """The stream's end; that it has ended already, or was none, is as good."""
        if not conversation.thread:
            return
        try:
            channel = await self._sender.channel_of(conversation)
            await self._sender.called(self._sender.again.chat_stopStream, channel=channel, ts=live)
        except NotSent as error:
            if error.retry_s is not None:
                raise
            log.debug("a stream was not stopped: %s", error.why)

    async def _delete(self, conversation: Conversation, live: str) -> None:
        self._streams.pop(live, None)
        try:
            channel = await self._sender.channel_of(conversation)
            await self._sender.called(self._sender.again.chat_delete, channel=channel, ts=live)
        except NotSent as error:
            if _code(error) != "message_not_found":
                raise

    def _remember(self, live: str, stream: _Stream) -> _Stream:
        if len(self._streams) >= REMEMBERED_MOST:
            self._streams.pop(next(iter(self._streams)))
        self._streams[live] = stream
        return stream


def _piece(text: str, *, most: int) -> str:
    """What may be shown of it as a block of its own: whole lines, or whole sentences once there are `most` characters."""
    if (at := text.rfind("\n")) > 0:
        return text[: at + 1]
    if len(text) < most:
        return ""
    return text[: max(text.rfind(stop) + 1 for stop in (". ", "! ", "? "))]


def _chunk(piece: str, block_id: str = "") -> Block:
    """Letters only, in no markup. https://docs.slack.dev/reference/methods/chat.appendStream"""
    block = paragraph(visible_lines(piece.strip("\n")) or " ")
    return {"type": "blocks", "blocks": [block | ({"block_id": block_id} if block_id else {})]}


def _has_block(message: dict[str, Any], block_id: str) -> bool:
    return any(block.get("block_id") == block_id for block in message.get("blocks") or [])


def _code(error: NotSent) -> str:
    return error.why.partition(":")[0]
