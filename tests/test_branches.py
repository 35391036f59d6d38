"""What a fork copies and what a rollback takes up again, decided without a database."""

from __future__ import annotations

from typing import Any

import pytest

from core.branches import CannotBranch, Change, continued, forked, rolled_back
from core.models import EffectClass, Origin, Permission, PermissionOn, SkillManifest

SAME = Change({})
MANIFESTS = {
    name: SkillManifest(
        name=name, version="1", summary="", schema_hash="h", permissions=(PermissionOn(permission=Permission.READ),),
        args_schema={"type": "object", "properties": {"path": {"type": "string"}, "to": {"type": "string"}}},
        effect_class=EffectClass.UNSAFE, card="Do it with {path}",
    )
    for name in ("find", "remove", "tell")
}  # fmt: skip


def step(n: int, *needs: int, status: str = "succeeded", **more: Any) -> dict[str, Any]:
    outcome = {"succeeded": "ok", "failed": "error", "skipped": "denied", "cancelled": "cancelled"}.get(status)
    row: dict[str, Any] = {
        "n": n, "kind": "act", "skill": "find", "title": f"step {n}", "args": {"path": f"{n}.log"}, "origins": {},
        "needs": list(needs), "dependents": [], "run_after": "success", "handled": False, "status": status,
        "outcome": outcome, "effect_class": "pure", "effect_state": None, "timeout_s": 30.0, "max_attempts": 3, "within_s": None,
        "result": {"n": n} if status == "succeeded" else None, "error": None,
    }  # fmt: skip
    return row | more


def turn(n: int, *needs: int, plans: tuple[int, ...] = (), **more: Any) -> dict[str, Any]:
    row = step(n, *needs, **{"kind": "think", "skill": "", "args": {}, "run_after": "settled", **more})
    return row | ({"result": {"say": "", "steps": list(plans)}} if row["status"] == "succeeded" and plans else {})


def done(n: int, *needs: int, **more: Any) -> dict[str, Any]:
    """A step that left an effect."""
    return step(n, *needs, **{"skill": "remove", "effect_class": "unsafe", "effect_state": "done", **more})


def numbers(steps: Any) -> list[int]:
    return [s["n"] if isinstance(s, dict) else s.n for s in steps]


# ---------------------------------------------------------------- fork

DIAMOND = [step(1), step(2, 1), done(3, 1), step(4, 2, 3), step(5)]


@pytest.mark.parametrize(
    ("start", "kept", "fresh"),
    [
        (1, [5], [1, 2, 3, 4]),
        (2, [1, 3, 5], [2, 4]),
        (3, [1, 2, 5], [3, 4]),
        (4, [1, 2, 3, 5], [4]),
        (5, [1, 2, 3, 4], [5]),
    ],
)
def test_a_step_runs_anew_with_all_that_follows_and_nothing_else(start: int, kept: list[int], fresh: list[int]) -> None:
    branch = forked(DIAMOND, start, SAME, MANIFESTS)
    assert (numbers(branch.copies), numbers(branch.fresh)) == (kept, fresh)
    assert branch.repeats == tuple(n for n in fresh if n == 3)


def test_copies_keep_results_but_no_effect_and_no_approval() -> None:
    [copy] = [c for c in forked(DIAMOND, 4, SAME, MANIFESTS).copies if c["n"] == 3]
    assert (copy["status"], copy["result"]) == ("succeeded", {"n": 3})
    assert not {"effect_state", "approval_id", "gen", "fence"} & set(copy)


def test_a_turn_that_runs_anew_plans_anew() -> None:
    """What the old turn had proposed is not copied: the new one will propose its own."""
    steps = [
        turn(1, plans=(2, 3), kind="plan"), step(2, 1), turn(3, 2, plans=(4, 5)), step(4, 3), turn(5, 4, plans=(6,)), step(6, 5),
    ]  # fmt: skip
    assert numbers(forked(steps, 1, SAME, MANIFESTS).fresh) == [1]
    second = forked(steps, 2, SAME, MANIFESTS)
    assert (numbers(second.copies), numbers(second.fresh)) == ([1], [2, 3])
    assert numbers(forked(steps, 4, SAME, MANIFESTS).fresh) == [4, 5]


