"""Seeded chaos: real workers and bots that are killed, frozen and told to stop at random, a Redis that goes away, a Postgres
that dies, presses that come in storms; then everything is put right, and what was acknowledged must have happened once.

`python -m tests.chaos --seconds 3600 --seed 7` runs it for any length; CI runs a short one. The same seed draws the same
plan; what the processes make of it depends on the machine. Everything is read from the sink's ledger and the rows.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg

from core.db import migrate
from core.embedded import RunningServers, start_servers
from core.models import Identity
from tests import sink
from tests.invariants import broken, holds_text
from tests.processes import ANN, ANN_TELEGRAM, BOB, Child, Plant, open_plant

WORKERS: Final = 2
SETTLE_S: Final = 90.0
AWAY: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
PEOPLE: Final[tuple[Identity, ...]] = (ANN, BOB, ANN_TELEGRAM)
# How often each is drawn.
DEEDS: Final = {
    "say": 30, "storm": 30, "kill worker": 6, "freeze worker": 4, "stop worker": 2, "kill bot": 3, "redis": 2, "postgres": 1,
}  # fmt: skip
ORDERS: Final = (
    "do http.request method=POST url={sink}/answer-{n} body={n}",
    "do http.request method=POST url={sink}/answer-{n} body={n}",
    "do files.write path=f{n}.txt content=x",
    "do files.list",
    "do http.request method=POST url={sink}/close-{n} body={n}",
)


@dataclass
class Chaos:
    plant: Plant
    servers: RunningServers
    address: str
    draw: random.Random
    workers: list[Child] = field(default_factory=list)
    bots: list[Child] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    waking: list[asyncio.Task[None]] = field(default_factory=list)

    # ------------------------------------------------------------ deeds

    async def rage(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            deed = self.draw.choices(list(DEEDS), list(DEEDS.values()))[0]
            await asyncio.sleep(self.draw.uniform(0.0, 0.15))
            try:
                await getattr(self, deed.replace(" ", "_"))()
                self.counts[deed] += 1
            except AWAY:
                self.counts[f"{deed}: refused"] += 1
            self.replace_the_dead()

    async def say(self) -> None:
        order = self.draw.choice(ORDERS).format(sink=self.address, n=len(self.tasks))
        self.tasks.append(await self.plant.say(order))

    async def storm(self) -> None:
        """Everybody presses what waits, at once, and not the same."""
        rows = await self.plant.db.fetch(
            "select id, kind, task_id, n from approvals where status = 'pending' order by random() limit 4"
        )
        presses: list[Any] = []
        for row in rows:
            if row["kind"] == "unknown":
                presses.append(self.answer_truly(row))
                continue
            verdict = self.draw.choices(["approve", "deny"], [9, 1])[0]
            presses += [self.plant.press(str(row["id"]), verdict, who) for who in PEOPLE for _ in range(2)]
            if self.draw.random() < 0.03:
                presses.append(self.plant.press(str(row["id"]), "stop"))
        answers = await asyncio.gather(*presses, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, AWAY):
                raise answer
            self.counts[f"press: {type(answer).__name__}"] += 1

    async def answer_truly(self, row: Any) -> Any:
        """What the sink's ledger says. Nobody answers while the one who called may still be at it: they look first."""
        key = await self.plant.db.fetchval(
            "select key from effects where task_id = $1 and n = $2 order by gen desc limit 1", row["task_id"], row["n"]
        )
        happened = key in {made for made, _ in sink.calls(self.plant.ledger)}
        return await self.plant.press(str(row["id"]), "happened" if happened else "not_happened")

    async def kill_worker(self) -> None:
        self.draw.choice(self.workers).kill()

    async def freeze_worker(self) -> None:
        """For a moment, or past its lease."""
        child = self.draw.choice(self.workers)
        for_s = self.draw.choice([0.3, 2.0, 17.0])
        child.freeze()

        async def wake() -> None:
            await asyncio.sleep(for_s)
            if child.is_up():
                child.thaw()

        self.waking.append(asyncio.create_task(wake()))

    async def stop_worker(self) -> None:
        self.draw.choice(self.workers).running.terminate()

    async def kill_bot(self) -> None:
        self.draw.choice(self.bots).kill()

    async def redis(self) -> None:
        await asyncio.to_thread(self.servers.valkey.stop, "immediate")
        await asyncio.sleep(self.draw.uniform(0.0, 0.8))
        await asyncio.to_thread(self.servers.valkey.start)

    async def postgres(self) -> None:
        await asyncio.to_thread(self.servers.postgres.stop, "immediate")
        await asyncio.sleep(self.draw.uniform(0.0, 0.5))
        await asyncio.to_thread(self.servers.postgres.start)

    def replace_the_dead(self) -> None:
        self.workers = [child for child in self.workers if child.is_up()]
        while len(self.workers) < WORKERS:
            self.workers.append(self.plant.start("worker", "worker"))
        self.bots = [child for child in self.bots if child.is_up()]
        while not self.bots:
            self.bots.append(self.plant.start("bot", "bot"))

    # ------------------------------------------------------------ afterwards

    async def settle(self) -> list[str]:
        """Everybody wakes, answers and waits; what is wrong then."""
        for wake in self.waking:
            wake.cancel()
        for child in self.workers:
            child.thaw()
        until = time.monotonic() + SETTLE_S
        while True:
            self.replace_the_dead()
            with suppress(*AWAY):
                await self.pass_leases()
                if await self.is_over():
                    break
                for row in await self.plant.db.fetch(
                    "select id, kind, task_id, n from approvals where status = 'pending'"
                ):
                    await (
                        self.answer_truly(row)
                        if row["kind"] == "unknown"
                        else self.plant.press(str(row["id"]), "approve")
                    )
            if time.monotonic() > until:
                return [f"not settled within {SETTLE_S:g} s", *await self.left_over()]
            await asyncio.sleep(0.1)
        return await self.judge()

    async def pass_leases(self) -> None:
        """Time goes by for processes that are dead for certain."""
        dead = [child.pid for child in self.plant.children if not child.is_up()]
        await self.plant.db.execute(
            "update workers set lease_until = now() - interval '1 s' where pid = any ($1)", dead
        )
        await self.plant.db.execute(
            "update steps s set deadline_at = now() - interval '1 s' from workers w"
            " where w.id = s.worker_id and s.status = 'running' and w.pid = any ($1)",
            dead,
        )

    async def is_over(self) -> bool:
        return bool(
            await self.plant.db.fetchval(
                "select not exists (select from tasks where finished_at is null)"
                " and not exists (select from outbox where status not in ('sent', 'dead'))"
                " and not exists (select from cards where shown < wanted)"
            )
        )

    async def left_over(self) -> list[str]:
        rows = await self.plant.db.fetch(
            "select s.task_id, s.n, s.status, s.waits_for, s.effect_state, s.worker_id, s.error, t.status as task"
            " from steps s join tasks t on t.id = s.task_id where t.finished_at is null limit 10"
        )
        outbox = await self.plant.db.fetch(
            "select id, status, error from outbox where status not in ('sent', 'dead') limit 5"
        )
        return [str(dict(row)) for row in [*rows, *outbox]]

    async def judge(self) -> list[str]:
        wrong = await broken(self.plant.db, delivered=True)
        made = Counter(key for key, _ in sink.calls(self.plant.ledger))
        wrong += [f"done {count} times: {key}" for key, count in made.items() if count > 1]
        lost = set(self.tasks) - {row["id"] for row in await self.plant.db.fetch("select id from tasks")}
        wrong += [f"task {task} was acknowledged and is gone" for task in lost]
        done = await self.plant.db.fetch(
            "select e.key, e.state from effects e join steps s on s.task_id = e.task_id and s.n = e.n"
            " where s.skill = 'http.request'"
        )
        for row in done:
            if (row["state"] == "done") != (row["key"] in made) and row["state"] in ("done", "not_done"):
                wrong.append(f"{row['key']} is {row['state']}, and the sink has it {made[row['key']]} times")
        wrong += [f"the secret is in {table}" for table in await holds_text(self.plant.db, "k" * 32)]
        return wrong


