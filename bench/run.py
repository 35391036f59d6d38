"""One run of the benchmark: what was asked for, the stand it runs on, and where each cell finds its database."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Final

from bench.children import ChildFailed, Children
from bench.peers import Site
from bench.stand import Stand

INSTALL_S: Final = 60.0


@dataclass
class Run:
    stand: Stand
    systems: Sequence[str]
    repeats: int
    quick: bool
    concurrencies: tuple[int, ...] | None = None
    failures: dict[str, str] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def probe_s(self) -> float:
        return 0.4 if self.quick else 1.0

    @property
    def environment(self) -> Mapping[str, str]:
        """What a system's process is given: nothing of the person's own settings."""
        return {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}

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
        dsn = await self.stand.create(f"template_{system}")
        site = Site(dsn, self.stand.redis_url, folder, folder / "ledger")
        with Children(folder) as children:
            at = {name: str(value) for name, value in asdict(site).items()}
            child = children.start("bench.peers", system, "install", json.dumps(at), environment=self.environment)
            await asyncio.wait_for(asyncio.to_thread(child.communicate), INSTALL_S)
            if child.returncode != 0:
                raise ChildFailed(f"{system} cannot be installed in its database: {children.said(child)}")
