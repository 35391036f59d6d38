"""What a turn proposes: promises made before others' words were read are kept once and to the letter."""

from typing import Any

import pytest

from core.models import EffectClass, Origin, Permission, PermissionOn, SkillManifest
from core.provenance import PLANNED, TURN
from worker.proposal import NotAPlan, Promise, open_promises, read_proposal, steps_of

WRITE = SkillManifest(
    name="doc.write", version="1", summary="Write", args_schema={}, schema_hash="h", card="Write {name}",
    permissions=(PermissionOn(permission=Permission.WRITE),), effect_class=EffectClass.IDEMPOTENT,
)  # fmt: skip
READ = [(2, "doc.read")]


def turn(n: int, later: list[dict[str, Any]] | None = None, kind: str = "plan") -> dict[str, Any]:
    return {"n": n, "kind": kind, "skill": "", "args": {}, "result": {"later": later} if later else {}}


def act(n: int, skill: str, **args: Any) -> dict[str, Any]:
    return {"n": n, "kind": "act", "skill": skill, "args": args, "result": {}}


def proposed(*calls: dict[str, Any], promised: Any = ()) -> list[dict[str, Any]]:
    steps = [{"id": f"s{i}", "skill": "doc.write", "args": args} for i, args in enumerate(calls)]
    made = steps_of(
        read_proposal({"steps": steps, "then": "answer"}), after=3, last=3, manifests={"doc.write": WRITE},
        read_untrusted=READ, promised=promised,
    )  # fmt: skip
    return [dict(step.origins) for step in made]


def test_a_kept_promise_makes_its_arguments_trusted_and_leaves_the_turn_tainted() -> None:
    promise = Promise(skill="doc.write", args={"name": "a.md"})
    [origins] = proposed({"name": "a.md", "text": "x"}, promised=[(1, promise)])
    assert origins["name"].origin is Origin.TRUSTED
    assert (origins["name"].step, origins["name"].note) == (1, PLANNED)
    assert "text" not in origins
    assert origins[TURN].origin is Origin.UNTRUSTED


@pytest.mark.parametrize("args", [{"name": "b.md"}, {"name": ["a.md"]}, {"text": "a.md"}])
def test_another_call_than_the_promised_one_gets_nothing(args: dict[str, Any]) -> None:
    [origins] = proposed(args, promised=[(1, Promise(skill="doc.write", args={"name": "a.md"}))])
    assert set(origins) == {TURN}


def test_a_promise_is_kept_once() -> None:
    promised = [(1, Promise(skill="doc.write", args={"name": "a.md"}))]
    first, second = proposed({"name": "a.md"}, {"name": "a.md"}, promised=promised)
    assert "name" in first
    assert set(second) == {TURN}


def test_a_promise_that_an_earlier_step_kept_is_not_open_any_more() -> None:
    later = [{"skill": "doc.write", "args": {"name": "a.md"}}, {"skill": "doc.write", "args": {"name": "b.md"}}]
    past = [
        turn(1, later),
        act(2, "doc.read", name="x.md"),
        turn(3, kind="think"),
        act(4, "doc.write", name="a.md", text="t"),
    ]
    assert open_promises(past) == ((1, Promise(skill="doc.write", args={"name": "b.md"})),)


def test_true_is_not_one_in_a_promise() -> None:
    [origins] = proposed({"name": True}, promised=[(1, Promise(skill="doc.write", args={"name": 1}))])
    assert set(origins) == {TURN}


def test_arguments_nested_without_end_are_no_plan() -> None:
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    with pytest.raises(NotAPlan, match="nested"):
        proposed({"name": deep})
