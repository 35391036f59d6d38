"""Forked bots and workers are told from real ones by nothing but their start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.children import die_with_parent
from tests import nursery
from tests.patience import PATIENCE_S

HOUSE = Path(__file__).resolve().parents[1]
# A worker that waits for its database for ever.
WAITS = {
    "PATH": os.environ["PATH"],
    "DATABASE_URL": "postgresql://sayso@127.0.0.1:1/x",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}
OWNER = """
import os, sys, time
from tests import nursery
with open(os.devnull, "wb") as out:
    print(nursery.start("worker", {environment!r}, out).pid, flush=True)
sys.stdin.read()
"""


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_fork_has_the_environment_the_output_and_the_end_of_its_own(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as out:
        wrong = nursery.start("worker", {"PATH": os.environ["PATH"], "WORKER_SLOTS": "many", "PORT": "many"}, out)
        waits = nursery.start("worker", WAITS | {"SAYSO_HOME": str(tmp_path)}, out)
    assert wrong.wait(PATIENCE_S) == 1
    assert "PORT" in (tmp_path / "out").read_text()
    with pytest.raises(subprocess.TimeoutExpired):
        waits.wait(0)
    eventually(lambda: "cannot work" in (tmp_path / "out").read_text())
    assert os.getsid(waits.pid) == waits.pid, "what is meant for others does not reach it"
    waits.terminate()
    assert waits.wait(PATIENCE_S) == 0, "told to stop, it stops"


def test_a_killed_fork_is_known_to_be_killed(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as out:
        forked = nursery.start("worker", WAITS | {"SAYSO_HOME": str(tmp_path)}, out)
    assert forked.poll() is None
    forked.kill()
    assert forked.wait(PATIENCE_S) == -signal.SIGKILL
    forked.kill()
    assert forked.poll() == -signal.SIGKILL


def test_with_a_killed_test_process_its_forks_and_their_nursery_end(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER.format(environment=WAITS | {"SAYSO_HOME": str(tmp_path)})], cwd=HOUSE, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent,
    )  # fmt: skip
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert lives(pid)
    owner.kill()
    owner.communicate()
    eventually(lambda: not lives(pid) and not lives(parent))
