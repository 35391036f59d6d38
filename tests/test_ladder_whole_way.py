"""The whole ladder on real parts: a Slack card that nobody answers, direct messages, an SMS that approves, every card edited.

Bot and worker are real and are stopped and started anew between the rungs; Slack, Telegram and Twilio are stand-ins on their
wire formats; the clock is the database's, and it is moved.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.__main__ import open_channels, open_deps
from bot.app import create_app
from bot.courier import Courier
from core.db import Pool
from core.settings import Settings
from core.store import approvals, clock
from tests.patience import PATIENCE_S
from tests.ports import free_port
from tests.sim.slack import SlackSim
from tests.sim.telegram import TelegramSim
from tests.sim.twilio import TwilioSim
from tests.sms_house import ANN, code_in
from tests.telegram_town import served_at
from worker.crew import open_crew

CHANNEL = "C0OPS"
ACME = """
organisation: Acme
people:
  ann:
    name: Ann
    roles: [owner]
    identities: {slack: T0ACME/U01ALICE, telegram: "1001", phone: "+15550002222"}
    sms: {opted_in_at: 2026-11-01T09:00:00Z}
  bob: {name: Bob, roles: [engineer], identities: {slack: T0ACME/U02BOB}}
roles:
  engineer: {may: ["skill:files.*"]}
ladders:
  default: [{after: 0m, to: conversation}, {after: 5m, to: direct}, {after: 15m, to: sms}, {after: 60m, to: expire}]
