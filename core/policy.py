"""May this action go, must a person be asked, or is it refused: the one place where that is decided.

Pure. The order is: rights → forbidding rules → taint → grants → rules (first match) → the default by permission.
Each answer carries reasons that a person can read. What cannot be evaluated is asked about, never allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from core import config
from core.expressions import BadExpression, Expression
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
    EffectClass,
    Grant,
    Origin,
    Permission,
    Provenance,
    Requester,
    Risk,
    SkillManifest,
)
from core.organisation import Organisation, Rule, may

OWNERS: Final = Approvers(roles=("owner",))
_RISK: Final[Mapping[Permission, Risk]] = {
    Permission.READ: "low",
    Permission.WRITE: "medium",
    Permission.SEND: "high",
    Permission.DELETE: "high",
    Permission.SPEND: "critical",
    Permission.EXECUTE: "critical",
    Permission.ADMIN: "critical",
}
_DOES: Final[Mapping[Permission, str]] = {
    Permission.READ: "It reads.",
    Permission.WRITE: "It changes something.",
    Permission.SEND: "It sends something out.",
    Permission.DELETE: "It deletes.",
    Permission.SPEND: "It spends money.",
    Permission.EXECUTE: "It runs code.",
    Permission.ADMIN: "It changes rights or settings.",
}
_AMOUNTS: Final = ("amount", "usd", "eur", "total", "price")


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
    """`action` as it would run, `provenance` of its arguments, `grants` that are live for the requester."""
    if action.skill != skill.name or action.version != skill.version:
        return Deny(reasons=(f"The skill {action.skill} is not the one that is installed.",))
    if not may(organisation, requester.roles, f"skill:{skill.name}"):
        return Deny(reasons=(f"{requester.name or requester.key} may not use {skill.name}.",))
    variables = _variables(action, skill, provenance, requester, now, conversation, task)
    forbidding, doubt = _forbidding(organisation.policy.rules, skill.name, variables)
    if forbidding is not None:
        return Deny(reasons=(_said(forbidding),), rule=forbidding.name)
    others = [r for r in organisation.policy.rules if r.then != "deny"]
    rule, trouble = first_match(others, skill.name, variables)
    trouble = doubt or trouble
    risk: Risk = (rule.risk if rule and rule.risk else None) or _RISK[skill.permission]
    tainted = tainted_controls(skill, provenance) if skill.permission is not Permission.READ else ()
    if tainted and risk == "critical":
        return Deny(
            reasons=("A critical action may not take who, where or how much from content of others.", *tainted),
            rule="taint",
        )
    if tainted:
        return _ask(rule, organisation, risk, ("Part of it was not chosen by the person who asked.",), tainted)
    if trouble:
        return _ask(None, organisation, risk, (trouble,), ())
    covering = next((g for g in grants if covers(g, action)), None)
    if covering and risk != "critical" and not (rule and rule.then == "ask" and _group(rule, organisation).four_eyes):
        return Allow(reasons=("A standing permission covers it.",), grant_id=covering.id, rule="grant")
    if rule is not None:
        if rule.then == "allow":
            return Allow(reasons=(_said(rule),), rule=rule.name)
        return _ask(rule, organisation, risk, (_said(rule),), ())
    return _default(skill, organisation, risk)


def _default(skill: SkillManifest, organisation: Organisation, risk: Risk) -> Classified:
    needed = {p.permission for p in skill.permissions}
    if needed == {Permission.READ}:
        return Allow(reasons=("Reading needs no approval.",), rule="default")
    if needed and needed <= {Permission.READ, Permission.WRITE} and skill.reversible:
        return Allow(reasons=("It can be undone.",), rule="default", notice=True)
    reason = _DOES[skill.permission]
    if skill.permission is Permission.WRITE:
        reason = "It changes something and cannot be undone."
    return _ask(None, organisation, risk, (reason,), ())


def _forbidding(rules: Sequence[Rule], skill: str, variables: Mapping[str, Any]) -> tuple[Rule | None, str | None]:
    """The first rule that forbids, wherever it stands; else why one could not be evaluated, if one could not."""
    doubt = None
    for rule in rules:
        if rule.then == "deny":
            found, trouble = first_match([rule], skill, variables)
            if found is not None:
                return found, None
            doubt = doubt or trouble
    return None, doubt


def first_match(rules: Sequence[Rule], skill: str, variables: Mapping[str, Any]) -> tuple[Rule | None, str | None]:
    """The first rule that applies; and why a rule before it could not be evaluated, if one could not."""
    for rule in rules:
        if not fnmatchcase(skill, rule.skill):
            continue
        try:
            if rule.when is None or Expression(rule.when).holds(variables):
                return rule, None
        except BadExpression as error:
            return None, f"The rule {rule.name!r} could not be evaluated: {error}"
    return None, None


def tainted_controls(skill: SkillManifest, provenance: Provenance) -> tuple[str, ...]:
    """One line for each control argument that comes from untrusted content."""
    lines = []
    for name, origin in provenance.origins.items():
        role = skill.roles.get(name, ArgumentRole.CONTROL)
        if role is ArgumentRole.CONTROL and origin.origin is Origin.UNTRUSTED:
            lines.append(f"{name} comes from {_source(origin)}")
    return tuple(lines)


def covers(grant: Grant, action: Action) -> bool:
    """A grant covers a call of its skill whose named arguments have exactly its values."""
    return grant.skill == action.skill and all(action.args.get(k) == v for k, v in grant.args.items())


def stricter(old: Ask, new: Ask) -> str | None:
    """Why an approval that was given under `old` no longer holds under `new`; None when it does."""
    if new.approvers.needed > old.approvers.needed:
        return f"More people have to approve now: {new.approvers.needed} instead of {old.approvers.needed}"
    if new.approvers.four_eyes and not old.approvers.four_eyes:
        return "The person who asked may no longer approve it"
    lost = (set(old.approvers.people) - set(new.approvers.people)) | (
        set(old.approvers.roles) - set(new.approvers.roles)
    )
    if lost:
        return f"Who may decide has changed: no longer {', '.join(sorted(lost))}"
    return None


# ---------------------------------------------------------------- parts


def _ask(
    rule: Rule | None, organisation: Organisation, risk: Risk, reasons: tuple[str, ...], provenance: tuple[str, ...]
) -> Ask:
    asks = rule is not None and rule.then == "ask"
    return Ask(
        reasons=reasons if not asks or rule is None or _said(rule) in reasons else (*reasons, _said(rule)),
        provenance=provenance,
        rule=rule.name if rule else "default",
        approvers=_group(rule, organisation),
        ladder=rule.ladder if rule else "default",
        risk=risk,
        expires_in_s=(rule.expires_in if rule and rule.expires_in else None) or config.APPROVAL_EXPIRES_S,
    )


def _group(rule: Rule | None, organisation: Organisation) -> Approvers:
    """The rule's approvers, else the group called `default`, else the owners."""
    name = (rule.approvers if rule else None) or "default"
    group = organisation.approvers.get(name)
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
    what = f"the result of {origin.note}" if origin.note else "content of others"
    return what + (f", read in step {origin.step}" if origin.step else "")


