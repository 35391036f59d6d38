"""Which model answers for which purpose, and what happens when it is away.

Routes are tried in order. A vendor that failed several times in a row is left alone for a while (its breaker is open),
then tried once. Every call, also a failed one, is recorded.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from core.organisation import ModelsPart
from core.settings import Settings
from worker.llm.anthropic_provider import AnthropicProvider
from worker.llm.openai_provider import OpenAIProvider
from worker.llm.protocol import (
    Answer,
    CallRecord,
    ModelRefused,
    ModelUnavailable,
    Provider,
    ToolSpec,
    Turn,
    Usage,
    VendorError,
    prompt_hash,
)

log = logging.getLogger(__name__)

BREAKER_FAILURES = 4
BREAKER_REST_S = 30.0
DEFAULT_MODELS = {
    "openai": {"plan": "gpt-5.4", "act": "gpt-5.4-mini"},
    "anthropic": {"plan": "claude-sonnet-4-6", "act": "claude-haiku-4-6"},
}

Record = Callable[[CallRecord], Awaitable[None]]
Route = tuple[str, str]


class Breaker:
    """Closed while calls succeed; open for a rest after several failures; then one call may try."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._failures, self._open_until = clock, 0, 0.0

    def lets_pass(self) -> bool:
        return self._clock() >= self._open_until

    def succeeded(self) -> None:
        self._failures, self._open_until = 0, 0.0

    def failed(self, retry_after_s: float | None) -> None:
        self._failures += 1
        if self._failures >= BREAKER_FAILURES or retry_after_s:
            self._open_until = self._clock() + (retry_after_s or BREAKER_REST_S)


class Models:
    def __init__(
        self,
        providers: Mapping[str, Provider],
        routes: Mapping[str, Sequence[Route]],
        record: Record,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._providers, self._routes, self._record, self._clock = dict(providers), dict(routes), record, clock
        self._breakers = {name: Breaker(clock) for name in providers}

    @classmethod
    def open(cls, settings: Settings, wanted: ModelsPart, *, record: Record) -> Models:
        """The providers whose keys are there, and the routes of sayso.yaml among them; sensible ones where it has none."""
        providers = _providers(settings, wanted)
        routes: dict[str, list[Route]] = {}
        for purpose in ("plan", "act"):
            listed = [_route(text) for text in wanted.routes.get(purpose, [])]
            if not listed:
                listed = [(name, DEFAULT_MODELS[name][purpose]) for name in providers if name in DEFAULT_MODELS]
            routes[purpose] = [route for route in listed if route[0] in providers]
        return cls(providers, routes, record)

    def available(self, purpose: str) -> bool:
        """Whether any route could answer at all."""
        return bool(self._routes.get(purpose))

    async def ask(
        self,
        purpose: str,
        turns: Sequence[Turn],
        tools: Sequence[ToolSpec] = (),
        *,
        max_output_tokens: int,
        deadline_s: float,
    ) -> Answer:
        """The first route's answer that comes. Raises `ModelUnavailable` or `ModelRefused`."""
        shown, tried, waits = prompt_hash(turns, tools), [], []
        ends = self._clock() + deadline_s
        for name, model in self._routes.get(purpose, []):
            left_s = ends - self._clock()
            if left_s <= 0 or not self._breakers[name].lets_pass():
                tried.append(f"{name}/{model}: {'out of time' if left_s <= 0 else 'resting after failures'}")
                continue
            began = self._clock()
            try:
                answer = await self._providers[name].ask(
                    model, turns, tools, max_output_tokens=max_output_tokens, deadline_s=left_s
                )
            except VendorError as error:
                if not error.is_ours:
                    self._breakers[name].failed(error.retry_after_s)
                tried.append(f"{name}/{model}: {error.why}")
                waits += [error.retry_after_s] if error.retry_after_s else []
                await self._note(purpose, name, model, shown, Usage(), began, "failed", error.why)
                continue
            self._breakers[name].succeeded()
            await self._note(purpose, name, model, shown, answer.usage, began, "ok", "")
            if answer.stop == "refused" and not answer.calls:
                raise ModelRefused(answer.text or "it gave no reason")
            return dataclasses.replace(answer, latency_ms=int((self._clock() - began) * 1000), prompt_sha256=shown)
        reason = "; ".join(tried) or f"no model is configured for {purpose!r}"
        raise ModelUnavailable(reason, min(waits, default=None), tried)

    async def aclose(self) -> None:
        for provider in self._providers.values():
            await provider.aclose()

    async def _note(
        self, purpose: str, name: str, model: str, shown: str, usage: Usage, began: float, outcome: str, why: str
    ) -> None:
        latency_ms = int((self._clock() - began) * 1000)
        await self._record(
            CallRecord(purpose, name, model, shown, usage, latency_ms, outcome, error_class=why)  # type: ignore[arg-type]
        )


def _route(text: str) -> Route:
    provider, _, model = text.partition("/")
    return provider, model


def _providers(settings: Settings, wanted: ModelsPart) -> dict[str, Provider]:
    keys = {
        "openai": (settings.secret_of(settings.openai_api_key), settings.openai_base_url),
        "anthropic": (settings.secret_of(settings.anthropic_api_key), settings.anthropic_base_url),
    }
    found: dict[str, Provider] = {}
    for kind, (key, base_url) in keys.items():
        if key or (kind == "openai" and base_url):
            found[kind] = _open(kind, kind, key or "none", base_url)
    for name, spec in wanted.providers.items():
        key = spec.key or keys[spec.kind][0]
        if key and (spec.base_url or name not in found):
            found[name] = _open(spec.kind, name, key, spec.base_url or keys[spec.kind][1])
    return found


def _open(kind: str, name: str, key: str, base_url: str | None) -> Provider:
    return OpenAIProvider(name, key, base_url) if kind == "openai" else AnthropicProvider(name, key, base_url)
