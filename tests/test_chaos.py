"""A short chaos in every run; `python -m tests.chaos --seconds N --seed S` makes a long one, or the same one again.

`SAYSO_CHAOS_SEED` and `SAYSO_CHAOS_S` choose another seed and length.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.embedded import RunningServers, start_servers
from tests import chaos

SECONDS = float(os.environ.get("SAYSO_CHAOS_S", "30"))


@pytest.fixture
def own_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServers]:
    """A durable Postgres and a Valkey that may be killed."""
    home = tmp_path_factory.mktemp("chaos")
    with start_servers(home) as running:
        yield running
        running.postgres.stop("immediate")
        running.valkey.stop("immediate")
    shutil.rmtree(home, ignore_errors=True)


async def test_after_chaos_everything_acknowledged_happened_once(own_servers: RunningServers, tmp_path: Path) -> None:
    seed = int(os.environ.get("SAYSO_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"chaos: seed {seed}, {SECONDS:g} s; again: python -m tests.chaos --seconds {SECONDS:g} --seed {seed}")
    wrong, counts = await chaos.run(seed, SECONDS, tmp_path / "home", own_servers)
    assert not wrong, f"seed {seed}: " + "\n".join(wrong)
    assert counts["say"] > 0 and counts["calls at the sink"] > 0, counts
