"""What a task and a person may use up, and which of it is used up now.

Pure. A budget that runs out is asked about like any risky action: a yes allows the same amount once more, a no ends the
step. Money and tokens are looked at before each question to a model, steps and minutes before each step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any, Final
from zoneinfo import ZoneInfo

from core.organisation import Budget

_WORDS: Final[Mapping[str, str]] = {
    "usd": "{:,.2f} US dollars",
    "tokens": "{:,.0f} tokens",
    "steps": "{:,.0f} steps",
    "minutes": "{:,.0f} minutes of work",
}
_WHOSE: Final[Mapping[str, str]] = {"task": "This task", "person_day": "Today, what this person asked for"}
# Only a question to a model uses these up, so only before one they are looked at.
_BY_THINKING: Final = frozenset({"usd", "tokens"})


@dataclass(frozen=True, slots=True)
class Used:
    """Amounts by budget and measure, as `{"task": {"usd": 1.2, …}, "person_day": {…}}`; `raised` counts the yeses given."""

    amounts: Mapping[str, Mapping[str, float]]
    raised: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Over:
    """A budget that is used up. `limit` includes what was allowed on top; `more` is what a yes would add."""

    budget: str
    measure: str
    used: float
    limit: float
    more: float

    @property
    def name(self) -> str:
        return f"{self.budget}.{self.measure}"

    @property
    def title(self) -> str:
        return f"Go on, with another {_WORDS[self.measure].format(self.more)}?"

    @property
    def reason(self) -> str:
        used, limit = (_WORDS[self.measure].format(amount) for amount in (self.used, self.limit))
        return f"{_WHOSE[self.budget]} has used {used}; the budget is {limit}."

    def args(self) -> dict[str, Any]:
        """For the card: what is asked for, in figures."""
        return {"budget": self.name, "used": round(self.used, 6), "limit": self.limit, "more": self.more}


def used_up(budgets: Mapping[Any, Budget], used: Used, *, thinking: bool) -> Over | None:
    """The first budget with nothing left, if any. `thinking`: a question to a model is about to be asked."""
    for name, budget in budgets.items():
        for measure, more in budget.model_dump(exclude_none=True).items():
            if measure in _BY_THINKING and not thinking:
                continue
            limit = more * (1 + used.raised.get(f"{name}.{measure}", 0))
            amount = used.amounts.get(name, {}).get(measure, 0.0)
            if amount >= limit:
                return Over(name, measure, amount, limit, more)
    return None


def tokens_left(budgets: Mapping[Any, Budget], used: Used) -> int | None:
    """How many tokens the next answer may have; None where no budget says."""
    left = [
        int(budget.tokens * (1 + used.raised.get(f"{name}.tokens", 0)) - used.amounts.get(name, {}).get("tokens", 0.0))
        for name, budget in budgets.items()
        if budget.tokens is not None
    ]
    return max(min(left), 1) if left else None


def day_began(now: datetime, zone: str) -> datetime:
    """Midnight of today where the organisation is."""
    here = now.astimezone(ZoneInfo(zone))
    return datetime.combine(here.date(), time(), here.tzinfo)