def test_a_model_is_taken_by_the_turns_that_run_anew() -> None:
    steps = [turn(1, plans=(2, 3), kind="plan"), step(2, 1), turn(3, 2)]
    branch = forked(steps, 2, Change({}, "openai/gpt-5.4"), MANIFESTS)
    assert [s.args for s in branch.fresh] == [{"path": "2.log"}, {"model": "openai/gpt-5.4"}]
    with pytest.raises(CannotBranch, match="is no model"):
        forked(steps, 2, Change({}, "gpt"), MANIFESTS)
    with pytest.raises(CannotBranch, match="no turn of a model runs anew"):
        forked(DIAMOND, 2, Change({}, "openai/gpt-5.4"), MANIFESTS)


def test_a_failure_that_a_turn_reads_comes_along() -> None:
    branch = forked([step(1, status="failed", error="no"), turn(2, 1)], 2, SAME, MANIFESTS)
    assert [(c["n"], c["status"], c["outcome"]) for c in branch.copies] == [(1, "failed", "error")]


@pytest.mark.parametrize(
    ("steps", "start", "change", "why"),
    [
        (DIAMOND, 9, SAME, "there is no step 9; there are 1, 2, 3, 4, 5"),
        (
            [step(1, status="running"), step(2, 1, status="blocked")],
            2,
            SAME,
            "step 1, which step 2 needs, has not ended yet",
        ),
        ([step(1, status="failed"), step(2, 1, status="skipped")], 2, SAME, "did not succeed; fork from step 1"),
        (DIAMOND, 2, Change({"colour": "red"}), "find takes no 'colour'; it takes path, to"),
        (DIAMOND, 2, Change({"path": "{{ 4.n }}"}), "step 4 has no result that step 2 could read"),
        ([turn(1)], 1, Change({"path": "x"}), "is a turn of the model and takes no arguments"),
        ([step(1, skill="gone")], 1, SAME, "no worker has the skill 'gone'"),
    ],
)
def test_what_cannot_be_forked_is_refused_with_the_way_out(
    steps: list[dict[str, Any]], start: int, change: Change, why: str
) -> None:
    with pytest.raises(CannotBranch, match=why.replace("(", r"\(")):
        forked(steps, start, change, MANIFESTS)


def test_a_reference_in_a_new_argument_makes_the_step_need_what_it_reads() -> None:
    branch = forked([step(1), step(2)], 2, Change({"path": "{{ 1.n }}"}), MANIFESTS)
    assert [(s.n, s.needs) for s in branch.fresh] == [(2, (1,))]


def test_what_another_asked_for_is_no_word_of_who_forks() -> None:
    origins = {"path": {"origin": "requester"}, "to": {"origin": "config"}}
    steps = [step(1, args={"path": "a", "to": "b"}, origins=origins), step(2, 1)]
    for change, expected in (
        (Change({"path": "c"}), {"path": Origin.REQUESTER, "to": Origin.CONFIG}),
        (Change({"path": "c"}, own=False), {"path": Origin.REQUESTER, "to": Origin.CONFIG}),
        (Change({}, own=False), {"path": Origin.UNTRUSTED, "to": Origin.CONFIG}),
        (Change({"to": "c"}, own=False), {"path": Origin.UNTRUSTED, "to": Origin.REQUESTER}),
    ):
        first, second = forked(steps, 1, change, MANIFESTS).fresh
        assert {name: o.origin for name, o in first.origins.items()} == expected
        assert {o.origin for o in second.origins.values()} == (set() if change.own else {Origin.UNTRUSTED})


def family(n: int, *needs: int, verb: str = "spawn", **more: Any) -> dict[str, Any]:
    """A step that starts a child task (or tells or stops it), or waits for one."""
    result = {"task": "7"} if more.get("status", "succeeded") == "succeeded" else None
    return step(
        n,
        *needs,
        **{"kind": "wait", "skill": "", "args": {"for": verb, "task": "{{ 1.task }}"}, "result": result, **more},
    )


