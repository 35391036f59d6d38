"""`sayso bench traffic`: signed Slack events at a steady rate, and what became of each.

Bot and worker are processes of their own, as in life; the events are orders of many people in their direct messages, sent
when they are due whether or not the one before was answered, and some are delivered twice at once. It tells how soon each was
acknowledged (which means: committed), what was lost or doubled, and how long the worker took to be done with all of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp
import yaml

from bench import readings
from bench.peers import Site
from bench.plant import Plant, free_port, open_plant, until
from bench.stand import open_stand
from core import config
from core.db import migrate
from tests.sim import slack_payloads as payloads
from tests.sim.slack import SlackSim
from tests.sim.slack_transport import encode, signature
from tests.sim.slack_world import Message

PEOPLE: Final = 50
TWICE_EVERY: Final = 20
ORDER: Final = "do files.list pattern=none-{n}"
SECRET: Final = "a-signing-secret-of-no-worth"  # of this run only
ACK_MOST_S: Final = 3.0  # after which Slack counts it as not delivered
CAUGHT_UP_WITHIN_S: Final = 600.0
SLOTS: Final = 16
Costs = Mapping[str, Callable[[], float]]


@dataclass(frozen=True, slots=True)
class Told:
    """`ack_*_ms`: from when a delivery was due until its answer; `late_p99_ms`: of that, until it was sent; `behind_s`: from the
    last event until nothing was left to do; `cpu_ms`: processor time of each party until then, an event. Before the clock runs
    everybody has said one thing, one after the other, to a bot that has just started: `first_p50_ms`."""

    events: int
    deliveries: int
    seconds: float
    ack_p50_ms: float
    ack_p99_ms: float
    ack_most_ms: float
    not_acked: int
    lost: int
    doubled: int
    done: int
    first_p50_ms: float
    behind_s: float
    late_p99_ms: float
    cpu_ms: dict[str, float]
    load: tuple[float, float, float]

    def in_words(self) -> str:
        return (
            f"{self.events} events ({self.deliveries} deliveries) in {self.seconds:.0f} s,"
            f" load {self.load[0]:.1f} at the end\n"
            f"everybody's first words, one by one: ack p50 {self.first_p50_ms:.1f} ms\n"
            f"ack p50 {self.ack_p50_ms:.1f} ms, p99 {self.ack_p99_ms:.1f} ms, most {self.ack_most_ms:.0f} ms"
            f" (sent late: p99 {self.late_p99_ms:.1f} ms); not acknowledged {self.not_acked}\n"
            f"lost {self.lost}, doubled {self.doubled}; tasks done {self.done},"
            f" the last {self.behind_s:.1f} s after the last event\n"
            f"processor time an event: " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in self.cpu_ms.items())
        )


async def measure(rate: int, seconds: float, folder: Path) -> Told:
    async with open_stand(folder) as stand:
        dsn = await stand.create("traffic")
        await migrate(dsn)
        home = folder / "home"
        home.mkdir()
        async with open_plant(Site(dsn, stand.redis_url, home, home / "ledger.sqlite")) as plant:
            _introduce(home / "sayso.yaml")
            answers = free_port()
            slack = plant.children.start("bench.slack_answers", str(answers), environment=plant.environment)
            plant.environment |= {
                "SLACK_BOT_TOKEN": "xoxb-bench", "SLACK_MODE": "http", "SLACK_SIGNING_SECRET": SECRET,
                "SLACK_API_URL": f"http://127.0.0.1:{answers}/api/",
            }  # fmt: skip
            bot, worker = await plant.bot(), (await plant.worker(SLOTS)).process
            # As `sayso up` starts it.
            os.setpriority(os.PRIO_PROCESS, worker.pid, os.getpriority(os.PRIO_PROCESS, 0) + config.WORKER_NICE)
            postgres = stand.servers.postgres.pid()
            assert postgres is not None, "it has just made a database"
            pids = {"bot": bot.pid, "worker": worker.pid, "Slack's stand-in": slack.pid, "generator": os.getpid()}
            costs = {name: partial(readings.cpu_s, pid) for name, pid in pids.items()}
            costs["Postgres"] = partial(readings.family_cpu_s, postgres)
            return await _run(plant, f"http://127.0.0.1:{answers}", rate, seconds, costs)


def _introduce(path: Path) -> None:
    """Everybody who is going to speak."""
    known = yaml.safe_load(path.read_text(encoding="utf-8"))
    known["people"] |= {
        f"p{n}": {"name": f"Person {n}", "roles": ["engineer"], "identities": {"slack": f"T0ACME/U{n:05d}"}}
        for n in range(PEOPLE)
    }
    path.write_text(yaml.safe_dump(known), encoding="utf-8")


def events(count: int) -> list[bytes]:
    """The bodies of so many events, each somebody's order in their direct messages."""
    sim = SlackSim()
    made = []
    for n in range(count):
        person = sim.user(f"U{n % PEOPLE:05d}")
        place = sim.world.im(person.id)
        message = Message(place.id, sim.world.ts(), person.id, ORDER.format(n=n))
        event = payloads.said(sim.world, message, person.member, place)
        made.append(encode("events_api", payloads.event_callback(sim.world, event, place))[0])
    return made