"""


class Town:
    def __init__(self, db: Pool, settings: Settings, slack: SlackSim, telegram: TelegramSim, twilio: TwilioSim) -> None:
        self.db, self.settings = db, settings
        self.slack, self.telegram, self.twilio = slack, telegram, twilio
        self.ahead = timedelta()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """A bot and a worker, from nothing but their settings."""
        async with AsyncExitStack() as stack:
            deps = await stack.enter_async_context(open_deps(self.settings))
            channels = open_channels(deps)
            door = stack.enter_context(socket.socket())
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(("127.0.0.1", self.settings.port))
            app = create_app(deps, extra_routers=channels.routers)
            await stack.enter_async_context(served_at(app, door))
            courier = Courier(deps.db, self.settings.redis_address(), channels.senders, deps.masks(), deps.measures)
            crew = await stack.enter_async_context(open_crew(self.settings))
            parts = [courier.run(), crew.run(), *(loop() for loop in channels.loops.values())]
            running = [asyncio.create_task(part) for part in parts]
            try:
                yield
            finally:
                await crew.executor.stop(grace_s=1)
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)

    async def pass_by(self, **more: float) -> None:
        self.ahead += timedelta(**more)
        await clock.move(self.db, self.ahead)

    async def until(self, look: Callable[[], Any]) -> Any:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    found = look()
                    found = await found if asyncio.iscoroutine(found) else found
                    if found:
                        return found
                    await asyncio.sleep(0.05)
        journals = (self.slack.journal, self.telegram.journal, self.twilio.journal)
        raise AssertionError("never true; " + "\n".join(journal.dump() for journal in journals))

    async def approval(self) -> dict[str, Any] | None:
        [task] = await self.db.fetch("select max(id) as id from tasks")
        found = await approvals.of_task(self.db, task["id"] or 0)
        return found[-1] if found else None

    async def all_is_sent(self) -> bool:
        waiting = await self.db.fetchval("select count(*) from outbox where status not in ('sent', 'dead')")
        return not waiting

    def slack_cards(self) -> list[Any]:
        return [one for one in self.slack.world.posted if "Delete old.log" in one.everything()]


@pytest.fixture
async def town(db: Pool, database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    port = free_port()
    public = f"http://127.0.0.1:{port}"
    (tmp_path / "sayso.yaml").write_text(ACME)
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "old.log").write_text("old")
    async with (
        SlackSim("http", deliver_to=public, ack_deadline_s=PATIENCE_S) as slack,
        TelegramSim() as telegram,
        TwilioSim(public) as twilio,
    ):
        slack.user("U01ALICE", "alice")
        telegram.user(1001, "Ann")
        settings = Settings.load(
            {
                "DATABASE_URL": database_url, "REDIS_URL": redis_url, "SAYSO_HOME": str(tmp_path),
                "SAYSO_CONFIG": str(tmp_path / "sayso.yaml"), "SAYSO_SECRET_KEY": "k" * 32, "SAYSO_TEST_CLOCK": "1",
                "PORT": str(port), "PUBLIC_BASE_URL": public,
                "SLACK_BOT_TOKEN": slack.bot_token, "SLACK_SIGNING_SECRET": slack.signing_secret, "SLACK_API_URL": slack.api_url,
                "TELEGRAM_BOT_TOKEN": telegram.token, "TELEGRAM_API_URL": telegram.api_url,
                "TWILIO_ACCOUNT_SID": twilio.account, "TWILIO_AUTH_TOKEN": twilio.token, "TWILIO_API_URL": twilio.api_url,
                "TWILIO_MESSAGING_SERVICE_SID": twilio.service,
            },
            tmp_path,
        )  # fmt: skip
        yield Town(db, settings, slack, telegram, twilio)
        assert slack.violations == telegram.violations == twilio.violations == []


async def test_from_a_slack_card_that_nobody_answers_to_an_sms_that_approves_over_restarts(
    town: Town, tmp_path: Path
) -> None:
    async with town.open():
        bob = town.slack.user("U02BOB", "bob")
        said = await bob.mention("do files.delete paths=old.log", CHANNEL)
        while not said.acked:  # the bot has to hear from Slack first who it is
            await asyncio.sleep(0.05)
            said = await town.slack.redeliver(said, retry_num=1)
        await town.until(lambda: [one for one in town.slack_cards() if "Approve" in one.buttons()])
        assert {one.channel for one in town.slack_cards()} == {CHANNEL} and town.telegram.messages(1001) == []
        await town.until(town.all_is_sent)

    await town.pass_by(minutes=6)
    async with town.open():  # nobody was there when the time of the direct messages came
        await town.until(lambda: [one for one in town.telegram.messages(1001) if "Approve" in one.buttons()])
        await town.until(lambda: len([one for one in town.slack_cards() if "Approve" in one.buttons()]) == 2)
        assert town.twilio.sent == []
        await town.until(town.all_is_sent)
        asking = {one.ts for one in town.slack_cards() if "Approve" in one.buttons()}

    await town.pass_by(minutes=10)
    async with town.open():
        [sms] = await town.until(lambda: town.twilio.phone(ANN).messages())
        await town.until(town.all_is_sent)
        await town.twilio.phone(ANN).report(sms, "delivered")

    async with town.open():
        await town.twilio.phone(ANN).say(f"OK {code_in(sms)}")
        assert town.twilio.phone(ANN).heard[-1].startswith("Approved: Delete old.log")
        await town.until(lambda: not (tmp_path / "workspace" / "old.log").exists())
        done = await town.until(lambda: _done(town))
        assert [(v["key"], v["verdict"], v["channel"]) for v in done["votes"]] == [("ann", "approve", "sms")]
        asked = [one for one in town.slack_cards() if one.ts in asking]
        await town.until(lambda: all("by Ann by SMS" in one.everything() for one in asked))
        assert len(asked) == 2 and not any("Approve" in one.buttons() for one in asked)
        [card] = [one for one in town.telegram.messages(1001) if "Delete old.log" in one.text]
        await town.until(lambda: "by Ann by SMS" in card.text and "Approve" not in card.buttons())
    assert len(town.twilio.sent) == 1
    assert len(await town.db.fetch("select from rungs where climbed_at is not null")) == 3


async def _done(town: Town) -> dict[str, Any] | None:
    found = await town.approval()
    return found if found and found["status"] == "consumed" and found["step_status"] == "succeeded" else None
