"""Every answer over HTTP and in words, and what the worker makes of it: edits, permissions, questions, being away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.cli.findings import of_approvals
from core import intake
from core.fatigue import in_words
from core.models import ArgumentRole, Channel, Identity, Inbound, Place
from core.organisation.schema import OutOfOffice, Person
from core.store import approvals, conversations, people, skills
from core.store.fatigue import by_person
from core.store.people import Principal
from tests.sim.llm_script import Script
from tests.test_llm_whole_way import talking
from tests.test_whole_way import Sayso, eventually, running, sayso
from tests.web_house import DIGEST, MANIFESTS, House, unique

__all__ = ["sayso"]


async def answered(house: House, who: Principal, approval: str, verdict: str, **more: Any) -> Any:
    body = {"verdict": verdict, "digest": DIGEST, **more}
    return await (await house.api(who)).post(f"/api/approvals/{approval}/decisions", json=body)


async def publish(house: House) -> None:
    """A skill whose arguments the house's approvals have."""
    await skills.publish(house.db, [MANIFESTS[0].model_copy(update={"roles": {"paths": ArgumentRole.CONTROL}})])


# ---------------------------------------------------------------- HTTP


async def test_looking_delegating_and_asking_keep_it_pending(house: House) -> None:
    ann, fay = await house.person("ann", "owner"), await house.person("fay")
    _, approval = await house.ask(ann)
    for verdict, more in [("looking", {}), ("delegate", {"to": "fay"}), ("ask", {"text": "why?"})]:
        answer = await answered(house, ann, approval, verdict, **more)
        assert (answer.status_code, answer.json()["status"]) == (200, "pending"), answer.text
    row = await approvals.whole(house.db, approval)
    assert row is not None and row["is_held"]
    assert "No language model" in row["questions"][0]["answer"], "with no model it says so"
    assert (await answered(house, fay, approval, "approve")).json()["status"] == "approved"


@pytest.mark.parametrize(
    ("verdict", "more", "why"),
    [
        ("delegate", {}, "nobody called"),
        ("ask", {}, "no question"),
        ("edit", {}, "what to change"),
        ("edit", {"args": {"paths": ["old.log"]}}, "nothing is changed"),
        ("edit", {"args": {"path": "x"}}, "no argument 'path'"),
        ("edit", {"args": {"paths": "x"}}, "paths"),
        ("edit", {"args": {"paths": ["{{ 1.paths }}"]}}, "references"),
        ("edit", {"args": {"paths": [2**60]}}, "2^53"),
        ("grant", {"args": {"paths": ["other.log"]}}, "would not cover this very action"),
        ("grant", {"args": {}}, "say what paths may be"),
        ("approve", {"items": ["nonsense"]}, ""),
    ],
)
async def test_an_answer_that_does_not_fit_is_422_and_changes_nothing(
    house: House, verdict: str, more: dict[str, Any], why: str
) -> None:
    await publish(house)
    ann = await house.person("ann", "owner")
    _, approval = await house.ask(ann)
    await house.db.execute("update approvals set card = card - 'provenance'")
    answer = await answered(house, ann, approval, verdict, **more)
    assert (answer.status_code, why in answer.json()["error"]) == (422, True), answer.text
    row = await approvals.whole(house.db, approval)
    assert row is not None and (row["status"], row["votes"]) == ("pending", [])


async def test_who_may_not_decide_learns_nothing_from_a_wrong_edit(house: House) -> None:
    bob, robot = await house.person("bob", "engineer"), await house.person("robot", "owner", service=True)
    _, approval = await house.ask(bob)
    answer = await answered(house, robot, approval, "edit", args={"path": "x"})
    assert (answer.status_code, "argument" in answer.json()["error"]) == (403, False)


