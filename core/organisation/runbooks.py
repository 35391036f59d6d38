"""A runbook with its inputs, as the steps of a task.

Pure. What the person gave stays theirs, what the file says is configuration; a reference to an earlier step is looked
up, and judged, when the step runs.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from core import config, templates, waits
from core.cards.title import call_title
from core.digest import INTEGER_MOST
from core.models import ArgumentOrigin, EffectClass, Origin, PlannedStep, SkillManifest
from core.organisation.schema import Input, Organisation, Runbook, RunbookStep
from core.waits import Wait

_BOOLEANS: Final = {"true": True, "yes": True, "false": False, "no": False}


class BadInputs(ValueError):
    """The runbook can't be run like this; the message says why."""


def runbook_steps(
    organisation: Organisation,
    name: str,
    given: Mapping[str, Any],
    manifests: Mapping[str, SkillManifest],
    *,
    first: int = 1,
) -> tuple[PlannedStep, ...]:
    """Numbered from `first`. Raises `BadInputs`. `{{ inputs.x }}` is put in now; `{{ find.paths }}` becomes `{{ 1.paths }}`."""
    runbook = organisation.runbooks.get(name)
    if runbook is None:
        close = difflib.get_close_matches(name, list(organisation.runbooks), n=1)
        fix = f" Did you mean {close[0]}?" if close else f" There are: {', '.join(organisation.runbooks) or 'none'}."
        raise BadInputs(f"There is no runbook {name!r}.{fix}")
    inputs = _inputs(name, runbook, given)
    numbers = {step.id: n for n, step in enumerate(runbook.steps, start=first)}
    return tuple(_step(step, inputs, set(given), numbers, manifests) for step in runbook.steps)


def _step(
    step: RunbookStep,
    inputs: Mapping[str, Any],
    given: set[str],
    numbers: Mapping[str, int],
    manifests: Mapping[str, SkillManifest],
) -> PlannedStep:
    n = numbers[step.id]
    needs = {numbers[need] for need in step.needs}

    def put_in(_: str, source: str, path: tuple[str, ...]) -> Any:
        if source == "inputs":
            return inputs[path[0]]
        needs.add(numbers[source])
        return "{{ " + ".".join((str(numbers[source]), *path)) + " }}"

    def fill(values: Mapping[str, Any]) -> dict[str, Any]:
        filled: dict[str, Any] = templates.rewrite(dict(values), put_in)
        return filled

    before = {name: number for name, number in numbers.items() if number < n}
    if step.wait is not None:
        made, values = _wait(step.wait, fill, before, manifests), step.wait.args
    elif step.spawn is not None:
        values = step.spawn.model_dump(exclude_none=True)
        made = PlannedStep(n=n, kind="wait", args={"for": "spawn", **fill(values)}, title="Start a child task")
    else:
        manifest, values = _manifest(step.id, step.skill, manifests), step.args
        args = fill(values)
        made = PlannedStep(
            n=n,
            kind="act",
            skill=step.skill,
            args=args,
            title=call_title(manifest, args),
            effect_class=EffectClass(manifest.effect_class),
            timeout_s=manifest.timeout_s,
            max_attempts=config.STEP_ATTEMPTS,
        )
    return made.model_copy(update={
        "n": n,
        "needs": tuple(sorted(needs)),
        "origins": {name: _origin(value, given) for name, value in values.items()},
        "within_s": None if step.within is None else float(step.within),
    })  # fmt: skip


def _manifest(step: str, skill: str, manifests: Mapping[str, SkillManifest]) -> SkillManifest:
    if skill not in manifests:
        raise BadInputs(f"Step {step!r} needs the skill {skill!r}, which no worker has.")
    return manifests[skill]


def _wait(
    wait: Wait,
    fill: Callable[[Mapping[str, Any]], dict[str, Any]],
    before: Mapping[str, int],
    manifests: Mapping[str, SkillManifest],
) -> PlannedStep:
    kept = waits.arguments(wait, before)
    if wait.task in before:
        kept["task"] = f"{{{{ {wait.task}.task }}}}"
    unread = {name: kept.pop(name) for name in ("when", "names") if name in kept}
    args = fill(kept) | unread
    if wait.poll is None:
        return PlannedStep(n=1, kind="wait", args=args, title=waits.in_short(args))
    manifest = _manifest("wait", wait.poll, manifests)
    if not manifest.is_pure:
        raise BadInputs(f"{wait.poll} does more than read, so it can't be polled.")
    return PlannedStep(
        n=1, kind="wait", skill=wait.poll, args=args, title=waits.in_short(args), timeout_s=manifest.timeout_s
    )


def _origin(value: Any, given: set[str]) -> ArgumentOrigin:
    """Written in the runbook, or filled by an input that the person gave."""
    from_person = any(source == "inputs" and path and path[0] in given for source, path in templates.references(value))
    return ArgumentOrigin(origin=Origin.REQUESTER if from_person else Origin.CONFIG)


def _inputs(name: str, runbook: Runbook, given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(given) - set(runbook.inputs))
    if unknown:
        raise BadInputs(f"{name} has no input {unknown[0]!r}. It takes: {', '.join(runbook.inputs) or 'none'}.")
    filled = {key: _given(name, key, spec, given) for key, spec in runbook.inputs.items()}
    missing = [key for key, value in filled.items() if value is None]
    if missing:
        raise BadInputs(f"{name} needs {', '.join(missing)}. Say: run {name} {missing[0]}=…")
    return filled


def _given(name: str, key: str, spec: Input, given: Mapping[str, Any]) -> Any:
    value = given.get(key)
    if value is None:
        return None if spec.default is None else typed(spec, spec.default)
    if "{{" in str(value) or "}}" in str(value):
        # It would be read as a reference to a result when the step runs.
        raise BadInputs(f"{name}: {key} may not hold {{{{ or }}}}.")
    try:
        return typed(spec, value)
    except ValueError as error:
        raise BadInputs(f"{name}: {key}={error}.") from error


def typed(spec: Input, value: Any) -> Any:
    """A value as the input's type; ValueError says what it is not."""
    text = value if isinstance(value, str) else json.dumps(value)
    match spec.type:
        case "string":
            return text
        case "boolean" if text.lower() in _BOOLEANS:
            return _BOOLEANS[text.lower()]
        case "integer" if re.fullmatch(r"[+-]?[0-9]{1,16}", text) and abs(int(text)) <= INTEGER_MOST:
            return int(text)
        case "number" if re.fullmatch(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?", text):
            return float(text)
    raise ValueError(f"{text!r} is no {spec.type}")
