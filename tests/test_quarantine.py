"""A row that was broken by hand: its task ends with the reason, nothing is approved by it, and others go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bot.courier import Courier
from core.db import Pool, transaction
from core.models import Claimed, EffectClass, Failed, PlannedStep, Unknown
from core.store import approvals, conversations, grants, skills, steps, tasks
from tests.test_whole_way import eventually, running
from tests.web_house import DIGEST, NOWHERE, House
from worker.quarantine import flaw_of, quarantined
from worker.upkeep import Housekeeper

BROKEN_APPROVERS = (
    "[]", '"nobody"', "{}", '{"people": ["ann"], "roles": ["owner"]}', '{"people": "ann", "needed": 1}',
    '{"people": ["ann"], "roles": {}, "needed": 1}', '{"people": ["ann"], "needed": 0}', '{"people": ["ann"], "needed": "x"}',
    '{"people": ["ann"], "needed": null}', '{"people": ["ann"], "needed": 1, "four_eyes": "perhaps"}', "null",
)  # fmt: skip


def claimed(**more: Any) -> Claimed:
    fields: dict[str, Any] = {
        "task_id": 1, "n": 1, "kind": "act", "skill": "files.delete", "args": {}, "origins": {}, "effect_class": "unsafe",
        "needs": (), "fence": 1, "attempt": 1, "max_attempts": 3, "gen": 1, "timeout_s": 30.0, "approval_id": None,
        "effect_state": None, "task_goal": "", "plan_version": 1, "requester_id": 1, "conversation_id": None, "lane": "default",
    }  # fmt: skip
    known = {name: value for name, value in (fields | more).items() if name in Claimed.__dataclass_fields__}
    rest = {name: None for name in Claimed.__dataclass_fields__ if name not in known}
    return Claimed(**known, **rest)


@pytest.mark.parametrize(
    "broken",
    [{"args": [1]}, {"args": "secret text"}, {"origins": 3}, {"origins": {"x": {"origin": "me"}}}, {"origins": {"x": None}},
     {"kind": "dance"}, {"effect_class": "harmless"}],
)  # fmt: skip
def test_a_step_that_cannot_be_read_is_not_run_and_says_why(broken: dict[str, Any]) -> None:
    assert flaw_of(claimed()) is None
    flaw = flaw_of(claimed(**broken))
    assert flaw and "secret" not in flaw
    ended = quarantined(claimed(**broken), flaw)
    assert isinstance(ended, Failed) and ended.error.startswith("Quarantined:") and ended.retry_in_s is None
    # A call that may be under way stays a question.
    assert isinstance(quarantined(claimed(effect_state="intent", **broken), flaw), Unknown)


async def test_the_worker_ends_a_broken_step_and_carries_the_others_out(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with running(database_url, redis_url, tmp_path) as sayso:
        fine = await sayso.say("do files.list")
        before = await sayso.until(fine, "succeeded")
        async with transaction(sayso.deps.db) as tx:
            made = await tasks.create(
                tx, requester=1, goal="do files.list", kind="do", actor="test",
                conversation=await tasks.conversation_of(tx, int(before["id"])),
                steps=[PlannedStep(n=1, kind="act", skill="files.list", effect_class=EffectClass.PURE)],
            )  # fmt: skip
            await tx.execute("update steps set args = '[\"a\", 1]' where task_id = $1", made)
        task = await sayso.until(made, "failed")
        assert task["error"].startswith("Quarantined: the row of this step cannot be read (its arguments are a list")
        await eventually(
            lambda: [c for c in sayso.chat.now("task") if c.task_id == str(made) and "Quarantined" in c.answer]
        )
        after = await sayso.say("do files.list")
        assert (await sayso.until(after, "succeeded"))["error"] is None


@pytest.mark.parametrize("approvers", BROKEN_APPROVERS)
async def test_nobody_approves_what_cannot_be_read(house: House, approvers: str) -> None:
    ann = await house.person("ann", "owner")
    task, approval = await house.ask(ann)
    await house.db.execute(
        "update approvals set approvers = $1::text::jsonb where id = $2::text::uuid", approvers, approval
    )
    answer = await approvals.decide(
        house.db, principal=ann.id, approval=approval, verdict="approve", digest=DIGEST, reason="", channel="web", delivery_id="1"
    )  # fmt: skip
    assert answer["kind"] == "not_allowed"
    # Nor is one that was approved before it broke of any use.
    await house.db.execute("update approvals set status = 'approved', decided_by = $1 where status = 'pending'", ann.id)
    await house.db.execute("update steps set status = 'ready', ready_at = now() where task_id = $1", task)
    [step] = await steps.claim(house.db, house.worker, "default", 5)
    begun = await steps.begin(
        house.db, house.worker, step, key="k", digest=DIGEST, action={}, approval=approval, grant=None
    )
    assert begun == "approver"
    assert await house.db.fetchval("select count(*) from effects") == 0


async def test_an_unreadable_approval_ends_its_task_and_the_others_are_still_shown(house: House) -> None:
    ann = await house.person("ann", "owner")
    broken, approval = await house.ask(ann, title="Broken one")
    fine, other = await house.ask(ann, title="Fine one")
    damages = ("card = '[]'", "items = '{\"a\": 1}'", "approvers = '3'", "items = '[3]'")
    for damage in damages:
        await house.db.execute(f"update approvals set {damage} where id = $1::text::uuid", approval)
        page = await (await house.browser(ann)).get("/inbox")
        assert page.status_code == 200 and "Fine one" in page.text
        api = await house.api(ann)
        assert other in {row["id"] for row in (await api.get("/api/approvals")).json()}
        assert (await api.get(f"/api/tasks/{broken}")).status_code == 200
        assert (await (await house.browser(ann)).get(f"/approvals/{approval}")).status_code == 200
        assert (await api.post("/api/intents", json={"text": "approvals"})).status_code == 202
    assert "quarantine" in await Housekeeper(house.db).look()
    task = await tasks.whole(house.db, broken)
    assert task and task["status"] == "abandoned" and task["error"].startswith("Quarantined: the row of its approval")
    assert (await tasks.whole(house.db, fine) or {})["status"] == "waiting"
    assert await house.db.fetchval("select array_agg(status order by created_at) from approvals") == [
        "undeliverable",
        "pending",
    ]
    assert await house.db.fetchval("select count(*) from audit where kind = 'quarantine'") == 1


async def test_an_unreadable_question_is_asked_anew(house: House) -> None:
    ann = await house.person("ann", "owner")
    await house.task(ann)
    [step] = await steps.claim(house.db, house.worker, "default", 5)
    await steps.begin(house.db, house.worker, step, key="k1", digest="d", action={}, approval=None, grant=None)
    await house.db.execute("update steps set effect_class = 'unsafe'")
    assert await steps.lose(house.db, house.worker, step, "lost") == "unknown"
    await house.db.execute("update approvals set approvers = '{}'")
    await Housekeeper(house.db).look()
    rows = await house.db.fetch("select status, kind, approvers from approvals order by created_at")
    assert [(r["status"], r["kind"]) for r in rows] == [("superseded", "unknown"), ("pending", "unknown")]
    assert rows[1]["approvers"]["roles"] == ["owner"]
    assert await house.db.fetchval("select status from steps") == "unknown"


class Ear:
    """A channel that hears everything."""

    channel = "web"

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def post(self, conversation: Any, content: Any, message: int) -> str:
        self.heard.append(content if isinstance(content, str) else content.headline)
        return str(message)

    async def edit(self, conversation: Any, ref: str, card: Any) -> None:
        self.heard.append(card.headline)

    async def find(self, conversation: Any, message: int) -> str | None:
        return None


async def test_a_message_that_cannot_be_shown_is_dead_with_the_reason_and_the_next_one_goes(house: House) -> None:
    ann = await house.person("ann", "owner")
    place = await house.place(ann)
    _, approval = await house.ask(ann, title="Broken one")
    await house.db.execute("update approvals set card = '[]' where id = $1::text::uuid", approval)
    await house.db.execute("insert into outbox (conversation_id, kind, body) values ($1, 'text', '[1]')", place)
    await conversations.say(house.db, place, "still here")
    ear = Ear()
    courier = Courier(house.db, NOWHERE, [ear], str)
    while await courier.deliver():
        continue
    assert "still here" in ear.heard and "Broken one" not in ear.heard
    dead = await house.db.fetch("select error, attempts from outbox where status = 'dead' order by id")
    assert [r["attempts"] for r in dead] == [1, 1] and all("unreadable" in r["error"] for r in dead)


async def test_a_task_with_a_broken_result_is_shown_as_unreadable(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await house.task(ann)
    [step] = await steps.claim(house.db, house.worker, "default", 5)
    await steps.complete(house.db, house.worker, step, {"summary": "fine"})
    await house.db.execute("update steps set result = '[7]', args = '7'")
    page = await (await house.browser(ann)).get(f"/tasks/{task}")
    assert page.status_code == 200 and "unreadable" in page.text
    assert (await (await house.api(ann)).get("/api/tasks")).json()[0]["id"] == str(task)


def test_a_permission_that_cannot_be_read_permits_nothing_and_hides_no_other() -> None:
    good = {"id": "g", "skill": "files.delete", "principal_key": "ann", "expires_at": "2027-01-01T00:00:00Z"}
    assert [g.id for g in grants.readable([good | {"args": 7}, "x", good])] == ["g"]


async def test_one_broken_manifest_hides_one_skill(house: House) -> None:
    await house.db.execute("update skills set manifest = '{\"name\": 3}' where name = 'files.delete'")
    assert set(await skills.manifests(house.db)) == {"files.list"}


async def test_json_that_python_cannot_read_breaks_one_row_only(db: Pool) -> None:
    rows = await db.fetch("select j::jsonb as j from (values (repeat('9', 5000)), ('{\"a\": 1}')) v (j)")
    assert [r["j"] for r in rows] == ["unreadable JSON of 5,001 bytes: ValueError", {"a": 1}]
    assert json.dumps(rows[0]["j"])
