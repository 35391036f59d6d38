"""Looks into the purse before a step: may it go on, or is a budget used up and a person to be asked.

With no budgets in sayso.yaml nothing is looked up at all. The question is an approval like any other, of kind `budget`:
whoever decides by default says whether the same amount may be used once more.
"""

from __future__ import annotations

from dataclasses import dataclass

from core import config, digest, policy
from core.budgets import Over, Used, day_began, tokens_left, used_up
from core.deps import Deps
from core.models import Action, Claimed, Parked
from core.store import clock, spending


class OverBudget(Exception):
    """A budget is used up; `parked` is the outcome that asks about it."""

    def __init__(self, parked: Parked) -> None:
        super().__init__(parked.why)
        self.parked = parked


@dataclass(frozen=True, slots=True)
class Purse:
    deps: Deps

    async def look(self, step: Claimed, *, thinking: bool) -> int | None:
        """How many tokens an answer may have, None for any number. Raises `OverBudget`."""
        budgets = self.deps.organisation.policy.budgets
        if not budgets:
            return None
        used = await self._used(step)
        over = used_up(budgets, used, thinking=thinking)
        if over is not None:
            raise OverBudget(self._ask(step, over))
        return tokens_left(budgets, used)

    async def _used(self, step: Claimed) -> Used:
        db = self.deps.db
        day = day_began(await clock.now(db), self.deps.organisation.timezone)
        return await spending.of_task(db, step.task_id, step.n, step.requester_id, day)

    def _ask(self, step: Claimed, over: Over) -> Parked:
        action = Action(
            skill="budget", version="1", schema_hash="", args=over.args(), task_id=str(step.task_id), step=step.n
        )
        item = {
            "task": str(step.task_id),
            "step": step.n,
            "digest": digest.digest(action),
            "action": action.model_dump(mode="json"),
        }
        return Parked(
            ask={
                "kind": "budget",
                "items": [item],
                "digest": item["digest"],
                "action_hash": "",
                "card": {"title": over.title, "reasons": [over.reason], "risk": "medium", "rule": "budget"},
                "approvers": policy.default_approvers(self.deps.organisation).model_dump(mode="json"),
                "ladder": "default",
                "expires_in_s": config.APPROVAL_EXPIRES_S,
            },
            places=(step.conversation_id,) if step.conversation_id is not None else (),
            why=over.reason,
        )
