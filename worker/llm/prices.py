"""What a call cost, from the price list that ships with `genai-prices`; works offline.

A model that the list does not have has no known price: None, which is never counted as free. An address of the
operator's own is priced only where the list knows that address, since anything may be served under a famous name.
"""

from __future__ import annotations

from decimal import Decimal

import genai_prices

from worker.llm.protocol import Usage
from worker.llm.routes import Endpoint


def price_of(endpoint: Endpoint, models: tuple[str, ...], usage: Usage) -> Decimal | None:
    """US dollars by the first of `models` (the exact one, then the one asked for) that has a price."""
    tokens = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=min(usage.cached_tokens, usage.input_tokens),
    )
    for model in models:
        try:
            if endpoint.own_address:
                found = genai_prices.calc_price(tokens, model, provider_api_url=endpoint.base_url or "")
            else:
                found = genai_prices.calc_price(tokens, model, provider_id=endpoint.kind)
        except (LookupError, ValueError):
            continue
        return found.total_price
    return None
