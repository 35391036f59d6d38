"""One run of the benchmark: what was asked for, the stand it runs on, and where each cell finds its database."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from bench.children import ChildFailed, Children
from bench.peers import LACKS, Load, Site
from bench.stand import Stand

CELL_S: Final = 120.0
QUICK_BESIDE_S: Final = 60.0  # after which the quick run measures only Sayso, to be done within three minutes


@dataclass
class Run:
    stand: Stand
    systems: list[str]
    repeats: int
    quick: bool
    concurrencies: tuple[int, ...] | None = None
    kills: int | None = None
    failures: dict[str, str] = field(default_factory=dict)
    lacks: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def probe_s(self) -> float:
        return 0.4 if self.quick else 1.0

    @property
    def environment(self) -> Mapping[str, str]:
        """What a system's process is given: nothing of the person's own settings."""
        return {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}

    def leaves_out(self, workload: str, system: str) -> bool:
        """Whether a system is passed over, for want of means or, in the quick run, of time; the results say which."""
        why = LACKS.get((system, workload))
        if why is None and self.quick and system != "sayso" and time.monotonic() - self.began > QUICK_BESIDE_S:
            why = "was left out, as the quick run had no more time for others"
        if why is not None:
            self.lacks[f"{workload} {system}"] = why
        return why is not None

    def fail(self, cell: str, why: str) -> None:
        """A cell without a result says why in the results; the run goes on."""
        self.failures[cell] = why

    @asynccontextmanager
    async def site(self, system: str) -> AsyncIterator[Site]:
        """A fresh copy of the system's database and an empty folder, both gone afterwards."""
        name = f"cell_{next(self._numbers)}"
        folder = self.stand.folder / name
        folder.mkdir()
        dsn = await self.stand.create(name, f"template_{system}")
        try:
            yield Site(dsn, self.stand.redis_url, folder, folder / "ledger")
        finally:
            await self.stand.drop(name)
            shutil.rmtree(folder, ignore_errors=True)

    async def install(self, system: str) -> None:
        """The system's tables, once, in a database to be copied from."""
        folder = self.stand.folder / f"install-{system}"
        folder.mkdir()
        site = Site(await self.stand.create(f"template_{system}"), self.stand.redis_url, folder, folder / "ledger")
        await self.ask(system, "install", site, Load(1, 1, 1))

    async def ask(self, system: str, verb: str, site: Site, load: Load) -> dict[str, Any]:
        """Have a process of its own do it; what it answers. Raises `ChildFailed`."""
        with Children(site.folder) as children:
            child = children.start("bench.peers", *words(system, verb, site, load), environment=self.environment)
            try:
                said, _ = await asyncio.wait_for(asyncio.to_thread(child.communicate), CELL_S)
            except TimeoutError as error:
                raise ChildFailed(f"not done within {CELL_S:g} s") from error
            if child.returncode != 0:
                raise ChildFailed(children.said(child))
        answer: dict[str, Any] = json.loads(said)
        return answer


def words(system: str, verb: str, site: Site, load: Load) -> tuple[str, ...]:
    """The command line of a system's process."""
    at = {name: str(value) for name, value in asdict(site).items()}
    return system, verb, json.dumps(at), json.dumps(asdict(load))
