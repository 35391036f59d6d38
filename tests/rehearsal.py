"""A whole Sayso inside the test's own process: a worker, a bot with its courier, a shop to act on, and the people.

Worker and bot are built from the product's parts, on a real Postgres; their edges are numbered (`tests.edges`), and
either may be killed at any await: its tasks never go on, its connections are cut, its lease is left to pass. `play`
runs one task to its end, with people who answer truthfully and the dead replaced.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pytest

from bot.courier import Courier
from bot.sending import MaybeSent, NotSent
from core import config, intake, organisation
from core.cards import Card
from core.db import DATABASE_AWAY, Pool, open_pool
from core.deps import Deps
from core.models import Channel, Duplicate, Identity, Inbound, Place, Press, Received
from core.organisation import Organisation
from core.ring import Ring
from core.settings import Settings
from core.store import clock, people, skills
from core.store.conversations import Conversation
from tests.edges import WHO, Edges, NumberedRedis, Party, ProviderGone, acting_as, open_numbered_pool
from tests.patience import PATIENCE_S
from worker.act import Actor
from worker.crew import Crew
from worker.lease import Lease, boot_clock_s
from worker.llm import Models
from worker.skills import Control, SkillContext, skill
from worker.skills.context import Handles, Probe
from worker.skills.errors import NotDone, OutcomeUnknown
from worker.skills.registry import Registry
from worker.skills.skill import Declaration
from worker.think import Thinker

NOWHERE = "redis://127.0.0.1:1/0"
ENDED = ("succeeded", "failed", "abandoned", "cancelled")
ANN = Identity(channel=Channel.WEB, external_id="ann")
HERE = Place(channel=Channel.WEB, external_id="ann", private=True)
SECRET = "sk-secret-of-the-house-0123456789"
LOOK_EVERY_S = 0.004
T = TypeVar("T")

# label is idempotent and confirm unsafe, both allowed; pay (unsafe) and book (checkable) are asked for.
ORGANISATION = """
people:
  ann: {name: Ann, roles: [owner], identities: {web: ann}}
policy:
  rules:
    - {name: labels, skill: shop.label, then: allow}
    - {name: confirms, skill: shop.confirm, then: allow}
runbooks:
  order:
    say: Order something
    steps:
      - {id: look, skill: shop.look, args: {item: chair}}
      - {id: label, skill: shop.label, args: {item: "{{ look.item }}"}}
      - {id: pay, skill: shop.pay, args: {item: chair}, needs: [label]}
      - {id: book, skill: shop.book, args: {item: chair}, needs: [label]}
      - {id: confirm, skill: shop.confirm, args: {item: chair}, needs: [pay, book]}
      - {id: again, skill: shop.look, args: {item: "{{ look.item }}"}, needs: [confirm]}
