"""Turns a card into Telegram's HTML and an inline keyboard, whole or without its yes.

Pure. Everything is escaped; what Telegram would make clickable on its own (mentions, commands, links out of an argument) is
set as code, where it stays text. The exact action stands in `<pre>`; if a card does not fit into one message it loses
every button that says yes and says where to read it. Nothing of an action is ever cut while Approve is there.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from telegram import InlineKeyboardButton, InlineKeyboardMarkup

from bot.telegram import newer
from bot.telegram.buttons import IN_WORDS, Kind, Tap
from core.cards import Button, Card, StepLine

TEXT_UNITS: Final = 4096  # UTF-16 units after the entities are read
QUOTE_CHARS: Final = 300
LINE_CHARS: Final = 300
NOTE_CHARS: Final = 60
LINES_CLIPPED: Final = 7
ANSWER_UNITS: Final = 100  # less room than this is none
STEPS_CLIPPED: Final = 12
BUTTONS_PER_ROW: Final = 2
CODES_PER_LINE: Final = 3
LINES_WITH_CODES: Final = 25  # 100 entities a message; beyond them a line is one piece of code

MORE: Final = "More…"
BACK: Final = "Back"
WHOLE: Final = "Show it whole"
DENY_WITH_REASON: Final = "Deny with a reason…"
SEVERAL: Final = "Several at once…"
LABEL_CHARS: Final = 40

MARKS: Final = {"done": "✓", "running": "▸", "failed": "✕"}
STYLES: Final = {"primary": "primary", "danger": "danger"}

# What Telegram finds in plain text by itself: @name, #tag, $TAG, /command, scheme://, a.domain, user@host, +phone.
_CLICKABLE = re.compile(r"[@#$]\w|(?<!\w)/\w|://|\w\.\w|mailto:|tel:|\+\d{5}")


@dataclass(frozen=True, slots=True)
class Rendered:
    """One message. `plain` is the same text for when Telegram can't read the markup."""

    html: str
    plain: str
    keyboard: InlineKeyboardMarkup | None

    @property
    def fits(self) -> bool:
        return units(self.plain) <= TEXT_UNITS


def rendered(card: Card, base_url: str) -> Rendered:
    """The card as one message that Telegram accepts."""
    return _drawn(shown(card, base_url), base_url)


def shown(card: Card, base_url: str) -> Card:
    """The card as it fits into one message: itself, or without its yes and cut."""
    shorter = _shorter(card, f"{base_url}{card.path}")
    while not _drawn(card, base_url).fits and (next_try := next(shorter, None)) is not None:
        card = next_try
    return card


def confirmation(card: Card, button: Button) -> InlineKeyboardMarkup:
    """Telegram has no confirm dialog: the buttons become this one question. It names the verb, not 'yes'."""
    verb = (button.confirm or button.label).split()[0].lower()
    sure = Tap("act", card.subject, card.subject_id, button.verb).data
    return InlineKeyboardMarkup(
        [[InlineKeyboardButton(f"Confirm {verb}", callback_data=sure, style="danger"), _back(card)]]
    )


def keyboard(card: Card) -> InlineKeyboardMarkup | None:
    """The card's buttons, and one that leads to the rarer answers; None removes them from a message."""
    if card.decided:
        return InlineKeyboardMarkup([[newer.disabled_button(cut(card.decided, LABEL_CHARS))]])
    buttons = [_button(card, button) for button in card.buttons]
    if card.subject == "approval" and card.buttons and not card.exact:
        buttons.append(InlineKeyboardButton(WHOLE, callback_data=Tap("show", card.subject, card.subject_id).data))
    if card.more:
        buttons.append(InlineKeyboardButton(MORE, callback_data=Tap("more", card.subject, card.subject_id).data))
    return InlineKeyboardMarkup(_rows(buttons)) if buttons else None


