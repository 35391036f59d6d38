"""Slack's forms: each is one that Slack opens, fits its field, and says only whose card it belongs to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.slack.translate import Reply
from bot.slack.views import edit_view, loading_view, reason_view, said_view, words_view
from core.editing import Field
from tests.sim.slack_check import view_problems

APPROVAL = "0190a0a0-0000-7000-8000-000000000001"
REPLY = Reply("C0OPS", "U01ALICE", "4.5")


def element(field: Field) -> dict[str, Any]:
    view = edit_view(APPROVAL, [field], REPLY)
    assert view is not None
    assert view_problems(view) == []
    found: dict[str, Any] = view["blocks"][0]["element"]
    return found


@pytest.mark.parametrize(
    "view",
    [
        reason_view(APPROVAL, REPLY),
        words_view("ask", APPROVAL, REPLY),
        words_view("delegate", APPROVAL, REPLY),
        loading_view(APPROVAL, REPLY, "edit"),
        said_view(APPROVAL, REPLY, "edit", "no " * 2000),
    ],
    ids=["reason", "ask", "delegate", "loading", "said"],
)
def test_every_form_is_one_that_slack_opens_and_names_only_its_card(view: dict[str, Any]) -> None:
    assert view_problems(view) == []
    assert view["private_metadata"] == f"{APPROVAL}|C0OPS|4.5"


@pytest.mark.parametrize("view", [loading_view(APPROVAL, REPLY, "edit"), said_view(APPROVAL, REPLY, "edit", "x")])
def test_where_there_is_nothing_to_fill_in_there_is_nothing_to_submit(view: dict[str, Any]) -> None:
    assert "submit" not in view


def test_an_argument_gets_the_input_of_its_kind() -> None:
    choice = element(Field("mode", "choice", "fast", choices=("fast", "slow")))
    assert (choice["type"], choice["initial_option"]["value"]) == ("static_select", "fast")
    assert "initial_option" not in element(Field("mode", "choice", "", choices=("fast", "slow")))
    assert element(Field("dry", "boolean", "true", choices=("true", "false")))["type"] == "static_select"
    number = element(Field("count", "integer", "12"))
    assert (number["type"], number["is_decimal_allowed"], number["initial_value"]) == ("number_input", False, "12")
    assert element(Field("ratio", "number", "0.5"))["is_decimal_allowed"] is True
    assert element(Field("paths", "list", "a\nb"))["multiline"] is True


@pytest.mark.parametrize(
    "field",
    [
        Field("mode", "choice", "a", choices=("a", "b" * 76)),
        Field("mode", "choice", "a", choices=("a", "\u202eb")),
        Field("mode", "choice", "other", choices=("a", "b")),
        Field("mode", "choice", "a", choices=tuple(str(n) for n in range(101))),
        Field("count", "number", "1e+20"),
        Field("count", "integer", "9007199254740993000"),
    ],
    ids=["long", "hidden", "not one of them", "many", "exponent", "digits"],
)
def test_what_an_input_would_not_show_as_it_is_is_typed_as_text(field: Field) -> None:
    made = element(field)
    assert (made["type"], made["initial_value"]) == ("plain_text_input", field.value)


def test_a_value_too_long_for_a_field_makes_no_form() -> None:
    assert edit_view(APPROVAL, [Field("text", "long", "x" * 3001)], REPLY) is None
    assert edit_view(APPROVAL, [Field("n" * 252, "text", "x")], REPLY) is None
    assert edit_view(APPROVAL, [], REPLY) is None


FIELDS = st.builds(
    Field,
    name=st.text(min_size=1, max_size=40),
    kind=st.sampled_from(["text", "long", "number", "integer", "boolean", "choice", "list", "json"]),
    value=st.text(max_size=80) | st.integers().map(str) | st.just("<!channel> *x*\u202e"),
    hint=st.text(max_size=400),
    choices=st.lists(st.text(max_size=90), max_size=5).map(tuple),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(FIELDS, max_size=30, unique_by=lambda field: field.name))
def test_slack_opens_any_form(fields: list[Field]) -> None:
    view = edit_view(APPROVAL, fields, REPLY)
    assert (view is None) == (not fields)
    assert view is None or view_problems(view) == []
