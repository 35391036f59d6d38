"""Where the values of an action came from, judged by what the requester really wrote.

Pure. Trust is positive: a value is the requester's own only if it stands, whole, as a token of what they wrote. What
is not, and was proposed by a turn that had read untrusted content, is untrusted; in a plan that was fixed before any
was read it is trusted. "It was not seen in untrusted text" proves nothing and is not asked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from core.models import ArgumentOrigin, Origin, Provenance
from core.templates import least_trusted

TURN = "*"
_EDGES = " \t\r\n.,;:!?\"'`()[]{}<>«»„“”‚‘’"
_QUOTED = re.compile(
    r"\"([^\"]{1,2000})\"|'([^']{1,2000})'|`([^`]{1,2000})`|“([^”]{1,2000})”|„([^“]{1,2000})“|«([^»]{1,2000})»"
)
_PAIR = re.compile(r"[\w.-]+=(.*)", re.DOTALL)


def normalised(value: Any) -> str:
    """NFKC, case folded, outer punctuation and spaces off, inner spaces single: how a value and a word are compared."""
    text = unicodedata.normalize("NFKC", str(value)).casefold()
    return " ".join(text.split()).strip(_EDGES)


def tokens(text: str) -> frozenset[str]:
    """Every whole thing that someone wrote: words, parts of `k=v` and comma lists, quoted phrases, the whole text."""
    found = {normalised(text)}
    for groups in _QUOTED.findall(text):
        found.update(normalised(g) for g in groups if g)
    for word in text.split():
        parts = [word]
        pair = _PAIR.fullmatch(word)
        if pair:
            parts.append(pair.group(1))
        parts += [piece for part in parts for piece in part.split(",")]
        found.update(normalised(part) for part in parts)
    return frozenset(found - {""})


def is_own(value: Any, own: frozenset[str]) -> bool:
    """Whether a value is whole in the requester's words; a list or mapping when each of its leaves is."""
    if isinstance(value, Mapping):
        return all(is_own(v, own) for v in value.values())
    if isinstance(value, list):
        return all(is_own(v, own) for v in value)
    if value is None or isinstance(value, bool) or value == "":
        return True
    return normalised(value) in own


def label(args: Mapping[str, Any], origins: Mapping[str, ArgumentOrigin], own_words: Sequence[str]) -> Provenance:
    """Each argument's origin. `origins` are those the step carries; its `*` entry says that its turn was tainted, by what.

    A value from a runbook (config) or a reference keeps its label; a value that a person or a model wrote is theirs
    where the person wrote it, and else as trusted as the turn that proposed it.
    """
    own = frozenset().union(*(tokens(text) for text in own_words)) if own_words else frozenset()
    turn = origins.get(TURN)
    return Provenance(
        origins={name: _origin(value, origins.get(name), turn, own) for name, value in args.items()},
        tainted=turn is not None and turn.origin is Origin.UNTRUSTED,
    )


def _origin(
    value: Any, known: ArgumentOrigin | None, turn: ArgumentOrigin | None, own: frozenset[str]
) -> ArgumentOrigin:
    if is_own(value, own):
        return ArgumentOrigin(origin=Origin.REQUESTER)
    if known is not None and known.origin is not Origin.REQUESTER:
        return least_trusted([known, turn]) if turn else known
    return turn or known or ArgumentOrigin(origin=Origin.TRUSTED)