"""
# The engine's pauses, so short that hundreds of crashes take seconds; how long things last is no part of what is shown.
SHORT = {
    "IDLE_POLL_S": 0.02,
    "SWEEP_EVERY_S": 0.03,
    "HEARTBEAT_S": 0.05,
    "RETRY_FIRST_S": 0.02,
    "COURIER_POLL_S": 0.02,
    "MESSAGE_RETRY_FIRST_S": 0.02,
    "BELL_POLL_S": 5.0,
    "MESSAGE_LEASE_S": 0.6,
    "SEND_TIMEOUT_S": 0.5,
}


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in SHORT.items():
        monkeypatch.setattr(config, name, seconds)


@dataclass
class Shop:
    """The world outside. `ledger` holds (what, key) of everything that was really done, in order."""

    edges: Edges
    timeout_s: float
    ledger: list[tuple[str, str]] = field(default_factory=list)

    async def call(self, what: str, ctx: SkillContext, item: str) -> dict[str, Any]:
        """Ask the shop for it, as a careful skill does: a line that broke afterwards says nothing."""

        async def carry_out() -> None:
            # A shop knows its customers' idempotency keys where it takes any.
            if what != "label" or (what, ctx.key) not in self.ledger:
                self.ledger.append((what, ctx.key))

        try:
            await self.edges.cross("provider", what, carry_out)
        except ProviderGone as error:
            if error.reached and what != "look":
                raise OutcomeUnknown("the line broke before the shop had answered") from error
            raise NotDone("the shop could not be reached", 0.0) from error
        return {"item": item, "summary": f"{what} {item}"}

    def happened(self, what: str, key: str) -> bool:
        return (what, key) in self.ledger

    def skills(self) -> Sequence[Declaration]:
        """Bound to this shop. `timeout_s` is each call's."""

        @skill(name="shop.look", permissions=[("read", "shop:{item}")], effect="pure", card="Look at {item}",
               output_trusted=True, timeout_s=self.timeout_s)  # fmt: skip
        async def look(ctx: SkillContext, item: Annotated[str, Control]) -> dict[str, Any]:
            """Look at something."""
            return await self.call("look", ctx, item)

        @skill(name="shop.label", permissions=[("write", "shop:{item}")], effect="idempotent", card="Label {item}",
               timeout_s=self.timeout_s)  # fmt: skip
        async def label(ctx: SkillContext, item: Annotated[str, Control]) -> dict[str, Any]:
            """Put a label on it."""
            return await self.call("label", ctx, item)

        @skill(name="shop.pay", permissions=[("spend", "shop:{item}")], effect="unsafe", card="Pay {item}",
               timeout_s=self.timeout_s)  # fmt: skip
        async def pay(ctx: SkillContext, item: Annotated[str, Control]) -> dict[str, Any]:
            """Pay for it."""
            return await self.call("pay", ctx, item)

        @skill(name="shop.confirm", permissions=[("send", "shop:{item}")], effect="unsafe", card="Confirm {item}",
               output_trusted=True, timeout_s=self.timeout_s)  # fmt: skip
        async def confirm(ctx: SkillContext, item: Annotated[str, Control]) -> dict[str, Any]:
            """Tell the shop that it is final."""
            return await self.call("confirm", ctx, item)

        @skill(name="shop.book", permissions=[("send", "shop:{item}")], effect="checkable", card="Book {item}",
               timeout_s=self.timeout_s)  # fmt: skip
        async def book(ctx: SkillContext, item: Annotated[str, Control]) -> dict[str, Any]:
            """Book its delivery."""
            return await self.call("book", ctx, item)

        @book.probe
        async def _(ctx: SkillContext, item: str) -> Probe:
            async def look_up() -> bool:
                return self.happened("book", ctx.key)

            if await self.edges.cross("provider", "probe", look_up):
                return Probe.happened("the shop has it", {"item": item, "summary": "booked"})
            return Probe.not_happened("the shop has nothing of it")

        return look, label, pay, confirm, book


@dataclass
class Chat:
    """The courier's web channel: what the conversation shows, by our outbox id."""

    edges: Edges
    shown: dict[int, Card | str] = field(default_factory=dict)
    channel: str = "web"

    async def post(self, conversation: Conversation, content: Card | str, message: int) -> str:
        await self._send("post", message, content)
        return str(message)

    async def edit(self, conversation: Conversation, ref: str, card: Card) -> None:
        await self._send("edit", int(ref), card)

    async def find(self, conversation: Conversation, message: int) -> str | None:
        return str(message) if message in self.shown else None

    async def _send(self, how: str, ref: int, content: Card | str) -> None:
        async def arrive() -> None:
            self.shown[ref] = content

        try:
            await self.edges.cross("provider", f"chat {how}", arrive)
        except ProviderGone as error:
            if error.reached:
                raise MaybeSent("the line broke") from error
            raise NotSent("the line broke", 0.02) from error


@dataclass(eq=False)
class Process:
    """A worker or a bot. `number` is a worker's id."""

    party: Party
    deps: Deps
    running: asyncio.Task[None]
    number: int = 0


