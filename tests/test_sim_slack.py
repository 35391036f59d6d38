"""The Slack stand-in's two transports and a person's verbs, met by a real Bolt app.

What is sent must be what Slack sends: payloads are compared with recorded ones where $SAYSO_SPECS has them.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.patience import PATIENCE_S
from tests.sim.slack import SlackSim
from tests.sim.slack_check import inbound_problems
from tests.sim.slack_example import CARD, MODAL, app_over_http, app_over_socket, client_of, running_app
from tests.test_slack_translate import payloads

SAMPLES = Path(os.environ.get("SAYSO_SPECS", "../shared/specs")) / "samples" / "slack"
recorded = pytest.mark.skipif(not SAMPLES.is_dir(), reason="no recorded payloads: set SAYSO_SPECS")


@pytest.fixture
async def sim() -> AsyncIterator[SlackSim]:
    async with SlackSim() as running:
        yield running


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
        sim.ack_deadline_s = PATIENCE_S
        async with app_over_socket(sim) as seen:
            again = await sim.journal.wait_for(lambda entry: entry.note == "redelivered, attempt 1")
            assert again.status == 200
            assert seen[0]["event_id"] == lost.payload["event_id"]


async def test_an_event_in_flight_when_the_connection_dies_comes_to_the_next_one() -> None:
    """The app that held it never answers; the one that connects meanwhile gets it, under the same event id."""
    async with (
        SlackSim(mode="socket") as sim,
        aiohttp.ClientSession() as session,
        session.ws_connect(sim.socket_url()) as dead,
    ):
        assert (await dead.receive_json())["type"] == "hello"
        saying = asyncio.create_task(sim.user("U01ALICE").say("hello"))
        held = await dead.receive_json()
        async with app_over_socket(sim) as seen:
            await dead.close()
            assert (await saying).status == 0
            await sim.journal.wait_for(lambda entry: entry.note == "redelivered, attempt 1" and entry.status == 200)
            assert seen[0]["event_id"] == held["payload"]["event_id"] and held["retry_attempt"] == 0


async def test_a_press_that_was_not_acknowledged_is_gone() -> None:
    async with SlackSim(mode="socket", ack_deadline_s=0.1) as sim:
        alice = sim.user("U01ALICE", "alice")
        await client_of(sim).chat_postMessage(channel=alice.im, text="card", blocks=CARD)
        pressed = await alice.press(alice.messages()[-1], "Approve")
        assert pressed.status == 0
        sim.ack_deadline_s = PATIENCE_S
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


@pytest.mark.parametrize(
    ("name", "kind"),
    [("block_actions", "block_actions"), ("message", "message"), ("message_thread_broadcast", "thread_broadcast")],
)
def test_the_schemas_we_check_by_take_what_slack_sends(name: str, kind: str) -> None:
    found = {problem for one in payloads(name) for problem in inbound_problems(kind, one.get("event", one))}
    assert found == set()


def test_the_schemas_we_check_by_refuse_what_is_not_a_payload() -> None:
    assert inbound_problems("block_actions", {"type": "block_actions"}) != []
    assert inbound_problems("message", {"type": "message", "text": "x"}) != []
