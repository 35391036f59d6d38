"""Where the values of an action came from, judged by what the requester really wrote.

Pure. Trust is positive: a value is the requester's own only if it stands, whole, as a token of what they wrote. What
is not, and was proposed by a turn that had read untrusted content, is untrusted; in a plan that was fixed before any
was read it is trusted. What the requester named once, and a step has read, is spent: a turn that has seen what it says
may not take it as the target of something else. "It was not seen in untrusted text" proves nothing and is not asked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from core.models import ArgumentOrigin, Origin, Provenance
from core.templates import least_trusted

TURN: Final = "*"
# The note of a control argument that a turn had promised before it read anything of others.
PLANNED: Final = "planned"
MESSAGES_KEPT: Final = 64
# A leading dot or slash belongs to a name (.ssh, /etc), so only what never begins one is taken off in front.
_BEFORE: Final = "\"'`([{<«„“”‚‘’¿¡*_~"
_AFTER: Final = ".,;:!?\"'`)]}>»“”’‘…*_~"
_QUOTED: Final = re.compile(
    r"\"([^\"]{1,2000})\"|'([^']{1,2000})'|`([^`]{1,2000})`|“([^”]{1,2000})”|„([^“”]{1,2000})[“”]|«([^»]{1,2000})»|‘([^’]{1,2000})’"
)
_PAIR: Final = re.compile(r"[A-Za-z_][\w.-]*=(.*)", re.DOTALL)
_THOUSANDS: Final = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_NUMBER: Final = re.compile(r"[$€£¥#]?(-?\d{1,16}(?:\.\d{1,10})?)(?:[$€£¥%]|usd|eur|gbp)?", re.ASCII | re.IGNORECASE)
_DIGIT: Final = re.compile(r"\d", re.ASCII)
_EMAIL: Final = re.compile(r"[^\s@/:<>]+@[^\s@/:<>]+\.[^\s@/:<>]+")
_LINK: Final = re.compile(r"https?://[^\s\\]+\Z", re.IGNORECASE)
# Begins what is no text of anybody: a value that holds it is nobody's own.
_KEY: Final = "\0"
_OWN: Final = ArgumentOrigin(origin=Origin.REQUESTER)
_DEFAULT: Final = ArgumentOrigin(origin=Origin.CONFIG, note="default")
_FIXED: Final = ArgumentOrigin(origin=Origin.TRUSTED)


def tokens(text: str) -> frozenset[str]:
    """Every whole thing that someone wrote: words, parts of `k=v` and comma lists, quoted phrases, the whole text.

    Each also without the punctuation around it and in compatibility form (a wide letter typed for a narrow one), and
    numbers, mail addresses and links also in one form for all ways of writing them.
    """
    found = set(_wholes(text))
    if not text.isascii():
        found |= {unicodedata.normalize(form, whole) for whole in found for form in ("NFC", "NFKC")}
    keys = [key for whole in found for key in _keys(whole)]
    return frozenset(found.union(keys) - {""})


@lru_cache(maxsize=MESSAGES_KEPT)
def _written(texts: tuple[str, ...]) -> frozenset[str]:
    """The tokens of all of them: the steps of a task come from the same words."""
    return frozenset[str]().union(*map(tokens, texts))


def is_own(value: Any, own: frozenset[str]) -> bool:
    """Whether a value is whole in the requester's words; a list or mapping when each of its leaves and keys is.

    A value counts as it is: only the requester's words are normalised, so nothing that merely looks like them passes.
    """
    if isinstance(value, Mapping):
        return bool(value) and all(is_own(k, own) and is_own(v, own) for k, v in value.items())
    if isinstance(value, list | tuple):
        return bool(value) and all(is_own(v, own) for v in value)
    if isinstance(value, bool) or value is None or value == "":
        return False
    if isinstance(value, int | float):
        return abs(value) < 2**53 and _number_key(Decimal(str(value))) in own
    # A text is no number: the file 0020 is not the file 20.
    if not isinstance(value, str) or _KEY in value:
        return False
    return value in own or any(key in own for key in _address_keys(value))


def label(
    args: Mapping[str, Any],
    origins: Mapping[str, ArgumentOrigin],
    own_words: Sequence[str],
    schema: Mapping[str, Any] | None = None,
    read: Sequence[Any] = (),
) -> Provenance:
    """Each argument's origin. `origins` are those the step carries; its `*` entry says that its turn was tainted, by what.

    A value from a runbook (config) or a reference keeps its label; a value that a person or a model wrote is theirs
    where the person wrote it, and else as trusted as the turn that proposed it. What `schema` has as the skill's own
    default was chosen by nobody. `read` are the arguments of what the task has read before a tainted turn proposed this.
    """
    own = _written(tuple(own_words))
    spent = frozenset(
        form for v in _leaves(read) if sum(mentions(v, text) for text in own_words) < 2 for form in _forms(v)
    )
    turn = origins.get(TURN)
    labels = {
        name: _origin(value, origins.get(name), turn, own, spent, _is_default(schema or {}, name, value))
        for name, value in args.items()
    }
    untrusted = any(o.origin is Origin.UNTRUSTED for o in labels.values())
    return Provenance(origins=labels, tainted=untrusted or (turn is not None and turn.origin is Origin.UNTRUSTED))


def mentions(value: str, text: str) -> int:
    """How many separate times someone wrote this whole thing."""
    forms = _forms(value)
    return sum(not forms.isdisjoint(tokens(word)) for word in text.split()) + sum(
        value in groups for groups in _QUOTED.findall(text) if " " in value
    )


def _forms(value: str) -> frozenset[str]:
    return frozenset({value, *_keys(value)})


def _origin(
    value: Any,
    known: ArgumentOrigin | None,
    turn: ArgumentOrigin | None,
    own: frozenset[str],
    spent: frozenset[str],
    is_default: bool,
) -> ArgumentOrigin:
    if known is not None and known.origin is Origin.TRUSTED and known.note == PLANNED:
        return known
    if is_own(value, own):
        is_spent = any(not spent.isdisjoint(_forms(leaf)) for leaf in _leaves(value))
        return turn if turn and is_spent else _OWN
    if known is not None and known.by:
        return known  # an editor's own words, whatever the turn had read
    if is_default:
        return _DEFAULT
    if known is not None and (known.origin is not Origin.REQUESTER or turn is None):
        return least_trusted([known, turn]) if turn else known
    return turn or _FIXED


def _leaves(value: Any) -> Iterator[str]:
    """Every text and number in a value, as a person would write it."""
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _leaves(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _leaves(one)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _is_default(schema: Mapping[str, Any], name: str, value: Any) -> bool:
    """Equal to the skill's own default, and of one kind: True is not 1."""
    known = schema.get("properties", {}).get(name)
    if not isinstance(known, Mapping) or "default" not in known:
        return False
    return bool(value == known["default"]) and isinstance(value, bool) == isinstance(known["default"], bool)


