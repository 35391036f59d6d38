"""Our own polling loop: what it survives, who polls, and what it never writes into a log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.telegram.client import open_client
from bot.telegram.polling import UPDATE_ATTEMPTS, Poller
from core.config import POLLING_LOCK
from core.db import Pool
from tests.telegram_server import TOKEN, eventually
from tests.telegram_town import Town, open_town


@pytest.fixture
async def polling(db: Pool, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(db, tmp_path, "polling") as opened:
        yield opened


async def test_an_update_with_a_fault_of_its_own_is_given_up_so_that_the_next_one_comes(polling: Town) -> None:
    polling.running[0].cancel()
    await asyncio.gather(*polling.running, return_exceptions=True)
    taken: list[int] = []

    async def take(raw: Any) -> None:
        taken.append(raw["update_id"])
        if raw["update_id"] == 101:
            raise ValueError("no database can hold this")

    polling.api.say("first")
    polling.api.say("second")
    client = open_client(polling.deps.settings)
    poller = Poller(client, polling.db, take, pause_first_s=0.01, pause_most_s=0.01)
    polling.running.append(asyncio.create_task(poller.run()))
    await eventually(lambda: 102 in taken)
    assert taken == [101] * UPDATE_ATTEMPTS + [102]
    await client.close_connections()


async def test_polling_goes_on_after_the_database_dropped_the_lock(polling: Town) -> None:
    await eventually(lambda: polling.api.of("getUpdates"))
    await polling.db.execute(
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = $1", POLLING_LOCK
    )
    polling.api.say("tasks")
    assert [row["body"] for row in await polling.inbound(1)] == ["tasks"]
    polling.api.say("approvals")
    assert [row["body"] for row in await polling.inbound(2)] == ["tasks", "approvals"]


async def test_an_update_that_cannot_be_read_does_not_block_the_next(polling: Town) -> None:
    polling.api.queue({"message": {"message_id": 1}})
    polling.api.queue({"message": "?"})
    polling.api.say("tasks")
    assert [row["body"] for row in await polling.inbound(1)] == ["tasks"]


async def test_only_one_of_two_processes_polls_and_the_other_takes_over(polling: Town) -> None:
    await eventually(lambda: polling.api.of("getUpdates"))
    polling.start()
    await eventually(lambda: len(polling.api.of("getMe")) == 2)
    polling.api.say("tasks")
    await polling.inbound(1)
    assert polling.api.polled_at_once == 0

    polling.running[0].cancel()
    await asyncio.gather(polling.running[0], return_exceptions=True)
    polling.api.say("status")
    await polling.inbound(2)
    assert [row["body"] for row in await polling.inbound(2)] == ["tasks", "status"]


async def test_another_program_with_our_token_is_named_in_the_log(
    polling: Town, caplog: pytest.LogCaptureFixture
) -> None:
    conflict = {"ok": False, "error_code": 409, "description": "Conflict: terminated by other getUpdates request"}
    polling.api.faults["getUpdates"] = [(409, conflict)]
    polling.api.say("tasks")
    await eventually(lambda: "lets only one program receive this bot's updates" in caplog.text)
    assert caplog.text.count("lets only one program") == 1


async def test_the_token_reaches_no_log_whatever_fails(
    db: Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    refused = {"ok": False, "error_code": 404, "description": f"Not Found: /bot{TOKEN}/getMe"}
    async with open_town(db, tmp_path, "polling") as town:
        town.api.faults["getMe"] = ["garbage", (404, refused), "lost"]
        town.api.faults["deleteWebhook"] = ["garbage"]
        town.api.faults["getUpdates"] = ["garbage", "lost"]
        town.api.faults["answerCallbackQuery"] = ["garbage", (400, refused)]
        town.api.tap("x", {"chat_id": 1001, "message_id": 1})
        town.api.tap("y", {"chat_id": 1001, "message_id": 1})
        await eventually(lambda: len(town.api.of("answerCallbackQuery")) == 2)
        await eventually(lambda: caplog.text.count("Telegram was not told") >= 2)
    seen = caplog.text + "".join(capsys.readouterr())
    assert TOKEN.partition(":")[2] not in seen
