"""References to earlier results in arguments: `{{ 3.paths }}`.

Pure. A value that is exactly one reference takes the result's own type; a reference inside text becomes text. What a
result contains is never expanded again, however much it looks like a reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from core.models import ArgumentOrigin, Origin

REFERENCE: Final = re.compile(r"\{\{\s*([A-Za-z_][\w-]*|\d{1,9})((?:\.[\w-]+)*)\s*\}\}", re.ASCII)
DEPTH_MOST: Final = 64
FIELDS_NAMED: Final = 10
RESOLVED_CHARS_MOST: Final = 2_000_000
_TRUST: Final = list(Origin)


class BadReference(ValueError):
    """A reference to a step or field that is not there, or arguments without end; the message names it."""


def references(value: Any, depth: int = 0) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every (name, path) that a value refers to."""
    _refuse_depth(depth)
    if isinstance(value, str):
        for match in REFERENCE.finditer(value):
            yield match.group(1), _path(match)
    elif isinstance(value, list):
        for item in value:
            yield from references(item, depth + 1)
    elif isinstance(value, dict):
        for item in value.values():
            yield from references(item, depth + 1)


def steps_named(args: Mapping[str, Any]) -> set[int]:
    """The numbers of the steps whose results the arguments need."""
    return {int(name) for value in args.values() for name, _ in references(value) if name.isdigit()}


def rewrite(value: Any, change: Callable[[str, str, tuple[str, ...]], Any], depth: int = 0) -> Any:
    """Replace each reference by what `change(whole text, name, path)` answers; alone in its text it keeps that type."""
    _refuse_depth(depth)
    if isinstance(value, str):
        whole = REFERENCE.fullmatch(value.strip())
        if whole:
            return change(whole.group(0), whole.group(1), _path(whole))
        return REFERENCE.sub(lambda m: _as_text(change(m.group(0), m.group(1), _path(m))), value)
    if isinstance(value, list):
        return [rewrite(item, change, depth + 1) for item in value]
    if isinstance(value, dict):
        return {key: rewrite(item, change, depth + 1) for key, item in value.items()}
    return value


def resolve(
    args: Mapping[str, Any],
    results: Mapping[int, Mapping[str, Any]],
    origins: Mapping[str, ArgumentOrigin],
    sources: Mapping[int, ArgumentOrigin],
) -> tuple[dict[str, Any], dict[str, ArgumentOrigin]]:
    """Arguments with results put in, and each argument's origin: the least trusted of its own and its sources'.

    `sources` says what the result of each step brings; a step it does not know brings untrusted content. Raises
    `BadReference`.
    """
    room = RESOLVED_CHARS_MOST

    def look_up(_: str, name: str, path: tuple[str, ...]) -> Any:
        found = of_result(results, name, path)
        nonlocal room
        room -= len(_as_text(found))
        if room < 0:
            raise BadReference(
                f"the results put together are longer than {RESOLVED_CHARS_MOST:,} characters; take less"
            )
        return found

    made, labels = {}, dict(origins)
    for name, value in args.items():
        made[name] = rewrite(value, look_up)
        named = steps_named({name: value})
        if named:
            own = [labels[name]] if name in labels else []
            labels[name] = least_trusted([*own, *(sources.get(n, _unknown(n)) for n in sorted(named))])
    return made, labels


def of_result(results: Mapping[int, Mapping[str, Any]], name: str, path: tuple[str, ...]) -> Any:
    """What a reference means. Raises `BadReference`."""
    if not name.isdigit() or int(name) not in results:
        raise BadReference(f"there is no result of step {name!r} to take {'.'.join(path) or 'it'} from")
    found: Any = results[int(name)]
    for part in path:
        found = _field(found, part, name, path)
    return found


def least_trusted(origins: list[ArgumentOrigin]) -> ArgumentOrigin:
    return max(origins, key=lambda o: _TRUST.index(o.origin), default=ArgumentOrigin(origin=Origin.UNTRUSTED))


def _unknown(step: int) -> ArgumentOrigin:
    return ArgumentOrigin(origin=Origin.UNTRUSTED, step=step)


def _field(found: Any, part: str, name: str, path: tuple[str, ...]) -> Any:
    if isinstance(found, Mapping) and part in found:
        return found[part]
    if isinstance(found, list) and re.fullmatch(r"[0-9]{1,9}", part) and int(part) < len(found):
        return found[int(part)]
    has = f"; it has {', '.join(map(str, list(found)[:FIELDS_NAMED]))}" if isinstance(found, Mapping) and found else ""
    raise BadReference(f"the result of step {name} has no {'.'.join(path)!r}{has}")


def _refuse_depth(depth: int) -> None:
    if depth > DEPTH_MOST:
        raise BadReference(f"the arguments are nested more than {DEPTH_MOST} deep; make them flatter")


def _path(match: re.Match[str]) -> tuple[str, ...]:
    return tuple(p for p in match.group(2).split(".") if p)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
