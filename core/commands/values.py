"""Reads the words of a `do` command by the skill's argument schema.

One value is taken where a list is meant, a bare word where only one argument is required. Everything that does not fit
raises ValueError with words that a person can act on.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from core.commands.words import Word
from core.digest import INTEGER_MOST
from core.models import SkillManifest

Schema = Mapping[str, Any]
_TRUE: Final = ("true", "yes", "on")
_FALSE: Final = ("false", "no", "off")


def usage(manifest: SkillManifest) -> str:
    """How a skill is called, in one line."""
    required = set(manifest.args_schema.get("required", []))
    parts = [f"{k}=…" if k in required else f"[{k}=…]" for k in manifest.args_schema.get("properties", {})]
    return f"Say: do {' '.join([manifest.name, *parts])}"


def read_changes(words: Iterable[Word], manifest: SkillManifest) -> dict[str, Any]:
    """Some of the arguments, each by name, as an edit gives them. Raises ValueError."""
    words = list(words)
    if stray := next((w for w in words if w.key is None), None):
        raise ValueError(f"What is {stray.raw!r} for? Name what you change")
    if not words:
        raise ValueError("Nothing is changed by that")
    return read_arguments(words, manifest.model_copy(update={"args_schema": {**manifest.args_schema, "required": []}}))


def read_arguments(words: Iterable[Word], manifest: SkillManifest) -> dict[str, Any]:
    """Raises ValueError."""
    root = manifest.args_schema
    properties: Mapping[str, Schema] = root.get("properties", {})
    args: dict[str, Any] = {}
    bare: list[Word] = []
    for word in words:
        if word.key is None:
            bare.append(word)
        elif word.key not in properties:
            raise ValueError(f"{manifest.name} takes no {word.key!r}{_meant(word.key, properties)}")
        else:
            _put(args, word.key, _read(word, resolved(properties[word.key], root), root, word.key))
    required = list(root.get("required", []))
    if bare:
        lone = required[0] if len(required) == 1 else None
        if lone is None or lone in args:
            raise ValueError(f"What is {bare[0].raw!r} for?")
        schema = resolved(properties.get(lone, {}), root)
        for word in bare if "array" in _kinds(schema, root) else [_joined(bare)]:
            _put(args, lone, _read(word, schema, root, lone))
    missing = [k for k in required if k not in args]
    if missing:
        raise ValueError(f"{manifest.name} needs {', '.join(missing)}")
    return args


def read_given(words: Iterable[Word], manifest: SkillManifest | None) -> dict[str, Any]:
    """Only those arguments that are named, and none has to be; without a manifest as text. Raises ValueError."""
    root: Schema = manifest.args_schema if manifest else {}
    properties: Mapping[str, Schema] = root.get("properties", {})
    args: dict[str, Any] = {}
    for word in words:
        key = word.key or ""
        if manifest and key not in properties:
            raise ValueError(f"{manifest.name} takes no {key!r}{_meant(key, properties)}")
        _put(args, key, _read(word, resolved(properties.get(key, {}), root), root, key))
    return args


def _put(args: dict[str, Any], key: str, value: Any) -> None:
    """Given again, a list grows; anything else was given twice."""
    if key not in args:
        args[key] = value
    elif isinstance(args[key], list) and isinstance(value, list):
        args[key] = [*args[key], *value]
    else:
        raise ValueError(f"{key} is given twice")


def _joined(words: list[Word]) -> Word:
    """Bare words are one text, as in `do note.remember the key is with Ann`."""
    if len(words) == 1:
        return words[0]
    text = " ".join(w.raw for w in words)
    return Word(None, text, (text,), text)


def _read(word: Word, schema: Schema, root: Schema, key: str) -> Any:
    kinds = _kinds(schema, root)
    try:
        if "array" in kinds:
            whole = _json(word.text)
            if isinstance(whole, list):
                return whole
            item = resolved(schema.get("items", {}), root)
            return [_scalar(piece, item, root) for piece in word.pieces]
        return _scalar(word.text, schema, root)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _scalar(text: str, schema: Schema, root: Schema) -> Any:
    kinds = _kinds(schema, root)
    allowed = _allowed(schema, root)
    if allowed and "string" in kinds:
        return _one_of(text, allowed)
    if "null" in kinds and text == "null":
        return None
    if "object" in kinds:
        value = _json(text)
        if not isinstance(value, dict):
            raise ValueError(f'{text!r} is no object; write it like {{"a": 1}}')
        return value
    if "boolean" in kinds and text.lower() in (*_TRUE, *_FALSE):
        return text.lower() in _TRUE
    if "string" in kinds or not kinds:
        return text
    if "integer" in kinds or "number" in kinds:
        return _number(text, whole_only="number" not in kinds)
    raise ValueError(f"{text!r} is neither true nor false")


def _number(text: str, *, whole_only: bool) -> int | float:
    if re.fullmatch(r"[+-]?[0-9]{1,16}", text):
        number = int(text)
        if abs(number) > INTEGER_MOST:
            raise ValueError(f"{text} is beyond ±(2^53−1)")
        return number
    if whole_only:
        raise ValueError(f"{text!r} is no whole number")
    if not re.fullmatch(r"[+-]?[0-9]{0,15}\.[0-9]{1,15}", text):
        raise ValueError(f"{text!r} is no number")
    return float(text)


def _one_of(text: str, allowed: list[str]) -> str:
    found = [a for a in allowed if a == text] or [a for a in allowed if a.casefold() == text.casefold()]
    if not found:
        raise ValueError(f"{text!r} is not one of {', '.join(allowed)}")
    return found[0]


def _json(text: str) -> Any:
    """The JSON list or object that a text is; None when it is none."""
    if text[:1] not in ("[", "{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


# ---------------------------------------------------------------- schemas


def resolved(schema: Schema, root: Schema) -> Schema:
    """A `$ref` followed; of several kinds the list, since one value is a list of one."""
    ref = schema.get("$ref")
    if isinstance(ref, str):
        found: Any = root
        for part in ref.removeprefix("#/").split("/"):
            found = found.get(part, {}) if isinstance(found, Mapping) else {}
        schema = found if isinstance(found, Mapping) else {}
    arrays = [s for s in _choices(schema) if s.get("type") == "array"]
    return arrays[0] if arrays else schema


def _kinds(schema: Schema, root: Schema) -> set[str]:
    kind = schema.get("type")
    if isinstance(kind, str):
        return {kind}
    if isinstance(kind, list):
        return set(kind)
    if "$ref" in schema:
        followed = resolved(schema, root)
        return set() if "$ref" in followed else _kinds(followed, root)
    return set().union(*(_kinds(s, root) for s in _choices(schema)))


def _allowed(schema: Schema, root: Schema) -> list[str]:
    followed = resolved(schema, root)
    if isinstance(followed.get("const"), str):
        return [followed["const"]]
    return [a for a in followed.get("enum", []) if isinstance(a, str)]


def _choices(schema: Schema) -> list[Schema]:
    return [s for s in (*schema.get("anyOf", []), *schema.get("oneOf", [])) if isinstance(s, Mapping)]


def nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {close[0]}?" if close else f"There are: {', '.join(names) or 'none'}."


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""
