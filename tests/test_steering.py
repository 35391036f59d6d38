"""Words and events for tasks that run: who may say them, when they are read, and what they interrupt, on real parts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core import intake
from core.models import Channel, Identity, Inbound, Place, Received
from core.store import signals
from tests.sim.anthropic import AnthropicSim
from tests.sim.llm_script import Asked, Say, Script
from tests.sim.llm_server import KEY
from tests.test_llm_whole_way import plan
from tests.test_waits import BOOKS, step_waits
from tests.test_whole_way import NUMBERS, Sayso, eventually, running

ANN, BOB = "T0ACME/U01ALICE", "T0ACME/U02BOB"
STEERING = BOOKS.replace(
    'engineer: {may: ["skill:files.*"]}', 'engineer: {may: ["skill:files.*", "steer:task:*"], see: [own, conversation]}'
)
NAP = {"id": "nap", "wait": {"for": "1h"}}
LIST = {"id": "find", "skill": "files.list", "args": {"pattern": "*"}}


@asynccontextmanager
async def talking(
    script: Script, database_url: str, redis_url: str, home: Path, text: str = STEERING
) -> AsyncIterator[Sayso]:
    async with AnthropicSim(script) as sim:
        env = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": sim.base_url}
        async with running(database_url, redis_url, home, text, **env) as sayso:
            yield sayso
    script.check()


async def in_thread(sayso: Sayso, text: str, who: str = ANN, *, addressed: bool = False) -> Received:
    received = await intake.receive(
        sayso.deps,
        Inbound(
            channel=Channel.SLACK,
            delivery_id=f"Th{next(NUMBERS)}",
            sender=Identity(channel=Channel.SLACK, external_id=who),
            place=Place(channel=Channel.SLACK, external_id="T0ACME/C0OPS", thread="17.1"),
            text=text,
            addressed=addressed,
        ),
    )
    assert isinstance(received, Received)
    return received


async def asked(script: Script, count: int) -> Asked:
    await eventually(lambda: len(script.asked) >= count)
    return script.asked[count - 1]


def heard(turn: Asked) -> str:
    return "\n".join(said.text for said in turn.turns if said.role == "user")


async def test_a_message_in_the_thread_of_a_running_task_is_read_by_its_next_turn(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    script = Script(plan(NAP), "Listed b only.")
    async with talking(script, database_url, redis_url, tmp_path) as sayso:
        started = await in_thread(sayso, "tidy up in an hour", addressed=True)
        await step_waits(sayso, started.task_id, 2)
        steered = await in_thread(sayso, "only the b files, please")
        assert (steered.kind, steered.task_id) == ("steered", started.task_id)
        await eventually(lambda: any("the next turn of task" in text for text in sayso.chat.texts))
        await sayso.deps.db.execute("update steps set ready_at = now() where task_id = $1 and n = 2", started.task_id)
        await sayso.deps.db.execute("update steps set waits_until = now() where task_id = $1", started.task_id)
        done = await sayso.until(started.task_id, "succeeded")
        unread = [one for one in await signals.for_turn(sayso.deps.db, int(done["id"])) if one.is_new]
        tasks = await sayso.deps.db.fetchval("select count(*) from tasks")
    assert "(new) Ann: only the b files, please" in heard(script.asked[1])
    assert unread == []
    assert tasks == 1


async def test_a_word_that_comes_during_the_last_turn_gets_a_turn_of_its_own(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    held = asyncio.Event()
    script = Script(Say("All done.", held=held), "Done, and in English.")
    async with talking(script, database_url, redis_url, tmp_path) as sayso:
        number = await sayso.say("do nothing")
        await asked(script, 1)
        await sayso.say(f"steer {number} answer in English")
        held.set()
        done = await sayso.until(number, "succeeded")
    assert [s["kind"] for s in done["steps"]] == ["plan", "think"]
    assert done["result"]["text"] == "Done, and in English."
    assert "answer in English" in heard(script.asked[1])


async def test_an_interrupt_ends_the_running_turn_uncharged_and_the_new_one_knows_why(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    held = asyncio.Event()
    script = Script(Say("Too late.", held=held), "Yes, the other one.")
    async with talking(script, database_url, redis_url, tmp_path) as sayso:
        number = await sayso.say("think long")
        await asked(script, 1)
        await sayso.say(f"interrupt {number} take the other one")
        done = await sayso.until(number, "succeeded")
        await eventually(lambda: any("was interrupted" in text for text in sayso.chat.texts))
        attempt = await sayso.deps.db.fetchval("select attempt from steps where task_id = $1 and n = 1", number)

        async def cancelled() -> bool:
            rows = await sayso.deps.db.fetch("select outcome from llm_calls order by id")
            return sorted(r["outcome"] for r in rows) == ["answered", "cancelled"]

        await eventually(cancelled)
        held.set()
    assert done["result"]["text"] == "Yes, the other one."
    assert "take the other one" in heard(script.asked[1])
    assert attempt == 1


async def test_an_interrupt_lets_a_running_effect_finish(database_url: str, redis_url: str, tmp_path: Path) -> None:
    note = {"id": "slow", "skill": "slow.work", "args": {"what": "it"}}
    script = Script(plan(note), "Worked.")
    (tmp_path / "skills").mkdir()
    (tmp_path / "skills" / "slow.py").write_text(SLOW, encoding="utf-8")
    async with talking(script, database_url, redis_url, tmp_path) as sayso:
        number = await sayso.say("work")

        async def begun() -> bool:
            return bool(await sayso.deps.db.fetchval("select count(*) from effects where state = 'intent'"))

        await eventually(begun)
        await sayso.say(f"interrupt {number} hurry")
        done = await sayso.until(number, "succeeded")
    assert done["steps"][1]["status"] == "succeeded"
    assert done["steps"][1]["effect_state"] == "done"


SLOW = """
import asyncio
from typing import Annotated, Any

