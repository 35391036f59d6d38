"""What really ran: one line per step body, written outside any database, the same way for every system.

A cell counts only what its ledger proves: each step of each task once, a chain's steps in order. The line also says
when the body began, from which rates and gaps are computed, so that no system reports on itself.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STALLED_S: Final = 20.0
LOOK_EVERY_S: Final = 0.02


class Stalled(Exception):
    """Nothing has begun for a long time though not everything has."""


@dataclass(frozen=True, slots=True)
class Line:
    task: str
    n: int
    at: float


class Ledger:
    """The writing side; one per process that runs bodies. A line is one write to a file opened for appending."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, task: object, n: int) -> None:
        os.write(self._file, f"{task} {n} {time.time():.6f}\n".encode())


def read(path: Path) -> list[Line]:
    if not path.exists():
        return []
    lines = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    return [Line(task, int(n), float(at)) for task, n, at in lines]


def count(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


async def filled(path: Path, wanted: int, check: Callable[[], None]) -> None:
    """Wait for so many lines, looking only at the file. Raises `Stalled`, or what `check` raises."""
    seen, since = 0, time.monotonic()
    while (now := count(path)) < wanted:
        check()
        if now > seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > STALLED_S:
            raise Stalled(f"{now} of {wanted} steps have begun, none in the last {STALLED_S:g} s")
        await asyncio.sleep(LOOK_EVERY_S)


def problems(lines: Sequence[Line], tasks: int, steps: int) -> list[str]:
    """Why a cell does not count; empty when each of `steps` steps of `tasks` tasks ran once, a task's first step first
    and its last step last."""
    ran: dict[str, list[int]] = {}
    for line in lines:
        ran.setdefault(line.task, []).append(line.n)
    found = []
    if len(ran) != tasks:
        found.append(f"{len(ran)} tasks ran, not {tasks}")
    whole = list(range(1, steps + 1))
    for task, numbers in ran.items():
        if sorted(numbers) != whole:
            found.append(f"task {task} ran steps {sorted(numbers)}, not 1 to {steps}")
        elif numbers[0] != 1 or numbers[-1] != steps:
            found.append(f"task {task} ran its steps in the order {numbers}")
    return found[:5]


def gaps_ms(lines: Sequence[Line]) -> list[float]:
    """From the start of each body to the start of the next one of the same task."""
    last: dict[str, float] = {}
    gaps = []
    for line in lines:
        if line.task in last:
            gaps.append((line.at - last[line.task]) * 1000)
        last[line.task] = line.at
    return gaps
