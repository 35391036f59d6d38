"""Answers that need words: asked for in a message that opens the reply field, given in a reply, decided like a press."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.telegram.adapter import CHOOSE, REPLY
from bot.telegram.buttons import Tap
from bot.telegram.dialogue import NOT_OPEN
from bot.telegram.prompts import PAYLOAD_CHARS, Prompt, question, read_link, read_payload
from core.db import Pool
from core.editing import Field
from core.models import ArgumentRole, EffectClass, Permission, PermissionOn, SkillManifest
from core.store import skills
from tests.sim.faults import status
from tests.sim.telegram_world import TgMessage
from tests.telegram_town import GROUP, Town, eventually, open_town
from tests.web_house import DIGEST, MANIFESTS

DELETE = "do files.delete paths=old.log"
KEY = "01234567-89ab-cdef-0123-456789abcdef"
HEX = KEY.replace("-", "")
SEND = SkillManifest(
    name="mail.send", version="1", summary="Send a mail",
    args_schema={
        "type": "object", "required": ["to"],
        "properties": {
            "to": {"type": "string"}, "count": {"type": "integer", "description": "How often"},
            "tone": {"type": "string", "enum": ["kind", "curt"]},
        },
    },
    schema_hash="h", permissions=(PermissionOn(permission=Permission.SEND, resource="mail:{to}"),),
    effect_class=EffectClass.UNSAFE, roles={"to": ArgumentRole.CONTROL}, card="Mail {to}",
)  # fmt: skip
MAIL = "do mail.send to=bob@acme.example count=1"


@pytest.fixture
async def town(db: Pool, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(db, tmp_path, "webhook") as opened:
        await skills.publish(db, [*MANIFESTS, SEND])
        yield opened


async def asked(town: Town, **more: Any) -> tuple[str, TgMessage]:
    """A card that waits, and its approval."""
    await town.say(DELETE, **more)
    await town.inbound(1)
    return await town.ask(), await town.card("Deny", more.get("chat", 1001))


async def mail(town: Town) -> tuple[str, TgMessage]:
    await town.say(MAIL)
    await town.inbound(1)
    approval = await town.ask(skill="mail.send", args={"to": "bob@acme.example", "count": 1})
    return approval, await town.card("Deny")


async def question_in(town: Town, chat: int = 1001) -> TgMessage:
    """The one question that is open in the chat."""
    found: list[TgMessage] = await eventually(
        lambda: [m for m in town.sim.messages(chat) if (m.reply_markup or {}).get("force_reply")]
    )
    assert len(found) == 1
    return found[0]


async def open_more(town: Town, card: TgMessage, button: str, who: int = 1001) -> None:
    await eventually(lambda: "More…" in card.buttons())
    await town.press(card, "More…", who)
    await eventually(lambda: button in card.buttons())
    await town.press(card, button, who)


async def said_last(town: Town, chat: int = 1001) -> TgMessage:
    """The answer of ours to somebody's reply."""
    found: list[TgMessage] = await eventually(
        lambda: [m for m in town.sim.messages(chat) if m.sender.is_bot and m.reply_to is not None]
    )
    return found[-1]


# ---------------------------------------------------------------- the rarer answers


async def test_more_shows_the_rarer_answers_and_back_goes_back(town: Town) -> None:
    _, card = await asked(town)
    await town.press(card, "More…")
    rarer = ["Edit…", "I'm looking", "Ask the agent…", "Hand it on…", "Deny with a reason…", "Back"]
    await eventually(lambda: card.buttons() == rarer)
    await town.press(card, "Back")
    await eventually(lambda: card.buttons() == ["Approve", "Deny", "Stop the task", "More…"])


async def test_a_denial_with_a_reason_is_asked_for_and_given_in_a_reply(town: Town) -> None:
    approval, card = await asked(town)
    await open_more(town, card, "Deny with a reason…")
    assert (await town.answer(2)).text == REPLY
    prompt = await question_in(town)
    assert prompt.text.startswith("Deny with a reason: Delete old.log from the workspace\n")
    await eventually(lambda: card.buttons() == ["Approve", "Deny", "Stop the task", "More…"])

    await town.say("Ann's report is in there", reply_to=prompt)
    assert (await said_last(town)).text == "Denied."
    assert await town.status(approval) == "denied"
    await eventually(lambda: prompt.deleted)
    await town.delivered_until(lambda: "Reason: Ann's report is in there" in card.text)
    await town.inbound(1)  # the reply is an answer, and no message to anybody


async def test_a_question_to_the_agent_and_handing_on_are_asked_for_too(town: Town) -> None:
    _, card = await asked(town)
    await open_more(town, card, "Ask the agent…")
    await town.say("why this one?", reply_to=await question_in(town))
    assert (await said_last(town)).text == "Asked. The answer will stand on the card."
    await town.delivered_until(lambda: "why this one?" in card.text)

    town.sim.user(1002)
    await open_more(town, card, "Hand it on…")
    prompt = await question_in(town)
    await town.say("nobody-of-that-name", reply_to=prompt)
    again = await eventually(
        lambda: [m for m in town.sim.messages(1001) if m.text.startswith("Nobody")] or prompt.deleted
    )
    assert again
    await town.say("bob", reply_to=await question_in(town))
    await eventually(lambda: [m for m in town.sim.messages(1001) if m.text.startswith("Handed on.")])
    await town.delivered_until(lambda: town.sim.messages(1002))