async def test_always_gives_a_permission_that_is_listed_and_revoked(house: House) -> None:
    ann, bob = await house.person("ann", "owner"), await house.person("bob", "engineer")
    eve = await house.person("eve", "engineer")
    _, approval = await house.ask(bob)
    await house.db.execute("update approvals set card = card - 'provenance'")
    args = {"paths": {"is": ["old.log"]}}
    assert (await answered(house, ann, approval, "grant", args=args, uses=3, minutes=60)).json()["status"] == "approved"
    [shown] = (await (await house.api(bob)).get("/api/grants")).json()
    assert (shown["owner"], shown["holder"], shown["uses_left"], shown["kind"]) == ("ann", "bob", 3, "always")
    assert shown["says"] == 'files.delete with paths = ["old.log"]'
    assert (await (await house.api(eve)).get("/api/grants")).json() == []
    assert (await (await house.api(eve)).delete(f"/api/grants/{shown['id']}")).status_code == 404
    assert (await (await house.api(ann)).delete(f"/api/grants/{shown['id']}")).status_code == 204
    assert (await (await house.api(bob)).get("/api/grants")).json() == []


async def test_only_owners_give_what_nobody_asked_for_and_say_all_of_it(house: House) -> None:
    ann, bob = await house.person("ann", "owner"), await house.person("bob", "engineer")
    body = {"skill": "files.delete", "args": {"paths": {"starts": "logs/"}}, "for": "bob", "minutes": 60}
    owner = await house.api(ann)
    assert (await (await house.api(bob)).post("/api/grants", json=body)).status_code == 403
    made = await owner.post("/api/grants", json=body)
    assert (made.status_code, made.json()["holder"]) == (201, "bob")
    wrongs: list[dict[str, Any]] = [
        {"args": {}},
        {"skill": "no.such"},
        {"for": "nobody"},
        {"minutes": 91 * 24 * 60},
        {"uses": 0},
    ]
    for wrong in wrongs:
        assert (await owner.post("/api/grants", json=body | wrong)).status_code == 422, wrong


# ---------------------------------------------------------------- words


async def said(house: House, who: Principal, text: str) -> str:
    """What Sayso answers in the person's web chat."""
    place = await house.place(who)
    identity = Identity(channel=Channel.WEB, external_id=await people.web_identity(house.db, who))
    await intake.receive(
        house.deps,
        Inbound(
            channel=Channel.WEB, delivery_id=unique(), sender=identity, place=(await _place(house, place)), text=text
        ),
    )
    words = [
        m["text"] for m in await conversations.recent(house.db, place, 10) if m["direction"] == "out" and m["text"]
    ]
    return str(words[-1])


async def _place(house: House, conversation: int) -> Place:
    found = await conversations.by_id(house.db, conversation)
    assert found is not None
    return Place(channel=Channel.WEB, external_id=found.external_id, private=True)


async def test_a_card_is_edited_asked_about_and_handed_on_in_words(house: House) -> None:
    await publish(house)
    ann, _ = await house.person("ann", "owner"), await house.person("fay")
    task, approval = await house.ask(ann)
    assert "Asked" in await said(house, ann, f"ask {task} why this file?")
    assert "Handed on" in await said(house, ann, f"delegate {task} to fay")
    assert "nobody called" in await said(house, ann, f"delegate {task} to nobody")
    assert "What is 'x' for?" in await said(house, ann, f"edit {task} x")
    assert "Nothing of task 99" in await said(house, ann, "edit 99 paths=b")
    assert "Edited" in await said(house, ann, f"edit {task} paths=new.log")
    row = await approvals.whole(house.db, approval)
    assert row is not None and row["status"] == "superseded"
    step = await house.db.fetchrow("select args, status, title, origins from steps where task_id = $1", task)
    assert (step["args"], step["status"], step["title"]) == (
        {"paths": ["new.log"]}, "ready", "Delete new.log from the workspace",
    )  # fmt: skip
    assert step["origins"]["paths"]["by"] == "ann"


