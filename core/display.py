"""Makes text safe to look at: what is hidden is shown, and two different texts never look the same.

Pure. Invisible, bidirectional and control characters become `⟨U+202E⟩`; so do the brackets themselves, which makes the
escaping reversible and therefore injective. Technical fields (names, paths, addresses) show everything outside
printable ASCII that way, so that a Cyrillic letter can't pass for a Latin one.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Iterable

OPEN, CLOSE = "⟨", "⟩"
MASK_CHARS = 6

# Letters, marks that belong to them, digits, punctuation, symbols: what a person can see. Spaces other than U+0020, format
# and private characters, surrogates and unassigned ones are not here.
_SEEN = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So"})  # fmt: skip
# Seen by category, drawn as nothing or as a space by fonts: fillers, Braille blank, tag-like and musical blanks.
_BLANK = frozenset({0x115F, 0x1160, 0x3164, 0xFFA0, 0x2800, 0x1D159, 0x17B4, 0x17B5, 0x16FE4})
_MARKS = frozenset({"Mn", "Mc", "Me"})
_MARKS_MOST = 2


def visible(text: str, *, technical: bool = False) -> str:
    """One line of text in which every character can be seen; line breaks are shown as escapes too."""
    out: list[str] = []
    marks = 0
    for ch in text:
        is_mark = unicodedata.category(ch) in _MARKS
        marks = marks + 1 if is_mark else 0
        stands = bool(out) and not out[-1].endswith(CLOSE) and out[-1] != " "
        if _is_plain(ch, technical) or (is_mark and not technical and stands and marks <= _MARKS_MOST and _draws(ch)):
            out.append(ch)
        else:
            out.append(f"{OPEN}U+{ord(ch):04X}{CLOSE}")
    return "".join(out)


def visible_lines(text: str, *, technical: bool = False) -> str:
    """The same, with line breaks kept."""
    return "\n".join(visible(line, technical=technical) for line in text.split("\n"))


def hidden(shown: str) -> str:
    """What `visible` made visible, as it was: the inverse, which is why two texts can't look alike."""
    out, rest = [], shown
    while rest:
        before, bracket, after = rest.partition(OPEN + "U+")
        out.append(before)
        if not bracket:
            break
        code, _, rest = after.partition(CLOSE)
        out.append(chr(int(code, 16)))
    return "".join(out)


def _is_plain(ch: str, technical: bool) -> bool:
    if " " <= ch <= "~":
        return True
    if technical or ch in (OPEN, CLOSE):
        return False
    code = ord(ch)
    return unicodedata.category(ch) in _SEEN and code not in _BLANK and not 0xE0000 <= code <= 0xE0FFF


def _draws(ch: str) -> bool:
    """Whether a combining mark changes what is seen: variation selectors and joiners do not."""
    code = ord(ch)
    return not (
        code == 0x34F or 0x180B <= code <= 0x180F or 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF
    ) and (code not in _BLANK)


class Masks:
    """Replaces known secret values by a mark that is the same for the same value and tells nothing of it."""

    def __init__(self, secrets: Iterable[str], key: bytes) -> None:
        # Longest first: one secret may contain another.
        self._secrets = sorted({s for s in secrets if len(s) >= MASK_CHARS}, key=len, reverse=True)
        self._key = key

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                tag = hmac.new(self._key, secret.encode(), hashlib.sha256).hexdigest()[:MASK_CHARS]
                text = text.replace(secret, f"‹secret #{tag}›")
        return text
