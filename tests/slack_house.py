"""A Sayso that Slack's stand-in talks to, by either transport: real Bolt app, real intake, real Postgres, no worker.

Ann is an owner and known in Slack; the courier is run by hand, one round at a time, so that nothing has to be waited
for by the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bot.app import create_app
from bot.courier import Courier
from bot.slack.adapter import Intake, SlackAdapter
from core import intake as core_intake
from core.cards import Card
from core.db import Pool
from core.models import Channel, Claimed, Place
from core.organisation import Organisation
from core.store import conversations, people, steps
from core.store.people import Wanted
from tests.patience import PATIENCE_S
from tests.sim.slack import SlackSim
from tests.sim.slack_people import Person
from tests.sim.slack_world import Message
from tests.web_house import DIGEST, NOWHERE, House, open_house, served

Mode = Literal["http", "socket"]
PEOPLE = (
    Wanted("ann", "Ann", ("owner",), False, (("slack", "T0ACME/U01ALICE"),)),
    Wanted("bob", "Bob", ("owner",), False, (("slack", "T0ACME/U01BOB"),)),
    Wanted("eve", "Eve", (), False, (("slack", "T0ACME/U01EVE"),)),
)


@dataclass
class SlackHouse:
    house: House
    sim: SlackSim
    adapter: SlackAdapter
    courier: Courier

    @property
    def db(self) -> Pool:
        return self.house.db

    @property
    def ann(self) -> Person:
        return self.sim.user("U01ALICE", "alice")

    @property
    def bob(self) -> Person:
        return self.sim.user("U01BOB", "bob")

    @property
    def eve(self) -> Person:
        return self.sim.user("U01EVE", "eve")

    async def deliver(self) -> None:
        """All that waits in the outbox and may go now."""
        while await self.courier.deliver():
            continue

    async def delivered(self, true: Callable[[], Any]) -> None:
        """Deliver until it is true: an edit waits for its second."""
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                await self.deliver()
                await asyncio.sleep(0.05)

    async def count(self, table: str) -> int:
        number: int = await self.db.fetchval(f"select count(*) from {table}")
        return number

    async def ask(self, said: Message | None = None, **more: Any) -> tuple[str, Message]:
        """Ann's newest task waits for a yes: the approval and its card as it stands in Slack."""
        step = await self._claimed()
        args = {"paths": ["old.log"]}
        action = {"skill": "files.delete", "version": "1", "schema_hash": "h", "args": args, "target": "workspace"}
        approvers = {"people": [], "roles": ["owner"], "needed": 1, "four_eyes": False, "veto": True}
        approval = await steps.park(
            self.db,
            self.house.worker,
            step,
            {
                "kind": "action",
                "items": [{"task": str(step.task_id), "step": step.n, "digest": DIGEST, "action": action}],
                "digest": DIGEST,
                "action_hash": "h",
                "card": {"title": "Delete old.log from the workspace", "reasons": ["It deletes."], "destructive": True},
                "approvers": approvers | more,
                "ladder": "default",
                "expires_in_s": 3600,
            },
            [step.conversation_id or 0],
            "It deletes.",
        )
        assert approval is not None
        await self.deliver()
        [card] = [one for one in self.sim.world.posted if "Approve" in one.buttons()]
        return approval, card

    async def _claimed(self) -> Claimed:
        """The newest step; the twin of its mention may hold it for a moment."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await steps.claim(self.db, self.house.worker, "default", 16)):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return found[-1]

    async def status_of(self, approval: str) -> str:
        found: str = await self.db.fetchval("select status from approvals where id = $1::uuid", approval)
        return found

    async def until(self, true: Callable[[], Any]) -> None:
        """Until it is true; fails with the journal when it never is."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not true():  # noqa: ASYNC110 - another process's doing has no event of ours
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"never true; the journal:\n{self.sim.journal.dump()}") from None

    async def told(self, person: Person, words: str) -> Message:
        """What only this person is told."""
        await self.until(lambda: any(words in one.everything() for one in self.sim.ephemeral(person.id)))
        return next(one for one in self.sim.ephemeral(person.id) if words in one.everything())


@asynccontextmanager
async def open_slack_house(
    db: Pool,
    home: Path,
    mode: Mode,
    *,
    intake: Intake = core_intake,
    run: bool = True,
    organisation: Organisation | None = None,
    enterprise: str | None = None,
    **settings: Any,
) -> AsyncIterator[SlackHouse]:
    async with SlackSim(mode, enterprise=enterprise, ack_deadline_s=PATIENCE_S) as sim:
        sim.world.trigger_life_s = PATIENCE_S
        given = {
            "slack_bot_token": sim.bot_token,
            "slack_api_url": sim.api_url,
            "slack_signing_secret": sim.signing_secret,
            "slack_app_token": sim.app_token if mode == "socket" else None,
            "public_base_url": "https://sayso.acme.example",
        }
        async with open_house(db, home, organisation, **(given | settings)) as house:
            await people.sync(db, PEOPLE)
            adapter = SlackAdapter(house.deps, intake)
            app = create_app(house.deps, extra_routers=[adapter.router()])
            async with served(app) as url:
                sim.deliver_to = url
                made = SlackHouse(
                    house, sim, adapter, Courier(db, NOWHERE, [adapter.sender], house.deps.settings.masks())
                )
                running = asyncio.create_task(adapter.run()) if run else None
                if running:
                    await made.until(lambda: adapter.own is not None and (mode == "http" or sim.socket.connections))
                try:
                    yield made
                finally:
                    if running:
                        running.cancel()
                        with contextlib.suppress(asyncio.CancelledError):
                            await asyncio.wait_for(running, PATIENCE_S)
        assert sim.violations == []


def some_card() -> Card:
    return Card(subject="task", subject_id="1", task_id="1", tone="busy", headline="tidy up", status="running")


async def conversation_of(db: Pool, external_id: str, thread: str = "") -> conversations.Conversation:
    made = await conversations.ensure(
        db, Place(channel=Channel.SLACK, external_id=external_id, thread=thread, private=external_id.endswith("D1"))
    )
    found = await conversations.by_id(db, made)
    assert found is not None
    return found
