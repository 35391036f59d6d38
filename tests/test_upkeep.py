"""What is over is put away and can still be looked at; what is not over stays, and nothing that is needed is lost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from core import config
from core.cards import status_text, task_card
from core.db import Pool
from core.store import approvals, clock, conversations, events, llm_calls, steps, tasks, upkeep
from core.store.people import Principal
from core.store.upkeep import ARCHIVE, Keep, walk
from tests.web_house import House
from worker.upkeep import JOBS, Housekeeper

DAY = timedelta(days=1)
LATER = timedelta(days=40)


async def finished(house: House, ann: Principal, **more: object) -> int:
    """A task that ended well, with its card in the chat."""
    task = await house.task(ann, **more)  # type: ignore[arg-type]
    await finish(house, task)
    return task


async def finish(house: House, task: int) -> None:
    for step in await steps.claim(house.db, house.worker, "default", 50):
        if step.task_id == task:
            assert (await steps.complete(house.db, house.worker, step, {"summary": "2 files"})).ok
    await delivered(house.db)


async def delivered(db: Pool) -> None:
    for message in await conversations.claim_messages(db, ["web"], 100, 30.0):
        await conversations.sent(db, message.id, f"ref-{message.id}", message.wanted)
    if await db.fetchval("select count(*) from outbox where status = 'pending'"):
        await delivered(db)


async def archived_after(house: House, ahead: timedelta = LATER) -> dict[str, int]:
    """One walk over everything, that much later: why tasks stayed."""
    await clock.move(house.db, ahead)
    walked = await walk(house.db, ARCHIVE, 0, Keep())
    assert walked.at_end
    return dict(walked.held)


async def is_open_table(db: Pool, task: int) -> bool:
    return bool(await db.fetchval("select exists (select from tasks where id = $1)", task))


async def test_a_finished_task_is_put_away_whole_and_shown_by_its_number(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await finished(house, ann)
    api = await house.api(ann)
    before = (await api.get(f"/api/tasks/{task}")).json()
    history = await events.of_task(house.db, task)
    assert await archived_after(house) == {}

    for table in ("steps", "cards", "events", "effects", "approvals"):
        assert await house.db.fetchval(f"select count(*) from {table} where task_id = $1", task) == 0
    assert await house.db.fetchval("select count(*) from outbox") == 0
    after = (await api.get(f"/api/tasks/{task}")).json()
    assert after["archived_at"] and not before["archived_at"]
    assert after | {"archived_at": None} == before
    assert await events.of_task(house.db, task) == history and len(history) >= 3
    assert (await api.get("/api/tasks")).json() == []
    assert "succeeded, archived" in status_text(after)
    assert task_card(after, now=datetime.now(UTC)).buttons == ()
    page = await (await house.browser(ann)).get(f"/tasks/{task}")
    assert page.status_code == 200 and "archived" in page.text
    assert "/fork" not in page.text and "/rollback" not in page.text, "what would be refused is not offered"
    for what in ("versions", f"?version={before['version']}"):
        assert (await api.get(f"/api/tasks/{task}" + (what if what[0] == "?" else f"/{what}"))).status_code == 200


async def test_an_archived_task_is_seen_by_whom_it_was_seen_and_changed_by_nobody(house: House) -> None:
    ann, bob, eve = [await house.person(key, "engineer") for key in ("ann", "bob", "eve")]
    task, approval = await house.ask(ann, people_=("bob",), roles=())
    await approvals.decide(
        house.db, principal=bob.id, approval=approval, verdict="deny", digest=None, reason="", channel="web", delivery_id="1"
    )  # fmt: skip
    await delivered(house.db)
    assert await archived_after(house) == {}
    assert (await (await house.api(bob)).get(f"/api/tasks/{task}")).json()["status"] == "abandoned"
    assert (await (await house.api(eve)).get(f"/api/tasks/{task}")).status_code == 404
    api = await house.api(ann)
    for hand in ("retry", "cancel", "pause", "resume"):
        said = (await api.post(f"/api/tasks/{task}/{hand}")).json()
        assert "archived" in said["said"] and said["status"] == "abandoned"
    for told in (
        {"steer": {"text": "go on"}},
        {"signal": {"name": "go"}},
        {"fork": {"step": 1}},
        {"rollback": {"to": "1"}},
    ):
        ((verb, body),) = told.items()
        answer = await api.post(f"/api/tasks/{task}/{verb}", json=body)
        assert answer.status_code in (409, 422) and "archived" in answer.json()["error"]
    assert "archived" in (await api.post(f"/api/tasks/{task}/priority", json={"priority": "high"})).json()["said"]
    [asked] = await approvals.of_task(house.db, task)
    assert asked["status"] == "denied" and asked["card"]["reasons"] == ["It deletes."]
    kinds = await house.db.fetch("select kind from audit where task_id = $1 order by id", task)
    assert [r["kind"] for r in kinds][:2] == ["request", "vote"] and "priority" not in [r["kind"] for r in kinds]


async def test_what_is_not_over_stays(house: House) -> None:
    ann = await house.person("ann", "owner")
    db = house.db
    waiting, _ = await house.ask(ann)
    unknown = await house.task(ann)
    [step] = await steps.claim(db, house.worker, "default", 5)
    await steps.begin(db, house.worker, step, key="k1", digest="d", action={}, approval=None, grant=None)
    assert await steps.lose(db, house.worker, step, "lost") == "unknown"
    parent = await finished(house, ann)
    child = await house.task(ann)
    await db.execute("update tasks set parent_id = $1 where id = $2", parent, child)
    unsent = await finished(house, ann)
    await db.execute(
        "insert into outbox (conversation_id, kind, body) select conversation_id, 'text', $2 from tasks where id = $1",
        unsent, {"task": unsent},
    )  # fmt: skip
    await clock.move(db, LATER)
    await db.execute("update approvals set expires_at = sayso_now() + interval '1 day' where status = 'pending'")
    walked = await walk(db, ARCHIVE, 0, Keep())
    assert (walked.gone, walked.held) == (0, {"child": 1, "card": 1})
    for task in (waiting, unknown, parent, child, unsent):
        assert await is_open_table(db, task)


async def test_a_task_whose_effect_was_given_up_unknown_is_kept(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await finished(house, ann)
    await house.db.execute(
        "insert into effects (task_id, n, gen, key, fence, digest, action, state) values ($1, 1, 1, 'k', 1, 'd', '{}', 'intent')",
        task,
    )
    await house.db.execute("update effects set state = 'unknown' where task_id = $1", task)
    assert await archived_after(house) == {"unknown": 1}
    assert await is_open_table(house.db, task)


async def test_children_go_before_their_parent(house: House) -> None:
    ann = await house.person("ann", "owner")
    parent, child = await finished(house, ann), await finished(house, ann)
    await house.db.execute("update tasks set parent_id = $1 where id = $2", parent, child)
    assert await archived_after(house) == {"child": 1}
    assert not await is_open_table(house.db, child)
    assert await archived_after(house) == {}
    assert not await is_open_table(house.db, parent)
    shown = await tasks.shown(house.db, child, ann.id, sees_all=False, sees_conversation=False)
    assert shown and shown["parent_id"] == str(parent)
    eve = await house.person("eve")
    assert await tasks.shown(house.db, child, eve.id, sees_all=False, sees_conversation=False) is None


async def test_a_task_that_something_else_refers_to_is_held_and_the_others_go(house: House) -> None:
    ann = await house.person("ann", "owner")
    needed, other = await finished(house, ann), await finished(house, ann)
    await house.db.execute("create table diary (task_id bigint references tasks)")
    await house.db.execute("insert into diary values ($1)", needed)
    assert await archived_after(house) == {"refers": 1}
    assert await is_open_table(house.db, needed) and not await is_open_table(house.db, other)
    assert await house.db.fetchval("select array_agg(task_id) from archived_tasks") == [other]


async def test_a_walk_that_was_broken_off_goes_on_where_it_was(house: House) -> None:
    ann = await house.person("ann", "owner")
    made = [await finished(house, ann) for _ in range(5)]
    await clock.move(house.db, LATER)
    first = await walk(house.db, ARCHIVE, 0, Keep(), window=2)
    assert (first.gone, first.at_end, first.last) == (2, False, made[1])
    await upkeep.leave_off(house.db, ARCHIVE, first.last, {"gone": 2}, 0.0)
    assert ARCHIVE in await Housekeeper(house.db).look()
    assert await house.db.fetchval("select count(*) from tasks") == 0
    assert await house.db.fetchval("select cursor from upkeep where job = 'archive'") == 0


async def test_a_job_that_is_due_is_taken_by_one_of_many_that_ask_at_once(db: Pool) -> None:
    every = dict.fromkeys(JOBS, 60.0)
    taken = await asyncio.gather(*(upkeep.take_due(db, every) for _ in range(8)))
    assert sorted(job for jobs in taken for job in jobs) == sorted(JOBS)


async def test_two_who_archive_at_once_put_each_task_away_once(house: House) -> None:
    ann = await house.person("ann", "owner")
    made = [await finished(house, ann) for _ in range(6)]
    await clock.move(house.db, LATER)
    await upkeep.turn_months(house.db, Keep())
    gone = [w.gone for w in await asyncio.gather(*(walk(house.db, ARCHIVE, 0, Keep()) for _ in range(3)))]
    assert sum(gone) == len(made)
    assert sorted(await house.db.fetchval("select array_agg(task_id) from archived_tasks")) == made


async def test_a_job_that_breaks_does_not_stop_the_others(house: House) -> None:
    await house.db.execute("drop table llm_calls")
    assert set(await Housekeeper(house.db).look()) == set(JOBS)
    did = await house.db.fetchval("select did from upkeep where job = 'leftovers'")
    assert {"pairings", "tokens", "late_evidence"} <= set(did) and not any(did.values())


async def test_old_months_of_the_archive_are_dropped_whole(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await finished(house, ann)
    assert await archived_after(house) == {}
    assert await upkeep.turn_months(house.db, Keep()) == []
    await clock.move(house.db, LATER + timedelta(days=450))
    [dropped] = [d for d in await upkeep.turn_months(house.db, Keep()) if "_2026" in d or "_202" in d][:1]
    assert dropped.startswith("archived_tasks_")
    assert await tasks.shown(house.db, task, ann.id, sees_all=True, sees_conversation=True) is None
    # What is put away from then on finds its month.
    other = await finished(house, ann)
    await clock.move(house.db, LATER + timedelta(days=500))
    assert (await walk(house.db, ARCHIVE, 0, Keep())).gone == 1
    assert await tasks.shown(house.db, other, ann.id, sees_all=True, sees_conversation=True)


async def test_a_delivery_is_known_again_for_as_long_as_a_vendor_may_repeat_it(house: House) -> None:
    ann = await house.person("ann", "owner")
    api = await house.api(ann)
    say = {"text": "help", "idempotency_key": "one"}
    await api.post("/api/intents", json=say)
    await clock.move(house.db, timedelta(seconds=config.REDELIVERY_S))
    await walk(house.db, "inbound", 0, Keep())
    await api.post("/api/intents", json=say)
    assert await house.db.fetchval("select count(*) from inbound") == 1
    await clock.move(house.db, timedelta(seconds=config.INBOUND_KEEP_S) + DAY)
    assert (await walk(house.db, "inbound", 0, Keep())).gone == 1
    with pytest.raises(ValueError, match="vendor"):
        Keep(inbound_s=3600)


async def test_words_that_an_open_task_came_from_are_kept(house: House) -> None:
    ann = await house.person("ann", "owner")
    await (await house.api(ann)).post("/api/intents", json={"text": "do files.delete paths=old.log"})
    await clock.move(house.db, 5 * LATER)
    assert (await walk(house.db, "inbound", 0, Keep())).gone == 0
    [task] = await house.db.fetch("select id from tasks")
    assert await conversations.own_words(house.db, task["id"]) == ["do files.delete paths=old.log"]


async def test_edits_of_a_card_go_after_a_day_and_the_card_keeps_its_place_in_the_chat(house: House) -> None:
    ann = await house.person("ann", "owner")
    task, _ = await house.ask(ann)
    await delivered(house.db)
    await tasks.pause(house.db, task, ann.actor)
    await delivered(house.db)
    place = await house.place(ann)
    await conversations.say(house.db, place, "words", dedup="d1")
    await delivered(house.db)
    before = await conversations.recent(house.db, place, 50)
    rows = await house.db.fetchval("select count(*) from outbox")
    await clock.move(house.db, 2 * DAY)
    gone = (await walk(house.db, "outbox", 0, Keep())).gone
    assert gone > 0 and await house.db.fetchval("select count(*) from outbox") == rows - gone
    assert await conversations.recent(house.db, place, 50) == before
    await conversations.say(house.db, place, "words", dedup="d1")
    assert await house.db.fetchval("select count(*) from outbox where dedup = 'd1'") == 1


async def test_what_waits_to_be_sent_is_never_thrown_away(house: House) -> None:
    ann = await house.person("ann", "owner")
    await conversations.say(house.db, await house.place(ann), "not sent yet")
    await clock.move(house.db, 5 * LATER)
    assert (await walk(house.db, "outbox", 0, Keep())).gone == 0


async def test_accounts_of_model_calls_codes_and_tokens_go_when_they_are_old(house: House) -> None:
    ann = await house.person("ann", "owner")
    await llm_calls.record(
        house.db, purpose="plan", provider="openai", model="m", prompt_sha256="", input_tokens=1, output_tokens=1,
        cached_tokens=0, usd=None, latency_ms=1, outcome="ok", error_class="",
    )  # fmt: skip
    await house.db.execute(  # one of a task that is still open: its budget counts it
        "insert into llm_calls (task_id, purpose, provider, model, prompt_sha256, outcome) values ($1, '', '', '', '', 'ok')",
        await house.task(ann),
    )
    await house.session(ann)
    kept = await house.api(ann)
    assert (await walk(house.db, "llm_calls", 0, Keep())).gone == 0
    await clock.move(house.db, 3 * LATER)
    assert (await walk(house.db, "llm_calls", 0, Keep())).gone == 1
    assert (await upkeep.clear_leftovers(house.db, Keep()))["tokens"] == 1
    assert (await kept.get("/api/tasks")).status_code == 200


async def test_an_idle_round_looks_once(db: Pool) -> None:
    keeper = Housekeeper(db)
    await keeper.look()
    assert await keeper.look() == []


# Where a task is, or was, shown: of no use once it is put away.
HOLDS_NOTHING = {"cards", "outbox", "drafts", "followers"}
KNOWN_TO_THE_ARCHIVE = {
    "steps", "approvals", "decisions", "delegations", "questions", "effects", "tasks", "row_versions",
    "rungs", "asks", "approval_opens", "failed_deliveries", "sms_codes", "signals", "signal_reads", "attachments",
    *HOLDS_NOTHING,
}  # fmt: skip


async def test_every_table_that_hangs_on_a_task_is_known_to_the_archive(db: Pool) -> None:
    """A new one must be put into archive_task_v1's document (or hold nothing worth keeping), and go with its task."""
    rows = await db.fetch(
        "with recursive hangs as (select 'tasks'::regclass::oid as id union"
        " select c.conrelid from pg_constraint c join hangs h on c.confrelid = h.id where c.contype = 'f')"
        " select id::regclass::text as name from hangs"
    )
    assert {r["name"] for r in rows} == KNOWN_TO_THE_ARCHIVE
    source = await db.fetchval("select prosrc from pg_proc where proname = 'archive_task_v1'")
    for name in KNOWN_TO_THE_ARCHIVE - HOLDS_NOTHING:
        assert f"'{name}', " in source, f"{name} is not in the document"
