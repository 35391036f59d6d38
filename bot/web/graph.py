"""A task's steps as a drawing: which waits for which, and how far each has come. Pure; the template writes the SVG.

Rows follow the longest way from the start, so every line leads down. Steps of one skill that need the same and are needed by
the same are one box: a fan of twenty stays readable on a phone. The list of steps under the drawing says the same in words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

BOX_W: Final = 168
BOX_H: Final = 52
GAP_W: Final = 20
GAP_H: Final = 36
EDGE: Final = 6
LABEL_CHARS: Final = 17
NOTE_CHARS: Final = 22
ALIKE_LEAST: Final = 4
STEPS_DRAWN_MOST: Final = 300
# The most telling state of several steps comes first.
TELLING: Final = (
    "unknown", "awaiting_approval", "failed", "running", "waiting", "ready", "blocked", "cancelled", "skipped", "succeeded",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Box:
    """One step, or several alike. `x`, `y` is its upper left corner; `says` is its whole text for those who don't see it."""

    step: int
    label: str
    note: str
    status: str
    says: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """`lines` are SVG paths, from the lower edge of one box to the upper edge of another."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[str, ...]
    box_width: int = BOX_W
    box_height: int = BOX_H


def drawn(steps: Sequence[Mapping[str, Any]]) -> Drawing | None:
    """`steps` as `views` gives them: n, title, skill, status, needs. None where a drawing would say nothing."""
    if not 2 <= len(steps) <= STEPS_DRAWN_MOST:
        return None
    groups = _groups(steps)
    of = {step["n"]: first for first, alike in groups.items() for step in alike}
    needs = {first: sorted({of[n] for n in alike[0]["needs"] if n in of}) for first, alike in groups.items()}
    rows = _rows(needs)
    widest = max(len(row) for row in rows)
    width = _across(widest) + 2 * EDGE
    at = {
        first: ((width - _across(len(row))) // 2 + i * (BOX_W + GAP_W), EDGE + r * (BOX_H + GAP_H))
        for r, row in enumerate(rows)
        for i, first in enumerate(row)
    }
    return Drawing(
        width,
        len(rows) * (BOX_H + GAP_H) - GAP_H + 2 * EDGE,
        tuple(_box(groups[first], *at[first]) for row in rows for first in row),
        tuple(_line(at[need], at[first]) for first, before in needs.items() for need in before),
    )


def _across(boxes: int) -> int:
    return boxes * (BOX_W + GAP_W) - GAP_W


def _groups(steps: Sequence[Mapping[str, Any]]) -> dict[int, list[Mapping[str, Any]]]:
    """By the number of its first step, each group of steps alike; most are alone."""
    needed_by: dict[int, list[int]] = {}
    for step in steps:
        for need in step["needs"]:
            needed_by.setdefault(need, []).append(step["n"])
    alike: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for step in steps:
        what = (step["skill"], tuple(sorted(step["needs"])), tuple(sorted(needed_by.get(step["n"], ()))))
        alike.setdefault(what, []).append(step)
    groups: dict[int, list[Mapping[str, Any]]] = {}
    for found in alike.values():
        for group in [found] if len(found) >= ALIKE_LEAST else [[step] for step in found]:
            groups[group[0]["n"]] = group
    return dict(sorted(groups.items()))


def _rows(needs: Mapping[int, Sequence[int]]) -> list[list[int]]:
    """Steps only need earlier ones, so one pass in their order finds the longest way to each."""
    depth: dict[int, int] = {}
    for first, before in needs.items():
        depth[first] = 1 + max((depth.get(need, 0) for need in before), default=-1)
    rows: list[list[int]] = [[] for _ in range(max(depth.values()) + 1)]
    for first, row in depth.items():
        rows[row].append(first)
    return rows


def _box(alike: Sequence[Mapping[str, Any]], x: int, y: int) -> Box:
    first = alike[0]
    counts = Counter(step["status"] for step in alike)
    status = min(counts, key=_telling)
    if len(alike) == 1:
        label, note = f"{first['n']} {first['title']}", _words(status)
        says = f"Step {first['n']}, {first['title']}: {note}"
    else:
        label = f"{len(alike)} × {first['skill'] or first['title']}"
        note = ", ".join(f"{counts[each]} {_words(each)}" for each in sorted(counts, key=_telling))
        says = f"Steps {first['n']} to {alike[-1]['n']}, {first['skill'] or first['title']}: {note}"
    return Box(first["n"], _cut(label, LABEL_CHARS), _cut(note, NOTE_CHARS), status, says, x, y)


def _telling(status: str) -> int:
    return TELLING.index(status) if status in TELLING else 0


def _words(status: str) -> str:
    return status.replace("_", " ")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _line(above: tuple[int, int], below: tuple[int, int]) -> str:
    x1, y1, x2, y2 = above[0] + BOX_W // 2, above[1] + BOX_H, below[0] + BOX_W // 2, below[1]
    middle = (y1 + y2) // 2
    return f"M{x1} {y1}C{x1} {middle} {x2} {middle} {x2} {y2}"
