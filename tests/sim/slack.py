"""A stand-in for Slack: one workspace on a local port, spoken to by the real SDKs.

`SlackSim` serves the Web API and delivers events over signed HTTP or Socket Mode; `sim.user(...)` gives people whose
verbs (slack_people) do what a person in Slack does. It judges requests by Slack's published schemas and keeps what it
refused in `violations`. It knows nothing of our code. By hand: `python -m tests.sim.slack` prints its addresses.
"""

import argparse
import asyncio
import contextlib
import secrets
from dataclasses import replace
from typing import Literal

from aiohttp import web

from tests.sim import slack_payloads as payloads
from tests.sim.clock import Clock
from tests.sim.journal import Journal
from tests.sim.line import Line, Site
from tests.sim.slack_api import SlackApi
from tests.sim.slack_people import Person
from tests.sim.slack_transport import ACK_DEADLINE_S, Delivery, HttpTransport, Kind, SocketTransport
from tests.sim.slack_world import Body, Channel, Member, Message, View, World

TEAM, CHANNEL = "T0ACME", "C0OPS"
# What was not acknowledged is delivered again at once, after a minute and after five.
REDELIVERED_AFTER_S = (0, 60, 300)


class SlackSim:
    """One workspace with one installed app. Give `deliver_to` (the app's base URL) for HTTP; it may be set later.

    `echo` sends the app its own posts back as events, as Slack does to an app that reads the channel. `redelivers`: an
    event that was not acknowledged comes again by itself, on the clock; one that a socket was given always does.
    """

    def __init__(
        self,
        mode: Literal["http", "socket"] = "http",
        deliver_to: str = "",
        signing_secret: str = "sim-signing-secret",
        *,
        bot_token: str = "xoxb-sim",
        app_token: str = "xapp-sim",
        enterprise: str | None = None,
        echo: bool = False,
        redelivers: bool = False,
        journal: Journal | None = None,
        clock: Clock | None = None,
        ack_deadline_s: float = ACK_DEADLINE_S,
    ) -> None:
        self.mode, self.deliver_to, self.signing_secret = mode, deliver_to, signing_secret
        self.bot_token, self.app_token = bot_token, app_token
        self.echo, self.redelivers, self.ack_deadline_s = echo, redelivers, ack_deadline_s
        self.line = Line("slack", journal, clock, ack_deadline_s)
        self.journal, self.faults, self.violations = self.line.journal, self.line.faults, self.line.violations
        self.lacks: dict[str, str] = {}  # methods that this workspace does not have, with the error that says so
        self.scopes = [
            "assistant:write",
            "chat:write",
            "commands",
            "files:read",
            "files:write",
            "im:history",
            "usergroups:read",
            "users:read",
        ]
        self.world = World(TEAM, "acme", enterprise, "U0SAYSO", "B0SAYSO", "A0SAYSO", self.line.clock)
        self.world.members["U0SAYSO"] = Member("U0SAYSO", "sayso", TEAM, is_bot=True)
        self.channel(CHANNEL, "ops")
        self.http, self.socket = HttpTransport(self), SocketTransport(self)
        self._api = SlackApi(self)
        self._tickets: set[str] = set()

    async def start(self, port: int = 0, site: Site | None = None) -> "SlackSim":
        routes = [*self._api.routes(), web.get("/link", self.socket.link)]
        await self.line.open(lambda app: app.add_routes(routes), site, port)
        await self.socket.start()
        return self

    async def stop(self) -> None:
        await self.socket.stop()
        await self.line.close()

    async def __aenter__(self) -> "SlackSim":
        return await self.start()

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @property
    def base_url(self) -> str:
        return self.line.url

    @property
    def api_url(self) -> str:
        """What SLACK_API_URL is to be."""
        return f"{self.base_url}/api/"

    def socket_url(self) -> str:
        """A single-use address, as apps.connections.open gives out."""
        ticket = secrets.token_hex(8)
        self._tickets.add(ticket)
        return f"ws{self.base_url.removeprefix('http')}/link?ticket={ticket}&app_id={self.world.app}"

    def spend_ticket(self, ticket: str) -> bool:
        known = ticket in self._tickets
        self._tickets.discard(ticket)
        return known

    def user(self, user_id: str, name: str | None = None, team: str | None = None) -> Person:
        """A person; `team` other than ours makes them a stranger who is here by Slack Connect."""
        member = self.world.members.get(user_id) or Member(user_id, name or user_id.lower(), team or self.world.team)
        self.world.members[user_id] = member
        return Person(self, member)

    def channel(
        self,
        channel_id: str,
        name: str,
        kind: Literal["channel", "group", "mpim"] = "channel",
        *,
        shared: bool = False,
        with_app: bool = True,
    ) -> Channel:
        members = {self.world.bot_user} if with_app else set()
        self.world.channels[channel_id] = Channel(channel_id, name, kind, members, shared)
        return self.world.channels[channel_id]

    def messages(self, channel: str) -> list[Message]:
        """What everybody sees in a channel or DM, oldest first; each with its `edits`."""
        return self.world.standing(channel)

    def ephemeral(self, user_id: str) -> list[Message]:
        return [one for one in self.world.posted if one.ephemeral_to == user_id and not one.deleted]

    def home(self, user_id: str) -> View | None:
        return self.world.homes.get(user_id)

    async def regroup(self, usergroup: str, *users: str, tell: bool = True) -> None:
        """From now on these people are in the user group; `tell`: the app hears of it."""
        before = set(self.world.usergroups.get(usergroup, []))
        self.world.usergroups[usergroup] = list(users)
        if tell:
            event = payloads.group_changed(self.world, usergroup, sorted({*users} - before), sorted(before - {*users}))
            await self.deliver("events_api", payloads.event_callback(self.world, event, None))

    async def deliver(self, kind: Kind, payload: Body, retry_num: int = 0, reason: str = "http_timeout") -> Delivery:
        """Sends one payload by the transport in use and writes down what came back."""

        came: list[Delivery] = []

        async def send() -> Delivery:
            if self.mode == "http":
                sent = await self.http.deliver(kind, payload, retry_num, reason)
            else:
                sent = await self.socket.deliver(kind, payload, retry_num, "timeout")
            came.append(sent)
            self.note_delivery(sent, f"retry {retry_num}" if retry_num else "")
            return sent

        delivery = await self.line.deliver(
            name_of(payload),
            payload,
            send,
            lambda status: Delivery(kind, payload, status),
            self.socket.drop_connections if self.mode == "socket" else None,
        )
        # What a socket did not acknowledge is kept by its transport; what was lost on the way to it is not.
        is_kept = self.mode == "socket" and bool(came) and not came[-1].acked
        if self.redelivers and kind == "events_api" and not retry_num and not delivery.acked and not is_kept:
            self.line.later(self._redeliver(payload))
        return delivery

    async def _redeliver(self, payload: Body) -> None:
        for number, pause_s in enumerate(REDELIVERED_AFTER_S, start=1):
            await self.line.clock.sleep(pause_s)
            if (await self.deliver("events_api", payload, number)).acked:
                return

    def note_delivery(self, delivery: Delivery, note: str = "") -> None:
        self.journal.write("slack", "out", name_of(delivery.payload), delivery.payload, delivery.status, note)

    async def redeliver(self, delivery: Delivery, retry_num: int = 1, reason: str = "http_timeout") -> Delivery:
        """The same event once more, as Slack sends it when it saw no answer. Presses and commands come only once."""
        assert delivery.kind == "events_api", "Slack does not redeliver interactions or commands"
        return replace(await self.deliver("events_api", delivery.payload, retry_num, reason), ts=delivery.ts)

    def after_call(self, method: str, answer: Body) -> None:
        if not (self.echo and method == "chat.postMessage"):
            return
        channel = self.world.channels[answer["channel"]]
        message = self.world.find(channel.id, answer["ts"])
        assert message is not None
        event = payloads.said(self.world, message, self.world.members[self.world.bot_user], channel)
        self.line.later(self.deliver("events_api", payloads.event_callback(self.world, event, channel)))


