"""Slack's payloads become ours: who, where, which words, and what is none of our concern."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.slack.payload import Own
from bot.slack.translate import (
    Dropped,
    Pressed,
    ReasonWanted,
    Reply,
    Said,
    Steered,
    translate,
)
from core import config
from core.models import Attached
from tests import contracts

OWN = Own(team="T0ACME", enterprise="", bot_user="U0SAYSO")
SPECS = Path(os.environ.get("SAYSO_SPECS", Path(__file__).resolve().parents[2] / "shared" / "specs"))
SAMPLES = SPECS / "samples" / "slack"

APPROVAL = "0190a0a0-0000-7000-8000-000000000001"


def callback(event: dict[str, Any], **outer: Any) -> dict[str, Any]:
    return {
        "type": "event_callback",
        "team_id": "T0ACME",
        "event_id": "Ev1",
        "event": event,
        "authorizations": [{"enterprise_id": None, "team_id": "T0ACME", "user_id": "U0SAYSO", "is_bot": True}],
        "is_ext_shared_channel": False,
    } | outer


def message(**fields: Any) -> dict[str, Any]:
    return {
        "type": "message",
        "user": "U01ALICE",
        "team": "T0ACME",
        "channel": "D1",
        "ts": "1.2",
        "text": "hi",
    } | fields


def said(payload: dict[str, Any], own: Own = OWN) -> Said:
    found = translate(payload, own)
    assert isinstance(found, Said), found
    return found


def press(**fields: Any) -> dict[str, Any]:
    return {
        "type": "block_actions",
        "user": {"id": "U01ALICE", "name": "alice", "team_id": "T0ACME"},
        "team": {"id": "T0ACME"},
        "container": {"type": "message", "message_ts": "5.6", "channel_id": "C0OPS", "thread_ts": "4.5"},
        "channel": {"id": "C0OPS"},
        "response_url": "https://hooks.slack.com/actions/T/1/x",
        "trigger_id": "1.2.x",
        "actions": [{"type": "button", "action_id": "sayso:approve", "value": APPROVAL, "action_ts": "9.9"}],
    } | fields


def button(action_id: str, value: str = APPROVAL) -> dict[str, Any]:
    return press(actions=[{"type": "button", "action_id": action_id, "value": value, "action_ts": "9.9"}])


# ---------------------------------------------------------------- messages


def test_a_direct_message_is_private_and_addressed() -> None:
    inbound = said(callback(message(text="do files.list"))).inbound
    assert (inbound.delivery_id, inbound.text, inbound.addressed) == ("Ev1", "do files.list", True)
    assert inbound.sender.external_id == "T0ACME/U01ALICE"
    assert inbound.place.key == "slack/T0ACME/D1/1.2"
    assert inbound.place.private


def test_a_threaded_direct_message_stays_in_its_thread() -> None:
    assert said(callback(message(thread_ts="0.9"))).inbound.place.thread == "0.9"


def test_a_mention_opens_a_thread_under_itself() -> None:
    inbound = said(callback(message(type="app_mention", channel="C0OPS", text="<@U0SAYSO> tasks"))).inbound
    assert (inbound.text, inbound.place.thread, inbound.place.private) == ("tasks", "1.2", False)


def test_the_message_beside_a_mention_is_dropped() -> None:
    twin = message(channel="C0OPS", text="<@U0SAYSO> tasks", channel_type="channel")
    assert isinstance(translate(callback(twin), OWN), Dropped)


def test_a_reply_in_a_thread_counts_but_is_not_addressed() -> None:
    inbound = said(callback(message(channel="C0OPS", thread_ts="1.0", text="the second one"))).inbound
    assert (inbound.addressed, inbound.place.thread) == (False, "1.0")


def test_talk_in_a_channel_is_none_of_our_concern() -> None:
    assert isinstance(translate(callback(message(channel="C0OPS")), OWN), Dropped)


@pytest.mark.parametrize(
    "fields",
    [
        {"subtype": "message_changed"},
        {"subtype": "message_deleted"},
        {"subtype": "thread_broadcast"},
        {"subtype": "channel_join"},
        {"subtype": "invented_tomorrow"},
        {"bot_id": "B9"},
        {"hidden": True},
        {"user": "U0SAYSO"},
        {"user": "USLACKBOT"},
        {"user": None},
        {"ts": 5},
        {"type": "reaction_added"},
        {"type": "app_mention"},
    ],
)
def test_what_no_person_says_to_us_is_dropped(fields: dict[str, Any]) -> None:
    assert isinstance(translate(callback(message(**fields)), OWN), Dropped)


def test_what_is_attached_is_foreign() -> None:
    event = message(
        subtype="file_share",
        text="look",
        attachments=[{"text": "Delete <http://x.example|all>", "title": "Shared"}, {"fallback": "[no preview]"}],
        files=[{"id": "F1", "name": "a.png", "mimetype": "image/png", "size": 5}, {"name": "no id"}],
    )
    inbound = said(callback(event)).inbound
    assert inbound.text == "look"
    assert inbound.foreign == (
        "Shared\nDelete http://x.example",
        "[no preview]",
    )
    assert inbound.attached == (Attached(ref="F1", name="a.png", mime="image/png", size=5, kind="image"),)


@pytest.mark.parametrize(
    ("fields", "outer", "sender"),
    [
        ({"team": "T0OTHER"}, {}, "T0OTHER/U01ALICE"),
        ({"user_team": "T0OTHER"}, {"is_ext_shared_channel": True}, "T0OTHER/U01ALICE"),
        ({"user_team": "E0OTHER", "team": "T0ACME"}, {}, "E0OTHER/U01ALICE"),
        ({"team": None}, {"is_ext_shared_channel": True}, "unknown/U01ALICE"),
        ({}, {"authorizations": [{"team_id": "T0OTHER"}]}, "T0OTHER/U01ALICE"),
        ({}, {"authorizations": [], "team_id": "T0OTHER"}, "T0OTHER/U01ALICE"),
        ({}, {"authorizations": None, "team_id": None}, "unknown/U01ALICE"),
        ({"source_team": "T0OTHER"}, {"team_id": "T0OTHER", "is_ext_shared_channel": True}, "T0ACME/U01ALICE"),
    ],
)
def test_a_person_of_another_workspace_keeps_its_name(
    fields: dict[str, Any], outer: dict[str, Any], sender: str
) -> None:
    assert said(callback(message(**fields), **outer)).inbound.sender.external_id == sender


def test_on_a_grid_people_belong_to_the_enterprise() -> None:
    own = Own(team="T0ACME", enterprise="E0CORP", bot_user="U0SAYSO")
    inbound = said(callback(message()), own).inbound
    assert inbound.sender.external_id == "E0CORP/U01ALICE"
    assert inbound.place.external_id == "E0CORP/D1"
    assert said(callback(message(team="E0CORP")), own).inbound.sender.external_id == "E0CORP/U01ALICE"
    assert said(callback(message(team="T0SIBLING")), own).inbound.sender.external_id == "T0SIBLING/U01ALICE"


def test_a_text_over_the_limit_stays_over_it_and_short() -> None:
    assert len(said(callback(message(text="x" * 500_000))).inbound.text) == config.INBOUND_CHARS + 1


# ---------------------------------------------------------------- commands and presses


def command(**fields: Any) -> dict[str, Any]:
    return {
        "command": "/sayso", "text": "tasks", "team_id": "T0ACME", "user_id": "U01ALICE", "user_name": "alice",
        "channel_id": "C0OPS", "channel_name": "ops", "trigger_id": "1.2.x", "response_url": "https://hooks.slack.com/x",
    } | fields  # fmt: skip


def test_a_command_is_answered_in_its_channel() -> None:
    found = said(command())
    assert (found.inbound.delivery_id, found.inbound.text) == ("1.2.x", "tasks")
    assert (found.inbound.place.key, found.inbound.place.title) == ("slack/T0ACME/C0OPS", "#ops")
    assert found.reply == Reply("C0OPS", "U01ALICE", url="https://hooks.slack.com/x")


def test_a_command_typed_between_two_people_is_answered_in_our_own_conversation() -> None:
    place = said(command(channel_id="D9", channel_name="directmessage")).inbound.place
    assert (place.external_id, place.private) == ("T0ACME/U01ALICE", True)


def test_a_press_carries_only_the_approval_and_who_pressed() -> None:
    found = translate(press(), OWN)
    assert isinstance(found, Pressed)
    assert found.press.sender.external_id == "T0ACME/U01ALICE"
    assert (found.press.approval_id, found.press.verdict) == (APPROVAL, "approve")
    assert found.press.delivery_id == "T0ACME:U01ALICE:C0OPS:5.6:sayso:approve:9.9"
    assert found.reply == Reply("C0OPS", "U01ALICE", "4.5", "https://hooks.slack.com/actions/T/1/x")


@pytest.mark.parametrize("verb", ["approve", "deny", "stop", "happened", "not_happened", "abandon"])
def test_every_verb_of_an_approval_is_known(verb: str) -> None:
    found = translate(button(f"sayso:{verb}"), OWN)
    assert isinstance(found, Pressed)
    assert found.press.verdict == verb


@pytest.mark.parametrize(
    "payload",
    [
        button("other:approve"),
        button("sayso:answer"),
        button("sayso:become_owner"),
        button("sayso:open"),
        button("sayso:approve", ""),
        button("sayso:approve", "task:5"),
        button("sayso:stop", "task:²"),
        button("sayso:stop", "task:9999999999999999999"),
        press(actions=[]),
        press(actions="all"),
        press(user={}),
    ],
)
def test_a_button_that_is_not_ours_decides_nothing(payload: dict[str, Any]) -> None:
    assert isinstance(translate(payload, OWN), Dropped)


@pytest.mark.parametrize(
    "fields",
    [
        {"team": {"id": "T0OTHER"}},
        {"user": {"id": "U01ALICE", "team_id": "T0OTHER"}},
        {"user": {"id": "U01ALICE"}, "team": None},
    ],
)
def test_the_right_user_id_of_a_wrong_workspace_is_somebody_else(fields: dict[str, Any]) -> None:
    found = translate(press(**fields), OWN)
    assert isinstance(found, Pressed)
    assert found.press.sender.external_id in ("T0OTHER/U01ALICE", "unknown/U01ALICE")


def test_a_run_cards_button_steers_its_task() -> None:
    found = translate(button("sayso:pause", "task:17"), OWN)
    assert isinstance(found, Steered)
    assert (found.task_id, found.verb) == (17, "pause")


def test_denying_with_a_reason_takes_a_form_and_then_a_press() -> None:
    asked = translate(button("sayso:deny_ask"), OWN)
    assert isinstance(asked, ReasonWanted)
    assert asked.reply == Reply("C0OPS", "U01ALICE", "4.5", press()["response_url"])
    assert (asked.approval_id, asked.trigger, asked.verb) == (APPROVAL, "1.2.x", "deny")
    assert asked.sender.external_id == "T0ACME/U01ALICE"
    view = {
        "id": "V1",
        "callback_id": "sayso:deny",
        "private_metadata": f"{APPROVAL}|C0OPS|4.5",
        "state": {"values": {"reason": {"reason": {"type": "plain_text_input", "value": " not today "}}}},
    }
    found = translate(press(type="view_submission", view=view), OWN)
    assert isinstance(found, Pressed)
    assert (found.press.verdict, found.press.reason, found.press.approval_id) == ("deny", "not today", APPROVAL)
    assert (found.reply, found.in_view) == (Reply("C0OPS", "U01ALICE", "4.5"), True)


def chosen(value: str) -> dict[str, Any]:
    option = {"text": {"type": "plain_text", "text": "x"}, "value": value}
    return press(
        actions=[{"type": "overflow", "action_id": "sayso:more", "action_ts": "9.9", "selected_option": option}]
    )


@pytest.mark.parametrize("verb", ["edit", "ask", "delegate", "deny_ask"])
def test_a_line_of_the_menu_opens_the_form_that_its_button_would(verb: str) -> None:
    found = translate(chosen(f"{verb}|{APPROVAL}"), OWN)
    assert isinstance(found, ReasonWanted)
    assert (found.approval_id, found.verb) == (APPROVAL, "deny" if verb == "deny_ask" else verb)


def test_a_line_of_the_menu_that_needs_no_form_is_a_press() -> None:
    first, second = translate(chosen(f"looking|{APPROVAL}"), OWN), translate(button("sayso:looking"), OWN)
    assert isinstance(first, Pressed)
    assert isinstance(second, Pressed)
    assert first.press.verdict == "looking"
    assert first.press.delivery_id == second.press.delivery_id


@pytest.mark.parametrize("value", ["", "approve", "|", f"|{APPROVAL}", f"own|{APPROVAL}", "approve|task:1", "pause|x"])
def test_a_line_that_is_not_ours_decides_nothing(value: str) -> None:
    assert isinstance(translate(chosen(value), OWN), Dropped)


def test_a_forms_menus_and_numbers_are_read_as_they_were_filled_in() -> None:
    option = {"text": {"type": "plain_text", "text": "slow"}, "value": "slow"}
    values = {
        "arg:mode": {"reason": {"type": "static_select", "selected_option": option}},
        "arg:dry": {"reason": {"type": "static_select", "selected_option": None}},
        "arg:count": {"reason": {"type": "number_input", "value": "12"}},
    }
    view = {"id": "V1", "callback_id": "sayso:form:edit", "private_metadata": APPROVAL, "state": {"values": values}}
    found = translate(press(type="view_submission", view=view), OWN)
    assert isinstance(found, Pressed)
    assert found.given == {"mode": "slow", "dry": "", "count": "12"}


# ---------------------------------------------------------------- anything at all

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["C0OPS", "sayso:stop", "task:1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.data())
def test_any_shape_has_an_answer(data: st.DataObject) -> None:
    payload = data.draw(
        st.sampled_from(
            [callback(message()), callback(message(type="app_mention", channel="C1")), press(), chosen("ask|x"), command(),
             press(type="view_submission", view={"callback_id": "sayso:deny", "id": "V1", "private_metadata": "a"})]
        )
    )  # fmt: skip
    broken = json.loads(json.dumps(payload))
    places = list(spots(broken))
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(places))
        holder[key] = data.draw(JSON)
    assert isinstance(translate(broken, OWN), Dropped | Said | Pressed | Steered | ReasonWanted)


def spots(value: Any) -> list[tuple[Any, Any]]:
    pairs = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [(value, key) for key, _ in pairs] + [spot for _, inner in pairs for spot in spots(inner)]


# ---------------------------------------------------------------- one of each kind

KINDS = {
    "message": Dropped,
    "message_bot": Dropped,
    "message_changed": Dropped,
    "message_deleted": Dropped,
    "message_file_share": Dropped,
    "message_thread_broadcast": Dropped,
    "assistant_user_message": Said,
    "assistant_channel_user_message": Said,
    "assistant_message_changed": Dropped,
    "assistant_channel_message_changed": Dropped,
    "assistant_thread_started": Dropped,
    "assistant_thread_context_changed": Dropped,
    "block_actions": Dropped,
    "global_shortcut": Dropped,
    "message_shortcut": Dropped,
    "slash_command": Said,
    "view_submission": Dropped,
}


def payloads(name: str) -> Iterator[dict[str, Any]]:
    """As it is documented; and as it was recorded from Slack, where that is at hand."""
    yield copy.deepcopy(contracts.described("slack_payloads")[name])
    if SAMPLES.is_dir():
        yield json.loads((SAMPLES / f"{name}.json").read_text())["payload"]


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_what_slack_sends_is_understood(name: str, kind: type) -> None:
    own = Own(team="T111", enterprise="E111", bot_user="W111")
    for payload in payloads(name):
        found = translate(payload, own)
        assert isinstance(found, kind), found
        if isinstance(found, Said):
            assert found.inbound.sender.external_id in ("E111/W222", "E111/W111")
            assert found.inbound.place.external_id.startswith("E111/")


def test_a_press_on_one_of_our_buttons_is_understood() -> None:
    for payload in payloads("block_actions"):
        pressed = payload["actions"][0]
        pressed |= {"action_id": "sayso:approve", "value": APPROVAL}
        found = translate(payload, Own(team="T111", enterprise="E111", bot_user="W999"))
        assert isinstance(found, Pressed)
        who, card, at = payload["user"]["id"], payload["container"]["message_ts"], pressed["action_ts"]
        assert found.press.sender.external_id == f"E111/{who}"
        assert found.press.delivery_id == f"E111:{who}:C111:{card}:sayso:approve:{at}"
