"""Conditions of rules: checked when they are read, and never silently false."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.expressions import SOURCE_CHARS_MOST, VARIABLES, BadExpression, Expression

VALUES: dict[str, Any] = {
    "skill": "files.delete",
    "permission": "delete",
    "args": {"paths": ["a.log", "b.log"], "to": "ann@acme.example", "usd": 12.5, "force": True, "none": None},
    "risk": "high",
    "effect_class": "checkable",
    "reversible": True,
    "origin": {"paths": "untrusted", "to": "requester"},
    "tainted": False,
    "requester": {"id": "ann", "roles": ["owner", "oncall"]},
    "conversation": {"channel": "slack", "id": "C0OPS"},
    "count": 2,
    "amount": 12.5,
    "target": "a.log, b.log",
    "rate": 3,
    "new_target": False,
    "now": datetime(2026, 11, 20, 7, 30, tzinfo=UTC),
    "task": {"id": "7", "goal": "clean up", "spent": 0.5},
}


def test_the_values_of_this_test_are_all_the_variables_that_there_are() -> None:
    assert set(VALUES) == VARIABLES


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ("true", True),
        ("count > 20", False),
        ("amount > 10", True),
        ("amount > 12.5", False),
        ("reversible && !tainted", True),
        ('args.to.endsWith("@acme.example")', True),
        ('args["to"].matches("(?i)ANN@")', True),
        ('origin.paths == "untrusted"', True),
        ('"owner" in requester.roles', True),
        ('requester.roles.exists(r, r == "engineer")', False),
        ('args.paths.all(p, p.endsWith(".log"))', True),
        ("size(args.paths) == 2 && args.paths[0] == 'a.log'", True),
        ('conversation.channel == "slack" && conversation.id == "C0OPS"', True),
        ("now.getHours() < 8 || now.getHours() > 18", True),
        ('now > timestamp("2026-11-20T07:00:00Z")', True),
        ("has(args.missing) && args.missing == 1", False),
        ("args.none == null", True),
        ('target.contains("b.log") && task.spent < 1.0', True),
        ('"nobody.knows" == "task.nothing"', False),
        ("count > 1 ? true : false", True),
    ],
)
def test_a_condition_says_whether_it_holds(source: str, holds: bool) -> None:
    assert Expression(source).holds(VALUES) is holds


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("", "Syntax error"),
        ("count >", "at character"),
        ("count > 1 count", "Syntax error"),
        ("cuont > 1", "no variable 'cuont'; did you mean 'count'"),
        ("requester.role == 'owner'", "requester has no 'role'; did you mean 'roles'"),
        ("task.budget > 1", "task has no 'budget'; there are goal, id, spent"),
        ("x" * (SOURCE_CHARS_MOST + 1), "longer than"),
    ],
)
def test_a_condition_that_can_never_work_is_refused_when_it_is_read(source: str, says: str) -> None:
    with pytest.raises(BadExpression, match=says):
        Expression(source)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("args.missing == 1", "no 'missing'; write has"),
        ("args.paths[7] == ''", "out of bounds"),
        ("args.to > 3", "."),
        ("args.paths.endsWith('x')", "."),
        ("args.to.matches('(')", "not a valid regex"),
        ("count", "gave 2 instead of true or false"),
        ("count / 0 == 1", "division by zero"),
        ("args.none.x == 1", "."),
        ("args.to.nonsense()", "nonsense"),
    ],
)
def test_what_cannot_be_evaluated_raises_and_is_never_taken_for_false(source: str, says: str) -> None:
    condition = Expression(source)
    with pytest.raises(BadExpression, match=says):
        condition.holds(VALUES)


@pytest.mark.parametrize("odd", [object(), "\ud800"])
def test_values_that_the_language_does_not_know_raise(odd: object) -> None:
    with pytest.raises(BadExpression):
        Expression("args.x == 'y'").holds({"args": {"x": odd}})


@given(st.text(max_size=60) | st.text(st.sampled_from("args.count()[]&|!<>='\"0 1"), max_size=40))
def test_any_text_compiles_or_is_refused(source: str) -> None:
    try:
        condition = Expression(source)
    except BadExpression:
        return
    assert condition.source == source
