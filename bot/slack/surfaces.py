"""What Slack delivers beside messages and presses on cards: tabs opened, the native Stop, the shortcut, groups changed.

Pure and total, as `bot.slack.translate`, which has everything that is not told here. `bot.slack.adapter` hands what
comes of it to the surface that it is about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bot.slack import shortcut
from bot.slack.payload import Json, Own, id_at, identity_of, object_at, objects_at, presser, text_at
from bot.slack.shortcut import SHORTCUT, ShortcutFilled, ShortcutUsed
from bot.slack.translate import Dropped, Reply, sender_team
from core.models import Identity

HOME_PREFIX: Final = "sayso:home:"


@dataclass(frozen=True, slots=True)
class TabOpened:
    """The Home tab, or the conversation with us ("messages")."""

    person: Identity
    user: str
    channel: str
    is_home: bool


@dataclass(frozen=True, slots=True)
class HomePressed:
    """A button of the Home tab: a verb and what it is about. `delivery` names this press."""

    person: Identity
    user: str
    verb: str
    value: str
    delivery: str


@dataclass(frozen=True, slots=True)
class SessionStopped:
    """Slack's own Stop button, in the thread of a task that works."""

    person: Identity
    place: str
    thread: str
    delivery: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class GroupChanged:
    usergroup: str


Surface = TabOpened | HomePressed | SessionStopped | ShortcutUsed | ShortcutFilled | GroupChanged


def surface(payload: Json, own: Own) -> Surface | Dropped | None:
    """None: it is about no surface, so it is for `translate`."""
    kind = text_at(payload, "type")
    if kind == "event_callback":
        return _event(payload, object_at(payload, "event"), own)
    if kind == "message_action":
        return shortcut.used(payload, own)
    view = object_at(payload, "view")
    if kind == "view_submission" and id_at(view, "callback_id") == SHORTCUT:
        return shortcut.filled(payload, own)
    if kind == "block_actions" and text_at(view, "type") == "home":
        return _pressed(payload, own)
    return None


def _event(payload: Json, event: Json, own: Own) -> Surface | Dropped | None:
    kind = text_at(event, "type")
    user, channel, event_id = id_at(event, "user"), id_at(event, "channel"), id_at(payload, "event_id")
    person = identity_of(sender_team(payload, event, own), user, "", own)
    if kind == "app_home_opened":
        tab = text_at(event, "tab")
        if not (user and channel and tab in ("home", "messages")):
            return Dropped("a tab that we do not know")
        return TabOpened(person, user, channel, is_home=tab == "home")
    if kind == "agent_session_stopped":
        thread = id_at(event, "thread_ts")
        if not (user and channel and thread and event_id):
            return Dropped("a stop without user, channel, thread or event_id")
        return SessionStopped(person, f"{own.home}/{channel}", thread, event_id, Reply(channel, user, thread))
    if kind == "subteam_members_changed":
        group = id_at(event, "subteam_id")
        return GroupChanged(group) if group else Dropped("a group without id")
    return None


def _pressed(payload: Json, own: Own) -> HomePressed | Dropped:
    action = next((a for a in objects_at(payload, "actions") if id_at(a, "action_id").startswith(HOME_PREFIX)), {})
    user = object_at(payload, "user")
    verb = id_at(action, "action_id").removeprefix(HOME_PREFIX)
    value, user_id = id_at(action, "value"), id_at(user, "id")
    if not (verb and value and user_id):
        return Dropped("a press that is not for us")  # links report themselves too
    person = presser(payload, user, own)
    delivery = f"home:{person.external_id.replace('/', ':')}:{verb}:{id_at(action, 'action_ts')}"
    return HomePressed(person, user_id, verb, value, delivery)
