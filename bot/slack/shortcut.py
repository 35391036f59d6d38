"""The shortcut "Run a task from this": a form asks what to do with a message, and what is typed there is the order.

Pure. The message itself comes along as foreign text, exactly as the form showed it; only one that the presser wrote
stands in the field, theirs to send or to change. The task lives in the presser's conversation with us, since whoever
presses may read channels in which we are not.
https://docs.slack.dev/interactivity/implementing-shortcuts#messages
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bot.slack.attached import names
from bot.slack.blocks.elements import Block, plain
from bot.slack.payload import NAME_CHARS, Json, Own, id_at, object_at, objects_at, presser, text_at
from bot.slack.text import clipped, typed
from bot.slack.translate import FOREIGN_CHARS, FOREIGN_MOST, Dropped, Reply, foreign_of, within
from core.models import Channel, Inbound, Place

SHORTCUT: Final = "sayso:run"
WORDS: Final = "words"
SHOWN_PREFIX: Final = "shown:"
FIELD_CHARS: Final = 3000
SECTION_CHARS: Final = 3000


@dataclass(frozen=True, slots=True)
class ShortcutUsed:
    """The form to open; its trigger lives for 3 seconds."""

    trigger: str
    view: Block
    reply: Reply


@dataclass(frozen=True, slots=True)
class ShortcutFilled:
    inbound: Inbound
    reply: Reply


def used(payload: Json, own: Own) -> ShortcutUsed | Dropped:
    """A shortcut of ours on a message."""
    message, user = object_at(payload, "message"), id_at(object_at(payload, "user"), "id")
    channel, trigger = object_at(payload, "channel"), id_at(payload, "trigger_id")
    if id_at(payload, "callback_id") != SHORTCUT or not (user and trigger and id_at(channel, "id")):
        return Dropped("a shortcut that is not ours")
    text, quotes = typed(text_at(message, "text"), own.bot_user)
    is_own = id_at(message, "user") == user and not id_at(message, "bot_id")
    foreign = foreign_of((*(quotes if is_own else (text, *quotes)), *names(message)), message)
    where = clipped(text_at(channel, "name"), NAME_CHARS)
    reply = Reply(id_at(channel, "id"), user, id_at(message, "thread_ts"), text_at(payload, "response_url"))
    return ShortcutUsed(trigger, _view(text if is_own else "", foreign, where, reply), reply)


def filled(payload: Json, own: Own) -> ShortcutFilled | Dropped:
    """The form came back: the order is what was typed, and with it comes what the form showed."""
    view, user = object_at(payload, "view"), object_at(payload, "user")
    channel, _, thread = text_at(view, "private_metadata").partition("|")
    if not (id_at(user, "id") and id_at(view, "id")):
        return Dropped("a form without user or id")
    sender = presser(payload, user, own)
    words = text_at(object_at(object_at(object_at(object_at(view, "state"), "values"), WORDS), WORDS), "value")
    shown = [block for block in objects_at(view, "blocks") if id_at(block, "block_id").startswith(SHOWN_PREFIX)]
    foreign = "".join(text_at(object_at(block, "text"), "text") for block in shown)
    inbound = Inbound(
        channel=Channel.SLACK,
        delivery_id=f"view:{sender.external_id.replace('/', ':')}:{id_at(view, 'id')}",
        sender=sender,
        place=Place(channel=Channel.SLACK, external_id=f"{own.home}/{id_at(user, 'id')}", private=True),
        text=within(words.strip()),
        foreign=(foreign,) if foreign else (),
    )
    return ShortcutFilled(inbound, Reply(channel, id_at(user, "id"), thread))


def sample_view() -> Block:
    """The form as it looks for an example, for a look at whether Slack takes it."""
    return _view("", ("the message",), "ops", Reply("C0", "U0"))


def _view(own_words: str, foreign: tuple[str, ...], where: str, reply: Reply) -> Block:
    """All of the message that comes along is in it: what you see is what I read."""
    field: Block = {"type": "plain_text_input", "action_id": WORDS, "multiline": True, "focus_on_load": True}
    if own_words:
        field["initial_value"] = own_words[:FIELD_CHARS]
    label = plain("What shall I do with it?")
    blocks: list[Block] = [
        {"type": "input", "block_id": WORDS, "label": label, "element": field | {"max_length": FIELD_CHARS}}
    ]
    said = clipped("\n".join(foreign[:FOREIGN_MOST]), FOREIGN_CHARS)
    if said:
        note = f"I read this along with it, as others' words and no order{f' (from #{where})' if where else ''}:"
        blocks.append({"type": "context", "elements": [plain(note)]})
    blocks += [
        {
            "type": "section",
            "block_id": f"{SHOWN_PREFIX}{at}",
            "text": plain(said[at : at + SECTION_CHARS]),
            "expand": True,
        }
        for at in range(0, len(said), SECTION_CHARS)
    ]
    return {
        "type": "modal",
        "callback_id": SHORTCUT,
        "private_metadata": f"{reply.channel}|{reply.thread}",
        "title": plain("Run a task from this"),
        "submit": plain("Run"),
        "close": plain("Back"),
        "blocks": blocks,
    }
