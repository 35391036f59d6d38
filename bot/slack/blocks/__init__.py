"""Cards and words as messages that Slack takes. Pure: a `Card` goes in, blocks come out.

An approval's card is whole or offers no yes: nothing on a card with an Approve button is shortened. Everything else is
shortened until it fits, and says where the rest is. The parts are in `approval`, `run` and `elements`.
https://docs.slack.dev/reference/block-kit/blocks
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from bot.slack.blocks.approval import approval_blocks
from bot.slack.blocks.elements import CONFIRM_TEXT_CHARS, Block, linked, parts, rich
from bot.slack.blocks.run import run_blocks
from bot.slack.text import clipped, inert
from core.cards import Button, Card, StepLine

BUTTON_URL_CHARS: Final = 3000
# Slack refuses messages whose blocks are too large (`msg_blocks_too_long`) and does not publish from what size on.
BLOCKS_CHARS: Final = 12_000
SUMMARY_CHARS: Final = 500
LINE_CHARS: Final = 400
LINES_MOST: Final = 10
STEPS_SHOWN: Final = 20
STEP_CHARS: Final = 150
ANSWER_CHARS: Final = 3000
WORDS_CHARS: Final = 7000
SHARES: Final = (1, 2, 4, 12)

__all__ = ["BLOCKS_CHARS", "WORDS_CHARS", "Block", "Message", "bare_message", "card_message", "words_message"]


@dataclass(frozen=True, slots=True)
class Message:
    """What chat.postMessage and chat.update take. `text` is for notifications and screen readers."""

    text: str
    blocks: list[Block]


def card_message(
    card: Card, base_url: str, *, has_links: bool, simple: bool = False, room: int = BLOCKS_CHARS
) -> Message:
    """The card; without its yes where Slack can't show all of it.

    `has_links`: people can reach `base_url`. `simple` leaves out the newest kinds of block, for a Slack that refuses them;
    `room` is how many characters of JSON its blocks may be.
    """
    url = f"{base_url}{card.path}"
    link = url if has_links and len(url) <= BUTTON_URL_CHARS else ""
    summary = inert(clipped(card.summary, SUMMARY_CHARS))
    drawn = approval_blocks if card.subject == "approval" else run_blocks
    blocks = [*drawn(card, link, simple=simple)]
    if _fit(blocks, room):
        return Message(summary, blocks)
    if card.more:  # what everybody needs before what few do
        return card_message(
            card.model_copy(update={"more": ()}), base_url, has_links=has_links, simple=simple, room=room
        )
    without_yes = card.without_yes(url) if card.subject == "approval" else card
    for share in SHARES:
        blocks = [*drawn(_shortened(without_yes, url, share), link, simple=simple)]
        if _fit(blocks, room):
            break
    return Message(summary, blocks)


def bare_message(card: Card, base_url: str) -> Message:
    """What is left where Slack takes no blocks of a card at all: what it is about, and where to read and decide it."""
    return Message(inert(f"{clipped(card.summary, SUMMARY_CHARS)}\n{base_url}{card.path}"), [])


def words_message(words: str, base_url: str, *, most: int = WORDS_CHARS) -> Message:
    """Plain words, whole or cut with a word about it; links to our own pages work."""
    words = words if words.strip() else "(nothing to say)"
    if len(words) > most:
        words = f"{words[:most]}…\n\n({len(words) - most:,} more characters; the whole is at {base_url})"
    blocks = [rich({"type": "rich_text_section", "elements": [*linked(part, base_url)]}) for part in parts(words)]
    return Message(inert(clipped(words, SUMMARY_CHARS)), blocks)


# ---------------------------------------------------------------- limits


def _fit(blocks: list[Block], room: int) -> bool:
    return len(json.dumps(blocks, ensure_ascii=False)) <= room


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
