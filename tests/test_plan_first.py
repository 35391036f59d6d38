"""A plan approved before any of it runs, on real parts: what is on the list, what is asked later, and what voids it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core import commands
from core.digest import list_digest
from core.models import Accepted, Changed, EffectClass, PlannedStep
from core.organisation import OrganisationError, parse
from core.plans import asked_first, runbook_plan, strictest
from core.store import approvals
from tests.sim.llm_script import Script
from tests.test_deciding import MANIFESTS
from tests.test_forks import api
from tests.test_llm_whole_way import plan, talking
from tests.test_whole_way import Sayso, eventually, running
from worker.skills.registry import Registry

ACME = """
people:
  ann: {name: Ann, roles: [owner], identities: {slack: T0ACME/U01ALICE}}
  bob: {name: Bob, roles: [engineer], identities: {slack: T0ACME/U02BOB}}
roles:
  engineer: {may: ["skill:files.*"]}
approvers:
  default: {roles: [owner]}
  both: {people: [ann, bob], needed: 2}
policy:
  rules:
    - {name: kept, skill: files.delete, when: '"kept.txt" in args.paths', then: deny, say: Kept.}
    - {name: by both, skill: files.delete, when: '"c.txt" in args.paths', then: ask, approvers: both}
runbooks:
  three:
    plan_first: asks
    steps:
      - {id: a, skill: files.delete, args: {paths: [a.txt]}}
      - {id: find, skill: files.list, args: {pattern: "*.log"}, needs: [a]}
      - {id: logs, skill: files.delete, args: {paths: "{{ find.paths }}"}, needs: [find]}
      - {id: b, skill: files.delete, args: {paths: [b.txt]}, needs: [logs]}
  wrong:
    plan_first: asks
    steps:
      - {id: a, skill: files.delete, args: {paths: [a.txt]}}
      - {id: k, skill: files.delete, args: {paths: [kept.txt]}}
  absent:
    plan_first: asks
    steps:
      - {id: x, skill: files.delete, args: {paths: [absent.txt]}}
      - {id: a, skill: files.delete, args: {paths: [a.txt]}}
  groups:
    plan_first: asks
    steps:
      - {id: a, skill: files.delete, args: {paths: [a.txt]}}
      - {id: c, skill: files.delete, args: {paths: [c.txt]}}
  free:
    steps:
      - {id: w, skill: files.write, args: {path: new.txt, content: new}}
      - {id: a, skill: files.delete, args: {paths: [a.txt]}, needs: [w]}
  pair:
    plan_first: asks
    steps:
      - {id: a, skill: files.delete, args: {paths: [a.txt]}}
      - {id: b, skill: files.delete, args: {paths: [b.txt]}, needs: [a]}
