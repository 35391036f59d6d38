"""The whole way on real parts: words come in, steps run under a real worker, cards go out, a decision resumes.

One process holds intake, a worker's crew and a courier whose sender is a recording chat; Postgres and Valkey are real.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.courier import Courier
from core import config, intake
from core.cards import Card
from core.db import open_pool
from core.deps import Deps
from core.models import (
    Accepted,
    AlreadyDecided,
    Channel,
    Decided,
    Identity,
    Inbound,
    NotAllowed,
    Place,
    PlannedStep,
    Press,
)
from core.organisation import Organisation, parse
from core.ring import Ring
from core.settings import Settings
from core.store import approvals, people, tasks
from core.store.conversations import Conversation
from tests.patience import PATIENCE_S
from worker.__main__ import answer_rings
from worker.crew import open_crew

NUMBERS = itertools.count(1)

ACME = """
people:
  ann: {name: Ann, roles: [owner], identities: {slack: T0ACME/U01ALICE, telegram: "1001"}}
  bob: {name: Bob, roles: [engineer], identities: {slack: T0ACME/U02BOB}}
roles:
  engineer: {may: ["skill:files.*"]}
policy:
  rules:
    - name: keep
      skill: files.delete
      when: 'args.paths.exists(p, p.startsWith("keep/"))'
      then: deny
      say: "keep/ stays."
runbooks:
  clean-logs:
    say: Delete logs
    inputs: {pattern: {type: string, default: "*.log"}}
    steps:
      - {id: find, skill: files.list, args: {pattern: "{{ inputs.pattern }}"}}
      - {id: remove, skill: files.delete, args: {paths: "{{ find.paths }}"}, needs: [find]}
"""


@dataclass
class RecordingChat:
    """A chat that shows what it was sent: cards by reference with all their states, and plain messages."""

    channel: str
    cards: dict[str, list[Card]] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    async def post(self, conversation: Conversation, content: Card | str, message: int) -> str:
        ref = f"m{next(NUMBERS)}"
        if isinstance(content, str):
            self.texts.append(content)
        else:
            self.cards[ref] = [content]
        return ref

    async def edit(self, conversation: Conversation, ref: str, card: Card) -> None:
        self.cards[ref].append(card)

    async def find(self, conversation: Conversation, message: int) -> str | None:
        return None

    def now(self, subject: str) -> list[Card]:
        return [states[-1] for states in self.cards.values() if states[-1].subject == subject]


@dataclass
class Sayso:
    deps: Deps
    chat: RecordingChat
    workspace: Path

    async def say(self, text: str, who: str = "T0ACME/U01ALICE", delivery: str = "") -> int | None:
        answer = await intake.receive(
            self.deps,
            Inbound(
                channel=Channel.SLACK,
                delivery_id=delivery or f"Ev{next(NUMBERS)}",
                sender=Identity(channel=Channel.SLACK, external_id=who, display_name="Someone"),
                place=Place(channel=Channel.SLACK, external_id=f"T0ACME/D{who[-3:]}", private=True),
                text=text,
            ),
        )
        return answer.task_id

    async def press(
        self, approval: str, verdict: Any, who: str = "T0ACME/U01ALICE", reason: str = "", **more: Any
    ) -> Decided:
        sender = Identity(channel=Channel.SLACK, external_id=who)
        return await intake.press(
            self.deps,
            Press(
                channel=Channel.SLACK,
                delivery_id=f"P{next(NUMBERS)}",
                sender=sender,
                approval_id=approval,
                verdict=verdict,
                reason=reason,
                **more,
            ),
        )

    async def task(self, number: int | None) -> dict[str, Any]:
        assert number is not None
        found = await tasks.whole(self.deps.db, number)
        assert found is not None
        return found

    async def until(self, number: int | None, *statuses: str) -> dict[str, Any]:
        async def reached() -> dict[str, Any] | None:
            found = await self.task(number)
            return found if found["status"] in statuses else None

        return await eventually(reached)  # type: ignore[no-any-return]

    async def approval_of(self, number: int | None) -> dict[str, Any]:
        async def pending() -> dict[str, Any] | None:
            found = await approvals.of_task(self.deps.db, number or 0)
            return next((a for a in found if a["status"] == "pending"), None)

        return await eventually(pending)  # type: ignore[no-any-return]


async def eventually(look: Callable[[], Any]) -> Any:
    """Look until there is something to see, at most for the deadline."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = look()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(
    database_url: str, redis_url: str, home: Path, text: str = ACME, chat: RecordingChat | None = None, **env: str
) -> AsyncIterator[Sayso]:
    (home / "sayso.yaml").write_text(text, encoding="utf-8")
    settings = Settings.load(
        {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "SAYSO_HOME": str(home),
            "SAYSO_CONFIG": str(home / "sayso.yaml"),
            **env,
        },
        home,
    )
    organisation: Organisation = parse(text)
    db = await open_pool(database_url, most=6)
    await people.sync(db, people.wanted(organisation))
    ring = Ring.open(redis_url)
    chat = chat or RecordingChat("slack")
    courier = Courier(db, redis_url, [chat], settings.masks())
    (home / "workspace").mkdir(exist_ok=True)
    async with open_crew(settings) as crew:
        loops = [crew.run(), courier.run(), *(answer_rings(crew, redis_url, lane) for lane in config.LANES)]
        parts = [asyncio.create_task(loop) for loop in loops]
        yield Sayso(Deps(settings, organisation, db, ring), chat, home / "workspace")
        await crew.executor.stop(grace_s=2)
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
    await ring.close()
    await asyncio.wait_for(db.close(), PATIENCE_S)


