"""Sayso: tasks made by its own `create_task_v1`, carried out by a worker process of its own, as `./sayso up` runs it.

The body is a pure skill from the skills folder, so every step passes registry, argument schema, policy and redaction.
Tasks with a conversation have a run card to keep up to date; `open_system` makes them so when asked.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench import ledger
from bench.children import Children
from bench.peers import PAYLOAD, Load, Site
from core.db import migrate, open_pool
from core.models import PlannedStep
from core.store.steps import planned

SKILL: Final = '''
"""What the benchmark's steps do: nothing, and say so in the ledger."""

from pathlib import Path
from typing import Annotated, Any

from bench.ledger import Ledger
from worker.skills import Content, SkillContext, skill

LEDGER = Ledger(Path({ledger!r}))


@skill(permissions=[("read", "bench:*")], effect="pure", card="Do nothing")
async def noop(ctx: SkillContext, payload: Annotated[str, Content]) -> dict[str, Any]:
    """Do nothing."""
    LEDGER.note(ctx.task_id, ctx.step)
    return {{"payload": payload}}
'''
ORGANISATION: Final = """
people:
  ann: {name: Ann, roles: [owner], identities: {web: ann}}
  bob: {name: Bob, roles: [engineer], identities: {web: bob}}
roles:
  engineer: {may: ["skill:files.*", "skill:bench.*"], see: [own, conversation]}
policy:
  rules:
    - {name: no production, skill: "sql.*", when: 'args.statement.matches("(?i)drop|truncate")', then: deny}
    - {name: many files, skill: "files.delete", when: "count > 20", then: ask, risk: critical}
    - {name: long payloads, skill: "bench.*", when: "size(args.payload) > 100000", then: ask}
"""
LOOK_EVERY_S: Final = 0.002
OPEN: Final = "select exists (select from tasks where status not in ('succeeded', 'failed', 'abandoned', 'cancelled'))"


def steps_of(load: Load) -> list[dict[str, Any]]:
    def needs(n: int) -> tuple[int, ...]:
        if n == 1:
            return ()
        if load.shape == "chain":
            return (n - 1,)
        return (1,) if n < load.steps else tuple(range(2, n))

    return planned(
        PlannedStep(n=n, kind="act", skill="bench.noop", args={"payload": PAYLOAD}, needs=needs(n))
        for n in range(1, load.steps + 1)
    )


def furnish(site: Site) -> dict[str, str]:
    """A home with the skill and a sayso.yaml; the environment of the processes that live in it."""
    (site.folder / "skills").mkdir(parents=True, exist_ok=True)
    (site.folder / "skills" / "bench.py").write_text(SKILL.format(ledger=str(site.ledger)), encoding="utf-8")
    (site.folder / "sayso.yaml").write_text(ORGANISATION, encoding="utf-8")
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "DATABASE_URL": site.dsn,
        "REDIS_URL": site.redis_url,
        "SAYSO_HOME": str(site.folder),
        "SAYSO_CONFIG": str(site.folder / "sayso.yaml"),
        "SAYSO_SECRET_KEY": "k" * 32,
        "LOG_LEVEL": "WARNING",
        "HOST": "127.0.0.1",
    }


class Sayso:
    def __init__(self, site: Site, *, with_card: bool = False) -> None:
        self._site, self._with_card = site, with_card

    async def install(self) -> None:
        await migrate(self._site.dsn)

    async def seed(self, load: Load) -> None:
        db = await open_pool(self._site.dsn, most=1)
        ann = await db.fetchval(
            "insert into principals (key, name, roles) values ('ann', 'Ann', '{owner}')"
            " on conflict (key) do update set name = excluded.name returning id"
        )
        place = await db.fetchval(
            "insert into conversations (channel, external_id, is_private) values ('web', 'ann', true) returning id"
        )
        await db.execute(
            "select create_task_v1(null, $3, $1, 'bench', 'do', $4, 'default', 2::smallint, null, null, 'bench')"
            " from generate_series(1, $2)",
            ann, load.tasks, place if self._with_card else None, steps_of(load),
        )  # fmt: skip
        await db.close()

    async def drain(self, load: Load) -> None:
        connection = await asyncpg.connect(self._site.dsn)
        with Children(self._site.folder) as children:
            worker = children.start("bench.worker", str(load.concurrency), environment=furnish(self._site))
            await ledger.filled(self._site.ledger, load.tasks * load.steps, lambda: children.check(worker))
            while await connection.fetchval(OPEN):
                children.check(worker)
                await asyncio.sleep(LOOK_EVERY_S)
        await connection.close()


def open_system(site: Site) -> Sayso:
    return Sayso(site)
