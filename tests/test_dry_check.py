"""Looked at before anybody is asked: what would be refused brings no card, and what has changed since takes no yes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.models import Accepted, Changed, SkillManifest
from core.store import approvals, skills
from tests.skill_context import built_in, context, file_context
from tests.test_deciding import Desk, desk
from tests.test_whole_way import Sayso, eventually, running, sayso
from tests.web_house import MANIFESTS
from worker.skills.context import Handles
from worker.skills.errors import NotDone
from worker.skills.http_client import Credential, HttpClient
from worker.skills.registry import Registry

__all__ = ["desk", "sayso"]

# What each skill with a preview can tell before it runs. A mail's addresses are checked with its arguments.
WOULD_FAIL: list[tuple[str, dict[str, Any], str]] = [
    ("files.delete", {"paths": ["a.txt", "absent"]}, "there is no file 'absent'"),
    ("files.delete", {"paths": ["folder"]}, "folder"),
    ("files.write", {"path": "a.txt", "content": "x"}, "overwrite=true"),
    ("files.move", {"source": "absent", "target": "b"}, "there is no file 'absent'"),
    ("files.move", {"source": "a.txt", "target": "c.txt"}, "never replaces"),
    ("http.request", {"method": "POST", "url": "http://127.0.0.1/x"}, "not on the public internet"),
    ("http.request", {"method": "POST", "url": "http://[::1]/x"}, "not on the public internet"),
    ("http.request", {"method": "POST", "url": "ftp://acme.example/"}, "not an http or https URL"),
    ("http.request", {"method": "POST", "url": "https://acme.example/", "credential": "x"}, "there is no credential 'x'"),
    ("http.request", {"method": "POST", "url": "https://other.example/", "credential": "k"}, "is not for other.example"),
    ("http.request", {"method": "POST", "url": "http://acme.example/", "credential": "k"}, "only sent over https"),
    ("http.request", {"method": "POST", "url": "https://acme.example/", "headers": {"Host": "x"}}, "cannot be set"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "said"), WOULD_FAIL)
async def test_what_would_be_refused_is_refused_by_the_preview_and_by_the_call(
    name: str, args: dict[str, Any], said: str, tmp_path: Path
) -> None:
    ctx = file_context(tmp_path)
    for file in ("a.txt", "c.txt", "folder/b.txt"):
        (tmp_path / "workspace" / file).parent.mkdir(exist_ok=True)
        (tmp_path / "workspace" / file).write_text("x", encoding="utf-8")
    if name.startswith("http."):
        key = Credential("k", "Authorization", "secret-value", frozenset({"acme.example"}))
        ctx = context(Handles(http=HttpClient(credentials={"k": key}, resolve=nobody_is_looked_up)))
    skill = built_in(name)
    with pytest.raises(NotDone, match=said):
        await skill.preview(ctx, skill.validate(args))
    with pytest.raises(NotDone):
        await skill.run(ctx, skill.validate(args))


async def nobody_is_looked_up(host: str, port: int) -> list[str]:
    raise AssertionError(f"{host} was looked up")


def test_every_skill_with_a_preview_is_in_the_table_or_cannot_know() -> None:
    with_preview = {m.name for m in Registry.load(Path("/nonexistent")).manifests() if m.has_preview}
    assert with_preview == {name for name, _, _ in WOULD_FAIL} | {"email.send"}


async def test_nobody_is_asked_about_what_would_be_refused(sayso: Sayso) -> None:
    number = await sayso.say("do files.delete paths=absent.log")
    ended = await sayso.until(number, "failed")
    assert "It would not work: there is no file 'absent.log'" in ended["error"]
    assert await approvals.of_task(sayso.deps.db, number or 0) == []
    assert sayso.chat.now("approval") == []


BROKE = """
people:
  ann: {name: Ann, roles: [owner], identities: {slack: T0ACME/U01ALICE}}
policy: {budgets: {task: {steps: 0}}}
"""


async def test_a_used_up_budget_asks_before_the_action_does(database_url: str, redis_url: str, tmp_path: Path) -> None:
    async with running(database_url, redis_url, tmp_path, BROKE) as sayso:
        (sayso.workspace / "a.txt").write_text("a", encoding="utf-8")
        number = await sayso.say("do files.delete paths=a.txt")
        first = await sayso.approval_of(number)
        assert first["kind"] == "budget"
        await sayso.press(first["id"], "deny")
        await sayso.until(number, "abandoned")
        assert [a["kind"] for a in await approvals.of_task(sayso.deps.db, number or 0)] == ["budget"]


# ---------------------------------------------------------------- drift before the press


def newer(**change: Any) -> SkillManifest:
    return next(m for m in MANIFESTS if m.name == "files.delete").model_copy(update=change)


@pytest.mark.parametrize("change", [{"version": "2", "schema_hash": "h"}, {"version": "1", "schema_hash": "other"}])
@pytest.mark.parametrize("verdict", ["approve", "grant"])
async def test_a_yes_to_a_skill_that_has_changed_since_is_not_counted(
    desk: Desk, change: dict[str, Any], verdict: str
) -> None:
    await skills.publish(desk.db, [newer(version="1", schema_hash="h")])
    asked = await desk.asked()
    await skills.publish(desk.db, [newer(**change)])
    answer = await desk.say(asked, "ann", verdict, grant={"skill": "files.delete"})
    row = await desk.row(asked)
    assert answer["kind"] == "changed" and row["votes"] == []
    assert (row["status"], row["reason"]) == ("superseded", "the skill has changed since this was asked")
    assert await desk.db.fetchval("select count(*) from grants") == 0
    step = await desk.step(row["task_id"])
    assert (step["status"], step["approval_id"]) == ("ready", None)
    assert await desk.db.fetchval("select data ->> 'why' from audit where kind = 'void'") == row["reason"]


async def test_a_no_to_a_skill_that_has_changed_still_ends_it(desk: Desk) -> None:
    await skills.publish(desk.db, [newer(version="1", schema_hash="h")])
    asked = await desk.asked()
    await skills.publish(desk.db, [newer(version="2", schema_hash="h")])
    assert (await desk.say(asked, "ann", "deny"))["status"] == "denied"


async def test_the_voided_card_is_followed_by_a_fresh_one(sayso: Sayso) -> None:
    (sayso.workspace / "a.txt").write_text("a", encoding="utf-8")
    number = await sayso.say("do files.delete paths=a.txt")
    first = await sayso.approval_of(number)
    real = (await skills.manifests(sayso.deps.db))["files.delete"]
    await skills.publish(sayso.deps.db, [real.model_copy(update={"version": "99"})])
    assert await sayso.press(first["id"], "approve") == Changed(first["id"])
    await skills.publish(sayso.deps.db, [real])

    async def another() -> dict[str, Any] | None:
        found = await approvals.of_task(sayso.deps.db, number or 0)
        return next((a for a in found if a["status"] == "pending" and a["id"] != first["id"]), None)

    fresh = await eventually(another)
    assert isinstance(await sayso.press(fresh["id"], "approve"), Accepted)
    await sayso.until(number, "succeeded")
    assert not (sayso.workspace / "a.txt").exists()
