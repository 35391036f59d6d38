"""A person on Telegram, in both modes: they write, read the card, tap, and the database and the chat say the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.telegram.adapter import NOT_SAVED
from core.db import Pool
from core.store import tasks
from tests.telegram_server import SECRET, eventually
from tests.telegram_town import MODES, PUBLIC, Town, open_town


@pytest.fixture(params=MODES)
async def town(request: pytest.FixtureRequest, db: Pool, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(db, tmp_path, request.param) as opened:
        yield opened


@pytest.fixture
async def polling(db: Pool, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(db, tmp_path, "polling") as opened:
        yield opened


# ---------------------------------------------------------------- the way of one task


async def test_a_message_becomes_a_task_and_a_press_decides_it(town: Town) -> None:
    town.api.say("do files.delete paths=old.log")
    [said] = await town.inbound(1)
    assert (said["body"], said["delivery_id"]) == ("do files.delete paths=old.log", "update:101")
    seen = await eventually(lambda: town.api.of("setMessageReaction"))
    assert seen[0].data["reaction"] == [{"emoji": "👀", "type": "emoji"}]

    approval = await town.ask()
    card = await town.approval_card(approval)
    assert "files.delete (version 1)" in card["text"]
    town.api.press(card, "Approve")
    answer = await town.answered()
    assert (answer["text"], answer.get("show_alert", False)) == ("Approved.", False)
    assert await town.status(approval) == "approved"
    await town.courier_until(lambda: "Approved by Ann in telegram" in town.api.shown(1001)[-1]["text"])
    assert [town.api.labels(m) for m in town.api.shown(1001) if "files.delete (version" in m["text"]] == [[]]


async def test_telegram_is_told_who_we_are_and_where_to_send_updates(town: Town) -> None:
    commands = await eventually(lambda: town.api.of("setMyCommands"))
    assert {c["command"] for c in commands[0].data["commands"]} >= {"help", "tasks", "stop"}
    if town.deps.settings.telegram_mode == "polling":
        await eventually(lambda: town.api.of("getUpdates"))
        order = [c.method for c in town.api.calls if c.method in ("deleteWebhook", "getUpdates")]
        assert order[0] == "deleteWebhook"
        assert town.api.of("getUpdates")[0].data["allowed_updates"] == ["message", "callback_query"]
    else:
        [call] = await eventually(lambda: town.api.of("setWebhook"))
        assert call.data["secret_token"] == SECRET
        assert call.data["allowed_updates"] == ["message", "callback_query"]
        assert town.api.of("getUpdates") == []


async def test_a_destructive_action_is_asked_twice_and_back_goes_back(town: Town) -> None:
    town.api.say("do files.delete paths=old.log")
    await town.inbound(1)
    approval = await town.ask(destructive=True)
    card = await town.approval_card(approval)

    town.api.press(card, "Approve")
    assert (await town.answered(1))["text"] == "Delete old.log from the workspace?"
    await eventually(lambda: town.api.labels(card) == ["Confirm delete", "Back"])
    assert await town.status(approval) == "pending"

    town.api.press(card, "Back")
    await eventually(lambda: town.api.labels(card) == ["Approve", "Deny", "Stop the task"])
    town.api.press(card, "Approve")
    await eventually(lambda: town.api.labels(card) == ["Confirm delete", "Back"])
    town.api.press(card, "Confirm delete")
    assert (await town.answered(4))["text"] == "Approved."
    assert await town.status(approval) == "approved"


async def test_who_may_not_decide_is_told_so_and_nothing_changes(town: Town) -> None:
    town.api.say("do files.delete paths=old.log")
    await town.inbound(1)
    approval = await town.ask()
    card = await town.approval_card(approval)
    for count, who in enumerate((1002, 6666), start=1):
        town.api.press(card, "Approve", who=who)
        answer = await town.answered(count)
        assert answer["show_alert"] is True
        assert answer["text"].startswith("Not decided")
    assert await town.status(approval) == "pending"


async def test_the_second_press_reports_who_decided(town: Town) -> None:
    town.api.say("do files.delete paths=old.log")
    await town.inbound(1)
    approval = await town.ask()
    card = await town.approval_card(approval)
    town.api.press(card, "Deny")
    assert (await town.answered(1))["text"] == "Denied."
    town.api.press(card, "Approve")
    answer = await town.answered(2)
    assert (answer["show_alert"], answer["text"].startswith("Too late: already denied by Ann")) == (True, True)


async def test_a_stranger_gets_a_pairing_code_and_nothing_else(town: Town) -> None:
    town.api.say("do files.delete paths=old.log", who=6666)
    await town.inbound(1)
    [said] = await town.courier_until(lambda: town.api.shown(6666))
    assert "pair " in said["text"]
    assert await town.db.fetchval("select count(*) from tasks") == 0


async def test_a_task_is_stopped_with_its_button_after_one_more_question(town: Town) -> None:
    town.api.say("do files.delete paths=old.log")
    await town.inbound(1)
    await town.ask()
    run_card = await town.courier_until(lambda: [m for m in town.api.shown(1001) if "Pause" in town.api.labels(m)])
    town.api.press(run_card[0], "Stop")
    assert (await town.answered(1))["text"] == "Stop this task?"
    await eventually(lambda: "Confirm stop" in town.api.labels(run_card[0]))
    town.api.press(run_card[0], "Confirm stop")
    await town.answered(2)
    task = await tasks.whole(town.db, await town.db.fetchval("select max(id) from tasks"))
    assert task is not None
    assert task["status"] == "cancelled"


async def test_a_card_too_long_for_the_chat_has_no_approve(town: Town) -> None:
    town.api.say("do files.delete paths=old.log")
    await town.inbound(1)
    approval = await town.ask(args={"paths": [f"{i:05d}.log" for i in range(600)]})
    card = await town.approval_card(approval)
    assert town.api.labels(card) == ["Deny", "Stop the task"]
    assert f"{PUBLIC}/approvals/{approval}" in card["text"]


@pytest.mark.parametrize(
    "data", ["", "a:zz:approve", "t:999999:stop", f"a:{'0' * 32}:approve", f"c:{'0' * 32}:approve", "c:77:stop"]
)
async def test_a_button_that_leads_nowhere_is_answered(polling: Town, data: str) -> None:
    polling.api.tap(data, {"chat_id": 1001, "message_id": 1})
    answer = await polling.answered()
    assert answer["show_alert"] is True
    assert answer["text"]


# ---------------------------------------------------------------- again and again


async def test_the_same_update_again_changes_nothing(town: Town) -> None:
    update = town.api.say("do files.delete paths=old.log")
    await town.inbound(1)
    await eventually(lambda: not town.api.updates or town.deps.settings.telegram_mode == "polling")
    town.api.updates.append(update)
    town.api.say("tasks")
    await town.inbound(2)
    assert await town.db.fetchval("select count(*) from tasks") == 1


async def test_an_update_that_is_not_saved_comes_again(town: Town) -> None:
    town.intake.left = 2
    town.api.say("do files.delete paths=old.log")
    await town.inbound(1)
    assert town.intake.tried == ["update:101"] * 3
    if town.deps.settings.telegram_mode == "polling":
        offsets = [c.data.get("offset") for c in town.api.of("getUpdates")]
        assert set(offsets) <= {None, 102}
    else:
        await eventually(lambda: len(town.delivered) == 3)
        assert town.delivered == [500, 500, 200]


async def test_a_press_that_is_not_saved_tells_the_presser_and_is_decided_in_the_end(town: Town) -> None:
    town.api.say("do files.delete paths=old.log")
    await town.inbound(1)
    approval = await town.ask()
    card = await town.approval_card(approval)
    town.intake.left = 1
    town.api.press(card, "Approve")
    await eventually(lambda: len(town.api.of("answerCallbackQuery")) == 2)
    first, second = (c.data for c in town.api.of("answerCallbackQuery"))
    assert (first["text"], first["show_alert"]) == (NOT_SAVED, True)
    assert second["text"] == "Approved."
    assert await town.status(approval) == "approved"


# ---------------------------------------------------------------- nothing leaks, nothing breaks


HOSTILE = [
    "<b>&amp;</b>",
    "@SaysoBot /stop",
    "\u202eevil",
    "x" * 4096,
    "😀" * 2048,
    "a\u0000b",
    "`*_[]()~>#+-=|{}.!",
    "/stop@x\n/do",
]


async def test_hostile_words_are_kept_as_they_are_and_break_nothing(town: Town) -> None:
    for text in HOSTILE:
        town.api.say(text)
    rows = await town.inbound(len(HOSTILE) - 1)
    kept = [row["body"] for row in rows]
    assert kept == [text.replace("\u0000", "\ufffd") for text in HOSTILE if not text.startswith("/stop@x")]


async def test_a_group_is_answered_when_it_means_us_and_not_listened_to_otherwise(town: Town) -> None:
    town.api.say("/do@SaysoBot files.delete paths=old.log", chat=-100500)
    await town.inbound(1)
    approval = await town.ask()
    card = await town.courier_until(lambda: [m for m in town.api.shown(-100500) if "Deny" in town.api.labels(m)])
    town.api.say("shall we do lunch?", who=1002, chat=-100500)
    town.api.say("do files.delete paths=all.log", chat=-100500)
    town.api.press(card[0], "Deny")
    await town.answered()
    assert await town.status(approval) == "denied"
    assert [row["body"] for row in await town.inbound(1)] == ["do files.delete paths=old.log"]


async def test_a_topic_is_answered_in_the_topic(town: Town) -> None:
    town.api.say("/tasks", chat=-100500, message_thread_id=9, is_topic_message=True)
    await town.inbound(1)
    [said] = await town.courier_until(lambda: town.api.shown(-100500))
    assert (said["message_thread_id"], said["text"]) == (9, "No tasks.")
