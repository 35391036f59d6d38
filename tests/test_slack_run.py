"""The connection to Slack: it waits for a Slack that is away, comes back when cut, ends cleanly, and is quick."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

import httpx
import pytest

from core.db import Pool
from tests.holding import hold
from tests.patience import PATIENCE_S
from tests.sim.faults import DROP_BEFORE
from tests.slack_house import open_slack_house

WORDS = "do files.list"


async def test_a_slack_that_is_away_at_start_stops_nothing_else(db: Pool, tmp_path: Path) -> None:
    async with open_slack_house(db, tmp_path, "http", run=False) as slack:
        # The client repeats a call by itself once or twice before we hear of it.
        slack.sim.faults.add("auth.test", 2, DROP_BEFORE)
        running = asyncio.create_task(slack.adapter.run())
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            assert (await client.get(f"{slack.sim.deliver_to}/healthz")).status_code == 200
        await slack.until(lambda: slack.adapter.own is not None)
        assert (await slack.ann.say(WORDS)).acked
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_a_wrong_token_is_said_with_its_fix_and_asked_again(
    db: Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_slack_house(db, tmp_path, "http", run=False, slack_bot_token="xoxb-wrong") as slack:
        running = asyncio.create_task(slack.adapter.run())
        await slack.until(lambda: "SLACK_BOT_TOKEN is not valid" in caplog.text)
        assert not running.done()
        assert "xoxb-wrong" not in caplog.text
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@pytest.mark.parametrize("way", ["told", "cut"])
async def test_a_lost_connection_comes_back_and_brings_what_was_missed(db: Pool, tmp_path: Path, way: str) -> None:
    async with open_slack_house(db, tmp_path, "socket") as slack:
        old = slack.sim.socket.connections[0]
        if way == "told":
            await old.send_json({"type": "disconnect", "reason": "refresh_requested", "debug_info": {"host": "x"}})
        else:
            await old.close()
        await slack.until(lambda: slack.sim.socket.connections and slack.sim.socket.connections[-1] is not old)
        assert (await slack.ann.say(WORDS)).acked
        assert await slack.count("tasks") == 1


async def test_stopping_ends_the_connection_and_every_task(db: Pool, tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with open_slack_house(db, tmp_path, "socket") as slack:
        await slack.ann.say(WORDS)
    left = [task for task in asyncio.all_tasks() - before if not task.done()]
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*left, return_exceptions=True)
    assert slack.sim.socket.connections == []


async def test_the_acknowledgement_waits_for_the_commit_alone(db: Pool, tmp_path: Path) -> None:
    """Slack's API and Redis may be as slow as they like: with Redis away and no answer of Slack's a press is acknowledged."""
    async with open_slack_house(db, tmp_path, "http") as slack:
        await slack.ann.mention("do files.delete paths=old.log", "C0OPS")
        _, card = await slack.ask()
        let_go = hold(slack.sim.line)
        taken = [
            await slack.eve.press(card, "Approve"),
            await slack.ann.press(card, "Approve"),
            await slack.ann.say("help"),
        ]
        assert [delivery.acked for delivery in taken] == [True] * 3
        let_go.set()


async def test_no_log_holds_what_people_write(db: Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_slack_house(db, tmp_path, "socket") as slack:
        await slack.ann.say("remember that the password is correct-horse")
        await slack.deliver()
    shown = [r for r in caplog.records if "correct-horse" in r.getMessage() and r.name.startswith(("bot", "slack"))]
    assert shown == []
