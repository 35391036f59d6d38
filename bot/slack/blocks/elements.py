"""The small parts of Block Kit that all our messages and forms are made of. Pure.

Other people's text goes only into plain_text and rich_text elements, which Slack does not read for mentions, links or
styles. Nothing here shortens a text; what is longer than one element takes becomes several.
https://docs.slack.dev/reference/block-kit/blocks/rich-text-block
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from bot.slack.text import clipped
from bot.slack.translate import ACTION_PREFIX
from core.cards import Button, labelled

HEADER_CHARS: Final = 150
BUTTON_CHARS: Final = 75
CONFIRM_TITLE_CHARS: Final = 100
CONFIRM_TEXT_CHARS: Final = 300
CONFIRM_BUTTON_CHARS: Final = 30
CONTEXT_CHARS: Final = 2000
ELEMENT_CHARS: Final = 3000

Block = dict[str, Any]


def plain(text: str) -> Block:
    """`emoji: false`, so that `:white_check_mark:` stays what it is."""
    return {"type": "plain_text", "text": text if text.strip() else "–", "emoji": False}


def header(headline: str) -> Iterator[Block]:
    """The headline; once more in full where a header can't hold it."""
    yield {"type": "header", "text": plain(clipped(headline, HEADER_CHARS))}
    if len(headline) > HEADER_CHARS:
        yield paragraph(headline)


def context(text: str) -> Block:
    return {"type": "context", "elements": [plain(clipped(text, CONTEXT_CHARS))]}


def rich(element: Block) -> Block:
    return {"type": "rich_text", "elements": [element]}


def paragraph(text: str) -> Block:
    return rich({"type": "rich_text_section", "elements": texts(text)})


def bullets(lines: Iterable[str]) -> Block:
    """A list; the label of a line, which is ours, in bold."""
    items = [{"type": "rich_text_section", "elements": [*_line(line)]} for line in lines]
    return rich({"type": "rich_text_list", "style": "bullet", "elements": items})


def bold(text: str) -> Block:
    return {"type": "text", "text": text, "style": {"bold": True}}


def texts(text: str) -> list[Block]:
    return [{"type": "text", "text": part} for part in parts(text)]


def parts(text: str) -> Sequence[str]:
    """No element longer than Slack takes, and none empty."""
    return [text[at : at + ELEMENT_CHARS] for at in range(0, len(text), ELEMENT_CHARS)] or ["–"]


def linked(text: str, base_url: str) -> Iterator[Block]:
    """Our own addresses become links; everyone else's stay letters."""
    # Not `our.host.evil.example` nor `our.host@evil.example`.
    ours = rf"({re.escape(base_url)}(?![\w:@-]|\.\w)(?:/[\w./?=&%#-]*[\w/=])?)"
    for at, piece in enumerate(re.split(ours, text)):
        if at % 2:
            yield {"type": "link", "url": piece}
        elif piece:
            yield {"type": "text", "text": piece}


def button(shown: Button, value: str, headline: str) -> Block:
    """`value` is all that a press brings back: whose button it is. What it may do is decided when it is pressed."""
    made: Block = {
        "type": "button",
        "action_id": f"{ACTION_PREFIX}{shown.verb}",
        "value": value,
        "text": plain(clipped(shown.label or shown.verb, BUTTON_CHARS)),
        "accessibility_label": clipped(f"{shown.label}: {headline}", BUTTON_CHARS),
    }
    if shown.style != "plain":
        made["style"] = shown.style
    if shown.confirm:
        # A cut question could ask for something else than the card does.
        fits = len(shown.confirm) <= CONFIRM_TEXT_CHARS
        made["confirm"] = {
            "title": plain(clipped(shown.label, CONFIRM_TITLE_CHARS)),
            "text": plain(shown.confirm if fits else "Exactly what this card shows?"),
            "confirm": plain(clipped(shown.yes or shown.label, CONFIRM_BUTTON_CHARS)),
            "deny": plain("Back"),
            "style": "danger" if shown.is_final else "primary",
        }
    return made


def link_button(url: str) -> Block:
    return {"type": "button", "action_id": f"{ACTION_PREFIX}open", "text": plain("Details"), "url": url}


def _line(line: str) -> Iterator[Block]:
    label, text = labelled(line)
    if label:
        yield bold(f"{label}: ")
    yield from texts(text)
