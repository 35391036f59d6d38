"""Planned mishaps of a stand-in: the next n calls of a method answer late, wrongly, or not at all.

A fault says only what the caller sees; whether the effect took place follows from its kind. A fault that was never
met means that the test did not test what it says: ask `unmet()` at the end.
"""

from dataclasses import dataclass
from typing import Literal

FaultName = Literal["status", "delay", "drop_before", "done_but_answer_lost"]


@dataclass(frozen=True)
class Kind:
    """What goes wrong; `code` and `retry_after_s` belong to status, `delay_s` to delay."""

    name: FaultName
    code: int = 500
    retry_after_s: int | None = None
    delay_s: float = 0.0


def status(code: int, retry_after_s: int | None = None) -> Kind:
    """The vendor refuses with this HTTP status, with no effect."""
    return Kind("status", code, retry_after_s)


def delay(seconds: float) -> Kind:
    """The answer (and the effect) comes this much later."""
    return Kind("delay", delay_s=seconds)


DROP_BEFORE = Kind("drop_before")
"""The connection closes before anything happened."""
DONE_BUT_ANSWER_LOST = Kind("done_but_answer_lost")
"""The effect took place, then the connection closes without an answer."""


@dataclass
class _Planned:
    method: str
    kind: Kind
    left: int


class Faults:
    """The faults planned for one stand-in, met in the order in which they were added."""

    def __init__(self) -> None:
        self._planned: list[_Planned] = []

    def add(self, method: str, times: int, kind: Kind) -> None:
        """Let the next `times` calls of `method` ("*": of any method) go wrong in this way."""
        self._planned.append(_Planned(method, kind, times))

    def meet(self, method: str) -> Kind | None:
        for planned in self._planned:
            if planned.left > 0 and planned.method in (method, "*"):
                planned.left -= 1
                return planned.kind
        return None

    def unmet(self) -> list[str]:
        return [f"{one.method}: {one.kind.name} × {one.left}" for one in self._planned if one.left > 0]

    def clear(self) -> None:
        self._planned.clear()
