"""What the Telegram stand-in knows: users, chats, messages with their history, button presses, queued updates.

Plain state; telegram_methods changes it for the bot, telegram_people for people.
"""

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]
# Not sent unless the bot asks for them by name.
ONLY_BY_NAME = ("chat_member", "message_reaction", "message_reaction_count", "stopped_message_generation")


@dataclass
class TgUser:
    id: int
    first_name: str
    username: str = ""
    is_bot: bool = False
    has_started: bool = False
    has_blocked: bool = False

    def wire(self) -> Body:
        body: Body = {"id": self.id, "is_bot": self.is_bot, "first_name": self.first_name}
        return body | ({"username": self.username} if self.username else {})


@dataclass
class TgChat:
    id: int
    type: str  # "private", "group" or "supergroup"
    title: str
    topics: set[int] = field(default_factory=set)
    is_forum: bool = False
    moved_to: int | None = None
    has_bot_as_admin: bool = False

    def wire(self) -> Body:
        named = {"first_name": self.title} if self.type == "private" else {"title": self.title}
        return {"id": self.id, "type": self.type, **named, **({"is_forum": True} if self.is_forum else {})}


@dataclass(frozen=True)
class TgVersion:
    """What a message said before an edit."""

    text: str
    reply_markup: Body | None
    until: float


@dataclass
class TgMessage:
    """A message as it stands; `edits` holds what it said before, oldest first."""

    chat: TgChat
    id: int
    sender: TgUser
    text: str
    entities: list[Body] = field(default_factory=list)
    reply_markup: Body | None = None
    thread: int | None = None
    date: int = field(default_factory=lambda: int(time.time()))
    edit_date: int | None = None
    reply_to: "TgMessage | None" = None
    edits: list[TgVersion] = field(default_factory=list)
    deleted: bool = False
    link_preview: Body | None = None
    reaction: str | None = None
    extra: Body = field(default_factory=dict)

    def buttons(self) -> list[str]:
        return [button["text"] for row in self._rows() for button in row]

    def _rows(self) -> list[list[Body]]:
        rows: list[list[Body]] = (self.reply_markup or {}).get("inline_keyboard", [])
        return rows

    def wire(self, with_reply: bool = True) -> Body:
        body: Body = {
            "message_id": self.id,
            "from": self.sender.wire(),
            "chat": self.chat.wire(),
            "date": self.date,
        }
        optional = {
            "text": self.text,
            "entities": self.entities,
            # Only inline keyboards are part of a message; the others are shown and forgotten.
            "reply_markup": self.reply_markup if self._rows() else None,
            "message_thread_id": self.thread,
            "is_topic_message": self.thread is not None or None,
            "edit_date": self.edit_date,
            "link_preview_options": self.link_preview,
            "reply_to_message": self.reply_to.wire(False) if self.reply_to is not None and with_reply else None,
        }
        return body | {name: value for name, value in optional.items() if value} | self.extra


@dataclass
class Query:
    """A press that waits for answerCallbackQuery."""

    id: str
    user: TgUser
    message: TgMessage
    data: str
    answered: bool = False
    expired: bool = False


@dataclass(frozen=True)
class CallbackAnswer:
    """What the presser was shown; `show_alert` as a box, else as a line that fades."""

    query_id: str
    user: int
    text: str
    show_alert: bool
    data: str
    at: float


@dataclass
class TgWorld:
    bot: TgUser
    is_newest: bool = True
    users: dict[int, TgUser] = field(default_factory=dict)
    chats: dict[int, TgChat] = field(default_factory=dict)
    posted: list[TgMessage] = field(default_factory=list)
    queries: dict[str, Query] = field(default_factory=dict)
    answers: list[CallbackAnswer] = field(default_factory=list)
    actions: list[Body] = field(default_factory=list)
    drafts: list[Body] = field(default_factory=list)
    whispers: list[Body] = field(default_factory=list)
    uploads: dict[str, Body] = field(default_factory=dict)
    commands: list[Body] = field(default_factory=list)
    commands_in: dict[str, list[Body]] = field(default_factory=dict)
    webhook: Body = field(default_factory=lambda: {"url": ""})
    allowed_updates: list[str] = field(default_factory=list)
    pending: list[Body] = field(default_factory=list)
    grew: asyncio.Event = field(default_factory=asyncio.Event)
    poll: "asyncio.Future[None] | None" = None
    polled: asyncio.Event = field(default_factory=asyncio.Event)
    _update_ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(700_000_001))
    _message_ids: dict[int, int] = field(default_factory=dict)
    _queries: "itertools.count[int]" = field(default_factory=lambda: itertools.count(4_000_000_000_001))

    def message_id(self, chat: TgChat) -> int:
        self._message_ids[chat.id] = self._message_ids.get(chat.id, 0) + 1
        return self._message_ids[chat.id]

    def query_id(self) -> str:
        return str(next(self._queries))

    def update(self, kind: str, body: Body) -> Body | None:
        """A numbered update, or None where the bot did not ask for this kind."""
        wanted = kind in self.allowed_updates if self.allowed_updates else kind not in ONLY_BY_NAME
        return {"update_id": next(self._update_ids), kind: body} if wanted else None

    def queue(self, update: Body) -> None:
        self.pending.append(update)
        self.wake()

    def wake(self) -> None:
        self.grew.set()
        self.grew = asyncio.Event()

    def confirm(self, offset: int) -> None:
        """An offset above an update's id says that it was received for good."""
        self.pending = [one for one in self.pending if one["update_id"] >= offset]
        self.wake()

    def find(self, chat: int, message_id: int) -> TgMessage | None:
        return next((m for m in self.posted if (m.chat.id, m.id) == (chat, message_id) and not m.deleted), None)

    def standing(self, chat: int) -> list[TgMessage]:
        return [one for one in self.posted if one.chat.id == chat and not one.deleted]