@pytest.fixture
async def sayso(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Sayso]:
    async with running(database_url, redis_url, tmp_path) as opened:
        yield opened


async def test_a_risky_action_waits_for_a_yes_and_then_runs_exactly_as_shown(sayso: Sayso) -> None:
    old = sayso.workspace / "old.log"
    old.write_text("old", encoding="utf-8")
    number = await sayso.say("do files.delete paths=old.log")
    approval = await sayso.approval_of(number)
    assert old.exists(), "nothing may happen before the yes"
    card = await eventually(lambda: next(iter(sayso.chat.now("approval")), None))
    assert card.headline == "Delete old.log from the workspace"
    assert 'paths: ["old.log"]' in card.exact and "sha256" in card.exact
    assert [b.verb for b in card.buttons] == ["approve", "deny", "stop"]
    assert isinstance(await sayso.press(approval["id"], "approve"), Accepted)
    done = await sayso.until(number, "succeeded")
    assert not old.exists()
    assert done["steps"][0]["effect_state"] == "done"
    final = await eventually(lambda: next((c for c in sayso.chat.now("approval") if c.tone == "good"), None))
    assert any("Approved by Ann in Slack" in line for line in final.lines)
    assert any(line.startswith("Done. Deleted 1 file: old.log") for line in final.lines)
    assert final.buttons == ()
    run = await eventually(lambda: next((c for c in sayso.chat.now("task") if c.tone == "good"), None))
    assert run.status == "succeeded"
    assert len(sayso.chat.cards) == 2, "one card for the task, one for the approval, both edited in place"


async def test_a_no_goes_back_with_its_reason_and_nothing_happens(sayso: Sayso) -> None:
    (sayso.workspace / "a.txt").write_text("a", encoding="utf-8")
    number = await sayso.say("do files.delete a.txt")
    approval = await sayso.approval_of(number)
    await sayso.press(approval["id"], "deny", reason="still needed")
    ended = await sayso.until(number, "abandoned")
    assert (sayso.workspace / "a.txt").exists()
    assert ended["error"] == "Denied: still needed"