async def run(seed: int, seconds: float, home: Path, servers: RunningServers) -> tuple[list[str], Counter[str]]:
    """What went wrong, and what was done."""
    dsn = servers.postgres.url("chaos")
    admin = await asyncpg.connect(servers.postgres.url())
    await admin.execute("create database chaos")
    await admin.close()
    await migrate(dsn)
    async with open_plant(home, dsn, servers.valkey.url()) as plant:
        chaos = Chaos(plant, servers, plant.sink(), random.Random(seed))
        chaos.workers = [await plant.worker() for _ in range(WORKERS)]
        chaos.bots = [(await plant.bot())[0]]
        await chaos.rage(seconds)
        wrong = await chaos.settle()
        states = await plant.db.fetch("select status, count(*) as n from tasks group by 1")
        chaos.counts.update({f"task {row['status']}": row["n"] for row in states})
        chaos.counts["calls at the sink"] = len(sink.calls(plant.ledger))
        unknown = await plant.db.fetchval("select count(*) from approvals where kind = 'unknown'")
        chaos.counts["asked whether it happened"] = unknown
        return wrong, chaos.counts


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--seconds", type=float, default=20.0)
    given.add_argument("--seed", type=int, default=None)
    asked = given.parse_args()
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)  # it tells of each try while Postgres is away
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    print(f"chaos: seed {seed}, {asked.seconds:g} s", flush=True)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        start_servers(Path(folder) / "servers") as servers,
    ):
        wrong, counts = asyncio.run(run(seed, asked.seconds, Path(folder) / "home", servers))
        servers.postgres.stop("immediate")
        servers.valkey.stop("immediate")
    for what, count in sorted(counts.items()):
        print(f"{count:6} {what}")
    print("\n".join(wrong) or "everything held")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
