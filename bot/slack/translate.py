"""What Slack delivered, as ours: a message, a press, a hand on a task, a wish to give a reason, or nothing for us.

Pure and total: any JSON object has an answer, so that nothing malformed can break the listener. Who somebody is comes
from workspace and user together; a person of another workspace keeps that workspace's id and is a stranger by it.
https://docs.slack.dev/apis/events-api
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, cast, get_args

from bot.slack.attached import attached
from bot.slack.payload import (
    ID_CHARS,
    NAME_CHARS,
    Json,
    Own,
    id_at,
    identity_of,
    object_at,
    objects_at,
    presser,
    text_at,
)
from bot.slack.text import clean, clipped, mentions, plain, typed
from core import config
from core.models import Channel, Identity, Inbound, Place, Press, Verdict

ACTION_PREFIX: Final = "sayso:"
TASK_PREFIX: Final = "task:"
DENY_ASK: Final = "sayso:deny_ask"
DENY_VIEW: Final = "sayso:deny"
MORE: Final = "sayso:more"
REASON: Final = "reason"
TASK_VERBS: Final = frozenset({"stop", "pause", "resume", "retry", "undo"})
APPROVAL_VERBS: Final = frozenset(
    {"approve", "approve_similar", "grant", "deny", "looking", "stop", "happened", "not_happened", "abandon"}
)
FORM_PREFIX: Final = "sayso:form:"
FORMS: Final = frozenset({"edit", "ask", "delegate"})
FIELD_PREFIX: Final = "arg:"
FOREIGN_MOST: Final = 20
FOREIGN_CHARS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Reply:
    """Where only this person can be told something."""

    channel: str
    user: str
    thread: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    why: str


@dataclass(frozen=True, slots=True)
class Said:
    """`reply` is there for a slash command, which shows the person nothing by itself."""

    inbound: Inbound
    reply: Reply | None = None


@dataclass(frozen=True, slots=True)
class Pressed:
    """`in_view` is true when the answer belongs into the open form; `given` are the fields of an edit as typed. The person
    whom a press hands something on to is a Slack identity here (`workspace/user`)."""

    press: Press
    reply: Reply
    in_view: bool = False
    given: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Steered:
    """A run card's button."""

    sender: Identity
    task_id: int
    verb: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class ReasonWanted:
    """The presser wants to say something with the answer: a reason, a question, an edit. The trigger lives for 3 seconds."""

    approval_id: str
    trigger: str
    reply: Reply
    sender: Identity
    verb: str = "deny"


Translated = Dropped | Said | Pressed | Steered | ReasonWanted


def translate(payload: Json, own: Own) -> Translated:
    """The one ingress of all that Slack delivers, by either transport."""
    kind = text_at(payload, "type")
    if kind == "event_callback":
        return _event(payload, object_at(payload, "event"), own)
    if kind == "block_actions":
        return _action(payload, own)
    if kind == "view_submission":
        return _submission(payload, own)
    if not kind and text_at(payload, "command"):
        return _command(payload, own)
    return Dropped(f"a {kind or 'nameless'} payload")


# ---------------------------------------------------------------- messages


def _event(payload: Json, event: Json, own: Own) -> Translated:
    kind, subtype = text_at(event, "type"), text_at(event, "subtype")
    user, channel, ts = id_at(event, "user"), id_at(event, "channel"), id_at(event, "ts")
    if kind not in ("message", "app_mention"):
        return Dropped(f"a {kind or 'nameless'} event")
    if subtype not in ("", "file_share"):
        return Dropped(f"a message of subtype {subtype}")
    if event.get("bot_id") or event.get("bot_profile") or event.get("hidden"):
        return Dropped("a bot's message")
    if not (user and channel and ts and id_at(payload, "event_id")):
        return Dropped("a message without user, channel, ts or event_id")
    if user in (own.bot_user, "USLACKBOT"):
        return Dropped("our own message")
    is_private = channel.startswith("D")
    raw = clean(event.get("text"))
    thread = id_at(event, "thread_ts")
    if is_private and kind == "app_mention":
        return Dropped("the twin of a direct message")
    if not is_private and kind == "message":
        if mentions(raw, own.bot_user):
            return Dropped("the twin of a mention")
        if not thread:
            return Dropped("talk among people")
    text, quotes = typed(raw, own.bot_user)
    profile = object_at(event, "user_profile")
    return Said(
        Inbound(
            channel=Channel.SLACK,
            delivery_id=id_at(payload, "event_id"),
            sender=identity_of(sender_team(payload, event, own), user, _name(profile), own),
            place=Place(
                channel=Channel.SLACK,
                external_id=f"{own.home}/{channel}",
                thread=thread or ts,
                private=is_private,
            ),
            text=within(text),
            foreign=foreign_of(quotes, event),
            addressed=is_private or kind == "app_mention",
            message_ref=ts,
            attached=tuple(attached(event)),
        )
    )


