"""Opens what a route needs and no more: the SDK of a provider, the list of prices. Each takes its time to be imported.

`models` asks the providers; nothing here does.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import assert_never

from worker.llm.protocol import Provider, Usage
from worker.llm.routes import Chosen, Endpoint

Price = Callable[[Endpoint, tuple[str, ...], Usage], Decimal | None]


def price_list(chosen: Chosen) -> Price:
    """The price list takes its time to load, and nobody needs it without a model."""
    if not chosen.endpoints:
        return lambda *_: None
    from worker.llm.prices import price_of

    return price_of


def open_provider(endpoint: Endpoint) -> Provider:
    """The SDKs take a second to import, so only one that is used is."""
    match endpoint.kind:
        case "openai":
            from worker.llm.openai_provider import OpenAIProvider

            return OpenAIProvider(endpoint.key, endpoint.base_url)
        case "anthropic":
            from worker.llm.anthropic_provider import AnthropicProvider

            return AnthropicProvider(endpoint.key, endpoint.base_url)
        case _:
            assert_never(endpoint.kind)