@dataclass
class World:
    dsn: str
    db: Pool
    edges: Edges
    shop: Shop
    chat: Chat
    settings: Settings
    organisation: Organisation
    registry: Registry
    models: Models
    worker: Process | None = None
    bot: Process | None = None
    deaths: int = 0
    sleepers: list[Process] = field(default_factory=list)

    # ------------------------------------------------------------ processes

    async def _deps(self, party: Party, most: int, on_ring: Callable[[int], None]) -> Deps:
        pool = await open_numbered_pool(self.dsn, self.edges, most=most)
        return Deps(self.settings, self.organisation, pool, Ring(NumberedRedis(self.edges, on_ring)))  # type: ignore[arg-type]  # all that a ring uses of it

    async def start_worker(self) -> Process:
        party, crews = Party("worker"), list[Crew]()

        def rung(task: int) -> None:
            if self.worker and not self.worker.party.died.is_set() and crews:
                crews[0].look_at(task)

        deps = await self._deps(party, 4, rung)
        with acting_as(party):
            lease = Lease(deps.db, self.dsn, clock=lambda: boot_clock_s() + party.slept_s)
            await lease.take("test")
            actor = Actor(deps, lease, self.registry, Handles())
            crews.append(Crew(deps, self.dsn, lease, actor, Thinker(deps, self.registry, self.models), NOWHERE, 8))
            running = asyncio.create_task(crews[0].run())
        self.worker = Process(party, deps, running, lease.worker)
        return self.worker

    async def start_bot(self) -> Process:
        party = Party("bot")
        deps = await self._deps(party, 3, self._ring_worker)
        with acting_as(party):
            running = asyncio.create_task(Courier(deps.db, NOWHERE, [self.chat], deps.masks()).run())
        self.bot = Process(party, deps, running)
        return self.bot

    def _ring_worker(self, task: int) -> None:
        """What a bot rings is heard by polling, soon enough."""

    async def bury(self, dead: Process) -> None:
        """End what is left of a process, and let the time go by that its leases last."""
        dead.party.died.set()
        dead.deps.db.terminate()
        while left := list(dead.party.tasks):
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=0.05)
        if dead.number:
            await self.pass_lease(dead)
            await self.db.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1"
                " and datname = current_database()",
                f"sayso worker {dead.number}",
            )
        else:
            await self.db.execute("update outbox set lease_until = now() - interval '1 s' where status = 'sending'")

    async def pass_lease(self, worker: Process) -> None:
        """Time goes by for who does not renew it."""
        await self.db.execute("update workers set lease_until = now() - interval '1 s' where id = $1", worker.number)
        await self.db.execute(
            "update steps set deadline_at = now() - interval '1 s' where worker_id = $1 and status = 'running'",
            worker.number,
        )

    async def mend(self) -> None:
        """Replace who has died, and who is stopped."""
        if self.worker and not self.worker.party.awake.is_set():
            await self.pass_lease(self.worker)
            self.sleepers.append(self.worker)
            self.worker = None
        for process, start in ((self.worker, self.start_worker), (self.bot, self.start_bot)):
            if process is None or process.party.died.is_set() or process.running.done():
                if process is not None:
                    assert process.party.died.is_set(), f"{process.party.name} gave up: {process.running}"
                    self.deaths += 1
                    await self.bury(process)
                await start()

    # ------------------------------------------------------------ people

    async def by_bot(self, make: Callable[[Deps], Awaitable[T]]) -> T:
        """What a person does through a living bot, again until it is answered."""
        while True:
            await self.mend()
            bot = self.bot
            assert bot is not None
            with acting_as(bot.party):
                doing = asyncio.ensure_future(make(bot.deps))
                death = asyncio.create_task(bot.party.died.wait())
            await asyncio.wait((doing, death), return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                death.cancel()
                try:
                    return doing.result()
                except DATABASE_AWAY:
                    continue

    async def say(self, text: str) -> int:
        inbound = Inbound(channel=Channel.WEB, delivery_id=uuid.uuid4().hex, sender=ANN, place=HERE, text=text)
        said = await self.by_bot(lambda deps: intake.receive(deps, inbound))
        assert isinstance(said, Received | Duplicate) and said.task_id is not None, said
        return said.task_id

    async def answer(self, approval: dict[str, Any]) -> None:
        """Yes to what is asked; the truth to what is not known."""
        verdict: Any = "approve"
        if approval["kind"] == "unknown":
            what = approval["items"][0]["action"]["skill"].partition(".")[2]
            verdict = "happened" if self.shop.happened(what, approval["key"]) else "not_happened"
        await self.by_bot(
            lambda deps: intake.press(
                deps,
                Press(
                    channel=Channel.WEB, delivery_id=uuid.uuid4().hex, sender=ANN, approval_id=str(approval["id"]),
                    verdict=verdict,
                ),
            )
        )  # fmt: skip

    # ------------------------------------------------------------ a task from its first word to its last card

    async def play(self, text: str = "run order", within_s: float = PATIENCE_S) -> int:
        """The task, once it has ended and its cards say so."""
        until = time.monotonic() + within_s
        task = await self.say(text)
        while not await self._is_over(task):
            await self.mend()
            for approval in await self.asked(task):
                await self.answer(approval)
            await self.hurry(task)
            await asyncio.sleep(LOOK_EVERY_S)
            assert time.monotonic() < until, await self.told(task)
        return task

    async def asked(self, task: int) -> list[dict[str, Any]]:
        rows = await self.db.fetch(
            "select a.*, e.key from approvals a left join effects e on e.task_id = a.task_id and e.n = a.n and e.gen = a.gen"
            " where a.task_id = $1 and a.status = 'pending'",
            task,
        )
        return [dict(row) for row in rows]

    async def _is_over(self, task: int) -> bool:
        return bool(
            await self.db.fetchval(
                "select exists (select from tasks where id = $1 and status = any ($2))"
                " and not exists (select from cards where task_id = $1 and shown < wanted)"
                " and not exists (select from outbox where status not in ('sent', 'dead'))",
                task, ENDED,
            )
        )  # fmt: skip

    async def hurry(self, task: int) -> None:
        """Move the clock to when the next step of the task may go on."""
        ahead = await self.db.fetchval(
            "select min(ready_at) - now() from steps where task_id = $1 and status in ('ready', 'waiting', 'unknown')"
            " and ready_at > sayso_now() + interval '0.2 s' and ready_at < 'infinity'",
            task,
        )
        if ahead is not None:
            await clock.move(self.db, ahead + timedelta(milliseconds=1))

    async def told(self, task: int) -> str:
        """Where the task stands, for a failure's message."""
        steps = await self.db.fetch(
            "select n, skill, status, outcome, waits_for, error, effect_state, fence, attempt, gen from steps"
            " where task_id = $1 order by n",
            task,
        )
        status = await self.db.fetchval("select status from tasks where id = $1", task)
        cards = await self.db.fetch("select * from cards where task_id = $1 and shown < wanted", task)
        outbox = await self.db.fetch("select id, card_id, status, error from outbox where status <> 'sent'")
        lines = [f"task {task} is {status}", *(str(dict(row)) for row in [*steps, *cards, *outbox])]
        mine = [entry for entry in self.shop.ledger if entry[1].split(":")[1] == str(task)]
        return "\n".join([*lines, f"the shop has {mine}"])


@asynccontextmanager
async def open_world(dsn: str, home: Path, *, timeout_s: float = 1.0) -> AsyncIterator[World]:
    """A worker and a bot that are up. `timeout_s` is that of every call to the shop."""
    loop = asyncio.get_running_loop()
    edges = Edges()
    shop = Shop(edges, timeout_s)
    registry = Registry()
    for declared in shop.skills():
        registry.add(declared, "the shop")
    known = organisation.parse(ORGANISATION)
    settings = Settings.model_validate({"sayso_home": home, "sayso_secret_key": SECRET})
    db = await open_pool(dsn, most=4, name="sayso test")
    world = World(
        dsn, db, edges, shop, Chat(edges), settings, known, registry,
        Models.open(settings, known.models, record=_forget),
    )  # fmt: skip

    loop.set_task_factory(_remembering)
    try:
        await people.sync(db, people.wanted(known))
        await skills.publish(db, registry.manifests())
        await world.mend()
        yield world
    finally:
        for process in (world.worker, world.bot, *world.sleepers):
            if process is not None:
                await world.bury(process)
        await asyncio.wait_for(db.close(), PATIENCE_S)


def _remembering(loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> asyncio.Task[Any]:
    """A task factory by which a process knows all of its tasks, whoever of its parts created them."""
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **more)
    party = WHO.get(None)
    if party is not None:
        party.tasks.add(task)
        task.add_done_callback(party.tasks.discard)
    return task


async def _forget(_: object) -> None:
    """No language model is asked here."""