def name_of(payload: Body) -> str:
    """What a payload is called in the journal: the event's type, the interaction's, or the command."""
    return str(payload.get("event", {}).get("type") or payload.get("type") or payload.get("command", ""))


async def serve(mode: Literal["http", "socket"], deliver_to: str, port: int) -> None:
    """Runs until interrupted; each line typed is said by Alice in her DM, "!Approve" presses in the last message."""
    sim = await SlackSim(mode, deliver_to).start(port)
    try:
        alice = sim.user("U01ALICE", "alice")
        print(f"SLACK_API_URL={sim.api_url} SLACK_BOT_TOKEN={sim.bot_token} SLACK_MODE={mode}")
        print(f"SLACK_APP_TOKEN={sim.app_token} SLACK_SIGNING_SECRET={sim.signing_secret}")
        while line := (await asyncio.to_thread(input, "alice> ")).strip():
            if line.startswith("!"):
                delivery = await alice.press(alice.messages()[-1], line[1:])
            else:
                delivery = await alice.say(line)
            await asyncio.sleep(1)
            print(f"({delivery.status})", *(f"\n  {one.text}  {one.buttons()}" for one in alice.messages()[-3:]))
    finally:
        await sim.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for Slack, for use by hand.")
    parser.add_argument("--mode", choices=("http", "socket"), default="socket")
    parser.add_argument("--deliver-to", default="http://127.0.0.1:8080", help="base URL of the app, for --mode http")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt, EOFError):
        asyncio.run(serve(given.mode, given.deliver_to, given.port))


if __name__ == "__main__":
    main()
