"""The same request again and again, on every way in: what it did once it never does twice. And phones that guess."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from core.db import Pool
from core.store import clock
from tests.four_channels import NUMBERS, Four, open_four, phone_of
from tests.review_question import EVERYTHING, Copy, Question, Row
from tests.web_house import unique

TIMES = 20
# Of each kind: messages by three ways, presses by two, and texts. All of it are 200 requests; a run in between does a quarter.
MESSAGES, PRESSES, TEXTS = (40, 32, 16) if EVERYTHING else (10, 8, 4)
DO = "do files.list pattern=*.log"
GUESSES, AT_ONCE = 1000 if EVERYTHING else 250, 50

Again = Callable[[], Awaitable[Any]]


@pytest.fixture
async def four(db: Pool, tmp_path: Path) -> AsyncIterator[Four]:
    async with open_four(db, tmp_path) as opened:
        yield opened


async def asked(four: Four, channel: str, **asks: Any) -> Copy:
    return await Question(four, Row(1, "", {"people": ["ann"], "roles": [], **asks}, (), "", {})).ask(channel)


async def said_in_slack(four: Four) -> Again:
    first = await four.slack.user(f"U{NUMBERS['ann']}").say(DO)
    return lambda: four.slack.deliver("events_api", first.payload)


async def said_in_telegram(four: Four) -> Again:
    first = await four.telegram.user(NUMBERS["ann"]).say(DO)
    return lambda: four.telegram.redeliver(first)


async def said_over_the_api(four: Four) -> Again:
    key = unique()

    async def say() -> None:
        answer = await four.web("ann").post("/api/intents", json={"text": DO, "idempotency_key": key})
        assert answer.status_code == 202, answer.text

    await say()
    return say


async def pressed_in_slack(four: Four) -> Again:
    copy = await asked(four, "slack")
    await four.deliver()
    payload = four.slack_press(four.slack.user(f"U{NUMBERS['ann']}").member, copy.approval, "sayso:approve")
    assert (await four.slack.deliver("interactive", payload)).acked
    return lambda: four.slack.deliver("interactive", payload)


async def pressed_in_telegram(four: Four) -> Again:
    copy = await asked(four, "telegram")
    data = f"a:{copy.approval.replace('-', '')}:approve"
    first = await four.telegram.user(NUMBERS["ann"]).press_data(four.telegram_card(copy.approval), data)
    return lambda: four.telegram.redeliver(first)


async def texted(four: Four) -> Again:
    copy = await asked(four, "sms")
    await four.deliver()
    code = await four.code("ann", copy.approval)
    first = await four.twilio.phone(phone_of("ann")).say(f"OK {code}")
    return lambda: four.twilio.redeliver(first)


async def test_each_request_replayed_20_times_has_one_effect(four: Four) -> None:
    kinds: dict[Callable[[Four], Awaitable[Again]], int] = {
        pressed_in_slack: PRESSES, pressed_in_telegram: PRESSES, texted: TEXTS,
        said_in_slack: MESSAGES, said_in_telegram: MESSAGES, said_over_the_api: MESSAGES,
    }  # fmt: skip
    assert sum(kinds.values()) == (200 if EVERYTHING else 50)
    for request, count in kinds.items():
        for _ in range(count):
            again = await request(four)
            await asyncio.gather(*(again() for _ in range(TIMES - 1)))
    made = await four.db.fetchval("select count(*) from tasks where goal like 'do files.list%' or goal like 'List%'")
    decided = await four.db.fetchval("select count(*) from decisions")
    assert (made, decided) == (3 * MESSAGES, 2 * PRESSES + TEXTS)
    assert await four.db.fetchval("select count(*) from approvals where status = 'approved'") == 2 * PRESSES + TEXTS
    assert await four.db.fetchval("select count(*) from tasks") == 3 * MESSAGES + 2 * PRESSES + TEXTS


# ---------------------------------------------------------------- phones


async def test_guesses_forged_senders_other_codes_and_wrong_signatures_decide_nothing(four: Four) -> None:
    first, second = [await asked(four, "sms", minutes=7 * 24 * 60) for _ in range(2)]
    await four.deliver()
    codes = [await four.code("ann", copy.approval) for copy in (first, second)]
    assert all(codes) and codes[0] != codes[1]
    phones = [four.twilio.phone(number) for number in (phone_of("ann"), phone_of("emil"), "+15559990000")]

    for n in range(0, GUESSES, AT_ONCE):
        await clock.move(four.db, _ahead(n))
        await asyncio.gather(*(phones[i % 3].say(f"OK {_guess(n + i)}") for i in range(AT_ONCE)))
    assert await four.db.fetchval("select count(*) from decisions") == 0
    tried = await four.db.fetchval("select count(*) from sms_wrong")
    assert tried <= 2 * 5 * (GUESSES // AT_ONCE), "five tries a phone in ten minutes, the others were not even compared"

    await clock.move(four.db, _ahead(GUESSES))
    for phone in phones[1:]:  # the right code from a number to which it did not go
        await phone.say(f"OK {codes[0]}")
    for key, algorithm in (("another key", "sha1"), ("another key", "sha256"), (four.twilio.token, "sha256")):
        assert await _posted(four, f"OK {codes[0]}", key, algorithm) == 403
    assert await four.db.fetchval("select count(*) from decisions") == 0

    right = await four.twilio.phone(phone_of("ann")).say(f"OK {codes[0]}")
    for _ in range(TIMES):
        await four.twilio.redeliver(right)
        await four.twilio.phone(phone_of("ann")).say(f"OK {codes[0]}")
    statuses = await four.db.fetch("select id::text, status from approvals")
    assert {row["id"]: row["status"] for row in statuses} == {first.approval: "approved", second.approval: "pending"}
    assert await four.db.fetchval("select count(*) from decisions") == 1


def _ahead(n: int) -> timedelta:
    """So that the lock of ten minutes is over after each round."""
    return timedelta(minutes=11 * n / AT_ONCE)


def _guess(n: int) -> str:
    letters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    return "".join(letters[(n * 7919 + i * 104729) % 32] for i in range(8))


async def _posted(four: Four, body: str, key: str, algorithm: Any) -> int:
    """As Twilio would send it, signed with another key or another algorithm than was agreed."""
    url = f"{four.twilio.deliver_to}/twilio/sms"
    form = [
        ("MessageSid", "SM" + unique()[:32]), ("AccountSid", four.twilio.account), ("From", phone_of("ann")), ("Body", body)
    ]  # fmt: skip
    signed = four.twilio.signed(url, form, key=key, algorithm=algorithm)
    status, _, _ = await four.twilio.post(url, urlencode(form).encode(), signed)
    return status