def rarer(card: Card) -> InlineKeyboardMarkup | None:
    """The rarer answers in place of the card's buttons; its own when there are none any more."""
    if not card.more:
        return keyboard(card)
    buttons = [_button(card, button) for button in card.more]
    if any(button.verb == "deny" for button in card.buttons):
        data = Tap("words", card.subject, card.subject_id, "deny").data
        buttons.append(InlineKeyboardButton(DENY_WITH_REASON, callback_data=data, style="danger"))
    return InlineKeyboardMarkup([*_rows(buttons), [_back(card)]])


def arguments(card: Card, names: Sequence[str]) -> InlineKeyboardMarkup | None:
    """Which argument is to be edited; the card's own buttons when it can't be any more."""
    if all(button.verb != "edit" for button in card.more):
        return keyboard(card)
    taps = [(name, Tap("words", card.subject, card.subject_id, "edit", n)) for n, name in enumerate(names, start=1)]
    buttons = [InlineKeyboardButton(cut(name, LABEL_CHARS), callback_data=tap.data) for name, tap in taps]
    several = Tap("words", card.subject, card.subject_id, "edit", 0).data
    return InlineKeyboardMarkup([*_rows(buttons), [InlineKeyboardButton(SEVERAL, callback_data=several), _back(card)]])


def _button(card: Card, button: Button) -> InlineKeyboardButton:
    kind: Kind = "confirm" if button.confirm else "words" if button.verb in IN_WORDS - {"deny"} else "act"
    data = Tap(kind, card.subject, card.subject_id, button.verb).data
    return InlineKeyboardButton(button.label, callback_data=data, style=STYLES.get(button.style))


def _back(card: Card) -> InlineKeyboardButton:
    return InlineKeyboardButton(BACK, callback_data=Tap("back", card.subject, card.subject_id).data)


def _rows(buttons: Sequence[InlineKeyboardButton]) -> list[Sequence[InlineKeyboardButton]]:
    return [buttons[i : i + BUTTONS_PER_ROW] for i in range(0, len(buttons), BUTTONS_PER_ROW)]


def units(text: str) -> int:
    """The length of a text as Telegram counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


# ---------------------------------------------------------------- one message


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    kind: str = "fact"


def _drawn(card: Card, base_url: str) -> Rendered:
    lines = list(_lines(card))
    codes = CODES_PER_LINE if len(lines) <= LINES_WITH_CODES else 0
    return Rendered(
        html="\n".join(_marked_up(line, base_url, codes) for line in lines),
        plain="\n".join(line.text for line in lines),
        keyboard=keyboard(card),
    )


def _lines(card: Card) -> Iterable[_Line]:
    yield _Line(card.headline, "headline")
    yield _Line(card.stated)
    yield from (_Line(line) for line in card.lines)
    if card.quote:
        yield _Line(f"Asked for: “{card.quote}”")
    if card.exact:
        yield _Line("Exactly this will run:" if card.expires_at else "Exactly this:")
        yield _Line(card.exact, "exact")
    yield from (_Line(_step(step)) for step in card.steps)
    if card.answer:
        yield _Line(card.answer, "answer")
    if card.expires_at is not None:
        yield _Line(f"Expires {card.expires_at:%Y-%m-%d %H:%M} UTC")


def _step(step: StepLine) -> str:
    """A mark and the word for it: the mark alone tells nothing to who can't see it."""
    note = f": {step.note}" if step.note else ""
    return f"{MARKS.get(step.status, '○')} {step.n}. {step.title} ({step.status}){note}"


def _marked_up(line: _Line, base_url: str, codes: int) -> str:
    match line.kind:
        case "exact":
            return f"<pre>{html.escape(line.text)}</pre>"
        case "answer":
            return html.escape(line.text)
        case _:
            return _inert(line.text, base_url, codes, "b" if line.kind == "headline" else "")


