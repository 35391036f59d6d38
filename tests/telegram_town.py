"""A deployment with Telegram on, for tests: real Postgres, intake and courier, the library's real Bot, two people.

The worker is the test itself, which claims a step and asks for a yes. Intake can be told to fail first, as it does when the
database is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bot.app import create_app
from bot.courier import Courier
from bot.telegram.adapter import TelegramAdapter
from bot.telegram.webhook import HEADER, PATH
from core import intake
from core.db import Pool
from core.deps import Deps
from core.models import Decided, Duplicate, Inbound, Press, Received
from core.organisation import Organisation
from core.ring import Ring
from core.settings import Settings
from core.store import people, skills, steps
from core.store.people import Principal, Wanted
from tests.telegram_server import SECRET, TOKEN, BotApi, bot_api, eventually
from tests.web_house import DIGEST, MANIFESTS, NOWHERE

PUBLIC = "https://sayso.example.com"
MODES = ("polling", "webhook")


class Failing:
    """Intake whose database is away as often as it is told; everything else is the real one."""

    def __init__(self, times: int = 0, error: Callable[[], Exception] = ConnectionRefusedError) -> None:
        self.left, self.error = times, error
        self.tried: list[str] = []

    def _fail(self, delivery: str) -> None:
        self.tried.append(delivery)
        if self.left > 0:
            self.left -= 1
            raise self.error()

    async def receive(self, deps: Deps, inbound: Inbound) -> Received | Duplicate:
        self._fail(inbound.delivery_id)
        return await intake.receive(deps, inbound)

    async def press(self, deps: Deps, pressed: Press) -> Decided:
        self._fail(pressed.delivery_id)
        return await intake.press(deps, pressed)

    async def control(self, deps: Deps, person: Principal, task: int, verb: str) -> str:
        return await intake.control(deps, person, task, verb)


@dataclass
class Town:
    """One deployment with Telegram on, a worker that is the test, and the people in it."""

    api: BotApi
    deps: Deps
    intake: Failing
    worker: int
    courier: Courier
    adapters: list[TelegramAdapter] = field(default_factory=list)
    running: list[asyncio.Task[None]] = field(default_factory=list)
    webhook: httpx.AsyncClient | None = None
    delivered: list[int] = field(default_factory=list)

    @property
    def db(self) -> Pool:
        return self.deps.db

    def start(self) -> TelegramAdapter:
        adapter = self.adapters[0] if not self.running else TelegramAdapter(self.deps, self.intake)
        self.running.append(asyncio.create_task(adapter.run()))
        return adapter

    async def deliver(self) -> None:
        """In webhook mode: what Telegram does, each update again until it is answered 200."""
        assert self.webhook is not None
        set_up = await eventually(lambda: self.api.of("setWebhook"))
        assert set_up[0].data["url"] == PUBLIC + PATH
        while True:
            await eventually(lambda: self.api.updates, within_s=60)
            answer = await self.webhook.post(
                PATH, json=self.api.updates[0], headers={HEADER: set_up[0].data["secret_token"]}
            )
            self.delivered.append(answer.status_code)
            if answer.status_code == 200:
                self.api.updates.pop(0)

    async def inbound(self, count: int) -> list[dict[str, Any]]:
        rows: list[Any] = []
        for _ in range(1000):
            rows = await self.db.fetch("select * from inbound where kind = 'message' order by id")
            if len(rows) >= count:
                break
            await asyncio.sleep(0.01)
        assert len(rows) == count, f"{len(rows)} messages came in, not {count}"
        return [dict(row) for row in rows]

    async def courier_until(self, seen: Callable[[], Any]) -> Any:
        """Deliver the outbox until the chat shows it."""
        for _ in range(600):
            await self.courier.deliver()
            if found := seen():
                return found
            await asyncio.sleep(0.02)
        raise AssertionError("the chat never showed it")

    async def ask(self, *, destructive: bool = False, args: dict[str, Any] | None = None, title: str = "") -> str:
        """The step that somebody's message started asks for a yes; answers the approval."""
        [row] = await self.db.fetch("select id, conversation_id from tasks order by id desc limit 1")
        [step] = [s for s in await steps.claim(self.db, self.worker, "default", 16) if s.task_id == row["id"]]
        action = {
            "skill": "files.delete",
            "version": "1",
            "args": args or {"paths": ["old.log"]},
            "target": "workspace",
        }
        card = {
            "title": title or "Delete old.log from the workspace",
            "reasons": ["It deletes."],
            "destructive": destructive,
        }
        asked = {
            "kind": "action", "items": [{"task": str(row["id"]), "step": 1, "digest": DIGEST, "action": action}],
            "digest": DIGEST, "action_hash": "h", "card": card, "ladder": "default", "expires_in_s": 3600,
            "approvers": {"people": [], "roles": ["owner"], "needed": 1, "four_eyes": False, "veto": True},
        }  # fmt: skip
        approval = await steps.park(self.db, self.worker, step, asked, [row["conversation_id"]], "It deletes.")
        assert approval is not None
        return approval

    async def approval_card(self, approval: str) -> dict[str, Any]:
        """Ask, and have the card in the chat."""

        def shown() -> dict[str, Any] | None:
            cards = [m for m in self.api.shown(1001) if "Deny" in self.api.labels(m)]
            return cards[0] if cards else None

        found: dict[str, Any] = await self.courier_until(shown)
        return found

    async def status(self, approval: str) -> str:
        found: str = await self.db.fetchval("select status from approvals where id = $1", approval)
        return found

    async def answered(self, count: int = 1) -> dict[str, Any]:
        calls = await eventually(
            lambda: len(self.api.of("answerCallbackQuery")) >= count and self.api.of("answerCallbackQuery")
        )
        assert len(calls) == count
        data: dict[str, Any] = calls[-1].data
        return data


@asynccontextmanager
async def open_town(db: Pool, home: Path, mode: str, **more: Any) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(bot_api())
        ring = Ring.open(NOWHERE)
        stack.push_async_callback(ring.close)
        given = {
            "redis_url": NOWHERE, "sayso_home": home, "sayso_secret_key": "k" * 32, "telegram_bot_token": TOKEN,
            "telegram_mode": mode, "telegram_webhook_secret": SECRET, "telegram_api_url": api.url, "public_base_url": PUBLIC,
        } | more  # fmt: skip
        deps = Deps(Settings.model_validate(given), Organisation(), db, ring)
        await skills.publish(db, MANIFESTS)
        await people.sync(
            db,
            [
                Wanted("ann", "Ann", ("owner",), False, (("telegram", "1001"),)),
                Wanted("bob", "Bob", (), False, (("telegram", "1002"),)),
            ],
        )
        failing = Failing()
        adapter = TelegramAdapter(deps, failing)
        worker = await steps.enrol(db, "test", 1, "test", 3600)
        town = Town(
            api, deps, failing, worker, Courier(db, NOWHERE, [adapter.sender], deps.settings.masks()), [adapter]
        )
        town.start()
        if mode == "webhook":
            app = create_app(deps, extra_routers=[adapter.router()])
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            town.webhook = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url=PUBLIC))
            town.running.append(asyncio.create_task(town.deliver()))
        try:
            yield town
        finally:
            for task in town.running:
                task.cancel()
            await asyncio.gather(*town.running, return_exceptions=True)
