"""Slack's stand-in refuses what Slack would: menus, plans, numbers, streams, and answers to forms. Else tests prove nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from tests.sim.slack import SlackSim
from tests.sim.slack_check import block_problems, view_problems

TEXT = {"type": "plain_text", "text": "x"}
RICH = {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [{"type": "text", "text": "x"}]}]}
READER = {"recipient_team_id": "T0ACME", "recipient_user_id": "U01ALICE"}


def option(value: str, text: str = "x") -> dict[str, Any]:
    return {"text": {"type": "plain_text", "text": text}, "value": value}


def task(task_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "task_card", "task_id": task_id, "title": "x", "status": "pending"} | more


def menu(*options: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "actions", "elements": [{"type": "overflow", "action_id": "a", "options": [*options]} | more]}


def asking(**element: Any) -> dict[str, Any]:
    block = {"type": "input", "block_id": "b", "label": TEXT, "element": {"action_id": "a"} | element}
    return {"type": "modal", "title": TEXT, "submit": TEXT, "blocks": [block]}


@pytest.mark.parametrize(
    "block",
    [
        {"type": "plan", "title": "x", "tasks": [task("1"), task("1")]},
        {"type": "plan", "title": "x", "tasks": [task("1", status="waits")]},
        {"type": "plan", "title": "x", "tasks": [{"anything": "else"}]},
        {"type": "plan", "tasks": []},
        menu(),
        menu(*(option(str(n)) for n in range(6))),
        menu(option("a"), option("a")),
        menu(option("a", "x" * 76)),
        menu(option("a" * 151)),
    ],
)
def test_a_block_that_slack_does_not_render_is_refused(block: dict[str, Any]) -> None:
    assert block_problems([block]) != []


def test_the_same_blocks_as_slack_takes_them_are_taken() -> None:
    plan = {"type": "plan", "title": "x", "tasks": [task("1", output=RICH), task("2", status="error", details=RICH)]}
    assert block_problems([plan, menu(option("a"), option("b"))]) == []
    assert block_problems([plan] * 51) != []


@pytest.mark.parametrize(
    "element",
    [
        {"type": "number_input", "is_decimal_allowed": False, "initial_value": "many"},
        {"type": "static_select", "options": []},
        {"type": "static_select", "options": [option("a")], "initial_option": option("b")},
    ],
)
def test_a_form_that_slack_does_not_open_is_refused(element: dict[str, Any]) -> None:
    assert view_problems(asking(**element)) != []


def test_a_form_without_a_block_is_refused() -> None:
    assert view_problems({"type": "modal", "title": TEXT, "blocks": []}) != []


# ---------------------------------------------------------------- streams


@pytest.fixture
async def sim() -> AsyncIterator[SlackSim]:
    async with SlackSim() as running:
        yield running


@pytest.fixture
async def client(sim: SlackSim) -> AsyncIterator[AsyncWebClient]:
    async with aiohttp.ClientSession() as session:
        yield AsyncWebClient(token=sim.bot_token, base_url=sim.api_url, session=session)


async def refused(call: Any) -> str:
    with pytest.raises(SlackApiError) as found:
        await call
    return str(found.value.response["error"])


def chunk(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "blocks", "blocks": [*blocks]}]


async def test_a_stream_is_a_reply_to_somebody_named(sim: SlackSim, client: AsyncWebClient) -> None:
    ts = (await sim.user("U01ALICE").mention("x", "C0OPS")).ts
    nobody = client.chat_startStream(channel="C0OPS", thread_ts=ts, chunks=chunk(RICH))
    assert await refused(nobody) == "missing_recipient_team_id"
    nowhere = client.chat_startStream(channel="C0OPS", thread_ts="1.1", chunks=chunk(RICH), **READER)
    assert await refused(nowhere) == "thread_not_found"


async def test_a_stream_takes_what_is_published_while_it_lives_and_no_edit(
    sim: SlackSim, client: AsyncWebClient
) -> None:
    ts = (await sim.user("U01ALICE").mention("x", "C0OPS")).ts
    live = (await client.chat_startStream(channel="C0OPS", thread_ts=ts, chunks=chunk(RICH), **READER))["ts"]
    here = {"channel": "C0OPS", "ts": live}
    assert await refused(client.chat_update(**here, text="x")) == "streaming_state_conflict"
    assert await refused(client.chat_appendStream(**here)) == "no_text"
    assert await refused(client.chat_appendStream(**here, chunks=[{"type": "html", "text": "x"}])) == "invalid_chunks"
    many = [{"type": "markdown_text", "text": "x", "more": 1}]
    assert await refused(client.chat_appendStream(**here, chunks=many)) == "invalid_chunks"
    assert await refused(client.chat_appendStream(**here, chunks=chunk(*[RICH] * 50))) == "invalid_blocks"
    assert await refused(client.chat_appendStream(**here, markdown_text="x" * 12_001)) == "msg_too_long"
    await client.chat_stopStream(**here)
    assert await refused(client.chat_stopStream(**here)) == "message_not_in_streaming_state"
    assert await refused(client.chat_appendStream(**here, chunks=chunk(RICH))) == "message_not_in_streaming_state"
    await client.chat_update(**here, text="the whole")


async def test_a_stream_dies_by_itself(sim: SlackSim, client: AsyncWebClient) -> None:
    sim.world.stream_life_s = 0.0
    ts = (await sim.user("U01ALICE").mention("x", "C0OPS")).ts
    live = (await client.chat_startStream(channel="C0OPS", thread_ts=ts, chunks=chunk(RICH), **READER))["ts"]
    ended = client.chat_stopStream(channel="C0OPS", ts=live)
    assert await refused(ended) == "message_not_in_streaming_state"
