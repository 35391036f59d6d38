"""`why` in chat: the turn and what it weighed, each action's reason, rule and evidence, and who answered."""

from __future__ import annotations

from pathlib import Path

from core.cards import why_text
from core.models import Accepted
from tests.sim.llm_script import Call, Calls, Script
from tests.test_llm_whole_way import talking
from tests.test_whole_way import eventually


async def test_why_tells_the_turn_the_ways_it_weighed_the_rule_and_the_evidence(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    proposal = {
        "say": "Ich suche die Logs und frage, bevor ich lösche.",
        "steps": [
            {"id": "find", "skill": "files.list", "args": {"pattern": "*.log"}, "why": "to see what is there"},
            {"id": "remove", "skill": "files.delete", "args": {"paths": "{{ find.paths }}"}, "needs": ["find"]},
        ],
        "then": "answer",
        "weighed": ["Asking which logs: the request says all\u202e of them."],
        "language": "de",
    }
    async with talking(
        "anthropic", Script(Calls(Call("propose_plan", proposal))), database_url, redis_url, tmp_path
    ) as (
        sayso,
        _,
    ):
        (sayso.workspace / "old.log").write_text("old", encoding="utf-8")
        number = await sayso.say("räum die Logs weg")
        approval = await sayso.approval_of(number)
        assert isinstance(await sayso.press(approval["id"], "approve", reason="fine"), Accepted)
        done = await sayso.until(number, "succeeded")
        await sayso.say(f"why {number}")
        said = await eventually(lambda: next((text for text in sayso.chat.texts if text.startswith("Task")), None))
    assert done["steps"][0]["result"]["language"] == "de"
    lines = [line.strip() for line in said.splitlines()]
    for told in (
        "1. turn (anthropic/claude-sonnet-4-6), succeeded: Ich suche die Logs und frage, bevor ich lösche.",
        "weighed: Asking which logs: the request says all⟨U+202E⟩ of them.",
        "2. List *.log in the workspace, succeeded: to see what is there",
        "3. Delete old.log from the workspace, succeeded",
        "evidence: paths comes from a list of files read in step 2",
        "after: steps 1, 2",
        "approve by Ann in Slack: fine",
    ):
        assert told in lines, said
    assert any(line.startswith("the rules now: allow, rule") for line in lines), said
    assert any(
        line.startswith("step 3 was asked by the rule 'default' because Part of it was not chosen") for line in lines
    ), said
    assert lines.index("Moves:") > 5


def test_what_is_damaged_or_not_recorded_is_left_out() -> None:
    step = {"n": 1, "kind": "plan", "skill": "", "title": "", "status": "failed", "result": ["odd"], "error": None,
            "depends_on": []}  # fmt: skip
    task = {
        "id": "3",
        "goal": "x",
        "status": "failed",
        "steps": [step, {**step, "n": 2, "kind": "act", "result": None}],
    }
    approval = {"n": 2, "card": "damaged", "status": "expired"}
    said = why_text(task, [], [approval])
    assert said.splitlines() == [
        "Task 3: x (failed)",
        "  1. turn, failed",
        "  2. act, failed",
        "     step 2 was asked because  (expired)",
        "     nobody answered in time",
        "Moves:",
    ]
