"""A call changed by a person before it is approved: the form for it, and what the change makes of the step.

Pure. What was changed is the editor's own words and loses its old origin; what was not keeps both its value and where it
came from. The edited call goes through the whole gate again, with the rights of the requester and of the editor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import jsonschema

from core import digest, policy, templates
from core.cards.title import call_title
from core.commands.values import resolved
from core.display import visible
from core.models import Action, ArgumentOrigin, Deny, Origin, Provenance, Requester, SkillManifest
from core.organisation import Organisation

SAID_CHARS: Final = 400
VALUE_CHARS: Final = 80
FIELDS_MOST: Final = 30

FieldKind = Literal["text", "long", "number", "integer", "boolean", "choice", "list", "json"]


class BadEdit(ValueError):
    """The call can't be changed like this. `field` is the argument that is meant, if it is one."""

    def __init__(self, why: str, field: str = "") -> None:
        super().__init__(why)
        self.field = field


@dataclass(frozen=True, slots=True)
class Field:
    """One argument in a form. A list of texts has one a line; what is no plain value, or hides something, is JSON."""

    name: str
    kind: FieldKind
    value: str
    hint: str = ""
    choices: tuple[str, ...] = ()


def form(args: Mapping[str, Any], manifest: SkillManifest) -> tuple[Field, ...]:
    """The fields for a call as it is asked about, in the order of the schema."""
    root = manifest.args_schema
    properties: Mapping[str, Any] = root.get("properties", {})
    return tuple(
        _field(name, args.get(name), resolved(properties[name], root)) for name in list(properties)[:FIELDS_MOST]
    )


def changes(args: Mapping[str, Any], given: Mapping[str, str], manifest: SkillManifest) -> dict[str, Any]:
    """What a filled-in form changes. Raises `BadEdit` with the field in it."""
    made = {}
    for field in form(args, manifest):
        text = given.get(field.name)
        if text is None or text.replace("\r\n", "\n").strip("\n") == field.value.strip("\n"):
            continue
        if text == "" and field.name not in args:
            continue
        made[field.name] = _read(field, text.replace("\r\n", "\n"))
    return made


@dataclass(frozen=True, slots=True)
class Edit:
    """The step as it becomes. `call` are its arguments with nothing left to look up; `said` tells people what changed."""

    args: dict[str, Any]
    origins: dict[str, Any]
    call: dict[str, Any]
    changed: tuple[str, ...]
    title: str
    said: str

    def as_more(self) -> dict[str, Any]:
        return {"args": self.args, "origins": self.origins, "title": self.title, "said": self.said}


def edited(
    action: Mapping[str, Any],
    args: Mapping[str, Any],
    origins: Mapping[str, Any],
    given: Mapping[str, Any],
    manifest: SkillManifest,
    *,
    by: str,
) -> Edit:
    """`action` as it was asked about, `args` and `origins` of its step (with references still in it). Raises `BadEdit`."""
    shown: Mapping[str, Any] = action["args"]
    known = manifest.args_schema.get("properties", {})
    for name in given:
        if name not in known:
            raise BadEdit(f"{manifest.name} has no argument {name!r}; it has {', '.join(known) or 'none'}", name)
    changed = tuple(name for name, value in given.items() if name not in shown or not _same(shown[name], value))
    if not changed:
        raise BadEdit("nothing is changed by that")
    call = dict(shown) | {name: given[name] for name in changed}
    _refuse_unfit(call, changed, manifest)
    own = ArgumentOrigin(origin=Origin.REQUESTER, by=by).model_dump(mode="json")
    return Edit(
        args={**{k: v for k, v in args.items() if k not in changed}, **{name: given[name] for name in changed}},
        origins={**{k: v for k, v in origins.items() if k not in changed}, **dict.fromkeys(changed, own)},
        call=call,
        changed=changed,
        title=call_title(manifest, call),
        said="; ".join(f"{name}: {_brief(shown.get(name))} → {_brief(given[name])}" for name in changed)[:SAID_CHARS],
    )


