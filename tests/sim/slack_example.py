"""A small real Bolt app for the tests of the Slack stand-in, and what it shows.

It answers a DM with a card, a press with an edit, /sayso with a text, Deny with a modal. It stands in for no part of
ours: its only purpose is that the stand-in meets the real SDKs, over both transports.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from tests.sim.slack import SlackSim
from tests.sim.slack_people import Person


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
