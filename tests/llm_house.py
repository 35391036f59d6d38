"""What the tests of the models' layer share: models opened against stand-ins, their records, and a clock of their own."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from core.organisation import ModelsPart
from core.settings import Settings
from tests.sim.anthropic import AnthropicSim
from tests.sim.llm_script import Script
from tests.sim.llm_server import ModelServer
from tests.sim.openai import OpenAISim
from worker.llm import Answer, CallRecord, Models, ToolSpec, Turn

WEATHER = ToolSpec(
    "look_up_weather",
    "The weather of a place",
    {
        "type": "object",
        "properties": {"place": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
        "required": ["place"],
        "additionalProperties": False,
    },
)
HELLO = [Turn("system", "You are brief."), Turn("user", "Hello")]
ROUTES = {"openai": "openai/gpt-5.4", "anthropic": "anthropic/claude-sonnet-4-6"}


@dataclass
class Clock:
    """Time that passes only when someone sleeps or the test says so."""

    at: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds
        await asyncio.sleep(0)


@dataclass
class Opened:
    models: Models
    records: list[CallRecord]
    clock: Clock

    async def ask(self, turns: list[Turn] | None = None, tools: tuple[ToolSpec, ...] = (), **how: Any) -> Answer:
        how = {"max_output_tokens": 500, "deadline_s": 20.0, **how}
        return await self.models.ask("plan", turns or HELLO, tools, **how)

    def outcomes(self) -> list[tuple[str, str, str]]:
        return [(record.provider, record.outcome, record.error_class) for record in self.records]


def environment(*sims: ModelServer, **more: Any) -> Settings:
    found: dict[str, Any] = dict(more)
    for sim in sims:
        found |= {f"{sim.vendor}_api_key": sim.key, f"{sim.vendor}_base_url": sim.base_url}
    return Settings.model_validate(found)


@asynccontextmanager
async def opened(
    *sims: ModelServer, plan: list[str] | None = None, config: Mapping[str, Any] | None = None, **more: Any
) -> AsyncIterator[Opened]:
    """Models whose purpose `plan` is routed to these stand-ins in their order."""
    records: list[CallRecord] = []
    clock = Clock()

    async def record(call: CallRecord) -> None:
        records.append(call)

    routes = {"plan": plan if plan is not None else [ROUTES[sim.vendor] for sim in sims]}
    part = ModelsPart.model_validate({"routes": routes, **(config or {})})
    models = Models.open(environment(*sims, **more), part, record=record, now=clock.now, sleep=clock.sleep)
    try:
        yield Opened(models, records, clock)
    finally:
        await models.aclose()


def stand_in(vendor: str, *queue: Any, **how: Any) -> ModelServer:
    script = Script(*queue)
    return OpenAISim(script, **how) if vendor == "openai" else AnthropicSim(script, **how)
