"""Sends a file into a conversation: an address from Slack, the bytes to it, then the file into its channel and thread.

Only the last step shows anything, so whatever fails before it is begun anew. Where the last one's answer is lost the
courier has the file looked up by its name, which holds our id, before anything is sent again. The token does not go to the
address of the second step. https://docs.slack.dev/messaging/working-with-files#upload
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from bot.sending import MaybeSent, NotSent
from core.store.conversations import Conversation

if TYPE_CHECKING:
    from bot.slack.sender import SlackSender

TITLE: Final = "All of it"
UPLOAD_TIMEOUT_S: Final = 15.0
AGAIN_S: Final = 2.0
# Slack shares a file a moment after it was told to; to look for it at once would not find it.
SHARED_AFTER_S: Final = 1.0


async def upload(sender: SlackSender, conversation: Conversation, name: str, content: bytes) -> str:
    """Answer the file's id. Raises `NotSent` and `MaybeSent`."""
    channel = await sender.channel_of(conversation)
    try:
        place = await sender.called(sender.once.files_getUploadURLExternal, filename=name, length=len(content))
    except MaybeSent as error:
        raise NotSent(str(error), AGAIN_S) from None
    await _put(str(place["upload_url"]), content)
    thread = {"thread_ts": conversation.thread} if conversation.thread else {}
    files = [{"id": str(place["file_id"]), "title": TITLE}]
    try:
        await sender.called(sender.once.files_completeUploadExternal, files=files, channel_id=channel, **thread)
    except MaybeSent:
        await asyncio.sleep(SHARED_AFTER_S)
        raise
    return str(place["file_id"])


async def _put(address: str, content: bytes) -> None:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=UPLOAD_TIMEOUT_S)) as http,
            http.post(address, data=content, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                after = answer.headers.get("retry-after", "")
                raise NotSent(
                    f"Slack took no upload: HTTP {answer.status}", float(after) if after.isdigit() else AGAIN_S
                )
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise NotSent(f"an upload to Slack broke off: {type(error).__name__}", AGAIN_S) from None


def has_file(message: dict[str, Any], name: str) -> bool:
    """Whether the message shows the file of this name."""
    return any(isinstance(one, dict) and one.get("name") == name for one in message.get("files") or [])
