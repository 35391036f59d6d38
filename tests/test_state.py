"""The tables and consequences of core/state.py, and that SQL and README say the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import state
from core.db import Pool
from core.models import EffectClass
from core.state import IllegalMove, StepView

README = Path(__file__).resolve().parent.parent / "README.md"


def steps(*statuses: str) -> list[StepView]:
    ends = {"succeeded": "ok", "failed": "error", "skipped": "denied", "cancelled": "cancelled"}
    return [StepView(s, ends.get(s)) for s in statuses]


@pytest.mark.parametrize(
    ("current", "given", "becomes"),
    [
        ("queued", ["ready"], "running"),
        ("running", ["succeeded", "awaiting_approval"], "waiting"),
        ("waiting", ["succeeded", "ready"], "running"),
        ("running", ["succeeded", "succeeded"], "succeeded"),
        ("running", ["succeeded", "failed"], "failed"),
        ("waiting", ["succeeded", "skipped"], "abandoned"),
        ("running", ["failed", "skipped"], "failed"),
        ("running", ["failed", "running"], "running"),
        ("waiting", ["unknown"], "waiting"),
        ("paused", ["ready"], "paused"),
        ("paused", ["succeeded"], "paused"),
        ("cancelling", ["cancelled", "running"], "cancelling"),
        ("cancelling", ["cancelled", "unknown"], "cancelling"),
        ("cancelling", ["cancelled", "succeeded"], "cancelled"),
        ("succeeded", ["succeeded"], "succeeded"),
    ],
)
def test_a_task_is_what_its_steps_make_it(current: str, given: list[str], becomes: str) -> None:
    assert state.task_after(current, steps(*given)) == becomes


def test_a_failure_that_a_later_step_read_does_not_fail_the_task() -> None:
    seen = [StepView("failed", "error", handled=True), StepView("succeeded", "ok", kind="think")]
    assert state.task_after("running", seen) == "succeeded"


def test_an_open_plan_step_makes_the_task_planning() -> None:
    assert state.task_after("queued", [StepView("ready", kind="plan")]) == "planning"


def test_every_consequence_is_reached_by_legal_moves() -> None:
    for current in state.TASK:
        for target in ("planning", "running", "waiting", "succeeded", "failed", "abandoned"):
            if current in ("cancelling", "failed", "queued"):
                continue
            at = current
            for step in state.task_path(current, target):
                at = state.move("task", at, step)
            assert at == target


def test_an_illegal_move_says_what_would_be_legal() -> None:
    with pytest.raises(IllegalMove, match=r"cancelling.*succeeded.*legal: cancelled"):
        state.move("task", "cancelling", "succeeded")


@pytest.mark.parametrize(
    ("effect_class", "effect_state", "becomes", "at_last"),
    [
        (EffectClass.PURE, None, "ready", "failed"),
        (EffectClass.UNSAFE, None, "ready", "failed"),
        (EffectClass.UNSAFE, "not_done", "ready", "failed"),
        (EffectClass.PURE, "intent", "ready", "failed"),
        (EffectClass.IDEMPOTENT, "intent", "ready", "unknown"),
        (EffectClass.CHECKABLE, "intent", "unknown", "unknown"),
        (EffectClass.UNSAFE, "intent", "unknown", "unknown"),
    ],
)
def test_a_lost_step_runs_again_only_where_that_is_harmless(
    effect_class: EffectClass, effect_state: str | None, becomes: str, at_last: str
) -> None:
    assert state.lost_step_becomes(effect_class, effect_state) == becomes
    assert state.lost_step_becomes(effect_class, effect_state, is_last=True) == at_last


def test_votes_make_a_decision_only_with_the_number_needed() -> None:
    assert state.approval_after(1, 0, needed=2, veto=True) == "pending"
    assert state.approval_after(2, 0, needed=2, veto=True) == "approved"
    assert state.approval_after(2, 1, needed=2, veto=True) == "denied"
    assert state.approval_after(2, 1, needed=2, veto=False) == "approved"


def test_backoff_doubles_up_to_its_limit() -> None:
    assert [state.backoff_s(n, first_s=1, most_s=5) for n in (1, 2, 3, 4)] == [1, 2, 4, 5]


async def test_the_database_allows_exactly_the_moves_of_the_tables(db: Pool) -> None:
    rows = await db.fetch("select machine, from_state, to_state from transitions")
    assert sorted(tuple(r) for r in rows) == state.transitions()


async def test_the_database_refuses_an_illegal_move(db: Pool) -> None:
    owner = await db.fetchval("insert into principals (key) values ('ann') returning id")
    task = await db.fetchval(
        "insert into tasks (requester_id, goal, status) values ($1, 'g', 'queued') returning id", owner
    )
    with pytest.raises(Exception, match="task may not go from 'queued' to 'waiting'"):
        await db.execute("update tasks set status = 'waiting' where id = $1", task)


def test_the_readme_shows_the_machines_as_they_are() -> None:
    text = README.read_text(encoding="utf-8")
    for machine in state.MACHINES:
        assert state.diagram(machine) in text, f"README.md has an old {machine} diagram; see state.diagram"
