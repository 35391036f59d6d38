"""The Slack stand-in, driven by the real SDKs: it refuses what Slack refuses and sends what Slack sends.

A stand-in that is too kind lets faults through to the first real workspace; so most of this tests refusals, redelivery
and planned faults. Payloads are compared with recorded ones where $SAYSO_SPECS has them.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, web
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_async_handlers import (
    AsyncConnectionErrorRetryHandler,
    AsyncRateLimitErrorRetryHandler,
)
from slack_sdk.web.async_client import AsyncWebClient

from tests.sim.faults import DONE_BUT_ANSWER_LOST, DROP_BEFORE, delay, status
from tests.sim.slack import SlackSim
from tests.sim.slack_check import block_problems, inbound_problems
from tests.sim.slack_people import Person

SAMPLES = Path(os.environ.get("SAYSO_SPECS", "../shared/specs")) / "samples" / "slack"
recorded = pytest.mark.skipif(not SAMPLES.is_dir(), reason="no recorded payloads: set SAYSO_SPECS")


def section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def button(text: str, action_id: str, value: str = "17") -> dict[str, Any]:
    return {"type": "button", "action_id": action_id, "value": value, "text": {"type": "plain_text", "text": text}}


CARD = [
    section("Delete old.log?"),
    {"type": "actions", "elements": [button("Approve", "sayso:approve"), button("Deny", "sayso:deny")]},
]
MODAL = {
    "type": "modal",
    "callback_id": "why",
    "title": {"type": "plain_text", "text": "Deny"},
    "submit": {"type": "plain_text", "text": "Send"},
    "blocks": [
        {
            "type": "input",
            "block_id": "reason",
            "label": {"type": "plain_text", "text": "Reason"},
            "element": {"type": "plain_text_input", "action_id": "text"},
        }
    ],
}


@pytest.fixture
async def sim() -> AsyncIterator[SlackSim]:
    async with SlackSim() as running:
        yield running


def client_of(sim: SlackSim, token: str | None = None) -> AsyncWebClient:
    return AsyncWebClient(token=sim.bot_token if token is None else token, base_url=sim.api_url)


def bolt_app(sim: SlackSim) -> tuple[AsyncApp, list[dict[str, Any]]]:
    """A small real app: answers messages with a card, presses with an edit, /sayso with a text, Deny with a modal."""
    app = AsyncApp(client=client_of(sim), signing_secret=sim.signing_secret, raise_error_for_unhandled_request=False)
    seen: list[dict[str, Any]] = []

    @app.middleware
    async def note(body: dict[str, Any], next_: Any) -> None:
        seen.append(body)
        await next_()

    @app.event("message")
    async def on_message(event: dict[str, Any], client: AsyncWebClient) -> None:
        if event["channel_type"] == "im":
            await client.chat_postMessage(channel=event["channel"], text="Delete old.log?", blocks=CARD)

    @app.event("app_mention")
    async def on_mention(event: dict[str, Any], say: Any) -> None:
        await say(text="here", thread_ts=event["ts"])

    @app.event("app_home_opened")
    async def on_home(event: dict[str, Any], client: AsyncWebClient) -> None:
        await client.views_publish(user_id=event["user"], view={"type": "home", "blocks": CARD})

    @app.action("sayso:approve")
    async def on_approve(ack: Any, body: dict[str, Any], client: AsyncWebClient) -> None:
        await ack()
        if "message" in body:
            answer = [section("Approved by <@" + body["user"]["id"] + ">")]
            place = {"channel": body["channel"]["id"], "ts": body["message"]["ts"]}
            await client.chat_update(**place, text="Approved", blocks=answer)

    @app.action("sayso:deny")
    async def on_deny(ack: Any, body: dict[str, Any], client: AsyncWebClient) -> None:
        await ack()
        await client.views_open(trigger_id=body["trigger_id"], view=MODAL)

    @app.view("why")
    async def on_submit(ack: Any, view: dict[str, Any]) -> None:
        reason = view["state"]["values"]["reason"]["text"]["value"]
        await (ack() if reason else ack(response_action="errors", errors={"reason": "Say why"}))

    @app.command("/sayso")
    async def on_command(ack: Any, command: dict[str, Any], respond: Any) -> None:
        await ack(f"you said {command['text']}")
        await respond("and later this")

    return app, seen


@asynccontextmanager
async def app_over_http(sim: SlackSim) -> AsyncIterator[list[dict[str, Any]]]:
    app, seen = bolt_app(sim)
    runner = web.AppRunner(app.web_app(path="/slack/events"), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sim.deliver_to = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield seen
    finally:
        await runner.cleanup()


@asynccontextmanager
async def app_over_socket(sim: SlackSim) -> AsyncIterator[list[dict[str, Any]]]:
    app, seen = bolt_app(sim)
    handler = AsyncSocketModeHandler(app, sim.app_token, ping_interval=0.2)
    await handler.connect_async()
    await sim.socket.wait_connected()
    try:
        yield seen
    finally:
        await handler.close_async()


@asynccontextmanager
async def running_app(mode: str) -> AsyncIterator[tuple[SlackSim, Person, list[dict[str, Any]]]]:
    async with SlackSim(mode="socket" if mode == "socket" else "http") as sim:
        app = app_over_socket(sim) if mode == "socket" else app_over_http(sim)
        async with app as seen:
            yield sim, sim.user("U01ALICE", "alice"), seen


async def refusal(call: Any) -> str:
    with pytest.raises(SlackApiError) as refused:
        await call
    return str(refused.value.response["error"])


both_modes = pytest.mark.parametrize("mode", ["http", "socket"])


@both_modes
async def test_a_message_a_press_and_an_edit_go_round(mode: str) -> None:
    async with running_app(mode) as (sim, alice, _):
        assert (await alice.say("do files.delete paths=old.log")).acked
        await sim.journal.wait_for(lambda entry: entry.method == "chat.postMessage")
        card = alice.messages()[-1]
        assert card.buttons() == ["Approve", "Deny"]
        assert (await alice.press(card, "Approve")).acked
        await sim.journal.wait_for(lambda entry: entry.method == "chat.update")
        assert card.everything() == "Approved\nApproved by <@U01ALICE>"
        assert [version.text for version in card.edits] == ["Delete old.log?"]
        assert card.buttons() == [] and sim.violations == []
        stale = await alice.press(card, "sayso:approve", version=0)
        assert stale.acked and stale.payload["message"]["text"] == "Approved"


@both_modes
async def test_a_mention_comes_twice_under_two_event_ids(mode: str) -> None:
    async with running_app(mode) as (sim, alice, seen):
        said = await alice.mention("tidy up", "C0OPS")
        assert said.acked and said.twin is not None and said.twin.acked
        answer = await sim.journal.wait_for(lambda entry: entry.method == "chat.postMessage")
        assert answer.body["thread_ts"] == said.ts
        ids = {body["event_id"]: body["event"]["type"] for body in seen}
        assert sorted(ids.values()) == ["app_mention", "message"]


@both_modes
async def test_a_slash_command_answers_its_writer_only(mode: str) -> None:
    async with running_app(mode) as (sim, alice, _):
        assert (await alice.slash("/sayso", "status", "C0OPS")).acked
        await sim.journal.wait_for(lambda entry: entry.method == "response_url" and entry.status == 200)
        assert sorted(one.text for one in sim.ephemeral("U01ALICE")) == ["and later this", "you said status"]
        assert sim.messages("C0OPS") == [] and len(alice.messages("C0OPS")) == 2


@both_modes
async def test_a_modal_opens_is_refused_and_is_taken(mode: str) -> None:
    async with running_app(mode) as (sim, alice, _):
        await alice.say("hello")
        await sim.journal.wait_for(lambda entry: entry.method == "chat.postMessage")
        await alice.press(alice.messages()[-1], "Deny")
        await sim.journal.wait_for(lambda entry: entry.method == "views.open")
        (modal,) = alice.views()
        refused = await alice.submit(modal, {"reason": None})
        assert refused.answer == {"response_action": "errors", "errors": {"reason": "Say why"}}
        assert (await alice.submit(modal, {"text": "too risky"})).answer is None
        assert alice.views() == []


@both_modes
async def test_the_home_tab_is_published_and_pressed(mode: str) -> None:
    async with running_app(mode) as (sim, alice, seen):
        assert (await alice.open_home()).acked
        await sim.journal.wait_for(lambda entry: entry.method == "views.publish")
        home = sim.home("U01ALICE")
        assert home is not None and (await alice.press(home, "Approve")).acked
        assert seen[-1]["container"] == {"type": "view", "view_id": home.id}


async def test_an_event_that_was_not_acknowledged_comes_again_on_the_next_connection() -> None:
    async with SlackSim(mode="socket", ack_deadline_s=0.2) as sim:
        alice = sim.user("U01ALICE", "alice")
        lost = await alice.say("is anybody there")
        assert not lost.acked and lost.status == 0
        sim.ack_deadline_s = 3.0
        async with app_over_socket(sim) as seen:
            again = await sim.journal.wait_for(lambda entry: entry.note == "redelivered, attempt 1")
            assert again.status == 200
            assert seen[0]["event_id"] == lost.payload["event_id"]


async def test_a_press_that_was_not_acknowledged_is_gone() -> None:
    async with SlackSim(mode="socket", ack_deadline_s=0.1) as sim:
        alice = sim.user("U01ALICE", "alice")
        await client_of(sim).chat_postMessage(channel=alice.im, text="card", blocks=CARD)
        pressed = await alice.press(alice.messages()[-1], "Approve")
        assert pressed.status == 0
        async with app_over_socket(sim):
            assert (await alice.say("hello")).acked
            assert len(sim.journal.of("slack", "block_actions")) == 1


async def test_a_client_that_is_told_to_disconnect_connects_anew() -> None:
    async with running_app("socket") as (sim, alice, _):
        before = sim.socket.connections[-1]
        await sim.socket.disconnect()
        await sim.journal.wait_for(lambda entry: entry.method == "apps.connections.open" and entry.n > 1, after=1)
        assert (await alice.say("still there?")).acked
        assert sim.socket.connections[-1] is not before


async def test_a_socket_link_is_good_once() -> None:
    async with SlackSim(mode="socket") as sim:
        url = (await client_of(sim).apps_connections_open(app_token=sim.app_token))["url"]
        ticket = url.split("ticket=")[1].split("&")[0]
        assert sim.spend_ticket(ticket) and not sim.spend_ticket(ticket)


async def test_redelivery_carries_slacks_headers_and_the_same_event_id(sim: SlackSim) -> None:
    heads: list[tuple[str | None, str | None, str]] = []

    async def listen(request: web.Request) -> web.Response:
        body = await request.json()
        heads.append(
            (request.headers.get("X-Slack-Retry-Num"), request.headers.get("X-Slack-Retry-Reason"), body["event_id"])
        )
        return web.Response(status=503 if len(heads) == 1 else 200)

    app = web.Application()
    app.router.add_post("/slack/events", listen)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sim.deliver_to = f"http://127.0.0.1:{runner.addresses[0][1]}"
    first = await sim.user("U01ALICE").say("hello")
    second = await sim.redeliver(first, retry_num=1, reason="http_error")
    await runner.cleanup()
    assert (first.status, second.status) == (503, 200)
    assert heads == [(None, None, first.payload["event_id"]), ("1", "http_error", first.payload["event_id"])]


async def test_the_real_verifier_takes_our_signature_and_no_other(sim: SlackSim) -> None:
    async with app_over_http(sim) as seen:
        body = json.dumps({"type": "event_callback", "event": {"type": "message"}, "event_id": "Ev1"}).encode()
        good, _, _ = await sim.http.post(body)
        wrong, _, _ = await sim.http.post(body, secret="another")
        stale, _, _ = await sim.http.post(body, timestamp_offset_s=-600)
        bare, _, _ = await sim.http.post(body, without=["X-Slack-Signature"])
        assert (wrong, stale, bare) == (401, 401, 401)
        assert good != 401 and len(seen) == 1


async def test_an_app_that_is_not_there_is_a_status_of_zero(sim: SlackSim) -> None:
    sim.deliver_to = "http://127.0.0.1:9"
    delivery = await sim.user("U01ALICE").say("hello")
    assert delivery.status == 0 and not delivery.acked
    assert sim.journal.of("slack", "message", "out")[0].status == 0


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
    await client.agents_sessions_setStatus(channel_id=im, status="processing")
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


async def test_a_stranger_by_slack_connect_shows_their_own_team(sim: SlackSim) -> None:
    sim.deliver_to = "http://127.0.0.1:9"
    sim.channel("C0SHARED", "shared", shared=True)
    mallory = sim.user("U0MALLORY", "mallory", team="T0OTHER")
    await client_of(sim).chat_postMessage(channel="C0SHARED", text="card", blocks=CARD)
    said = (await mallory.say("hello", "C0SHARED")).payload
    assert (said["team_id"], said["event"]["user_team"], said["is_ext_shared_channel"]) == ("T0ACME", "T0OTHER", True)
    press = (await mallory.press(sim.messages("C0SHARED")[0], "Approve")).payload
    assert (press["team"]["id"], press["user"]["team_id"]) == ("T0OTHER", "T0OTHER")
    forged = (await sim.user("U01ALICE").say("hello", from_team="T0OTHER")).payload
    assert forged["team_id"] == forged["authorizations"][0]["team_id"] == "T0OTHER"


async def test_the_apps_own_posts_come_back_when_it_reads_the_channel() -> None:
    async with SlackSim(echo=True) as sim, app_over_http(sim) as seen:
        await client_of(sim).chat_postMessage(channel="C0OPS", text="mine")
        echo = await sim.journal.wait_for(lambda entry: entry.direction == "out")
        assert echo.status == 200 and echo.body["event"]["bot_id"] == "B0SAYSO"
        assert len(seen) <= 1


async def test_a_response_url_is_good_five_times(sim: SlackSim) -> None:
    from slack_sdk.webhook.async_client import AsyncWebhookClient

    sim.deliver_to = "http://127.0.0.1:9"
    alice = sim.user("U01ALICE")
    url = (await alice.slash("/sayso", "x")).payload["response_url"]
    answers = [(await AsyncWebhookClient(url).send(text=str(n))).status_code for n in range(6)]
    assert answers == [200] * 5 + [404] and len(sim.ephemeral("U01ALICE")) == 5


def keys(value: dict[str, Any]) -> set[str]:
    return set(value)


@recorded
async def test_our_payloads_have_the_fields_of_recorded_ones(sim: SlackSim) -> None:
    """A recorded payload may lack what Slack added since; it must have nothing that ours lack."""

    def sample(name: str) -> dict[str, Any]:
        payload: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text())["payload"]
        return payload

    sim.deliver_to = "http://127.0.0.1:9"
    alice = sim.user("U01ALICE", "alice")
    grid = {"enterprise_id", "enterprise_name"}
    await client_of(sim).chat_postMessage(channel="C0OPS", text="card", blocks=CARD)
    sockets = {
        one.get("type"): one for one in json.loads((SAMPLES / "socket_mode_envelopes.json").read_text())["payload"]
    }
    said = (await alice.say("Hello World!", "C0OPS")).payload
    told = sample("message_bot")
    assert keys(told) - keys(said) <= grid and keys(told["event"]) == keys(said["event"])
    thread = (await alice.broadcast("also here", "C0OPS", said["event"]["ts"])).payload["event"]
    assert keys(sample("message_thread_broadcast")["event"]) == keys(thread)
    press = (await alice.press(sim.messages("C0OPS")[0], "Approve")).payload
    told = sample("block_actions")
    assert keys(told) <= keys(press) and keys(told["actions"][0]) <= keys(press["actions"][0])
    assert keys(told["container"]) == keys(press["container"]) and keys(told["user"]) == keys(press["user"])
    slash = (await alice.slash("/sayso", "Hi")).payload
    assert keys(sample("slash_command")) - keys(slash) <= grid
    assert keys(sockets["slash_commands"]["payload"]) <= keys(slash)
    opened = await client_of(sim).views_open(trigger_id=sim.world.trigger(alice.id), view=MODAL)
    submit = (await alice.submit(opened["view"]["id"], {"reason": "x"})).payload
    told = sample("view_submission")
    assert keys(told) <= keys(submit) and keys(told["view"]) <= keys(submit["view"])
    changed = (await alice.edit(said["event"]["ts"], "updated", "C0OPS")).payload["event"]
    assert keys(sample("message_changed")["event"]) == keys(changed)
    gone = (await alice.delete(said["event"]["ts"], "C0OPS")).payload["event"]
    assert keys(sample("message_deleted")["event"]) == keys(gone)


@recorded
@pytest.mark.parametrize(
    ("name", "kind"),
    [("block_actions", "block_actions"), ("message", "message"), ("message_thread_broadcast", "thread_broadcast")],
)
def test_the_schemas_we_check_by_take_recorded_payloads(name: str, kind: str) -> None:
    payload = json.loads((SAMPLES / f"{name}.json").read_text())["payload"]
    assert inbound_problems(kind, payload.get("event", payload)) == []


def test_the_schemas_we_check_by_refuse_what_is_not_a_payload() -> None:
    assert inbound_problems("block_actions", {"type": "block_actions"}) != []
    assert inbound_problems("message", {"type": "message", "text": "x"}) != []
