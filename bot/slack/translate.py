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
from typing import Any, Final, cast, get_args

from bot.slack.text import clean, clipped, mentions, plain, typed
from core import config
from core.models import Channel, Identity, Inbound, Place, Press, Verdict

ACTION_PREFIX: Final = "sayso:"
TASK_PREFIX: Final = "task:"
DENY_ASK: Final = "sayso:deny_ask"
DENY_VIEW: Final = "sayso:deny"
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
NAME_CHARS: Final = 80
ID_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Own:
    """Who we are in Slack, from auth.test. On Enterprise Grid the enterprise is what people and places belong to."""

    team: str
    enterprise: str
    bot_user: str

    @property
    def home(self) -> str:
        return self.enterprise or self.team

    def is_ours(self, team: str) -> bool:
        return team != "" and team in (self.team, self.enterprise)


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
    """`in_view` is true when the answer belongs into the open form; `given` are the fields of an edit as typed."""

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
    verb: str = "deny"


Translated = Dropped | Said | Pressed | Steered | ReasonWanted
Json = Mapping[str, Any]


def translate(payload: Json, own: Own) -> Translated:
    """The one ingress of all that Slack delivers, by either transport."""
    kind = _text(payload, "type")
    if kind == "event_callback":
        return _event(payload, _object(payload, "event"), own)
    if kind == "block_actions":
        return _action(payload, own)
    if kind == "view_submission":
        return _submission(payload, own)
    if not kind and _text(payload, "command"):
        return _command(payload, own)
    return Dropped(f"a {kind or 'nameless'} payload")


# ---------------------------------------------------------------- messages


def _event(payload: Json, event: Json, own: Own) -> Translated:
    kind, subtype = _text(event, "type"), _text(event, "subtype")
    user, channel, ts = _id(event, "user"), _id(event, "channel"), _id(event, "ts")
    if kind not in ("message", "app_mention"):
        return Dropped(f"a {kind or 'nameless'} event")
    if subtype not in ("", "file_share"):
        return Dropped(f"a message of subtype {subtype}")
    if event.get("bot_id") or event.get("bot_profile") or event.get("hidden"):
        return Dropped("a bot's message")
    if not (user and channel and ts and _id(payload, "event_id")):
        return Dropped("a message without user, channel, ts or event_id")
    if user in (own.bot_user, "USLACKBOT"):
        return Dropped("our own message")
    is_private = channel.startswith("D")
    raw = clean(event.get("text"))
    thread = _id(event, "thread_ts")
    if is_private and kind == "app_mention":
        return Dropped("the twin of a direct message")
    if not is_private and kind == "message":
        if mentions(raw, own.bot_user):
            return Dropped("the twin of a mention")
        if not thread:
            return Dropped("talk among people")
    text, quotes = typed(raw, own.bot_user)
    profile = _object(event, "user_profile")
    return Said(
        Inbound(
            channel=Channel.SLACK,
            delivery_id=_id(payload, "event_id"),
            sender=_identity(_sender_team(payload, event, own), user, _name(profile), own),
            place=Place(
                channel=Channel.SLACK,
                external_id=f"{own.home}/{channel}",
                thread=thread or ("" if is_private else ts),
                private=is_private,
            ),
            text=_within(text),
            foreign=_foreign(quotes, event),
            addressed=is_private or kind == "app_mention",
            message_ref=ts,
        )
    )


def _sender_team(payload: Json, event: Json, own: Own) -> str:
    """The sender's workspace: any sign of another one counts. (`source_team` is where it was written: no sign.)"""
    # In a shared channel the outer team may be the other side's; for whom the event is say the authorizations.
    # https://docs.slack.dev/apis/events-api#authorizations
    authorized = [_id(one, key) for one in _objects(payload, "authorizations") for key in ("team_id", "enterprise_id")]
    received = [team for team in authorized if team] or [_id(payload, "team_id")]
    if not any(own.is_ours(team) for team in received):
        return received[0]
    named = [team for key in ("user_team", "team") if (team := _id(event, key))]
    if named:
        return next((team for team in named if not own.is_ours(team)), named[0])
    return "" if payload.get("is_ext_shared_channel") else received[0]


def _foreign(quotes: tuple[str, ...], event: Json) -> tuple[str, ...]:
    """What the message carries that its sender did not type: quotes, shared messages, unfurls, files' names."""
    found = [*quotes, *_attached(event), *_files(event)]
    return tuple(clipped(piece, FOREIGN_CHARS) for piece in found[:FOREIGN_MOST])


def _attached(event: Json) -> Iterator[str]:
    for attachment in _objects(event, "attachments"):
        text = "\n".join(plain(part) for key in ("pretext", "title", "text") if (part := _text(attachment, key)))
        if shown := text or plain(_text(attachment, "fallback")):
            yield shown


def _files(event: Json) -> Iterator[str]:
    for file in _objects(event, "files"):
        name = _text(file, "name") or _text(file, "title") or _text(file, "id")
        size = file.get("size")
        about = [part for part in (_text(file, "mimetype"), f"{size} bytes" if isinstance(size, int) else "") if part]
        yield f"attached file: {name}" + (f" ({', '.join(about)})" if about else "")


# ---------------------------------------------------------------- the slash command


def _command(payload: Json, own: Own) -> Translated:
    user, channel, trigger = _id(payload, "user_id"), _id(payload, "channel_id"), _id(payload, "trigger_id")
    if not (user and channel and trigger):
        return Dropped("a command without user, channel or trigger_id")
    sender = _identity(_id(payload, "team_id"), user, _text(payload, "user_name"), own)
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
                title="" if is_private else clipped(f"#{_text(payload, 'channel_name') or channel}", NAME_CHARS),
            ),
            text=_within(text),
            foreign=_foreign(quotes, {}),
        ),
        Reply(channel, user, url=_text(payload, "response_url")),
    )


