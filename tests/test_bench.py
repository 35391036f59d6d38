"""The benchmark is a program that people run before they believe us: it must run, count honestly and leave nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench import ledger
from bench.cells import Key, Sample, gathered, told

HOUSE = Path(__file__).resolve().parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bot.cli", "bench", "engine", *arguments], cwd=HOUSE, capture_output=True, text=True, timeout=90
    )  # fmt: skip


def test_the_smallest_run_writes_cells_with_figures_of_a_complete_ledger(tmp_path: Path) -> None:
    file = tmp_path / "cells.json"
    ended = run("--quick", "--only", "W1", "--systems", "sayso", "--concurrency", "8", "--json", str(file))
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert found["failures"] == {}
    (cell,) = found["cells"]
    assert (cell["workload"], cell["system"], cell["concurrency"]) == ("W1", "sayso", 8)
    assert cell["rate_min"] > 0
    assert cell["raw_rate_min"] > 0
    assert cell["ratio_to_raw"] == cell["rate"] / cell["raw_rate"]
    assert found["versions"]["sayso"]
    assert found["machine"]["postgres"].startswith("18")


def test_an_unknown_workload_or_system_is_named_with_those_that_there_are() -> None:
    for option, wrong in (("--only", "W99"), ("--systems", "nobody")):
        ended = run(option, wrong)
        assert ended.returncode == 2
        assert f"{wrong!r}; there are" in ended.stderr


def test_a_ledger_with_a_step_missing_doubled_or_out_of_order_is_no_result() -> None:
    def written(*steps: tuple[str, int]) -> list[ledger.Line]:
        return [ledger.Line(task, n, at) for at, (task, n) in enumerate(steps)]

    assert ledger.problems(written(("a", 1), ("b", 1), ("a", 2), ("b", 2)), tasks=2, steps=2) == []
    assert ledger.problems(written(("a", 1), ("b", 1), ("a", 2)), tasks=2, steps=2)
    assert ledger.problems(written(("a", 1), ("a", 2), ("a", 2)), tasks=1, steps=2)
    assert ledger.problems(written(("a", 2), ("a", 1)), tasks=1, steps=2)
    assert ledger.problems(written(("a", 1), ("a", 2)), tasks=2, steps=2)


def test_a_cell_is_the_median_of_its_ratios_and_compared_within_each_repeat() -> None:
    def sample(system: str, repeat: int, rate: float, raw: float) -> Sample:
        return Sample(Key("W1", system, 8), repeat, raw, rate)

    ours, theirs = gathered(
        [
            *(sample("sayso", n, rate, raw) for n, (rate, raw) in enumerate([(100, 200), (50, 50), (90, 300)])),
            *(sample("dbos", n, rate, 200) for n, rate in enumerate([50, 10, 30])),
        ]
    )
    assert (ours["ratio_to_raw"], ours["ratio_to_raw_min"], ours["ratio_to_raw_max"]) == (0.5, 0.3, 1.0)
    assert ours["ratio_to_peers"] == {"dbos": {"median": 3, "min": 2, "max": 5}}
    assert "ratio_to_peers" not in theirs
    assert "0.50 of raw (0.30–1.00)" in told(ours)
    assert "3.0× dbos (2.0–5.0)" in told(ours)