"""
BOB = "T0ACME/U02BOB"


@pytest.fixture
async def sayso(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Sayso]:
    async with running(database_url, redis_url, tmp_path, ACME) as opened:
        for name in ("a.txt", "b.txt", "c.txt", "kept.txt", "old.log"):
            (opened.workspace / name).write_text(name, encoding="utf-8")
        yield opened


def there(sayso: Sayso) -> set[str]:
    return {path.name for path in sayso.workspace.iterdir()}


def named(approval: dict[str, Any]) -> list[tuple[int, Any]]:
    return [(item["step"], item["action"]["args"].get("paths")) for item in approval["items"]]


async def next_after(sayso: Sayso, number: int | None, *seen: str) -> dict[str, Any]:
    async def fresh() -> dict[str, Any] | None:
        found = await approvals.of_task(sayso.deps.db, number or 0)
        return next((a for a in found if a["status"] == "pending" and a["id"] not in seen), None)

    return await eventually(fresh)  # type: ignore[no-any-return]


async def test_what_is_known_is_approved_at_once_and_what_depends_on_results_asks_when_known(sayso: Sayso) -> None:
    number = await sayso.say("run three")
    first = await sayso.approval_of(number)
    assert (first["kind"], named(first)) == ("plan", [(2, ["a.txt"]), (5, ["b.txt"])])
    assert first["digest"] == list_digest(item["digest"] for item in first["items"])
    assert [s["status"] for s in (await sayso.task(number))["steps"]] == ["awaiting_approval", *["blocked"] * 4]
    card = await eventually(lambda: next(iter(sayso.chat.now("approval")), None))
    assert card.headline == "Approve the plan: 2 actions"
    said = "\n".join(card.lines)
    assert "Step 3 (List *.log in the workspace) goes without asking." in said
    assert "Step 4 (Delete {{ 3.paths }} from the workspace) is asked about when its arguments are known" in said
    assert 'paths: ["a.txt"]' in card.exact and 'paths: ["b.txt"]' in card.exact
    assert isinstance(await sayso.press(first["id"], "approve"), Accepted)
    second = await next_after(sayso, number, first["id"])
    assert (second["kind"], named(second)) == ("action", [(4, ["old.log"])])
    assert there(sayso) == {"b.txt", "c.txt", "kept.txt", "old.log"}
    await sayso.press(second["id"], "approve")
    await sayso.until(number, "succeeded")
    assert there(sayso) == {"c.txt", "kept.txt"}
    assert len(await approvals.of_task(sayso.deps.db, number or 0)) == 2, "b.txt was not asked about again"
    assert {a["status"] for a in await approvals.of_task(sayso.deps.db, number or 0)} == {"consumed"}


async def test_a_plan_that_is_denied_runs_nothing(sayso: Sayso) -> None:
    number = await sayso.say("run three")
    await sayso.press((await sayso.approval_of(number))["id"], "deny", reason="not today")
    ended = await sayso.until(number, "abandoned")
    assert "not today" in ended["error"]
    assert [s["outcome"] for s in ended["steps"]] == ["denied", "denied", "upstream", "upstream", "denied"]
    assert len(there(sayso)) == 5


@pytest.mark.parametrize(
    ("runbook", "said"),
    [
        ("wrong", "Nothing was run: step 3 (Delete kept.txt from the workspace) would be refused: Kept."),
        ("absent", "Nothing was run: step 2 (Delete absent.txt from the workspace) would not work: there is no file"),
    ],
)
async def test_nobody_is_asked_about_a_plan_of_which_a_part_would_be_refused(
    sayso: Sayso, runbook: str, said: str
) -> None:
    number = await sayso.say(f"run {runbook}")
    ended = await sayso.until(number, "failed")
    assert said in ended["error"]
    assert await approvals.of_task(sayso.deps.db, number or 0) == [] and len(there(sayso)) == 5


async def test_drift_voids_that_item_alone(sayso: Sayso) -> None:
    number = await sayso.say("run three")
    first = await sayso.approval_of(number)
    await sayso.press(first["id"], "approve")
    logs = await next_after(sayso, number, first["id"])
    (sayso.workspace / "b.txt").write_text("changed since", encoding="utf-8")
    await sayso.press(logs["id"], "approve")
    fresh = await next_after(sayso, number, first["id"], logs["id"])
    assert named(fresh) == [(5, ["b.txt"])]
    assert "a file that it names has another content" in fresh["card"]["reasons"][0]
    assert "a.txt" not in there(sayso) and "b.txt" in there(sayso)
    await sayso.press(fresh["id"], "approve")
    await sayso.until(number, "succeeded")


async def test_what_has_changed_when_the_yes_comes_is_asked_about_before_anything_runs(sayso: Sayso) -> None:
    number = await sayso.say("run pair")
    first = await sayso.approval_of(number)
    (sayso.workspace / "b.txt").write_text("changed since", encoding="utf-8")
    await sayso.press(first["id"], "approve")
    fresh = await next_after(sayso, number, first["id"])
    assert (fresh["kind"], named(fresh)) == ("plan", [(3, ["b.txt"])]) and "a.txt" in there(sayso)
    await sayso.press(fresh["id"], "approve")
    await sayso.until(number, "succeeded")
    assert there(sayso) == {"c.txt", "kept.txt", "old.log"}


async def test_items_are_denied_and_the_rest_goes_on_the_plan(sayso: Sayso) -> None:
    number = await sayso.say("run pair")
    whole = await sayso.approval_of(number)
    await sayso.press(whole["id"], "deny", items=(whole["items"][1]["digest"],))
    rest = await next_after(sayso, number, whole["id"])
    assert (rest["kind"], named(rest)) == ("plan", [(2, ["a.txt"])])
    steps = (await sayso.task(number))["steps"]
    assert [s["status"] for s in steps] == ["awaiting_approval", "blocked", "skipped"]
    await sayso.press(rest["id"], "approve")
    ended = await sayso.until(number, "abandoned")
    assert [s["outcome"] for s in ended["steps"]] == ["ok", "ok", "denied"]
    assert "a.txt" not in there(sayso) and "b.txt" in there(sayso)


async def test_items_that_are_approved_go_and_the_rest_stays_asked(sayso: Sayso) -> None:
    number = await sayso.say("run pair")
    whole = await sayso.approval_of(number)
    await sayso.press(whole["id"], "approve", items=(whole["items"][0]["digest"],))

    async def first_ran() -> bool:
        return [s["status"] for s in (await sayso.task(number))["steps"]] == ["succeeded"] * 2 + ["awaiting_approval"]

    await eventually(first_ran)
    rest = await next_after(sayso, number, whole["id"])
    assert named(rest) == [(3, ["b.txt"])] and "b.txt" in there(sayso)
    await sayso.press(rest["id"], "approve")
    await sayso.until(number, "succeeded")
    assert "b.txt" not in there(sayso)


async def test_an_edited_item_brings_the_whole_plan_anew(sayso: Sayso) -> None:
    number = await sayso.say("run pair")
    whole = await sayso.approval_of(number)
    assert await sayso.say(f"edit {number}.3 paths=old.log") == number
    fresh = await next_after(sayso, number, whole["id"])
    assert (fresh["kind"], named(fresh)) == ("plan", [(2, ["a.txt"]), (3, ["old.log"])])
    old = await approvals.whole(sayso.deps.db, whole["id"])
    assert old is not None and old["status"] == "superseded" and "edited by" in old["reason"]
    await sayso.press(fresh["id"], "approve")
    await sayso.until(number, "succeeded")
    assert there(sayso) == {"b.txt", "c.txt", "kept.txt"}


async def test_an_edit_into_what_is_refused_changes_nothing(sayso: Sayso) -> None:
    number = await sayso.say("run pair")
    whole = await sayso.approval_of(number)
    await sayso.say(f"edit {number}.3 paths=kept.txt")
    await eventually(lambda: any("Kept." in text for text in sayso.chat.texts))
    assert (await approvals.whole(sayso.deps.db, whole["id"]) or {})["status"] == "pending"


async def test_each_group_of_deciders_is_asked_about_its_own_part(sayso: Sayso) -> None:
    number = await sayso.say("run groups")
    owners = await sayso.approval_of(number)
    assert named(owners) == [(2, ["a.txt"])]
    await sayso.press(owners["id"], "approve")
    both = await next_after(sayso, number, owners["id"])
    assert (both["kind"], named(both), both["approvers"]["needed"]) == ("plan", [(3, ["c.txt"])], 2)
    assert "a.txt" in there(sayso), "nothing runs before the whole plan is approved"
    await sayso.press(both["id"], "approve")
    await sayso.press(both["id"], "approve", BOB)
    await sayso.until(number, "succeeded")
    assert there(sayso) == {"b.txt", "kept.txt", "old.log"}


async def test_plan_first_in_words_shows_what_the_rules_would_let_go(sayso: Sayso) -> None:
    number = await sayso.say("plan first: run free")
    whole = await sayso.approval_of(number)
    assert [item["action"]["skill"] for item in whole["items"]] == ["files.write", "files.delete"]
    assert "new.txt" not in there(sayso)
    await sayso.press(whole["id"], "approve")
    await sayso.until(number, "succeeded")
    assert there(sayso) == {"b.txt", "c.txt", "kept.txt", "old.log", "new.txt"}
    assert len(await approvals.of_task(sayso.deps.db, number or 0)) == 1


async def test_who_wants_to_see_first_what_needs_nobody_confirms_it_themselves(sayso: Sayso) -> None:
    number = await sayso.say("Plan first: do files.write path=mine.txt content=x", BOB)
    whole = await sayso.approval_of(number)
    assert whole["approvers"]["people"] == ["bob"] and "mine.txt" not in there(sayso)
    (sayso.workspace / "mine.txt").write_text("came meanwhile", encoding="utf-8")
    await sayso.press(whole["id"], "approve", BOB)
    ended = await sayso.until(number, "failed")
    assert "exists" in ended["error"], "what has changed since is looked at again, although the rules would let it go"


async def test_a_plan_of_a_skill_that_changed_is_asked_anew(sayso: Sayso) -> None:
    number = await sayso.say("run pair")
    whole = await sayso.approval_of(number)
    await sayso.deps.db.execute("update skills set version = '0' where name = 'files.delete'")
    assert await sayso.press(whole["id"], "approve") == Changed(whole["id"])
    await sayso.deps.db.execute("update skills set version = '1' where name = 'files.delete'")
    fresh = await next_after(sayso, number, whole["id"])
    assert named(fresh) == named(whole)
    await sayso.press(fresh["id"], "approve")
    await sayso.until(number, "succeeded")


async def test_what_a_model_plans_is_asked_about_first_and_told_when_it_is_denied(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    one = {"id": "one", "skill": "files.delete", "args": {"paths": ["a.txt"]}}
    two = {"id": "two", "skill": "files.delete", "args": {"paths": ["b.txt"]}}
    write = {"id": "w", "skill": "files.write", "args": {"path": "new.txt", "content": "x"}}
    script = Script(plan(one, two), plan(write), "Nothing was deleted.")
    async with talking("openai", script, database_url, redis_url, tmp_path) as (sayso, _):
        for name in ("a.txt", "b.txt"):
            (sayso.workspace / name).write_text(name, encoding="utf-8")
        number = await sayso.say("plan first: delete a.txt and b.txt")
        whole = await sayso.approval_of(number)
        assert named(whole) == [(3, ["a.txt"]), (4, ["b.txt"])]
        await sayso.press(whole["id"], "deny", reason="write new.txt instead")
        second = await next_after(sayso, number, whole["id"])
        assert [i["action"]["skill"] for i in second["items"]] == ["files.write"], (
            "its next plan is asked about as well"
        )
        await sayso.press(second["id"], "approve")
        done = await sayso.until(number, "succeeded")
        assert there(sayso) == {"a.txt", "b.txt", "new.txt"}
    assert [s["kind"] for s in done["steps"]] == ["plan", "ask", "act", "act", "think", "ask", "act", "think"]
    assert "outcome=denied" in script.asked[1].last() and "write new.txt instead" in script.asked[1].last()


# ---------------------------------------------------------------- what needs no worker


def made(*classes: EffectClass) -> Any:
    return lambda first: tuple(
        PlannedStep(n=n, kind="act", skill="x.y", effect_class=one) for n, one in enumerate(classes, start=first)
    )


@pytest.mark.parametrize(
    ("way", "classes", "asks"),
    [
        ("never", (EffectClass.UNSAFE, EffectClass.UNSAFE), False),
        ("asks", (EffectClass.UNSAFE,), False),
        ("asks", (EffectClass.UNSAFE, EffectClass.PURE), False),
        ("asks", (EffectClass.UNSAFE, EffectClass.PURE, EffectClass.IDEMPOTENT), True),
        ("always", (EffectClass.IDEMPOTENT,), True),
        ("always", (EffectClass.PURE, EffectClass.PURE), False),
    ],
)
def test_a_plan_is_asked_about_where_there_is_something_to_ask(
    way: Any, classes: tuple[EffectClass, ...], asks: bool
) -> None:
    steps = asked_first(way, made(*classes), 4, (3,))
    assert [s.n for s in steps] == list(range(4, 4 + len(classes) + asks))
    assert (steps[0].kind == "ask") is asks
    if asks:
        assert steps[0].needs == (3,) and all(4 in s.needs for s in steps[1:])


def test_the_strictest_word_counts_and_the_file_knows_three() -> None:
    assert strictest("never", "always", "asks") == "always"
    assert parse("policy: {plan_first: asks}").policy.plan_first == "asks"
    with pytest.raises(OrganisationError, match=r"sayso.yaml:2: policy\.plan_first: .*'never', 'asks' or 'always'"):
        parse("policy:\n  plan_first: sometimes")


def test_the_file_shown_in_the_docs_asks_about_its_runbook_first(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parent.parent / "docs" / "approvals.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```yaml\n(policy: \{plan_first.*?)^```$", text, re.MULTILINE | re.DOTALL)
    manifests = {m.name: m for m in Registry.load(tmp_path).manifests()}
    steps = runbook_plan(parse(block), "clean-logs", {}, manifests)
    assert [(s.n, s.kind, s.needs) for s in steps] == [
        (1, "ask", ()), (2, "act", (1,)), (3, "act", (1, 2)), (4, "act", (1, 3)),
    ]  # fmt: skip
    assert steps[0].args == {"plan_first": "always"} and steps[2].args == {"paths": "{{ 2.paths }}"}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("plan first: tidy up", commands.PlanFirst(commands.PlainText("tidy up"))),
        ("Plan first, do files.list pattern=*", commands.PlanFirst(commands.Do("files.list", {"pattern": "*"}))),
        ("plan first: run pair", commands.PlanFirst(commands.Run("pair", {}))),
        ("plan first:", commands.Wrong("Plan what? Say: plan first: tidy away the old logs")),
        ("plan first steps of the move", commands.PlainText("plan first steps of the move")),
        ("plan my week", commands.PlainText("plan my week")),
    ],
)
def test_plan_first_is_read_with_its_mark_only(text: str, meant: commands.Command) -> None:
    assert commands.parse(text, {m.name: m for m in MANIFESTS}, ["pair"]) == meant


def test_plan_first_of_what_needs_no_plan_says_so() -> None:
    found = commands.parse("plan first: tasks", {}, [])
    assert isinstance(found, commands.Wrong) and "needs no plan" in found.say


async def test_over_the_api_a_plan_is_asked_for_shown_whole_and_answered_item_by_item(sayso: Sayso) -> None:
    async with api(sayso) as http:
        made = (await http.post("/api/intents", json={"text": "plan first: run free"})).json()
        number = int(made["task_id"])
        whole = await sayso.approval_of(number)
        shown = (await http.get(f"/api/approvals/{whole['id']}")).json()
        assert (shown["kind"], [i["step"] for i in shown["items"]]) == ("plan", [2, 3])
        assert shown["digest"] == list_digest(i["digest"] for i in shown["items"])
        answer = await http.post(
            f"/api/approvals/{whole['id']}/decisions",
            json={"verdict": "approve", "digest": shown["digest"], "items": [shown["items"][0]["digest"]]},
        )
        assert answer.status_code == 200
        await eventually(lambda: "new.txt" in there(sayso))
        rest = await next_after(sayso, number, whole["id"])
        steps = (await http.get(f"/api/tasks/{number}")).json()["steps"]
        assert [s["kind"] for s in steps] == ["ask", "act", "act"] and named(rest) == [(3, ["a.txt"])]
        await http.post(f"/api/approvals/{rest['id']}/decisions", json={"verdict": "deny", "digest": rest["digest"]})
    await sayso.until(number, "abandoned")
    assert "a.txt" in there(sayso)
