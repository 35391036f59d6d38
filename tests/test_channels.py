"""One story on every chat, with a real bot and a real worker as processes of their own.

A person asks for a deletion, reads the card, presses Approve, and sees the same card say that it happened. The chats
are the stand-ins, spoken to over the vendors' wire formats; then one task goes through two chats.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import pytest

from core.models import Channel, Identity
from tests.patience import PATIENCE_S
from tests.ports import free_port
from tests.processes import Plant, plant_fixture, until
from tests.sim.slack import SlackSim
from tests.sim.telegram import TelegramSim

__all__ = ["plant_fixture"]

TELEGRAM_ANN = Identity(channel=Channel.TELEGRAM, external_id="1001")
SECRET = "s" * 40
ORDER = "do files.delete paths=old.log"
TITLE = "Delete old.log from the workspace"


@dataclass
class Slack:
    """Ann in Slack."""

    sim: SlackSim

    def __post_init__(self) -> None:
        self.ann = self.sim.user("U01ANN", "Ann")

    async def say(self, text: str) -> None:
        assert (await self.ann.say(text)).status == 200

    async def press(self, label: str) -> None:
        card = next(m for m in self.ann.messages() if m.blocks and label in str(m.blocks) and TITLE in str(m.blocks))
        assert (await self.ann.press(card, label)).status == 200

    def shows(self, *words: str) -> bool:
        return any(all(w in f"{m.text} {m.blocks}" for w in words) for m in self.ann.messages())

    def cards(self) -> int:
        return len([m for m in self.ann.messages() if m.blocks])

    def check(self) -> None:
        assert self.sim.violations == []


@dataclass
class Telegram:
    """Ann in Telegram."""

    sim: TelegramSim

    def __post_init__(self) -> None:
        self.ann = self.sim.user(1001, "Ann")

    async def say(self, text: str) -> None:
        await self.ann.say(text)

    async def press(self, label: str) -> None:
        card = next(m for m in self.ann.messages() if TITLE in m.text and label in m.buttons())
        await self.ann.press(card, label)
        if label == "Approve":  # something destructive takes two taps

            async def asks_again() -> str | None:
                return next((one for one in card.buttons() if one.startswith("Confirm")), None)

            await self.ann.press(card, await until(asks_again, "the second tap is offered"))

    def shows(self, *words: str) -> bool:
        return any(all(w in m.text for w in words) for m in self.ann.messages())

    def cards(self) -> int:
        return len([m for m in self.ann.messages() if "old.log" in m.text and m.sender.is_bot])

    def check(self) -> None:
        assert self.sim.violations == []


@asynccontextmanager
async def slack(plant: Plant, mode: Literal["http", "socket"]) -> AsyncIterator[Slack]:
    async with SlackSim(mode, ack_deadline_s=PATIENCE_S) as sim:
        more = {"SLACK_BOT_TOKEN": sim.bot_token, "SLACK_API_URL": sim.api_url, "SLACK_MODE": mode}
        more |= {"SLACK_APP_TOKEN": sim.app_token} if mode == "socket" else {"SLACK_SIGNING_SECRET": sim.signing_secret}
        plant.environment = {**plant.environment, **more}
        _, sim.deliver_to = await plant.bot()
        if mode == "socket":

            async def connected() -> bool:
                return bool(sim.socket.connections)

            await until(connected, "the bot has opened its socket")
        yield Slack(sim)


@asynccontextmanager
async def telegram(plant: Plant, mode: Literal["polling", "webhook"]) -> AsyncIterator[Telegram]:
    async with TelegramSim(secret=SECRET) as sim:
        more = {"TELEGRAM_BOT_TOKEN": sim.token, "TELEGRAM_API_URL": sim.api_url, "TELEGRAM_MODE": mode}
        if mode == "webhook":
            more |= {"TELEGRAM_WEBHOOK_SECRET": SECRET, "PUBLIC_BASE_URL": f"http://127.0.0.1:{(port := free_port())}"}
            more["PORT"] = str(port)
        plant.environment = {**plant.environment, **more}
        await plant.bot()
        if mode == "webhook":

            async def told() -> bool:
                return bool(sim.world.webhook["url"])

            await until(told, "the bot tells Telegram where its webhook is")
        yield Telegram(sim)


CHATS = {
    "slack-http": lambda plant: slack(plant, "http"),
    "slack-socket": lambda plant: slack(plant, "socket"),
    "telegram-polling": lambda plant: telegram(plant, "polling"),
    "telegram-webhook": lambda plant: telegram(plant, "webhook"),
}


@pytest.mark.parametrize("chat", CHATS)
async def test_a_person_asks_approves_and_sees_it_done(plant: Plant, chat: str) -> None:
    old = plant.home / "workspace" / "old.log"
    old.write_text("old", encoding="utf-8")
    await plant.worker()
    async with CHATS[chat](plant) as ann:
        await ann.say(ORDER)
        await see(ann, TITLE, "sha256", "May decide", "Approve") if chat.startswith("slack") else await see(
            ann, TITLE, "sha256", "May decide"
        )
        assert old.exists()
        await ann.press("Approve")
        await see(ann, "Approved by Ann", "Deleted 1 file: old.log")
        assert not old.exists()
        assert ann.cards() == 2, "one card for the task, one for the approval, both edited in place"
        ann.check()


@pytest.mark.parametrize("chat", CHATS)
async def test_a_no_is_shown_and_nothing_happens(plant: Plant, chat: str) -> None:
    old = plant.home / "workspace" / "old.log"
    old.write_text("old", encoding="utf-8")
    await plant.worker()
    async with CHATS[chat](plant) as ann:
        await ann.say(ORDER)
        await see(ann, TITLE, "May decide")
        approval = str(await plant.db.fetchval("select id from approvals"))
        await ann.press("Stop the task") if chat.startswith("slack") else await plant.press(approval, "deny")
        await see(ann, "Stopped by Ann" if chat.startswith("slack") else "Denied by Ann")
        assert old.exists()
        ann.check()


async def test_a_task_of_one_chat_is_approved_in_another_and_both_show_it(plant: Plant) -> None:
    old = plant.home / "workspace" / "old.log"
    old.write_text("old", encoding="utf-8")
    await plant.worker()
    async with slack(plant, "socket") as in_slack:
        await in_slack.say(ORDER)
        await see(in_slack, TITLE, "May decide")
        task = int(await plant.db.fetchval("select id from tasks"))
        # Ann's Telegram account is the same person.
        await plant.press(await plant.asked(task), "approve", TELEGRAM_ANN)
        await see(in_slack, "Approved by Ann in Telegram", "Deleted 1 file: old.log")
        assert not old.exists()
        in_slack.check()


async def see(chat: Slack | Telegram, *words: str) -> None:
    """The chat shows one message with all these words."""

    async def look() -> bool:
        return chat.shows(*words)

    await until(look, f"the chat shows {words}")
