"""An approval's card in Block Kit, from what will happen down to the answers. Pure.

First what, for whom and where; then who may decide, why they are asked and everything that will run, letter by letter;
then the answers. Nothing stands in a place where Slack may fold it away, except the exact action, which can be folded
and is not when it arrives.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from bot.slack.blocks.elements import (
    BUTTON_CHARS,
    Block,
    bold,
    bullets,
    button,
    context,
    header,
    link_button,
    paragraph,
    plain,
    rich,
    texts,
)
from bot.slack.text import clipped
from bot.slack.translate import ACTION_PREFIX, DENY_ASK, FORM_PREFIX, FORMS, MORE
from core.cards import Button, Card, labelled

FIELD_CHARS: Final = 2000
FIELDS_MOST: Final = 10
OPTIONS_MOST: Final = 5
OPTIONS_LEAST: Final = 2
# The short facts, side by side; a card's other lines are a list.
FIELDS: Final = ("Asked by", "May decide")
LATER: Final = ("stop",)


def approval_blocks(card: Card, link: str, *, simple: bool) -> Iterator[Block]:
    """`link` leads to the same card on the web, where people can reach it."""
    yield from header(card.headline.strip() or "Approval")
    if card.status.strip():
        yield context(card.stated)
    if card.quote.strip():
        yield rich({"type": "rich_text_quote", "elements": texts(card.quote)})
    lines = [line for line in card.lines if line.strip()]
    fields = [line for line in lines if _is_field(line)][:FIELDS_MOST]
    if fields:
        # Without `expand` Slack may fold the end of a section away.
        yield {"type": "section", "fields": [plain("\n".join(labelled(line))) for line in fields], "expand": True}
    if rest := [line for line in lines if line not in fields]:
        yield bullets(rest)
    yield from _exact(card, simple)
    if card.answer.strip():
        yield paragraph(card.answer)
    if card.expires_at is not None:
        yield {"type": "context", "elements": [{"type": "mrkdwn", "text": _expiry(card.expires_at)}]}
    yield from _answers(card, link)


def _is_field(line: str) -> bool:
    label, _ = labelled(line)
    return (label in FIELDS or label.endswith(" approved")) and len(line) <= FIELD_CHARS


def _exact(card: Card, simple: bool) -> Iterator[Block]:
    """Everything that will run. The `card` block is not for this: it shows 200 characters."""
    if not card.exact:
        return
    title = f"The whole action, letter by letter ({len(card.exact):,} characters)"
    whole = rich({"type": "rich_text_preformatted", "elements": texts(card.exact)})
    if simple:
        yield rich({"type": "rich_text_section", "elements": [bold(title)]})
        yield whole
        return
    yield {
        "type": "container",
        "title": plain(title),
        "is_collapsible": True,
        "default_collapsed": False,
        "child_blocks": [whole],
    }


def _expiry(expires_at: datetime) -> str:
    """In the reader's own time. Only a number goes into this markup."""
    # https://docs.slack.dev/messaging/formatting-message-text#date-formatting
    at = expires_at.astimezone(UTC)
    return f"Expires <!date^{int(at.timestamp())}^{{date_short_pretty}} at {{time}}|{at:%Y-%m-%d %H:%M} UTC>"


# ---------------------------------------------------------------- the answers


def _answers(card: Card, link: str) -> Iterator[Block]:
    """A row of what most need, with the rarer ones that need no question behind "…", and a row of what does."""
    early = [one for one in card.buttons if one.verb not in LATER] + [one for one in card.more if one.verb == "edit"]
    rest = [one for one in (*card.buttons, *card.more) if one not in early]
    asking = [one for one in early if one.verb == "deny"]
    options = [*(_with_reason(one) for one in asking), *(one for one in rest if _is_option(one))][:OPTIONS_MOST]
    if len(options) < OPTIONS_LEAST:
        options = []
    first = [_element(one, card) for one in early]
    if link:
        first.append(link_button(link))
    if options:
        first.append(_overflow(options, card.subject_id))
    elif asking:
        first.append(_element(_with_reason(asking[0]), card))
    if first:
        yield {"type": "actions", "elements": first}
    if second := [_element(one, card) for one in rest if one not in options]:
        yield {"type": "actions", "elements": second}


def _with_reason(deny: Button) -> Button:
    return Button(verb=DENY_ASK.removeprefix(ACTION_PREFIX), label=f"{deny.label} with a reason…")


def _is_option(one: Button) -> bool:
    """A menu asks no question before it acts."""
    return one.style == "plain" and not one.confirm and one.verb in (*FORMS, "looking")


def _element(one: Button, card: Card) -> Block:
    made = button(one, card.subject_id, card.headline)
    return made | {"action_id": f"{FORM_PREFIX}{one.verb}"} if one.verb in FORMS else made


def _overflow(options: list[Button], approval_id: str) -> Block:
    return {
        "type": "overflow",
        "action_id": MORE,
        "options": [
            {"text": plain(clipped(one.label or one.verb, BUTTON_CHARS)), "value": f"{one.verb}|{approval_id}"}
            for one in options
        ],
    }
