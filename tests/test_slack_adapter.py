"""Slack by both transports, with the real Bolt app: say, mention, press; once, twice, by strangers, and when we break."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core import intake as core_intake
from core.db import Pool
from core.deps import Deps
from core.models import Channel, Decided, Duplicate, Inbound, Press, Received
from core.store.people import Principal
from tests.patience import PATIENCE_S
from tests.slack_house import Mode, SlackHouse, open_slack_house

DELETE = "do files.delete paths=old.log"
SILENCE_S = 0.5  # how long nothing is acknowledged that will not be


class Breaking:
    """The real intake, behind a database that is away for as long as `broken` says."""

    def __init__(self) -> None:
        self.broken = False

    def _may(self) -> None:
        if self.broken:
            raise ConnectionRefusedError("no database")

    async def receive(self, deps: Deps, inbound: Inbound) -> Received | Duplicate:
        self._may()
        return await core_intake.receive(deps, inbound)

    async def press(self, deps: Deps, pressed: Press) -> Decided:
        self._may()
        return await core_intake.press(deps, pressed)

    async def control(
        self, deps: Deps, person: Principal, task: int, verb: str, *, delivery: tuple[Channel, str] | None = None
    ) -> str:
        self._may()
        return await core_intake.control(deps, person, task, verb, delivery=delivery)


@pytest.fixture
def intake() -> Breaking:
    return Breaking()


@pytest.fixture(params=["http", "socket"])
def mode(request: pytest.FixtureRequest) -> Mode:
    chosen: Mode = request.param
    return chosen


@pytest.fixture
async def slack(db: Pool, tmp_path: Path, mode: Mode, intake: Breaking) -> AsyncIterator[SlackHouse]:
    async with open_slack_house(db, tmp_path, mode, intake=intake) as opened:
        yield opened


async def test_a_direct_message_is_committed_acknowledged_and_answered(slack: SlackHouse) -> None:
    delivery = await slack.ann.say("help")
    assert delivery.acked
    assert await slack.count("inbound") == 1
    await slack.deliver()
    assert "do" in slack.ann.messages()[-1].everything()


async def test_a_mention_makes_one_task_in_its_thread(slack: SlackHouse) -> None:
    delivery = await slack.ann.mention(DELETE, "C0OPS")
    assert delivery.acked
    assert delivery.twin is not None
    assert delivery.twin.acked
    assert await slack.count("tasks") == 1
    await slack.deliver()
    [card] = [one for one in slack.sim.messages("C0OPS") if one.bot_id]
    assert card.thread_ts == delivery.ts


async def test_a_press_decides_and_the_card_says_so(slack: SlackHouse) -> None:
    await slack.ann.mention(DELETE, "C0OPS")
    approval, card = await slack.ask()
    assert "old.log" in card.everything()
    assert (await slack.ann.press(card, "Approve")).acked
    assert await slack.status_of(approval) == "approved"
    await slack.delivered(lambda: "Approve" not in card.buttons())
    assert "Approved by Ann" in card.everything()
    assert slack.sim.ephemeral("U01ALICE") == []


async def test_a_loser_is_told_who_decided_and_nobody_else_is(slack: SlackHouse) -> None:
    await slack.ann.mention(DELETE, "C0OPS")
    approval, card = await slack.ask()
    await slack.ann.press(card, "Deny")
    assert (await slack.bob.press(card, "Approve", version=0)).acked
    told = await slack.told(slack.bob, "already denied by Ann")
    assert told.thread_ts == card.thread_ts
    assert await slack.status_of(approval) == "denied"
    assert slack.sim.ephemeral("U01ALICE") == []


async def test_who_may_not_decide_is_told_so(slack: SlackHouse) -> None:
    await slack.ann.mention(DELETE, "C0OPS")
    approval, card = await slack.ask()
    await slack.eve.press(card, "Approve")
    await slack.told(slack.eve, "Not decided")
    assert await slack.status_of(approval) == "pending"


async def test_the_same_delivery_twenty_times_is_one_task(slack: SlackHouse) -> None:
    first = await slack.ann.say(DELETE)
    for _ in range(19):
        assert (await slack.sim.redeliver(first)).acked
    assert await slack.count("tasks") == 1
    assert await slack.count("inbound") == 1


async def test_the_same_press_twenty_times_is_one_decision(slack: SlackHouse) -> None:
    await slack.ann.mention(DELETE, "C0OPS")
    _, card = await slack.ask()
    first = await slack.ann.press(card, "Approve")
    for _ in range(19):
        assert (await slack.sim.deliver("interactive", first.payload)).acked
    assert await slack.count("decisions") == 1
    assert slack.sim.ephemeral("U01ALICE") == []


async def test_what_could_not_be_committed_is_not_acknowledged_and_comes_again(
    slack: SlackHouse, intake: Breaking, mode: Mode
) -> None:
    intake.broken = True
    if mode == "socket":
        slack.sim.ack_deadline_s = SILENCE_S
    refused = await slack.ann.say(DELETE)
    assert refused.status == (500 if mode == "http" else 0)
    assert await slack.count("inbound") == 0
    intake.broken, slack.sim.ack_deadline_s = False, PATIENCE_S
    assert (await slack.sim.redeliver(refused)).acked
    assert await slack.count("tasks") == 1


async def test_a_press_that_could_not_be_committed_is_said_to_the_presser(slack: SlackHouse, intake: Breaking) -> None:
    await slack.ann.mention(DELETE, "C0OPS")
    approval, card = await slack.ask()
    intake.broken, slack.sim.ack_deadline_s = True, SILENCE_S
    assert not (await slack.ann.press(card, "Approve")).acked
    await slack.told(slack.ann, "Please press again")
    assert await slack.status_of(approval) == "pending"
    intake.broken, slack.sim.ack_deadline_s = False, PATIENCE_S
    assert (await slack.ann.press(card, "Approve")).acked
    assert await slack.status_of(approval) == "approved"


async def test_a_reply_in_the_thread_reaches_the_task_that_owns_it(slack: SlackHouse) -> None:
    delivery = await slack.ann.mention(DELETE, "C0OPS")
    await slack.ann.say("why", "C0OPS", delivery.ts)
    assert await slack.count("inbound") == 2
    other = await slack.ann.say("lunch?", "C0OPS")
    await slack.bob.say("yes", "C0OPS", other.ts)
    assert await slack.count("inbound") == 2


async def test_a_run_cards_button_steers_the_task(slack: SlackHouse) -> None:
    await slack.ann.say(DELETE)
    await slack.ask()
    [card] = [one for one in slack.ann.messages() if "Pause" in one.buttons()]
    assert (await slack.ann.press(card, "Pause")).acked
    await slack.until(lambda: slack.sim.ephemeral("U01ALICE"))
    assert await slack.db.fetchval("select status from tasks") == "paused"
    await slack.eve.press(card, "sayso:stop")
    await slack.told(slack.eve, "no such task")
    assert await slack.db.fetchval("select status from tasks") == "paused"


async def test_a_command_is_taken_and_answered_in_the_channel(slack: SlackHouse) -> None:
    delivery = await slack.ann.slash("/sayso", "tasks", "C0OPS")
    assert delivery.acked
    assert "Received" in delivery.text
    await slack.deliver()
    [answer] = [one for one in slack.sim.messages("C0OPS") if one.bot_id]
    assert answer.thread_ts is None


async def test_a_command_in_a_direct_conversation_is_answered_in_ours(slack: SlackHouse) -> None:
    assert (await slack.ann.slash("/sayso", "tasks")).acked
    await slack.deliver()
    assert [one for one in slack.sim.messages(slack.ann.im) if one.bot_id]


async def test_a_command_that_could_not_be_committed_is_said(slack: SlackHouse, intake: Breaking) -> None:
    slack.sim.ack_deadline_s = SILENCE_S
    slack.sim.channel("C0AWAY", "away", with_app=False)
    intake.broken = True
    assert not (await slack.ann.slash("/sayso", "tasks", "C0AWAY")).acked
    await slack.told(slack.ann, "Please say it again")


async def test_a_stranger_gets_a_code_in_private_and_only_words_in_public(slack: SlackHouse) -> None:
    mallory = slack.sim.user("U09MAL", "mallory")
    await mallory.say(DELETE)
    await mallory.mention(DELETE, "C0OPS")
    await slack.deliver()
    assert await slack.count("tasks") == 0
    assert await slack.count("pairings") == 1
    [public] = [one for one in slack.sim.messages("C0OPS") if one.bot_id]
    assert "I don't know you" in public.everything()


@pytest.mark.parametrize("way", ["say", "mention", "slash", "reply"])
async def test_another_workspace_starts_nothing(slack: SlackHouse, way: str) -> None:
    await slack.ann.mention(DELETE, "C0OPS")
    [thread] = [one.ts for one in slack.sim.messages("C0OPS")]
    before = await slack.count("tasks")
    match way:
        case "say":
            await slack.ann.say(DELETE, from_team="T0OTHER")
        case "mention":
            await slack.ann.mention(DELETE, "C0OPS", from_team="T0OTHER")
        case "slash":
            await slack.ann.slash("/sayso", DELETE, "C0OPS", from_team="T0OTHER")
        case "reply":
            await slack.ann.say("stop", "C0OPS", thread, from_team="T0OTHER")
    assert await slack.count("tasks") == before
    assert await slack.db.fetchval("select bool_and(status in ('queued', 'planning', 'running')) from tasks")


async def test_a_guest_by_slack_connect_is_a_stranger(slack: SlackHouse) -> None:
    slack.sim.channel("C0SHARED", "shared", shared=True)
    guest = slack.sim.user("U01ALICE2", "alice", team="T0OTHER")
    await guest.mention(DELETE, "C0SHARED")
    await slack.deliver()
    assert await slack.count("tasks") == 0
    assert await slack.count("pairings") == 0
    assert [one for one in slack.sim.messages("C0SHARED") if one.bot_id]


async def test_the_right_user_of_the_wrong_workspace_decides_nothing(slack: SlackHouse) -> None:
    await slack.ann.mention(DELETE, "C0OPS")
    approval, card = await slack.ask()
    await slack.ann.press(card, "Approve", from_team="T0OTHER")
    await slack.told(slack.ann, "Not decided")
    assert await slack.status_of(approval) == "pending"
    assert await slack.count("decisions") == 0


@pytest.mark.parametrize(
    "text",
    ["x" * 40_000, "\u202e<!channel> *x* `y` <http://evil.example|yes>", "do files.delete paths=\x00\ud800", "​", "&amp;" * 9000],
    ids=["40,000", "hostile", "unholdable", "invisible", "entities"],
)  # fmt: skip
async def test_odd_messages_get_an_answer(slack: SlackHouse, text: str) -> None:
    assert (await slack.ann.say(text)).acked
    await slack.deliver()
    [answer, *_] = [one for one in slack.ann.messages() if one.bot_id]
    assert answer.everything().strip()


@pytest.mark.parametrize("subtype", ["message_changed", "channel_join", "invented_tomorrow"])
async def test_what_nobody_said_is_acknowledged_and_dropped(slack: SlackHouse, subtype: str) -> None:
    event = {
        "type": "message",
        "subtype": subtype,
        "user": "U01ALICE",
        "channel": slack.ann.im,
        "ts": "1.1",
        "text": DELETE,
    }
    payload: dict[str, Any] = {"type": "event_callback", "team_id": "T0ACME", "event_id": "Ev9", "event": event}
    assert (await slack.sim.deliver("events_api", payload)).acked
    assert await slack.count("inbound") == 0


async def test_edits_deletions_and_broadcasts_start_nothing(slack: SlackHouse) -> None:
    delivery = await slack.ann.mention(DELETE, "C0OPS")
    await slack.ann.edit(delivery.ts, "<@U0SAYSO> do files.list", "C0OPS")
    await slack.ann.broadcast("stop", "C0OPS", delivery.ts)
    await slack.ann.delete(delivery.ts, "C0OPS")
    assert await slack.count("tasks") == 1
    assert await slack.count("inbound") == 1


async def test_our_own_posts_are_not_heard(db: Pool, tmp_path: Path, mode: Mode) -> None:
    async with open_slack_house(db, tmp_path, mode) as slack:
        slack.sim.echo = True
        await slack.ann.say("help")
        await slack.deliver()
        await slack.until(lambda: len(slack.sim.journal.of("slack", "message", "out")) == 2)
        assert await slack.count("inbound") == 1