async def _run(plant: Plant, answers: str, rate: int, seconds: float, costs: Costs) -> Told:
    every = events(PEOPLE + round(rate * seconds))
    greetings, bodies = every[:PEOPLE], every[PEOPLE:]
    took: list[float] = []
    late: list[float] = []
    missed = 0

    async def deliver(client: aiohttp.ClientSession, body: bytes, due: float) -> None:
        nonlocal missed
        stamp = str(int(time.time()))
        late.append((time.monotonic() - due) * 1000)
        headers = {
            "Content-Type": "application/json", "X-Slack-Request-Timestamp": stamp,
            "X-Slack-Signature": signature(SECRET, stamp, body),
        }  # fmt: skip
        try:
            async with client.post(f"{plant.base}/slack/events", data=body, headers=headers) as answer:
                await answer.read()
                missed += answer.status != 200
        except (TimeoutError, aiohttp.ClientError):
            missed += 1
        took.append((time.monotonic() - due) * 1000)

    timeout, connector = aiohttp.ClientTimeout(total=ACK_MOST_S), aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as client:
        for body in greetings:
            await deliver(client, body, time.monotonic())
        await _caught_up(plant)
        first_ms = sorted(took)
        took.clear()
        late.clear()
        used, began = {name: cpu_s() for name, cpu_s in costs.items()}, time.monotonic()
        async with asyncio.TaskGroup() as group:
            for n, body in enumerate(bodies):
                due = began + n / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                for _ in range(2 if n % TWICE_EVERY == 0 else 1):
                    group.create_task(deliver(client, body, due))
    ended = time.monotonic()
    done = await _caught_up(plant)
    behind_s = time.monotonic() - ended
    cpu_ms = {name: (cpu_s() - used[name]) * 1000 / len(bodies) for name, cpu_s in costs.items()}
    tasks = await plant.db.fetchval("select count(*) from tasks")
    async with aiohttp.ClientSession() as client, client.get(f"{answers}/counted") as answer:
        posted = await answer.json()
    took.sort()
    late.sort()
    return Told(
        len(bodies), len(took), ended - began, _at(took, 0.5), _at(took, 0.99), took[-1], missed,
        lost=max(0, len(every) - tasks), doubled=max(0, tasks - len(every)) + posted["doubled"],
        done=done - len(greetings), first_p50_ms=_at(first_ms, 0.5), behind_s=behind_s, late_p99_ms=_at(late, 0.99),
        cpu_ms=cpu_ms, load=os.getloadavg(),
    )  # fmt: skip


async def _caught_up(plant: Plant) -> int:
    """How many tasks succeeded, once there is neither a task to work on nor a message to deliver."""

    async def quiet() -> bool:
        busy: bool = await plant.db.fetchval(
            "select exists (select from tasks where status not in ('succeeded', 'failed', 'abandoned', 'cancelled'))"
            " or exists (select from outbox where status in ('pending', 'sending', 'unknown'))"
        )
        await asyncio.sleep(0.2)
        return not busy

    await until(quiet, "everything is done", CAUGHT_UP_WITHIN_S)
    done: int = await plant.db.fetchval("select count(*) from tasks where status = 'succeeded'")
    return done


def _at(took: Sequence[float], share: float) -> float:
    return took[min(len(took) - 1, int(len(took) * share))]


def main() -> None:
    parser = argparse.ArgumentParser(description="Signed Slack events at a steady rate.")
    parser.add_argument("--rate", type=int, default=200, help="events a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sayso-traffic-") as folder:
        told = asyncio.run(measure(given.rate, given.seconds, Path(folder)))
    print(told.in_words())
    if given.json:
        given.json.write_text(json.dumps(asdict(told), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