def sender_team(payload: Json, event: Json, own: Own) -> str:
    """The sender's workspace: any sign of another one counts. (`source_team` is where it was written: no sign.)"""
    # In a shared channel the outer team may be the other side's; for whom the event is say the authorizations.
    # https://docs.slack.dev/apis/events-api#authorizations
    authorized = [
        id_at(one, key) for one in objects_at(payload, "authorizations") for key in ("team_id", "enterprise_id")
    ]
    received = [team for team in authorized if team] or [id_at(payload, "team_id")]
    if not any(own.is_ours(team) for team in received):
        return received[0]
    named = [team for key in ("user_team", "team") if (team := id_at(event, key))]
    if named:
        return next((team for team in named if not own.is_ours(team)), named[0])
    return "" if payload.get("is_ext_shared_channel") else received[0]


def foreign_of(quotes: tuple[str, ...], event: Json) -> tuple[str, ...]:
    """What the message carries that its sender did not type: quotes, shared messages, unfurls."""
    found = [*quotes, *_unfurled(event)]
    return tuple(clipped(piece, FOREIGN_CHARS) for piece in found[:FOREIGN_MOST])


def _unfurled(event: Json) -> Iterator[str]:
    for attachment in objects_at(event, "attachments"):
        text = "\n".join(plain(part) for key in ("pretext", "title", "text") if (part := text_at(attachment, key)))
        if shown := text or plain(text_at(attachment, "fallback")):
            yield shown


# ---------------------------------------------------------------- the slash command


def _command(payload: Json, own: Own) -> Translated:
    user, channel, trigger = id_at(payload, "user_id"), id_at(payload, "channel_id"), id_at(payload, "trigger_id")
    if not (user and channel and trigger):
        return Dropped("a command without user, channel or trigger_id")
    sender = identity_of(id_at(payload, "team_id"), user, text_at(payload, "user_name"), own)
    # A command may be typed in a conversation between two people, where we are not: the answer goes to our own one.
    is_private = channel.startswith("D")
    text, quotes = typed(clean(payload.get("text")), own.bot_user)
    return Said(
        Inbound(
            channel=Channel.SLACK,
            delivery_id=trigger,
            sender=sender,
            place=Place(
                channel=Channel.SLACK,
                external_id=f"{own.home}/{user if is_private else channel}",
                private=is_private,
                title="" if is_private else clipped(f"#{text_at(payload, 'channel_name') or channel}", NAME_CHARS),
            ),
            text=within(text),
            foreign=foreign_of(quotes, {}),
        ),
        Reply(channel, user, url=text_at(payload, "response_url")),
    )


# ---------------------------------------------------------------- presses


