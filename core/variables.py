"""What the `when:` of a rule may speak of, and which of it has to be looked up in the past.

Pure. `core.expressions` holds the names, sayso.example.yaml and docs/policy.md list them; `core.policy` evaluates.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Judged:
    """A call with all that rules may know of it. `task` has what `core.policy.classify` says; `now` a time zone."""

    action: Action
    skill: SkillManifest
    provenance: Provenance
    requester: Requester
    organisation: Organisation
    now: datetime
    conversation: ConversationRef | None
    task: Mapping[str, Any] | None

    def variables(self, names: Iterable[str]) -> dict[str, Any]:
        """Those of these names that have a value: working all of them out takes longer than most rules."""
        values = ((name, VALUES[name](self)) for name in names)
        return {name: value for name, value in values if value is not None}

    def of_task(self, name: str, otherwise: Any) -> Any:
        return otherwise if self.task is None else self.task.get(name, otherwise)


def _count(call: Judged) -> int:
    """The longest list among the control arguments."""
    roles = call.skill.roles
    controls = (v for k, v in call.action.args.items() if roles.get(k, ArgumentRole.CONTROL) is ArgumentRole.CONTROL)
    return max((len(v) for v in controls if isinstance(v, list)), default=1)


def _amount(call: Judged) -> float | None:
    """The largest amount; with one that is no number there is none, and a rule that speaks of it asks."""
    named = (call.action.args.get(name) for name in _AMOUNTS)
    amounts = [_number(value) for value in named if value is not None]
    known = [a for a in amounts if a is not None]
    return max(known, default=0.0) if len(known) == len(amounts) else None


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


VALUES: Final[Mapping[str, Callable[[Judged], Any]]] = {
    "skill": lambda call: call.skill.name,
    "permission": lambda call: str(call.skill.permission),
    "args": lambda call: call.action.args,
    "risk": lambda call: RISK_OF[call.skill.permission],
    "effect_class": lambda call: str(call.skill.effect_class),
    "reversible": lambda call: call.skill.reversible,
    "origin": lambda call: {name: str(origin.origin) for name, origin in call.provenance.origins.items()},
    "tainted": lambda call: call.provenance.tainted,
    "requester": lambda call: {"id": call.requester.key, "roles": list(call.requester.roles)},
    "conversation": lambda call: _where(call.conversation or ConversationRef()),
    "count": _count,
    "amount": _amount,
    "target": lambda call: call.action.target,
    "new_target": lambda call: bool(call.of_task("new_target", False)),
    "rate": lambda call: int(call.of_task("rate", 0)),
    "now": lambda call: _local(call.now, call.organisation.timezone),
    "task": lambda call: {
        "id": str(call.of_task("id", call.action.task_id)),
        "goal": str(call.of_task("goal", "")),
        "spent": float(call.of_task("spent", 0.0)),
    },
}


def _where(place: ConversationRef) -> dict[str, str]:
    return {"channel": place.channel, "id": place.id}
