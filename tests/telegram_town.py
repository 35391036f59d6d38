"""A deployment with Telegram on, for tests: real Postgres, intake and courier, the library's real Bot, the stand-in.

The worker is the test itself, which claims a step and asks for a yes. Intake can be told to fail first, as it does when the
database is away. What people say and press is repeated, as Telegram does, until it is acknowledged.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI

from bot.app import create_app
from bot.courier import Courier
from bot.telegram.adapter import TelegramAdapter
from bot.telegram.sender import TelegramSender
from core import intake
from core.db import Pool
from core.deps import Deps
from core.models import Channel, Decided, Duplicate, Inbound, Press, Received
from core.organisation import Organisation
from core.ring import Ring
from core.settings import Settings
from core.store import people, skills, steps
from core.store.people import Principal, Wanted
from tests.patience import PATIENCE_S
from tests.sim.telegram import TelegramSim
from tests.sim.telegram_people import TgDelivery
from tests.sim.telegram_world import CallbackAnswer, TgMessage
from tests.web_house import DIGEST, MANIFESTS, NOWHERE

T = TypeVar("T")

SECRET = "s" * 16 + "-_" + "S" * 16
MODES = ("polling", "webhook")
GROUP = -100500


class Failing:
    """Intake whose database is away as often as it is told; everything else is the real one."""

    def __init__(self) -> None:
        self.left = 0
        self.tried: list[str] = []

    def _fail(self, delivery: str) -> None:
        self.tried.append(delivery)
        if self.left > 0:
            self.left -= 1
            raise ConnectionRefusedError

    async def receive(self, deps: Deps, inbound: Inbound) -> Received | Duplicate:
        self._fail(inbound.delivery_id)
        return await intake.receive(deps, inbound)

    async def press(self, deps: Deps, pressed: Press) -> Decided:
        self._fail(pressed.delivery_id)
        return await intake.press(deps, pressed)

    async def relocate(self, deps: Deps, channel: Channel, was: str, is_now: str) -> None:
        await intake.relocate(deps, channel, was, is_now)

    async def control(
        self, deps: Deps, person: Principal, task: int, verb: str, *, delivery: tuple[Channel, str] | None = None
    ) -> str:
        return await intake.control(deps, person, task, verb, delivery=delivery)


@dataclass
class Town:
    sim: TelegramSim
    deps: Deps
    app: FastAPI
    intake: Failing
    worker: int
    courier: Courier
    adapter: TelegramAdapter | None = None
    running: list[asyncio.Task[None]] = field(default_factory=list)
    delivered: list[int] = field(default_factory=list)

    @property
    def db(self) -> Pool:
        return self.deps.db

    @property
    def polls(self) -> bool:
        return self.deps.settings.telegram_mode == "polling"

    # ------------------------------------------------------------ a person's verbs

    async def say(self, text: str, who: int = 1001, **more: Any) -> TgDelivery:
        return await self.until_taken(await self.sim.user(who).say(text, **more))

    async def press(self, card: TgMessage, button: str, who: int = 1001) -> TgDelivery:
        return await self.until_taken(await self.sim.user(who).press(card, button))

    async def press_data(self, card: TgMessage, data: str) -> TgDelivery:
        return await self.until_taken(await self.sim.user(1001).press_data(card, data))

    async def until_taken(self, delivery: TgDelivery) -> TgDelivery:
        if delivery.update is None or self.polls:
            return delivery
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self.delivered.append(delivery.status)
            if delivery.acked:
                return delivery
            assert time.monotonic() < deadline, delivery
            await asyncio.sleep(0.01)
            delivery = await self.sim.redeliver(delivery)

    # ------------------------------------------------------------ what can be seen

    def calls(self, method: str) -> list[dict[str, Any]]:
        return [entry.body for entry in self.sim.journal.of("telegram", method, "in")]

    async def inbound(self, count: int) -> list[dict[str, Any]]:
        """So many messages are in the database, and no more."""
        rows: list[Any] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(rows) < count and time.monotonic() < deadline:
            rows = await self.db.fetch("select * from inbound where kind = 'message' order by id")
            await asyncio.sleep(0.01)
        assert len(rows) == count, f"{len(rows)} messages came in, not {count}"
        return [dict(row) for row in rows]

    async def status(self, approval: str) -> str:
        found: str = await self.db.fetchval("select status from approvals where id = $1", approval)
        return found

    def sender(self) -> TelegramSender:
        """The outgoing side of the bot."""
        assert self.adapter is not None
        return self.adapter.sender

    async def answer(self, count: int = 1) -> CallbackAnswer:
        """What the presser of the so-manieth press was shown."""
        await eventually(lambda: len(self.sim.answers) >= count)
        assert len(self.sim.answers) == count
        return self.sim.answers[-1]

    async def delivered_until(self, seen: Callable[[], T]) -> T:
        """Deliver the outbox until the chat shows it."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            await self.courier.deliver()
            if found := seen():
                return found
            assert time.monotonic() < deadline, self.sim.journal.dump()
            await asyncio.sleep(0.02)

    async def card(self, button: str, chat: int = 1001) -> TgMessage:
        """The message in the chat that has this button."""
        found = await self.delivered_until(
            lambda: [message for message in self.sim.messages(chat) if button in message.buttons()]
        )
        return found[0]

    # ------------------------------------------------------------ the worker's part

    async def ask(
        self, *, destructive: bool = False, args: dict[str, Any] | None = None, skill: str = "files.delete"
    ) -> str:
        """The step that somebody's message started asks for a yes; answers the approval."""
        [row] = await self.db.fetch("select id, conversation_id from tasks order by id desc limit 1")
        claimed = await steps.claim(self.db, self.worker, "default", 16)
        [step] = [step for step in claimed if step.task_id == row["id"]]
        action = {
            "skill": skill,
            "version": "1",
            "schema_hash": "h",
            "args": args or {"paths": ["old.log"]},
            "target": "workspace",
        }
        title = "Delete old.log from the workspace"
        asked = {
            "kind": "action", "items": [{"task": str(row["id"]), "step": 1, "digest": DIGEST, "action": action}],
            "digest": DIGEST, "action_hash": "h", "ladder": "default", "expires_in_s": 3600,
            "card": {"title": title, "reasons": ["It deletes."], "destructive": destructive},
            "approvers": {"people": [], "roles": ["owner"], "needed": 1, "four_eyes": False, "veto": True},
        }  # fmt: skip
        approval = await steps.park(self.db, self.worker, step, asked, [row["conversation_id"]], "It deletes.")
        assert approval is not None
        return approval

    def introduce(self) -> None:
        """The bot's loop begins."""
        assert self.adapter is not None
        self.running.append(asyncio.create_task(self.adapter.run()))

    def start_another(self) -> None:
        """One more bot process."""
        self.running.append(asyncio.create_task(TelegramAdapter(self.deps, self.intake).run()))


