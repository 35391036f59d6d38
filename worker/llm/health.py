"""Which routes are worth asking now: providers that rest after failures, and models that a vendor told us to leave.

In the memory of one process, since an outage is learnt again in a few calls. It decides nothing: `models` asks it
before each call and tells it what came.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.llm.circuit import Circuit
from worker.llm.routes import Route
from worker.llm.trouble import UNHEALTHY, ProviderFailed


class Health:
    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._circuits: dict[str, Circuit] = {}
        self._held_until: dict[Route, float] = {}

    def rest_s(self, route: Route) -> float:
        """How long this route should not be asked; 0 when it may be."""
        now = self._now()
        return max(self._circuit(route).rest_s(now), self._held_until.get(route, 0.0) - now, 0.0)

    def begun(self, route: Route, timeout_s: float) -> None:
        self._circuits[route.provider] = self._circuit(route).begun(self._now(), timeout_s)

    def cancelled(self, route: Route) -> None:
        self._circuits[route.provider] = self._circuit(route).released()

    def answered(self, route: Route) -> None:
        self._held_until.pop(route, None)
        self._circuits[route.provider] = self._circuit(route).answered()

    def failed(self, route: Route, failed: ProviderFailed) -> None:
        now, circuit = self._now(), self._circuit(route)
        if failed.retry_after_s:
            # Rate limits are per model at both vendors, so the provider's other models are not held.
            self._held_until[route] = now + failed.retry_after_s
        # An answer that says no is an answer: the provider lives.
        self._circuits[route.provider] = circuit.failed(now) if failed.trouble in UNHEALTHY else circuit.answered()

    def _circuit(self, route: Route) -> Circuit:
        return self._circuits.get(route.provider, Circuit())