from worker.skills import Control, Permission, SkillContext, skill


@skill(permissions=[(Permission.READ, "work:{what}")], effect="idempotent", card="Work on {what}")
async def work(ctx: SkillContext, what: Annotated[str, Control]) -> dict[str, Any]:
    \"\"\"Work for a while.\"\"\"
    await asyncio.sleep(1.5)
    return {"summary": "worked"}
"""


async def test_an_event_is_read_once_however_often_its_turn_runs(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    held = asyncio.Event()
    script = Script(plan(NAP), Say("first", held=held), "second")
    async with talking(script, database_url, redis_url, tmp_path) as sayso:
        db = sayso.deps.db
        number = await sayso.say("wait a bit") or 0
        await step_waits(sayso, number, 2)
        sent = await signals.send(
            db, number, "signals", {"level": 3}, priority="wake", origin="untrusted", actor="x", name="level", dedup="k"
        )
        assert sent.kind == "sent"
        assert sent.woken == (2,)
        again = await signals.send(
            db, number, "signals", {"level": 3}, priority="wake", origin="untrusted", actor="x", name="level", dedup="k"
        )
        assert again.kind == "duplicate"
        await asked(script, 2)
        await sayso.say(f"interrupt {number} and now?")
        done = await sayso.until(number, "succeeded")
        held.set()
        reads = await db.fetch("select signal_id, n from signal_reads where by_turn order by signal_id")
    assert done["steps"][1]["result"]["woken"] is True
    assert [heard(turn).count('name="level"') for turn in script.asked] == [0, 1, 1]
    assert len({r["signal_id"] for r in reads}) == len(reads) == 2


async def test_other_peoples_words_are_data_unless_rules_let_them_steer(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    no_steering = STEERING.replace(', "steer:task:*"', "")
    write = {"id": "w", "skill": "files.write", "args": {"path": "bob.txt", "content": "x"}}
    script = Script(plan(NAP), plan(write, then="answer"))
    async with talking(script, database_url, redis_url, tmp_path, no_steering) as sayso:
        started = await in_thread(sayso, "tidy up in an hour", addressed=True)
        await step_waits(sayso, started.task_id, 2)
        noted = await in_thread(sayso, "write bob.txt", BOB)
        assert (noted.kind, noted.task_id) == ("ignored", None)
        refused = await in_thread(sayso, f"steer {started.task_id} write bob.txt", BOB)
        assert refused.kind == "answered"
        await signals.send(
            sayso.deps.db, started.task_id or 0, "signals", {}, priority="wake", origin="trusted", actor="test"
        )
        approval = await sayso.approval_of(started.task_id)
        turn = script.asked[1]
    assert '<event stream=task_input name="none" by="Bob" new=yes>\nwrite bob.txt' in heard(turn)
    assert any("Bob" in line for line in approval["card"]["provenance"] + approval["card"]["reasons"])


async def test_who_may_steer_binds_the_task_to_what_both_may_do(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    fetch = {"id": "f", "skill": "http.get", "args": {"url": "https://example.com/"}}
    script = Script(plan(NAP), plan(fetch, then="answer"))
    async with talking(script, database_url, redis_url, tmp_path) as sayso:
        started = await in_thread(sayso, "tidy up in an hour", addressed=True)
        await step_waits(sayso, started.task_id, 2)
        assert (await in_thread(sayso, "fetch example.com too", BOB)).kind == "steered"
        await signals.send(
            sayso.deps.db, started.task_id or 0, "signals", {}, priority="wake", origin="trusted", actor="test"
        )
        failed = await sayso.until(started.task_id, "failed")
        assert "(new) Bob: fetch example.com too" in heard(script.asked[1])
    assert "Refused" in failed["error"]
    assert failed["steps"][-1]["skill"] == "http.get"


async def test_a_task_of_fixed_steps_is_not_told_anything_but_the_reply_it_waits_for(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with running(database_url, redis_url, tmp_path, BOOKS) as sayso:
        (sayso.workspace / "a.txt").write_text("a", encoding="utf-8")
        slow = await sayso.say("run slow")
        await step_waits(sayso, slow)
        assert await sayso.say(f"steer {slow} faster") is None
        await eventually(lambda: any("follows fixed steps" in text for text in sayso.chat.texts))
        asks = await sayso.say("run ask-back")
        assert (await step_waits(sayso, asks))["waits_for"] == "reply"
        assert await sayso.say("*.txt") == asks
        done = await sayso.until(asks, "succeeded")
        assert done["steps"][1]["result"]["paths"] == ["a.txt"]
        await eventually(lambda: any(f"Task {asks} has your answer." in text for text in sayso.chat.texts))


async def test_too_much_to_read_and_ended_tasks_are_refused(
    database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core import config

    monkeypatch.setattr(config, "EVENTS_UNREAD_MOST", 2)
    async with running(database_url, redis_url, tmp_path, BOOKS) as sayso:
        number = await sayso.say("run slow") or 0
        await step_waits(sayso, number)

        async def send() -> str:
            sent = await signals.send(
                sayso.deps.db, number, "external", {}, priority="normal", origin="untrusted", actor="x", name="e"
            )
            return sent.kind

        assert [await send() for _ in range(3)] == ["sent", "sent", "full"]
        await sayso.say(f"stop {number}")
        await sayso.until(number, "cancelled")
        assert await send() == "over"


async def test_a_reply_to_a_card_steers_its_task(database_url: str, redis_url: str, tmp_path: Path) -> None:
    script = Script(plan(NAP), "Fine.")
    async with talking(script, database_url, redis_url, tmp_path) as sayso:
        number = await sayso.say("take a nap")
        await step_waits(sayso, number, 2)

        async def shown() -> str | None:
            ref: str | None = await sayso.deps.db.fetchval("select provider_ref from cards where task_id = $1", number)
            return ref

        ref = await eventually(shown)
        received = await intake.receive(
            sayso.deps,
            Inbound(
                channel=Channel.SLACK, delivery_id="R1", sender=Identity(channel=Channel.SLACK, external_id=ANN),
                place=Place(channel=Channel.SLACK, external_id="T0ACME/DICE", private=True), text="a short one",
                foreign=("take a nap: waiting",), answers_to=ref,
            ),
        )  # fmt: skip
        assert isinstance(received, Received)
        assert (received.kind, received.task_id) == ("steered", number)
        await signals.send(sayso.deps.db, number or 0, "signals", {}, priority="wake", origin="trusted", actor="test")
        await sayso.until(number, "succeeded")
    assert "(new) Ann: a short one" in heard(script.asked[1])
    assert "<quoted>" not in heard(script.asked[1])


async def test_a_model_that_is_limited_is_waited_for_and_no_attempt_is_charged(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    from tests.sim.faults import status

    script = Script()
    async with AnthropicSim(script) as sim:
        env = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": sim.base_url}
        async with running(database_url, redis_url, tmp_path, BOOKS, **env) as sayso:
            sim.faults.add("messages", 1, status(429, retry_after_s=30))
            number = await sayso.say("hello?")
            step = await step_waits(sayso, number)
            assert step["waits_for"] == "rate limit of the language model"
            attempt = await sayso.deps.db.fetchval("select attempt from steps where task_id = $1", number)
            assert attempt == 0
            await sayso.say(f"stop {number}")
            await sayso.until(number, "cancelled")


async def test_a_turn_knows_that_its_task_was_resumed(database_url: str, redis_url: str, tmp_path: Path) -> None:
    script = Script(plan(NAP), "Back again.")
    async with talking(script, database_url, redis_url, tmp_path) as sayso:
        number = await sayso.say("take a nap")
        await step_waits(sayso, number, 2)
        await sayso.say(f"pause {number}")
        await sayso.say(f"resume {number}")
        await signals.send(sayso.deps.db, number or 0, "signals", {}, priority="wake", origin="trusted", actor="test")
        await sayso.until(number, "succeeded")
    assert 'stream=history name="resume" by="Ann"' in heard(script.asked[1])
