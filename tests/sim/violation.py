"""A request that no correct app sends, whatever the vendor answered to it. Stand-ins collect them in `violations`."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Violation:
    vendor: str
    method: str
    problem: str
    body: dict[str, Any]
