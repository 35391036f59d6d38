"""The journal of a stand-in: an append-only list of everything that went in or out, in the order it happened.

Tests wait on it instead of sleeping, and print it when they fail. It must never change what passes: bodies are copied
when they are written, so a later edit of a message does not rewrite history.
"""

import asyncio
import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tests.sim.clock import Clock

DEFAULT_WAIT_S = 10.0
DUMP_BODY_CHARS = 300

Direction = Literal["in", "out"]


@dataclass(frozen=True)
class Entry:
    """One request to the vendor ("in") or one delivery from it ("out"); `at` is Unix time in seconds."""

    n: int
    at: float
    vendor: str
    direction: Direction
    method: str
    body: dict[str, Any]
    status: int
    note: str = ""

    def line(self) -> str:
        body = json.dumps(self.body, ensure_ascii=False, default=str)
        short = body if len(body) <= DUMP_BODY_CHARS else body[:DUMP_BODY_CHARS] + "…"
        arrow = "→" if self.direction == "in" else "←"
        note = f"  ({self.note})" if self.note else ""
        return f"{self.n:4d} {arrow} {self.vendor} {self.method} {self.status}{note} {short}"


class Journal:
    """All entries of one or several stand-ins; give two stand-ins the same journal to see their common order."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.entries: list[Entry] = []
        self._grew = asyncio.Event()

    def write(
        self, vendor: str, direction: Direction, method: str, body: dict[str, Any], status: int = 200, note: str = ""
    ) -> Entry:
        entry = Entry(
            len(self.entries) + 1, self.clock.time(), vendor, direction, method, copy.deepcopy(body), status, note
        )
        self.entries.append(entry)
        # Replaced, not cleared: whoever waits on the old event wakes exactly once and looks again.
        self._grew.set()
        self._grew = asyncio.Event()
        return entry

    def of(self, vendor: str, method: str | None = None, direction: Direction | None = None) -> list[Entry]:
        """The entries of one vendor, and of one of its methods or directions where these are given."""
        return [
            entry
            for entry in self.entries
            if entry.vendor == vendor and method in (None, entry.method) and direction in (None, entry.direction)
        ]

    async def wait_for(
        self, predicate: Callable[[Entry], bool], timeout_s: float = DEFAULT_WAIT_S, after: int = 0
    ) -> Entry:
        """The first entry with `n > after` that fits, past ones included. Raises AssertionError with the journal."""
        deadline = time.monotonic() + timeout_s
        seen = after
        while True:
            for entry in self.entries[seen:]:
                if predicate(entry):
                    return entry
            seen, grew = len(self.entries), self._grew
            try:
                await asyncio.wait_for(grew.wait(), max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise AssertionError(f"nothing that fits within {timeout_s} s; the journal:\n{self.dump()}") from None

    def dump(self) -> str:
        return "\n".join(entry.line() for entry in self.entries) or "(empty)"

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)
