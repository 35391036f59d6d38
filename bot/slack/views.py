"""The forms that Slack opens: a reason, a question, whom to hand it on to, an edit of the arguments. Pure.

A trigger is good for three seconds and for one view, so a form that needs the database is opened as `loading_view` and
becomes the real one, or `said_view` with why there is none. `private_metadata` is `approval|channel|thread`: which card
is meant and where to say something, and nothing that gives a right.
https://docs.slack.dev/reference/views/modal-views
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from bot.slack.blocks.elements import ELEMENT_CHARS, Block, plain
from bot.slack.text import clipped
from bot.slack.translate import DENY_VIEW, FIELD_PREFIX, FORM_PREFIX, REASON, Reply
from core import config
from core.display import visible
from core.editing import Field

METADATA_CHARS: Final = 3000
LABEL_CHARS: Final = 150
BLOCK_ID_CHARS: Final = 255
OPTION_CHARS: Final = 75
OPTIONS_MOST: Final = 100
NUMBER_CHARS: Final = 15

_PLAIN_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")
_NOTES: Final = {"list": "One a line. ", "json": "JSON. "}
_TITLES: Final = {"edit": "Edit the action", "ask": "Ask the agent", "delegate": "Hand it on"}


def reason_view(approval_id: str, reply: Reply) -> Block:
    """The form in which a denial gets its reason."""
    hint = "The agent reads it and may try another way."
    asked = _asked("Why not?", hint, _words(config.REASON_CHARS))
    return _view(approval_id, reply, DENY_VIEW, "Deny with a reason", submit="Deny", blocks=[asked])


def words_view(verb: str, approval_id: str, reply: Reply) -> Block:
    """The form for a question, or for whom to hand it on to."""
    if verb == "ask":
        hint = "The answer comes onto the card. It decides nothing."
        asked = _asked("Your question", hint, _words(config.QUESTION_CHARS))
    else:
        hint = "They have to be known here. Somebody without Slack: say delegate <task> to <name>."
        asked = _asked("To whom?", hint, {"type": "users_select"})
    title = _TITLES[verb]
    return _view(approval_id, reply, f"{FORM_PREFIX}{verb}", title, submit=title, blocks=[asked])


def loading_view(approval_id: str, reply: Reply, verb: str) -> Block:
    """What stands in the form until the database has been asked."""
    return said_view(approval_id, reply, verb, "One moment…")


def said_view(approval_id: str, reply: Reply, verb: str, words: str) -> Block:
    """Words in place of a form; there is nothing to submit."""
    text = {"type": "section", "text": plain(clipped(words, ELEMENT_CHARS)), "expand": True}
    return _view(approval_id, reply, f"{FORM_PREFIX}{verb}", _TITLES[verb], submit="", blocks=[text])


def edit_view(approval_id: str, fields: Sequence[Field], reply: Reply) -> Block | None:
    """The form made from the argument schema; None when Slack can't show all of a value, or has no room for a field."""
    if not fields or any(
        len(field.value) > ELEMENT_CHARS or len(FIELD_PREFIX + field.name) > BLOCK_ID_CHARS for field in fields
    ):
        return None
    blocks = [_input(field) for field in fields]
    return _view(approval_id, reply, f"{FORM_PREFIX}edit", _TITLES["edit"], submit="Send it", blocks=blocks)


def _view(approval_id: str, reply: Reply, callback: str, title: str, *, submit: str, blocks: list[Block]) -> Block:
    view: Block = {
        "type": "modal",
        "callback_id": callback,
        "private_metadata": f"{approval_id}|{reply.channel}|{reply.thread}"[:METADATA_CHARS],
        "title": plain(title),
        "close": plain("Back" if submit else "Close"),
        "blocks": blocks,
    }
    return view | {"submit": plain(submit)} if submit else view


def _asked(label: str, hint: str, element: Block) -> Block:
    """A form's only question."""
    element = element | {"action_id": REASON}
    return {"type": "input", "block_id": REASON, "label": plain(label), "hint": plain(hint), "element": element}


def _words(most: int) -> Block:
    return {"type": "plain_text_input", "multiline": True, "max_length": most}


def _input(field: Field) -> Block:
    block: Block = {
        "type": "input",
        "block_id": f"{FIELD_PREFIX}{field.name}",
        "optional": True,
        "label": plain(clipped(visible(field.name), LABEL_CHARS)),
        "element": _element(field) | {"action_id": REASON},
    }
    if hint := clipped(_NOTES.get(field.kind, "") + visible(field.hint), LABEL_CHARS).strip():
        block["hint"] = plain(hint)
    return block


def _element(field: Field) -> Block:
    """The field's own kind of input, as far as Slack's takes the value as it is."""
    if field.kind in ("choice", "boolean") and _are_options(field.choices):
        options = [{"text": plain(choice), "value": choice} for choice in field.choices]
        chosen = [option for option in options if option["value"] == field.value]
        if chosen or not field.value:
            return {"type": "static_select", "options": options} | ({"initial_option": chosen[0]} if chosen else {})
    if field.kind in ("integer", "number") and (not field.value or _is_plain_number(field.value)):
        made: Block = {"type": "number_input", "is_decimal_allowed": field.kind == "number"}
    else:
        is_long = field.kind in ("long", "list", "json")
        made = {"type": "plain_text_input", "multiline": is_long, "max_length": ELEMENT_CHARS}
    return made | ({"initial_value": field.value} if field.value else {})


def _are_options(choices: Sequence[str]) -> bool:
    """Whether Slack's menu shows each of them whole, and no two as the same."""
    fit = all(choice.strip() and len(choice) <= OPTION_CHARS and visible(choice) == choice for choice in choices)
    return 0 < len(choices) <= OPTIONS_MOST and fit and len(set(choices)) == len(choices)


def _is_plain_number(value: str) -> bool:
    """Not `1e+20`, and not more digits than a browser's number holds."""
    return len(value) <= NUMBER_CHARS and _PLAIN_NUMBER.fullmatch(value) is not None