# ---------------------------------------------------------------- presses


def _action(payload: Json, own: Own) -> Translated:
    action = next((a for a in _objects(payload, "actions") if _id(a, "action_id").startswith(ACTION_PREFIX)), {})
    action_id, value = _id(action, "action_id"), _id(action, "value")
    user, container = _object(payload, "user"), _object(payload, "container")
    channel = _id(_object(payload, "channel"), "id") or _id(container, "channel_id")
    if not (action_id and value and _id(user, "id")):
        return Dropped("a press that is not for us")
    sender = _presser(payload, user, own)
    message = _object(payload, "message")
    reply = Reply(
        channel,
        _id(user, "id"),
        _id(message, "thread_ts") or _id(container, "thread_ts"),
        _text(payload, "response_url"),
    )
    verb = action_id.removeprefix(ACTION_PREFIX)
    if action_id == DENY_ASK:
        trigger = _id(payload, "trigger_id")
        return ReasonWanted(value, trigger, reply) if trigger else Dropped("a press without trigger_id")
    if action_id.startswith(FORM_PREFIX):
        trigger, wanted = _id(payload, "trigger_id"), action_id.removeprefix(FORM_PREFIX)
        known = wanted in FORMS and trigger
        return ReasonWanted(value, trigger, reply, wanted) if known else Dropped("a form that we do not know")
    if value.startswith(TASK_PREFIX):
        number = value.removeprefix(TASK_PREFIX)
        if verb not in TASK_VERBS or not (number.isascii() and number.isdigit() and len(number) < 19):
            return Dropped("a task's button that we do not know")
        return Steered(sender, int(number), verb, reply)
    if verb not in APPROVAL_VERBS:
        return Dropped("an approval's button that we do not know")
    ts = _id(container, "message_ts") or _id(message, "ts")
    parts = (sender.external_id.replace("/", ":"), channel, ts, action_id, _id(action, "action_ts"))
    return Pressed(_press(sender, value, verb, ":".join(parts)), reply)


def _submission(payload: Json, own: Own) -> Translated:
    """A form of ours, filled in. Its private_metadata is `approval|channel|thread`, written by us."""
    view, user = _object(payload, "view"), _object(payload, "user")
    approval, _, where = _text(view, "private_metadata").partition("|")
    callback = _id(view, "callback_id")
    verb = "deny" if callback == DENY_VIEW else callback.removeprefix(FORM_PREFIX)
    is_ours = callback == DENY_VIEW or (callback.startswith(FORM_PREFIX) and verb in FORMS)
    if not (is_ours and approval and _id(user, "id") and _id(view, "id")):
        return Dropped("a form that is not ours")
    values = _object(_object(view, "state"), "values")
    words = _text(_object(_object(values, REASON), REASON), "value").strip()
    given = {
        str(name).removeprefix(FIELD_PREFIX): _text(_object(_object(values, name), REASON), "value")
        for name in values
        if str(name).startswith(FIELD_PREFIX)
    }
    sender = _presser(payload, user, own)
    channel, _, thread = where.partition("|")
    # The same form sent again with other words is another answer; with the same words it is the same delivery.
    typed_in = hashlib.sha256(json.dumps([words, given], sort_keys=True).encode()).hexdigest()[:16]
    delivery = f"view:{sender.external_id.replace('/', ':')}:{_id(view, 'id')}:{typed_in}"
    press = _press(sender, approval[:ID_CHARS], verb, delivery, words[: config.REASON_CHARS] if verb == "deny" else "")
    said = {"ask": {"text": words[: config.QUESTION_CHARS]}, "delegate": {"to": words[:NAME_CHARS]}}.get(verb, {})
    reply = Reply(channel, _id(user, "id"), thread)
    return Pressed(press.model_copy(update=said), reply, in_view=True, given=given if verb == "edit" else None)


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


def _presser(payload: Json, user: Json, own: Own) -> Identity:
    """Both the presser's team and the payload's have to be ours; either one that is not makes a stranger."""
    named = [team for team in (_id(user, "team_id"), _id(_object(payload, "team"), "id")) if team]
    team = next((t for t in named if not own.is_ours(t)), named[0] if named else "")
    return _identity(team, _id(user, "id"), _text(user, "name") or _text(user, "username"), own)


# ---------------------------------------------------------------- parts


def _identity(team: str, user: str, name: str, own: Own) -> Identity:
    """A workspace that cannot be told is nobody's."""
    org = own.home if own.is_ours(team) else (team or "unknown")
    return Identity(channel=Channel.SLACK, external_id=f"{org}/{user}", display_name=clipped(name, NAME_CHARS))


def _name(profile: Json) -> str:
    return _text(profile, "display_name") or _text(profile, "real_name") or _text(profile, "name")


def _within(text: str) -> str:
    """One character over the limit is enough for intake to refuse it."""
    return text[: config.INBOUND_CHARS + 1]


def _text(source: Json, key: str) -> str:
    return clean(source.get(key))


def _id(source: Json, key: str) -> str:
    """Vendor's ids are short and printable; anything else is none."""
    value = source.get(key)
    good = isinstance(value, str) and len(value) <= ID_CHARS and value.isascii() and value.isprintable()
    return value if good and isinstance(value, str) else ""


def _object(source: Json, key: str) -> Json:
    value = source.get(key)
    return value if isinstance(value, dict) else {}


def _objects(source: Json, key: str) -> list[Json]:
    value = source.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
