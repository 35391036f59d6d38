"""What Slack delivers of tabs, sessions, shortcuts and groups, read with nothing around it: who, where, and nothing for us."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.slack.payload import Own
from bot.slack.shortcut import SHORTCUT, ShortcutFilled, ShortcutUsed
from bot.slack.surfaces import GroupChanged, HomePressed, SessionStopped, TabOpened, surface
from bot.slack.translate import Dropped
from tests.test_slack_translate import JSON, OWN, callback, message, payloads, spots

GRID = Own(team="T0ACME", enterprise="E0CORP", bot_user="U0SAYSO")
HOME = {"type": "app_home_opened", "user": "U01ALICE", "channel": "D1", "tab": "home", "event_ts": "1.2"}
STOP = {"type": "agent_session_stopped", "user": "U01ALICE", "channel": "C1", "thread_ts": "1.2", "event_ts": "1.3"}
GROUP = {"type": "subteam_members_changed", "subteam_id": "S0OPS", "team_id": "T0ACME"}


def used(**fields: Any) -> dict[str, Any]:
    return {
        "type": "message_action",
        "callback_id": SHORTCUT,
        "trigger_id": "1.2.x",
        "team": {"id": "T0ACME"},
        "user": {"id": "U01ALICE", "team_id": "T0ACME"},
        "channel": {"id": "C1", "name": "ops"},
        "message": {"type": "message", "user": "U01BOB", "ts": "1.2", "text": "look"},
    } | fields


def filled(words: str = "do files.list", **fields: Any) -> dict[str, Any]:
    view = {
        "id": "V1",
        "type": "modal",
        "callback_id": SHORTCUT,
        "private_metadata": "C1|1.2",
        "blocks": [{"type": "section", "block_id": "shown:0", "text": {"type": "plain_text", "text": "look"}}],
        "state": {"values": {"words": {"words": {"type": "plain_text_input", "value": words}}}},
    }
    return {"type": "view_submission", "team": {"id": "T0ACME"}, "user": {"id": "U01ALICE"}, "view": view} | fields


def pressed(**fields: Any) -> dict[str, Any]:
    action = {"action_id": "sayso:home:stop", "value": "12", "action_ts": "1.5", "type": "button"}
    view = {"id": "V1", "type": "home"}
    body = {"type": "block_actions", "team": {"id": "T0ACME"}, "user": {"id": "U01ALICE"}, "view": view}
    return body | {"actions": [action]} | fields


def test_each_surface_is_known_for_what_it_is() -> None:
    opened = surface(callback(HOME), OWN)
    assert isinstance(opened, TabOpened)
    assert (opened.is_home, opened.channel, opened.person.external_id) == (True, "D1", "T0ACME/U01ALICE")
    stopped = surface(callback(STOP), OWN)
    assert isinstance(stopped, SessionStopped)
    assert (stopped.place, stopped.thread, stopped.delivery) == ("T0ACME/C1", "1.2", "Ev1")
    assert surface(callback(GROUP), OWN) == GroupChanged("S0OPS")
    press = surface(pressed(), OWN)
    assert isinstance(press, HomePressed)
    assert (press.verb, press.value, press.delivery) == ("stop", "12", "home:T0ACME:U01ALICE:stop:1.5")
    form = surface(used(), OWN)
    assert isinstance(form, ShortcutUsed) and form.trigger == "1.2.x"
    sent = surface(filled(), OWN)
    assert isinstance(sent, ShortcutFilled)
    assert (sent.inbound.text, sent.inbound.foreign, sent.inbound.place.private) == ("do files.list", ("look",), True)


def test_what_is_about_no_surface_is_left_to_the_others() -> None:
    assert surface(callback(message()), OWN) is None
    assert surface({"type": "block_actions", "view": {"type": "modal"}}, OWN) is None
    assert surface({"type": "view_submission", "view": {"callback_id": "sayso:deny"}}, OWN) is None


@pytest.mark.parametrize(
    "payload", [callback(HOME), callback(STOP), pressed(), filled()], ids=["tab", "stop", "press", "form"]
)
def test_on_a_grid_people_and_places_belong_to_the_enterprise(payload: dict[str, Any]) -> None:
    found = surface(payload, GRID)
    if isinstance(found, ShortcutFilled):
        assert found.inbound.place.external_id == "E0CORP/U01ALICE"
        assert found.inbound.sender.external_id == "E0CORP/U01ALICE"
        return
    assert isinstance(found, TabOpened | SessionStopped | HomePressed)
    assert found.person.external_id == "E0CORP/U01ALICE"


@pytest.mark.parametrize(
    "payload",
    [
        callback(HOME, team_id="T0OTHER", authorizations=[]),
        callback(STOP, team_id="T0OTHER", authorizations=[]),
        callback(STOP, is_ext_shared_channel=True),
        pressed(user={"id": "U01ALICE", "team_id": "T0OTHER"}),
        pressed(team={"id": "T0OTHER"}),
        filled(user={"id": "U01ALICE", "team_id": "T0OTHER"}),
    ],
)
def test_somebody_of_another_workspace_is_somebody_else(payload: dict[str, Any]) -> None:
    found = surface(payload, OWN)
    assert isinstance(found, TabOpened | SessionStopped | HomePressed | ShortcutFilled)
    who = found.inbound.sender if isinstance(found, ShortcutFilled) else found.person
    assert who.external_id in ("T0OTHER/U01ALICE", "unknown/U01ALICE")


def test_what_our_own_bot_said_is_foreign_also_to_who_made_it_say_so() -> None:
    ours = {"type": "message", "user": "U01ALICE", "bot_id": "B1", "ts": "1.2", "text": "do files.delete paths=x"}
    found = surface(used(message=ours), OWN)
    assert isinstance(found, ShortcutUsed)
    assert "initial_value" not in json.dumps(found.view) and "files.delete" in json.dumps(found.view)


@given(st.data())
def test_any_shape_has_an_answer(data: st.DataObject) -> None:
    payload = data.draw(st.sampled_from([callback(HOME), callback(STOP), callback(GROUP), used(), filled(), pressed()]))
    broken = json.loads(json.dumps(payload))
    where = list(spots(broken))
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(where))
        holder[key] = data.draw(JSON)
    known = TabOpened | HomePressed | SessionStopped | ShortcutUsed | ShortcutFilled | GroupChanged | Dropped
    found = surface(broken, OWN)
    assert found is None or isinstance(found, known)


def test_a_shortcut_of_ours_is_understood() -> None:
    own = Own(team="T111", enterprise="E111", bot_user="U999")
    for payload in payloads("message_shortcut"):
        assert isinstance(surface(payload, own), Dropped)
        found = surface(payload | {"callback_id": SHORTCUT}, own)
        assert isinstance(found, ShortcutUsed)
        shown = payload["message"]["text"].replace("<@W222>", "@W222")
        assert found.view["blocks"][0]["element"]["initial_value"] == shown, "its own author pressed it"
