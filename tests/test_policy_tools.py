"""`sayso policy`: a table of cases, why a step was judged so, and what other rules would have said."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bot.cli import app
from tests.test_whole_way import ACME, Sayso, running

CASES = """
- {name: deleting asks an owner, skill: files.delete, args: {paths: [a.md]}, as: bob,
   expect: {verdict: ask, approvers: [owner], needed: 1, rule: default}}
- {name: what is kept stays, skill: files.delete, args: {paths: [keep/a.md]}, as: ann,
   expect: {verdict: deny, rule: keep, says: keep/ stays}}
- {name: reading goes, skill: files.read, args: {path: a.md}, as: bob, expect: allow}
- {name: no mail for engineers, skill: email.send, args: {to: [x@y.example], subject: s, body: b}, as: bob, expect: deny}
- {name: a target of others asks, skill: files.write, args: {path: a.md, content: x}, origins: {path: untrusted},
   as: ann, expect: ask}
- {name: written by themselves, skill: files.write, args: {path: a.md, content: x}, as: ann, expect: allow}
"""


class Desk:
    def __init__(self, sayso: Sayso, home: Path, environment: dict[str, str]) -> None:
        self.sayso, self.home, self.environment = sayso, home, environment

    async def run(self, *args: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["policy", *args], env=self.environment)

    def file(self, name: str, text: str) -> str:
        (self.home / name).write_text(text, encoding="utf-8")
        return str(self.home / name)


TWO = """  two:
    steps:
      - {id: a, skill: files.delete, args: {paths: [a.md]}}
      - {id: b, skill: files.delete, args: {paths: [b.md]}}
