"""Slack's HTTP way in refuses whatever Slack did not sign, with a 4xx, and without a trace in the database."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.slack.signature import Refused, judged, parsed, signed
from core import config
from core.db import Pool
from tests.patience import PATIENCE_S
from tests.slack_house import SlackHouse, open_slack_house

SECRET = "sim-signing-secret"
EVENT = json.dumps(
    {
        "type": "event_callback",
        "team_id": "T0ACME",
        "event_id": "Ev77",
        "event": {"type": "message", "user": "U01ALICE", "channel": "D1", "ts": "1.1", "text": "do files.list"},
    }
).encode()


@pytest.fixture
async def slack(db: Pool, tmp_path: Path) -> AsyncIterator[SlackHouse]:
    async with open_slack_house(db, tmp_path, "http") as opened:
        yield opened


async def nothing_changed(slack: SlackHouse) -> bool:
    return [await slack.count(t) for t in ("inbound", "conversations", "tasks", "outbox", "decisions")] == [0] * 5


# ---------------------------------------------------------------- over the wire


async def test_the_challenge_is_answered(slack: SlackHouse) -> None:
    body = json.dumps({"type": "url_verification", "challenge": "c1", "token": "x"}).encode()
    status, text, _ = await slack.sim.http.post(body)
    assert (status, json.loads(text)) == (200, {"challenge": "c1"})


async def test_a_signed_event_is_taken_and_the_same_one_twice_is_one(slack: SlackHouse) -> None:
    for _ in range(2):
        assert (await slack.sim.http.post(EVENT))[0] == 200
    assert await slack.count("inbound") == 1


@pytest.mark.parametrize("offset_s", [-301, 400, -86_400, 10**9])
async def test_a_stale_or_future_timestamp_is_refused(slack: SlackHouse, offset_s: int) -> None:
    assert (await slack.sim.http.post(EVENT, timestamp_offset_s=offset_s))[0] == 401
    assert await nothing_changed(slack)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Slack-Signature": "v0=" + "0" * 64},
        {"X-Slack-Signature": "v0=" + "A" * 64},
        {"X-Slack-Signature": ""},
        {"X-Slack-Signature": "v1=" + "0" * 64},
        {"X-Slack-Signature": "é" * 67},
        {"X-Slack-Request-Timestamp": "now"},
        {"X-Slack-Request-Timestamp": "-5"},
        {"X-Slack-Request-Timestamp": "1e9"},
        {"X-Slack-Request-Timestamp": "９" * 10},
        {"X-Slack-Request-Timestamp": "9" * 400},
        {"X-Slack-Request-Timestamp": ""},
    ],
)
async def test_wrong_headers_are_refused(slack: SlackHouse, headers: dict[str, str]) -> None:
    assert (await slack.sim.http.post(EVENT, headers=headers))[0] == 401
    assert await nothing_changed(slack)


@pytest.mark.parametrize("name", ["X-Slack-Signature", "X-Slack-Request-Timestamp"])
async def test_a_missing_header_is_refused(slack: SlackHouse, name: str) -> None:
    assert (await slack.sim.http.post(EVENT, without=[name]))[0] == 401
    assert await nothing_changed(slack)


async def test_another_secret_is_refused(slack: SlackHouse) -> None:
    assert (await slack.sim.http.post(EVENT, secret="guessed"))[0] == 401
    assert await nothing_changed(slack)


async def test_a_body_over_the_limit_is_refused(slack: SlackHouse) -> None:
    assert (await slack.sim.http.post(b"x" * (config.BODY_BYTES + 1)))[0] == 413
    assert await nothing_changed(slack)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"", "application/json"),
        (EVENT, "text/plain"),
        (b"payload=%7B", "application/x-www-form-urlencoded"),
        (b"payload=5", "application/x-www-form-urlencoded"),
        (b"a=b", "application/x-www-form-urlencoded"),
        (b"payload=%FF", "application/x-www-form-urlencoded"),
        (b"&".join([b"a=1"] * 500), "application/x-www-form-urlencoded"),
        (b'{"event": 5, "authorizations": 7}', "application/json"),
    ],
)
async def test_a_signed_body_that_cannot_be_read_is_refused(slack: SlackHouse, body: bytes, content_type: str) -> None:
    assert 400 <= (await slack.sim.http.post(body, content_type))[0] < 500
    assert await nothing_changed(slack)


async def test_a_command_cannot_pose_as_an_event(slack: SlackHouse) -> None:
    form = urlencode({"type": "event_callback", "command": "/sayso", "event": "{}"}).encode()
    assert (await slack.sim.http.post(form, "application/x-www-form-urlencoded"))[0] == 200
    assert await nothing_changed(slack)


async def test_doubled_and_raw_headers_are_refused(slack: SlackHouse) -> None:
    """Below any client's manners, on the socket itself."""
    address = urlsplit(slack.sim.deliver_to)
    right = signed(b"1", EVENT, SECRET)
    for lines in (
        [b"X-Slack-Signature: " + right, b"X-Slack-Signature: " + right, b"X-Slack-Request-Timestamp: 1"],
        [b"X-Slack-Signature: \xff\xfe", b"X-Slack-Request-Timestamp: \xe2\x80\xae1"],
    ):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        head = [b"POST /slack/events HTTP/1.1", b"Host: x", b"Content-Type: application/json",
                b"Content-Length: %d" % len(EVENT), b"Connection: close", *lines]  # fmt: skip
        writer.write(b"\r\n".join(head) + b"\r\n\r\n" + EVENT)
        answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
        writer.close()
        assert answer.split(b" ")[1] == b"401"
    assert await nothing_changed(slack)