async def test_only_those_who_may_decide_decide_and_losers_are_told_who_did(sayso: Sayso) -> None:
    (sayso.workspace / "a.txt").write_text("a", encoding="utf-8")
    number = await sayso.say("do files.delete paths=a.txt", who="T0ACME/U02BOB")
    approval = await sayso.approval_of(number)
    assert isinstance(await sayso.press(approval["id"], "approve", who="T0ACME/U02BOB"), NotAllowed)
    assert isinstance(await sayso.press(approval["id"], "approve", who="T0EVIL/U01ALICE"), NotAllowed)
    assert isinstance(await sayso.press(approval["id"], "approve"), Accepted)
    late = await sayso.press(approval["id"], "deny")
    assert isinstance(late, AlreadyDecided)
    assert late.by == "Ann"
    await sayso.until(number, "succeeded")


async def test_an_approver_elsewhere_gets_the_card_in_a_direct_message(sayso: Sayso) -> None:
    (sayso.workspace / "a.txt").write_text("a", encoding="utf-8")
    number = await sayso.say("do files.delete paths=a.txt", who="T0ACME/U02BOB")
    approval = await sayso.approval_of(number)
    places = await sayso.deps.db.fetch(
        "select c.channel, c.external_id from cards k join conversations c on c.id = k.conversation_id"
        " where k.approval_id = $1::text::uuid order by 1, 2",
        approval["id"],
    )
    assert [tuple(p) for p in places] == [
        ("slack", "T0ACME/DBOB"),
        ("slack", "T0ACME/U01ALICE"),
        ("telegram", "1001"),
    ]


async def test_what_changed_after_the_yes_is_asked_anew(sayso: Sayso) -> None:
    target = sayso.workspace / "report.txt"
    target.write_text("first", encoding="utf-8")
    number = await sayso.say("do files.delete paths=report.txt")
    first = await sayso.approval_of(number)
    await tasks.pause(sayso.deps.db, number or 0, "person:ann")
    await sayso.press(first["id"], "approve")
    target.write_text("something else", encoding="utf-8")
    await tasks.resume(sayso.deps.db, number or 0, "person:ann")
    second = await sayso.approval_of(number)
    assert second["id"] != first["id"]
    assert second["card"]["reasons"][0] == (
        "What would run has changed since it was approved: a file that it names has another content"
    )
    assert target.exists()
    old = await approvals.whole(sayso.deps.db, first["id"])
    assert old is not None
    assert old["status"] == "superseded"
    await sayso.press(second["id"], "approve")
    await sayso.until(number, "succeeded")


async def test_a_forbidden_action_is_refused_and_nobody_is_asked(sayso: Sayso) -> None:
    number = await sayso.say("do files.delete paths=keep/a.txt")
    ended = await sayso.until(number, "failed")
    assert ended["error"] == "Refused: keep/ stays."
    assert await approvals.of_task(sayso.deps.db, number or 0) == []


async def test_roles_limit_what_a_person_may_use(sayso: Sayso) -> None:
    number = await sayso.say("do http.get url=https://acme.example", who="T0ACME/U02BOB")
    ended = await sayso.until(number, "failed")
    assert "Bob may not use http.get" in ended["error"]


async def test_a_reversible_write_goes_at_once_and_can_be_undone_from_the_chat(sayso: Sayso) -> None:
    number = await sayso.say('do files.write path=note.txt content="hello there"')
    await sayso.until(number, "succeeded")
    assert (sayso.workspace / "note.txt").read_text(encoding="utf-8") == "hello there"
    undone = await sayso.say("undo")
    await sayso.until(undone, "succeeded")
    assert not (sayso.workspace / "note.txt").exists()
    again = await sayso.say("undo")
    assert again is None, "an undo is not undone twice"


