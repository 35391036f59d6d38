"""Reads what Slack sent, whatever it is: a value of the wrong kind is an absent one. And who somebody is to us.

Pure and total. Who a person is comes from workspace and user together; on Enterprise Grid the enterprise stands for its
workspaces. What the parts mean is said in `bot.slack.translate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bot.slack.text import clean, clipped
from core.models import Channel, Identity

NAME_CHARS: Final = 80
ID_CHARS: Final = 200

Json = Mapping[str, Any]


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


def presser(payload: Json, user: Json, own: Own) -> Identity:
    """Both the presser's team and the payload's have to be ours; either one that is not makes a stranger."""
    named = [team for team in (id_at(user, "team_id"), id_at(object_at(payload, "team"), "id")) if team]
    team = next((t for t in named if not own.is_ours(t)), named[0] if named else "")
    return identity_of(team, id_at(user, "id"), text_at(user, "name") or text_at(user, "username"), own)


def identity_of(team: str, user: str, name: str, own: Own) -> Identity:
    """A workspace that cannot be told is nobody's."""
    org = own.home if own.is_ours(team) else (team or "unknown")
    return Identity(channel=Channel.SLACK, external_id=f"{org}/{user}", display_name=clipped(name, NAME_CHARS))


def text_at(source: Json, key: str) -> str:
    return clean(source.get(key))


def id_at(source: Json, key: str) -> str:
    """Vendor's ids are short and printable; anything else is none."""
    value = source.get(key)
    good = isinstance(value, str) and len(value) <= ID_CHARS and value.isascii() and value.isprintable()
    return value if good and isinstance(value, str) else ""


def object_at(source: Json, key: str) -> Json:
    value = source.get(key)
    return value if isinstance(value, dict) else {}


def objects_at(source: Json, key: str) -> list[Json]:
    value = source.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
