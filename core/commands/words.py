"""Cuts the arguments of a command into words: `k=v`, quotes, comma lists, JSON values.

A quotation mark counts only where it begins a value and ends one, so `don't` and `5"` stay as they are written. Chats
turn straight marks into curly ones, so those count as well.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

COMMAND_CHARS_MOST: Final = 20_000
_KEY: Final = re.compile(r"([A-Za-z_][\w-]*)=", re.ASCII)
_CLOSES: Final = {'"': '"', "'": "'", "“": "”", "„": "“”", "«": "»", "‘": "’"}
_DECODER: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Word:
    """`text` is the whole value without its quotes, `pieces` its parts between commas, `raw` what was written."""

    key: str | None
    text: str
    pieces: tuple[str, ...]
    raw: str


def split(text: str) -> list[Word]:
    """Raises ValueError, which says what is wrong."""
    if len(text) > COMMAND_CHARS_MOST:
        raise ValueError(f"The arguments are longer than {COMMAND_CHARS_MOST:,} characters")
    words, at = [], _after_space(text, 0)
    while at < len(text):
        word, at = _word(text, at)
        words.append(word)
        at = _after_space(text, at)
    return words


def _word(text: str, start: int) -> tuple[Word, int]:
    key = _KEY.match(text, start)
    begin = key.end() if key else start
    end = _end_of_json(text, begin)
    if end is not None:
        value = text[begin:end]
        return Word(key.group(1) if key else None, value, (value,), text[start:end]), end
    pieces: list[str] = []
    at = begin
    while True:
        piece, at = _piece(text, at)
        if piece is not None:
            pieces.append(piece)
        if text[at : at + 1] != ",":
            break
        following = _after_space(text, at + 1)
        if following == len(text) or (following > at + 1 and _KEY.match(text, following)):
            at += 1
            break
        at = following
    value = pieces[0] if len(pieces) == 1 else text[begin:at]
    return Word(key.group(1) if key else None, value, tuple(pieces), text[start:at]), at


def _piece(text: str, at: int) -> tuple[str | None, int]:
    """What stands up to the next comma or space; None when nothing does."""
    closing = _CLOSES.get(text[at : at + 1])
    if closing:
        end = _end_of_quote(text, at + 1, closing)
        if end is not None:
            return re.sub(r"\\([\\\"'])", r"\1", text[at + 1 : end]), end + 1
        if text[at] == '"':
            raise ValueError("A quotation mark is not closed")
    end = at
    while end < len(text) and text[end] != "," and not text[end].isspace():
        end += 1
    return (text[at:end] or None), end


def _end_of_quote(text: str, at: int, closing: str) -> int | None:
    """Where the closing mark is: the next one that stands before a space, a comma or the end."""
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        if text[at] in closing and (at + 1 == len(text) or text[at + 1] == "," or text[at + 1].isspace()):
            return at
        at += 1
    return None


def _end_of_json(text: str, at: int) -> int | None:
    if text[at : at + 1] not in ("[", "{"):
        return None
    try:
        _, end = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None
    return end if end == len(text) or text[end].isspace() else None


def _after_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at