def test_a_fork_reads_what_a_child_came_to_and_starts_one_only_where_that_runs_anew() -> None:
    steps = [family(1), family(2, 1, verb="child"), step(3, 2)]
    assert numbers(forked(steps, 2, SAME, MANIFESTS).copies) == [1]
    again = forked(steps, 1, SAME, MANIFESTS, {"7"})
    assert (numbers(again.fresh), again.repeats) == ([1, 2, 3], (1,))


@pytest.mark.parametrize(
    ("verb", "said"),
    [("child", "step 2 waits for task 7, which has not ended"), ("kill", "step 2 is for task 7, which the other")],
)
def test_a_fork_has_no_hand_on_the_children_of_the_other_task(verb: str, said: str) -> None:
    with pytest.raises(CannotBranch, match=said):
        forked([family(1), family(2, 1, verb=verb)], 2, SAME, MANIFESTS, {"7"})


def test_a_child_that_was_started_stays_when_its_plan_is_put_back() -> None:
    now = [family(1), family(2, 1, verb="child", status="waiting"), family(3, 1, verb="send", status="running")]
    then = [{**s, "status": "ready", "outcome": None, "result": None} for s in now]
    plan = rolled_back(then, now)
    assert (plan.remains, plan.again, plan.busy) == ((1,), (), (3,))


# ---------------------------------------------------------------- rollback


def test_a_plan_goes_back_and_what_came_later_is_dropped() -> None:
    then = [turn(1, kind="plan", status="ready")]
    now = [turn(1, kind="plan", plans=(2, 3)), step(2, 1), step(3, 2, status="awaiting_approval")]
    back = rolled_back(then, now)
    assert (back.later, back.drop, back.again, back.remains) == ((2, 3), (3,), (1,), ())


def test_what_left_an_effect_is_never_taken_up_again() -> None:
    then = [step(1, status="ready"), done(2, 1, status="blocked", effect_state=None), step(3, 2, status="blocked")]
    now = [step(1), done(2, 1), step(3, 2, status="failed")]
    back = rolled_back(then, now)
    assert (back.again, back.remains) == ((1, 3), (2,))


def test_what_had_ended_then_stays_ended() -> None:
    then = [step(1), done(2, 1), step(3, 2, status="ready")]
    back = rolled_back(then, [step(1), done(2, 1), step(3, 2, status="running")])
    assert (back.drop, back.again, back.remains) == ((), (), ())


def test_a_step_waits_again_for_what_runs_again_before_it() -> None:
    then = [step(1, status="ready"), step(2, 1, status="blocked")]
    assert rolled_back(then, [step(1), step(2, 1, status="awaiting_approval")]).again == (1, 2)


def test_what_is_under_way_in_doubt_or_given_up_is_left_alone() -> None:
    then = [step(n, status="ready") for n in (1, 2, 3)]
    now = [
        step(1, status="running", effect_state="intent"), step(2, status="unknown", effect_state="unknown"),
        step(3, status="failed", outcome="given_up"),
    ]  # fmt: skip
    back = rolled_back(then, now)
    assert (back.again, back.busy) == ((), (1, 2))


def test_an_ended_task_goes_on_elsewhere_with_what_has_happened_as_copies() -> None:
    then = [step(1), done(2, 1, status="blocked", effect_state=None), step(3, 2, status="blocked")]
    now = [step(1), done(2, 1), step(3, 2), step(4, 3)]
    branch = continued(then, now, MANIFESTS, own=True)
    assert (numbers(branch.copies), numbers(branch.fresh)) == ([1, 2], [3])
    with pytest.raises(CannotBranch, match="every step had ended"):
        continued(now, now, MANIFESTS, own=True)
    with pytest.raises(CannotBranch, match="given up without knowing"):
        continued([step(1, status="ready")], [step(1, status="failed", outcome="given_up")], MANIFESTS, own=True)
