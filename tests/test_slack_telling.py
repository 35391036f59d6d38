"""What only one person is told in Slack: in the place itself, else by the press's own address, else in private."""

from __future__ import annotations

from pathlib import Path

from core.db import Pool
from tests.sim.faults import DROP_BEFORE, delay, status
from tests.slack_house import SlackHouse, open_slack_house

DELETE = "do files.delete paths=old.log"
HERE, URL = "chat.postEphemeral", "response_url"
FAULTS = (status(429, 60), status(500), DROP_BEFORE)
WAYS = (
    *(({HERE: fault}, "C0OPS") for fault in (*FAULTS, delay(0.05))),
    *(({HERE: status(404), URL: status(code)}, "D01EVE") for code in (404, 429, 500)),
    ({HERE: status(404), URL: DROP_BEFORE}, "C0OPS"),  # tried again by Slack's own client
)


def told_at(slack: SlackHouse) -> list[str]:
    """Where Eve was told that she may not decide, each time."""
    mine = [one for one in slack.sim.world.posted if one.ephemeral_to == slack.eve.id or one.channel == slack.eve.im]
    return [one.channel for one in mine if "Not decided" in one.everything()]


async def test_whoever_is_to_be_told_something_is_told_once_by_the_next_way(db: Pool, tmp_path: Path) -> None:
    async with open_slack_house(db, tmp_path, "http") as slack:
        await slack.ann.mention(DELETE, "C0OPS")
        _, card = await slack.ask()
        expected: list[str] = []
        for faults, place in WAYS:
            for method, fault in faults.items():
                slack.sim.faults.add(method, 1, fault)
            await slack.eve.press(card, "Approve")
            expected.append(place)
            await slack.until(lambda: len(told_at(slack)) >= len(expected))
            assert slack.sim.faults.unmet() == []
        assert told_at(slack) == expected