async def test_permissions_are_listed_and_ended_in_words(house: House) -> None:
    ann = await house.person("ann", "owner")
    body = {"skill": "files.delete", "args": {"paths": {"starts": "logs/"}}}
    made = (await (await house.api(ann)).post("/api/grants", json=body)).json()
    assert 'files.delete with paths starting with "logs/"' in await said(house, ann, "grants")
    assert "has ended" in await said(house, ann, f"revoke {made['id'][:8]}")
    assert "no such permission" in await said(house, ann, f"revoke {made['id'][:8]}")


async def test_somebody_decides_while_one_is_away_and_not_after(house: House) -> None:
    ann, fay = await house.person("ann", "owner"), await house.person("fay")
    _, approval = await house.ask(ann)
    day = (datetime.now(UTC) + timedelta(days=5)).date()
    assert (await answered(house, fay, approval, "approve")).status_code == 404
    assert "may decide what you may" in await said(house, ann, f"away until {day} to fay")
    assert [a["id"] for a in (await (await house.api(fay)).get("/api/approvals")).json()] == [approval]
    assert "Welcome back" in await said(house, ann, "back")
    assert (await answered(house, fay, approval, "approve")).status_code == 404
    assert "more than 92 days" in await said(house, ann, "away until 2199-01-01 to fay")
    assert "can't decide for you" in await said(house, ann, f"away until {day} to ann")


async def test_who_is_away_by_the_file_comes_and_goes_with_it(house: House) -> None:
    day = (datetime.now(UTC) + timedelta(days=5)).date()
    away = OutOfOffice(until=day, delegate="fay")
    organisation = house.deps.organisation.model_copy(
        update={"people": {"ann": Person(roles=["owner"], out_of_office=away), "fay": Person()}}
    )
    for _ in range(2):
        await people.sync(house.db, people.wanted(organisation))
    ann, fay = await people.by_key(house.db, "ann"), await people.by_key(house.db, "fay")
    assert ann is not None and fay is not None
    assert await house.db.fetchval("select count(*) from delegations") == 1
    _, approval = await house.ask(ann)
    assert (await answered(house, fay, approval, "approve")).json()["status"] == "approved"
    back = organisation.model_copy(update={"people": {"ann": Person(roles=["owner"]), "fay": Person()}})
    await people.sync(house.db, people.wanted(back))
    assert await house.db.fetchval("select count(*) from delegations where revoked_at is null") == 0


# ---------------------------------------------------------------- with a worker


async def test_an_edited_call_is_asked_about_again_and_runs_as_edited(sayso: Sayso) -> None:
    for name in ("a.txt", "b.txt"):
        (sayso.workspace / name).write_text(name, encoding="utf-8")
    number = await sayso.say("do files.delete paths=a.txt")
    first = await sayso.approval_of(number)
    await sayso.say(f"edit {number} paths=b.txt")
    second = await sayso.approval_of(number)
    assert second["id"] != first["id"] and second["approvers"]["editors"] == ["ann"]
    assert second["items"][0]["action"]["args"] == {"paths": ["b.txt"]}
    assert not second["card"].get("provenance")
    await sayso.press(second["id"], "approve")
    await sayso.until(number, "succeeded")
    assert (sayso.workspace / "a.txt").exists() and not (sayso.workspace / "b.txt").exists()


async def test_an_edit_of_which_nothing_is_asked_tells_on_its_card_what_came_of_it(sayso: Sayso) -> None:
    (sayso.workspace / "a.log").write_text("a", encoding="utf-8")
    number = await sayso.say("do files.delete paths=a.log")
    approval = await sayso.approval_of(number)
    await sayso.press(approval["id"], "edit", args={"paths": ["c.log"]})
    await sayso.until(number, "failed")
    card = await eventually(lambda: next((c for c in sayso.chat.now("approval") if "Not done" in c.lines[-2]), None))
    assert card.status == "edited" and card.decided == "Edited"
    assert card.lines[-2:] == (
        "Not done: It would not work: there is no file 'c.log'",
        'Ann edited it: paths: ["a.log"] → ["c.log"]',
    )


