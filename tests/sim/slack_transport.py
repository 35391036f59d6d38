"""The two ways by which Slack reaches an app: signed HTTP posts, and Socket Mode.

Both offer the same `deliver`, so that a person's verbs need not know which one is in use. Nothing is retried by itself
over HTTP; over a socket an event that was not acknowledged is sent again to the next connection, as Slack does.
"""

import asyncio
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

from aiohttp import WSMsgType, web

from tests.sim.slack_world import Body

if TYPE_CHECKING:
    from tests.sim.slack import SlackSim

ACK_DEADLINE_S = 3.0
RETRIES = 3
# A client whose connection was replaced may still acknowledge over the new one.
LATE_ACK_S = 0.5

Kind = Literal["events_api", "interactive", "slash_commands"]


@dataclass(frozen=True)
class Delivery:
    """One payload sent to the app and what came back within Slack's three seconds.

    `status` is the HTTP status; 200 for a socket's acknowledgement; 0 when nothing came back in time.
    """

    kind: Kind
    payload: Body
    status: int = 0
    elapsed_s: float = 0.0
    text: str = ""
    ts: str = ""
    twin: "Delivery | None" = None

    @property
    def acked(self) -> bool:
        return 200 <= self.status < 300

    @property
    def answer(self) -> Body | None:
        """The JSON that the app acknowledged with, if any."""
        try:
            body = json.loads(self.text)
        except ValueError:
            return None
        return body if isinstance(body, dict) else None


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Slack's v0 request signature."""
    base = b"v0:" + timestamp.encode() + b":" + body
    return "v0=" + hmac.new(secret.encode(), base, hashlib.sha256).hexdigest()


def encode(kind: Kind, payload: Body) -> tuple[bytes, str]:
    """The body and content type in which Slack posts this payload."""
    if kind == "events_api":
        return json.dumps(payload).encode(), "application/json"
    fields = {"payload": json.dumps(payload)} if kind == "interactive" else payload
    return urlencode(fields).encode(), "application/x-www-form-urlencoded"


class HttpTransport:
    """Posts to `{deliver_to}/slack/events`; `post` is the raw form for everything that Slack would not send."""

    def __init__(self, sim: "SlackSim") -> None:
        self.sim = sim

    async def deliver(self, kind: Kind, payload: Body, retry_num: int = 0, reason: str = "http_timeout") -> Delivery:
        body, content_type = encode(kind, payload)
        retry = {"X-Slack-Retry-Num": str(retry_num), "X-Slack-Retry-Reason": reason} if retry_num else {}
        status, text, elapsed_s = await self.post(body, content_type, headers=retry)
        return Delivery(kind, payload, status, elapsed_s, text)

    async def post(
        self,
        body: bytes,
        content_type: str = "application/json",
        *,
        secret: str | None = None,
        timestamp_offset_s: float = 0,
        headers: dict[str, str] | None = None,
        without: Iterable[str] = (),
    ) -> tuple[int, str, float]:
        """(status, text, seconds); sign with another secret, shift the clock, replace or leave out headers."""
        timestamp = str(int(time.time() + timestamp_offset_s))
        sent = {
            "Content-Type": content_type,
            "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
            "X-Slack-Request-Timestamp": timestamp,
            "X-Slack-Signature": signature(secret or self.sim.signing_secret, timestamp, body),
            **(headers or {}),
        }
        for name in without:
            sent.pop(name)
        return await self.sim.line.post(f"{self.sim.deliver_to.rstrip('/')}/slack/events", sent, data=body)


@dataclass
class _Unacked:
    payload: Body
    attempt: int


