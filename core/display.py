"""Makes text safe to look at: what is hidden is shown, and what only looks like something else is told apart.

Pure. A character that can't be seen, or that poses as another one, becomes `⟨U+202E⟩`; so do the brackets themselves,
which makes the escaping reversible and therefore injective. Technical fields (names, paths, addresses) show everything
outside printable ASCII that way. Senders still have to escape the text for their own markup.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

OPEN, CLOSE = "⟨", "⟩"
TAG_CHARS: Final = 6
SECRET_CHARS_LEAST: Final = 6
MARKS_MOST: Final = 2

# Letters, digits, punctuation, symbols: what a person can see. Spaces other than U+0020, format and private characters,
# surrogates and unassigned ones are not here; combining marks are judged with what they stand on.
_SEEN: Final = frozenset(
    {
        "Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
        "Sm", "Sc", "Sk", "So",
    }
)  # fmt: skip
_MARKS: Final = frozenset({"Mn", "Mc", "Me"})
# Seen by category, drawn as nothing or as a space by fonts: fillers, Braille blank, musical blanks, object replacement.
_BLANK: Final = frozenset({0x115F, 0x1160, 0x3164, 0xFFA0, 0x2800, 0x1D159, 0x17B4, 0x17B5, 0x16FE4, 0x034F, 0xFFFC})
_SELECTORS: Final = (range(0x180B, 0x1810), range(0xFE00, 0xFE10), range(0xE0000, 0xE1000))
# Compatibility forms of one ASCII character that are drawn (nearly) like it; ², ① and ™ are not of these kinds.
_POSING_FORMS: Final = ("<wide>", "<narrow>", "<font>", "<compat>", "<small>", "<noBreak>")
# Drawn like ASCII punctuation: slashes, colons, hyphens, bars, commas, apostrophes, stops, and letters that are none.
_POSING: Final = frozenset("∕⁄⧸⟋╱∖⧵⟍╲꞉∶ː˸։׃‐‑⁃−∣ǀǃ‚ʹʼʻˈ′‵´ʽ٫٬۔∙ꓸ")
_POSING_SCRIPTS: Final = frozenset(
    {"CYRILLIC", "GREEK", "COPTIC", "ARMENIAN", "CHEROKEE", "LISU", "OGHAM", "CANADIAN", "OLD", "TIFINAGH", "GEORGIAN"}
)
# Letters of Cyrillic and Greek that have a Latin twin; a word of nothing else reads as a Latin one.
_TWINS: Final = frozenset("аесорхуіјѕһԁԛԝӏАВЕЗКМНОРСТУХІЈЅҺԌԚԜӀονρικαΑΒΕΖΗΙΚΜΝΟΡΤΥΧϲϳ")
_PLAIN: Final = re.compile(r"(?:[!-~]+(?: [!-~]+)*)?")
_SPACES: Final = re.compile(r"( +)")
_SECRET_NAME: Final = re.compile(
    r"passw|passphrase|secret|token|api_?key|private_?key|authorization|cookie|credentials", re.I
)


def visible(text: str, *, technical: bool = False) -> str:
    """One line of text in which every character can be seen; line breaks are shown as escapes too."""
    if _PLAIN.fullmatch(text):
        return text
    parts = _SPACES.split(text)
    reads_foreign = any(ch not in _TWINS and _script(ch) in ("CYRILLIC", "GREEK") for ch in text if not ch.isascii())
    shown = []
    for i, part in enumerate(parts):
        if i % 2 == 0:
            shown.append(_word(part, technical=technical, reads_foreign=reads_foreign))
        else:
            first, last = i == 1 and not parts[0], i == len(parts) - 2 and not parts[-1]
            shown.append(_spaces(len(part), technical=technical, first=first, last=last))
    return "".join(shown)


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


class Masks:
    """Replaces known secret values, also percent-encoded or in JSON, by `‹secret #ab12cd›`.

    The tag is a keyed HMAC: the same for the same secret, and it tells nothing of it.
    """

    def __init__(self, secrets: Iterable[str], key: bytes) -> None:
        self._key = key
        known = {s for s in secrets if len(s) >= SECRET_CHARS_LEAST}
        self._forms = {form: s for s in known for form in (s, quote(s, safe=""), json.dumps(s)[1:-1])}
        # Longest first: one secret may contain another. One pass: a mask is never looked at again.
        ordered = sorted(self._forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered)))

    def __call__(self, text: str) -> str:
        return self._pattern.sub(lambda m: self.tag(self._forms[m.group()]), text) if self._forms else text

    def settled(self, text: str) -> str:
        """A text that is still being written, without its end where that may be the beginning of a secret."""
        cut = len(text)
        for form in self._forms:
            longest = min(len(form) - 1, len(text))
            begun = next((n for n in range(longest, 0, -1) if text.endswith(form[:n])), 0)
            cut = min(cut, len(text) - begun)
        return text[:cut]

    def tag(self, secret: str) -> str:
        mac = hmac.new(self._key, secret.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"‹secret #{mac.hexdigest()[:TAG_CHARS]}›"


def names_secret(value: Any) -> bool:
    """Whether words stand under a secret's name anywhere in a JSON value."""
    if isinstance(value, Mapping):
        return any((_SECRET_NAME.search(str(k)) and _holds_words(v)) or names_secret(v) for k, v in value.items())
    return isinstance(value, list | tuple) and any(names_secret(part) for part in value)


