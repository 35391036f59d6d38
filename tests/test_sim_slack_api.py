"""What the Slack stand-in refuses, and how it fails on demand, seen through the real SDK.

A stand-in that is too kind lets faults through to the first real workspace, so here are mostly refusals.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientError
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_async_handlers import (
    AsyncConnectionErrorRetryHandler,
    AsyncRateLimitErrorRetryHandler,
)
from slack_sdk.webhook.async_client import AsyncWebhookClient

from tests.sim.faults import DONE_BUT_ANSWER_LOST, DROP_BEFORE, delay, status
from tests.sim.slack import SlackSim
from tests.sim.slack_check import block_problems
from tests.sim.slack_example import CARD, MODAL, button, client_of, section


@pytest.fixture
async def sim() -> AsyncIterator[SlackSim]:
    async with SlackSim() as running:
        yield running


async def refusal(call: Any) -> str:
    with pytest.raises(SlackApiError) as refused:
        await call
    return str(refused.value.response["error"])


async def test_tokens_are_told_apart(sim: SlackSim) -> None:
    assert (await client_of(sim).auth_test())["user_id"] == "U0SAYSO"
    assert await refusal(client_of(sim, "xoxb-wrong").auth_test()) == "invalid_auth"
    assert await refusal(client_of(sim, "").auth_test()) == "not_authed"
    assert await refusal(client_of(sim, sim.app_token).auth_test()) == "not_allowed_token_type"
    assert await refusal(client_of(sim).apps_connections_open(app_token=sim.bot_token)) == "not_allowed_token_type"


BAD_BLOCKS = {
    "a type that does not exist": [{"type": "buttons"}],
    "a modal's block in a message": [{"type": "alert", "text": {"type": "plain_text", "text": "x"}}],
    "a header that is not plain": [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}],
    "an unknown field": [section("x") | {"colour": "red"}],
    "a section of 3001 characters": [section("x" * 3001)],
    "an empty section": [{"type": "section"}],
    "an empty text": [section("")],
    "a field of 2001 characters": [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2001}]}],
    "eleven fields": [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x"}] * 11}],
    "fifty-one blocks": [section("x")] * 51,
    "a button text of 76 characters": [{"type": "actions", "elements": [button("x" * 76, "a")]}],
    "a button value of 2001 characters": [{"type": "actions", "elements": [button("x", "a", "v" * 2001)]}],
    "an action id of 256 characters": [{"type": "actions", "elements": [button("x", "a" * 256)]}],
    "twenty-six elements": [{"type": "actions", "elements": [button("x", f"a{n}") for n in range(26)]}],
    "no elements": [{"type": "actions", "elements": []}],
    "one action id twice": [{"type": "actions", "elements": [button("x", "a"), button("y", "a")]}],
    "one block id twice": [section("x") | {"block_id": "b"}, section("y") | {"block_id": "b"}],
    "a markdown block of 12001": [{"type": "markdown", "text": "x" * 12_001}],
    "a long text in a container": [
        {
            "type": "container",
            "title": {"type": "plain_text", "text": "x"},
            "child_blocks": [section("x" * 3001)],
        }
    ],
    "a style that does not exist": [{"type": "actions", "elements": [button("x", "a") | {"style": "warning"}]}],
}


@pytest.mark.parametrize("blocks", BAD_BLOCKS.values(), ids=BAD_BLOCKS.keys())
async def test_blocks_that_slack_refuses_are_refused(sim: SlackSim, blocks: list[dict[str, Any]]) -> None:
    with pytest.raises(SlackApiError) as refused:
        await client_of(sim).chat_postMessage(channel="C0OPS", text="x", blocks=blocks)
    assert refused.value.response["error"] == "invalid_blocks"
    assert refused.value.response["response_metadata"]["messages"][0].startswith("[ERROR]")
    assert [one.method for one in sim.violations] == ["chat.postMessage"] and sim.messages("C0OPS") == []


def test_blocks_at_their_limits_are_taken() -> None:
    full: list[dict[str, Any]] = [section("x" * 3000)] * 48
    full.append({"type": "actions", "elements": [button("x" * 75, f"{n:0255d}", "v" * 2000) for n in range(25)]})
    full.append({"type": "header", "text": {"type": "plain_text", "text": "x" * 150}})
    assert block_problems(full) == []


@pytest.mark.filterwarnings("ignore:The top-level `text` argument")
async def test_texts_and_arguments_are_judged_as_slack_does(sim: SlackSim) -> None:
    client = client_of(sim)
    assert await refusal(client.chat_postMessage(channel="C0OPS", text="x" * 40_001)) == "msg_too_long"
    assert await refusal(client.chat_postMessage(channel="C0OPS")) == "no_text"
    assert (
        await refusal(client.chat_postMessage(channel="C0OPS", text="x", markdown_text="y")) == "markdown_text_conflict"
    )
    wrong_type: Any = "everything"
    assert (
        await refusal(client.chat_postMessage(channel="C0OPS", text="x", unfurl_links=wrong_type))
        == "invalid_arguments"
    )
    assert await refusal(client.api_call("chat.shout", json={"channel": "C0OPS"})) == "unknown_method"
    faults = len(sim.violations)
    posted = await client.chat_postMessage(channel="C0OPS", text="x", wrap="yes")
    assert posted["ok"] and sim.violations[faults].problem == "unknown argument 'wrap'"
    update = client.chat_update(channel="C0OPS", ts=posted["ts"], text="x" * 4001)
    assert await refusal(update) == "msg_too_long"


async def test_channels_and_messages_that_are_not_there_are_said_so(sim: SlackSim) -> None:
    client, alice = client_of(sim), sim.user("U01ALICE", "alice")
    sim.channel("C0SECRET", "secret", with_app=False)
    await alice.say("mine", "C0OPS")
    theirs = sim.messages("C0OPS")[0].ts
    assert await refusal(client.chat_postMessage(channel="C0NOPE", text="x")) == "channel_not_found"
    assert await refusal(client.chat_postMessage(channel="C0SECRET", text="x")) == "not_in_channel"
    assert await refusal(client.chat_update(channel="C0OPS", ts="1.2", text="x")) == "message_not_found"
    assert await refusal(client.chat_update(channel="C0OPS", ts=theirs, text="x")) == "cant_update_message"
    assert await refusal(client.chat_delete(channel="C0OPS", ts=theirs)) == "cant_delete_message"
    assert await refusal(client.users_info(user="U0NOPE")) == "user_not_found"
    assert await refusal(client.conversations_replies(channel="C0OPS", ts="1.2")) == "thread_not_found"
    assert await refusal(client.conversations_open(users="U0NOPE")) == "user_not_found"
    assert await refusal(client.usergroups_users_list(usergroup="S0NOPE")) == "no_such_subteam"
    assert await refusal(client.chat_postEphemeral(channel="C0OPS", user="U0NOPE", text="x")) == "user_not_in_channel"
    assert sim.violations == []


async def test_an_ephemeral_message_cannot_be_updated(sim: SlackSim) -> None:
    client, alice = client_of(sim), sim.user("U01ALICE", "alice")
    await alice.say("hello", "C0OPS")
    shown = await client.chat_postEphemeral(channel="C0OPS", user="U01ALICE", text="only you")
    assert [one.text for one in sim.ephemeral("U01ALICE")] == ["only you"]
    assert await refusal(client.chat_update(channel="C0OPS", ts=shown["message_ts"], text="x")) == "message_not_found"


async def test_an_update_without_blocks_keeps_the_old_ones(sim: SlackSim) -> None:
    client = client_of(sim)
    posted = await client.chat_postMessage(channel="C0OPS", text="Delete old.log?", blocks=CARD)
    await client.chat_update(channel="C0OPS", ts=posted["ts"], text="Approved")
    assert sim.messages("C0OPS")[0].buttons() == ["Approve", "Deny"]
    await client.chat_update(channel="C0OPS", ts=posted["ts"], text="Approved", blocks=[])
    assert sim.messages("C0OPS")[0].buttons() == []


async def test_metadata_is_found_again_in_the_thread(sim: SlackSim) -> None:
    client = client_of(sim)
    top = await client.chat_postMessage(channel="C0OPS", text="top")
    mark = {"event_type": "sayso_message", "event_payload": {"id": "17"}}
    await client.chat_postMessage(channel="C0OPS", text="reply", thread_ts=top["ts"], metadata=mark)
    thread = await client.conversations_replies(channel="C0OPS", ts=top["ts"], include_all_metadata=True)
    assert [one.get("metadata") for one in thread["messages"]] == [None, mark]
    assert [one["text"] for one in (await client.conversations_history(channel="C0OPS"))["messages"]] == ["top"]
    half: Any = {"event_type": "sayso_message"}
    assert await refusal(client.chat_postMessage(channel="C0OPS", text="x", metadata=half)) == "invalid_metadata_format"


async def test_a_trigger_is_good_once_and_a_modal_is_checked(sim: SlackSim) -> None:
    client, alice = client_of(sim), sim.user("U01ALICE", "alice")
    trigger = sim.world.trigger(alice.id)
    opened = await client.views_open(trigger_id=trigger, view=MODAL)
    assert await refusal(client.views_open(trigger_id=trigger, view=MODAL)) == "exchanged_trigger_id"
    assert await refusal(client.views_open(trigger_id="1.2.3", view=MODAL)) == "invalid_trigger_id"
    late = sim.world.trigger(alice.id)
    sim.world.triggers[late].at -= 4
    assert await refusal(client.views_open(trigger_id=late, view=MODAL)) == "expired_trigger_id"
    long_title = MODAL | {"title": {"type": "plain_text", "text": "x" * 25}}
    assert await refusal(client.views_open(trigger_id=trigger, view=long_title)) == "invalid_arguments"
    no_submit = {name: value for name, value in MODAL.items() if name != "submit"}
    assert await refusal(client.views_open(trigger_id=trigger, view=no_submit)) == "invalid_arguments"
    view_id = opened["view"]["id"]
    assert await refusal(client.views_update(view_id=view_id, hash="old", view=MODAL)) == "hash_conflict"
    renewed = await client.views_update(view_id=view_id, hash=opened["view"]["hash"], view=MODAL)
    assert renewed["view"]["hash"] != opened["view"]["hash"]
    assert await refusal(client.views_update(view_id="V0NOPE", view=MODAL)) == "not_found"


async def test_the_smaller_methods_answer(sim: SlackSim) -> None:
    client, alice = client_of(sim), sim.user("U01ALICE", "alice")
    sim.world.usergroups["S0SRE"] = ["U01ALICE"]
    im = (await client.conversations_open(users="U01ALICE"))["channel"]["id"]
    assert im == alice.im
    assert (await client.conversations_info(channel=im))["channel"]["is_im"] is True
    assert (await client.users_info(user="U01ALICE"))["user"]["team_id"] == "T0ACME"
    assert (await client.usergroups_users_list(usergroup="S0SRE"))["users"] == ["U01ALICE"]
    posted = await client.chat_postMessage(channel="U01ALICE", text="hello")
    assert posted["channel"] == im
    await client.reactions_add(channel=im, timestamp=posted["ts"], name="eyes")
    assert await refusal(client.reactions_add(channel=im, timestamp=posted["ts"], name="eyes")) == "already_reacted"
    await client.assistant_threads_setStatus(channel_id=im, thread_ts=posted["ts"], status="thinking")
    await client.agents_sessions_setStatus(channel_id=im, thread_ts=posted["ts"], status="processing")
    assert await refusal(client.agents_sessions_setStatus(channel_id=im, status="busy")) == "invalid_arguments"
    assert [one["status"] for one in sim.world.statuses] == ["thinking", "processing"]
    await client.files_upload_v2(channel=im, content="full text", filename="card.txt")
    assert sim.messages(im)[-1].extra["files"][0]["name"] == "card.txt"
    await client.chat_delete(channel=im, ts=posted["ts"])
    assert posted["ts"] not in [one.ts for one in sim.messages(im)]


async def test_rate_limits_and_errors_come_on_demand_and_the_sdk_waits(sim: SlackSim) -> None:
    client = client_of(sim)
    client.retry_handlers.append(AsyncRateLimitErrorRetryHandler(max_retry_count=1))
    sim.faults.add("chat.postMessage", 1, status(429, retry_after_s=0))
    assert (await client.chat_postMessage(channel="C0OPS", text="x"))["ok"]
    assert [one.status for one in sim.journal.of("slack", "chat.postMessage")] == [429, 200]
    sim.faults.add("auth.test", 1, status(500))
    with pytest.raises(SlackApiError) as refused:
        await client.auth_test()
    assert refused.value.response.status_code == 500
    bare = client_of(sim)
    sim.faults.add("auth.test", 1, status(429, retry_after_s=30))
    with pytest.raises(SlackApiError) as limited:
        await bare.auth_test()
    assert limited.value.response.headers["Retry-After"] == "30" and sim.faults.unmet() == []


async def test_a_dropped_call_had_no_effect_and_a_lost_answer_had_one(sim: SlackSim) -> None:
    client = client_of(sim)
    client.retry_handlers.clear()
    sim.faults.add("chat.postMessage", 1, DROP_BEFORE)
    with pytest.raises(ClientError):
        await client.chat_postMessage(channel="C0OPS", text="first")
    assert sim.messages("C0OPS") == []
    sim.faults.add("chat.postMessage", 1, DONE_BUT_ANSWER_LOST)
    with pytest.raises(ClientError):
        await client.chat_postMessage(channel="C0OPS", text="second")
    assert [one.text for one in sim.messages("C0OPS")] == ["second"]
    sim.faults.add("chat.postMessage", 1, DONE_BUT_ANSWER_LOST)
    client.retry_handlers.append(AsyncConnectionErrorRetryHandler(max_retry_count=1))
    await client.chat_postMessage(channel="C0OPS", text="twice")
    assert [one.text for one in sim.messages("C0OPS")] == ["second", "twice", "twice"]


async def test_a_delay_delays_and_a_fault_that_was_never_met_is_told(sim: SlackSim) -> None:
    sim.faults.add("auth.test", 1, delay(0.05))
    sim.faults.add("chat.update", 2, status(500))
    begun = asyncio.get_running_loop().time()
    await client_of(sim).auth_test()
    assert asyncio.get_running_loop().time() - begun >= 0.04
    assert sim.faults.unmet() == ["chat.update: status × 2"]


async def test_a_response_url_is_good_five_times(sim: SlackSim) -> None:
    sim.deliver_to = "http://127.0.0.1:9"
    alice = sim.user("U01ALICE")
    url = (await alice.slash("/sayso", "x")).payload["response_url"]
    answers = [(await AsyncWebhookClient(url).send(text=str(n))).status_code for n in range(6)]
    assert answers == [200] * 5 + [404] and len(sim.ephemeral("U01ALICE")) == 5


async def test_a_response_url_is_good_for_half_an_hour(sim: SlackSim) -> None:
    sim.deliver_to = "http://127.0.0.1:9"
    url = (await sim.user("U01ALICE").slash("/sayso", "x")).payload["response_url"]
    answers = []
    for seconds in (1799, 2):
        await sim.line.clock.step(seconds)
        answers.append((await AsyncWebhookClient(url).send(text="x")).status_code)
    assert answers == [200, 404]
