"""A person on Telegram, in both modes: they write, read the card, tap, and the database and the chat say the same."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.telegram.adapter import NOT_SAVED
from bot.telegram.translate import GROUP_COMMANDS
from core.answering import NO_MODEL
from core.db import Pool
from core.intake import EMPTY, FOREIGN_ONLY, TOO_LONG
from core.store import conversations, tasks
from tests.sim.faults import DONE_BUT_ANSWER_LOST, status
from tests.telegram_town import GROUP, MODES, SECRET, Town, eventually, open_town

DELETE = "do files.delete paths=old.log"
ANSWERS = ["Approve", "Deny", "Stop the task", "More…"]
HOSTILE = [
    "<b>&amp;</b>", "@sayso /stop", "\u202eevil", "x" * 4096, "😀" * 2048, "a\u0000b", "`*_[]()~>#+-=|{}.!", "/stop@x\n/do",
]  # fmt: skip


@pytest.fixture(params=MODES)
async def town(request: pytest.FixtureRequest, db: Pool, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(db, tmp_path, request.param) as opened:
        yield opened


# ---------------------------------------------------------------- the way of one task


async def test_a_message_becomes_a_task_and_a_press_decides_it(town: Town) -> None:
    said = await town.say(DELETE)
    [row] = await town.inbound(1)
    assert (row["body"], row["delivery_id"]) == (DELETE, f"update:{said.update_id}")
    assert said.message is not None
    await eventually(lambda: said.message is not None and said.message.reaction == "👀")

    approval = await town.ask()
    card = await town.card("Deny")
    assert "files.delete (version 1)" in card.text
    assert card.buttons() == ANSWERS
    await town.press(card, "Approve")
    answer = await town.answer()
    assert (answer.text, answer.show_alert) == ("Approved.", False)
    assert await town.status(approval) == "approved"
    await town.delivered_until(lambda: "Approved by Ann in Telegram" in card.text)
    [label] = card.buttons()
    assert re.fullmatch(r"Approved by Ann, \d\d:\d\d UTC", label)
    with pytest.raises(AssertionError, match="tells the bot nothing"):
        await town.press(card, label)


async def test_telegram_is_told_who_we_are_and_where_to_send_updates(town: Town) -> None:
    await eventually(lambda: town.sim.world.commands)
    assert {command["command"] for command in town.sim.world.commands} >= {"help", "tasks", "stop"}
    in_groups = await eventually(lambda: town.sim.world.commands_in.get("all_group_chats"))
    assert {command["command"] for command in in_groups} == set(GROUP_COMMANDS)
    await eventually(
        lambda: town.sim.world.allowed_updates == ["message", "callback_query", "stopped_message_generation"]
    )
    base = town.deps.settings.base_url()
    hook = {"url": ""} if town.polls else {"url": f"{base}/telegram/webhook", "secret_token": SECRET}
    assert town.sim.world.webhook == hook
    if town.polls:
        await eventually(lambda: town.sim.world.poll is not None)
    else:
        assert town.calls("getUpdates") == []


async def test_a_destructive_action_is_asked_twice_and_back_goes_back(town: Town) -> None:
    await town.say(DELETE)
    await town.inbound(1)
    approval = await town.ask(destructive=True)
    card = await town.card("Deny")

    await town.press(card, "Approve")
    assert (await town.answer(1)).text == "Delete old.log from the workspace?"
    await eventually(lambda: card.buttons() == ["Confirm delete", "Back"])
    assert await town.status(approval) == "pending"

    await town.press(card, "Back")
    await eventually(lambda: card.buttons() == ANSWERS)
    await town.press(card, "Approve")
    await eventually(lambda: card.buttons() == ["Confirm delete", "Back"])
    await town.press(card, "Confirm delete")
    assert (await town.answer(4)).text == "Approved."
    assert await town.status(approval) == "approved"


async def test_who_may_not_decide_is_told_so_and_nothing_changes(town: Town) -> None:
    await town.say(DELETE)
    await town.inbound(1)
    approval = await town.ask(destructive=True)
    card = await town.card("Deny")
    await town.press(card, "Deny", who=1002)
    answer = await town.answer(1)
    assert (answer.show_alert, answer.text.startswith("Not decided")) == (True, True)
    for count, button in enumerate(("Deny", "Approve"), start=2):
        await town.press(card, button, who=6666)
        answer = await town.answer(count)
        assert (answer.show_alert, answer.text) == (True, "Not decided: I don't know you.")
    assert await town.status(approval) == "pending"
    assert card.buttons() == ANSWERS


async def test_the_second_press_reports_who_decided(town: Town) -> None:
    await town.say(DELETE)
    await town.inbound(1)
    await town.ask()
    card = await town.card("Deny")
    await town.press(card, "Deny")
    assert (await town.answer(1)).text == "Denied."
    await town.press(card, "Approve")
    answer = await town.answer(2)
    assert (answer.show_alert, answer.text.startswith("Too late: already denied by Ann")) == (True, True)


async def test_a_stray_copy_of_a_card_closes_when_it_is_pressed(town: Town) -> None:
    """The answer to the first post was lost, so Telegram alone knows of that copy."""
    await town.say(DELETE)
    await town.inbound(1)
    await town.delivered_until(lambda: town.sim.messages(1001))
    await town.ask()
    town.sim.faults.add("sendMessage", 1, DONE_BUT_ANSWER_LOST)
    stray, card = await town.delivered_until(
        lambda: found if len(found := [one for one in town.sim.messages(1001) if "Deny" in one.buttons()]) > 1 else []
    )
    await town.press(card, "Deny")
    await town.delivered_until(lambda: "Deny" not in card.buttons())
    assert "Deny" in stray.buttons()
    await town.press(stray, "Approve")
    assert (await town.answer(2)).text.startswith("Too late: already denied by Ann")
    await eventually(lambda: [label for label in stray.buttons() if label.startswith("Denied by Ann, ")])


async def test_a_question_shown_for_a_card_that_was_decided_meanwhile_does_not_stay(town: Town) -> None:
    await town.say(DELETE)
    await town.inbound(1)
    await town.ask(destructive=True)
    card = await town.card("Deny")
    await town.press(card, "Deny")
    await town.answer(1)
    await town.press(card, "Approve")
    answer = await town.answer(2)
    assert (answer.show_alert, answer.text) == (True, "This is not open any more.")
    await eventually(lambda: [label for label in card.buttons() if label.startswith("Denied by Ann, ")])


async def test_a_server_that_knows_no_disabled_button_has_the_keyboard_removed(town: Town) -> None:
    town.sim.world.is_newest = False
    await town.say(DELETE)
    await town.inbound(1)
    await town.ask()
    card = await town.card("Deny")
    await town.press(card, "Deny")
    await town.delivered_until(lambda: "Denied by Ann in Telegram" in card.text)
    assert card.buttons() == []


async def test_a_stranger_gets_a_pairing_code_and_nothing_else(town: Town) -> None:
    await town.say(DELETE, who=6666)
    await town.inbound(1)
    said = await town.delivered_until(lambda: [m for m in town.sim.messages(6666) if m.sender.is_bot])
    assert "pair " in said[0].text
    assert await town.db.fetchval("select count(*) from tasks") == 0


async def test_a_task_is_stopped_with_its_button_after_one_more_question(town: Town) -> None:
    await town.say(DELETE)
    await town.inbound(1)
    await town.ask()
    run_card = await town.card("Pause")
    await town.press(run_card, "Stop")
    assert (await town.answer(1)).text == "Stop this task?"
    await eventually(lambda: "Confirm stop" in run_card.buttons())
    await town.press(run_card, "Confirm stop")
    await town.answer(2)
    task = await tasks.whole(town.db, await town.db.fetchval("select max(id) from tasks"))
    assert task is not None
    assert task["status"] == "cancelled"


async def test_a_card_too_long_for_the_chat_has_no_approve(town: Town) -> None:
    await town.say(DELETE)
    await town.inbound(1)
    approval = await town.ask(args={"paths": [f"{i:05d}.log" for i in range(600)]})
    card = await town.card("Deny")
    assert card.buttons() == ["Deny", "Stop the task", "Show it whole", "More…"]
    assert f"{town.deps.settings.base_url()}/approvals/{approval}" in card.text


async def test_a_button_that_leads_nowhere_is_answered(town: Town) -> None:
    await town.say("tasks")
    await town.inbound(1)
    [*_, message] = await town.delivered_until(lambda: [m for m in town.sim.messages(1001) if m.sender.is_bot])
    zeros = "0" * 32
    wild = ["", "a:zz:approve", "t:999999:stop", f"a:{zeros}:approve", f"c:{zeros}:approve", "c:77:stop"]
    for count, data in enumerate(wild, start=1):
        await town.press_data(message, data)
        answer = await town.answer(count)
        assert (answer.show_alert, bool(answer.text)) == (True, True), data


async def test_an_answer_is_shown_while_it_is_written_and_stop_stops_its_task(town: Town) -> None:
    await town.say(DELETE)
    await town.inbound(1)
    task = await town.db.fetchval("select max(id) from tasks")
    here = await conversations.by_id(town.db, await conversations.find(town.db, "telegram", "1001") or 0)
    assert here is not None
    assert await town.sender().draft(here, task, "The logs take 3 GB", None) is None
    [shown] = town.sim.world.drafts
    assert (shown["text"], shown["draft_id"], shown["can_stop"]) == ("The logs take 3 GB", task, True)
    stopped = await town.until_taken(await town.sim.user(1001).stop_draft())
    await eventually(lambda: stopped.acked or not town.sim.world.pending)
    assert await town.db.fetchval("select status from tasks where id = $1", task) == "cancelled"


async def test_a_stop_of_a_draft_counts_for_its_reader_alone(town: Town) -> None:
    await town.say(DELETE)
    await town.inbound(1)
    task = await town.db.fetchval("select max(id) from tasks")
    for who in (1002, 6666):
        town.sim.user(who)
        town.sim.world.drafts.append({"chat_id": who, "draft_id": task, "can_stop": True})
        await town.until_taken(await town.sim.user(who).stop_draft())
    group = {"id": GROUP, "type": "supergroup", "title": "Ops"}
    update = town.sim.world.update("stopped_message_generation", {"chat": group, "draft_id": task})
    assert update is not None
    await town.until_taken(await town.sim.deliver(update))
    await town.say("tasks")
    await town.inbound(2)
    assert await town.db.fetchval("select status from tasks where id = $1", task) != "cancelled"


# ---------------------------------------------------------------- groups


async def test_a_group_is_answered_when_it_means_us_and_not_listened_to_otherwise(town: Town) -> None:
    town.sim.privacy = False
    town.sim.group(GROUP, "Ops")
    await town.say(f"/do@sayso_bot {DELETE.removeprefix('do ')}", chat=GROUP)
    await town.inbound(1)
    approval = await town.ask()
    card = await town.card("Deny", GROUP)
    await town.say("shall we do lunch?", who=1002, chat=GROUP)
    await town.say("do files.delete paths=all.log", chat=GROUP)
    await town.press(card, "Deny")
    await town.answer()
    assert await town.status(approval) == "denied"
    assert [row["body"] for row in await town.inbound(1)] == [DELETE]
    await town.say("why", chat=GROUP, reply_to=card)
    assert [row["body"] for row in await town.inbound(2)] == [DELETE, "why"]


async def test_a_topic_is_answered_in_the_topic(town: Town) -> None:
    town.sim.group(GROUP, "Ops", topics=(9,))
    await town.say("/tasks", chat=GROUP, thread=9)
    await town.inbound(1)
    said = await town.delivered_until(lambda: [m for m in town.sim.messages(GROUP) if m.sender.is_bot])
    assert [(m.thread, m.text) for m in said] == [(9, "No open tasks.")]


async def test_a_topic_that_is_gone_is_answered_in_its_group(town: Town) -> None:
    group = town.sim.group(GROUP, "Ops", topics=(9,))
    await town.say("/tasks", chat=GROUP, thread=9)
    await town.inbound(1)
    group.topics.clear()
    said = await town.delivered_until(lambda: [m for m in town.sim.messages(GROUP) if m.sender.is_bot])
    assert [(m.thread, m.text) for m in said] == [(None, "No open tasks.")]


async def test_a_group_that_becomes_a_supergroup_takes_its_open_cards_along(town: Town) -> None:
    town.sim.group(GROUP, "Ops").type = "group"
    await town.say(f"/do@sayso_bot {DELETE.removeprefix('do ')}", chat=GROUP)
    await town.inbound(1)
    approval = await town.ask()
    await town.card("Deny", GROUP)

    for told in await town.sim.migrate(GROUP, -1001999):
        await town.until_taken(told)
    card = await town.card("Deny", -1001999)
    await town.press(card, "Approve")
    await town.answer()
    assert await town.status(approval) == "approved"
    await town.delivered_until(lambda: "Approved by Ann in Telegram" in card.text)
    await town.say("/tasks", chat=-1001999)
    await town.inbound(2)
    assert await town.db.fetchval("select count(*) from conversations") == 1


# ---------------------------------------------------------------- again and again


async def test_the_same_update_again_changes_nothing(town: Town) -> None:
    said = await town.say(DELETE)
    await town.inbound(1)
    await town.sim.redeliver(said)
    await town.say("tasks")
    await town.inbound(2)
    assert await town.db.fetchval("select count(*) from tasks") == 1


async def test_an_update_that_is_not_saved_comes_again(town: Town) -> None:
    town.intake.left = 2
    said = await town.say(DELETE)
    await town.inbound(1)
    assert town.intake.tried == [f"update:{said.update_id}"] * 3
    if town.polls:
        await town.sim.wait_confirmed(said)
        assert {call.get("offset") for call in town.calls("getUpdates")} <= {None, str(said.update_id + 1)}
    else:
        assert town.delivered == [500, 500, 200]


async def test_a_press_that_is_not_saved_tells_the_presser_and_is_decided_in_the_end(town: Town) -> None:
    await town.say(DELETE)
    await town.inbound(1)
    approval = await town.ask()
    card = await town.card("Deny")
    town.intake.left = 1
    pressed = await town.press(card, "Approve")
    assert (await town.answer()).text == NOT_SAVED
    if town.polls:
        await town.sim.wait_confirmed(pressed)
    assert await town.status(approval) == "approved"


async def test_a_message_whose_answer_was_lost_is_there_at_least_once(town: Town) -> None:
    town.sim.faults.add("sendMessage", 1, DONE_BUT_ANSWER_LOST)
    town.sim.faults.add("sendMessage", 1, status(429, retry_after_s=1))
    await town.say("tasks")
    await town.inbound(1)
    said = await town.delivered_until(
        lambda: not town.sim.faults.unmet() and [m for m in town.sim.messages(1001) if m.sender.is_bot][1:]
    )
    assert {m.text for m in said} == {"No open tasks."}


async def test_nothing_that_is_meant_for_us_meets_silence(town: Town) -> None:
    flags = {"is_animated": False, "is_video": False}
    sticker = {"file_id": "x", "file_unique_id": "y", "type": "regular", "width": 1, "height": 1, **flags}
    town.sim.group(GROUP, "Ops")
    await town.say("", extra={"sticker": sticker})
    await town.say("x" * 40_001)
    await town.say("/")
    await town.say("do it", forwarded_from="Somebody")
    await town.say("@sayso_bot", chat=GROUP)
    await town.inbound(5)
    said = await town.delivered_until(
        lambda: (
            [m.text for m in (*town.sim.messages(1001), *town.sim.messages(GROUP)) if m.sender.is_bot][4:]
            and [m.text for m in (*town.sim.messages(1001), *town.sim.messages(GROUP)) if m.sender.is_bot]
        )
    )
    assert said == [EMPTY, TOO_LONG, NO_MODEL, FOREIGN_ONLY, EMPTY]


async def test_hostile_words_are_kept_as_they_are_and_break_nothing(town: Town) -> None:
    for text in HOSTILE:
        await town.say(text)
    rows = await town.inbound(len(HOSTILE) - 1)
    kept = [row["body"] for row in rows]
    assert kept == [text.replace("\u0000", "\ufffd") for text in HOSTILE if not text.startswith("/stop@x")]
