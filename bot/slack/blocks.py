"""Cards and words as Block Kit. Pure: a `Card` goes in, blocks that Slack takes come out.

Other people's text stands only in plain_text and rich_text elements, which Slack does not read for mentions, links or
styles; the one piece of markup is the expiry's date, made of a number. An approval's card is whole or offers no yes:
nothing on a card with an Approve button is shortened.
https://docs.slack.dev/reference/block-kit/blocks
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

from bot.slack.text import clipped, inert
from bot.slack.translate import (
    ACTION_PREFIX,
    DENY_ASK,
    DENY_VIEW,
    FIELD_PREFIX,
    FORM_PREFIX,
    FORMS,
    REASON,
    TASK_PREFIX,
    Reply,
)
from core import config
from core.cards import Button, Card, StepLine
from core.editing import Field

HEADER_CHARS: Final = 150
BUTTON_CHARS: Final = 75
BUTTON_URL_CHARS: Final = 3000
CONFIRM_TITLE_CHARS: Final = 100
CONFIRM_TEXT_CHARS: Final = 300
CONFIRM_BUTTON_CHARS: Final = 30
CONTEXT_CHARS: Final = 2000
LABEL_CHARS: Final = 150
ELEMENT_CHARS: Final = 3000
METADATA_CHARS: Final = 3000
# Slack refuses messages whose blocks are too large (`msg_blocks_too_long`) and does not publish from what size on.
BLOCKS_CHARS: Final = 12_000
TEXT_CHARS: Final = 4000
LINE_CHARS: Final = 400
LINES_MOST: Final = 10
STEPS_SHOWN: Final = 20
STEP_CHARS: Final = 150
ANSWER_CHARS: Final = 3000
WORDS_CHARS: Final = 7000
SHARES: Final = (1, 2, 4, 12)

Block = dict[str, Any]

_DONE = {"done": "✓", "failed": "✗", "running": "▸", "cancelled": "–", "skipped": "–"}


@dataclass(frozen=True, slots=True)
class Message:
    """What chat.postMessage and chat.update take. `text` is for notifications and screen readers."""

    text: str
    blocks: list[Block]


def card_message(card: Card, base_url: str, *, has_links: bool, simple: bool = False) -> Message:
    """The card; without its yes where Slack can't show all of it.

    `has_links`: people can reach `base_url`. `simple` leaves out the newest kind of block, for a Slack that refuses it.
    """
    url = f"{base_url}{card.path}"
    link = url if has_links and len(url) <= BUTTON_URL_CHARS else ""
    summary = inert(clipped(card.summary, TEXT_CHARS // 8))
    blocks = [*_card(card, link, simple)]
    if _fit(blocks):
        return Message(summary, blocks)
    if card.more:  # what everybody needs before what few do
        return card_message(card.model_copy(update={"more": ()}), base_url, has_links=has_links, simple=simple)
    without_yes = card.without_yes(url) if card.subject == "approval" else card
    for share in SHARES:
        blocks = [*_card(_shortened(without_yes, url, share), link, simple)]
        if _fit(blocks):
            break
    return Message(summary, blocks)


def words_message(words: str, base_url: str) -> Message:
    """Plain words, whole or cut with a word about it; links to our own pages work."""
    words = words if words.strip() else "(nothing to say)"
    if len(words) > WORDS_CHARS:
        words = f"{words[:WORDS_CHARS]}…\n\n({len(words) - WORDS_CHARS:,} more characters; the whole is at {base_url})"
    blocks = [_rich({"type": "rich_text_section", "elements": [*_linked(part, base_url)]}) for part in _parts(words)]
    return Message(inert(clipped(words, TEXT_CHARS // 8)), blocks)


def reason_view(approval_id: str, reply: Reply) -> Block:
    """The form in which a denial gets its reason."""
    return {
        "type": "modal",
        "callback_id": DENY_VIEW,
        "private_metadata": f"{approval_id}|{reply.channel}|{reply.thread}"[:METADATA_CHARS],
        "title": _plain("Deny with a reason"),
        "submit": _plain("Deny"),
        "close": _plain("Back"),
        "blocks": [
            {
                "type": "input",
                "block_id": REASON,
                "label": _plain("Why not?"),
                "hint": _plain("The agent reads it and may try another way."),
                "element": {
                    "type": "plain_text_input",
                    "action_id": REASON,
                    "multiline": True,
                    "max_length": config.REASON_CHARS,
                },
            }
        ],
    }


def words_view(verb: str, approval_id: str, reply: Reply) -> Block:
    """The form for a question, or for whom to hand it on to."""
    title, label, hint = {
        "ask": ("Ask the agent", "Your question", "The answer comes onto the card. It decides nothing."),
        "delegate": ("Hand it on", "To whom?", "Their key in sayso.yaml, such as bob."),
    }[verb]
    view = reason_view(approval_id, reply) | {"callback_id": f"{FORM_PREFIX}{verb}", "title": _plain(title)}
    [block] = view["blocks"]
    field = block | {"label": _plain(label), "hint": _plain(hint)}
    field["element"] = block["element"] | {"multiline": verb == "ask"}
    return view | {"submit": _plain(title), "blocks": [field]}


def edit_view(approval_id: str, fields: Sequence[Field], reply: Reply) -> Block | None:
    """The form made from the argument schema; None when a value is longer than Slack's fields."""
    if any(len(field.value) > ELEMENT_CHARS for field in fields):
        return None
    blocks = []
    for field in fields:
        note = {"list": "One a line. ", "json": "JSON. ", "boolean": "true or false. "}.get(field.kind, "")
        element: Block = {
            "type": "plain_text_input",
            "action_id": REASON,
            "multiline": field.kind in ("long", "list", "json"),
            "max_length": ELEMENT_CHARS,
        }
        if field.value:
            element["initial_value"] = field.value
        block: Block = {
            "type": "input",
            "block_id": f"{FIELD_PREFIX}{field.name}",
            "optional": True,
            "label": _plain(clipped(field.name, LABEL_CHARS)),
            "element": element,
        }
        if hint := clipped(note + field.hint, LABEL_CHARS).strip():
            block["hint"] = _plain(hint)
        blocks.append(block)
    view = reason_view(approval_id, reply) | {"callback_id": f"{FORM_PREFIX}edit", "title": _plain("Edit the action")}
    return view | {"submit": _plain("Send it"), "blocks": blocks}