"""


@pytest.fixture
async def desk(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(database_url, redis_url, tmp_path, ACME + TWO) as sayso:
        environment = {
            "DATABASE_URL": database_url, "REDIS_URL": redis_url, "SAYSO_HOME": str(tmp_path),
            "SAYSO_CONFIG": str(tmp_path / "sayso.yaml"),
        }  # fmt: skip
        yield Desk(sayso, tmp_path, environment)


async def test_a_table_of_cases_is_tried_and_what_is_not_as_expected_is_said(desk: Desk) -> None:
    good = await desk.run("test", desk.file("cases.yaml", CASES))
    assert good.exit_code == 0, good.output
    assert good.output == "6 of 6 as expected\n"
    wrong = CASES.replace("as: bob, expect: allow", "as: bob, expect: ask") + (
        "- {name: no such skill, skill: files.burn, as: ann, expect: ask}\n"
        "- {name: no such person, skill: files.read, args: {path: x}, as: eve, expect: ask}\n"
        "- {name: no such argument, skill: files.read, args: {way: x}, as: ann, expect: allow}\n"
    )
    bad = await desk.run("test", desk.file("cases.yaml", wrong))
    assert bad.exit_code == 1
    assert "reading goes: expected ask\n    it says: allow, rule 'default': Reading needs no approval." in bad.output
    assert "there is no skill 'files.burn'" in bad.output
    assert "nobody called 'eve'" in bad.output
    assert "files.read has no argument way" in bad.output
    assert "5 of 9 as expected" in bad.output
    body = json.loads((await desk.run("test", desk.file("cases.yaml", CASES), "--json")).output)
    assert [one["ok"] for one in body] == [True] * 6
    assert body[1]["answer"]["rule"] == "keep"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- {name: x, skill: files.read, as: ann}", "case 1, expect"),
        ("- {name: x, skill: files.read, as: ann, expect: perhaps}", "case 1, expect"),
        ("[", "cannot be read"),
        ("name: x", "the file: Input should be a valid"),
    ],
)
async def test_a_table_that_makes_no_sense_is_refused(desk: Desk, text: str, said: str) -> None:
    answer = await desk.run("test", desk.file("cases.yaml", text))
    assert answer.exit_code == 2
    assert said in answer.output


async def test_other_rules_are_held_against_what_was_done(desk: Desk) -> None:
    sayso = desk.sayso
    for name in ("a.md", "b.md"):
        (sayso.workspace / name).write_text("x", encoding="utf-8")
    kept = await sayso.say("do files.delete paths=keep/x")
    await sayso.until(kept, "failed")
    written = await sayso.say("do files.write path=c.md content=hello", who="T0ACME/U02BOB")
    await sayso.until(written, "succeeded")
    asked = await sayso.say("do files.delete paths=a.md")
    approval = await sayso.approval_of(asked)
    await sayso.press(approval["id"], "approve")
    await sayso.until(asked, "succeeded")
    same = await desk.run("what-if", desk.file("same.yaml", ACME))
    assert same.output == "3 actions of the last 30 days, 0 judged differently\n"
    other = ACME.replace("then: deny", "then: ask").replace(
        "    - name: keep", "    - {name: no writing, skill: files.write, then: deny}\n"
        "    - {name: free, skill: files.delete, when: 'args.paths.exists(p, p.startsWith(\"a\"))', then: allow}\n"
        "    - name: keep",
    )  # fmt: skip
    answer = await desk.run("what-if", desk.file("other.yaml", other))
    assert answer.exit_code == 0, answer.output
    assert "3 judged differently: 1 allow → deny, 1 ask → allow, 1 deny → ask" in answer.output
    body = json.loads((await desk.run("what-if", desk.file("other.yaml", other), "--json")).output)
    by_task = {int(one["task"]): one for one in body["changes"]}
    assert by_task[written or 0]["requester"] == "bob"
    assert by_task[written or 0]["now"]["rule"] == "no writing"
    assert by_task[asked or 0]["became"] == "ok"
    assert (await desk.run("what-if", str(desk.home / "absent.yaml"))).exit_code == 2


async def test_a_step_is_explained_with_its_origins_its_rule_and_what_became_of_it(desk: Desk) -> None:
    (desk.sayso.workspace / "old.log").write_text("x", encoding="utf-8")
    number = await desk.sayso.say("run clean-logs")
    await desk.sayso.approval_of(number)
    said = (await desk.run("explain", str(number), "2")).output
    assert f"step 2 of task {number}: files.delete, awaiting_approval" in said
    assert 'paths = ["old.log"]: content of others, step 1 (files.list)' in said
    assert "then: asked by rule 'default'" in said
    assert "now: ask any owner, rule 'default'" in said
    body: dict[str, Any] = json.loads((await desk.run("explain", str(number), "2", "--json")).output)
    assert body["origins"]["paths"] == {"origin": "untrusted", "step": 1, "note": "files.list", "by": ""}
    assert body["asked"][0]["status"] == "pending"
    missing = await desk.run("explain", str(number), "9")
    assert missing.exit_code == 1
    assert "no action in step 9" in missing.output


async def test_an_item_of_a_plan_is_explained_by_its_own_rule(desk: Desk) -> None:
    for name in ("a.md", "b.md"):
        (desk.sayso.workspace / name).write_text("x", encoding="utf-8")
    number = await desk.sayso.say("plan first: run two")
    await desk.sayso.approval_of(number)
    said = (await desk.run("explain", str(number), "3")).output
    assert f"step 3 of task {number}: files.delete, blocked" in said
    assert "then: asked by rule 'default', It deletes. (pending)" in said
    body = json.loads((await desk.run("explain", str(number), "3", "--json")).output)
    assert body["args"] == {"paths": ["b.md"]} and body["asked"][0]["rule"] == "default"


async def test_what_if_says_what_of_the_past_it_cannot_know(desk: Desk) -> None:
    rules = ACME.replace(
        "    - name: keep", "    - {name: new, skill: files.write, when: new_target, then: ask}\n    - name: keep"
    )
    answer = await desk.run("what-if", desk.file("past.yaml", rules))
    assert "What new_target was then is not known any more: taken as 0 or false" in answer.output
    assert json.loads((await desk.run("what-if", desk.file("past.yaml", rules), "--json")).output)["not_known"] == [
        "new_target"
    ]


async def test_rules_may_speak_of_what_was_done_before(database_url: str, redis_url: str, tmp_path: Path) -> None:
    file = ACME.replace(
        "    - name: keep",
        "    - {name: new place, skill: files.write, when: new_target, then: ask}\n"
        "    - {name: too often, skill: files.move, when: rate >= 2, then: deny, say: Twice an hour is enough.}\n"
        "    - name: keep",
    )
    async with running(database_url, redis_url, tmp_path, file) as sayso:
        first = await sayso.say("do files.write path=n.md content=1")
        approval = await sayso.approval_of(first)
        assert approval["card"]["rule"] == "new place"
        await sayso.press(approval["id"], "approve")
        await sayso.until(first, "succeeded")
        again = await sayso.say("do files.write path=n.md content=2 overwrite=true")
        assert (await sayso.until(again, "succeeded", "waiting"))["status"] == "succeeded"
        for there, back in (("n.md", "m.md"), ("m.md", "n.md")):
            await sayso.until(await sayso.say(f"do files.move source={there} target={back}"), "succeeded")
        third = await sayso.until(await sayso.say("do files.move source=n.md target=m.md"), "failed")
    assert "Twice an hour is enough." in third["error"]
