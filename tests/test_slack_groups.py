"""Slack's user groups as approvers: whoever is in the group when they press may decide, and nobody by an old list."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from core import config, intake
from core.db import Pool
from core.models import Channel, Identity, NotAllowed, Press
from core.organisation import OrganisationError, parse
from core.store import approvals, groups, people
from core.store.people import Wanted
from tests.sim.faults import delay, status
from tests.sim.slack_world import Message
from tests.slack_house import SlackHouse, open_slack_house

OPS = parse("approvers: {default: {slack_usergroups: [S0OPS]}}")
BY_GROUP: dict[str, Any] = {"roles": [], "slack_usergroups": ["S0OPS"]}


@pytest.fixture
async def slack(db: Pool, tmp_path: Path) -> AsyncIterator[SlackHouse]:
    async with open_slack_house(db, tmp_path, "http", organisation=OPS) as opened:
        opened.sim.world.usergroups["S0OPS"] = ["U01EVE"]
        yield opened


async def asked(slack: SlackHouse) -> tuple[str, Message]:
    await slack.ann.mention("do files.delete paths=old.log", "C0OPS")
    return await slack.ask(**BY_GROUP)


async def grow_old(slack: SlackHouse) -> None:
    await slack.db.execute("update slack_groups set looked_at = looked_at - interval '1 minute'")


def looks(slack: SlackHouse) -> int:
    return len(slack.sim.journal.of("slack", "usergroups.users.list", "in"))


async def test_who_is_in_the_group_decides_and_the_card_names_it(slack: SlackHouse) -> None:
    approval, card = await asked(slack)
    assert "anyone in the Slack group S0OPS" in card.everything()
    await slack.bob.press(card, "Approve")
    await slack.told(slack.bob, "not among those")
    assert await slack.status_of(approval) == "pending"
    await slack.eve.press(card, "Approve")
    assert await slack.status_of(approval) == "approved"
    assert looks(slack) == 1, "what Slack said a moment ago is not asked again"


async def test_who_left_the_group_a_minute_ago_decides_nothing(slack: SlackHouse) -> None:
    approval, card = await asked(slack)
    await groups.remember(slack.db, "S0OPS", ["T0ACME/U01BOB"])
    await grow_old(slack)
    await slack.bob.press(card, "Approve")
    await slack.told(slack.bob, "not among those")
    assert await slack.status_of(approval) == "pending"


@pytest.mark.parametrize("trouble", ["refused", "away", "slow", "unknown", "scope"])
async def test_a_group_that_cannot_be_asked_about_says_no_in_words(
    slack: SlackHouse, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    approval, card = await asked(slack)
    await groups.remember(slack.db, "S0OPS", ["T0ACME/U01EVE"])
    await grow_old(slack)
    monkeypatch.setattr(config, "GROUP_LOOKUP_S", 0.3)
    match trouble:
        case "refused":
            slack.sim.faults.add("usergroups.users.list", 3, status(429, 60))
        case "away":
            slack.sim.faults.add("usergroups.users.list", 3, status(503))
        case "slow":
            slack.sim.faults.add("usergroups.users.list", 1, delay(2))
        case "unknown":
            slack.sim.world.usergroups.clear()
        case "scope":
            slack.sim.scopes.remove("usergroups:read")
    pressed = await slack.eve.press(card, "Approve")
    assert pressed.acked
    await slack.told(slack.eve, "Slack could not be asked just now")
    assert await slack.status_of(approval) == "pending"
    assert await slack.count("decisions") == 0
    refused = await slack.db.fetchval("select data from audit where kind = 'refused' order by id desc limit 1")
    assert refused["why"] == "group"


async def test_a_press_in_another_chat_is_rechecked_too(slack: SlackHouse) -> None:
    approval, _ = await asked(slack)
    await people.sync(
        slack.db, [*_everyone(), Wanted("eve", "Eve", (), False, (("slack", "T0ACME/U01EVE"), ("web", "eve")))]
    )
    press = Press(
        channel=Channel.WEB, delivery_id="w1", sender=Identity(channel=Channel.WEB, external_id="eve"),
        approval_id=approval, verdict="approve",
    )  # fmt: skip
    slack.sim.scopes.remove("usergroups:read")
    assert isinstance(refused := await intake.press(slack.house.deps, press), NotAllowed)
    assert "not among" in refused.why
    slack.sim.scopes.append("usergroups:read")
    await intake.press(slack.house.deps, press.model_copy(update={"delivery_id": "w2"}))
    assert await slack.status_of(approval) == "approved"


async def test_slack_is_asked_before_the_words_that_answer_a_card_are_in_a_transaction(slack: SlackHouse) -> None:
    approval, _ = await asked(slack)
    await groups.remember(slack.db, "S0OPS", ["T0ACME/U01EVE"])
    await grow_old(slack)
    open_meanwhile = []

    async def look_up(names: Sequence[str]) -> None:
        open_meanwhile.append(
            await slack.db.fetchval(
                "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in%'"
            )
        )
        await groups.remember(slack.db, "S0OPS", ["T0ACME/U01EVE"])

    slack.house.deps.groups.answer_by(look_up)
    task = await slack.db.fetchval("select task_id from approvals where id = $1", approval)
    await slack.eve.say(f"delegate {task} to bob")
    assert await slack.db.fetchval("select verdict from decisions where approval_id = $1", approval) == "delegate"
    assert open_meanwhile == [0]


async def test_without_slack_at_hand_nobody_decides_by_a_group(slack: SlackHouse) -> None:
    """As in a process without Slack: rows that say who is in it are there, and make no yes."""
    approval, _ = await asked(slack)
    await groups.remember(slack.db, "S0OPS", ["T0ACME/U01EVE"])
    await grow_old(slack)
    eve = await people.by_key(slack.db, "eve")
    assert eve is not None
    answer = await approvals.decide(
        slack.db, principal=eve.id, approval=approval, verdict="approve", digest=None, reason="", channel="web", delivery_id="x",
    )  # fmt: skip
    assert answer["kind"] == "not_allowed"
    asked_of = await approvals.deciders(slack.db, BY_GROUP | {"people": [], "needed": 1}, eve.id)
    assert [one["key"] for one in asked_of] == ["eve"], "but they are asked"


async def test_a_role_needs_no_look_at_the_group(slack: SlackHouse) -> None:
    await slack.ann.mention("do files.delete paths=old.log", "C0OPS")
    approval, card = await slack.ask(**BY_GROUP | {"roles": ["owner"]})
    await slack.bob.press(card, "Approve")
    assert await slack.status_of(approval) == "approved"
    assert looks(slack) == 0


async def test_who_stands_in_for_a_member_needs_the_member_to_be_one_now(slack: SlackHouse) -> None:
    approval, card = await asked(slack)
    await slack.adapter.groups.look_up(["S0OPS"])
    await slack.db.execute(
        "select away_v1((select id from principals where key = 'eve'), (select id from principals where key = 'bob'),"
        " sayso_now() + interval '1 day', false)"
    )
    await grow_old(slack)
    await slack.sim.regroup("S0OPS", "U01ALICE", tell=False)
    await slack.bob.press(card, "Approve")
    await slack.told(slack.bob, "not among those")
    assert await slack.status_of(approval) == "pending"


async def test_a_vote_is_lost_when_its_voter_leaves_the_group_before_the_call(slack: SlackHouse) -> None:
    approval, card = await asked(slack)
    await slack.eve.press(card, "Approve")
    assert await slack.status_of(approval) == "approved"
    votes = "select votes_for(a, yes_verdicts()) from approvals a where id = $1::uuid"
    assert await slack.db.fetchval(votes, approval) == 1
    await slack.sim.regroup("S0OPS", "U01BOB")
    await slack.until(lambda: looks(slack) == 2)
    assert await slack.db.fetchval(votes, approval) == 0


async def test_slack_tells_of_a_change_and_only_ours_are_looked_up(slack: SlackHouse) -> None:
    await slack.adapter.groups.look_up(["S0OPS"])
    await slack.sim.regroup("S0OPS", "U01EVE", "U01BOB")
    await slack.sim.regroup("S0LUNCH", "U01EVE")
    rows = await slack.db.fetch("select usergroup, members from slack_groups")
    assert [(r["usergroup"], sorted(r["members"])) for r in rows] == [("S0OPS", ["T0ACME/U01BOB", "T0ACME/U01EVE"])]


async def test_the_groups_of_the_file_are_kept_up_to_date(slack: SlackHouse) -> None:
    assert await groups.older_than(slack.db, ["S0OPS"], 60) == ["S0OPS"]
    await slack.adapter.groups.look_up(["S0OPS"])
    assert await groups.older_than(slack.db, ["S0OPS"], 60) == []


async def test_on_enterprise_grid_members_belong_to_the_enterprise(db: Pool, tmp_path: Path) -> None:
    async with open_slack_house(db, tmp_path, "http", organisation=OPS, enterprise="E0ACME") as slack:
        slack.sim.world.usergroups["S0OPS"] = ["U01EVE"]
        await slack.adapter.groups.look_up(["S0OPS"])
        assert await slack.db.fetchval("select members from slack_groups") == ["E0ACME/U01EVE"]
        [call] = slack.sim.journal.of("slack", "usergroups.users.list", "in")
        assert call.body["team_id"] == "T0ACME"


def test_a_wrong_group_id_is_named_with_its_line() -> None:
    with pytest.raises(OrganisationError, match="no Slack user group"):
        parse("approvers: {ops: {slack_usergroups: ['@oncall']}}")


def _everyone() -> list[Wanted]:
    return [
        Wanted("ann", "Ann", ("owner",), False, (("slack", "T0ACME/U01ALICE"),)),
        Wanted("bob", "Bob", ("owner",), False, (("slack", "T0ACME/U01BOB"),)),
    ]