async def test_one_argument_is_edited_in_a_reply_with_the_value_alone(town: Town) -> None:
    approval, card = await asked(town)
    await open_more(town, card, "Edit…")
    prompt = await question_in(town)
    assert prompt.text == (
        "Edit paths: Delete old.log from the workspace\nNow:\nold.log\nReply to this message with the new value, one a line."
    )
    assert (prompt.reply_markup or {})["input_field_placeholder"] == "The new value"
    await town.say("older.log\noldest.log", reply_to=prompt)
    assert (await said_last(town)).text.startswith("Edited.")
    assert await town.status(approval) == "superseded"
    [step] = await town.db.fetch("select args, origins from steps")
    assert step["args"] == {"paths": ["older.log", "oldest.log"]}
    assert (step["origins"]["paths"]["origin"], step["origins"]["paths"]["by"]) == ("requester", "ann")


async def test_of_several_arguments_one_is_chosen_first_and_errors_are_said_in_place(town: Town) -> None:
    approval, card = await mail(town)
    await open_more(town, card, "Edit…")
    assert (await town.answer(2)).text == CHOOSE
    await eventually(lambda: card.buttons() == ["to", "tone", "count", "Several at once…", "Back"])
    await town.press(card, "count")
    first = await question_in(town)
    assert "How often" in first.text
    assert "Now:\n1\n" in first.text

    await town.say("lots", reply_to=first)
    await eventually(lambda: first.deleted)
    second = await question_in(town)
    assert second.text.startswith("Count: that is no integer.\nEdit count")
    assert await town.status(approval) == "pending"
    await town.say("3", reply_to=second)
    await eventually(lambda: second.deleted)
    assert await town.db.fetchval("select args from steps") == {"to": "bob@acme.example", "count": 3}


async def test_several_arguments_are_edited_at_once_one_a_line(town: Town) -> None:
    approval, card = await mail(town)
    await open_more(town, card, "Edit…")
    await eventually(lambda: "Several at once…" in card.buttons())
    await town.press(card, "Several at once…")
    wrong = [
        ("count 4", "no name=value"),
        ("cuont=4", "no argument"),
        ("tone=rude", "tone"),
        ("to=bob@acme.example", "nothing is changed"),
    ]
    for text, why in wrong:
        prompt = await question_in(town)
        await town.say(text, reply_to=prompt)
        await eventually(lambda asked=prompt: asked.deleted)  # type: ignore[misc]  # bound now
        assert why in (await question_in(town)).text.split("\n")[0].lower(), text
    assert await town.status(approval) == "pending"
    await town.say("to=cat@acme.example\ncount=4\ntone=curt", reply_to=await question_in(town))
    await eventually(lambda: [m for m in town.sim.messages(1001) if m.text.startswith("Edited.")])
    assert await town.db.fetchval("select args from steps") == {"to": "cat@acme.example", "count": 4, "tone": "curt"}


# ---------------------------------------------------------------- who, where, when


async def test_who_may_not_decide_is_not_asked_and_their_reply_decides_nothing(town: Town) -> None:
    town.sim.group(GROUP, "Ops", topics=(9,))
    approval, card = await in_topic(town)
    await open_more(town, card, "Deny with a reason…", who=1002)
    refused = await town.answer(2)
    assert (refused.show_alert, refused.text.startswith("Not decided")) == (True, True)
    await open_more(town, card, "Deny with a reason…")
    prompt = await question_in(town, GROUP)
    assert prompt.thread == 9
    assert prompt.text.startswith("User 1001, Deny with a reason")
    assert (prompt.reply_markup or {})["selective"] is True
    assert [e["user"]["id"] for e in prompt.entities if e["type"] == "text_mention"] == [1001]

    await town.say("because", who=1002, chat=GROUP, thread=9, reply_to=prompt)
    assert (await said_last(town, GROUP)).text.startswith("Not decided: you are not among")
    assert await town.status(approval) == "pending"
    await town.say("because I say so", chat=GROUP, thread=9, reply_to=await question_in(town, GROUP))
    await eventually(lambda: prompt.deleted)
    assert await town.status(approval) == "denied"


async def in_topic(town: Town) -> tuple[str, TgMessage]:
    await town.say(f"/do@sayso_bot {DELETE.removeprefix('do ')}", chat=GROUP, thread=9)
    await town.inbound(1)
    return await town.ask(), await town.card("Deny", GROUP)


