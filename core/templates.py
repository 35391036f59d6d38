"""References to earlier results in arguments: `{{ 3.paths }}`.

Pure. A value that is exactly one reference takes the result's own type; a reference inside text becomes text. What a
result contains is never expanded again, however much it looks like a reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from core.models import ArgumentOrigin, Origin

REFERENCE = re.compile(r"\{\{\s*([A-Za-z_][\w-]*|\d+)((?:\.[\w-]+)*)\s*\}\}")
_TRUST = list(Origin)


class BadReference(ValueError):
    """A reference to a step or field that is not there; the message names it."""


def references(value: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every (name, path) that a value refers to."""
    if isinstance(value, str):
        for match in REFERENCE.finditer(value):
            yield match.group(1), tuple(p for p in match.group(2).split(".") if p)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from references(item)


def steps_named(args: Mapping[str, Any]) -> set[int]:
    """The numbers of the steps whose results the arguments need."""
    return {int(name) for name, _ in references(dict(args)) if name.isdigit()}


def rewrite(value: Any, change: Callable[[str, str, tuple[str, ...]], Any]) -> Any:
    """Replace each reference by what `change(whole text, name, path)` answers; alone in its text it keeps that type."""
    if isinstance(value, str):
        whole = REFERENCE.fullmatch(value.strip())
        if whole:
            return change(whole.group(0), whole.group(1), _path(whole))
        return REFERENCE.sub(lambda m: _as_text(change(m.group(0), m.group(1), _path(m))), value)
    if isinstance(value, list):
        return [rewrite(item, change) for item in value]
    if isinstance(value, dict):
        return {key: rewrite(item, change) for key, item in value.items()}
    return value


def resolve(
    args: Mapping[str, Any],
    results: Mapping[int, Mapping[str, Any]],
    origins: Mapping[str, ArgumentOrigin],
    sources: Mapping[int, ArgumentOrigin],
) -> tuple[dict[str, Any], dict[str, ArgumentOrigin]]:
    """Arguments with results put in, and each argument's origin: the least trusted of its own and its sources'.

    `sources` says what the result of each step brings. Raises `BadReference`.
    """

    def look_up(_: str, name: str, path: tuple[str, ...]) -> Any:
        if not name.isdigit() or int(name) not in results:
            raise BadReference(f"there is no result of step {name!r} to take {'.'.join(path) or 'it'} from")
        found: Any = results[int(name)]
        for part in path:
            found = _field(found, part, name, path)
        return found

    made, labels = {}, dict(origins)
    for name, value in args.items():
        made[name] = rewrite(value, look_up)
        named = steps_named({name: value})
        if named:
            own = [labels[name]] if name in labels else []
            labels[name] = least_trusted([*own, *(sources[n] for n in sorted(named) if n in sources)])
    return made, labels


def least_trusted(origins: list[ArgumentOrigin]) -> ArgumentOrigin:
    return max(origins, key=lambda o: _TRUST.index(o.origin), default=ArgumentOrigin(origin=Origin.UNTRUSTED))


def _field(found: Any, part: str, name: str, path: tuple[str, ...]) -> Any:
    if isinstance(found, Mapping) and part in found:
        return found[part]
    if isinstance(found, list) and part.isdigit() and int(part) < len(found):
        return found[int(part)]
    raise BadReference(f"the result of step {name} has no {'.'.join(path)!r}")


def _path(match: re.Match[str]) -> tuple[str, ...]:
    return tuple(p for p in match.group(2).split(".") if p)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
