"""Agent sessions: prompts in an empty conversation, a thread that shows its task at work, and Slack's own Stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bot.slack.sessions import CALLS_A_MINUTE, prompts, session_status
from core import config
from core.db import Pool
from core.organisation import parse
from core.store import events, people, steps, tasks
from tests.patience import PATIENCE_S
from tests.sim.faults import status
from tests.slack_house import SlackHouse, open_slack_house

DELETE = "do files.delete paths=old.log"
ORGANISATION = parse("""
runbooks:
  wait: {say: Wait for a word, inputs: {why: {}}, steps: [{id: a, wait: {event: reply, within: 1h}}]}
  tidy: {say: Tidy the workspace, steps: [{id: a, skill: files.list}]}
  ask: {say: Needs a name, inputs: {name: {}}, steps: [{id: a, skill: files.list}]}
""")


@pytest.fixture
async def slack(db: Pool, tmp_path: Path) -> AsyncIterator[SlackHouse]:
    async with open_slack_house(db, tmp_path, "http", organisation=ORGANISATION) as opened:
        await opened.adapter.sessions.look()
        yield opened


async def mirrored(slack: SlackHouse, true: Callable[[], Any]) -> None:
    """Look until it is true: an event is read once no older transaction of the whole server runs any more."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await slack.adapter.sessions.look()
            await asyncio.sleep(0.05)


def shown(slack: SlackHouse) -> list[tuple[str, str]]:
    return [(one["status"], one["title"]) for one in slack.sim.world.sessions.values()]


def calls(slack: SlackHouse) -> int:
    return len(slack.sim.journal.of("slack", "agents.sessions.setStatus", "in"))


@pytest.mark.parametrize(
    ("statuses", "wanted"),
    [
        (("succeeded", "running"), "processing"),
        (("queued",), "processing"),
        (("cancelling", "waiting"), "processing"),
        (("waiting", "failed"), "suspended"),
        (("paused",), "suspended"),
        (("succeeded", "cancelled", "failed", "abandoned"), "active"),
    ],
)
def test_a_thread_shows_whether_somebody_works_waits_or_rests(statuses: tuple[str, ...], wanted: str) -> None:
    assert session_status(statuses) == wanted


def test_prompts_are_at_most_four_and_end_with_help() -> None:
    made = prompts([(f"book{n}", "") for n in range(9)], 2, 1)
    assert [one["message"] for one in made] == ["approvals", "tasks", "run book0", "help"]
    assert made[0]["title"] == "What waits for me? (2)"


async def test_a_session_follows_its_task_in_a_direct_message(slack: SlackHouse) -> None:
    said = await slack.ann.say(DELETE)
    await mirrored(slack, lambda: shown(slack))
    assert slack.sim.world.sessions == {(slack.ann.im, said.ts): {"status": "processing", "title": DELETE}}
    assert slack.sim.world.statuses[-1]["initiator_user_id"] == "U01ALICE"
    await slack.ask()
    await mirrored(slack, lambda: shown(slack) == [("suspended", DELETE)])
    await slack.ann.say("stop", thread_ts=said.ts)
    await mirrored(slack, lambda: shown(slack) == [("active", DELETE)])
    before = calls(slack)
    await slack.adapter.sessions.look()
    assert calls(slack) == before, "what Slack shows already is not sent again"


async def test_a_conversation_answers_in_the_thread_of_what_was_said(slack: SlackHouse) -> None:
    first = await slack.ann.say("help")
    await slack.deliver()
    [answer] = [one for one in slack.ann.messages() if one.bot_id]
    assert answer.thread_ts == first.ts


async def test_words_beside_the_thread_still_find_the_one_task_that_waits_for_them(slack: SlackHouse) -> None:
    first = await slack.ann.say("run wait why=x")
    await steps.claim(slack.db, slack.house.worker, "default", 16)
    where = await slack.db.fetchval("select conversation_id from tasks")
    await slack.ann.say("help")
    beside = await slack.db.fetchval("select max(id) from conversations")
    assert beside != where
    ann, bob = [await people.by_key(slack.db, key) for key in ("ann", "bob")]
    assert ann is not None and bob is not None
    task = await slack.db.fetchval("select id from tasks")
    assert await tasks.listening(slack.db, where, ann.id, "") == task
    assert await tasks.listening(slack.db, beside, ann.id, "") == task
    assert await tasks.listening(slack.db, beside, bob.id, "") is None
    await slack.ann.say("stop")
    assert await slack.db.fetchval("select status from tasks where id = $1", task) in ("cancelling", "cancelled")
    assert first.acked


async def test_the_native_stop_cancels_the_task_of_the_thread(slack: SlackHouse) -> None:
    first = await slack.ann.mention(DELETE, "C0OPS")
    other = await slack.ann.mention("do files.list", "C0OPS")
    await mirrored(slack, lambda: len(shown(slack)) == 2)
    stopped = await slack.ann.stop(first.ts, "C0OPS")
    assert stopped.acked
    await slack.told(slack.ann, "is cancelled")
    found = await slack.db.fetch(
        "select t.status, c.thread from tasks t join conversations c on c.id = t.conversation_id"
    )
    assert {r["thread"]: r["status"] for r in found} == {first.ts: "cancelled", other.ts: "running"}
    await mirrored(slack, lambda: slack.sim.world.sessions["C0OPS", first.ts]["status"] == "active")
    assert (await slack.sim.redeliver(stopped)).acked, "delivered twice, it is done once"


