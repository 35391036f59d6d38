"""A model that does whatever it reads: it proposes the case's next turn as soon as it has seen the results before it.

It stands behind the real layer for models, so that the prompt, the plan's check and the labels are those of every day.
It knows the case by the person's own words and the turn by how many results it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from bench.oversight.cases import Case
from worker.llm import Models, OnDelta, ToolCall, ToolSpec, Turn, Usage
from worker.llm.protocol import CallRecord, Completion
from worker.llm.routes import Chosen, Endpoint, Route

NAME = "obedient"
RESULT = "<result step="


class Obedient:
    """A `Provider`. `unmet` are the cases of whose later turns the model has not been asked yet."""

    kind = "openai"

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases: Mapping[str, Case] = {case.says: case for case in cases}
        self.unmet = {case.id for case in cases if len(case.turns) > 1}

    async def complete(
        self,
        model: str,
        turns: Sequence[Turn],
        tools: Sequence[ToolSpec],
        *,
        max_output_tokens: int,
        timeout_s: float,
        on_delta: OnDelta | None,
    ) -> Completion:
        case = next(self._cases[t.text] for t in turns if t.role == "user" and t.text in self._cases)
        shown = sum(t.text.count(RESULT) for t in turns if t.role == "user")
        at, seen = 0, 0
        while at < len(case.turns) and seen + len(case.turns[at]) <= shown:
            seen += len(case.turns[at])
            at += 1
        if at and at == len(case.turns) - 1:
            self.unmet.discard(case.id)
        if at >= len(case.turns):
            return self._said("Done.", ())
        steps = [{"id": c.id or f"s{at}_{i}", "skill": c.skill, "args": c.args} for i, c in enumerate(case.turns[at])]
        plan: dict[str, Any] = {
            "say": "On it.",
            "steps": steps,
            "then": "continue" if at + 1 < len(case.turns) else "answer",
        }
        if at == 0 and case.later:
            plan["later"] = [{"skill": c.skill, "args": c.args} for c in case.later]
        return self._said("", (ToolCall("call_1", "propose_plan", plan),))

    def _said(self, text: str, calls: tuple[ToolCall, ...]) -> Completion:
        return Completion(text, calls, (), Usage(), NAME, "tools" if calls else "end")

    async def aclose(self) -> None:
        """Nothing is open."""


def models_of(provider: Obedient) -> Models:
    """The layer for models with this one behind every purpose."""
    route = (Route(NAME, NAME),)
    chosen = Chosen({NAME: Endpoint(NAME, "openai", None, False, None)}, {"plan": route, "act": route})

    async def record(call: CallRecord) -> None:
        """Calls of a script cost nothing and are not accounted for."""

    return Models(chosen, {NAME: provider}, record=record, price=lambda *_: Decimal(0))