class SocketTransport:
    """The server side of Socket Mode: hello, envelopes, acknowledgements, disconnect."""

    def __init__(self, sim: "SlackSim") -> None:
        self.sim = sim
        self.connections: list[web.WebSocketResponse] = []
        self._acks: dict[str, tuple[web.WebSocketResponse | None, asyncio.Future[Any]]] = {}
        self._unacked: list[_Unacked] = []
        self._grew = asyncio.Event()
        self._redeliveries: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._grew = asyncio.Event()

    async def stop(self) -> None:
        for task in self._redeliveries:
            task.cancel()
        await self.drop_connections()

    async def link(self, request: web.Request) -> web.StreamResponse:
        if not self.sim.spend_ticket(request.query.get("ticket", "")):
            return web.Response(status=400, text="this link was used or never given out")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections.append(socket)
        await socket.send_json(
            {
                "type": "hello",
                "num_connections": len(self.connections),
                "debug_info": {"host": "applink-sim", "build_number": 10, "approximate_connection_time": 18060},
                "connection_info": {"app_id": self.sim.world.app},
            }
        )
        self._grew.set()
        self._resend()
        try:
            async for frame in socket:
                if frame.type == WSMsgType.TEXT:
                    self._receive(frame.data)
        finally:
            self.connections.remove(socket)
            self._give_up(socket)
        return socket

    def _give_up(self, socket: web.WebSocketResponse) -> None:
        """What was sent over a connection that is gone will hardly be acknowledged any more."""
        sent = [ack for used, ack in self._acks.values() if used is socket]
        asyncio.get_running_loop().call_later(LATE_ACK_S, _fail, sent)

    def _receive(self, text: str) -> None:
        try:
            body = json.loads(text)
        except ValueError:
            return
        _, waiting = self._acks.pop(str(body.get("envelope_id")), (None, None))
        if waiting is not None and not waiting.done():
            waiting.set_result(body.get("payload"))

    def _resend(self) -> None:
        pending, self._unacked = self._unacked, []
        for one in pending:
            task = asyncio.create_task(self._again(one))
            self._redeliveries.add(task)
            task.add_done_callback(self._redeliveries.discard)

    async def _again(self, one: _Unacked) -> None:
        again = await self.deliver("events_api", one.payload, one.attempt, "timeout")
        self.sim.note_delivery(again, f"redelivered, attempt {one.attempt}")

    async def deliver(self, kind: Kind, payload: Body, retry_num: int = 0, reason: str = "timeout") -> Delivery:
        """Sends one envelope to the newest connection; an event that nobody takes is kept for the next one."""
        begun = time.monotonic()
        used, ack = await self._exchange(kind, payload, retry_num, reason if retry_num else "")
        if ack is None:
            if kind == "events_api" and retry_num < RETRIES:
                self._unacked.append(_Unacked(payload, retry_num + 1))
                # A client that came back meanwhile will not connect again just for this.
                if self.connections and self.connections[-1] is not used:
                    self._resend()
            return Delivery(kind, payload, 0, time.monotonic() - begun)
        return Delivery(kind, payload, 200, time.monotonic() - begun, json.dumps(ack[0]) if ack[0] else "")

    async def _exchange(
        self, kind: Kind, payload: Body, attempt: int, reason: str
    ) -> tuple[web.WebSocketResponse | None, tuple[Any] | None]:
        """(the connection that was used, if any; what was acknowledged, if it was)."""
        envelope: Body = {
            "envelope_id": str(uuid.uuid4()),
            "payload": payload,
            "type": kind,
            "accepts_response_payload": kind != "events_api",
        }
        if kind == "events_api":
            envelope |= {"retry_attempt": attempt, "retry_reason": reason}
        deadline = time.monotonic() + self.sim.ack_deadline_s
        ack: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        used = None
        try:
            await self.wait_connected(self.sim.ack_deadline_s)
            used = self.connections[-1]
            self._acks[envelope["envelope_id"]] = (used, ack)
            await used.send_json(envelope)
            return used, (await asyncio.wait_for(ack, max(0.0, deadline - time.monotonic())),)
        except (TimeoutError, ConnectionError):
            return used, None
        finally:
            self._acks.pop(envelope["envelope_id"], None)

    async def disconnect(self, reason: str = "refresh_requested") -> None:
        """Asks every client to connect anew, as Slack does before it closes (warning, refresh_requested, …)."""
        for socket in list(self.connections):
            await socket.send_json({"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-sim"}})

    async def drop_connections(self) -> None:
        """Closes every socket without a word."""
        for socket in list(self.connections):
            await socket.close()

    async def wait_connected(self, timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not self.connections:
            self._grew.clear()
            await asyncio.wait_for(self._grew.wait(), max(0.0, deadline - time.monotonic()))


def with_ts(delivery: Delivery, ts: str, twin: Delivery | None = None) -> Delivery:
    return replace(delivery, ts=ts, twin=twin)


def _fail(acks: list[asyncio.Future[Any]]) -> None:
    for ack in acks:
        if not ack.done():
            ack.set_exception(ConnectionError("the connection closed before the acknowledgement"))
            ack.exception()
