"""What the `when:` of a rule may speak of, and which of it has to be looked up in the past.

Pure. `core.expressions` holds the names, sayso.example.yaml and docs/policy.md list them; `core.policy` evaluates.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from core.models import Action, ArgumentRole, ConversationRef, Permission, Provenance, Requester, Risk, SkillManifest
from core.organisation import Organisation

RISK_OF: Final[Mapping[Permission, Risk]] = {
    Permission.READ: "low",
    Permission.WRITE: "medium",
    Permission.SEND: "high",
    Permission.DELETE: "high",
    Permission.SPEND: "critical",
    Permission.EXECUTE: "critical",
    Permission.ADMIN: "critical",
}
_AMOUNTS: Final = ("amount", "usd", "eur", "gbp", "total", "price", "cost")


def asks_of_the_past(organisation: Organisation) -> frozenset[str]:
    """Which of `spent`, `new_target` and `rate` some rule speaks of: only these are looked up before an action."""
    return _named_past(" ".join(rule.when or "" for rule in organisation.policy.rules))


@lru_cache(maxsize=8)
def _named_past(text: str) -> frozenset[str]:
    return frozenset(name for name in ("spent", "new_target", "rate") if re.search(rf"\b{name}\b", text))


def variables_of(
    action: Action,
    skill: SkillManifest,
    provenance: Provenance,
    requester: Requester,
    organisation: Organisation,
    now: datetime,
    conversation: ConversationRef | None,
    task: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What `when:` may speak of; sayso.example.yaml lists them. `now` is in the organisation's time zone."""
    controls = [v for k, v in action.args.items() if skill.roles.get(k, ArgumentRole.CONTROL) is ArgumentRole.CONTROL]
    where = conversation or ConversationRef()
    known: dict[str, Any] = {"id": action.task_id, "goal": "", "spent": 0.0, "new_target": False, "rate": 0}
    known |= dict(task or {})
    variables = {
        "skill": skill.name,
        "permission": str(skill.permission),
        "args": action.args,
        "risk": RISK_OF[skill.permission],
        "effect_class": str(skill.effect_class),
        "reversible": skill.reversible,
        "origin": {name: str(origin.origin) for name, origin in provenance.origins.items()},
        "tainted": provenance.tainted,
        "requester": {"id": requester.key, "roles": list(requester.roles)},
        "conversation": {"channel": where.channel, "id": where.id},
        "count": max((len(v) for v in controls if isinstance(v, list)), default=1),
        "target": action.target,
        "new_target": bool(known["new_target"]),
        "rate": int(known["rate"]),
        "now": _local(now, organisation.timezone),
        "task": {"id": str(known["id"]), "goal": str(known["goal"]), "spent": float(known["spent"])},
    }
    amounts = [_number(action.args[name]) for name in _AMOUNTS if action.args.get(name) is not None]
    # An amount that is no number leaves the name unknown: a rule that speaks of it then asks.
    known_amounts = [a for a in amounts if a is not None]
    return variables | ({"amount": max(known_amounts, default=0.0)} if len(known_amounts) == len(amounts) else {})


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _local(now: datetime, zone: str) -> datetime:
    """The same moment with the zone's offset of that moment: the condition language knows offsets, not zones."""
    offset = now.astimezone(ZoneInfo(zone)).utcoffset()
    return now.astimezone(timezone(offset)) if offset is not None else now
