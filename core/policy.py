"""May this action go, must a person be asked, or is it refused: the one place where that is decided.

Pure. The order is: rights → forbidding rules → taint → four eyes and the top tier → grants → rules (first match) → the
default by permission. Each answer carries reasons that a person can read. What cannot be evaluated is asked about,
never allowed. The executor asks right before every call; there is no other road to a skill.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from core import config, predicate
from core.expressions import BadExpression, Expression
from core.ladder import deadline_s
from core.models import (
    Action,
    Allow,
    Approvers,
    ArgumentOrigin,
    ArgumentRole,
    Ask,
    Classified,
    ConversationRef,
    Deny,
    Grant,
    Origin,
    Permission,
    Provenance,
    Requester,
    Risk,
    SkillManifest,
)
from core.organisation import Organisation, Rule, why_not
from core.resources import Resource, pattern, touched
from core.variables import RISK_OF, Judged

OWNERS: Final = Approvers(roles=("owner",))
RISKS: Final[tuple[Risk, ...]] = ("low", "medium", "high", "critical")
_DOES: Final[Mapping[Permission, str]] = {
    Permission.READ: "It reads.",
    Permission.WRITE: "It changes something and cannot be undone.",
    Permission.SEND: "It sends something out.",
    Permission.DELETE: "It deletes.",
    Permission.SPEND: "It spends money.",
    Permission.EXECUTE: "It runs code.",
    Permission.ADMIN: "It changes rights or settings.",
}
# What reading these brings stays here, so a name that content suggests gives nothing away. A link carries data out.
_INSIDE: Final = frozenset({"files", "notes"})
_READS: Final = Allow(reasons=("Reading needs no approval.",), rule="default")
_UNDOABLE: Final = Allow(reasons=("It can be undone.",), rule="default", notice=True)
_NAMED: Final[Mapping[str, str]] = {"to": "recipient", "cc": "copy recipient", "bcc": "hidden copy recipient"}
_BROUGHT: Final[Mapping[str, str]] = {
    "http.get": "a web page",
    "http.request": "a web answer",
    "files.read": "a file",
    "files.list": "a list of files",
    "email.read": "a mail",
    "email.search": "a list of mails",
    "note.recall": "a note",
}


def classify(
    action: Action,
    skill: SkillManifest,
    provenance: Provenance,
    requester: Requester,
    organisation: Organisation,
    grants: Sequence[Grant],
    now: datetime,
    *,
    conversation: ConversationRef | None = None,
    task: Mapping[str, Any] | None = None,
) -> Classified:
    """`action` as it would run, `provenance` of its arguments, `grants` of the requester; `now` with a time zone.

    `task` has `id`, `goal`, `spent` (US dollars), `new_target` (its target was never acted on before) and `rate` (calls of
    the skill that the requester had begun in the last hour).
    """
    parts = touched(action.args, skill)
    refusal = _no_right(action, skill, parts, requester, organisation)
    if refusal is not None:
        return refusal

    call = Judged(action, skill, provenance, requester, organisation, now, conversation, task)
    found = _judge(call, parts)
    if found.forbids is not None:
        return Deny(reasons=(_said(found.forbids),), rule=found.forbids.name)
    default_risk = RISK_OF[skill.permission]
    risk = (found.ask.risk if found.ask else None) or (found.first.risk if found.first else None) or default_risk
    tainted = tainted_controls(skill, provenance)
    if tainted and "critical" in (risk, default_risk):
        reason = "A critical action may not take who, where or how much from content of others."
        return Deny(reasons=(reason, *tainted), rule="taint")
    if tainted:
        return _ask(found.ask, organisation, risk, ("Part of it was not chosen by the person who asked.",), tainted)
    if found.doubt:
        return _ask(found.ask, organisation, risk, (found.doubt,), ())
    answer = _by_rule(found, skill, organisation, risk)
    if not isinstance(answer, Ask) or found.is_strict or risk == "critical":
        return answer
    if answer.approvers.four_eyes or answer.approvers.needed > 1:
        return answer
    mine = (g for g in grants if _could_say_so(g, answer.approvers) and covers(g, action, skill, requester, now))
    covering = next(mine, None)
    return (
        Allow(reasons=("A standing permission covers it.",), grant_id=covering.id, rule="grant") if covering else answer
    )


def both(asked: Classified, also: Classified) -> Classified:
    """What holds when an action needs the rights of two people, as after an edit: the narrower of the two answers."""
    if isinstance(asked, Deny) or isinstance(also, Allow):
        return asked
    if isinstance(also, Deny) or isinstance(asked, Allow):
        return also
    approvers = asked.approvers.model_copy(
        update={
            "needed": max(asked.approvers.needed, also.approvers.needed),
            "four_eyes": asked.approvers.four_eyes or also.approvers.four_eyes,
            "veto": asked.approvers.veto or also.approvers.veto,
        }
    )
    return asked.model_copy(
        update={
            "approvers": approvers,
            "risk": max(asked.risk, also.risk, key=RISKS.index),
            "reasons": tuple(dict.fromkeys((*asked.reasons, *also.reasons))),
            "provenance": tuple(dict.fromkeys((*asked.provenance, *also.provenance))),
        }
    )


def stricter(old: Ask, new: Classified) -> str | None:
    """Why an approval that was given under `old` no longer holds under `new`; None when it does."""
    if isinstance(new, Allow):
        return None
    if isinstance(new, Deny):
        return f"It is refused now: {' '.join(new.reasons)}"
    if new.approvers.needed > old.approvers.needed:
        return f"More people have to approve now: {new.approvers.needed} instead of {old.approvers.needed}"
    if new.approvers.four_eyes and not old.approvers.four_eyes:
        return "The person who asked may no longer approve it"
    if new.approvers.veto and not old.approvers.veto:
        return "A single no ends it now"
    if RISKS.index(new.risk) > RISKS.index(old.risk):
        return f"It counts as a higher risk now: {new.risk} instead of {old.risk}"
    if fresh := [line for line in new.provenance if line not in old.provenance]:
        return f"Something is known about it that the card did not say: {fresh[0]}"
    lost = [
        *(set(old.approvers.people) - set(new.approvers.people)),
        *(set(old.approvers.roles) - set(new.approvers.roles)),
        *(set(old.approvers.slack_usergroups) - set(new.approvers.slack_usergroups)),
    ]
    if lost:
        return f"Who may decide has changed: no longer {', '.join(sorted(lost))}"
    return None


def default_approvers(organisation: Organisation) -> Approvers:
    """Who decides what no rule speaks of."""
    return _group(None, organisation)


def covers(grant: Grant, action: Action, skill: SkillManifest, requester: Requester, now: datetime) -> bool:
    """A live grant of the requester covers a call of its skill, as that was then, in which every control argument fits."""
    return (
        grant.skill == action.skill
        and grant.skill_version in ("", action.version)
        and grant.schema_hash in ("", action.schema_hash)
        and grant.principal_key == requester.key
        and grant.task_id in (None, action.task_id)
        and (grant.uses_left is None or grant.uses_left > 0)
        and grant.expires_at > now
        and predicate.covered(action.args, grant.args, skill)
    )


def _could_say_so(grant: Grant, approvers: Approvers) -> bool:
    """Who gave it is still among those who would be asked."""
    return grant.owner_key in approvers.people or bool(set(grant.owner_roles) & set(approvers.roles))


def tainted_controls(skill: SkillManifest, provenance: Provenance) -> tuple[str, ...]:
    """One line for each control argument that comes from untrusted content, unless all the call does is to read here."""
    inside = all(p.permission is Permission.READ and p.resource.partition(":")[0] in _INSIDE for p in skill.permissions)
    if inside and skill.permissions:
        return ()
    return tuple(
        f"{_NAMED.get(name, name)} comes from {_source(origin)}"
        for name, origin in provenance.origins.items()
        if skill.roles.get(name, ArgumentRole.CONTROL) is ArgumentRole.CONTROL and origin.origin is Origin.UNTRUSTED
    )


# ---------------------------------------------------------------- rights and rules


def _no_right(
    action: Action, skill: SkillManifest, parts: Sequence[Resource], requester: Requester, organisation: Organisation
) -> Deny | None:
    installed = (skill.name, skill.version, skill.schema_hash)
    if (action.skill, action.version, action.schema_hash) != installed:
        return Deny(reasons=(f"The skill {action.skill} is not the one that is installed.",), rule="rights")
    why = why_not(organisation, requester.roles, skill.name, action.target, parts)
    if why is not None:
        return Deny(reasons=(f"{requester.name or requester.key} {why}.",), rule="rights")
    return None


@dataclass(frozen=True, slots=True)
class _Found:
    """What the rules say. `ask` names the rule to ask by, `is_strict` that no grant or earlier rule comes before it.

    `first` is the first that matches; `doubt` says which rule could not be evaluated, and why.
    """

    forbids: Rule | None = None
    ask: Rule | None = None
    is_strict: bool = False
    first: Rule | None = None
    doubt: str = ""


def _judge(call: Judged, parts: Sequence[Resource]) -> _Found:
    """Rules that forbid, and rules that want four eyes or are of the top tier, count wherever they stand."""
    every = call.organisation.policy.rules
    rules = [r for r in every if fnmatchcase(call.skill.name, r.skill) and _is_about(r, parts)]
    known = call.variables({name for r in rules if r.when for name in Expression(r.when).names})
    forbids, doubt = _first([r for r in rules if r.then == "deny"], known)
    if forbids is not None:
        return _Found(forbids=forbids)
    strict, doubt_strict = _first([r for r in rules if _is_strict(r, call.organisation)], known)
    first, doubt_first = _first([r for r in rules if r.then != "deny"], known)
    broken = doubt_strict or doubt_first or doubt
    asking = strict or (first if first and first.then == "ask" else None)
    if asking is None and broken and broken.rule.then == "ask":
        asking = broken.rule
    return _Found(ask=asking, is_strict=strict is not None, first=first, doubt=broken.said if broken else "")


def _is_about(rule: Rule, parts: Sequence[Resource]) -> bool:
    """A rule that allows has to name all that the call touches, one that asks or forbids any of it."""
    if rule.resource is None:
        return True
    named = pattern(rule.resource)
    if rule.then == "allow":
        return bool(parts) and all(named.allows(part) for part in parts)
    return any(named.forbids(part) for part in parts)


@dataclass(frozen=True, slots=True)
class _Broken:
    rule: Rule
    said: str


def _first(rules: Sequence[Rule], variables: Mapping[str, Any]) -> tuple[Rule | None, _Broken | None]:
    """The first rule that applies; and the first before it that could not be evaluated."""
    broken = None
    for rule in rules:
        try:
            if rule.when is None or Expression(rule.when).holds(variables):
                return rule, broken
        except BadExpression as error:
            broken = broken or _Broken(rule, f"The rule {rule.name!r} could not be evaluated: {error}.")
    return None, broken


def _is_strict(rule: Rule, organisation: Organisation) -> bool:
    if rule.then != "ask":
        return False
    group = organisation.approvers.get(rule.approvers or "default")
    return rule.risk == "critical" or (OWNERS if group is None else group).four_eyes


def _by_rule(found: _Found, skill: SkillManifest, organisation: Organisation, risk: Risk) -> Classified:
    if found.ask is not None:
        return _ask(found.ask, organisation, risk, (), ())
    if found.first is not None:
        return Allow(reasons=(_said(found.first),), rule=found.first.name)
    return _default(skill, organisation, risk)


def _default(skill: SkillManifest, organisation: Organisation, risk: Risk) -> Classified:
    needed = {p.permission for p in skill.permissions}
    if needed == {Permission.READ}:
        return _READS
    if needed and needed <= {Permission.READ, Permission.WRITE} and skill.reversible:
        return _UNDOABLE
    return _ask(None, organisation, risk, (_DOES[skill.permission],), ())


# ---------------------------------------------------------------- parts


def _ask(
    rule: Rule | None, organisation: Organisation, risk: Risk, reasons: tuple[str, ...], provenance: tuple[str, ...]
) -> Ask:
    ladder = rule.ladder if rule else "default"
    return Ask(
        reasons=(*reasons, _said(rule)) if rule else reasons,
        provenance=provenance,
        rule=rule.name if rule else "default",
        approvers=_group(rule, organisation),
        ladder=ladder,
        risk=risk,
        expires_in_s=(rule.expires_in if rule else None)
        or deadline_s(organisation, ladder)
        or config.APPROVAL_EXPIRES_S,
    )


def _group(rule: Rule | None, organisation: Organisation) -> Approvers:
    """The rule's approvers, else the group called `default`, else the owners."""
    group = organisation.approvers.get((rule.approvers if rule else None) or "default")
    if group is None:
        return OWNERS
    return Approvers(
        people=tuple(group.people),
        roles=tuple(group.roles),
        slack_usergroups=tuple(group.slack_usergroups),
        needed=group.needed,
        four_eyes=group.four_eyes,
        veto=group.veto,
    )


def _said(rule: Rule) -> str:
    return rule.say or f"The rule {rule.name!r} says so."


def _source(origin: ArgumentOrigin) -> str:
    what = _BROUGHT.get(origin.note) or (f"the result of {origin.note}" if origin.note else "content of others")
    return what + (f" read in step {origin.step}" if origin.step else "")
