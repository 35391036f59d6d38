"""Reads what both vendors' answers have in common: the arguments of a call, and token counts.

Pure. Vendors promise JSON objects and whole numbers; compatible servers and models do not always keep the promise,
so nothing here trusts it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from worker.llm.protocol import BadCall, ToolCall
from worker.llm.trouble import ProviderFailed, Trouble

ANSWER_CHARS_MOST: Final = 1_000_000
RAW_CHARS: Final = 2_000


def read_call(position: int, call_id: object, name: object, arguments: object) -> ToolCall | BadCall:
    """`arguments` as JSON text or as parsed already; no text at all means no arguments."""
    known_id = storable(call_id) if isinstance(call_id, str) and call_id else f"call_{position}"
    known_name = storable(name) if isinstance(name, str) else ""
    raw = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False, default=repr)
    quoted = storable(raw[:RAW_CHARS])
    if not known_name:
        return BadCall(known_id, "", quoted, "the call names no tool")
    try:
        parsed: Any = (json.loads(arguments) if arguments.strip() else {}) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, json.JSONDecodeError) else "it is nested too deeply or malformed"
        return BadCall(known_id, known_name, quoted, f"the arguments are no JSON: {why}")
    if not isinstance(parsed, dict):
        kind = {list: "a list", str: "text", type(None): "null"}.get(type(parsed), "a single value")
        return BadCall(known_id, known_name, quoted, f"the arguments must be a JSON object, not {kind}")
    problem = _unstorable(parsed)
    return BadCall(known_id, known_name, quoted, problem) if problem else ToolCall(known_id, known_name, parsed)


def storable(text: str) -> str:
    """Without what Postgres can't hold in text: the NUL character and half characters (lone surrogates)."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _unstorable(args: dict[str, Any]) -> str:
    """Why these arguments could be neither kept nor shown, "" when they can."""
    try:
        text = json.dumps(args, ensure_ascii=False, allow_nan=False)
    except RecursionError:
        return "the arguments are nested too deeply"
    except ValueError:
        return "the arguments hold a number that JSON does not have (NaN or Infinity)"
    if text != storable(text) or _has_nul(args):
        return "the arguments hold a character that is none (NUL or half of a pair)"
    return ""


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(_has_nul(item) for item in value)


def split_calls(read: Iterable[ToolCall | BadCall]) -> tuple[tuple[ToolCall, ...], tuple[BadCall, ...]]:
    calls = list(read)
    return tuple(c for c in calls if isinstance(c, ToolCall)), tuple(c for c in calls if isinstance(c, BadCall))


def count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


class Gathered:
    """Text that arrives in pieces, up to a length that no honest answer reaches."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._room = ANSWER_CHARS_MOST

    def add(self, piece: str) -> None:
        self._room -= len(piece)
        if self._room < 0:
            raise ProviderFailed(Trouble.BAD_ANSWER, code="too_long")
        self._pieces.append(piece)

    def text(self) -> str:
        return "".join(self._pieces)
