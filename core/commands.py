"""Reads a chat text as a command, or says that it is none.

Pure. A command needs its whole shape: "do you know…" and "stop worrying" are plain sentences. Arguments are read by
the skill's own schema; what does not fit is answered with the fix.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from core.models import SkillManifest

_WORDS_MOST = 4_000
_PAIR = re.compile(r"([A-Za-z_][\w-]*)=(.*)", re.DOTALL)
_SKILL = re.compile(r"[A-Za-z_]\w*(\.\w+)+")

TaskVerb = Literal["status", "stop", "pause", "resume", "retry", "why", "undo"]
TASK_VERBS: tuple[TaskVerb, ...] = ("status", "stop", "pause", "resume", "retry", "why", "undo")


@dataclass(frozen=True, slots=True)
class Do:
    skill: str
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    runbook: str
    inputs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class OnTask:
    verb: TaskVerb
    task: int | None


@dataclass(frozen=True, slots=True)
class Show:
    what: Literal["tasks", "approvals", "grants", "help"]


@dataclass(frozen=True, slots=True)
class Remember:
    text: str


@dataclass(frozen=True, slots=True)
class Recall:
    words: str


@dataclass(frozen=True, slots=True)
class Pair:
    """An owner lets a stranger in: as somebody known, or as a new person with these roles."""

    code: str
    person: str | None
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlainText:
    text: str


@dataclass(frozen=True, slots=True)
class Wrong:
    """A command with a mistake; `say` names the fix."""

    say: str


Command = Do | Run | OnTask | Show | Remember | Recall | Pair | PlainText | Wrong


def parse(text: str, manifests: Mapping[str, SkillManifest], runbooks: Iterable[str]) -> Command:
    """Never raises."""
    text = text.strip()
    first, _, rest = text.partition(" ")
    word, rest = first.lower().removeprefix("/"), rest.strip()
    if word == "do":
        return _do(text, rest, manifests)
    if word == "run":
        return _run(text, rest, set(runbooks))
    if word in TASK_VERBS and re.fullmatch(r"(?:(?:task\s+)?#?\d{1,18})?", rest.lower()):
        number = re.search(r"\d+", rest)
        return OnTask(word, int(number.group()) if number else None)
    if word in ("tasks", "approvals", "grants", "help", "start") and not rest:
        return Show("help" if word == "start" else word)  # type: ignore[arg-type]
    if word == "remember":
        return Remember(rest) if rest else Wrong("Remember what? Say: remember the deploy key is with Ann.")
    if word == "recall":
        return Recall(rest)
    if word == "pair" and rest:
        return _pair(text, rest)
    return PlainText(text)


# ---------------------------------------------------------------- do


def _do(text: str, rest: str, manifests: Mapping[str, SkillManifest]) -> Command:
    name, _, rest = rest.partition(" ")
    if not name:
        return Wrong("Do what? Say: do <skill> name=value, e.g. do files.list pattern=*.log")
    manifest = manifests.get(name) or manifests.get(name.lower())
    if manifest is None:
        if not _SKILL.fullmatch(name):
            return PlainText(text)
        return Wrong(f"There is no skill {name}. {_nearest(name, manifests)}")
    try:
        words = _split(rest)
    except ValueError as error:
        return Wrong(f"I can't read the arguments: {error}.")
    args: dict[str, Any] = {}
    properties: Mapping[str, Any] = manifest.args_schema.get("properties", {})
    for key, value in _pairs(words, manifest):
        if key is None:
            return Wrong(f"What is {value!r} for? {usage(manifest)}")
        if key not in properties:
            return Wrong(f"{manifest.name} takes no {key!r}. {usage(manifest)}")
        schema = _schema_of(properties[key], manifest.args_schema)
        try:
            read = read_value(value, schema)
        except ValueError as error:
            return Wrong(f"{key}: {error}. {usage(manifest)}")
        if key in args and isinstance(args[key], list) and isinstance(read, list):
            args[key] = [*args[key], *read]
        elif key in args:
            return Wrong(f"{key} is given twice. {usage(manifest)}")
        else:
            args[key] = read
    missing = [k for k in manifest.args_schema.get("required", []) if k not in args]
    if missing:
        return Wrong(f"{manifest.name} needs {', '.join(missing)}. {usage(manifest)}")
    return Do(manifest.name, args)


def usage(manifest: SkillManifest) -> str:
    """How a skill is called, in one line."""
    required = set(manifest.args_schema.get("required", []))
    parts = [f"{k}=…" if k in required else f"[{k}=…]" for k in manifest.args_schema.get("properties", {})]
    return f"Say: do {' '.join([manifest.name, *parts])}"


def _pairs(words: list[str], manifest: SkillManifest) -> Iterable[tuple[str | None, str]]:
    """`k=v` words; bare ones belong to the only required argument, if there is just one."""
    required = manifest.args_schema.get("required", [])
    lone = required[0] if len(required) == 1 else None
    named = {m.group(1) for word in words if (m := _PAIR.fullmatch(word))}
    for word in words:
        match = _PAIR.fullmatch(word)
        if match and (match.group(1) in manifest.args_schema.get("properties", {}) or lone is None or lone in named):
            yield match.group(1), match.group(2)
        else:
            yield (None if lone in named else lone), word


def read_value(text: str, schema: Mapping[str, Any]) -> Any:
    """A word as the schema wants it; one value is taken where a list is meant. Raises ValueError."""
    kinds = _kinds(schema)
    if "array" in kinds:
        if text.startswith("["):
            return _json(text, list, "a list")
        item = _schema_of(schema.get("items", {}), schema)
        pieces = [text] if "string" not in _kinds(item) or "," not in text else [p for p in text.split(",") if p]
        return [read_value(piece, item) for piece in pieces]
    if "object" in kinds:
        return _json(text, dict, 'an object such as {"a": 1}')
    if "boolean" in kinds:
        lowered = text.lower()
        if lowered not in ("true", "false", "yes", "no"):
            raise ValueError(f"{text!r} is neither true nor false")
        return lowered in ("true", "yes")
    if "string" in kinds or not kinds:
        return text
    if "null" in kinds and text == "null":
        return None
    try:
        return int(text) if "integer" in kinds and re.fullmatch(r"-?\d{1,16}", text) else _number(text, kinds)
    except ValueError as error:
        raise ValueError(f"{text!r} is no number") from error


def _number(text: str, kinds: set[str]) -> float:
    if "number" not in kinds or not re.fullmatch(r"-?\d{1,16}(\.\d{1,16})?", text):
        raise ValueError(text)
    return float(text)


def _json(text: str, kind: type, named: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{text!r} is not {named}") from error
    if not isinstance(value, kind):
        raise ValueError(f"{text!r} is not {named}")
    return value


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    kind = schema.get("type")
    if isinstance(kind, str):
        return {kind}
    if isinstance(kind, list):
        return set(kind)
    return set().union(*(_kinds(s) for s in schema.get("anyOf", [])))


def _schema_of(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself, a `$ref` followed once."""
    ref = schema.get("$ref")
    if isinstance(ref, str):
        found: Any = root
        for part in ref.removeprefix("#/").split("/"):
            found = found.get(part, {}) if isinstance(found, Mapping) else {}
        return found if isinstance(found, Mapping) else {}
    arrays = [s for s in schema.get("anyOf", []) if s.get("type") == "array"]
    return arrays[0] if arrays else schema


