"""Seven kinds of wrong presser on four channels: none of them decides anything, and the right one still can afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.db import Pool
from tests.four_channels import CHANNELS, Four, open_four
from tests.review_play import happened
from tests.review_question import Copy, Question, Row, fresh

FOREIGN = "+15559990000"
# Who presses wrongly, what is asked (see tests/review_table.yaml), and what happens to people before they press.
WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "a stranger": ("stranger", {}, ""),
    "somebody with another role": ("emil", {}, ""),
    "the requester, with four eyes": ("ann", {"by": "ann", "four_eyes": True}, ""),
    "the requester's second account, with four eyes": ("bob", {"by": "bob2", "four_eyes": True}, "bob2 is bob"),
    "a service with the right role": ("robot", {}, ""),
    "the right account of another workspace": ("elsewhere", {}, ""),
    "somebody who has left": ("bob", {}, "bob leaves"),
}


@pytest.fixture
async def four(db: Pool, tmp_path: Path) -> AsyncIterator[Four]:
    async with open_four(db, tmp_path) as opened:
        yield opened


async def press(four: Four, channel: str, key: str, copy: Copy, verdict: str) -> str:
    approval, digest = copy.shown[-1]
    if key != "elsewhere":
        return await four.answer(channel, key, approval, verdict, digest)
    match channel:
        case "slack":  # carl's user id, in a workspace that is not ours
            return await four.in_slack("carl", approval, verdict, team="T0EVIL")
        case "telegram":  # the data of our button under a message of another chat, by whoever is there
            return await four.in_telegram("stranger", approval, verdict)
        case "sms":  # the code that went to carl, from a number that is not his
            code = await four.code("carl", approval)
            assert code
            said = await four.twilio.phone(FOREIGN).say(f"{'OK' if verdict == 'approve' else 'NO'} {code}")
            return "refused" if "not linked" in "".join(said.said) or not said.said else "counted"
    return await four.on_web("elsewhere", approval, verdict, digest)


@pytest.mark.parametrize("kind", WRONG)
async def test_who_may_not_decides_nothing_anywhere_and_who_may_still_does(four: Four, kind: str) -> None:
    key, asks, before = WRONG[kind]
    await fresh(four)
    question = Question(four, Row(1, kind, asks, (), "approved", {}))
    copies = [await question.ask(channel) for channel in CHANNELS]
    await four.deliver()
    if before:
        assert await happened(four, *before.split(" ", 1))
    for copy in copies:
        for verdict in ("approve", "deny"):
            assert await press(four, copy.channel, key, copy, verdict) == "refused", (copy.channel, verdict)
    assert await four.db.fetchval("select count(*) from decisions") == 0
    assert await four.db.fetchval("select array_agg(distinct status) from approvals") == ["pending"]
    for copy in copies:
        assert await press(four, copy.channel, "carl", copy, "approve") == "counted", copy.channel
    assert await four.db.fetchval("select array_agg(distinct status) from approvals") == ["approved"]
    found = await four.db.fetch("select channel from decisions order by channel")
    assert [row["channel"] for row in found] == sorted(CHANNELS), "each by the channel's own way"
