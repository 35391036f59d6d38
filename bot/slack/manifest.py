"""What our Slack app is: its scopes, events, command and shortcut, each with why it is needed, in one table.

`sayso manifest slack` prints it, docs/slack.md shows it, and doctor holds what a token was granted against it. Pure; a
scope or an event that nothing here uses has no place in it.
https://docs.slack.dev/reference/app-manifest
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import yaml

from bot.slack.shortcut import SHORTCUT

EVENTS_PATH: Final = "/slack/events"
NEW_APP: Final = "https://api.slack.com/apps?new_app=1&manifest_yaml="


@dataclass(frozen=True, slots=True)
class Needed:
    """A scope or an event; `scopes` are those without which Slack sends no such event."""

    name: str
    why: str
    scopes: tuple[str, ...] = ()


SCOPES: Final = (
    Needed("app_mentions:read", "to be mentioned in a channel"),
    Needed("assistant:write", "to be an agent: prompts in an empty conversation, sessions with a Stop of Slack's own"),
    Needed("channels:history", "to hear replies in a task's thread, and to find a message whose answer was lost"),
    Needed("chat:write", "to answer"),
    Needed("commands", "the slash command and the shortcut on messages"),
    Needed("files:read", "files, images and clips in messages that mean Sayso"),
    Needed("files:write", "all of an answer that is too long for a message, as a file"),
    Needed("groups:history", "as channels:history, in private channels"),
    Needed("im:history", "direct messages"),
    Needed("im:write", "to ask an approver in a direct message"),
    Needed("mpim:history", "as channels:history, in group conversations"),
    Needed("usergroups:read", "user groups as approvers: who is in them, asked again at each press"),
)

EVENTS: Final = (
    Needed("agent_session_stopped", "Slack's own Stop button", ("assistant:write",)),
    Needed("app_home_opened", "to fill the Home tab and to suggest prompts"),
    Needed("app_mention", "a task in a channel", ("app_mentions:read",)),
    Needed("message.channels", "replies in a task's thread", ("channels:history",)),
    Needed("message.groups", "the same in private channels", ("groups:history",)),
    Needed("message.im", "direct messages", ("im:history",)),
    Needed("message.mpim", "replies in group conversations", ("mpim:history",)),
    Needed("subteam_members_changed", "somebody came into or left a group of approvers", ("usergroups:read",)),
)

DESCRIPTION: Final = (
    "Does what you ask, and asks before anything that deletes, sends, spends or can't be undone. You see the exact call"
    " before it runs; silence is never a yes."
)


def manifest(base_url: str | None = None) -> dict[str, Any]:
    """For Socket Mode, or with the address at which Slack reaches us over HTTP."""
    url = f"{base_url.rstrip('/')}{EVENTS_PATH}" if base_url else ""
    at_url = {"url": url} if url else {}
    request_url = {"request_url": url} if url else {}
    return {
        "display_information": {"name": "Sayso", "description": "Acts only on your say-so"},
        "features": {
            "agent_view": {
                "agent_description": DESCRIPTION,
                "suggested_prompts": [{"title": "What can you do?", "message": "help"}],
            },
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "bot_user": {"display_name": "sayso", "always_online": True},
            "shortcuts": [
                {
                    "name": "Run a task from this",
                    "type": "message",
                    "callback_id": SHORTCUT,
                    "description": "Say what to do with this message",
                }
            ],
            "slash_commands": [
                {
                    "command": "/sayso",
                    **at_url,
                    "description": "Ask Sayso for something",
                    "usage_hint": "help",
                    "should_escape": False,
                }
            ],
        },
        "oauth_config": {"scopes": {"bot": [scope.name for scope in SCOPES]}},
        "settings": {
            "event_subscriptions": {**request_url, "bot_events": [event.name for event in EVENTS]},
            "interactivity": {"is_enabled": True, **request_url},
            "org_deploy_enabled": False,
            "socket_mode_enabled": not url,
            "token_rotation_enabled": False,
        },
    }


def as_yaml(base_url: str | None = None, *, with_reasons: bool = True) -> str:
    """What is pasted into Slack; behind each scope and event, as a comment, why it is asked for."""
    text: str = yaml.safe_dump(manifest(base_url), sort_keys=False, width=110, allow_unicode=True)
    if not with_reasons:
        return text
    why = {f"- {needed.name}": needed.why for needed in (*SCOPES, *EVENTS)}
    lines = (f"{line}  # {why[line.strip()]}" if line.strip() in why else line for line in text.splitlines())
    return "\n".join(lines) + "\n"


def one_click(base_url: str | None = None) -> str:
    """Opens Slack's form for a new app with the manifest filled in."""
    return NEW_APP + quote(as_yaml(base_url, with_reasons=False), safe="")


def lacking(granted: Iterable[str]) -> list[Needed]:
    """The scopes that a token does not have, each with what therefore does not work."""
    has = set(granted)
    return [scope for scope in SCOPES if scope.name not in has]


def unheard(granted: Iterable[str]) -> list[Needed]:
    """The events that Slack cannot send to an app with these scopes."""
    has = set(granted)
    return [event for event in EVENTS if not has.issuperset(event.scopes)]