def refuse_forbidden(
    edit: Edit,
    action: Mapping[str, Any],
    manifest: SkillManifest,
    organisation: Organisation,
    people: Sequence[Requester],
    now: datetime,
) -> None:
    """What policy forbids either of them is said at once; all else is for the gate itself. Raises `BadEdit`."""
    call = Action(
        skill=manifest.name, version=manifest.version, schema_hash=manifest.schema_hash, args=edit.call,
        target=str(action.get("target", "")),
    )  # fmt: skip
    where = Provenance(origins={name: ArgumentOrigin(origin=Origin.REQUESTER) for name in edit.call})
    for person in people:
        answer = policy.classify(call, manifest, where, person, organisation, (), now)
        if isinstance(answer, Deny):
            raise BadEdit(f"refused by policy: {' '.join(answer.reasons)}")


# ---------------------------------------------------------------- parts


def _refuse_unfit(call: Mapping[str, Any], changed: Sequence[str], manifest: SkillManifest) -> None:
    for name in changed:
        if any(templates.references(call[name])):
            raise BadEdit(f"{name}: references such as {{{{ 1.paths }}}} can't be put in by an edit", name)
    try:
        digest.canonical(dict(call))
    except digest.NotCanonical as error:
        raise BadEdit(str(error)) from error
    except templates.BadReference as error:
        raise BadEdit(str(error)) from error
    checker = jsonschema.Draft202012Validator(manifest.args_schema)
    fault = next(iter(sorted(checker.iter_errors(dict(call)), key=lambda e: list(map(str, e.absolute_path)))), None)
    if fault is not None:
        field = str(fault.absolute_path[0]) if fault.absolute_path else ""
        raise BadEdit(f"{field or manifest.name}: {fault.message}"[:SAID_CHARS], field)


def _field(name: str, value: Any, schema: Mapping[str, Any]) -> Field:
    hint = str(schema.get("description", ""))
    if _hides(value):
        return Field(name, "json", json.dumps(value), hint)
    kind = schema.get("type")
    choices = tuple(str(c) for c in schema.get("enum", []) if isinstance(c, str))
    if choices and isinstance(value, str | None):
        return Field(name, "choice", value or "", hint, choices)
    if isinstance(value, bool) or (value is None and kind == "boolean"):
        return Field(name, "boolean", "" if value is None else str(value).lower(), hint, ("true", "false"))
    if isinstance(value, list) and value and all(isinstance(v, str) and "\n" not in v and v for v in value):
        return Field(name, "list", "\n".join(value), hint)
    if isinstance(value, int | float):
        return Field(name, "integer" if isinstance(value, int) else "number", json.dumps(value), hint)
    if isinstance(value, str):
        return Field(name, "long" if "\n" in value or len(value) > VALUE_CHARS else "text", value, hint)
    if value is None:
        absent: dict[Any, FieldKind] = {"string": "text", "integer": "integer", "number": "number", "array": "list"}
        return Field(name, absent.get(kind, "json"), "", hint)
    return Field(name, "json", json.dumps(value, ensure_ascii=False, indent=1), hint)


def _hides(value: Any) -> bool:
    """Whether people would not see all of it in a box that shows it raw; as JSON the hidden ones are numbers."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return visible(text) != text


def _read(field: Field, text: str) -> Any:
    match field.kind:
        case "text" | "long" | "choice":
            return text
        case "list":
            return [line for line in text.split("\n") if line.strip()]
        case "boolean":
            if text not in ("true", "false"):
                raise BadEdit(f"{field.name}: say true or false", field.name)
            return text == "true"
        case _:
            try:
                value = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise BadEdit(
                    f"{field.name}: that is no {'JSON' if field.kind == 'json' else field.kind}", field.name
                ) from error
            if field.kind in ("integer", "number") and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise BadEdit(f"{field.name}: that is no {field.kind}", field.name)
            return value


def _same(a: Any, b: Any) -> bool:
    try:
        return digest.canonical(a) == digest.canonical(b)
    except digest.NotCanonical:
        return False


def _brief(value: Any) -> str:
    text = visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= VALUE_CHARS else f"{text[:VALUE_CHARS]}…"
