"""What this process counts and times, until it is added up in the database.

A few dictionary operations for each event, no lock: one event loop. `take` empties it; what could not be written comes back
with `give_back`, so that nothing is counted twice and a database that is away costs nothing but memory of this size.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

from core.figures import MEASURES

# (name, label values): buckets from the lowest, then the sum; for a counter the count alone.
Amounts = dict[tuple[str, tuple[str, ...]], list[float]]

_BY_NAME: Final = {m.name: m for m in MEASURES}


class Measures:
    def __init__(self) -> None:
        self._amounts: Amounts = {}

    def count(self, name: str, *labels: str) -> None:
        """One more."""
        self._of(name, labels, 1)[0] += 1

    def observe(self, name: str, seconds: float, *labels: str) -> None:
        """It took this long. Less than nothing (clocks differ) is nothing."""
        buckets = _BY_NAME[name].buckets
        amounts = self._of(name, labels, len(buckets) + 2)
        seconds = max(seconds, 0.0)
        amounts[bisect_left(buckets, seconds)] += 1
        amounts[-1] += seconds

    def _of(self, name: str, labels: tuple[str, ...], size: int) -> list[float]:
        key = (name, labels)
        if key not in self._amounts:
            if len(labels) != len(_BY_NAME[name].labels):
                raise ValueError(f"{name} has the labels {_BY_NAME[name].labels!r}, not {labels!r}")
            self._amounts[key] = [0.0] * size
        return self._amounts[key]

    def take(self) -> Amounts:
        """All since the last time; the count begins anew."""
        taken, self._amounts = self._amounts, {}
        return taken

    def give_back(self, amounts: Mapping[tuple[str, tuple[str, ...]], list[float]]) -> None:
        """They could not be written."""
        for key, values in amounts.items():
            mine = self._amounts.setdefault(key, [0.0] * len(values))
            self._amounts[key] = [a + b for a, b in zip(mine, values, strict=True)]
