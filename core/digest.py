"""What you see is what runs: the canonical text of an action, and its digest.

The text is RFC 8785 (JSON Canonicalization Scheme). The same text is stored, hashed, shown and executed; what has no
canonical form is refused before anybody is asked about it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import rfc8785

from core.models import Action

INTEGER_MOST: Final = 2**53 - 1
PLAIN_DEPTH_MOST: Final = 32


class NotCanonical(ValueError):
    """The value has no canonical text; the message says which part."""


def canonical(value: Any) -> str:
    """RFC 8785 text. Numbers beyond ±(2^53−1), NaN, lone surrogates and non-text keys raise `NotCanonical`."""
    try:
        if _is_plain(value):
            return _PLAIN(value)
        what = _fault(value, "")
        if what is None:
            return rfc8785.dumps(value).decode("utf-8")
    except rfc8785.CanonicalizationError as error:
        what = str(error)
    except RecursionError:
        what = "it is nested too deeply"
    raise NotCanonical(f"this cannot be written down exactly, so it cannot be approved: {what}")


def rfc8785_bytes(value: Any) -> bytes:
    """RFC 8785 as its library writes it, with its errors (`CanonicalizationError`, `ValueError`)."""
    return _PLAIN(value).encode("utf-8") if _is_plain(value) else rfc8785.dumps(value)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def action_text(action: Action) -> str:
    """The whole action: skill, version, schema hash, arguments, credential, target, content hashes, task, step."""
    return canonical(_fields(action) | {"task": action.task_id, "step": action.step})


def digest(action: Action) -> str:
    """SHA-256 of `action_text`, hex: what people approve and what is checked again before it runs."""
    return sha256(action_text(action))


def action_hash(action: Action) -> str:
    """The digest without task and step: two asks with the same one are the same ask."""
    return sha256(canonical(_fields(action)))


def list_digest(digests: Iterable[str]) -> str:
    """The digest of several actions approved together, in their order."""
    return sha256(canonical(list(digests)))


def schema_hash(schema: Mapping[str, Any]) -> str:
    return sha256(canonical(dict(schema)))


def plain_json(value: Any) -> str:
    """Compact JSON, for measuring and storing; not for hashing."""
    return _COMPACT(value)


def _fields(action: Action) -> dict[str, Any]:
    return {
        "skill": action.skill,
        "version": action.version,
        "schema_hash": action.schema_hash,
        "args": action.args,
        "target": action.target,
        "credential": action.credential,
        "content_hashes": action.content_hashes,
    }


# For values of a kind that all writers of JSON write alike (five times as fast as the library, whose text it equals).
_PLAIN: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False).encode


_COMPACT: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Texts, small integers, true, false, null, lists, and objects with ASCII names. Not numbers with a fraction."""
    kind = type(value)
    if kind is str:
        return bool(value.isprintable() or _is_text(value))
    if kind is int:
        return bool(abs(value) <= INTEGER_MOST)
    if value is None or kind is bool:
        return True
    if depth > PLAIN_DEPTH_MOST:
        return False
    if kind is dict:
        return all(
            type(name) is str and name.isascii() and name.isprintable() and _is_plain(inner, depth + 1)
            for name, inner in value.items()
        )
    return kind is list and all(_is_plain(inner, depth + 1) for inner in value)


def _fault(value: Any, where: str) -> str | None:
    """The first part of a value that has no canonical form, and where it stands."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                return f"{where or 'it'} has the key {key!r}, which is no text"
            found = _fault(key, where) or _fault(inner, f"{where}.{key}" if where else key)
            if found:
                return found
        return None
    if isinstance(value, list | tuple):
        return next((f for i, v in enumerate(value) if (f := _fault(v, f"{where}[{i}]"))), None)
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        return None if value.isprintable() or _is_text(value) else f"{where or 'it'} holds half a character"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{where or 'it'} is {value}, which is no number"
    if isinstance(value, int | float):
        # A larger float is whole, is written like an integer, and would be read back as one.
        return None if abs(value) <= INTEGER_MOST else f"{where or 'it'} is beyond ±(2^53−1); write it as text"
    return f"{where or 'it'} is of the kind {type(value).__name__}, which JSON does not have"


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
