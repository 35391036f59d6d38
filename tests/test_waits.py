"""Steps that wait: for a time, an event, a reply, a condition, a polled skill, a limit; on a real worker and database."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core import config, waits
from core.cards import status_text
from core.organisation import BadInputs, OrganisationError, parse, runbook_steps
from core.store import clock, signals
from core.waits import Child, Event, Goes, InVain, Over, Seen, Wait, judge
from tests.test_whole_way import ACME, Sayso, eventually, running

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
BOOKS = (
    ACME
    + """
  slow:
    inputs: {what: {type: string, default: done}}
    steps:
      - {id: nap, wait: {for: 1h}}
      - {id: look, skill: files.list, args: {pattern: "*"}, needs: [nap]}
  deploy:
    inputs: {name: {type: string, default: deploy-done}}
    steps:
      - {id: done, wait: {event: "{{ inputs.name }}", when: "event.status == 'ok'", within: 2h}}
      - {id: look, skill: files.list, args: {pattern: "{{ done.data.pattern }}"}, needs: [done]}
  patient:
    steps:
      - {id: maybe, wait: {event: never, within: 2h, or: continue}}
  ask-back:
    steps:
      - {id: answer, wait: {reply: true, within: 1h}}
      - {id: look, skill: files.list, args: {pattern: "{{ answer.text }}"}, needs: [answer]}
  appears:
    steps:
      - {id: there, wait: {poll: files.list, args: {pattern: "*.flag"}, when: "size(result.paths) > 0", every: 1, within: 1h}}
  counted:
    steps:
      - {id: find, skill: files.list, args: {pattern: "*"}}
      - {id: enough, wait: {when: "size(find.paths) >= 2", every: 1}}
