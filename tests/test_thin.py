"""A task that waits for a person costs only rows, so they say nothing twice; and what is left out is not missed."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from core.db import Pool
from core.models import EffectClass, PlannedStep
from core.store import events, people, steps, tasks

PAUSED_MOST_BYTES: Final = 2_200  # its rows in tables of the engine, with headers, without indexes
ASK: Final[dict[str, Any]] = {
    "kind": "action", "digest": "d" * 64, "action_hash": "a" * 64, "ladder": "default", "expires_in_s": 3600,
    "card": {
        "title": "Touch 5", "reasons": ["It deletes."], "provenance": [], "risk": "high", "rule": "default",
        "destructive": False, "undo": False, "preview": "", "similar": "bench.touch with n = 5",
    },
    "approvers": {
        "people": [], "roles": ["owner"], "slack_usergroups": [], "needed": 1, "four_eyes": False, "veto": True,
    },
}  # fmt: skip


async def parked(db: Pool, count: int = 1, **differs: Any) -> tuple[int, list[str]]:
    """A task whose steps wait for the same people: its number and the approval after each of them."""
    owner, worker = await people.ensure_owner(db), await steps.enrol(db, "host", 1, "test", 3600)
    plan = [
        PlannedStep(n=n, kind="act", skill="bench.touch", args={"n": n}, effect_class=EffectClass.UNSAFE)
        for n in range(1, count + 1)
    ]
    task = await tasks.create(db, requester=owner.id, goal="do bench.touch n=5", kind="do", steps=plan, actor="t")
    assert task is not None
    made = []
    for step in await steps.claim(db, worker, "default", count):
        item = {
            "task": str(task), "step": step.n, "digest": f"{step.n:064}", "action_hash": f"{step.n + 7:064}",
            "action": {"skill": "bench.touch", "args": {"n": step.n}, "schema_hash": "h" * 64, "target": "bench"},
        }  # fmt: skip
        ask = ASK | {"digest": item["digest"], "action_hash": item["action_hash"]} | differs
        made.append(await steps.park(db, worker, step, ask | {"items": [item | {"card": ask["card"]}]}, [], "risky"))
    return task, [str(one) for one in made]


async def test_a_paused_task_takes_about_two_kilobytes_of_rows(db: Pool) -> None:
    task, _ = await parked(db)
    rows = {"tasks": "id", "steps": "task_id", "approvals": "task_id", "moves": "task_id"}
    taken = {
        table: await db.fetchval(f"select sum(pg_column_size(x.*)) from {table} x where {key} = $1", task)
        for table, key in rows.items()
    }
    assert sum(taken.values()) < PAUSED_MOST_BYTES, taken


async def test_an_ask_of_one_action_keeps_its_words_once_and_only_those_that_say_something(db: Pool) -> None:
    _, [approval] = await parked(db)
    row = await db.fetchrow("select * from approvals where id = $1::text::uuid", approval)
    assert {"card", "action_hash"}.isdisjoint(row["items"][0])
    assert (row["action_hash"], row["items"][0]["digest"]) == (f"{8:064}", row["digest"])
    assert row["card"] == {k: ASK["card"][k] for k in ("title", "reasons", "risk", "rule", "similar")}
    assert row["approvers"] == {"roles": ["owner"], "needed": 1}
    [whole] = await db.fetchval("select whole_items(a) from approvals a where a.id = $1::text::uuid", approval)
    assert (whole["card"], whole["action_hash"]) == (row["card"], row["action_hash"])


async def test_actions_that_join_on_one_card_each_keep_their_own_words(db: Pool) -> None:
    _, (_, approval) = await parked(db, 2)
    row = await db.fetchrow("select * from approvals where id = $1::text::uuid", approval)
    assert row["kind"] == "batch"
    assert [item["action_hash"] for item in row["items"]] == [f"{8:064}", f"{9:064}"]
    assert {item["card"]["title"] for item in row["items"]} == {"Touch 5"}


@pytest.mark.parametrize("said", [{"veto": False}, {"four_eyes": True}, {"people": ["ann"]}, {"needed": 2}])
async def test_what_is_not_taken_for_granted_stays_said(db: Pool, said: dict[str, Any]) -> None:
    _, [approval] = await parked(db, approvers=ASK["approvers"] | said)
    kept = await db.fetchval("select approvers from approvals where id = $1::text::uuid", approval)
    assert kept == {"roles": ["owner"], "needed": 1} | said


@pytest.mark.parametrize("odd", ['{"four_eyes": "no"}', '{"people": null}', '{"veto": []}', "[]", "7"])
async def test_what_cannot_be_read_is_not_made_readable(db: Pool, odd: str) -> None:
    assert await db.fetchval("select thinned($1)", json.loads(odd)) == json.loads(odd)


async def test_an_argument_s_origin_says_no_more_than_there_is_to_say(db: Pool) -> None:
    plan = PlannedStep.model_validate(
        {"n": 1, "kind": "act", "origins": {"a": {"origin": "requester"}, "b": {"origin": "requester", "by": "ann"}}}
    )
    [given] = steps.planned([plan])
    assert given["origins"] == {"a": {"origin": "requester"}, "b": {"origin": "requester", "by": "ann"}}
    assert PlannedStep.model_validate(given) == plan


async def test_the_history_of_a_pause_names_each_move_with_who_and_why(db: Pool) -> None:
    task, [approval] = await parked(db)
    told = [(e["machine"], e["n"], e["from"], e["to"], e["why"]) for e in await events.of_task(db, task)]
    assert told == [
        ("task", None, "", "running", "do bench.touch n=5"),
        ("step", 1, "ready", "running", "claim"),
        ("approval", 1, "", "pending", "risky"),
        ("step", 1, "running", "awaiting_approval", "risky"),
        ("task", None, "running", "waiting", "risky"),
    ]
    [subject] = [e["subject"] for e in await events.of_task(db, task) if e["machine"] == "approval"]
    assert subject == approval


async def test_keys_made_later_stand_later_and_no_two_are_alike(db: Pool) -> None:
    made = await db.fetch("select new_id() as id, pg_sleep(0.002) from generate_series(1, 20)")
    ids = [row["id"] for row in made]
    assert ids == sorted(ids)
    assert {one.version for one in ids} == {7}
    alike = await db.fetchval("select count(distinct new_id()) from generate_series(1, 1000)")
    assert alike == 1000