def _holds_words(value: Any) -> bool:
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return (isinstance(value, str) and value != "") or any(_holds_words(part) for part in parts)


# ---------------------------------------------------------------- parts


def _word(word: str, *, technical: bool, reads_foreign: bool) -> str:
    if word.isascii() and word.isprintable():
        return word
    suspicious = not technical and _poses_as_latin(word, reads_foreign=reads_foreign)
    out: list[str] = []
    cluster = ""
    for ch in word:
        if " " < ch <= "~":
            out.append(ch)
            cluster = ch
        elif not technical and _may_stand(ch, cluster) and not (suspicious and _is_suspect(ch)):
            out.append(ch)
            cluster = cluster + ch if unicodedata.category(ch) in _MARKS else ch
        else:
            out.append(_escape(ch))
            cluster = ""
    return "".join(out)


def _spaces(count: int, *, technical: bool, first: bool, last: bool) -> str:
    """Spaces that nobody would see at the end of a line, or as more than one in a name, are written out."""
    if technical:
        return _escape(" ") * count if first or last else " " + _escape(" ") * (count - 1)
    return " " * (count - 1) + _escape(" ") if last else " " * count


def _may_stand(ch: str, cluster: str) -> bool:
    """Whether it is seen as itself after `cluster`: a base with its marks that is shown already, or nothing.

    What is not in NFC would look like what is: `é` as one character or as two.
    """
    if not unicodedata.is_normalized("NFC", cluster + ch) or not _is_drawn(ch):
        return False
    if unicodedata.category(ch) in _MARKS:
        return 1 <= len(cluster) <= MARKS_MOST
    return True


@lru_cache(maxsize=4096)
def _is_drawn(ch: str) -> bool:
    code, category = ord(ch), unicodedata.category(ch)
    if category not in _SEEN and category not in _MARKS:
        return False
    if code in _BLANK or ch in (OPEN, CLOSE) or ch in _POSING or any(code in block for block in _SELECTORS):
        return False
    form = unicodedata.decomposition(ch).partition(" ")[0]
    plain = unicodedata.normalize("NFKC", ch)
    return not (form in _POSING_FORMS and len(plain) == 1 and plain.isascii())


def _poses_as_latin(word: str, *, reads_foreign: bool) -> bool:
    """Letters of two scripts in one word, or only such as have a Latin twin in a text that is not of their script."""
    if any(ch.isascii() and ch.isalnum() for ch in word):
        return True
    letters = [ch for ch in word if ch.isalpha()]
    return bool(letters) and not reads_foreign and all(ch in _TWINS for ch in letters)


@lru_cache(maxsize=4096)
def _is_suspect(ch: str) -> bool:
    """What could pass for an ASCII letter or digit inside a word that has some."""
    script = _script(ch)
    if script == "LATIN":
        return 0x0250 <= ord(ch) <= 0x02AF or 0x1D00 <= ord(ch) <= 0x1DBF
    return script in _POSING_SCRIPTS or unicodedata.category(ch) == "Nd"


@lru_cache(maxsize=4096)
def _script(ch: str) -> str:
    return unicodedata.name(ch, "").partition(" ")[0]


def _escape(ch: str) -> str:
    return f"{OPEN}U+{ord(ch):04X}{CLOSE}"
