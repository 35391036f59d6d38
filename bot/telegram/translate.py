"""Turns one Telegram update into our own words, or says why it is dropped.

Pure. Only what the sender typed is `text`; forwards, quotes, replied-to messages and what another bot composed are
`foreign`. A reply to a question of ours is an answer to it and no message. Edits, channel posts, service messages and bots
are dropped. An update that cannot be read raises `Malformed` and is nobody's message. What comes of it is the adapter's
business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from telegram import Chat, Message, MessageEntity, Update, User

from bot.telegram.attached import attached
from bot.telegram.buttons import Tap, read_tap
from bot.telegram.newer import STOPPED, stopped_draft
from bot.telegram.prompts import Prompt, read_link, read_payload
from core.models import Attached, Channel, Identity, Inbound, Place

ALLOWED_UPDATES: Final = ("message", "callback_query", STOPPED)
GROUPS: Final = (Chat.GROUP, Chat.SUPERGROUP)

# The commands that Telegram offers while one types; `start` is what its Start button and pairing links send.
COMMANDS: Final[Mapping[str, str]] = {
    "help": "What I can do",
    "do": "Run one skill: do files.list pattern=*.log",
    "run": "Run a runbook: run deploy service=web",
    "tasks": "What is going on",
    "approvals": "What waits for your decision",
    "grants": "What is allowed for longer",
    "edit": "Change what is asked about: edit 12 to=bob@acme.example",
    "ask": "Ask the agent about a card: ask 12 why this one?",
    "delegate": "Hand a card on: delegate 12 to bob",
    "revoke": "End a standing permission",
    "status": "How a task is doing",
    "why": "Why a task is where it is",
    "stop": "Stop a task",
    "pause": "Pause a task",
    "resume": "Go on with a paused task",
    "retry": "Try a failed task again",
    "digest": "What happened while you were away",
    "follow": "Show a task here too: follow 12",
    "steer": "Tell a running task something: steer 12 only b",
    "interrupt": "Tell it at once: interrupt 12 wait",
    "priority": "How urgent a task is: priority 12 high",
    "undo": "Take back what can be taken back",
    "remember": "Keep a note",
    "recall": "Look in the notes",
}

# What is offered in groups: few, since a group is no place to look around in.
GROUP_COMMANDS: Final = ("help", "do", "run", "tasks", "approvals", "status", "why", "stop")

_COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@([A-Za-z0-9_]{1,64}))?(?=\s|$)", re.ASCII)
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")


class Malformed(ValueError):
    """Not an update of the Bot API, or one that we cannot read."""


@dataclass(frozen=True, slots=True)
class Me:
    """Which bot we are: needed to know when a group means us."""

    id: int
    username: str


@dataclass(frozen=True, slots=True)
class Tapped:
    """A button was tapped. `tap` is None when it is none of ours; it has to be answered all the same."""

    query_id: str
    sender: Identity
    tap: Tap | None
    place: Place | None
    message_id: int | None


@dataclass(frozen=True, slots=True)
class Replied:
    """Somebody answered our question in words; `question` is its message, `text` is empty where there were no words."""

    delivery_id: str
    sender: Identity
    place: Place
    message_id: int
    question: int
    prompt: Prompt
    text: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Somebody opened the link of a question in their private chat: it is to be asked there."""

    sender: Identity
    place: Place
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Halted:
    """Somebody pressed Stop while the answer of a task was written in their private chat."""

    delivery_id: str
    sender: Identity
    task_id: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A group became a supergroup, which has another id."""

    was: str
    is_now: str


@dataclass(frozen=True, slots=True)
class Dropped:
    why: str


Translated = Inbound | Tapped | Replied | Wanted | Halted | Moved | Dropped


def translate(raw: Any, me: Me) -> Translated:
    """Raises `Malformed`."""
    number = update_id(raw)
    try:
        update = Update.de_json(_writable(raw), None)
        if update.callback_query is not None:
            return _tapped(update)
        if update.message is not None and (moved := _moved(update.message)) is not None:
            return moved
        if update.message is not None:
            return _said(update.message, number, me)
        if (stopped := stopped_draft(update)) is not None:
            who = Identity(channel=Channel.TELEGRAM, external_id=str(stopped.chat))
            return Halted(f"update:{number}", who, stopped.draft)
    except Exception as error:
        # The library raises whatever it stumbles over; none of it may stop the updates behind this one.
        raise Malformed(f"update {number} cannot be read: {type(error).__name__}") from error
    return Dropped("not a kind of update that we ask for")


def update_id(raw: Any) -> int:
    """The number that the offset is counted with. Raises `Malformed`."""
    number = raw.get("update_id") if isinstance(raw, dict) else None
    if not isinstance(number, int) or isinstance(number, bool):
        raise Malformed("not an update: it has no update_id")
    return number


# ---------------------------------------------------------------- messages


def _moved(message: Message) -> Moved | None:
    """Both groups say so, each in a service message of its own."""
    if message.migrate_to_chat_id is not None:
        return Moved(str(message.chat.id), str(message.migrate_to_chat_id))
    if message.migrate_from_chat_id is not None:
        return Moved(str(message.migrate_from_chat_id), str(message.chat.id))
    return None


def _said(message: Message, number: int, me: Me) -> Translated:
    sender, chat = message.from_user, message.chat
    if sender is None or sender.is_bot or message.is_automatic_forward:
        return Dropped("not written by a person")
    if chat.type not in (Chat.PRIVATE, *GROUPS):
        return Dropped("not a private chat or a group")
    private = chat.type == Chat.PRIVATE
    typed = message.text or message.caption or ""
    if not typed and message.forward_origin is None and not message.effective_attachment:
        return Dropped("nothing was said")
    place = _place(message, private=private)
    if (prompt := _question(message, me)) is not None and message.reply_to_message is not None:
        own = message.forward_origin is None and message.via_bot is None
        return Replied(
            delivery_id=f"update:{number}",
            sender=_identity(sender),
            place=place,
            message_id=message.message_id,
            question=message.reply_to_message.message_id,
            prompt=prompt,
            text=typed.strip() if own else "",
        )
    opened = typed.split(" ", 1)[1].strip() if private and typed.startswith("/start ") else ""
    if message.forward_origin is None and (prompt := read_payload(opened)) is not None:
        return Wanted(_identity(sender), place, prompt)
    foreign = _foreign(message)
    if message.forward_origin is not None or message.via_bot is not None:
        text, meant = "", False
        foreign = ((typed,) if typed else ()) + foreign
    else:
        text, meant, for_another = _own_words(message, typed, me)
        if for_another:
            return Dropped("a command for another bot")
    if not private and not (text or meant or foreign):
        return Dropped("a picture or a file that nobody addressed to us")
    return Inbound(
        channel=Channel.TELEGRAM,
        delivery_id=f"update:{number}",
        sender=_identity(sender),
        place=place,
        text=text,
        foreign=foreign,
        addressed=private or meant or _answers_us(message, me),
        message_ref=str(message.message_id),
        answers_to=str(message.reply_to_message.message_id)
        if message.reply_to_message and _answers_us(message, me)
        else "",
        attached=_attached(message),
    )


def _attached(message: Message) -> tuple[Attached, ...]:
    """With what the message answers: "sum this up" is said of that."""
    is_own = message.forward_origin is None and message.via_bot is None
    answered = message.reply_to_message
    return (*attached(message, is_own=is_own), *(attached(answered, is_own=False) if answered else ()))


def _own_words(message: Message, typed: str, me: Me) -> tuple[str, bool, bool]:
    """(the words without our name and the slash, whether we were named, whether it is another bot's command)."""
    command = _COMMAND.match(typed)
    if command is not None:
        name, at = command[1].lower(), (command[2] or "").lower()
        if at and at != me.username.lower():
            return typed, False, True
        if at or name in COMMANDS or name == "start":
            return (name + typed[command.end() :]).strip(), True, False
    units = typed.encode("utf-16-le")
    named = [e for e in message.entities or message.caption_entities if _names_us(e, units, me)]
    for entity in sorted(named, key=lambda e: e.offset, reverse=True):
        start, end = entity.offset * 2, (entity.offset + entity.length) * 2
        is_at_edge = (
            not units[:start].decode("utf-16-le", "replace").strip()
            or not units[end:].decode("utf-16-le", "replace").strip()
        )
        if is_at_edge:  # in the middle of a sentence the name is part of what is said
            units = units[:start] + units[end:]
    return units.decode("utf-16-le", "replace").strip(), bool(named), False


def _names_us(entity: MessageEntity, units: bytes, me: Me) -> bool:
    if entity.type == MessageEntity.TEXT_MENTION:
        return entity.user is not None and entity.user.id == me.id
    if entity.type != MessageEntity.MENTION:
        return False
    name = units[entity.offset * 2 : (entity.offset + entity.length) * 2].decode("utf-16-le", "replace")
    return name.lower() == f"@{me.username.lower()}"


def _answers_us(message: Message, me: Me) -> bool:
    """A reply to a message of ours. In a topic that we made, every message 'replies' to its creation: that is none."""
    other = message.reply_to_message
    if other is None or other.forum_topic_created is not None or other.from_user is None:
        return False
    return other.from_user.id == me.id


def _question(message: Message, me: Me) -> Prompt | None:
    """The question of ours that this message answers. Only a text link of ours says so: what others write has none."""
    other = message.reply_to_message
    if other is None or not _answers_us(message, me):
        return None
    links = [entity.url or "" for entity in other.entities if entity.type == MessageEntity.TEXT_LINK]
    return next((prompt for url in links if (prompt := read_link(url, me.username)) is not None), None)


def _foreign(message: Message) -> tuple[str, ...]:
    """What is shown with the message and was not typed by its sender."""
    found = []
    if message.quote is not None:
        found.append(message.quote.text)
    if message.reply_to_message is not None:
        found.append(message.reply_to_message.text or message.reply_to_message.caption or "")
    return tuple(text for text in found if text)


def _place(message: Message, *, private: bool) -> Place:
    # In groups without topics Telegram numbers plain reply threads too; sending to such a number is refused.
    in_topic = message.is_topic_message and message.message_thread_id is not None
    return Place(
        channel=Channel.TELEGRAM,
        external_id=str(message.chat.id),
        thread=str(message.message_thread_id) if in_topic else "",
        private=private,
        title=message.chat.title or "",
    )


def _identity(user: User) -> Identity:
    return Identity(channel=Channel.TELEGRAM, external_id=str(user.id), display_name=user.full_name)


# ---------------------------------------------------------------- buttons


def _tapped(update: Update) -> Tapped:
    query = update.callback_query
    assert query is not None
    message = query.message
    place = None
    if isinstance(message, Message):
        place = _place(message, private=message.chat.type == Chat.PRIVATE)
    elif message is not None:  # too old for Telegram to say more than where it is
        place = Place(
            channel=Channel.TELEGRAM, external_id=str(message.chat.id), private=message.chat.type == Chat.PRIVATE
        )
    return Tapped(
        query_id=query.id,
        sender=_identity(query.from_user),
        tap=read_tap(query.data or ""),
        place=place,
        message_id=message.message_id if message else None,
    )


def _writable(value: Any) -> Any:
    """The same JSON with the characters replaced that no database can hold (NUL, halves of surrogate pairs)."""
    if isinstance(value, str):
        return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {key: _writable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_writable(item) for item in value]
    return value
