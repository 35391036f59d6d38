"""Cells: what was measured, gathered over repeats, and how it is told: a table for people, JSON for programs.

A sample is one run of one cell between two probes. A cell is its samples' median with the least and the most; a ratio is
taken per sample and then its median, since the machine may be slower in one repeat than in another.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

TOLD: Final = frozenset({"rate", "raw_rate", "raw_ms", "ratio_to_raw", "p50_ms"})  # in a form of their own


@dataclass(frozen=True, slots=True)
class Key:
    workload: str
    system: str
    concurrency: int
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """`raw_rate` and `raw_ms` (of one commit) are the means of the probes before and after; 0 where there are none."""

    key: Key
    repeat: int
    raw_rate: float = 0.0
    rate: float = 0.0
    raw_ms: float = 0.0
    latencies_ms: tuple[float, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)


def quantile(values: Sequence[float], q: float) -> float:
    """The value below which a share `q` of them lie; the largest for the last share."""
    return sorted(values)[min(len(values) - 1, int(len(values) * q))]


def gathered(samples: Iterable[Sample]) -> list[dict[str, Any]]:
    """One cell per key, in the order in which they were first measured."""
    by_key: dict[Key, list[Sample]] = {}
    for sample in samples:
        by_key.setdefault(sample.key, []).append(sample)
    return [_cell(key, ours, by_key) for key, ours in by_key.items()]


def _cell(key: Key, ours: Sequence[Sample], every: Mapping[Key, Sequence[Sample]]) -> dict[str, Any]:
    cell: dict[str, Any] = {
        "workload": key.workload,
        "system": key.system,
        "concurrency": key.concurrency,
        "repeats": len(ours),
    }
    if key.variant:
        cell["variant"] = key.variant
    if any(s.rate for s in ours):
        cell |= _spread("rate", [s.rate for s in ours])
        cell |= _spread("raw_rate", [s.raw_rate for s in ours])
        cell |= _spread("ratio_to_raw", [s.rate / s.raw_rate for s in ours])
    latencies = [each for s in ours for each in s.latencies_ms]
    if latencies:
        cell |= {"samples": len(latencies), "p50_ms": statistics.median(latencies), "p99_ms": quantile(latencies, 0.99)}
        middles = [statistics.median(s.latencies_ms) for s in ours if s.latencies_ms]
        cell |= {"p50_ms_min": min(middles), "p50_ms_max": max(middles)}
        if all(s.raw_ms for s in ours):
            cell |= _spread("raw_ms", [s.raw_ms for s in ours])
            cell |= _spread("ratio_to_raw", [statistics.median(s.latencies_ms) / s.raw_ms for s in ours])
    for name in dict.fromkeys(name for s in ours for name in s.figures):
        cell |= _spread(name, [s.figures[name] for s in ours if name in s.figures])
    if key.system == "sayso":
        cell["ratio_to_peers"] = _to_peers(key, ours, every)
    return cell


def _to_peers(key: Key, ours: Sequence[Sample], every: Mapping[Key, Sequence[Sample]]) -> dict[str, Any]:
    """Our rate over each peer's in the same repeat; where there is no rate, the peer's median latency over ours."""
    found: dict[str, Any] = {}
    for other, theirs in every.items():
        if other.workload != key.workload or other.concurrency != key.concurrency or other.system == key.system:
            continue
        ratios = [
            ratio
            for mine in ours
            for its in theirs
            if its.repeat == mine.repeat and (ratio := _advantage(mine, its)) is not None
        ]
        if ratios:
            found[other.system] = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
    return found


def _advantage(mine: Sample, its: Sample) -> float | None:
    if mine.rate and its.rate:
        return mine.rate / its.rate
    if mine.latencies_ms and its.latencies_ms:
        return statistics.median(its.latencies_ms) / statistics.median(mine.latencies_ms)
    return None


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    return {name: statistics.median(values), f"{name}_min": min(values), f"{name}_max": max(values)}


def told(cell: Mapping[str, Any]) -> str:
    """One line for people."""
    line = f"{cell['workload']:<4}{cell['system']:<16}{cell.get('variant') or 'C=' + str(cell['concurrency']):<18}"
    if "rate" in cell:
        line += f"{cell['rate']:>8.0f}/s  {_range('raw', cell, 'ratio_to_raw')}"
    if "p50_ms" in cell:
        spread = f"({cell['p50_ms_min']:.1f}–{cell['p50_ms_max']:.1f})"
        line += f"  p50 {cell['p50_ms']:.1f} ms {spread}  p99 {cell['p99_ms']:.1f} ms"
        if "raw_ms" in cell:
            line += f"  {cell['ratio_to_raw']:.0f} raw commits"
    figures = [name for name in cell if name + "_max" in cell and name not in TOLD]
    line += "".join(f"\n{'':<38}{_number(cell[name]):>9} {name}{_within(cell, name)}" for name in figures)
    for peer, ratio in cell.get("ratio_to_peers", {}).items():
        line += f"\n{'':<38}{ratio['median']:>8.1f}× {peer} ({ratio['min']:.1f}–{ratio['max']:.1f})"
    return line


def _range(what: str, cell: Mapping[str, Any], name: str) -> str:
    return f"{cell[name]:.2f} of {what} ({cell[name + '_min']:.2f}–{cell[name + '_max']:.2f})"


def _within(cell: Mapping[str, Any], name: str) -> str:
    least, most = cell[name + "_min"], cell[name + "_max"]
    return "" if least == most else f" ({_number(least)}–{_number(most)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
