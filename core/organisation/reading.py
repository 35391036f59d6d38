"""Reads sayso.yaml and says what is wrong with it, line by line, all at once.

The file is the only thing read here. Its shape is checked by `schema`, what it names by `references`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from core.organisation.references import Where, wrong_references
from core.organisation.schema import Organisation

_FIXES = {
    "string_type": "this is no text; write it in quotes",
    "dict_type": "this is no mapping; write it as lines of 'name: value'",
    "model_type": "this is no mapping; write it as lines of 'name: value'",
    "list_type": "this is no list; write it as [a, b]",
}
_FORMS = {
    "people": "a name without spaces such as ann",
    "hooks": "a name without spaces such as alerts",
    "runbooks": "a name without spaces such as clean-logs",
    "inputs": "a name without spaces such as pattern",
    "may": "'*', or a pattern such as skill:files.* or see:task:*",
    "may_not": "'*', or a pattern such as skill:files.* or see:task:*",
    "secret_env": "the name of an environment variable such as ALERTS_HOOK_SECRET",
    "id": "a name such as find",
}


class OrganisationError(Exception):
    """Every problem of the file, one a line: `sayso.yaml:12: what is wrong; fix`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(path: Path) -> Organisation:
    """The organisation of a file; an absent file is an empty one."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Organisation()
    except (OSError, UnicodeDecodeError) as error:
        raise OrganisationError([f"{path.name}:1: cannot be read: {error}"]) from error
    return parse(text, path.name)


def parse(text: str, name: str = "sayso.yaml") -> Organisation:
    """Raises `OrganisationError`."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        twice = list(_twice(node)) if node is not None else []
        data = yaml.safe_load(text) if node is not None else {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise OrganisationError([f"{name}:{line}: this is not YAML: {getattr(error, 'problem', error)}"]) from error
    except (RecursionError, ValueError) as error:  # nested without end; a date such as 2026-13-01
        raise OrganisationError([f"{name}:1: this cannot be read: {error}"]) from error
    if data is None:
        return Organisation()
    if not isinstance(data, dict):
        raise OrganisationError([f"{name}:1: the file must be a mapping such as 'organisation: Acme'"])
    if twice:
        raise OrganisationError([f"{name}:{line}: {what}" for line, what in twice])
    try:
        organisation = Organisation.model_validate(_without_empty(data))
    except ValidationError as error:
        problems = [(tuple(e["loc"]), _in_words(e)) for e in error.errors(include_url=False)]
    else:
        problems = list(wrong_references(organisation))
        if not problems:
            return organisation
    raise OrganisationError([f"{name}:{_line(node, where)}: {what}" for where, what in problems])


def _line(node: yaml.Node | None, where: Where) -> int:
    """The line of the deepest part of `where` that the file has."""
    line = 1
    for part in where:
        found = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    found, line = value, key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node.value[part]
            line = found.start_mark.line + 1
        if found is None:
            break
        node = found
    return line


def _twice(node: yaml.Node, above: tuple[yaml.Node, ...] = ()) -> Iterator[tuple[int, str]]:
    """Keys that a mapping has twice (YAML would silently keep the last one), and aliases that contain themselves."""
    line = node.start_mark.line + 1
    if any(node is one for one in above):
        yield line, "this contains itself; write it out"
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _twice(item, (*above, node))
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    yield line, f"{key.value!r} is here twice (first in line {seen[key.value]}); put both into one"
                seen.setdefault(key.value, line)
            yield from _twice(value, (*above, node))


def _without_empty(data: dict[Any, Any]) -> dict[Any, Any]:
    """Without sections of which only the name is left, such as `people:` with all its lines commented out."""
    nested = {key: data[key] for key in ("policy", "models") if isinstance(data.get(key), dict)}
    inner = {key: {k: v for k, v in part.items() if v is not None} for key, part in nested.items()}
    return {key: value for key, value in (data | inner).items() if value is not None}


def _in_words(error: Any) -> str:
    loc = tuple(part for part in error["loc"] if part != "[key]")
    where = ".".join(str(p) for p in loc)
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(loc[-1]), _names_beside(loc), n=1)
        fix = f"did you mean {close[0]!r}?" if close else "remove it"
        return f"{where} is not known; {fix}"
    if error["type"] == "missing":
        return f"{where} is missing; add it"
    if error["type"] == "string_pattern_mismatch":
        form = next((_FORMS[p] for p in reversed(loc) if p in _FORMS), "something else")
        return f"{where}: {error['input']!r} does not fit; write {form}"
    return f"{where}: {_FIXES.get(error['type']) or error['msg'].removeprefix('Value error, ')}"


def _names_beside(where: Where) -> list[str]:
    """The field names that would have been right where an unknown one stands."""
    model: Any = Organisation
    for part in where[:-1]:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = _inner(model.model_fields[str(part)].annotation)
    if isinstance(model, type) and issubclass(model, BaseModel):
        return [f.alias or name for name, f in model.model_fields.items()]
    return []


def _inner(annotation: Any) -> Any:
    """The model inside `dict[str, Model]`, `list[Model]` or `Model | None`."""
    for inner in getattr(annotation, "__args__", ()):
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            return inner
    return annotation
