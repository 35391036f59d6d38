"""A circuit breaker as a value: after several failures in a row a provider rests, then one call may look again.

Pure; the clock comes in. Our own thirty lines rather than a library, since the rest has to be known in seconds (it
becomes the `retry_after_s` of a step) and a cancelled look must not count as either success or failure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

FAILURES_MOST: Final = 4
REST_FIRST_S: Final = 15.0
REST_MOST_S: Final = 240.0


@dataclass(frozen=True, slots=True)
class Circuit:
    """Closed while `rests_until` is 0; then open until that time, and half open after it."""

    failures: int = 0
    rests_until: float = 0.0
    looking_until: float = 0.0

    def rest_s(self, now: float) -> float:
        """How long no call may be made; 0 when one may. While one call looks, the others wait for it."""
        if not self.rests_until:
            return 0.0
        return max(self.rests_until - now, self.looking_until - now, 0.0)

    def begun(self, now: float, timeout_s: float) -> Circuit:
        return replace(self, looking_until=now + timeout_s) if self.rests_until else self

    def released(self) -> Circuit:
        """The call ended without telling us anything, e.g. it was cancelled."""
        return replace(self, looking_until=0.0)

    def answered(self) -> Circuit:
        return Circuit()

    def failed(self, now: float) -> Circuit:
        failures = self.failures + 1
        if failures < FAILURES_MOST:
            return Circuit(failures=failures)
        # 2**10 already passes the most; the bound keeps a long outage from growing the number without end.
        rest_s = min(REST_FIRST_S * 2 ** min(failures - FAILURES_MOST, 10), REST_MOST_S)
        return Circuit(failures=failures, rests_until=now + rest_s)
