"""The plot: one SVG of bars, a group for each workload and concurrency, a bar for each system, as ratios to raw commits.

Written by hand in eighty lines because a picture of bars is no reason to install a plotting library of forty megabytes;
the scale is logarithmic since systems differ by orders of magnitude, the thin line over a bar is least to most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

COLOURS: Final = {
    "sayso": "#0b7a75", "dbos": "#7b6d8d", "langgraph": "#c98b2b", "procrastinate": "#5b7db1", "pgqueuer": "#a8527a",
}  # fmt: skip
WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 760, 190, 120, 16, 18, 64
LEAST: Final = 0.01  # of the raw rate; where the axis begins


def svg(found: Mapping[str, Any]) -> str:
    """Cells with a rate only; latencies and sizes are read better in the table."""
    cells = [cell for cell in found["cells"] if "rate" in cell]
    most = max([1.0, *(cell["ratio_to_raw_max"] for cell in cells)])
    parts, y, group = [], float(TOP), ""
    for cell in cells:
        name = f"{cell['workload']}, {cell.get('variant') or 'C = ' + str(cell['concurrency'])}"
        if name != group:
            y += GAP
            parts.append(_text(12, y - 4, name, weight="bold"))
            group = name
        parts += _bar(cell, y, most)
        y += BAR + 4
    machine = found["machine"]
    title = "Steps per second as a share of raw single-row commits on as many connections"
    about = (
        f"{found['measured_at'][:10]}, {machine['cores']} cores, PostgreSQL {machine['postgres']} with fsync,"
        f" repeats: {found['repeats']}, load {machine['load_average'][0]}"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 40:.0f}"',
            ' font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{y + 40:.0f}" fill="#ffffff"/>',
            _text(12, 24, title, weight="bold"),
            _text(12, 42, about, colour="#555555"),
            *_axis(most, y),
            *parts,
            "</svg>",
            "",
        ]
    )


def _x(ratio: float, most: float) -> float:
    share = math.log(max(ratio, LEAST) / LEAST) / math.log(most / LEAST)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _bar(cell: Mapping[str, Any], y: float, most: float) -> list[str]:
    end = _x(cell["ratio_to_raw"], most)
    low, high = _x(cell["ratio_to_raw_min"], most), _x(cell["ratio_to_raw_max"], most)
    middle = y + BAR / 2
    told = f"{cell['ratio_to_raw']:.2f}  ({cell['rate']:,.0f}/s)"
    return [
        _text(LEFT - 8, y + BAR - 4, cell["system"], anchor="end"),
        f'<rect x="{LEFT}" y="{y:.1f}" width="{max(end - LEFT, 1):.1f}" height="{BAR}" fill="{COLOURS[cell["system"]]}"/>',
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle:.1f}" y2="{middle:.1f}" stroke="#222222"/>',
        _text(max(end, high) + 6, y + BAR - 4, told),
    ]


def _axis(most: float, bottom: float) -> Sequence[str]:
    marks = [tick for tick in (0.01, 0.03, 0.1, 0.3, 1.0) if tick <= most]
    lines = []
    for tick in marks:
        x = _x(tick, most)
        lines.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom:.1f}" stroke="#dddddd"/>')
        lines.append(_text(x, bottom + 18, f"{tick:g}", anchor="middle", colour="#555555"))
    return lines


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", colour: str = "#222222"
) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">{escape(text)}</text>'