def _inert(text: str, base_url: str, codes: int, tag: str) -> str:
    """Escaped text in which nothing becomes a link, a mention or a command but our own address."""
    words = re.split(r"(\s+)", text)
    live = [_CLICKABLE.search(word) is not None and not word.startswith(f"{base_url}/") for word in words]
    if sum(live) > codes:
        return f"<code>{html.escape(text)}</code>"
    parts: list[str] = []
    calm = ""
    for word, is_live in zip(words, live, strict=True):
        if is_live:
            parts += [_tagged(calm, tag), f"<code>{html.escape(word)}</code>"]
            calm = ""
        else:
            calm += word
    return "".join([*parts, _tagged(calm, tag)])


def _tagged(text: str, tag: str) -> str:
    escaped = html.escape(text)
    return f"<{tag}>{escaped}</{tag}>" if tag and text.strip() else escaped


# ---------------------------------------------------------------- when it does not fit


def _shorter(card: Card, url: str) -> Iterator[Card]:
    """The same card ever shorter; the last one always fits."""
    if card.subject == "approval":
        yield card.model_copy(update={"quote": cut(card.quote, QUOTE_CHARS)})
        # From here on it can't be approved, so what is left may be cut.
        card = card.without_yes(url)
        *facts, where = card.lines
        kept = (*(cut(line, LINE_CHARS) for line in facts[:LINES_CLIPPED]), where)
    else:
        kept = tuple(cut(line, LINE_CHARS) for line in card.lines[:LINES_CLIPPED])
        yield _with_answercut(card, url)
    steps = tuple(
        step.model_copy(update={"title": cut(step.title, NOTE_CHARS), "note": cut(step.note, NOTE_CHARS)})
        for step in card.steps[:STEPS_CLIPPED]
    )
    short = {"headline": cut(card.headline, LINE_CHARS), "quote": cut(card.quote, QUOTE_CHARS)}
    card = card.model_copy(
        update={**short, "lines": kept, "steps": steps, "status": cut(card.status, LINE_CHARS), "exact": ""}
    )
    yield _with_answercut(card, url)


def _with_answercut(card: Card, url: str) -> Card:
    """The answer as far as it fits, up to the end of a sentence."""
    room = TEXT_UNITS - units(_drawn(card.model_copy(update={"answer": ""}), "").plain)
    more = f"… The rest is at {url}"
    room -= units(more) + 2
    if units(card.answer) <= room:
        return card
    if room < ANSWER_UNITS:
        return card.model_copy(update={"answer": more})
    return card.model_copy(update={"answer": f"{split(card.answer, room)[0]}\n{more}"})


def cut(text: str, chars: int) -> str:
    """The text, or as much of it with an ellipsis."""
    return text if len(text) <= chars else f"{text[: chars - 1]}…"


# ---------------------------------------------------------------- long texts

_BORDERS: Final[Sequence[re.Pattern[str]]] = (
    re.compile(r"\n\n"),
    re.compile(r"\n"),
    re.compile(r"[.!?…。][\"')\]]*\s"),
    re.compile(r"\s"),
)


def split(text: str, most: int = TEXT_UNITS) -> list[str]:
    """The text in parts of at most so many units, cut between paragraphs, lines, sentences or words, in that order.

    Nothing but the white space at a cut is lost. An empty text has no part.
    """
    parts = []
    rest = text.strip()
    while units(rest) > most:
        head = _head(rest, most)
        cut = next((ends[-1] for border in _BORDERS if (ends := _ends(border, head))), len(head))
        parts.append(head[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*parts, rest] if rest else parts


def newest(text: str, most: int = TEXT_UNITS) -> str:
    """The end of a text that grows, as far as it fits."""
    if units(text) <= most:
        return text
    return "…" + text.encode("utf-16-le", "surrogatepass")[-(most - 1) * 2 :].decode("utf-16-le", "ignore")


def _head(text: str, most: int) -> str:
    """The first so many units of a text, never half a character."""
    return text.encode("utf-16-le", "surrogatepass")[: most * 2].decode("utf-16-le", "ignore")


def _ends(border: re.Pattern[str], head: str) -> list[int]:
    """Where the border ends in the later half of the text: a part that is nearly empty helps nobody."""
    return [found.end() for found in border.finditer(head) if found.end() > len(head) // 2]
