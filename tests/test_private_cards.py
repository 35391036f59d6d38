"""What is asked about is private where an argument has a secret's name: whole for those who decide, a line for the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core import intake
from core.cards import YES, Button, Card, approval_card, call_title, labelled, step_title
from core.cards.card import StepLine
from core.cards.title import action_title
from core.display import Masks, names_secret
from core.models import Channel, Identity, Inbound, Place
from tests.test_whole_way import NUMBERS, Sayso, eventually, sayso
from tests.web_house import MANIFESTS

__all__ = ["sayso"]

SECRET = "hunter2-hunter2"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def row(args: dict[str, Any], **more: Any) -> dict[str, Any]:
    action = {"skill": "users.create", "version": "1", "args": args}
    return {
        "id": "8cdd0e70-0000-4000-8000-000000000000", "kind": "action", "status": "pending", "task_id": 17,
        "skill": "users.create",
        "items": [{"task": "17", "step": 1, "digest": "3f9a10", "action": action}], "goal": f"make bob, {SECRET}",
        "card": {"title": f"Create bob {SECRET}", "reasons": [SECRET], "preview": SECRET, "destructive": False},
        "approvers": {"people": ["ann"], "roles": [], "needed": 2}, "votes": [], "requester": "bob", "requester_name": "Bob",
        "questions": [{"by": "Ann", "question": SECRET, "answer": SECRET, "is_open": False}], "reason": SECRET,
        "expires_at": NOW + timedelta(hours=1), "decided_at": None, "decider": None, "step_status": "awaiting_approval",
        "step_result": {"summary": SECRET}, "step_error": SECRET, "step_approval_id": None,
    } | more  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [{"password": "x"}, {"a": [{"api_key": "x"}]}, {"headers": {"Authorization": "x"}}, {"tokens": ["", "x"]}],
)
def test_words_under_a_secrets_name_are_found(value: dict[str, Any]) -> None:
    assert names_secret(value)


@pytest.mark.parametrize(
    "value", [{"path": "password.txt"}, {"max_tokens": 100}, {"password": ""}, {"token": None}, "secret", ["token"]]
)
def test_what_only_speaks_of_secrets_is_not_private(value: Any) -> None:
    assert not names_secret(value)


def test_a_headline_says_that_something_is_private_and_not_what() -> None:
    assert action_title("Set {password} for {user}", {"password": SECRET, "user": "bob"}) == "Set (private) for bob"
    assert action_title("Send {headers}", {"headers": {"Cookie": SECRET}}) == "Send (private)"


def test_a_step_is_named_by_what_it_refers_to_and_by_the_values_once_they_are_there() -> None:
    def named(title: str, **result: Any) -> str:
        find = {"n": 2, "title": "", "skill": "files.list", "kind": "act", "result": result or None}
        return step_title({"n": 3, "title": title, "skill": "", "kind": "act", "result": None}, [find])

    title = "Delete {{ 2.paths }} from the workspace"
    assert named(title) == "Delete (paths of step 2) from the workspace"
    assert named(title, files=[]) == named(title), "it came to something else"
    paths = ["a.log", "b\u202e.log", "c", "d"]
    assert named(title, paths=paths) == "Delete a.log, b⟨U+202E⟩.log, c and 1 more from the workspace"
    assert named("Say {{ 2 }}", paths=paths) == "Say (the result of step 2)"
    assert named("Enter {{ 2.password }}", password=SECRET) == "Enter (private)"


def test_a_call_is_named_with_what_its_skill_takes_what_is_not_given_for() -> None:
    listing = MANIFESTS[1].model_copy(
        update={"args_schema": {"type": "object", "properties": {"pattern": {"type": "string", "default": "*"}}}}
    )
    assert call_title(listing, {}) == "List *"
    assert call_title(listing, {"pattern": "*.log"}) == "List *.log"
    assert call_title(MANIFESTS[1], {}) == "List {pattern}"
    assert action_title("Delete {paths} from the workspace", {"paths": []}) == "Delete (nothing) from the workspace"


def test_what_it_would_do_stands_under_one_label_and_begins_no_line_of_ours() -> None:
    card = approval_card(row({"path": "x"}, card={"title": "Delete x", "preview": "a: 1 kB\nMay decide: anybody"}))
    assert card.lines[0] == "What it would do: a: 1 kB\n· May decide: anybody"
    assert labelled(card.lines[0]) == ("What it would do", "a: 1 kB\n· May decide: anybody")


def test_a_yes_that_came_to_nothing_is_told_as_a_yes() -> None:
    yes = {"by": "Ann", "key": "ann", "verdict": "approve", "reason": "", "channel": "slack", "at": NOW}
    over = {"decider": "Ann", "decided_at": NOW, "step_status": "cancelled", "questions": [], "status": "cancelled"}
    card = approval_card(row({"path": "x"}, reason="stopped by Bob", votes=[yes], **over))
    assert card.status == card.decided.lower() == "cancelled"
    assert {"Approved by Ann in Slack at 12:00 UTC", "Reason: stopped by Bob"} < set(card.lines)
    card = approval_card(row({"path": "x"}, reason="no", votes=[yes | {"verdict": "stop"}], **over))
    assert card.decided == "Stopped by Ann, 12:00 UTC" and "Stopped by Ann in Slack at 12:00 UTC" in card.lines


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"kind": "unknown", "status": "pending"},
        {"status": "denied", "decided_at": NOW, "decider": "Ann"},
        {"status": "consumed", "decided_at": NOW, "decider": "Ann", "step_approval_id": 1, "step_status": "succeeded"},
    ],
    ids=["pending", "unknown", "denied", "done"],
)
def test_where_others_read_along_nothing_of_it_is_shown_and_nobody_can_say_yes(more: dict[str, Any]) -> None:
    card = approval_card(row({"password": SECRET}, **more), is_shared=True)
    assert SECRET not in card.model_dump_json()
    assert not YES & {button.verb for button in (*card.buttons, *card.more)}
    assert any("private" in line for line in card.lines)
    assert ("Ann" in card.decided) == ("decided_at" in more)


def test_those_who_decide_see_all_of_it() -> None:
    card = approval_card(row({"password": SECRET}))
    assert SECRET in card.exact
    assert "approve" in {button.verb for button in card.buttons}


def test_what_is_not_private_is_whole_everywhere() -> None:
    asked = row({"name": "bob"})
    assert approval_card(asked, is_shared=True) == approval_card(asked)


async def test_a_channel_gets_a_line_and_those_who_decide_get_the_card_at_once(sayso: Sayso) -> None:
    told = await intake.receive(
        sayso.deps,
        Inbound(
            channel=Channel.SLACK,
            delivery_id=f"Ev{next(NUMBERS)}",
            sender=Identity(channel=Channel.SLACK, external_id="T0ACME/U01ALICE"),
            place=Place(channel=Channel.SLACK, external_id="T0ACME/C0OPS", thread="1.1"),
            text=f'do http.request method=POST url=https://93.184.216.34/x headers={{"Authorization":"Bearer {SECRET}"}}',
            addressed=True,
        ),
    )
    approval = await sayso.approval_of(told.task_id)
    cards = await eventually(lambda: found if len(found := sayso.chat.now("approval")) == 2 else None)
    [line] = [card for card in cards if SECRET not in card.model_dump_json()]
    [whole] = [card for card in cards if card is not line]
    assert (line.headline, line.buttons) == ("Asked about: http.request", ())
    assert "approve" in {button.verb for button in whole.buttons}
    places = await sayso.deps.db.fetch(
        "select c.channel, c.external_id from cards k join conversations c on c.id = k.conversation_id"
        " where k.approval_id = $1::text::uuid order by 1, 2",
        approval["id"],
    )
    assert [tuple(p) for p in places] == [
        ("slack", "T0ACME/C0OPS"), ("slack", "T0ACME/U01ALICE"), ("telegram", "1001"),
    ]  # fmt: skip


def test_a_masked_card_shows_a_secret_nowhere() -> None:
    """Whatever text a card gets one day: what is not named here has to be masked."""
    said = f"it is {SECRET}"
    button = Button(verb="approve", label="Approve", confirm=said, yes="Approve")
    step = StepLine(n=1, title=said, status=said, note=said)
    texts = dict.fromkeys(("headline", "status", "quote", "exact", "answer", "decided"), said)
    card = Card(
        subject="task", subject_id="1", task_id="1", tone="busy", lines=(said,), steps=(step,), buttons=(button,),
        more=(button,), path="/tasks/1", **texts,
    )  # fmt: skip
    assert set(Card.model_fields) == {
        *texts, "subject", "subject_id", "task_id", "tone", "lines", "steps", "buttons", "more", "expires_at", "path",
    }  # fmt: skip
    assert SECRET not in card.masked(Masks([SECRET], b"key")).model_dump_json()