async def test_a_reply_after_the_decision_is_told_who_decided(town: Town) -> None:
    approval, card = await asked(town)
    await open_more(town, card, "Deny with a reason…")
    prompt = await question_in(town)
    await eventually(lambda: "Approve" in card.buttons())
    await town.press(card, "Approve")
    await town.say("too late", reply_to=prompt)
    assert (await said_last(town)).text.startswith("Too late: already approved by Ann")
    assert await town.status(approval) == "approved"
    await town.press_data(card, Tap("words", "approval", approval, "edit").data)
    answer = await town.answer(4)
    assert (answer.show_alert, answer.text) == (True, NOT_OPEN)


async def test_the_same_reply_again_changes_nothing_and_one_not_saved_comes_again(town: Town) -> None:
    approval, card = await asked(town)
    await open_more(town, card, "Deny with a reason…")
    town.intake.left = 1
    replied = await town.say("because", reply_to=await question_in(town))
    assert await town.status(approval) == "denied"
    await town.sim.redeliver(replied)
    assert await town.db.fetchval("select count(*) from decisions where verdict = 'deny'") == 1
    await eventually(lambda: [m.text for m in town.sim.messages(1001) if m.text == "Denied."])


async def test_a_sticker_for_an_answer_is_asked_again(town: Town) -> None:
    _, card = await asked(town)
    await open_more(town, card, "Deny with a reason…")
    prompt = await question_in(town)
    flags = {"is_animated": False, "is_video": False}
    sticker = {"file_id": "x", "file_unique_id": "y", "type": "regular", "width": 1, "height": 1, **flags}
    await town.say("", reply_to=prompt, extra={"sticker": sticker})
    await eventually(lambda: prompt.deleted)
    assert (await question_in(town)).text.startswith("There were no words in that.\n")


async def test_a_flood_limit_delays_the_question_and_does_not_lose_it(town: Town) -> None:
    _, card = await asked(town)
    town.sim.faults.add("sendMessage", 1, status(429, retry_after_s=1))
    await open_more(town, card, "Deny with a reason…")
    assert (await question_in(town)).text.startswith("Deny with a reason")
    assert not town.sim.faults.unmet()


async def test_the_link_of_a_question_asks_it_again_in_private(town: Town) -> None:
    approval, _ = await asked(town)
    prompt = Prompt("deny", approval, DIGEST[:8])
    await town.sim.user(1001).start(prompt.payload)
    assert (await question_in(town)).text.startswith("Deny with a reason")
    await town.inbound(1)
    await town.sim.user(6666).start(prompt.payload)
    await eventually(lambda: [m.text for m in town.sim.messages(6666) if m.sender.is_bot] == ["I don't know you."])


async def test_an_answer_to_a_card_that_has_changed_decides_nothing(town: Town) -> None:
    approval, _ = await asked(town)
    await town.sim.user(1001).start(Prompt("deny", approval, "00000000").payload)
    await town.say("no", reply_to=await question_in(town))
    assert "has changed since you saw it" in (await said_last(town)).text
    assert await town.status(approval) == "pending"


# ---------------------------------------------------------------- what a question is known by


@pytest.mark.parametrize(
    "prompt", [Prompt("deny", KEY, "0a1b2c3d"), Prompt("edit", KEY, "", 30), Prompt("ask", KEY, "0"), Prompt("delegate", KEY, "")]
)  # fmt: skip
def test_a_payload_is_read_back_and_fits_a_link(prompt: Prompt) -> None:
    assert len(prompt.payload) <= PAYLOAD_CHARS
    assert read_payload(prompt.payload) == prompt
    assert read_link(f"https://t.me/Sayso_Bot?start={prompt.payload}", "sayso_bot") == prompt


@pytest.mark.parametrize(
    "url",
    [
        f"https://t.me/other_bot?start=d_{HEX}_", "https://t.me/sayso_bot?start=hello",
        f"https://evil.example/sayso_bot?start=d_{HEX}_", f"https://t.me/sayso_bot?start=d3_{HEX}_",
        "",
    ],
)  # fmt: skip
def test_other_links_are_no_question(url: str) -> None:
    assert read_link(url, "sayso_bot") is None


async def test_words_that_look_like_a_question_are_none(town: Town) -> None:
    approval, _ = await asked(town)
    prompt = Prompt("deny", approval, "")
    link = f"https://t.me/sayso_bot?start={prompt.payload}"
    await town.say(f"tasks {link}")
    fake = await town.delivered_until(lambda: [m for m in town.sim.messages(1001) if m.sender.is_bot])
    fake[-1].text, fake[-1].entities = f"Deny: {link}", [{"type": "url", "offset": 6, "length": len(link)}]
    await town.say("tasks", reply_to=fake[-1])
    await town.inbound(3)
    assert await town.status(approval) == "pending"


def test_a_hostile_argument_stays_text_in_a_question() -> None:
    field = Field("x", "text", "</pre><a href='https://evil.example'>y</a>", "<b>hint</b>")
    said = question(Prompt("edit", KEY, "", 1), "<i>head</i>", field, "sayso_bot", to="")
    assert "evil.example'>" not in said
    assert "<b>" not in said
    assert "<i>" not in said
