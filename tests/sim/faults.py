"""Planned mishaps, one vocabulary for every vendor and both directions.

A leg is a direction and a method, named as in the journal: "in" is what the app calls at the vendor, "out" what the vendor
delivers to the app. A fault says what goes wrong on the line; whether the effect took place follows from its kind. A fault
that was never met means that the test did not test what it says: ask `unmet()` at the end.
"""

from dataclasses import dataclass
from typing import Literal

FaultName = Literal[
    "status", "delay", "drop_before", "done_but_answer_lost", "duplicate", "reorder", "disconnect", "cut_short",
    "login_page"
]  # fmt: skip
Leg = Literal["in", "out"]


@dataclass(frozen=True)
class Kind:
    """What goes wrong; `code` and `retry_after_s` belong to status, `delay_s` to delay."""

    name: FaultName
    code: int = 500
    retry_after_s: int | None = None
    delay_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.code}" if self.name == "status" else self.name.replace("_", " ")


def status(code: int, retry_after_s: int | None = None) -> Kind:
    """Refused with this HTTP status and no effect: by the vendor, or by a proxy in front of the app."""
    return Kind("status", code, retry_after_s)


def delay(seconds: float) -> Kind:
    """The request (so also its effect and its answer) comes this much later."""
    return Kind("delay", delay_s=seconds)


DROP_BEFORE = Kind("drop_before")
"""The connection closes before anything happened."""
CUT_SHORT = Kind("cut_short")
"""A download ends in the middle."""
LOGIN_PAGE = Kind("login_page")
"""A download brings Slack's login page instead."""
DONE_BUT_ANSWER_LOST = Kind("done_but_answer_lost")
"""The effect took place, then the connection closes without an answer."""
DISCONNECT = Kind("disconnect")
"""A call: the effect took place, the answer breaks off in the middle. A delivery: the line is cut first (a socket closes)."""
DUPLICATE = Kind("duplicate")
"""A delivery arrives twice at the same moment."""
REORDER = Kind("reorder")
"""A delivery is overtaken by the one after it."""

# A vendor is called once for each request that leaves us; only what it delivers can be doubled or overtaken on the way.
ONLY_OUT = ("duplicate", "reorder")


@dataclass
class _Planned:
    method: str
    kind: Kind
    left: int
    leg: Leg
    is_expected: bool


class Faults:
    """The faults planned for one vendor, met in the order in which they were added."""

    def __init__(self) -> None:
        self._planned: list[_Planned] = []

    def add(self, method: str, times: int, kind: Kind, leg: Leg = "in", *, is_expected: bool = True) -> None:
        """Let the next `times` requests of `method` ("*": of any method) go wrong in this way; one that is not expected may
        as well never come."""
        assert leg == "out" or kind.name not in ONLY_OUT, f"{kind.name} happens to deliveries only"
        self._planned.append(_Planned(method, kind, times, leg, is_expected))

    def meet(self, method: str, leg: Leg = "in") -> Kind | None:
        for planned in self._planned:
            if planned.left > 0 and planned.leg == leg and planned.method in (method, "*"):
                planned.left -= 1
                return planned.kind
        return None

    def unmet(self) -> list[str]:
        arrows = {"in": "", "out": "delivery of "}
        unmet = (one for one in self._planned if one.left > 0 and one.is_expected)
        return [f"{arrows[one.leg]}{one.method}: {one.kind.name} × {one.left}" for one in unmet]

    def clear(self) -> None:
        self._planned.clear()