# ---------------------------------------------------------------- run, pair


def _run(text: str, rest: str, runbooks: set[str]) -> Command:
    name, _, rest = rest.partition(" ")
    if not name:
        return Wrong(f"Run what? There are: {', '.join(sorted(runbooks)) or 'no runbooks'}.")
    try:
        words = _split(rest)
    except ValueError as error:
        return Wrong(f"I can't read the inputs: {error}.") if name in runbooks else PlainText(text)
    pairs = [_PAIR.fullmatch(word) for word in words]
    if name not in runbooks:
        shaped = all(pairs) and (words or re.fullmatch(r"\w+(-\w+)+", name))
        return Wrong(f"There is no runbook {name}. {_nearest(name, runbooks)}") if shaped else PlainText(text)
    inputs: dict[str, Any] = {}
    for word, pair in zip(words, pairs, strict=True):
        if pair is None:
            return Wrong(f"What is {word!r} for? Say: run {name} name=value")
        if pair.group(1) in inputs:
            return Wrong(f"{pair.group(1)} is given twice.")
        inputs[pair.group(1)] = pair.group(2)
    return Run(name, inputs)


def _pair(text: str, rest: str) -> Command:
    """`pair ABCD2345`, `pair ABCD2345 as ann`, `pair ABCD2345 roles=engineer,oncall`."""
    match = re.fullmatch(r"([A-Za-z0-9]{8})(?:\s+as\s+([\w.-]+))?(?:\s+roles=([\w,-]+))?", rest)
    if match is None:
        return PlainText(text)
    code, person, roles = match.groups()
    return Pair(code.upper(), person, tuple(r for r in (roles or "").split(",") if r))


def _split(text: str) -> list[str]:
    """Words with quotes taken off; a quote inside a word (don't) stays one."""
    if len(text) > _WORDS_MOST:
        raise ValueError(f"they are longer than {_WORDS_MOST} characters")
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    lexer.escape = ""
    try:
        return list(lexer)
    except ValueError as error:
        raise ValueError("a quotation mark is not closed") from error


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {close[0]}?" if close else f"There are: {', '.join(names) or 'none'}."