@asynccontextmanager
async def open_town(db: Pool, home: Path, mode: str, *, is_known: bool = True, **more: Any) -> AsyncIterator[Town]:
    """Ann (1001) is an owner, Bob (1002) has no role, others are strangers. `is_known`: the bot has begun its work."""
    async with AsyncExitStack() as stack:
        sim = await stack.enter_async_context(TelegramSim())
        door = stack.enter_context(socket.socket())
        door.bind(("127.0.0.1", 0))
        ring = Ring.open(NOWHERE)
        stack.push_async_callback(ring.close)
        given = {
            "redis_url": NOWHERE, "sayso_home": home, "sayso_secret_key": "k" * 32, "telegram_bot_token": sim.token,
            "telegram_mode": mode, "telegram_webhook_secret": SECRET, "telegram_api_url": sim.api_url,
            "public_base_url": f"http://127.0.0.1:{door.getsockname()[1]}",
        } | more  # fmt: skip
        deps = Deps(Settings.model_validate(given), Organisation(), db, ring)
        failing = Failing()
        adapter = TelegramAdapter(deps, failing)
        await skills.publish(db, MANIFESTS)
        ann = Wanted("ann", "Ann", ("owner",), False, (("telegram", "1001"),))
        bob = Wanted("bob", "Bob", (), False, (("telegram", "1002"),))
        await people.sync(db, [ann, bob])
        app = create_app(deps, extra_routers=[adapter.router()])
        courier = Courier(db, NOWHERE, [adapter.sender], deps.settings.masks())
        town = Town(sim, deps, app, failing, await steps.enrol(db, "test", 1, "test", 3600), courier)
        town.adapter = adapter
        if mode == "webhook":
            await stack.enter_async_context(served_at(app, door))
        if is_known:
            town.introduce()
        if mode == "webhook" and is_known:
            await eventually(lambda: sim.world.webhook["url"])
        try:
            yield town
            assert sim.violations == []
        finally:
            for task in town.running:
                task.cancel()
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*town.running, return_exceptions=True)


@asynccontextmanager
async def served_at(app: FastAPI, door: socket.socket) -> AsyncIterator[None]:
    """The app behind a real server at this socket."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, lifespan="on"))
    running = asyncio.create_task(server.serve(sockets=[door]))
    await eventually(lambda: server.started)
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.wait_for(running, PATIENCE_S)


async def eventually(look: Callable[[], Any], within_s: float = PATIENCE_S) -> Any:
    """What `look` answers as soon as it is true."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {within_s} s"
        await asyncio.sleep(0.01)
    return found
