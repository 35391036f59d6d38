"""Our own polling loop: what it survives, who polls, and what it never writes into a log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.telegram.client import open_client
from bot.telegram.polling import UPDATE_ATTEMPTS, Poller
from core.config import POLLING_LOCK
from core.db import Pool
from tests.telegram_script import LOST, PROXY_PAGE, TOKEN, error, scripted_api
from tests.telegram_town import Town, eventually, open_town


@pytest.fixture
async def town(db: Pool, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(db, tmp_path, "polling") as opened:
        yield opened


async def test_an_update_with_a_fault_of_its_own_is_given_up_so_that_the_next_one_comes(town: Town) -> None:
    town.running[0].cancel()
    await asyncio.gather(*town.running, return_exceptions=True)
    first, second = (await town.say("first")).update_id, (await town.say("second")).update_id
    taken: list[int] = []

    async def take(raw: Any) -> None:
        taken.append(raw["update_id"])
        if raw["update_id"] == first:
            raise ValueError("no database can hold this")

    client = open_client(town.deps.settings)
    poller = Poller(client, town.db, take, pause_first_s=0.01, pause_most_s=0.01)
    town.running.append(asyncio.create_task(poller.run()))
    await eventually(lambda: second in taken)
    assert taken == [first] * UPDATE_ATTEMPTS + [second]
    await client.close_connections()


async def test_updates_that_cannot_be_read_do_not_block_the_next(town: Town) -> None:
    town.sim.world.queue({"update_id": 5, "message": {"message_id": 1}})
    town.sim.world.queue({"update_id": 6, "message": "?"})
    town.sim.world.queue({"update_id": 7, "brand_new_kind": {"x": 1}})
    said = await town.say("tasks")
    assert [row["body"] for row in await town.inbound(1)] == ["tasks"]
    await town.sim.wait_confirmed(said)


async def test_polling_goes_on_after_the_database_dropped_the_lock(town: Town) -> None:
    await eventually(lambda: town.calls("deleteWebhook"))
    await town.db.execute(
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = $1", POLLING_LOCK
    )
    await town.say("tasks")
    await town.inbound(1)
    await town.say("approvals")
    assert [row["body"] for row in await town.inbound(2)] == ["tasks", "approvals"]


async def test_only_one_of_two_processes_polls_and_the_other_takes_over(town: Town) -> None:
    await eventually(lambda: town.calls("deleteWebhook"))
    town.start_another()
    await eventually(lambda: len(town.calls("getMe")) == 2)
    await town.say("tasks")
    await town.inbound(1)
    assert len(town.calls("deleteWebhook")) == 1

    town.running[0].cancel()
    await asyncio.gather(town.running[0], return_exceptions=True)
    await town.say("status")
    assert [row["body"] for row in await town.inbound(2)] == ["tasks", "status"]
    assert [entry for entry in town.sim.journal.of("telegram", "getUpdates", "in") if entry.status == 409] == []


async def test_another_program_with_our_token_is_named_in_the_log(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    await eventually(lambda: town.sim.world.poll is not None)
    async with httpx.AsyncClient(base_url=town.sim.api_url) as another:
        await another.post(f"/bot{town.sim.token}/getUpdates", json={"timeout": 0})
    await eventually(lambda: "lets only one program receive this bot's updates" in caplog.text)
    assert caplog.text.count("lets only one program") == 1


async def test_the_token_reaches_no_log_whatever_fails(
    db: Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    refused = error(404, f"Not Found: /bot{TOKEN}/x")
    async with scripted_api() as api:
        query = {"from": {"id": 1001, "is_bot": False, "first_name": "Ann"}, "chat_instance": "c", "data": "x"}
        api.updates = [{"update_id": n, "callback_query": query | {"id": str(n)}} for n in (1, 2)]
        api.script["getMe"] = [PROXY_PAGE, refused, LOST]
        api.script["deleteWebhook"] = [PROXY_PAGE]
        api.script["getUpdates"] = [PROXY_PAGE, LOST]
        api.script["setMyCommands"] = [refused]
        api.script["answerCallbackQuery"] = [PROXY_PAGE, PROXY_PAGE, refused, refused]  # a page is tried twice
        given = {"telegram_bot_token": TOKEN, "telegram_api_url": api.url}
        async with open_town(db, tmp_path, "polling", **given):
            await eventually(lambda: len(api.of("answerCallbackQuery")) >= 3)
            await eventually(lambda: caplog.text.count("Telegram was not told") >= 3)
    seen = caplog.text + "".join(capsys.readouterr())
    assert TOKEN.partition(":")[2] not in seen
