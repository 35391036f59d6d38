"""Asks a language model: along the routes of a purpose, past providers that rest or fail, within one deadline.

The SDKs' own retries are off, so this file alone decides who is asked next and how often. Every call, answered or
not, is written down by the `record` it was given; neither records nor errors hold a word of what was said. The
question itself goes out with every long secret that we hold masked.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from core.organisation import ModelsPart
from worker.llm.health import Health
from worker.llm.protocol import (
    Answer,
    Asked,
    CallRecord,
    Completion,
    ModelRefused,
    ModelUnavailable,
    OnDelta,
    Outcome,
    Provider,
    Recording,
    ToolSpec,
    Tried,
    Turn,
    Usage,
)
from worker.llm.providers import Price, open_provider, price_list
from worker.llm.reading import storable
from worker.llm.redaction import Redaction
from worker.llm.routes import Chosen, Environment, Route, choose
from worker.llm.trouble import PASSING, ProviderFailed, Trouble

ROUNDS_MOST: Final = 2
ATTEMPT_LEAST_S: Final = 0.05
RETRY_PAUSE_S: Final = 0.5
RETRY_WAIT_MOST_S: Final = 5.0
RETRY_LATER_S: Final = 15.0
RECORD_TIMEOUT_S: Final = 5.0

TRANSCRIBE: Final = "transcribe"
Record = Callable[[CallRecord], Awaitable[None]]
log = logging.getLogger(__name__)


class Models:
    """One per process; safe for any number of questions at once."""

    def __init__(
        self,
        chosen: Chosen,
        providers: Mapping[str, Provider],
        *,
        record: Record,
        price: Price,
        secrets: Sequence[str] = (),
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._chosen = chosen
        self._providers = providers
        self._record, self._price = record, price
        self._redaction = Redaction(secrets)
        self._now, self._sleep = now, sleep
        self._health = Health(now)
        self._whole_only: set[str] = set()

    @classmethod
    def open(
        cls,
        environment: Environment,
        config: ModelsPart,
        *,
        record: Record,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> Models:
        """With what the environment and `models:` of sayso.yaml name; with no key at all it opens and answers nothing.

        Raises `BadRoute` when a route names a provider that nobody declared.
        """
        chosen = choose(environment, config)
        for transport in ("httpx2", "httpcore2"):  # at INFO they write every address
            logging.getLogger(transport).setLevel(logging.WARNING)
        providers = {name: open_provider(endpoint) for name, endpoint in chosen.endpoints.items()}
        keys = [e.key for e in chosen.endpoints.values() if e.key]
        secrets = [*environment.secret_values(), *keys]
        return cls(chosen, providers, record=record, price=price_list(chosen), secrets=secrets, now=now, sleep=sleep)

    @classmethod
    def silent(cls, environment: Environment, config: ModelsPart) -> Models:
        """One that can tell what would be asked and can ask nobody: no provider is opened. Raises `BadRoute`."""

        async def nothing(_: CallRecord) -> None:
            raise AssertionError("nobody was asked")

        chosen = choose(environment, config)
        keys = [e.key for e in chosen.endpoints.values() if e.key]
        return cls(chosen, {}, record=nothing, price=lambda *_: None, secrets=[*environment.secret_values(), *keys])

    async def aclose(self) -> None:
        for provider in self._providers.values():
            await provider.aclose()

    def available(self, purpose: str) -> bool:
        """Whether there is a route at all; it may be resting."""
        return bool(self._chosen.routes.get(purpose))

    def fingerprint(self, turns: Sequence[Turn], tools: Sequence[ToolSpec]) -> str:
        """The hash of the question as it would be asked, which its answer and its records carry."""
        return prompt_sha256([self._redaction.turn(turn) for turn in turns], tools)

    def masked(self, value: Any) -> Any:
        """A JSON value without the secrets that we hold."""
        return self._redaction.value(value)

    async def ask(
        self,
        purpose: str,
        turns: Sequence[Turn],
        tools: Sequence[ToolSpec] = (),
        *,
        max_output_tokens: int,
        deadline_s: float,
        on_delta: OnDelta | None = None,
        task: int | None = None,
        n: int | None = None,
        model: str | None = None,
    ) -> Answer:
        """The first answer along the routes. Raises only `ModelUnavailable` and `ModelRefused` (and CancelledError).

        `on_delta` gets the text as it is written, to show that something happens, up to the first call of a tool; when a
        stream breaks, the next route starts anew, after a None. The answer's own text is the only one to keep. `task` and
        `n` go into the records.
        `model` (provider/model) is asked alone, if it is one of those configured for anything.
        """
        routes = self._routes(purpose, model)
        return await self._first(
            self._prepared(purpose, turns, tools, max_output_tokens, on_delta, task, n), routes, deadline_s
        )

    async def transcribe(self, recording: Recording, *, deadline_s: float) -> Answer:
        """What a voice says, along the routes of `transcribe`. Raises as `ask` does."""
        routes = self._routes(TRANSCRIBE, None)
        sha256 = hashlib.sha256(recording.content).hexdigest()
        return await self._first(Asked(TRANSCRIBE, (), (), 0, sha256, recording=recording), routes, deadline_s)

    async def _first(self, asked: Asked, routes: Sequence[Route], deadline_s: float) -> Answer:
        ends_at = self._now() + deadline_s
        tried: list[Tried] = []
        open_routes = list(routes)
        for round_number in range(ROUNDS_MOST):
            if round_number and not await self._pause(open_routes, ends_at):
                break
            asking = list(open_routes)
            for position, route in enumerate(asking):
                left_s = ends_at - self._now()
                if self._health.rest_s(route) > 0:
                    tried.append(Tried(str(route), "resting"))
                elif left_s < ATTEMPT_LEAST_S:
                    tried.append(Tried(str(route), "no_time_left"))
                else:
                    # A share of the time each, so that a route that hangs leaves some for those behind it.
                    came = await self._attempt(asked, route, left_s / (len(asking) - position))
                    if isinstance(came, Answer):
                        return came
                    tried.append(Tried(str(route), _why(came)))
                    if came.trouble not in PASSING:
                        open_routes.remove(route)
            if not open_routes:
                break
        raise ModelUnavailable(_reason(tried), self._retry_after_s(open_routes), tried)

    def _routes(self, purpose: str, model: str | None) -> tuple[Route, ...]:
        """Raises `ModelUnavailable`."""
        if model is None:
            found = self._chosen.routes.get(purpose, ())
            why = f"no language model is configured for {purpose!r}"
        else:
            known = {str(route): route for routes in self._chosen.routes.values() for route in routes}
            found = (known[model],) if model in known else ()
            why = f"{model} is not among the models configured here: {', '.join(sorted(known)) or 'none'}"
        if not found:
            raise ModelUnavailable(why, None, [])
        return found

    # ------------------------------------------------------------ one attempt

    async def _attempt(self, asked: Asked, route: Route, timeout_s: float) -> Answer | ProviderFailed:
        """Ask one route once, note its health, write the record. Raises `ModelRefused`."""
        began = self._now()
        self._health.begun(route, timeout_s)
        try:
            came = await self._complete(asked, route, timeout_s)
        except asyncio.CancelledError:
            self._health.cancelled(route)
            await self._write(self._record_of(asked, route, began, "cancelled"))
            raise
        if isinstance(came, ProviderFailed):
            if asked.on_delta is not None:
                asked.on_delta(None)
            self._health.failed(route, came)
            if came.trouble is Trouble.REFUSED:
                await self._write(self._record_of(asked, route, began, "refused", error_class=came.trouble))
                raise ModelRefused(str(route), "")
            await self._write(self._record_of(asked, route, began, "failed", error_class=came.trouble))
            return came
        self._health.answered(route)
        answer = self._answer(asked, route, came, began)
        outcome: Outcome = "refused" if came.stop == "refused" else "answered"
        await self._write(self._record_of(asked, route, began, outcome, answer))
        if came.stop == "refused":
            raise ModelRefused(str(route), self._redaction.text(came.text))
        return answer

    async def _complete(self, asked: Asked, route: Route, timeout_s: float) -> Completion | ProviderFailed:
        on_delta = None if route.provider in self._whole_only else asked.on_delta
        try:
            # The SDK's own timeout is per read; this one is for the whole, against servers that drip.
            async with asyncio.timeout(timeout_s):
                if asked.recording is not None:
                    return await self._providers[route.provider].transcribe(
                        route.model, asked.recording, timeout_s=timeout_s
                    )
                try:
                    return await self._once(asked, route, timeout_s, on_delta)
                except ProviderFailed as failed:
                    if on_delta is None or failed.trouble is not Trouble.BAD_REQUEST:
                        raise
                # Some servers that speak a vendor's language can't stream: what they refuse so, they may answer whole.
                whole = await self._once(asked, route, timeout_s, None)
                self._whole_only.add(route.provider)
                return whole
        except ProviderFailed as failed:
            return failed
        except TimeoutError:
            return ProviderFailed(Trouble.TIMED_OUT)
        except Exception as error:
            # An SDK is others' code: whatever else it raises is one more way of not answering. No text: it may quote.
            log.warning("%s failed in a way we do not know: %s", route, type(error).__name__)
            return ProviderFailed(Trouble.BAD_ANSWER)

    async def _once(self, asked: Asked, route: Route, timeout_s: float, on_delta: OnDelta | None) -> Completion:
        return await self._providers[route.provider].complete(
            route.model,
            asked.turns,
            asked.tools,
            max_output_tokens=asked.max_output_tokens,
            timeout_s=timeout_s,
            on_delta=on_delta,
        )

    def _answer(self, asked: Asked, route: Route, came: Completion, began: float) -> Answer:
        return Answer(
            text=storable(came.text),
            calls=came.calls,
            usage=came.usage,
            model=came.model,
            provider=route.provider,
            stop=came.stop,
            usd=self._price(self._chosen.endpoints[route.provider], (came.model, route.model), came.usage),
            latency_ms=self._elapsed_ms(began),
            prompt_sha256=asked.prompt_sha256,
            bad=came.bad,
        )

    # ------------------------------------------------------------ waiting

    async def _pause(self, routes: Sequence[Route], ends_at: float) -> bool:
        """Wait for the route that is ready first; False when that is too long to wait here."""
        wait_s = max(min((self._health.rest_s(route) for route in routes), default=0.0), RETRY_PAUSE_S)
        if wait_s > RETRY_WAIT_MOST_S or self._now() + wait_s + ATTEMPT_LEAST_S > ends_at:
            return False
        await self._sleep(wait_s)
        return True

    def _retry_after_s(self, routes: Sequence[Route]) -> float | None:
        return min((self._health.rest_s(route) or RETRY_LATER_S for route in routes), default=None)

    # ------------------------------------------------------------ what is kept

    def _prepared(
        self,
        purpose: str,
        turns: Sequence[Turn],
        tools: Sequence[ToolSpec],
        max_output_tokens: int,
        on_delta: OnDelta | None,
        task: int | None,
        n: int | None,
    ) -> Asked:
        shown = tuple(self._redaction.turn(turn) for turn in turns)
        heard = _unfailing(on_delta) if on_delta is not None else None
        return Asked(purpose, shown, tuple(tools), max_output_tokens, prompt_sha256(shown, tools), task, n, heard)

    def _record_of(
        self,
        asked: Asked,
        route: Route,
        began: float,
        outcome: Outcome,
        answer: Answer | None = None,
        error_class: str = "",
    ) -> CallRecord:
        return CallRecord(
            purpose=asked.purpose,
            provider=route.provider,
            model=route.model,
            prompt_sha256=asked.prompt_sha256,
            usage=answer.usage if answer else Usage(),
            latency_ms=self._elapsed_ms(began),
            outcome=outcome,
            usd=answer.usd if answer else None,
            error_class=error_class,
            task=asked.task,
            n=asked.n,
        )

    async def _write(self, record: CallRecord) -> None:
        """Best effort: an answer that was paid for is not thrown away because its account could not be written."""
        try:
            async with asyncio.timeout(RECORD_TIMEOUT_S):
                await self._record(record)
        except Exception as error:
            log.warning("a call to %s was not recorded: %s", record.provider, type(error).__name__)

    def _elapsed_ms(self, began: float) -> int:
        return max(0, round((self._now() - began) * 1000))


def _unfailing(on_delta: OnDelta) -> OnDelta:
    """What only shows that something happens must not spoil the answer."""

    def tell(piece: str | None) -> None:
        try:
            on_delta(piece)
        except Exception as error:
            log.warning("text could not be shown while it is written: %s", type(error).__name__)

    return tell


def prompt_sha256(turns: Sequence[Turn], tools: Sequence[ToolSpec]) -> str:
    """The same for every route: what was asked, before it was put into a vendor's words."""
    told = [{k: v for k, v in asdict(turn).items() if v or k != "images"} for turn in turns]
    asked = {"turns": told, "tools": [asdict(tool) for tool in tools]}
    return hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _why(failed: ProviderFailed) -> str:
    return f"{failed.trouble} ({failed.code})" if failed.code else str(failed.trouble)


def _reason(tried: Sequence[Tried]) -> str:
    """The last thing that each route said, in the order of the routes."""
    last: dict[str, str] = {}
    for one in tried:
        if one.why not in ("resting", "no_time_left") or one.route not in last:
            last[one.route] = one.why
    return "; ".join(f"{route}: {why}" for route, why in last.items())
