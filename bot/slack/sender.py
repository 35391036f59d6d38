"""Slack's outgoing side: posts and edits messages, finds one whose answer was lost, and names errors for the courier.
Answers that are being written are shown by `bot.slack.drafts`, files are sent by `bot.slack.uploads`.

A post is sent once: a second one after a lost answer would be a second message, so only what may be repeated is. What
Slack says is sorted here into certainly not sent (again later, or never) and perhaps sent.
https://docs.slack.dev/reference/methods/chat.postMessage
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final, Literal

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.http_retry.async_handler import AsyncRetryHandler
from slack_sdk.http_retry.builtin_async_handlers import (
    AsyncConnectionErrorRetryHandler,
    AsyncRateLimitErrorRetryHandler,
    AsyncServerErrorRetryHandler,
)
from slack_sdk.web.async_client import AsyncWebClient

from bot.sending import MaybeSent, NotSent, file_name
from bot.slack.blocks import BLOCKS_CHARS, WORDS_CHARS, bare_message, card_message, words_message
from bot.slack.drafts import Recipient, SlackDrafts
from bot.slack.uploads import has_file, upload
from core.cards import Card
from core.models import Channel
from core.settings import Settings
from core.store.conversations import Conversation

log = logging.getLogger(__name__)

CALL_TIMEOUT_S: Final = 15
# The SDK's own, and an answer that broke off in the middle.
BROKEN_OFF: Final[list[type[Exception]]] = [
    aiohttp.ServerConnectionError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError,
]  # fmt: skip
RATE_LIMIT_S: Final = 30.0
AWAY_S: Final = 2.0
FIND_PAGE: Final = 100
FIND_PAGES: Final = 3
FIND_TRIES: Final = 3
FIND_PAUSE_S: Final = 0.2
# A thread is read from its oldest message on.
FIND_BACK_S: Final = 7 * 24 * 3600
OPENED_MOST: Final = 10_000
SIMPLE_S: Final = 600
EVENT_TYPE: Final = "sayso_message"

# Slack's own words for these: some of it may have succeeded.
_PERHAPS: Final = frozenset({"fatal_error", "internal_error"})
# From all that Slack has down to a line and an address: a card that is not shown at all could not be answered.
Form = Literal["rich", "simple", "small", "bare"]
FORMS_OF_CARDS: Final[tuple[Form, ...]] = ("rich", "simple", "small", "bare")
FORMS_OF_WORDS: Final[tuple[Form, ...]] = ("rich", "small")

_TOO_LONG: Final = frozenset({"msg_blocks_too_long", "msg_too_long"})
_BLOCKS_REFUSED: Final = frozenset({"invalid_blocks", "invalid_blocks_format"})
_LATER: Final = frozenset(
    {"ratelimited", "rate_limited", "service_unavailable", "team_added_to_org", "request_timeout"}
)
_FIXES: Final = {
    "not_in_channel": "the bot is not in this channel: /invite it there",
    "channel_not_found": "the bot cannot see this channel: /invite it there, or correct the id",
    "is_archived": "the channel is archived",
    "invalid_auth": "SLACK_BOT_TOKEN is not valid: copy it again from the app's OAuth page",
    "not_authed": "SLACK_BOT_TOKEN is empty",
    "account_inactive": "the app was removed from the workspace: install it again",
    "token_revoked": "the app's token was revoked: install it again and set the new SLACK_BOT_TOKEN",
    "missing_scope": "the app lacks a permission: add the scopes of docs/slack.md and install it again",
    "restricted_action": "a workspace setting forbids the bot to post there",
    "message_not_found": "the message is gone",
    "cant_update_message": "the message is not ours to edit",
    "msg_too_long": "the message is too long for Slack",
}


def web_client(settings: Settings, *, may_repeat: bool, waits: bool = False) -> AsyncWebClient:
    """A client at SLACK_API_URL. Without `may_repeat` a request leaves at most once.

    `waits`: a rate limit is waited out once, as long as Slack says; for what nobody waits for. Messages are the courier's,
    who holds nothing meanwhile.
    """
    handlers: list[AsyncRetryHandler] = []
    if may_repeat:
        handlers += [AsyncConnectionErrorRetryHandler(error_types=BROKEN_OFF), AsyncServerErrorRetryHandler()]
    if waits:
        handlers.append(AsyncRateLimitErrorRetryHandler(max_retry_count=1))
    return AsyncWebClient(
        token=settings.secret_of(settings.slack_bot_token),
        base_url=settings.slack_api_url.rstrip("/") + "/",
        timeout=CALL_TIMEOUT_S,
        retry_handlers=handlers,
        logger=logging.getLogger("bot.slack.sdk"),
    )


class SlackSender:
    channel = Channel.SLACK.value

    def __init__(self, settings: Settings, recipient: Recipient | None = None) -> None:
        """`recipient`: see `bot.slack.drafts`; without it answers are edited in channels, not streamed."""
        self._base_url = settings.base_url()
        self._has_links = settings.public_base_url is not None
        self.once = web_client(settings, may_repeat=False)
        self.again = web_client(settings, may_repeat=True)
        self._opened: dict[str, str] = {}
        self._simple_until: dict[str, float] = {}
        self._drafts = SlackDrafts(self, recipient or _nobody)

    async def post(self, conversation: Conversation, content: Card | str, message: int) -> str:
        """Answers the message's ts."""
        return await self._post(conversation, content, str(message))

    async def _post(self, conversation: Conversation, content: Card | str, mark: str) -> str:
        more: dict[str, Any] = {
            "channel": await self.channel_of(conversation),
            "unfurl_links": False,
            "unfurl_media": False,
            "mrkdwn": False,
            "metadata": _metadata(mark),
        }
        if conversation.thread:
            more["thread_ts"] = conversation.thread
        answer = await self.shown(content, self.once.chat_postMessage, more)
        return str(answer["ts"])

    async def post_once(self, conversation: Conversation, words: str, mark: str) -> str:
        """As `post`, by a mark of its own, and looked for at once when its answer is lost."""
        try:
            return await self._post(conversation, words, mark)
        except MaybeSent:
            found = await self.find_at_once(conversation, lambda message: _is_marked(message, mark))
            if found is None:
                raise NotSent("it was lost on its way", AWAY_S) from None
            return found

    async def draft(self, conversation: Conversation, task: int, text: str, live: str | None) -> str | None:
        return await self._drafts.draft(conversation, task, text, live)

    async def finish(self, conversation: Conversation, live: str, content: str, message: int) -> str:
        return await self._drafts.finish(conversation, live, content, _metadata(str(message)))

    def is_shortened(self, words: str) -> bool:
        return len(words) > WORDS_CHARS

    async def post_file(self, conversation: Conversation, words: str, message: int) -> str:
        """Answers the file's id."""
        return await upload(self, conversation, file_name(message), words.encode("utf-8", "replace"))

    async def edit(self, conversation: Conversation, ref: str, card: Card) -> None:
        channel = await self.channel_of(conversation)
        await self.shown(card, self.again.chat_update, {"channel": channel, "ts": ref, "parse": "none"})

    async def find(self, conversation: Conversation, message: int) -> str | None:
        """Looks through the newest messages of the place for our metadata, or our file."""
        mark, name = str(message), file_name(message)
        return await self.find_where(conversation, lambda found: _is_marked(found, mark) or has_file(found, name))

    async def find_at_once(self, conversation: Conversation, is_it: Callable[[dict[str, Any]], bool]) -> str | None:
        """As `find_where`, for somebody who cannot come back later: asks again after what may pass."""
        for _ in range(FIND_TRIES - 1):
            try:
                return await self.find_where(conversation, is_it)
            except NotSent as error:
                pause_s = error.retry_s or AWAY_S
            except MaybeSent:
                pause_s = FIND_PAUSE_S
            await asyncio.sleep(pause_s)
        return await self.find_where(conversation, is_it)

    async def find_where(self, conversation: Conversation, is_it: Callable[[dict[str, Any]], bool]) -> str | None:
        """The first message among the newest ones of the place of which it is true."""
        channel = await self.channel_of(conversation)
        cursor, oldest = "", f"{time.time() - FIND_BACK_S:.6f}"
        for _ in range(FIND_PAGES):
            args: dict[str, Any] = {
                "channel": channel,
                "limit": FIND_PAGE,
                "include_all_metadata": True,
                "oldest": oldest,
            }
            if cursor:
                args["cursor"] = cursor
            try:
                if conversation.thread:
                    page = await self.called(self.again.conversations_replies, ts=conversation.thread, **args)
                else:
                    page = await self.called(self.again.conversations_history, **args)
            except NotSent as error:
                if error.retry_s is None:
                    return None
                raise
            for one in page.get("messages") or []:
                if is_it(one):
                    return str(one["ts"])
            cursor = (page.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor:
                return None
        return None

    async def shown(self, content: Card | str, call: Any, args: dict[str, Any]) -> Any:
        """In the richest form that Slack takes; one whose blocks it refuses is not tried again for a while."""
        subject = content.subject if isinstance(content, Card) else "words"
        forms = FORMS_OF_CARDS if isinstance(content, Card) else FORMS_OF_WORDS
        if time.monotonic() < self._simple_until.get(subject, 0.0):
            forms = forms[1:]
        for form in forms[:-1]:
            try:
                return await self.called(call, **args, **self._fields(content, form))
            except NotSent as error:
                code = error.why.partition(":")[0]
                if code not in _BLOCKS_REFUSED | _TOO_LONG:
                    raise
                log.warning("Slack refuses the %s form of a message: %s", form, code)
                if subject != "words" and form == "rich" and code in _BLOCKS_REFUSED:
                    self._simple_until[subject] = time.monotonic() + SIMPLE_S
        return await self.called(call, **args, **self._fields(content, forms[-1]))

    def _fields(self, content: Card | str, form: Form) -> dict[str, Any]:
        if isinstance(content, str):
            message = words_message(content, self._base_url, most=WORDS_CHARS if form == "rich" else WORDS_CHARS // 4)
        elif form == "bare":
            message = bare_message(content, self._base_url)
        else:
            room = BLOCKS_CHARS // 4 if form == "small" else BLOCKS_CHARS
            message = card_message(content, self._base_url, has_links=self._has_links, simple=form != "rich", room=room)
        return {"text": message.text, "blocks": message.blocks}

    async def channel_of(self, conversation: Conversation) -> str:
        """The channel's id; for a person the id of our direct conversation with them."""
        target = conversation.external_id.rpartition("/")[2]
        if not target.startswith(("U", "W")):
            return target
        if target not in self._opened:
            answer = await self.called(self.again.conversations_open, users=[target])
            if len(self._opened) >= OPENED_MOST:
                self._opened.clear()
            self._opened[target] = str(answer["channel"]["id"])
        return self._opened[target]

    async def called(self, call: Any, **args: Any) -> Any:
        """Slack's answer; raises `NotSent` or `MaybeSent`."""
        try:
            return await call(**args)
        except SlackApiError as error:
            raise refusal(error) from None
        except aiohttp.ClientConnectorError as error:
            raise NotSent(f"Slack cannot be reached: {type(error).__name__}", AWAY_S) from None
        except (TimeoutError, aiohttp.ClientError, SlackClientError, OSError) as error:
            raise MaybeSent(f"no answer from Slack: {type(error).__name__}") from None


def refusal(error: SlackApiError) -> NotSent | MaybeSent:
    """What Slack's error means for the message."""
    response = error.response
    status = int(getattr(response, "status_code", None) or getattr(response, "status", None) or 200)
    data = getattr(response, "data", None)
    code = str(data.get("error") or "") if isinstance(data, dict) else ""
    if status == 429 or code in _LATER:
        return NotSent(code or "rate limited", _retry_after_s(getattr(response, "headers", None)))
    if code in _PERHAPS or (not code and (status >= 500 or status == 200)):
        return MaybeSent(f"Slack answered {code or status}")
    why = code or f"HTTP {status}"
    return NotSent(f"{why}: {_FIXES[code]}" if code in _FIXES else why, None)


def _retry_after_s(headers: Any) -> float:
    """Slack gives whole seconds. https://docs.slack.dev/apis/web-api/rate-limits"""
    given = next((v for k, v in dict(headers or {}).items() if str(k).lower() == "retry-after"), "")
    return float(given) if str(given).isdigit() else RATE_LIMIT_S


def _metadata(mark: str) -> dict[str, Any]:
    return {"event_type": EVENT_TYPE, "event_payload": {"id": mark}}


def _is_marked(found: dict[str, Any], mark: str) -> bool:
    metadata = found.get("metadata") or {}
    payload = metadata.get("event_payload") or {}
    return metadata.get("event_type") == EVENT_TYPE and payload.get("id") == mark


async def _nobody(task: int, home: str) -> None:
    """Who a task is for is not known."""
