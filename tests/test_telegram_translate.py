"""What a Telegram update becomes: whose words count, where they were said, and what is not for us."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.telegram.buttons import CALLBACK_BYTES, VERDICTS, Tap, read_tap
from bot.telegram.prompts import Prompt
from bot.telegram.translate import COMMANDS, Dropped, Halted, Malformed, Me, Moved, Tapped, Wanted, translate
from core import commands
from core.models import Channel, Identity, Inbound, Place
from tests.web_house import MANIFESTS

ME = Me(4242, "SaysoBot")
ANN = {"id": 1001, "is_bot": False, "first_name": "Ann", "last_name": "Lee", "username": "ann"}
BOB = {"id": 1002, "is_bot": False, "first_name": "Bob"}
US = {"id": 4242, "is_bot": True, "first_name": "Sayso", "username": "SaysoBot"}
DM = {"id": 1001, "type": "private", "first_name": "Ann"}
GROUP = {"id": -100500, "type": "supergroup", "title": "Ops"}
KEY = "0123456789abcdef0123456789abcdef"


def message(text: str | None = None, chat: dict[str, Any] = DM, **more: Any) -> dict[str, Any]:
    said = {"message_id": 7, "date": 1_790_000_000, "chat": chat, "from": ANN, **more}
    return {"update_id": 55, "message": said if text is None else said | {"text": text}}


def entity(kind: str, text: str, part: str) -> dict[str, Any]:
    start = len(text[: text.index(part)].encode("utf-16-le")) // 2
    return {"type": kind, "offset": start, "length": len(part.encode("utf-16-le")) // 2}


def inbound(update: dict[str, Any]) -> Inbound:
    made = translate(update, ME)
    assert isinstance(made, Inbound), made
    return made


def group(text: str, **more: Any) -> Inbound:
    return inbound(message(text, GROUP, **more))


# ---------------------------------------------------------------- where and who


def test_a_private_message_is_addressed_and_carries_everything_that_intake_needs() -> None:
    said = inbound(message("do files.delete paths=old.log"))
    assert (said.delivery_id, said.text, said.addressed, said.foreign) == (
        "update:55", "do files.delete paths=old.log", True, (),
    )  # fmt: skip
    assert (said.sender.external_id, said.sender.display_name) == ("1001", "Ann Lee")
    assert (said.place.key, said.place.private, said.message_ref) == ("telegram/1001", True, "7")


def test_a_topic_is_a_thread_and_a_plain_reply_thread_is_none() -> None:
    assert group("hello", message_thread_id=9, is_topic_message=True).place.key == "telegram/-100500/9"
    assert group("hello", message_thread_id=9).place.thread == ""


def test_group_talk_that_does_not_mean_us_is_not_addressed() -> None:
    said = group("what about the deploy?")
    assert (said.addressed, said.place.private, said.place.title) == (False, False, "Ops")


@pytest.mark.parametrize(
    ("text", "kind", "name", "left"),
    [
        ("@SaysoBot tasks", "mention", "@SaysoBot", "tasks"),
        ("@saysobot tasks", "mention", "@saysobot", "tasks"),
        ("tasks @SaysoBot", "mention", "@SaysoBot", "tasks"),
        ("😀 tell @SaysoBot now", "mention", "@SaysoBot", "😀 tell @SaysoBot now"),
    ],
)
def test_a_mention_addresses_us_and_is_taken_off_at_the_edges(text: str, kind: str, name: str, left: str) -> None:
    said = group(text, entities=[entity(kind, text, name)])
    assert (said.addressed, said.text) == (True, left)


def test_a_mention_of_somebody_else_does_not_address_us() -> None:
    text = "@SaysoBotty tasks"
    assert group(text, entities=[entity("mention", text, "@SaysoBotty")]).addressed is False


def test_a_reply_to_us_addresses_us_and_what_it_answers_is_foreign() -> None:
    earlier = {"message_id": 3, "date": 1, "chat": GROUP, "from": US, "text": "Approve this: yes"}
    said = group("why?", reply_to_message=earlier)
    assert (said.addressed, said.text, said.foreign) == (True, "why?", ("Approve this: yes",))
    assert said.answers_to == "3"


def test_the_first_message_of_a_topic_that_we_made_is_no_reply_to_us() -> None:
    made = {
        "message_id": 3,
        "date": 1,
        "chat": GROUP,
        "from": US,
        "forum_topic_created": {"name": "x", "icon_color": 1},
    }
    said = group("just talk", reply_to_message=made, message_thread_id=3, is_topic_message=True)
    assert (said.addressed, said.answers_to) == (False, "")


# ---------------------------------------------------------------- whose words


def test_forwarded_text_is_foreign_and_never_the_senders() -> None:
    origin = {"type": "user", "date": 1, "sender_user": BOB}
    said = inbound(message("do files.delete paths=*", forward_origin=origin))
    assert (said.text, said.foreign) == ("", ("do files.delete paths=*",))


def test_a_forwarded_command_addresses_nobody_in_a_group() -> None:
    origin = {"type": "hidden_user", "date": 1, "sender_user_name": "x"}
    said = group("/stop@SaysoBot", forward_origin=origin)
    assert (said.text, said.addressed) == ("", False)


def test_what_another_bot_composed_is_foreign() -> None:
    said = inbound(message("do x", via_bot={"id": 9, "is_bot": True, "first_name": "gif"}))
    assert (said.text, said.foreign) == ("", ("do x",))


def test_a_quote_is_foreign() -> None:
    earlier = {"message_id": 3, "date": 1, "chat": DM, "from": BOB, "text": "long story"}
    said = inbound(message("what is that?", reply_to_message=earlier, quote={"text": "story", "position": 5}))
    assert (said.text, said.foreign) == ("what is that?", ("story", "long story"))


def test_a_caption_is_the_senders_text() -> None:
    photo = [{"file_id": "a", "file_unique_id": "b", "width": 1, "height": 1}]
    assert inbound(message(None, photo=photo, caption="look at this")).text == "look at this"


# ---------------------------------------------------------------- commands


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("/tasks", "tasks"),
        ("/do files.delete paths=old.log", "do files.delete paths=old.log"),
        ("/do@SaysoBot files.list", "do files.list"),
        ("/start A7K2B3C4", "start A7K2B3C4"),
        ("/start", "start"),
        ("/etc/hosts is broken", "/etc/hosts is broken"),
        ("/unheard of", "/unheard of"),
    ],
)
def test_a_command_loses_its_slash_and_a_path_keeps_it(text: str, becomes: str) -> None:
    assert inbound(message(text)).text == becomes


def test_a_command_addresses_us_in_a_group_unless_it_names_another_bot() -> None:
    assert group("/status 12").addressed is True
    assert group("/frobnicate").addressed is False
    assert isinstance(translate(message("/status@OtherBot", GROUP), ME), Dropped)


# ---------------------------------------------------------------- what is dropped


@pytest.mark.parametrize(
    "update",
    [
        {"update_id": 1, "edited_message": message("x")["message"]},
        {"update_id": 1, "channel_post": message("x")["message"] | {"chat": {"id": -5, "type": "channel"}}},
        {"update_id": 1, "my_chat_member": {}},
        message("x", **{"from": US}),
        message("x", {"id": -5, "type": "channel", "title": "News"}),
        message("x", GROUP, is_automatic_forward=True),
        message(None, GROUP, new_chat_members=[BOB]),
        message(None, GROUP, photo=[{"file_id": "a", "file_unique_id": "b", "width": 1, "height": 1}]),
    ],
)
def test_edits_channels_bots_and_service_messages_are_dropped(update: dict[str, Any]) -> None:
    try:
        made = translate(update, ME)
    except Malformed:
        made = Dropped("unreadable")
    assert isinstance(made, Dropped)


@pytest.mark.parametrize(
    "raw", [None, 3, [], {}, {"update_id": "1"}, {"update_id": True}, {"update_id": 1, "message": 5}]
)
def test_what_is_no_update_is_malformed(raw: Any) -> None:
    with pytest.raises(Malformed):
        translate(raw, ME)


def test_entities_that_point_nowhere_do_not_break_the_message() -> None:
    wild = [{"type": "mention", "offset": 900, "length": 900}, {"type": "mention", "offset": 1, "length": 1}]
    assert group("😀 hi", entities=wild).text == "😀 hi"


def test_characters_that_no_database_holds_are_replaced() -> None:
    update = json.loads('{"update_id":1,"message":{"message_id":7,"date":1,"chat":{"id":1,"type":"private"},'
                        '"from":{"id":1,"is_bot":false,"first_name":"A\\u0000"},"text":"a\\u0000b\\ud800c"}}')  # fmt: skip
    said = inbound(update)
    assert (said.text, said.sender.display_name) == ("a\ufffdb\ufffdc", "A\ufffd")


# ---------------------------------------------------------------- what is not a message


def test_a_group_that_moved_says_so_on_both_sides() -> None:
    assert translate(message(chat=GROUP, migrate_to_chat_id=-1009), ME) == Moved("-100500", "-1009")
    assert translate(message(chat=GROUP, migrate_from_chat_id=-77), ME) == Moved("-77", "-100500")


def test_a_stop_counts_in_private_chats_only() -> None:
    stopped = {"chat": DM, "draft_id": 12}
    halted = Halted("update:9", Identity(channel=Channel.TELEGRAM, external_id="1001"), 12)
    assert translate({"update_id": 9, "stopped_message_generation": stopped}, ME) == halted
    assert isinstance(translate({"update_id": 9, "stopped_message_generation": stopped | {"chat": GROUP}}, ME), Dropped)
    with pytest.raises(Malformed):
        translate({"update_id": 9, "stopped_message_generation": {"chat": DM}}, ME)


def test_the_link_of_a_question_counts_in_a_private_chat_only() -> None:
    payload = Prompt("deny", str(UUID(KEY)), "0a").payload
    wanted = translate(message(f"/start {payload}"), ME)
    assert isinstance(wanted, Wanted)
    assert wanted.prompt.verb == "deny"
    assert group(f"/start@SaysoBot {payload}").text == f"start {payload}"


@pytest.mark.parametrize(("name", "says"), COMMANDS.items())
def test_every_command_of_the_menu_is_understood(name: str, says: str) -> None:
    for example in (name, says.partition(": ")[2] or name):
        command = commands.parse(example, {one.name: one for one in MANIFESTS}, {"deploy"})
        assert not isinstance(command, commands.PlainText), example


# ---------------------------------------------------------------- buttons


def tapped(data: str, **more: Any) -> Tapped:
    card = {"message_id": 12, "date": 1, "chat": GROUP, "from": US, "text": "card"}
    query = {"id": "q1", "from": ANN, "chat_instance": "c", "message": card, "data": data} | more
    made = translate({"update_id": 8, "callback_query": query}, ME)
    assert isinstance(made, Tapped)
    return made


def test_a_tap_carries_who_where_and_what() -> None:
    made = tapped(f"a:{KEY}:approve")
    assert (made.query_id, made.sender.external_id, made.place, made.message_id) == (
        "q1",
        "1001",
        Place(channel=Channel.TELEGRAM, external_id="-100500", title="Ops"),
        12,
    )
    assert made.tap == Tap("act", "approval", str(UUID(KEY)), "approve")


def test_a_card_too_old_to_be_shown_can_still_be_tapped() -> None:
    gone = {"message_id": 12, "date": 0, "chat": GROUP}
    assert tapped(f"a:{KEY}:deny", message=gone).tap == Tap("act", "approval", str(UUID(KEY)), "deny")


@pytest.mark.parametrize(
    "data",
    [
        "", "approve", f"a:{KEY}", f"a:{KEY}:", f"a:{KEY}:become_owner", f"a:{KEY.upper()}:approve", f"a:{KEY[:-1]}:approve",
        f"a:{KEY}:approve ", f"a:{KEY}:approve\n", f"x:{KEY}:approve", f"b:{KEY}:approve", f"t:{KEY}:stop", "t:0:stop",
        "t:-1:stop", "t:1:approve", "t:١:stop", "c:12:delete", "a:12:approve", "t:9999999999999999999:stop",
    ],
)  # fmt: skip
def test_data_that_no_button_of_ours_carries_is_no_tap(data: str) -> None:
    assert tapped(data).tap is None


@given(st.text(max_size=64))
def test_any_data_is_read_without_an_error_and_means_exactly_what_we_would_write(data: str) -> None:
    tap = read_tap(data)
    assert tap is None or tap.data == data


@pytest.mark.parametrize("verb", sorted(VERDICTS))
def test_every_button_fits_into_callback_data(verb: str) -> None:
    for kind in ("act", "confirm", "back"):
        data = Tap(kind, "approval", str(UUID(KEY)), "" if kind == "back" else verb).data  # type: ignore[arg-type]
        assert 1 <= len(data.encode()) <= CALLBACK_BYTES
        assert read_tap(data) is not None
