"""What you see is what runs: the canonical text of an action, and its digest.

The text is RFC 8785 (JSON Canonicalization Scheme). The same text is stored, hashed, shown and executed; what has no
canonical form is refused before anybody is asked about it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import rfc8785

from core.models import Action


class NotCanonical(ValueError):
    """The value has no canonical text; the message says which part."""


def canonical(value: Any) -> str:
    """RFC 8785 text. Integers beyond ±(2^53−1), NaN, infinities, lone surrogates and non-text keys are refused."""
    try:
        return rfc8785.dumps(value).decode("utf-8")
    except (rfc8785.CanonicalizationError, UnicodeError, TypeError, RecursionError) as error:
        raise NotCanonical(f"this cannot be written down exactly, so it cannot be approved: {error}") from error


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
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


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
