"""The benchmark is a program that people run before they believe us: it must run, count honestly and leave nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench import clones, ledger, plot
from bench.cells import Key, Sample, gathered, told
from bench.children import die_with_parent
from bench.engine import arguments
from core.db import open_pool
from core.models import PlannedStep
from core.store import people, tasks

HOUSE = Path(__file__).resolve().parent.parent


def test_the_smallest_run_writes_cells_with_figures_of_a_complete_ledger(tmp_path: Path) -> None:
    file = tmp_path / "cells.json"
    asked = ["--quick", "--only", "W1", "--systems", "sayso", "--concurrency", "8", "--json", str(file)]
    ended = subprocess.run(
        [sys.executable, "-m", "bot.cli", "bench", "engine", *asked], cwd=HOUSE, capture_output=True, text=True, timeout=180
    )  # fmt: skip
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


def test_an_unknown_workload_or_system_is_named_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = {("--only", "W99"): "W1, W2", ("--systems", "nobody"): "sayso, dbos", ("--concurrency", "0"): "from 1 to"}
    for given, said in wrong.items():
        with pytest.raises(SystemExit) as ended:
            arguments(given)
        assert ended.value.code == 2
        assert said in capsys.readouterr().err


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


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_run_that_is_interrupted_leaves_no_process_and_no_file() -> None:
    with tempfile.TemporaryDirectory(prefix="b-") as folder:
        os.chmod(folder, 0o711)  # the servers' account has to reach its sockets in it
        running = subprocess.Popen(
            [sys.executable, "-m", "bench.engine", "--quick", "--only", "W1", "--systems", "sayso"], cwd=HOUSE,
            env=os.environ | {"TMPDIR": folder}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 150
            while not any(path.stat().st_size for path in Path(folder).glob("*/cell_*/ledger")):
                assert running.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=120)
        finally:
            running.kill()
        assert running.returncode == 1
        assert "nothing is left behind" in said
        assert [path.name for path in Path(folder).iterdir()] == []
        assert processes_about(folder) == []


def processes_about(word: str) -> list[str]:
    """Command lines, and those whose environment names it, of other processes."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        try:
            said = [(process / name).read_bytes().decode(errors="replace") for name in ("cmdline", "environ")]
        except OSError:
            continue
        if any(word in text for text in said):
            found.append(said[0])
    return found


async def test_copies_of_a_task_are_whole_apart_and_leave_room_for_more(database_url: str) -> None:
    db = await open_pool(database_url, most=1)
    ann = await people.ensure_owner(db)
    place = await db.fetchval("insert into conversations (channel, external_id) values ('web', 'ann') returning id")
    steps = [PlannedStep(n=n, kind="act", skill="files.list", needs=(1,) if n == 2 else ()) for n in (1, 2)]

    async def create() -> int | None:
        return await tasks.create(
            db, requester=ann.id, goal="x", kind="do", steps=steps, actor="test", conversation=place
        )

    task = await create()
    assert task is not None
    await clones.clone(database_url, task, 30)
    counts = {t: await db.fetchval(f"select count(*) from {t}") for t in ("tasks", "steps", "cards", "outbox")}
    assert counts == {"tasks": 31, "steps": 62, "cards": 31, "outbox": 31}
    one, other = [dict(await db.fetchrow("select * from tasks where id = $1", each)) for each in (task, task + 30)]
    assert {name for name in one if one[name] != other[name]} == {"id", "conversation_id"}
    assert await create() == task + 31
    await db.close()


def test_the_plot_shows_each_system_beside_the_others() -> None:
    samples = [Sample(Key("W1", system, 8), 0, 100, rate) for system, rate in (("sayso", 90), ("dbos", 9))]
    found = {
        "cells": gathered(samples), "measured_at": "2026-01-01T00:00:00Z", "repeats": 1,
        "machine": {"cores": 2, "postgres": "18.4", "load_average": [0.5]},
    }  # fmt: skip
    drawn = ElementTree.fromstring(plot.svg(found))
    words = {text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert {"W1, C = 8", "sayso", "dbos", "0.90  (90/s)", "0.09  (9/s)"} <= words