@pytest.mark.parametrize("who", ["eve", "elsewhere", "stranger"])
async def test_the_native_stop_has_the_rights_of_who_presses_it(slack: SlackHouse, who: str) -> None:
    first = await slack.ann.mention(DELETE, "C0OPS")
    await mirrored(slack, lambda: shown(slack))
    presser = {"eve": slack.eve, "elsewhere": slack.ann, "stranger": slack.sim.user("U09MAL", "mallory")}[who]
    assert (await presser.stop(first.ts, "C0OPS", from_team="T0OTHER" if who == "elsewhere" else None)).acked
    assert await slack.db.fetchval("select status from tasks") == "running"


@pytest.mark.parametrize("lack", ["scope", "method"])
async def test_a_workspace_without_sessions_is_asked_once(
    slack: SlackHouse, lack: str, caplog: pytest.LogCaptureFixture
) -> None:
    if lack == "scope":
        slack.sim.scopes.remove("assistant:write")
    else:
        slack.sim.lacks["agents.sessions.setStatus"] = "not_allowed"
    await slack.ann.say(DELETE)
    await mirrored(slack, lambda: calls(slack))
    for _ in range(2):
        await slack.ann.say(DELETE)
        await slack.adapter.sessions.look()
    assert calls(slack) == 1
    assert caplog.text.count("goes without it") == 1
    if lack == "scope":
        await slack.ann.open_home("messages")
        await slack.until(lambda: "setSuggestedPrompts" in caplog.text)
        await slack.ann.open_home("messages")
        assert len(slack.sim.journal.of("slack", "assistant.threads.setSuggestedPrompts", "in")) == 1
    assert await slack.count("tasks") == 3


async def test_a_rate_limit_is_waited_out_and_the_state_comes_after(slack: SlackHouse) -> None:
    slack.sim.faults.add("agents.sessions.setStatus", 1, status(429, 1))
    await slack.ann.say(DELETE)
    await mirrored(slack, lambda: shown(slack))
    assert shown(slack) == [("processing", DELETE)]
    assert slack.sim.faults.unmet() == []


async def test_what_is_over_the_rate_comes_in_a_later_round(slack: SlackHouse) -> None:
    slack.adapter.sessions._called.extend([float("inf")] * CALLS_A_MINUTE)
    await slack.ann.say(DELETE)
    await mirrored(slack, lambda: slack.adapter.sessions._left)
    assert calls(slack) == 0
    slack.adapter.sessions._called.clear()
    await slack.adapter.sessions.look()
    assert shown(slack) == [("processing", DELETE)]


async def test_a_busy_time_and_a_database_that_breaks_lose_no_task(slack: SlackHouse) -> None:
    await slack.db.execute(
        "insert into moves (task_id, move, version) select 0, move, 1 from transitions, generate_series(1, $1)"
        " where (machine, from_state, to_state) = ('step', 'ready', 'running')", 2 * config.EVENTS_PAGE,
    )  # fmt: skip
    await slack.ann.say(DELETE)
    last = await slack.db.fetchval("select max(id) from events")
    async with asyncio.timeout(PATIENCE_S):
        while (await events.newest(slack.db)).id < last:  # noqa: ASYNC110  (there is nothing to wait on)
            await asyncio.sleep(0.05)
    await slack.db.execute("alter table slack_sessions rename to not_there")
    with pytest.raises(asyncpg.UndefinedTableError):
        await slack.adapter.sessions.look()
    await slack.db.execute("alter table not_there rename to slack_sessions")
    await slack.adapter.sessions.look()
    assert shown(slack) == [("processing", DELETE)]


async def test_an_app_that_hears_no_stop_is_told_to_subscribe(
    slack: SlackHouse, caplog: pytest.LogCaptureFixture
) -> None:
    slack.sim.world.hears_stops = False
    for n in (1, 2):
        await slack.ann.say(DELETE)
        await mirrored(slack, lambda n=n: len(shown(slack)) == n)  # type: ignore[misc]  # mypy cannot infer it
    assert caplog.text.count("subscribe to agent_session_stopped") == 1


async def test_an_empty_conversation_gets_prompts_of_what_there_is(slack: SlackHouse) -> None:
    await slack.ann.say(DELETE)
    await slack.ask()
    assert (await slack.ann.open_home("messages")).acked
    await slack.until(lambda: [one for one in slack.sim.world.statuses if "prompts" in one])
    [given] = [one for one in slack.sim.world.statuses if "prompts" in one]
    assert [one["message"] for one in given["prompts"]] == ["approvals", "tasks", "run tidy", "help"]
    assert given["channel_id"] == slack.ann.im and "thread_ts" not in given


async def test_a_stranger_gets_no_prompts(slack: SlackHouse) -> None:
    assert (await slack.sim.user("U09MAL", "mallory").open_home("messages")).acked
    await slack.ann.open_home("messages")
    await slack.until(lambda: [one for one in slack.sim.world.statuses if "prompts" in one])
    assert [one["channel_id"] for one in slack.sim.world.statuses] == [slack.ann.im]