# ---------------------------------------------------------------- a card, top to bottom


def _card(card: Card, link: str, simple: bool) -> Iterator[Block]:
    headline = card.headline.strip() or card.subject.capitalize()
    yield {"type": "header", "text": _plain(clipped(headline, HEADER_CHARS))}
    if len(headline) > HEADER_CHARS:
        yield from _paragraphs(headline)
    if card.status.strip():
        yield {"type": "context", "elements": [_plain(clipped(card.status, CONTEXT_CHARS))]}
    if card.quote.strip():
        yield _rich({"type": "rich_text_quote", "elements": _texts(card.quote)})
    yield from _exact(card, simple)
    if lines := [line for line in card.lines if line.strip()]:
        yield _rich(_list(lines))
    if card.steps:
        yield _rich(_list([_step(step) for step in card.steps]))
    if card.answer.strip():
        yield from _paragraphs(card.answer)
    if card.expires_at is not None:
        at = card.expires_at.astimezone(UTC)
        # Only a number goes into this markup. https://docs.slack.dev/messaging/formatting-message-text#date-formatting
        date = f"<!date^{int(at.timestamp())}^{{date_short_pretty}} at {{time}}|{at:%Y-%m-%d %H:%M} UTC>"
        yield {"type": "context", "elements": [{"type": "mrkdwn", "text": f"Expires {date}"}]}
    if buttons := [*_buttons(card), *([_link_button(link)] if link else [])]:
        yield {"type": "actions", "elements": buttons}
    if more := [*_more(card)]:
        yield {"type": "actions", "elements": more}


def _exact(card: Card, simple: bool) -> Iterator[Block]:
    """Everything that will run, letter by letter. It can be folded away, and is not when it arrives."""
    if not card.exact:
        return
    title = f"The whole action, letter by letter ({len(card.exact):,} characters)"
    whole = _rich({"type": "rich_text_preformatted", "elements": _texts(card.exact)})
    if simple:
        yield _rich(
            {"type": "rich_text_section", "elements": [{"type": "text", "text": title, "style": {"bold": True}}]}
        )
        yield whole
        return
    yield {
        "type": "container",
        "title": _plain(title),
        "is_collapsible": True,
        "default_collapsed": False,
        "child_blocks": [whole],
    }


def _step(step: StepLine) -> str:
    sign = _DONE.get(step.status, "·")
    note = f": {step.note}" if step.note else ""
    return f"{sign} {step.n}. {step.title} ({step.status}){note}"


def _buttons(card: Card) -> Iterator[Block]:
    value = card.subject_id if card.subject == "approval" else f"{TASK_PREFIX}{card.task_id}"
    for button in card.buttons:
        yield _button(button, value, card.headline)
        if card.subject == "approval" and button.verb == "deny":
            asking = Button(verb="deny", label=f"{button.label} with a reason…")
            yield _button(asking, value, card.headline) | {"action_id": DENY_ASK}


