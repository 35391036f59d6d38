"""A person's question about a card, answered by a model that can do nothing else: no tools, no steps, words only.

It runs as a task of its own beside the one that waits. What comes out stands on the card as a model's words, below the
facts, and changes neither the action nor the approval.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from core import cards, config
from core.deps import Deps
from core.models import Claimed, Failed, Succeeded
from core.store import approvals, steps
from worker.llm import ModelRefused, Models, ModelUnavailable, Turn
from worker.outcome import Outcome
from worker.prompts import BadPrompt, inert, load_prompt, render

RESULTS_CHARS: Final = 12_000
ANSWER_TOKENS: Final = 400


@dataclass(frozen=True, slots=True)
class Aside:
    deps: Deps
    models: Models

    async def answer(self, step: Claimed) -> Outcome:
        """The answer as the step's result. Raises only `CancelledError`."""
        row = await approvals.whole(self.deps.db, str(step.args.get("approval", "")))
        if row is None:
            return Failed(error="The card that the question was about is gone.")
        try:
            prompt = render(
                load_prompt("aside", self.deps.settings.home),
                request=inert(row["goal"]),
                action=inert("\n\n".join([*(cards.exact_text(i) for i in row["items"]), *_why(row["card"])])),
                results=inert(await self._results(int(row["task_id"]), int(row["n"]))),
            )
            answer = await self.models.ask(
                "act",
                [Turn("system", prompt), Turn("user", str(step.args.get("question", "")))],
                max_output_tokens=ANSWER_TOKENS,
                deadline_s=step.timeout_s,
                task=step.task_id,
                n=step.n,
            )
        except ModelUnavailable as error:
            return Failed(error=f"No language model answered: {error.reason}", retry_in_s=error.retry_after_s)
        except (BadPrompt, ModelRefused) as error:
            return Failed(error=f"There is no answer: {error}")
        return Succeeded(result={"text": answer.text.strip()[: config.INBOUND_CHARS] or "The model had no answer."})

    async def _results(self, task: int, n: int) -> str:
        past = await steps.transcript(self.deps.db, task, n)
        came = [
            f"step {s['n']} ({s['skill']}): {json.dumps(s['result'], ensure_ascii=False)}" for s in past if s["result"]
        ]
        return "\n".join(came)[-RESULTS_CHARS:] or "none"


def _why(card: dict[str, object]) -> list[str]:
    reasons, beware = card.get("reasons"), card.get("provenance")
    return [str(line) for lines in (reasons, beware) if isinstance(lines, list) for line in lines]