async def test_an_edit_into_what_is_forbidden_is_refused_before_anything_changes(sayso: Sayso) -> None:
    (sayso.workspace / "a.txt").write_text("a", encoding="utf-8")
    number = await sayso.say("do files.delete paths=a.txt")
    first = await sayso.approval_of(number)
    await sayso.say(f"edit {number} paths=keep/a.txt")
    await eventually(lambda: any("keep/ stays" in text for text in sayso.chat.texts))
    assert (await sayso.approval_of(number))["id"] == first["id"]


async def test_a_permission_lets_the_same_kind_go_and_asks_about_others(sayso: Sayso) -> None:
    (sayso.workspace / "logs").mkdir()
    for name in ("logs/a.log", "logs/b.log", "c.log"):
        (sayso.workspace / name).write_text(name, encoding="utf-8")
    number = await sayso.say("do files.delete paths=logs/a.log")
    asked = await sayso.approval_of(number)
    assert asked["card"]["similar"] == 'files.delete with paths = ["logs/a.log"]'
    await sayso.press(asked["id"], "grant", args={"paths": {"starts": "logs/"}})
    await sayso.until(number, "succeeded")
    await sayso.until(await sayso.say("do files.delete paths=logs/b.log"), "succeeded")
    assert await sayso.approval_of(await sayso.say("do files.delete paths=c.log"))
    assert await sayso.deps.db.fetchval("select uses from grants") == 1


TWO = """
people: {ann: {roles: [owner], identities: {slack: T0ACME/U01ALICE}}}
runbooks:
  two:
    steps:
      - {id: one, skill: files.delete, args: {paths: [a.txt]}}
      - {id: two, skill: files.delete, args: {paths: [b.txt]}}
"""


async def test_two_asks_of_one_task_are_one_card_and_one_yes(database_url: str, redis_url: str, tmp_path: Any) -> None:
    async with running(database_url, redis_url, tmp_path, TWO) as sayso:
        for name in ("a.txt", "b.txt"):
            (sayso.workspace / name).write_text(name, encoding="utf-8")
        number = await sayso.say("run two")

        async def both() -> Any:
            found = [a for a in await approvals.of_task(sayso.deps.db, number or 0) if a["status"] == "pending"]
            return next((a for a in found if len(a["items"]) == 2), None)

        batch = await eventually(both)
        card = await eventually(
            lambda: next((c for c in sayso.chat.now("approval") if c.headline == "2 actions"), None)
        )
        assert "Step 1: Delete a.txt from the workspace" in card.lines
        await sayso.press(batch["id"], "approve")
        await sayso.until(number, "succeeded")
        assert not list(sayso.workspace.glob("*.txt"))
        final = await eventually(lambda: next((c for c in sayso.chat.now("approval") if c.tone == "good"), None))
        assert "Step 2: Delete b.txt from the workspace (succeeded)" in final.lines


async def test_the_same_ask_of_two_tasks_is_one_card_and_each_uses_its_own_yes(sayso: Sayso) -> None:
    """Each uses a yes of its own; the second finds another content than was approved, so it is not deleted unseen."""
    (sayso.workspace / "a.txt").write_text("a", encoding="utf-8")
    numbers = [await sayso.say("do files.delete paths=a.txt") for _ in range(2)]

    async def merged() -> Any:
        rows = [a for n in numbers for a in await approvals.of_task(sayso.deps.db, n or 0)]
        return next((a for a in rows if a["status"] == "pending" and len(a["items"]) == 2), None)

    card = await eventually(merged)
    await sayso.press(card["id"], "approve")

    async def led() -> bool:
        return not await approvals.unled(sayso.deps.db) and not await approvals.followers(sayso.deps.db, card["id"])

    await eventually(led)

    async def one_done() -> bool:
        return "succeeded" in [(await sayso.task(n))["status"] for n in numbers]

    await eventually(one_done)
    assert await sayso.deps.db.fetchval("select count(*) from effects where state = 'done'") == 1


# ---------------------------------------------------------------- browser