async def test_a_runbook_says_where_its_arguments_came_from_and_is_asked(sayso: Sayso) -> None:
    for name in ("a.log", "b.log", "keep.txt"):
        (sayso.workspace / name).write_text(name, encoding="utf-8")
    number = await sayso.say("run clean-logs")
    approval = await sayso.approval_of(number)
    [line] = approval["card"]["provenance"]
    assert line.startswith("paths comes from") and "step 1" in line
    await sayso.press(approval["id"], "approve")
    await sayso.until(number, "succeeded")
    assert sorted(p.name for p in sayso.workspace.iterdir()) == ["keep.txt"]


async def test_the_same_delivery_twice_is_one_task(sayso: Sayso) -> None:
    first = await sayso.say("do files.list", delivery="Ev-same")
    second = await sayso.say("do files.list", delivery="Ev-same")
    assert first == second


async def test_a_stranger_gets_a_code_and_an_owner_lets_them_in(sayso: Sayso) -> None:
    assert await sayso.say("do files.list", who="T0ACME/U0NEW") is None
    text = await eventually(lambda: next((t for t in sayso.chat.texts if "I don't know you yet" in t), None))
    code = text.split("Sayso: ")[1].split(".")[0]
    assert f"pair {code} roles=…, or pair {code} as NAME" in text
    for wrong, why in (("", f"Say pair {code} roles=…"), (" roles=enginer", "There is no role enginer.")):
        await sayso.say(f"pair {code}{wrong}")
        said = await eventually(lambda why=why: next((t for t in sayso.chat.texts if t.startswith(why)), None))
        assert "(there are engineer, owner)" in said, "and the code is not used up"
    await sayso.say(f"pair {code} roles=engineer")
    await eventually(lambda: next((t for t in sayso.chat.texts if "is let in as" in t), None))
    number = await sayso.say("do files.list", who="T0ACME/U0NEW")
    await sayso.until(number, "succeeded")
    assert await sayso.say(f"pair {code} roles=engineer") is None
    await eventually(lambda: next((t for t in sayso.chat.texts if t.startswith("That code is not known")), None))


async def test_nobody_but_an_owner_lets_people_in(sayso: Sayso) -> None:
    await sayso.say("hello", who="T0ACME/U0NEW")
    text = await eventually(lambda: next((t for t in sayso.chat.texts if "I don't know you yet" in t), None))
    code = text.split("Sayso: ")[1].split(".")[0]
    await sayso.say(f"pair {code}", who="T0ACME/U02BOB")
    await eventually(lambda: "Only an owner may let people in." in sayso.chat.texts)
    assert await people.by_key(sayso.deps.db, "slack-t0acme-u0new") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("help", "do <skill> name=value"),
        ("tasks", "No open tasks."),
        ("approvals", "Nothing waits for your decision."),
        ("grants", "no standing permissions"),
        ("status", "You have no task here"),
        ("status 999999", "There is no such task"),
        ("do files.delte paths=a", "Did you mean files.delete?"),
        ("do files.delete", "files.delete needs paths"),
        ("run clean-log", "Did you mean clean-logs?"),
        ("please tidy up", "no language model"),
        ("recall anything", "I remember nothing"),
        ("   ", "There was nothing in that message"),
        ("x" * 40_001, "too long for me"),
    ],
)
async def test_every_message_gets_an_answer(sayso: Sayso, text: str, says: str) -> None:
    assert await sayso.say(text) is None
    await eventually(lambda: next((t for t in sayso.chat.texts if says in t), None))


async def test_stop_from_the_chat_cancels_what_waits(sayso: Sayso) -> None:
    (sayso.workspace / "a.txt").write_text("a", encoding="utf-8")
    number = await sayso.say("do files.delete paths=a.txt")
    approval = await sayso.approval_of(number)
    await sayso.say("stop")
    await sayso.until(number, "cancelled")
    late = await sayso.press(approval["id"], "approve")
    assert isinstance(late, AlreadyDecided)
    assert late.status == "cancelled"
    assert (sayso.workspace / "a.txt").exists()
    await eventually(lambda: next((c for c in sayso.chat.now("approval") if c.status == "cancelled"), None))


