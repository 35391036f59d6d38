"""What a standing permission covers: exact values, or what a text begins or ends with; shown in words, matched exactly.

Pure. `{"to": {"is": "bob@acme.example"}, "paths": {"starts": "logs/"}}`: every control argument of a call has to be named
and to fit; content is free. The database says the same once more when the call begins (`grant_covers`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from core import config
from core.digest import NotCanonical, canonical
from core.models import ArgumentRole, SkillManifest

MATCHERS: Final = ("is", "starts", "ends")
# Ways of writing one thing like another: a path that climbs, escapes, a list in one text.
_CLIMBS: Final = re.compile(r"(^|[/\\])\.\.([/\\]|$)|[\x01-\x1f\x7f\\%]")
_SEVERAL: Final = re.compile(r"[\s,;<>\"()]")
_BEGINS_WHOLE: Final = re.compile(r"https?://[^/@?#]+/.*|(?!https?:)[^:]*/|[^:/]*:[^/]*/", re.DOTALL | re.IGNORECASE)


class BadPredicate(ValueError):
    """The permission can't be given like this; the message says why."""


def fits(value: Any, wanted: Mapping[str, Any]) -> bool:
    """Whether one argument is as the permission says."""
    if "is" in wanted:
        return _same(value, wanted["is"])
    if isinstance(value, list):
        return bool(value) and all(isinstance(one, str) and fits(one, wanted) for one in value)
    if not isinstance(value, str):
        return False
    if "starts" in wanted:
        return value.startswith(wanted["starts"]) and not _CLIMBS.search(value)
    return "ends" in wanted and value.endswith(wanted["ends"]) and not _SEVERAL.search(value)


def covered(args: Mapping[str, Any], predicate: Mapping[str, Mapping[str, Any]], skill: SkillManifest) -> bool:
    """Whether a call is covered: what the predicate names fits, and no control argument is left unsaid."""
    if not all(name in args and fits(args[name], wanted) for name, wanted in predicate.items()):
        return False
    return all(
        name in predicate or _is_default(name, value, skill) for name, value in args.items() if is_control(name, skill)
    )


def exactly(args: Mapping[str, Any], skill: SkillManifest) -> dict[str, Any]:
    """The narrowest permission for calls like this one: the same who, where and how much; any content."""
    return {name: {"is": value} for name, value in args.items() if is_control(name, skill)}


def read(given: Mapping[str, Any], skill: SkillManifest) -> dict[str, Any]:
    """A predicate as a person wrote it; a bare value means exactly that. Raises `BadPredicate`."""
    known = skill.args_schema.get("properties", {})
    made = {}
    for name, wanted in given.items():
        if name not in known:
            raise BadPredicate(f"{skill.name} has no argument {name!r}; it has {', '.join(known) or 'none'}")
        made[name] = _matcher(name, wanted)
    unsaid = [
        name for name, schema in known.items()
        if is_control(name, skill) and name not in made and not (isinstance(schema, Mapping) and "default" in schema)
    ]  # fmt: skip
    if unsaid:
        raise BadPredicate(f"say what {', '.join(unsaid)} may be, e.g. {unsaid[0]}=… or {unsaid[0]} starting with …/")
    return made


def in_words(skill: str, predicate: Mapping[str, Mapping[str, Any]]) -> str:
    """`email.send with to = "bob@acme.example" and paths starting with "logs/"`."""
    parts = [_in_words(name, wanted) for name, wanted in predicate.items()]
    return f"{skill} with {' and '.join(parts)}" if parts else f"{skill}, whatever its content"


def is_control(name: str, skill: SkillManifest) -> bool:
    return skill.roles.get(name, ArgumentRole.CONTROL) is ArgumentRole.CONTROL


def _in_words(name: str, wanted: Mapping[str, Any]) -> str:
    [(how, value)] = wanted.items()
    text = json.dumps(value, ensure_ascii=False)
    return {"is": f"{name} = {text}", "starts": f"{name} starting with {text}", "ends": f"{name} ending with {text}"}[
        how
    ]


def _matcher(name: str, wanted: Any) -> dict[str, Any]:
    if not (isinstance(wanted, Mapping) and len(wanted) == 1 and next(iter(wanted)) in MATCHERS):
        wanted = {"is": wanted}
    [(how, value)] = wanted.items()
    if how == "is":
        try:
            canonical(value)
        except NotCanonical as error:
            raise BadPredicate(f"{name}: {error}") from error
        return {"is": value}
    if not isinstance(value, str) or not 0 < len(value) <= config.PATTERN_CHARS:
        raise BadPredicate(f"{name}: {how} needs a text of at most {config.PATTERN_CHARS} characters")
    # logs would also begin logs-of-others, https://a.example also https://a.example.evil: a beginning ends in a slash.
    if how == "starts" and not (value.endswith("/") and _BEGINS_WHOLE.fullmatch(value) and not _CLIMBS.search(value)):
        raise BadPredicate(
            f"{name}: what it starts with has to be whole and end in a slash, such as logs/ or https://a.example/"
        )
    if how == "ends" and not (re.fullmatch(r"[@.][^@\s]+", value) and not _SEVERAL.search(value)):
        raise BadPredicate(
            f"{name}: what it ends with has to be a whole domain or ending, such as @acme.example or .log"
        )
    return {how: value}


def _is_default(name: str, value: Any, skill: SkillManifest) -> bool:
    schema = skill.args_schema.get("properties", {}).get(name)
    return isinstance(schema, Mapping) and "default" in schema and _same(value, schema["default"])


def _same(a: Any, b: Any) -> bool:
    """Equal as what is shown and hashed: True is not 1."""
    try:
        return canonical(a) == canonical(b)
    except NotCanonical:
        return False