async def test_the_page_of_an_approval_offers_every_answer_as_a_form(house: House) -> None:
    await publish(house)
    ann, _ = await house.person("ann", "owner"), await house.person("fay")
    _, approval = await house.ask(ann, args={"paths": ["a.log", "b.log"]})
    browser = await house.browser(ann)
    page = (await browser.get(f"/approvals/{approval}")).text
    assert "a.log\nb.log</textarea>" in page and 'name="arg-paths"' in page
    proof = page.split('name="csrf" value="')[1].split('"')[0]

    async def post(verdict: str, **more: Any) -> str:
        base = {"csrf": proof, "digest": DIGEST, "nonce": unique(), "verdict": verdict}
        return str((await browser.post(f"/approvals/{approval}/decide", data=base | more)).text)

    assert "reminders wait" in await post("looking")
    assert "Asked." in await post("ask", text="why?")
    assert "Handed on." in await post("delegate", to="fay")
    assert "nothing is changed" in await post("edit", **{"arg-paths": "a.log\r\nb.log\r\n"})
    said = await post("edit", **{"arg-paths": "a.log\r\nc.log"})
    assert "Edited." in said and "It goes through the rules again." in said
    assert await house.db.fetchval("select args from steps") == {"paths": ["a.log", "c.log"]}


# ---------------------------------------------------------------- how approvals are answered


async def test_the_report_says_how_approvals_are_answered_and_suggests_in_words(house: House) -> None:
    ann, bob = await house.person("ann", "owner"), await house.person("bob", "engineer")
    for _ in range(5):
        _, approval = await house.ask(bob)
        await house.db.execute(
            """update approvals set card = card - 'provenance' || '{"similar": "files.delete with x"}'"""
        )
        await answered(house, ann, approval, "approve")
    # However long this machine took: all asked at one time, each answered a second later.
    await house.db.execute("update approvals set created_at = now() - interval '1 second'")
    await house.db.execute("update decisions set decided_at = now()")
    report = (await (await house.api(ann)).get("/api/approvals/report?days=1")).json()
    [skill], [person] = report["skills"], report["people"]
    assert (skill["skill"], skill["asks"], skill["approved"], skill["denied"]) == ("files.delete", 5, 5, 0)
    assert (person["person"], person["decisions"], person["approved"], person["quick"]) == ("ann", 5, 5, 5)
    assert (person["asks"], person["most_in_an_hour"], person["asks_per_hour"]) == (5, 5, 5)
    doctor = of_approvals(await by_person(house.db, 7), 7)
    assert not doctor.is_well and "ann said yes to everything" in doctor.say and "approvals report" in doctor.fix
    _, refused = await house.ask(bob)
    await answered(house, ann, refused, "deny")
    assert of_approvals(await by_person(house.db, 7), 7).is_well
    assert "ann: 5 asks, 5 in an hour and at most 5; 5 decisions, 100 % yes" in in_words(report)
    assert any("bob asked 5 times for files.delete with x" in said for said in report["suggestions"])
    assert await house.db.fetchval("select count(*) from grants") == 0, "suggested, never applied"
    assert (await (await house.api(bob)).get("/api/approvals/report")).status_code == 403


async def test_a_model_answers_a_question_beside_the_card_and_can_do_nothing_else(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    script = Script("Because you named that file.")
    async with talking("openai", script, database_url, redis_url, tmp_path) as (sayso, _):
        (sayso.workspace / "a.txt").write_text("a", encoding="utf-8")
        number = await sayso.say("do files.delete paths=a.txt")
        approval = await sayso.approval_of(number)
        await sayso.say(f"ask {number} why this file?")

        async def told() -> bool:
            row = await approvals.whole(sayso.deps.db, approval["id"])
            return bool(row and row["questions"] and not row["questions"][0]["is_open"])

        await eventually(told)
        row = await approvals.whole(sayso.deps.db, approval["id"])
        assert row is not None
        assert (row["status"], row["questions"][0]["answer"]) == ("pending", "Because you named that file.")
    assert [list(asked.tools) for asked in script.asked] == [[]]