def _more(card: Card) -> Iterator[Block]:
    """The rarer answers, in a row of their own; those that need words open a form."""
    for button in card.more:
        made = _button(button, card.subject_id, card.headline)
        yield made | {"action_id": f"{FORM_PREFIX}{button.verb}"} if button.verb in FORMS else made


def _button(button: Button, value: str, headline: str) -> Block:
    made: Block = {
        "type": "button",
        "action_id": f"{ACTION_PREFIX}{button.verb}",
        "value": value,
        "text": _plain(clipped(button.label or button.verb, BUTTON_CHARS)),
        "accessibility_label": clipped(f"{button.label}: {headline}", BUTTON_CHARS),
    }
    if button.style != "plain":
        made["style"] = button.style
    if button.confirm:
        # A cut question could ask for something else than the card does.
        fits = len(button.confirm) <= CONFIRM_TEXT_CHARS
        made["confirm"] = {
            "title": _plain(clipped(button.label, CONFIRM_TITLE_CHARS)),
            "text": _plain(button.confirm if fits else "Exactly what this card shows?"),
            "confirm": _plain(clipped(button.label, CONFIRM_BUTTON_CHARS)),
            "deny": _plain("Back"),
            "style": "danger",
        }
    return made


def _link_button(url: str) -> Block:
    return {"type": "button", "action_id": f"{ACTION_PREFIX}open", "text": _plain("Details"), "url": url}


# ---------------------------------------------------------------- limits


def _fit(blocks: list[Block]) -> bool:
    return len(json.dumps(blocks, ensure_ascii=False)) <= BLOCKS_CHARS


def _shortened(card: Card, url: str, share: int) -> Card:
    """The card with a share of the room, for one on which nobody can say yes. Its last line, which says where, stays."""
    line = LINE_CHARS // share
    lines = [clipped(one, line) for one in card.lines[:-1][: LINES_MOST - 1]]
    lines += [clipped(one, LINE_CHARS + len(url)) for one in card.lines[-1:]]
    if len(card.steps) > STEPS_SHOWN:
        lines.append(f"{len(card.steps) - STEPS_SHOWN} further steps are at {url}")
    answer, most = card.answer, ANSWER_CHARS // share
    if len(answer) > most:
        answer = f"{answer[:most]}…\n\n({len(answer) - most:,} more characters: {url})"
    cut = {
        "headline": clipped(card.headline, line),
        "status": clipped(card.status, line),
        "quote": clipped(card.quote, line),
        "lines": tuple(lines),
        "steps": tuple(_short_step(step, STEP_CHARS // share) for step in card.steps[:STEPS_SHOWN]),
        "answer": answer,
        "exact": "",
        "buttons": tuple(_short_button(button) for button in card.buttons),
    }
    return card.model_copy(update=cut)


def _short_step(step: StepLine, most: int) -> StepLine:
    cut = {"title": clipped(step.title, most), "status": clipped(step.status, most), "note": clipped(step.note, most)}
    return step.model_copy(update=cut)


def _short_button(button: Button) -> Button:
    return button.model_copy(update={"confirm": clipped(button.confirm, CONFIRM_TEXT_CHARS)})


# ---------------------------------------------------------------- elements


def _plain(text: str) -> Block:
    """`emoji: false`, so that `:white_check_mark:` stays what it is."""
    return {"type": "plain_text", "text": text if text.strip() else "–", "emoji": False}


def _rich(element: Block) -> Block:
    return {"type": "rich_text", "elements": [element]}


def _list(lines: Iterable[str]) -> Block:
    items = [{"type": "rich_text_section", "elements": _texts(line)} for line in lines]
    return {"type": "rich_text_list", "style": "bullet", "elements": items}


def _paragraphs(text: str) -> Iterator[Block]:
    yield _rich({"type": "rich_text_section", "elements": _texts(text)})


def _texts(text: str) -> list[Block]:
    return [{"type": "text", "text": part} for part in _parts(text)]


def _parts(text: str) -> Sequence[str]:
    """No element longer than Slack takes, and none empty."""
    return [text[at : at + ELEMENT_CHARS] for at in range(0, len(text), ELEMENT_CHARS)] or ["–"]


def _linked(text: str, base_url: str) -> Iterator[Block]:
    """Our own addresses become links; everyone else's stay letters."""
    # Not `our.host.evil.example` nor `our.host@evil.example`.
    ours = rf"({re.escape(base_url)}(?![\w:@-]|\.\w)(?:/[\w./?=&%#-]*[\w/=])?)"
    for at, piece in enumerate(re.split(ours, text)):
        if at % 2:
            yield {"type": "link", "url": piece}
        elif piece:
            yield {"type": "text", "text": piece}