async def test_a_thousand_mutated_requests_change_nothing(slack: SlackHouse) -> None:
    """Each is off by one byte from one that would be taken: in the body, the signature or the timestamp."""
    dice = random.Random(7)
    for _ in range(1000):
        stamp = str(int(time.time())).encode()
        parts = [bytearray(EVENT), bytearray(signed(stamp, EVENT, SECRET)), bytearray(stamp)]
        part = dice.choice(parts)
        at = dice.randrange(len(part))
        part[at] = dice.choice([byte for byte in range(33, 127) if byte != part[at]])
        headers = {"X-Slack-Signature": parts[1].decode(), "X-Slack-Request-Timestamp": parts[2].decode()}
        assert (await slack.sim.http.post(bytes(parts[0]), headers=headers))[0] == 401
    assert await nothing_changed(slack)


async def test_before_we_know_who_we_are_slack_is_asked_to_come_again(db: Pool, tmp_path: Path) -> None:
    async with open_slack_house(db, tmp_path, "http", run=False) as slack:
        assert (await slack.sim.http.post(EVENT))[0] == 503
        assert await nothing_changed(slack)


async def test_without_a_signing_secret_nothing_is_taken(db: Pool, tmp_path: Path) -> None:
    async with open_slack_house(db, tmp_path, "socket", slack_signing_secret=None) as slack:
        assert (await slack.sim.http.post(EVENT))[0] == 401
        assert await nothing_changed(slack)


async def test_socket_and_http_share_one_memory_of_deliveries(db: Pool, tmp_path: Path) -> None:
    async with open_slack_house(db, tmp_path, "socket") as slack:
        delivery = await slack.ann.say("do files.list")
        for _ in range(20):
            assert (await slack.sim.redeliver(delivery)).acked
        assert (await slack.sim.http.post(json.dumps(delivery.payload).encode()))[0] == 200
        assert await slack.count("tasks") == 1


# ---------------------------------------------------------------- the pure part


def headers(stamp: bytes, signature: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"x-slack-request-timestamp", stamp), (b"x-slack-signature", signature)]


def test_the_signature_is_slacks_own_published_example() -> None:
    """https://docs.slack.dev/authentication/verifying-requests-from-slack: the HMAC is over v0:timestamp:body."""
    body, stamp = b"token=x&command=%2Fweather", b"1531420618"
    mac = hmac.new(b"8f742231b10e8888abcd99yyyzzz85a5", b"v0:1531420618:" + body, hashlib.sha256).hexdigest()
    assert signed(stamp, body, "8f742231b10e8888abcd99yyyzzz85a5") == b"v0=" + mac.encode()


@pytest.mark.parametrize(("skew_s", "good"), [(-300, True), (300, True), (-301, False), (301, False)])
def test_five_minutes_off_is_the_limit_in_both_directions(skew_s: int, good: bool) -> None:
    stamp = b"1700000000"
    found = judged(headers(stamp, signed(stamp, b"{}", SECRET)), b"{}", SECRET, 1_700_000_000 + skew_s)
    assert (found is None) == good


@given(
    st.lists(st.tuples(st.sampled_from([b"x-slack-signature", b"x-slack-request-timestamp", b"a"]), st.binary())),
    st.binary(),
)
def test_nothing_unsigned_passes_and_nothing_raises(given_headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    found = judged(given_headers, body, SECRET, 1_700_000_000)
    assert isinstance(found, Refused)
    assert found.status == 401


@given(
    st.binary(max_size=200), st.sampled_from([b"application/json", b"application/x-www-form-urlencoded", b"", b"\xff"])
)
def test_any_body_is_an_object_or_refused(body: bytes, kind: bytes) -> None:
    found = parsed([(b"content-type", kind)], body)
    assert isinstance(found, dict) or found.status == 400
