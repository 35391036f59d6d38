"""What of sayso.yaml names something that is not there, or can never work.

Pure. The shape is known to be right; each problem comes with the place of it in the file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import Any

from core import figures, templates
from core.organisation.runbooks import typed
from core.organisation.schema import Organisation, RunbookStep, place_parts
from core.waits import arguments

Where = tuple[str | int, ...]
BUILT_IN_ROLES = frozenset({"owner"})
BUILT_IN_GROUPS = frozenset({"default"})
BUILT_IN_LADDERS = frozenset({"default"})
BUILT_IN_PROVIDERS = frozenset({"openai", "anthropic"})
USERGROUP = r"S[A-Z0-9]{1,20}"
# What the vendors send, so that a slip here does not make somebody a stranger for ever.
IDENTITIES = {
    "slack": (r"[TE][A-Z0-9]+/[UW][A-Z0-9]+", "T0ACME/U01ALICE"),
    "telegram": (r"[0-9]{1,20}", '"1001"'),
    "phone": (r"\+[1-9][0-9]{6,14}", '"+15550002222"'),
    "web": (r"\S{1,200}", "ann@acme.example"),
}


def wrong_references(org: Organisation) -> Iterator[tuple[Where, str]]:
    yield from _of_people(org)
    yield from _of_approvers(org)
    yield from _of_policy(org)
    yield from _of_models(org)
    yield from _of_runbooks(org)
    yield from _of_what_starts_itself(org)


def _of_people(org: Organisation) -> Iterator[tuple[Where, str]]:
    roles = set(org.roles) | BUILT_IN_ROLES
    whose: dict[tuple[str, str], str] = {}
    for key, person in org.people.items():
        for i, role in enumerate(person.roles):
            if role not in roles:
                yield ("people", key, "roles", i), _unknown("role", role, roles)
        for channel, external_id in person.identities.items():
            where: Where = ("people", key, "identities", channel)
            form, example = IDENTITIES[channel]
            if not re.fullmatch(form, external_id, re.ASCII):
                yield where, f"{external_id!r} is no {channel} identity; write it like {example}"
            if (channel, external_id) in whose:
                yield where, f"{external_id!r} is {whose[channel, external_id]!r} already; an identity has one person"
            whose.setdefault((channel, external_id), key)
        away = person.out_of_office
        if away and (away.delegate not in org.people or away.delegate == key):
            yield ("people", key, "out_of_office"), _unknown("other person", away.delegate, set(org.people) - {key})
        elif away and org.people[away.delegate].service:
            yield (
                ("people", key, "out_of_office"),
                f"{away.delegate} is a service; services never decide, name a person",
            )


def _of_approvers(org: Organisation) -> Iterator[tuple[Where, str]]:
    roles = set(org.roles) | BUILT_IN_ROLES
    for key, group in org.approvers.items():
        for i, name in enumerate(group.people):
            if name not in org.people:
                yield ("approvers", key, "people", i), _unknown("person", name, set(org.people))
            elif org.people[name].service:
                yield ("approvers", key, "people", i), f"{name} is a service; services never decide, name a person"
        for i, role in enumerate(group.roles):
            if role not in roles:
                yield ("approvers", key, "roles", i), _unknown("role", role, roles)
        for i, usergroup in enumerate(group.slack_usergroups):
            if not re.fullmatch(USERGROUP, usergroup, re.ASCII):
                yield (
                    ("approvers", key, "slack_usergroups", i),
                    f"{usergroup!r} is no Slack user group; write its id like S0OPS",
                )
        if not (group.people or group.roles or group.slack_usergroups):
            yield ("approvers", key), "nobody is in this group; name people, roles or slack_usergroups"
        elif not (group.roles or group.slack_usergroups) and group.needed > len(set(group.people)):
            yield (
                ("approvers", key, "needed"),
                f"{group.needed} are needed, but only {len(set(group.people))} are named",
            )
    for name, rungs in org.ladders.items():
        if not rungs:
            yield ("ladders", name), "the ladder has no rung; write e.g. - {after: 0m, to: conversation}"
        for i, (lower, upper) in enumerate(pairwise(rungs), start=1):
            if upper.after < lower.after:
                yield ("ladders", name, i), "this rung comes before the one above it; put them in order of 'after'"
            if lower.to == "expire":
                yield ("ladders", name, i), "nothing comes after expire; remove this rung or move it up"


def _of_policy(org: Organisation) -> Iterator[tuple[Where, str]]:
    groups = set(org.approvers) | BUILT_IN_GROUPS
    ladders = set(org.ladders) | BUILT_IN_LADDERS
    seen: set[str] = set()
    for i, rule in enumerate(org.policy.rules):
        if rule.name in seen:
            yield (
                ("policy", "rules", i, "name"),
                f"two rules are called {rule.name!r}; cards name them, so each needs its own",
            )
        seen.add(rule.name)
        if rule.approvers and rule.approvers not in groups:
            yield ("policy", "rules", i, "approvers"), _unknown("approvers group", rule.approvers, groups)
        if rule.approvers and rule.then != "ask":
            yield ("policy", "rules", i, "approvers"), f"a rule that says {rule.then} asks nobody; remove approvers"
        if rule.ladder not in ladders:
            yield ("policy", "rules", i, "ladder"), _unknown("ladder", rule.ladder, ladders)


def _of_models(org: Organisation) -> Iterator[tuple[Where, str]]:
    providers = set(org.models.providers) | BUILT_IN_PROVIDERS
    for purpose, routes in org.models.routes.items():
        for i, route in enumerate(routes):
            provider, slash, model = route.partition("/")
            if not slash or not model:
                yield ("models", "routes", purpose, i), f"{route!r} is no route; write it like openai/gpt-5.4"
            elif provider not in providers:
                yield ("models", "routes", purpose, i), _unknown("provider", provider, providers)


def _of_runbooks(org: Organisation) -> Iterator[tuple[Where, str]]:
    for name, runbook in org.runbooks.items():
        for key, spec in runbook.inputs.items():
            try:
                _ = spec.default is None or typed(spec, spec.default)
            except ValueError as error:
                yield ("runbooks", name, "inputs", key, "default"), f"the default {error}"
        seen: set[str] = set()
        for i, step in enumerate(runbook.steps):
            where: Where = ("runbooks", name, "steps", i)
            if step.id in seen or step.id == "inputs":
                yield where, f"another thing is called {step.id!r} already; give each step its own id"
            for need in step.needs:
                if need not in seen:
                    yield (*where, "needs"), f"step {step.id!r} needs {need!r}, which does not come before it"
            part, said = written(step, seen)
            if step.spawn is not None and step.spawn.run is not None and step.spawn.run not in org.runbooks:
                yield (*where, "spawn"), _unknown("runbook", step.spawn.run, set(org.runbooks))
            try:
                if step.wait is not None:
                    arguments(step.wait, dict.fromkeys(seen, 1))
                references = list(templates.references(said))
            except (templates.BadReference, ValueError) as error:
                yield (*where, part), str(error)
                seen.add(step.id)
                continue
            for source, path in references:
                if source == "inputs":
                    if len(path) != 1 or path[0] not in runbook.inputs:
                        yield (*where, part), _unknown("input", ".".join(path), set(runbook.inputs))
                elif source not in seen:
                    yield (*where, part), f"step {step.id!r} refers to {source!r}, which does not come before it"
            seen.add(step.id)


def written(step: RunbookStep, before: Collection[str] = ()) -> tuple[str, dict[str, Any]]:
    """What the file says of a step besides its name: (the part, its values). `task: sub` means `{{ sub.task }}`."""
    if step.spawn is not None:
        return "spawn", step.spawn.model_dump(exclude_none=True)
    if step.wait is not None:
        values = step.wait.model_dump(exclude_none=True, exclude={"when"})
        if values.get("task") in before:
            values["task"] = f"{{{{ {values['task']}.task }}}}"
        return "wait", values
    return "args", step.args


def _of_what_starts_itself(org: Organisation) -> Iterator[tuple[Where, str]]:
    people = set(org.people)
    for name, hook in org.hooks.items():
        if hook.as_ not in people:
            yield ("hooks", name, "as"), _unknown("person", hook.as_, people)
        if hook.conversation:
            yield from _place(("hooks", name, "conversation"), hook.conversation)
    for i, schedule in enumerate(org.schedules):
        if schedule.run not in org.runbooks:
            yield ("schedules", i, "run"), _unknown("runbook", schedule.run, set(org.runbooks))
        if schedule.as_ not in people:
            yield ("schedules", i, "as"), _unknown("person", schedule.as_, people)
        if len(schedule.cron.split()) != 5:
            yield (
                ("schedules", i, "cron"),
                f"{schedule.cron!r} is no schedule; write five fields such as '0 7 * * MON-FRI'",
            )
    for i, alert in enumerate(org.alerts):
        if (alert.metric is None) == (alert.when is None):
            yield ("alerts", i), "an alert needs one of metric and when"
        elif alert.metric is not None and alert.gauge not in figures.NAMES:
            yield ("alerts", i, "metric"), _unknown("gauge", alert.gauge, set(figures.NAMES))
        elif (alert.metric is not None) != ((alert.above is None) != (alert.below is None)):
            yield ("alerts", i), "a metric needs one of above and below, a condition (when) neither"
        yield from _place(("alerts", i, "to"), alert.to)


def _place(where: Where, text: str) -> Iterator[tuple[Where, str]]:
    try:
        place_parts(text)
    except ValueError as error:
        yield where, str(error)


def _unknown(what: str, name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    fix = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known)) or 'none'}"
    return f"there is no {what} {name!r}; {fix}"
