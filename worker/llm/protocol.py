"""What a language model is asked and what it answers, in words that belong to no vendor.

Frozen values and the two errors that callers see. Nothing here knows an SDK: `openai_provider` and
`anthropic_provider` translate to and from these, `models` chooses which of them is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal, Protocol

# Both vendors refuse a request whose tool is named otherwise.
TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

Role = Literal["system", "user", "assistant", "tool"]
Stop = Literal["end", "tools", "length", "refused"]
Outcome = Literal["answered", "refused", "failed", "cancelled"]
# Gets the text of an answer as it is written; None: what came so far is not the answer (it calls a tool, or begins anew).
OnDelta = Callable[[str | None], None]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that the model may call; `schema` is the JSON Schema of its arguments, an object."""

    name: str
    description: str
    schema: dict[str, Any]

    def __post_init__(self) -> None:
        if not TOOL_NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name for a tool; use letters, digits, _ and -, at most 64")


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadCall:
    """A call whose arguments were no JSON object; `raw` is what came, `error` says what is wrong with it."""

    id: str
    name: str
    raw: str
    error: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture for the model to look at; `base64` are its bytes."""

    mime: str
    base64: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the conversation. A `tool` turn answers the call `call_id` of the assistant turn before it.

    `images` go with a user's turn, behind its text.
    """

    role: Role
    text: str
    calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class Recording:
    """A voice to be put into words. Vendors tell the format by the ending of the name."""

    name: str
    mime: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as billed. `cached_tokens` are part of `input_tokens`, whatever the vendor's own habit is."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """What one provider came back with. `model` is the exact model that answered, as the vendor names it."""

    text: str
    calls: tuple[ToolCall, ...]
    bad: tuple[BadCall, ...]
    usage: Usage
    model: str
    stop: Stop


@dataclass(frozen=True, slots=True)
class Answer:
    """`usd` None means that the price is not known, never that it was free. `bad` calls were asked for but not readable."""

    text: str
    calls: tuple[ToolCall, ...]
    usage: Usage
    model: str
    provider: str
    stop: Stop
    usd: Decimal | None
    latency_ms: int
    prompt_sha256: str
    bad: tuple[BadCall, ...] = ()


@dataclass(frozen=True, slots=True)
class CallRecord:
    """The account of one call to one route, without a word of what was said. `error_class` is a word of ours."""

    purpose: str
    provider: str
    model: str
    prompt_sha256: str
    usage: Usage
    latency_ms: int
    outcome: Outcome
    usd: Decimal | None = None
    error_class: str = ""
    task: int | None = None
    n: int | None = None


class Provider(Protocol):
    """One vendor behind one address. `complete` and `transcribe` raise only `ProviderFailed`."""

    kind: str

    async def complete(
        self,
        model: str,
        turns: Sequence[Turn],
        tools: Sequence[ToolSpec],
        *,
        max_output_tokens: int,
        timeout_s: float,
        on_delta: OnDelta | None,
    ) -> Completion: ...

    async def transcribe(self, model: str, recording: Recording, *, timeout_s: float) -> Completion: ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Tried:
    """One route that did not answer: `provider/model` and why, e.g. `rate_limited`."""

    route: str
    why: str


class ModelUnavailable(Exception):
    """No route answered. `retry_after_s` None means that asking again is useless until someone changes something."""

    def __init__(self, reason: str, retry_after_s: float | None, tried: list[Tried]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.tried = tried


class ModelRefused(Exception):
    """The model, or its vendor's filter, would not answer. No other model is asked: a refusal is not gone round."""

    def __init__(self, route: str, text: str) -> None:
        super().__init__(text or f"{route} gave no reason")
        self.route = route
        self.text = text


@dataclass(frozen=True, slots=True)
class Asked:
    """One question on its way: what is the same on every route. With a `recording` it asks for its words."""

    purpose: str
    turns: tuple[Turn, ...]
    tools: tuple[ToolSpec, ...]
    max_output_tokens: int
    prompt_sha256: str
    task: int | None = None
    n: int | None = None
    on_delta: OnDelta | None = field(default=None, compare=False)
    recording: Recording | None = None