def _action(payload: Json, own: Own) -> Translated:
    action = next((a for a in objects_at(payload, "actions") if id_at(a, "action_id").startswith(ACTION_PREFIX)), {})
    action_id, value = _chosen(action)
    user, container = object_at(payload, "user"), object_at(payload, "container")
    channel = id_at(object_at(payload, "channel"), "id") or id_at(container, "channel_id")
    if not (action_id and value and id_at(user, "id")):
        return Dropped("a press that is not for us")
    sender = presser(payload, user, own)
    message = object_at(payload, "message")
    reply = Reply(
        channel,
        id_at(user, "id"),
        id_at(message, "thread_ts") or id_at(container, "thread_ts"),
        text_at(payload, "response_url"),
    )
    verb = action_id.removeprefix(ACTION_PREFIX)
    if action_id == DENY_ASK:
        trigger = id_at(payload, "trigger_id")
        return ReasonWanted(value, trigger, reply, sender) if trigger else Dropped("a press without trigger_id")
    if action_id.startswith(FORM_PREFIX):
        trigger, wanted = id_at(payload, "trigger_id"), action_id.removeprefix(FORM_PREFIX)
        known = wanted in FORMS and trigger
        return ReasonWanted(value, trigger, reply, sender, wanted) if known else Dropped("a form that we do not know")
    if value.startswith(TASK_PREFIX):
        number = value.removeprefix(TASK_PREFIX)
        if verb not in TASK_VERBS or not (number.isascii() and number.isdigit() and len(number) < 19):
            return Dropped("a task's button that we do not know")
        return Steered(sender, int(number), verb, reply)
    if verb not in APPROVAL_VERBS:
        return Dropped("an approval's button that we do not know")
    ts = id_at(container, "message_ts") or id_at(message, "ts")
    parts = (sender.external_id.replace("/", ":"), channel, ts, action_id, id_at(action, "action_ts"))
    return Pressed(_press(sender, value, verb, ":".join(parts)), reply)


def _chosen(action: Json) -> tuple[str, str]:
    """(action_id, value) of a button, or of the button that a line of the menu stands for: its value is `verb|approval`."""
    action_id = id_at(action, "action_id")
    if action_id != MORE:
        return action_id, id_at(action, "value")
    verb, _, value = id_at(object_at(action, "selected_option"), "value").partition("|")
    return f"{FORM_PREFIX if verb in FORMS else ACTION_PREFIX}{verb}", value


def _submission(payload: Json, own: Own) -> Translated:
    """A form of ours, filled in. Its private_metadata is `approval|channel|thread`, written by us."""
    view, user = object_at(payload, "view"), object_at(payload, "user")
    approval, _, where = text_at(view, "private_metadata").partition("|")
    callback = id_at(view, "callback_id")
    verb = "deny" if callback == DENY_VIEW else callback.removeprefix(FORM_PREFIX)
    is_ours = callback == DENY_VIEW or (callback.startswith(FORM_PREFIX) and verb in FORMS)
    if not (is_ours and approval and id_at(user, "id") and id_at(view, "id")):
        return Dropped("a form that is not ours")
    values = object_at(object_at(view, "state"), "values")
    words = _typed(object_at(object_at(values, REASON), REASON)).strip()
    given = {
        str(name).removeprefix(FIELD_PREFIX): _typed(object_at(object_at(values, name), REASON))
        for name in values
        if str(name).startswith(FIELD_PREFIX)
    }
    sender = presser(payload, user, own)
    channel, _, thread = where.partition("|")
    # The same form sent again with other words is another answer; with the same words it is the same delivery.
    typed_in = hashlib.sha256(json.dumps([words, given], sort_keys=True).encode()).hexdigest()[:16]
    delivery = f"view:{sender.external_id.replace('/', ':')}:{id_at(view, 'id')}:{typed_in}"
    press = _press(sender, approval[:ID_CHARS], verb, delivery, words[: config.REASON_CHARS] if verb == "deny" else "")
    said = {"ask": {"text": words[: config.QUESTION_CHARS]}, "delegate": {"to": f"{own.home}/{words[:ID_CHARS]}"}}.get(
        verb, {}
    )
    reply = Reply(channel, id_at(user, "id"), thread)
    return Pressed(press.model_copy(update=said), reply, in_view=True, given=given if verb == "edit" else None)


def _typed(state: Json) -> str:
    """What one input holds; nothing where nothing was typed or chosen."""
    return (
        text_at(state, "value")
        or text_at(object_at(state, "selected_option"), "value")
        or id_at(state, "selected_user")
    )


def _press(sender: Identity, approval: str, verb: str, delivery: str, reason: str = "") -> Press:
    assert verb in get_args(Verdict)
    return Press(
        channel=Channel.SLACK,
        delivery_id=delivery,
        sender=sender,
        approval_id=approval,
        verdict=cast(Verdict, verb),
        reason=reason,
    )


def _name(profile: Json) -> str:
    return text_at(profile, "display_name") or text_at(profile, "real_name") or text_at(profile, "name")


def within(text: str) -> str:
    """One character over the limit is enough for intake to refuse it."""
    return text[: config.INBOUND_CHARS + 1]