# ---------------------------------------------------------------- whole things


def _wholes(text: str) -> Iterator[str]:
    yield text
    yield text.strip()
    for groups in _QUOTED.findall(text):
        yield from (g for g in groups if g)
    for word in text.split():
        if word.isalnum():
            yield word
            continue
        parts = [word]
        if "=" in word and (pair := _PAIR.fullmatch(word)):
            parts.append(pair.group(1))
        for part in parts:
            yield from _edges(part)
            if "," in part and not _THOUSANDS.fullmatch(part.lstrip(_BEFORE + "$€£¥").rstrip(_AFTER + "$€£¥%")):
                for piece in part.split(","):
                    yield from _edges(piece)


def _edges(part: str) -> Iterator[str]:
    """The part, and without the punctuation around it; a path's own slash or dot in front stays."""
    yield part
    yield part.lstrip(_BEFORE)
    yield part.rstrip(_AFTER)
    yield part.lstrip(_BEFORE).rstrip(_AFTER).removeprefix("mailto:")


def _keys(text: str) -> Iterator[str]:
    """Of a token, the forms that mean the same: `20` and `$20.00`, `Ann@Acme.example`, `https://ACME.example`."""
    if _DIGIT.search(text):  # most tokens are plain words: looking first halves the time that all of this takes
        plain = text.replace(",", "") if _THOUSANDS.fullmatch(text.lstrip("$€£¥").rstrip("$€£¥%")) else text
        if number := _NUMBER.fullmatch(plain):
            yield _number_key(Decimal(number.group(1)))
    yield from _address_keys(f"https://{text}" if text.lower().startswith("www.") else text)


def _address_keys(text: str) -> Iterator[str]:
    if "@" in text and _EMAIL.fullmatch(text):
        yield f"{_KEY}mail {text.casefold()}"
    if ":" in text and _LINK.match(text):
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            return
        if host and "@" not in parts.netloc and parts.netloc.isascii():
            rest = parts._replace(scheme="", netloc="", path=parts.path or "/").geturl()
            yield f"{_KEY}link {parts.scheme}://{host}:{port or ''}{rest}"


def _number_key(number: Decimal) -> str:
    return f"{_KEY}number {number.normalize() + 0:f}"