def _variables(
    action: Action,
    skill: SkillManifest,
    provenance: Provenance,
    requester: Requester,
    now: datetime,
    conversation: ConversationRef | None,
    task: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What `when:` may speak of; sayso.example.yaml lists them."""
    controls = [v for k, v in action.args.items() if skill.roles.get(k, ArgumentRole.CONTROL) is ArgumentRole.CONTROL]
    where = conversation or ConversationRef()
    return {
        "skill": skill.name,
        "permission": str(skill.permission),
        "args": action.args,
        "risk": _RISK[skill.permission],
        "effect_class": str(EffectClass(skill.effect_class)),
        "reversible": skill.reversible,
        "origin": {name: str(origin.origin) for name, origin in provenance.origins.items()},
        "tainted": provenance.tainted,
        "requester": {"id": requester.key, "roles": list(requester.roles)},
        "conversation": {"channel": where.channel, "id": where.id},
        "count": max((len(v) for v in controls if isinstance(v, list)), default=1),
        "amount": next((float(action.args[k]) for k in _AMOUNTS if _is_number(action.args.get(k))), 0.0),
        "target": action.target,
        "new_target": bool((task or {}).get("new_target", False)),
        "now": now,
        "task": {"id": "", "goal": "", "spent": 0.0} | dict(task or {}),
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
