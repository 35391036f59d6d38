"""What other rules would have said to what was recorded, and whether rules say what their table of cases expects.

Pure. A recorded action is judged as the gate judges a new one: same function, its labels, its requester with the roles
that the rules give them. Nothing is run and nobody is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core import policy
from core.models import (
    Action,
    Allow,
    ArgumentOrigin,
    Ask,
    Classified,
    ConversationRef,
    Deny,
    Origin,
    Provenance,
    Requester,
    SkillManifest,
)
from core.organisation import Organisation

Verdict = Literal["allow", "ask", "deny"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A call that was proposed, with everything that policy looked at. `was` is what became of it."""

    task: int
    step: int
    action: Action
    provenance: Provenance
    requester: Requester
    conversation: ConversationRef
    goal: str
    at: datetime
    was: str


@dataclass(frozen=True, slots=True)
class Change:
    """A recorded action that two sets of rules judge differently."""

    recorded: Recorded
    old: Classified
    new: Classified


def judge(recorded: Recorded, manifest: SkillManifest, organisation: Organisation) -> Classified:
    """By the skill as it is installed now; people have the roles that `organisation` gives them, others keep theirs."""
    action = recorded.action.model_copy(update={"version": manifest.version, "schema_hash": manifest.schema_hash})
    person = organisation.people.get(recorded.requester.key)
    requester = recorded.requester.model_copy(update={"roles": tuple(person.roles)}) if person else recorded.requester
    return policy.classify(
        action,
        manifest,
        recorded.provenance,
        requester,
        organisation,
        (),
        recorded.at,
        conversation=recorded.conversation,
        task={"id": str(recorded.task), "goal": recorded.goal},
    )


def changes(
    records: Iterable[Recorded], manifests: Mapping[str, SkillManifest], old: Organisation, new: Organisation
) -> list[Change]:
    """Where the verdict, the deciders or the number of them differ. Actions of skills that are gone are left out."""
    found = []
    for one in records:
        manifest = manifests.get(one.action.skill)
        if manifest is None:
            continue
        before, after = judge(one, manifest, old), judge(one, manifest, new)
        if _in_short(before) != _in_short(after):
            found.append(Change(one, before, after))
    return found


def verdict(answer: Classified) -> Verdict:
    match answer:
        case Allow():
            return "allow"
        case Ask():
            return "ask"
        case Deny():
            return "deny"


def in_words(answer: Classified) -> str:
    """`ask ops (2 people), rule 'outside mail': It sends something out.`"""
    why = "; ".join([*answer.reasons, *getattr(answer, "provenance", ())])
    if isinstance(answer, Ask):
        whom = ", ".join([*answer.approvers.people, *(f"any {role}" for role in answer.approvers.roles)]) or "nobody"
        many = f" ({answer.approvers.needed} people)" if answer.approvers.needed > 1 else ""
        return f"ask {whom}{many}, rule {answer.rule!r}: {why}"
    return f"{verdict(answer)}, rule {answer.rule!r}: {why}"


def _in_short(answer: Classified) -> tuple[Any, ...]:
    return (verdict(answer), answer.approvers if isinstance(answer, Ask) else None)


# ---------------------------------------------------------------- a table of cases


class Expected(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    verdict: Verdict
    rule: str | None = None
    approvers: list[str] | None = None
    needed: int | None = None
    says: str | None = None


class Case(BaseModel):
    """One line of the table: who would do what, where its arguments come from, and what the rules should say."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str
    skill: str
    args: dict[str, Any] = {}
    as_: str = Field(alias="as")
    origins: dict[str, Origin] = {}
    tainted: bool = False
    conversation: str = ""
    at: datetime | None = None
    task: dict[str, Any] = {}
    expect: Expected | Verdict


@dataclass(frozen=True, slots=True)
class Result:
    case: Case
    answer: Classified | None
    wrong: tuple[str, ...]


def try_case(case: Case, manifests: Mapping[str, SkillManifest], organisation: Organisation, now: datetime) -> Result:
    """What the rules say to the case, and in what it is not as expected."""
    manifest = manifests.get(case.skill)
    person = organisation.people.get(case.as_)
    if manifest is None:
        return Result(case, None, (f"there is no skill {case.skill!r}",))
    if person is None:
        return Result(case, None, (f"there is nobody called {case.as_!r} under people",))
    unknown = sorted(set(case.args) - set(manifest.args_schema.get("properties", {})))
    if unknown:
        return Result(case, None, (f"{case.skill} has no argument {', '.join(unknown)}",))
    args = defaults(manifest) | case.args
    channel, _, place = case.conversation.partition("/")
    answer = policy.classify(
        Action(skill=manifest.name, version=manifest.version, schema_hash=manifest.schema_hash, args=args),
        manifest,
        Provenance(
            origins={name: ArgumentOrigin(origin=case.origins.get(name, Origin.REQUESTER)) for name in args},
            tainted=case.tainted or Origin.UNTRUSTED in case.origins.values(),
        ),
        Requester(id="0", key=case.as_, name=person.name, roles=tuple(person.roles), is_service=person.service),
        organisation,
        (),
        case.at or now,
        conversation=ConversationRef(channel=channel, id=place),
        task=case.task,
    )
    wanted = case.expect if isinstance(case.expect, Expected) else Expected(verdict=case.expect)
    return Result(case, answer, tuple(_differences(wanted, answer)))


def defaults(manifest: SkillManifest) -> dict[str, Any]:
    """The arguments that nobody needs to give."""
    properties = manifest.args_schema.get("properties", {})
    return {name: one["default"] for name, one in properties.items() if "default" in one}


def _differences(wanted: Expected, answer: Classified) -> Sequence[str]:
    wrong = []
    if verdict(answer) != wanted.verdict:
        wrong.append(f"expected {wanted.verdict}")
    if wanted.rule is not None and answer.rule != wanted.rule:
        wrong.append(f"expected the rule {wanted.rule!r}")
    if wanted.says is not None and wanted.says not in " ".join(answer.reasons):
        wrong.append(f"expected it to say {wanted.says!r}")
    if isinstance(answer, Ask):
        whom = [*answer.approvers.people, *answer.approvers.roles]
        if wanted.approvers is not None and sorted(whom) != sorted(wanted.approvers):
            wrong.append(f"expected to ask {', '.join(wanted.approvers)}")
        if wanted.needed is not None and answer.approvers.needed != wanted.needed:
            wrong.append(f"expected {wanted.needed} to be needed")
    return wrong
