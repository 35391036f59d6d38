"""The Home tab as Block Kit. Pure: what a person has to do with goes in, a view that Slack takes comes out.

It decides nothing: an action is approved on its card, where all of it is shown, so this only leads there. Text of others
stands in plain_text alone. Nothing of anybody else is in it, and to a stranger it says that they are one.
https://docs.slack.dev/surfaces/app-home
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bot.slack.blocks.elements import Block, plain
from bot.slack.surfaces import HOME_PREFIX
from bot.slack.text import clipped
from core.cards import grant_text
from core.cards.task import status_word
from core.display import visible

SHOWN_MOST: Final = 10
LINE_CHARS: Final = 500
LINK_PREFIX: Final = "sayso:link:"

CHATS: Final[Mapping[str, str]] = {"slack": "Slack", "telegram": "Telegram", "sms": "Phone", "web": "Web"}
STRANGER: Final = "I don't know you. Write me a message here and I will tell you how to be let in."
NOTHING_WAITS: Final = "Nothing waits for your decision."
NOTHING_RUNS: Final = "No task of yours is open. Write me a message to begin one."
NO_GRANTS: Final = "You have given no standing permission, and none covers what you ask for."


@dataclass(frozen=True, slots=True)
class Waiting:
    """An approval that the person may decide: what, who asked, until when, and where its card is."""

    approval_id: str
    title: str
    asked_by: str
    expires_unix_s: int
    has_answered: bool
    link: str


@dataclass(frozen=True, slots=True)
class Shown:
    """Everything of one person that the tab shows; None stands for a stranger."""

    name: str
    waiting: Sequence[Waiting]
    tasks: Sequence[Mapping[str, Any]]
    grants: Sequence[Mapping[str, Any]]
    identities: Sequence[tuple[str, str]]
    settings: Sequence[str]
    notice: str = ""
    web: str = ""


def home_view(shown: Shown | None) -> dict[str, Any]:
    if shown is None:
        return {"type": "home", "blocks": [_line(STRANGER)]}
    blocks = [_line(shown.notice)] if shown.notice else []
    blocks += _part("Waits for your decision", NOTHING_WAITS, [_waiting(one) for one in shown.waiting])
    blocks += _part("Your open tasks", NOTHING_RUNS, [_task(task) for task in shown.tasks])
    blocks += _part("Standing permissions", NO_GRANTS, [_grant(grant) for grant in shown.grants])
    known = [
        _line(f"{CHATS.get(channel, channel)}: {visible(external_id)}") for channel, external_id in shown.identities
    ]
    blocks += _part(f"You are {visible(shown.name)}", "", known)
    blocks += _part("Settings (in sayso.yaml)", "", [_line(line) for line in shown.settings])
    if shown.web:
        blocks.append({"type": "actions", "elements": [_link("Open the inbox", shown.web, "inbox")]})
    return {"type": "home", "blocks": blocks}


def _part(title: str, empty: str, lines: Sequence[Block]) -> Iterable[Block]:
    """A heading and its lines; without lines what is said instead, and nothing at all where nothing is."""
    if not lines and not empty:
        return
    yield {"type": "header", "text": plain(clipped(title, LINE_CHARS // 4))}
    if not lines:
        yield _line(empty)
    yield from lines[:SHOWN_MOST]
    if len(lines) > SHOWN_MOST:
        yield _line(f"… and {len(lines) - SHOWN_MOST} more: write me “approvals”, “tasks” or “grants” for all of them.")


def _waiting(one: Waiting) -> Block:
    # Only a number goes into the markup. https://docs.slack.dev/messaging/formatting-message-text#date-formatting
    block = _line(f"{one.title}\nasked by {one.asked_by}" + ("; you have answered" if one.has_answered else ""))
    block["fields"] = [
        {"type": "mrkdwn", "text": f"until <!date^{one.expires_unix_s}^{{date_short_pretty}} at {{time}}|…>"}
    ]
    if one.link:
        block["accessory"] = _link("Open the card", one.link, one.approval_id)
    return block


def _task(task: Mapping[str, Any]) -> Block:
    block = _line(f"{task['id']}: {visible(task['goal'])} ({status_word(task)})")
    question = {"title": "Stop this task?", "text": clipped(visible(task["goal"]), 300), "yes": "Stop"}
    if task["status"] != "cancelling":
        block["accessory"] = _button("Stop", "stop", str(task["id"]), question)
    return block


def _grant(grant: Mapping[str, Any]) -> Block:
    block = _line(grant_text(grant))
    question = {
        "title": "Revoke this permission?",
        "text": "It ends at once, also for calls that wait.",
        "yes": "Revoke",
    }
    block["accessory"] = _button("Revoke", "revoke", str(grant["id"]), question)
    return block


def _line(text: str) -> Block:
    return {"type": "section", "text": plain(clipped(text, LINE_CHARS)), "expand": True}


def _button(label: str, verb: str, value: str, question: Mapping[str, str]) -> Block:
    confirm = {
        "title": plain(question["title"]),
        "text": plain(question["text"]),
        "confirm": plain(question["yes"]),
        "deny": plain("Back"),
        "style": "danger",
    }
    action = {"type": "button", "action_id": f"{HOME_PREFIX}{verb}", "value": value}
    return action | {"text": plain(label), "accessibility_label": f"{label} {value}"[:75], "confirm": confirm}


def _link(label: str, url: str, name: str) -> Block:
    return {"type": "button", "action_id": f"{LINK_PREFIX}{name}", "text": plain(label), "url": url}