"""
)


def wait(**of: Any) -> dict[str, Any]:
    return waits.arguments(Wait.model_validate(of), {"find": 1})


# ---------------------------------------------------------------- what is decided


def test_a_timer_ends_when_its_time_has_come() -> None:
    args = wait(**{"for": "10m"})
    assert judge(args, Seen(NOW), BERLIN) == Goes("10 min to pass", 600.0)
    until = NOW + timedelta(minutes=10)
    assert isinstance(judge(args, Seen(until - timedelta(seconds=1), until), BERLIN), Goes)
    assert isinstance(judge(args, Seen(until, until), BERLIN), Over)


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("12:30", "2026-11-21T12:30:00+01:00"),
        ("9:00", "2026-11-22T09:00:00+01:00"),
        ("2026-12-01 09:00", "2026-12-01T09:00:00+01:00"),
        ("2026-12-01T09:00-05:00", "2026-12-01T09:00:00-05:00"),
    ],
)
def test_a_clock_time_is_the_next_one_where_the_organisation_is(text: str, local: str) -> None:
    assert waits.moment(text, NOW, BERLIN) == datetime.fromisoformat(local)


@given(st.datetimes(timezones=st.just(UTC), max_value=datetime(2200, 1, 1)), st.times())
def test_a_time_of_day_is_never_in_the_past_and_at_most_a_day_and_a_shift_away(now: datetime, at: Any) -> None:
    found = waits.moment(f"{at.hour}:{at.minute:02}", now, BERLIN)
    assert -3600 <= (found - now).total_seconds() <= 25 * 3600


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"for": "10m", "event": "x"},
        {"for": "soon"},
        {"until": "25:00"},
        {"until": "tomorrow"},
        {"event": "two words"},
        {"poll": "files.list"},
        {"when": "result.x ==", "poll": "files.list"},
        {"event": "x", "when": "result.x"},
        {"for": "1m", "args": {"a": 1}},
        {"event": "x", "within": "91d"},
        {"when": "result.ok", "poll": "x.y", "every": 0},
        {"when": "result.ok", "poll": "x.y", "every": 1, "within": "2d"},
    ],
)
def test_a_wait_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Wait.model_validate(wrong)


def test_a_long_wait_looks_less_often_and_says_so_where_a_pace_is_named() -> None:
    polled = {"when": "result.ok", "poll": "x.y"}
    assert wait(**polled)["every"] == config.POLL_EVERY_S
    assert wait(**polled, within="90d")["every"] == 90 * 24 * 3600 / config.POLLS_MOST
    with pytest.raises(ValidationError, match="172,800 looks, at most 100,000 are made: look every 2 s or less often"):
        wait(**polled, every=1, within="2d")


def test_events_that_do_not_fit_are_passed_over_and_not_looked_at_again() -> None:
    args = wait(event="x", when="event.status == 'ok'")
    bad, good = Event(1, "x", {"status": "failed"}), Event(2, "x", {"status": "ok"})
    assert judge(args, Seen(NOW, events=[bad, Event(3, "x", {})]), BERLIN) == Goes(
        "event x", config.WAIT_WITHIN_S, key="x", read=(1, 3)
    )
    came = judge(args, Seen(NOW, events=[bad, good]), BERLIN)
    assert isinstance(came, Over)
    assert came.read == (1, 2)
    assert came.result["data"] == {"status": "ok"}


def test_a_wait_in_vain_fails_or_goes_on_as_it_says() -> None:
    late = Seen(NOW, NOW)
    vain = judge(wait(event="x", within="2h"), late, BERLIN)
    assert vain == InVain("In vain: no event x within 2 h.")
    on = judge(wait(event="x", **{"or": "continue"}), late, BERLIN)
    assert isinstance(on, Over)
    assert on.result["timed_out"] is True


def test_a_child_that_failed_fails_the_wait_with_its_reason() -> None:
    args = {"for": "child", "task": "7", "within": 60, "or": "fail"}
    assert judge(args, Seen(NOW), BERLIN) == InVain("There is no child task '7' of this task.")
    assert isinstance(judge(args, Seen(NOW, child=Child("7", "waiting")), BERLIN), Goes)
    assert judge(args, Seen(NOW, child=Child("7", "failed", error="no disk")), BERLIN) == InVain(
        "Task 7 failed: no disk"
    )
    came = judge(args, Seen(NOW, child=Child("7", "succeeded", {"text": "42"})), BERLIN)
    assert isinstance(came, Over)
    assert came.result["result"] == {"text": "42"}


def test_a_condition_that_nothing_can_change_any_more_fails_at_once() -> None:
    args = wait(when="size(find.paths) > 1")
    assert isinstance(judge(args, Seen(NOW, open=True), BERLIN), Goes)
    assert isinstance(judge(args, Seen(NOW, results={"find": {"paths": []}}), BERLIN), InVain)
    assert isinstance(judge(args, Seen(NOW, results={"find": {"paths": [1, 2]}}), BERLIN), Over)


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ("{id: a, wait: {for: 1m}, skill: files.list}", "exactly one of skill, wait and spawn"),
        ("{id: a}", "exactly one of skill, wait and spawn"),
        ("{id: a, wait: {when: 'nowhere.x == 1'}}", "no variable 'nowhere'"),
        ("{id: a, wait: {task: '{{ b.task }}'}}", "which does not come before it"),
        ("{id: a, wait: {event: '{{ inputs.nme }}'}}", "no input 'nme'"),
        ("{id: a, spawn: {run: nothing}}", "no runbook 'nothing'"),
        ("{id: a, spawn: {run: x, goal: y}}", "one of run and goal"),
        ("{id: a, wait: {for: 1m}, within: 1h}", "inside it"),
    ],
)
def test_a_runbook_with_a_wrong_wait_is_refused_with_its_line(step: str, problem: str) -> None:
    with pytest.raises(OrganisationError) as caught:
        parse(f"runbooks:\n  x:\n    steps:\n      - {step}\n")
    assert problem in str(caught.value)
    assert "sayso.yaml:4:" in str(caught.value)


def test_the_examples_of_the_documentation_are_valid() -> None:
    page = (Path(__file__).parent.parent / "docs" / "engine.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    organisation = parse("people:\n  deployer: {service: true}\n" + "".join(blocks))
    kinds = {
        next(n for n in ("skill", "wait", "spawn") if getattr(s, n)) for s in organisation.runbooks["deploy"].steps
    }
    assert kinds == {"skill", "wait"}
    assert organisation.hooks["deploys"].event == "deploy-done"


def test_what_does_more_than_read_is_not_polled() -> None:
    organisation = parse(
        "runbooks:\n  x:\n    steps:\n      - {id: a, wait: {poll: files.delete, args: {paths: [a]}, when: 'result.ok'}}\n"
    )
    from worker.skills.registry import Registry

    manifests = {m.name: m for m in Registry.load(Path("/nowhere"), {}).manifests()}
    with pytest.raises(BadInputs, match="can't be polled"):
        runbook_steps(organisation, "x", {}, manifests)


# ---------------------------------------------------------------- on a worker


@asynccontextmanager
async def waiting(database_url: str, redis_url: str, home: Path) -> AsyncIterator[Sayso]:
    async with running(database_url, redis_url, home, BOOKS) as sayso:
        yield sayso


@pytest.fixture
async def sayso(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Sayso]:
    async with waiting(database_url, redis_url, tmp_path) as opened:
        yield opened


async def step_waits(sayso: Sayso, number: int | None, n: int = 1) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        steps: list[dict[str, Any]] = (await sayso.task(number))["steps"]
        return next((s for s in steps if s["n"] == n and s["status"] == "waiting"), None)

    return await eventually(look)  # type: ignore[no-any-return]


async def test_a_runbook_naps_holds_no_worker_and_goes_on(sayso: Sayso) -> None:
    number = await sayso.say("run slow")
    step = await step_waits(sayso, number)
    assert step["waits_for"] == "1 h to pass"
    assert step["waits_until"] is not None
    task = await sayso.task(number)
    assert task["status"] == "waiting"
    assert "waiting for 1 h to pass" in status_text(task)
    held = await sayso.deps.db.fetchval("select count(*) from steps where worker_id is not null")
    assert held == 0
    await clock.move(sayso.deps.db, timedelta(hours=1))
    done = await sayso.until(number, "succeeded")
    assert [s["status"] for s in done["steps"]] == ["succeeded", "succeeded"]


async def test_an_event_from_outside_ends_the_wait_once_and_its_data_is_read(sayso: Sayso) -> None:
    (sayso.workspace / "a.txt").write_text("a", encoding="utf-8")
    number = await sayso.say("run deploy")
    assert (await step_waits(sayso, number))["waits_for"] == "event deploy-done"
    send = signals.send_to_all
    body = {"status": "failed"}
    assert await send(sayso.deps.db, "deploy-done", body, origin="untrusted", sender=None, dedup="one")
    assert not await send(sayso.deps.db, "deploy-done", body, origin="untrusted", sender=None, dedup="one")
    right = {"status": "ok", "pattern": "*.txt"}
    await send(sayso.deps.db, "other", right, origin="untrusted", sender=None, dedup="two")
    await send(sayso.deps.db, "deploy-done", right, origin="untrusted", sender=None, dedup="three")
    done = await sayso.until(number, "succeeded")
    assert done["steps"][0]["result"]["data"] == right
    assert done["steps"][1]["result"]["paths"] == ["a.txt"]
    read = await sayso.deps.db.fetchval("select count(*) from signal_reads where task_id = $1", number)
    assert read == 2


async def test_an_event_that_came_before_the_wait_began_is_not_missed(sayso: Sayso) -> None:
    db = sayso.deps.db
    early = await sayso.say("run deploy")
    await signals.send_to_all(
        db, "deploy-done", {"status": "ok", "pattern": "*"}, origin="untrusted", sender=None, dedup=None
    )
    await sayso.until(early, "succeeded")
    later = await sayso.say("run deploy")
    assert (await step_waits(sayso, later))["waits_for"] == "event deploy-done"


async def test_what_never_comes_ends_at_its_deadline(sayso: Sayso) -> None:
    fails, goes_on = await sayso.say("run deploy"), await sayso.say("run patient")
    await step_waits(sayso, fails)
    await step_waits(sayso, goes_on)
    await clock.move(sayso.deps.db, timedelta(hours=3))
    failed = await sayso.until(fails, "failed")
    assert failed["error"] == "In vain: no event deploy-done within 2 h."
    done = await sayso.until(goes_on, "succeeded")
    assert done["steps"][0]["result"]["timed_out"] is True


async def test_a_polled_skill_is_called_until_the_condition_holds(sayso: Sayso) -> None:
    number = await sayso.say("run appears")
    step = await step_waits(sayso, number)
    assert step["waits_for"] == "result that is wanted"
    (sayso.workspace / "go.flag").write_text("", encoding="utf-8")
    done = await sayso.until(number, "succeeded")
    assert done["steps"][0]["result"]["paths"] == ["go.flag"]
    attempts = await sayso.deps.db.fetchval("select attempt from steps where task_id = $1", number)
    assert attempts == 1


async def test_a_condition_over_results_lets_pass_or_stops(sayso: Sayso) -> None:
    stopped = await sayso.until(await sayso.say("run counted"), "failed")
    assert "nothing is left that could change it" in stopped["error"]
    for name in ("a", "b"):
        (sayso.workspace / name).write_text("", encoding="utf-8")
    done = await sayso.until(await sayso.say("run counted"), "succeeded")
    assert done["steps"][1]["result"]["held"] is True


async def test_a_wait_can_be_stopped_and_paused_like_anything_else(sayso: Sayso) -> None:
    number = await sayso.say("run slow")
    await step_waits(sayso, number)
    await sayso.say(f"pause {number}")
    await clock.move(sayso.deps.db, timedelta(hours=1))
    await asyncio.sleep(1.5)
    assert (await sayso.task(number))["status"] == "paused"
    await sayso.say(f"resume {number}")
    await sayso.until(number, "succeeded")
    other = await sayso.say("run patient")
    await step_waits(sayso, other)
    await sayso.say(f"stop {other}")
    assert (await sayso.until(other, "cancelled"))["steps"][0]["outcome"] == "cancelled"