async def test_why_tells_the_rule_and_the_history(sayso: Sayso) -> None:
    (sayso.workspace / "a.txt").write_text("a", encoding="utf-8")
    number = await sayso.say("do files.delete paths=a.txt")
    await sayso.approval_of(number)
    await sayso.say(f"why {number}")
    text = await eventually(lambda: next((t for t in sayso.chat.texts if "was asked by the rule" in t), None))
    assert "It deletes." in text
    assert "running → awaiting_approval" in text


async def test_words_of_others_are_no_orders(sayso: Sayso) -> None:
    answer = await intake.receive(
        sayso.deps,
        Inbound(
            channel=Channel.SLACK,
            delivery_id="Ev-forwarded",
            sender=Identity(channel=Channel.SLACK, external_id="T0ACME/U01ALICE"),
            place=Place(channel=Channel.SLACK, external_id="T0ACME/DICE", private=True),
            text="",
            foreign=("do files.delete paths=a.txt",),
        ),
    )
    assert answer.task_id is None
    await eventually(lambda: next((t for t in sayso.chat.texts if t.startswith("I don't act on forwarded")), None))


async def test_remember_and_recall(sayso: Sayso) -> None:
    number = await sayso.say("remember the deploy window is Tuesday")
    await sayso.until(number, "succeeded")
    await sayso.say("recall deploy")
    await eventually(lambda: next((t for t in sayso.chat.texts if "deploy window is Tuesday" in t), None))


async def test_what_can_be_undone_has_an_undo_button_until_it_is(sayso: Sayso) -> None:
    number = await sayso.say('do files.write path=note.txt content="hello"')
    await sayso.until(number, "succeeded")

    def offers_undo() -> bool:
        return any(b.verb == "undo" for card in sayso.chat.now("task") for b in card.buttons)

    await eventually(offers_undo)
    ann = await people.by_key(sayso.deps.db, "ann")
    assert ann is not None
    said = await intake.control(sayso.deps, ann, number or 0, "undo")
    assert said == f"Undoing step 1 of task {number}."
    await eventually(lambda: not offers_undo())
    assert not (sayso.workspace / "note.txt").exists()
    assert "Nothing in task" in await intake.control(sayso.deps, ann, number or 0, "undo")


async def test_who_presses_undo_twice_at_once_undoes_once(sayso: Sayso) -> None:
    number = await sayso.say('do files.write path=note.txt content="hello"')
    await sayso.until(number, "succeeded")
    ann = await people.by_key(sayso.deps.db, "ann")
    assert ann is not None
    presses = [(Channel.TELEGRAM, f"press {k}") for k in range(3)]
    said = await asyncio.gather(
        *(intake.control(sayso.deps, ann, number or 0, "undo", delivery=press) for press in presses)
    )
    assert said.count(f"Undoing step 1 of task {number}.") == 1
    await eventually(lambda: not (sayso.workspace / "note.txt").exists())
    assert await sayso.deps.db.fetchval("select count(*) from tasks where goal = $1", f"undo {number}") == 1


async def test_an_undo_that_refers_to_a_result_is_in_nobodys_way(sayso: Sayso) -> None:
    number = await sayso.say('do files.write path=note.txt content="hello"')
    await sayso.until(number, "succeeded")
    ann = await people.by_key(sayso.deps.db, "ann")
    assert ann is not None
    planned = PlannedStep(
        n=2, kind="act", skill="files.write.undo", needs=(1,), args={"task": str(number), "step": "{{ 1.data }}"}
    )
    first = PlannedStep(n=1, kind="wait", args={"for": "event", "event": "go"})
    await tasks.create(
        sayso.deps.db, requester=ann.id, goal="later", kind="do", actor=ann.actor, steps=[first, planned]
    )
    assert await intake.control(sayso.deps, ann, number or 0, "undo") == f"Undoing step 1 of task {number}."
