"""A model's answer as it is kept, and as it is read back: for a turn that is taken again after its worker died.

Kept as it came, but for secrets that we hold, which are masked as they were in the question. Only a turn with exactly the
same question, in the same generation of its step, is given it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from worker.llm import Answer
from worker.llm.protocol import BadCall, ToolCall, Usage


def to_keep(answer: Answer) -> dict[str, Any]:
    return {
        "text": answer.text,
        "calls": [asdict(call) for call in answer.calls],
        "bad": [asdict(call) for call in answer.bad],
        "model": answer.model,
        "provider": answer.provider,
        "stop": answer.stop,
    }


def read_back(kept: dict[str, Any], prompt: str) -> Answer:
    """Without tokens or price: those were accounted for when it was bought."""
    return Answer(
        text=kept["text"],
        calls=tuple(ToolCall(**call) for call in kept["calls"]),
        usage=Usage(),
        model=kept["model"],
        provider=kept["provider"],
        stop=kept["stop"],
        usd=None,
        latency_ms=0,
        prompt_sha256=prompt,
        bad=tuple(BadCall(**call) for call in kept["bad"]),
    )
