"""The vendor-neutral words: what is said to a model and what comes back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Literal, Protocol

Stop = Literal["end", "tools", "length", "refused"]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """`schema` is the JSON Schema of the arguments, an object."""

    name: str
    description: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadCall:
    """A call whose arguments are no JSON object; `raw` is what the model wrote."""

    id: str
    name: str
    raw: str
    error: str


@dataclass(frozen=True, slots=True)
class Turn:
    """`calls` belong to an assistant's turn, `call_id` to a tool's answer."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    calls: tuple[ToolCall | BadCall, ...] = ()
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """`usd` is None when the price is not known; it is never guessed."""

    text: str
    calls: tuple[ToolCall | BadCall, ...]
    usage: Usage
    model: str
    provider: str
    stop: Stop
    latency_ms: int = 0
    prompt_sha256: str = ""
    usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class CallRecord:
    """The account of one call to one vendor; no content."""

    purpose: str
    provider: str
    model: str
    prompt_sha256: str
    usage: Usage
    latency_ms: int
    outcome: Literal["ok", "failed"]
    usd: Decimal | None = None
    error_class: str = ""


class ModelUnavailable(Exception):
    """No route answered. `tried` are `provider/model: why`."""

    def __init__(self, reason: str, retry_after_s: float | None = None, tried: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.reason, self.retry_after_s, self.tried = reason, retry_after_s, list(tried)


class ModelRefused(Exception):
    """The model will not do this; another route is not tried."""


class VendorError(Exception):
    """A vendor's failure in our terms. `is_ours`: the request itself is wrong, so that trying again is useless."""

    def __init__(self, why: str, *, retry_after_s: float | None = None, is_ours: bool = False) -> None:
        super().__init__(why)
        self.why, self.retry_after_s, self.is_ours = why, retry_after_s, is_ours


class Provider(Protocol):
    """One vendor's endpoint."""

    name: str

    async def ask(
        self, model: str, turns: Sequence[Turn], tools: Sequence[ToolSpec], *, max_output_tokens: int, deadline_s: float
    ) -> Answer:
        """Raises `VendorError`."""
        ...

    async def aclose(self) -> None: ...


def read_arguments(call_id: str, name: str, raw: str) -> ToolCall | BadCall:
    """A call's arguments as a model wrote them."""
    try:
        args = json.loads(raw or "{}")
    except (ValueError, RecursionError) as error:
        return BadCall(call_id, name, raw, f"the arguments are no JSON: {error}")
    if not isinstance(args, dict):
        return BadCall(call_id, name, raw, "the arguments are no JSON object")
    return ToolCall(call_id, name, args)


@dataclass(frozen=True, slots=True)
class _Prompt:
    turns: list[dict[str, Any]]
    tools: list[dict[str, Any]] = field(default_factory=list)


def prompt_hash(turns: Sequence[Turn], tools: Sequence[ToolSpec]) -> str:
    """SHA-256 over everything that the model is shown: finds equal prompts without keeping them."""
    prompt = _Prompt([asdict(t) for t in turns], [asdict(t) for t in tools])
    return hashlib.sha256(json.dumps(asdict(prompt), sort_keys=True, ensure_ascii=False).encode()).hexdigest()
