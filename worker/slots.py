"""A worker's slots, and the steps claimed ahead that wait for one.

Pure bookkeeping: it says how many steps there is room for and whose turn is next, and moves nothing else. Some slots are kept
for the first lane, the urgent one. While steps end quickly there is room for more than there are slots, so that Postgres is
asked for the next ones while these are carried out.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

from core import config
from core.models import Claimed

URGENT: Final = config.LANES[0]


@dataclass(eq=False)
class Hold:
    """A step that runs here. `may_interrupt` is false from the moment its effect has begun, `is_thinking` true while a
    model is being asked: an event may take the step away from us then.

    When it is interrupted, `cancel_asked` says that people want it stopped, `is_dropped` that the lease is lost; else
    the worker is shutting down. `since` is when it was claimed and then when it began, on the loop's clock; without a
    slot it was claimed ahead or has ended, and `running` is None where nothing more of it runs.
    """

    step: Claimed
    since: float = 0.0
    has_slot: bool = False
    may_interrupt: bool = True
    is_thinking: bool = False
    cancel_asked: bool = False
    is_dropped: bool = False
    running: asyncio.Task[None] | None = field(default=None, repr=False)


def kept_free(slots: int) -> int:
    """How many of a worker's slots only urgent steps may take."""
    return min(config.URGENT_SLOTS, slots // 8)


class Slots:
    """`most` steps at once."""

    def __init__(self, most: int) -> None:
        self._most, self._kept = most, kept_free(most)
        self._taken: Counter[str] = Counter()
        self._waiting: dict[str, deque[Hold]] = {lane: deque() for lane in config.LANES}
        self._quick, self._pace = 0, 0

    # ---------------------------------------------------------------- slots

    def take(self, hold: Hold) -> None:
        hold.has_slot = True
        self._taken[hold.step.lane] += 1

    def free(self, hold: Hold) -> None:
        if hold.has_slot:
            hold.has_slot = False
            self._taken[hold.step.lane] -= 1

    def next(self) -> Hold | None:
        """The most urgent step that waits, with a slot now; None when none waits or no slot is free for it."""
        for lane, waiting in self._waiting.items():
            if waiting and sum(self._taken.values()) + self._kept_from(lane) < self._most:
                hold = waiting.popleft()
                self.take(hold)
                return hold
        return None

    def _kept_from(self, lane: str) -> int:
        return 0 if lane == URGENT else max(0, self._kept - self._taken[URGENT])

    # ---------------------------------------------------------------- what is claimed ahead

    def wait(self, hold: Hold) -> None:
        self._waiting[hold.step.lane].append(hold)

    def leave(self, hold: Hold) -> bool:
        """It waits no more; False when it did not."""
        waits = hold in self._waiting[hold.step.lane]
        if waits:
            self._waiting[hold.step.lane].remove(hold)
        return waits

    def clear(self) -> None:
        for waiting in self._waiting.values():
            waiting.clear()

    def all_waiting(self) -> list[Hold]:
        """Those that wait, as they are now."""
        return [hold for waiting in self._waiting.values() for hold in waiting]

    def waiting_since(self) -> float | None:
        """When the one that has waited longest was claimed."""
        return min((waiting[0].since for waiting in self._waiting.values() if waiting), default=None)

    # ---------------------------------------------------------------- how much to claim

    def ended(self, after_s: float) -> None:
        """A step ended that may be followed by others at once."""
        self._quick += after_s < config.QUICK_STEP_S

    def asked(self) -> None:
        """A statement leaves: what ends from now on counts for the next one."""
        self._pace, self._quick = max(self._quick, self._pace // 2), 0

    def rooms(self) -> list[int]:
        """How many steps of each lane to claim.

        Beyond the free slots there is room for twice as many as have lately ended quickly between two statements. Steps that
        take their time are never claimed ahead.
        """
        free = self._most + self._ahead_most() - sum(self._taken.values()) - self._waiting_now()
        return [max(0, free - self._kept_from(lane)) for lane in config.LANES]

    def is_half_begun(self) -> bool:
        """Whether no more than half of what may be claimed ahead still waits."""
        return 2 * self._waiting_now() <= self._ahead_most()

    def _ahead_most(self) -> int:
        return min(2 * max(self._quick, self._pace), config.AHEAD_MOST)

    def _waiting_now(self) -> int:
        return sum(map(len, self._waiting.values()))
