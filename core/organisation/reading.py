"""Reads sayso.yaml and says what is wrong with it, line by line, all at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from core import templates
from core.organisation.schema import Organisation, place_parts

Where = tuple[str | int, ...]
BUILT_IN_ROLES = frozenset({"owner"})
BUILT_IN_GROUPS = frozenset({"default"})
BUILT_IN_LADDERS = frozenset({"default"})


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
        raise OrganisationError([f"{path.name}: cannot be read: {error}"]) from error
    return parse(text, path.name)


def parse(text: str, name: str = "sayso.yaml") -> Organisation:
    """Raises `OrganisationError`."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text) if node is not None else {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise OrganisationError([f"{name}{line}: this is not YAML: {getattr(error, 'problem', error)}"]) from error
    if not isinstance(data, dict):
        raise OrganisationError([f"{name}:1: the file must be a mapping such as 'organisation: Acme'"])
    try:
        organisation = Organisation.model_validate(data)
    except ValidationError as error:
        problems = [(tuple(e["loc"]), _in_words(e, data)) for e in error.errors(include_url=False)]
    else:
        problems = list(_cross_references(organisation))
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


def _in_words(error: Any, data: Any) -> str:
    where = ".".join(str(p) for p in error["loc"])
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(error["loc"][-1]), _names_beside(error["loc"]), n=1)
        fix = f"did you mean {close[0]!r}?" if close else "remove it"
        return f"{where} is not known; {fix}"
    if error["type"] == "missing":
        return f"{where} is missing; add it"
    return f"{where}: {error['msg'].removeprefix('Value error, ')}"


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


# ---------------------------------------------------------------- what refers to what


def _cross_references(org: Organisation) -> Iterator[tuple[Where, str]]:
    roles = set(org.roles) | BUILT_IN_ROLES
    groups = set(org.approvers) | BUILT_IN_GROUPS
    ladders = set(org.ladders) | BUILT_IN_LADDERS
    for key, person in org.people.items():
        for i, role in enumerate(person.roles):
            if role not in roles:
                yield ("people", key, "roles", i), _unknown("role", role, roles)
        if person.out_of_office and person.out_of_office.delegate not in org.people:
            yield ("people", key, "out_of_office"), _unknown("person", person.out_of_office.delegate, set(org.people))
    for key, group in org.approvers.items():
        for i, name in enumerate(group.people):
            if name not in org.people:
                yield ("approvers", key, "people", i), _unknown("person", name, set(org.people))
            elif org.people[name].service:
                yield ("approvers", key, "people", i), f"{name} is a service; services never decide, name a person"
        for i, role in enumerate(group.roles):
            if role not in roles:
                yield ("approvers", key, "roles", i), _unknown("role", role, roles)
        if not (group.people or group.roles or group.slack_usergroups):
            yield ("approvers", key), "nobody is in this group; name people, roles or slack_usergroups"
    for i, rule in enumerate(org.policy.rules):
        if rule.approvers and rule.approvers not in groups:
            yield ("policy", "rules", i, "approvers"), _unknown("approvers group", rule.approvers, groups)
        if rule.ladder not in ladders:
            yield ("policy", "rules", i, "ladder"), _unknown("ladder", rule.ladder, ladders)
    yield from _of_models(org)
    yield from _of_runbooks(org)
    for name, hook in org.hooks.items():
        if hook.as_ not in org.people:
            yield ("hooks", name, "as"), _unknown("person", hook.as_, set(org.people))
        if hook.conversation:
            yield from _place(("hooks", name, "conversation"), hook.conversation)
    for i, schedule in enumerate(org.schedules):
        if schedule.run not in org.runbooks:
            yield ("schedules", i, "run"), _unknown("runbook", schedule.run, set(org.runbooks))
        if schedule.as_ not in org.people:
            yield ("schedules", i, "as"), _unknown("person", schedule.as_, set(org.people))
    for i, alert in enumerate(org.alerts):
        yield from _place(("alerts", i, "to"), alert.to)


def _of_models(org: Organisation) -> Iterator[tuple[Where, str]]:
    providers = set(org.models.providers) | {"openai", "anthropic"}
    for purpose, routes in org.models.routes.items():
        for i, route in enumerate(routes):
            provider, slash, model = route.partition("/")
            if not slash or not model:
                yield ("models", "routes", purpose, i), f"{route!r} is no route; write it like openai/gpt-5.4"
            elif provider not in providers:
                yield ("models", "routes", purpose, i), _unknown("provider", provider, providers)


def _of_runbooks(org: Organisation) -> Iterator[tuple[Where, str]]:
    for name, runbook in org.runbooks.items():
        seen: set[str] = set()
        for i, step in enumerate(runbook.steps):
            where: Where = ("runbooks", name, "steps", i)
            if step.id in seen:
                yield where, f"two steps are called {step.id!r}; give each its own id"
            for need in step.needs:
                if need not in seen:
                    yield (*where, "needs"), f"step {step.id!r} needs {need!r}, which does not come before it"
            for source, path in templates.references(step.args):
                if source == "inputs":
                    if not path or path[0] not in runbook.inputs:
                        yield (*where, "args"), _unknown("input", ".".join(path), set(runbook.inputs))
                elif source not in seen:
                    yield (*where, "args"), f"step {step.id!r} refers to {source!r}, which does not come before it"
            seen.add(step.id)


def _place(where: Where, text: str) -> Iterator[tuple[Where, str]]:
    try:
        place_parts(text)
    except ValueError as error:
        yield where, str(error)


def _unknown(what: str, name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    fix = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known)) or 'none'}"
    return f"there is no {what} {name!r}; {fix}"
