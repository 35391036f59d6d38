"""Figures of all processes together, under names that stay, and alert rules that speak once."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.watch import Watch
from core import alerts, config, figures
from core.alerts import Standing, after, key_of
from core.db import Pool, open_pool
from core.deps import Deps
from core.ending import ended
from core.figures import GAUGES, MEASURES
from core.logs import moved, set_up_logging
from core.measures import Measures
from core.models import Dropped, Failed, Outcome, Parked, Released, Succeeded, Unknown, Waiting
from core.organisation import Organisation
from core.organisation.reading import parse
from core.organisation.schema import Alert
from core.state import STEP
from core.store import approvals, clock, gauges, looks, measures, steps, tasks
from tests.patience import PATIENCE_S
from tests.test_api_events import settled
from tests.test_whole_way import running
from tests.web_house import House, open_house
from worker.audit import Chainer
from worker.chronicle import Chronicle
from worker.ladder import Climber
from worker.sweeper import Sweeper
from worker.telling import told

OPERATIONS = Path(__file__).resolve().parent.parent / "docs" / "operations.md"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DEEP = Alert.model_validate({"metric": "queue_depth", "above": 0, "for": "2m", "to": "slack/T0ACME/C0OPS"})


def line(text: str, name: str) -> float:
    [found] = [x for x in text.splitlines() if x.startswith(name + " ")]
    return float(found.rsplit(" ", 1)[1])


async def test_what_several_workers_measured_is_added_up_and_outlives_them(house: House) -> None:
    for seconds in (0.004, 0.2, 500.0):
        worker = Measures()
        worker.observe("claim_seconds", seconds, "default")
        worker.count("steps_total", "act", "ok")
        assert await measures.flush(house.db, worker) == 2
        assert await measures.flush(house.db, worker) == 0
    text = (await house.client().get("/metrics")).text
    assert line(text, 'sayso_claim_seconds_bucket{lane="default",le="0.005"}') == 1
    assert line(text, 'sayso_claim_seconds_bucket{lane="default",le="0.25"}') == 2
    assert line(text, 'sayso_claim_seconds_bucket{lane="default",le="+Inf"}') == 3
    assert line(text, 'sayso_claim_seconds_sum{lane="default"}') == pytest.approx(500.204)
    assert line(text, 'sayso_claim_seconds_count{lane="default"}') == 3
    assert line(text, 'sayso_steps_total{kind="act",outcome="ok"}') == 3


async def test_what_could_not_be_written_is_written_later(house: House) -> None:
    worker = Measures()
    worker.count("steps_total", "act", "ok")
    await house.db.execute("alter table measures rename to elsewhere")
    with pytest.raises(Exception, match="measures"):
        await measures.flush(house.db, worker)
    await house.db.execute("alter table elsewhere rename to measures")
    worker.count("steps_total", "act", "ok")
    assert await measures.flush(house.db, worker) == 1
    assert await measures.read(house.db) == {("steps_total", ("act", "ok")): [2.0]}


def test_a_measure_with_the_wrong_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="kind"):
        Measures().count("steps_total", "act")


async def test_every_gauge_is_read_and_shown(house: House) -> None:
    reading = await gauges.read(house.db)
    assert set(reading) == {gauge.name for gauge in GAUGES}
    text = (await house.client().get("/metrics")).text
    for gauge in GAUGES:
        assert f"\nsayso_{gauge.name}" in text
    assert line(text, 'sayso_database_pool{state="most"}') == 8


async def test_gauges_count_by_lane_and_age(house: House) -> None:
    ann = await house.person("ann", "owner")
    await house.ask(ann)
    await house.task(ann)
    await house.db.execute("update approvals set created_at = now() - interval '1 hour'")
    await house.db.execute(
        "update outbox set status = 'sending' where id = 1; update outbox set status = 'dead' where id = 1"
    )
    values = figures.flat(await gauges.read(house.db))
    assert values["queue_depth"] == values["queue_depth_default"] == 1
    assert values["queue_depth_urgent"] == 0
    assert values["approvals_oldest_seconds"] > 3599
    assert values["outbox_dead"] == 1 and values["workers_alive"] == 1 and values["outbox_oldest_seconds"] > 0


def test_every_figure_is_in_the_operators_page_with_an_alert() -> None:
    page = OPERATIONS.read_text(encoding="utf-8")
    for figure in (*GAUGES, *MEASURES):
        [row] = [x for x in page.splitlines() if x.startswith(f"| `sayso_{figure.name}")]
        assert row.count("|") == 4 and len(row.split("|")[3].strip()) > 5, row
    shown = set(re.findall(r"metric: (\w+)", page)) | set(re.findall(r"sayso_(\w+)", page))
    extra = {f"{m.name}_{part}" for m in MEASURES for part in ("bucket", "sum", "count")} | {
        "database_up",
        "database_pool",
    }
    assert shown <= figures.NAMES | {m.name for m in MEASURES} | extra


async def test_a_worker_that_leaves_has_told_what_it_saw(database_url: str, redis_url: str, tmp_path: Path) -> None:
    async with running(database_url, redis_url, tmp_path) as sayso:
        await sayso.until(await sayso.say("do files.write path=a.log content=x"), "succeeded")
        number = await sayso.say("do files.delete paths=a.log")
        await sayso.press((await sayso.approval_of(number))["id"], "approve")
        await sayso.until(number, "succeeded")
        assert sayso.deps.measures.take().keys() == {("press_seconds", ("slack",))}
    db = await open_pool(database_url, most=1)
    seen = await measures.read(db)
    await db.close()
    claims, begins = seen["claim_seconds", ("default",)], seen["begin_seconds", ()]
    assert sum(claims[:-1]) == 3 and 0 < claims[-1] < 60
    assert sum(begins[:-1]) == 1 and 0 < begins[-1] < 60
    assert seen["steps_total", ("act", "ok")] == [2.0] and seen["steps_total", ("act", "asked")] == [1.0]


# ---------------------------------------------------------------- alert rules


def stand(was: Standing, holds: str, *, for_s: float = 120, every_s: float = 15) -> Iterator[str | None]:
    """Look every 15 s: `x` the condition holds, `.` it does not."""
    for i, mark in enumerate(holds):
        was, says = after(was, mark == "x", NOON + timedelta(seconds=i * every_s), for_s)
        yield says


def said(holds: str, **more: float) -> list[tuple[int, str]]:
    return [(i, says) for i, says in enumerate(stand(Standing(), holds, **more)) if says]


def test_an_alert_speaks_once_when_it_has_held_and_once_when_it_is_over() -> None:
    assert said("x" * 30 + "." * 30) == [(8, "fired"), (38, "resolved")]


def test_what_comes_and_goes_is_not_told() -> None:
    assert said("xxxxxxx." * 10) == []
    assert said("x" * 10 + "..x" * 20) == [(8, "fired")]


def test_without_a_time_it_fires_at_once_and_is_over_after_a_minute() -> None:
    assert said("x......", for_s=0) == [(0, "fired"), (5, "resolved")]


def test_a_gap_in_the_watching_proves_nothing() -> None:
    assert said("xx", every_s=3600) == []


def test_conditions_name_gauges() -> None:
    values = figures.flat({"queue_depth": {"urgent": 3.0}, "workers_alive": {"": 0.0}})
    rule = Alert.model_validate({"when": "workers_alive < 1 && queue_depth_urgent > 2", "to": "slack/T/C"})
    assert alerts.holds(rule, values)
    assert alerts.holds(DEEP, values)
    below = Alert.model_validate({"metric": "sayso_workers_alive", "below": 1, "to": "slack/T/C"})
    assert alerts.holds(below, values) and key_of(below) != key_of(rule)


async def test_an_alert_is_posted_once_over_restarts_and_resolved_once(db: Pool, tmp_path: Path) -> None:
    async def look(house: House) -> list[str]:
        await db.execute("update upkeep set due_at = now() where job = 'alerts'")
        await db.execute(
            "update alerts set since = since - interval '30 s', clear_since = clear_since - interval '30 s'"
        )
        return [text for _ in range(2) for text in await Watch(house.deps).look()]  # the second finds nothing due

    org = Organisation.model_validate({"alerts": [DEEP.model_dump(by_alias=True)]})
    heard: list[str] = []
    async with open_house(db, tmp_path, org) as house:
        task = await house.task(await house.person("ann", "owner"))
        for _ in range(6):
            heard += await look(house)
    async with open_house(db, tmp_path, org) as house:  # another bot, later
        for _ in range(3):
            heard += await look(house)
        [step] = [s for s in await steps.claim(db, house.worker, "default", 9) if s.task_id == task]
        for _ in range(8):
            heard += await look(house)
    assert step.n == 1
    assert [text.split(" ")[0] for text in heard] == ["Alert:", "Over:"]
    assert "queue_depth above 0 for 0:02:00 (queue_depth is 1 now)" in heard[0]
    posted = await db.fetch(
        "select o.body ->> 'text' as text from outbox o join conversations c on c.id = o.conversation_id"
        " where c.channel = 'slack' and c.external_id = 'T0ACME/C0OPS' order by o.id"
    )
    assert [r["text"] for r in posted] == heard


async def test_a_rule_that_left_the_file_is_forgotten(db: Pool, tmp_path: Path) -> None:
    text = "alerts: [{metric: workers_alive, below: 99, to: slack/T0ACME/C0OPS}]"
    async with open_house(db, tmp_path, parse(text)) as house:
        assert len(await Watch(house.deps).look()) == 1
    await db.execute("update upkeep set due_at = now() where job = 'alerts'")
    other = parse("alerts: [{metric: workers_alive, below: 98, to: slack/T0ACME/C0OPS}]")
    async with open_house(db, tmp_path, other) as house:
        await Watch(house.deps).look()
        assert await db.fetchval("select array_agg(key) from alerts") == [key_of(other.alerts[0])]


# ---------------------------------------------------------------- logs


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("logging_as_it_was")
def test_a_transition_is_one_json_line_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("INFO", lambda text: text.replace("hunter2", "•••"), "json")
    log = logging.getLogger("worker")
    moved(log, "step", task=12, step=1, principal="hunter2", was="running", to="succeeded", why="ok")
    moved(log, "approval", task=12, approval="a1", principal="ann", was="pending", to="approved", why="approve")
    first, second = (json.loads(x) for x in capsys.readouterr().err.splitlines())
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "step moved", "logger": "worker", "level": "info", "task": "12", "step": 1, "principal": "•••",
        "from": "running", "to": "succeeded", "why": "ok",
    }  # fmt: skip
    assert (second["approval"], second["from"], second["to"]) == ("a1", "pending", "approved")


@pytest.mark.usefixtures("logging_as_it_was")
def test_a_person_reads_words_and_a_level_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("INFO", str, "console")
    moved(logging.getLogger("worker"), "step", task=12, step=1, principal="ann", was="ready", to="running", why="claim")
    assert "step moved" in (text := capsys.readouterr().err) and "to=running" in text and "{" not in text
    set_up_logging("WARNING", str, None)
    moved(logging.getLogger("worker"), "step", task=12, step=1, principal="ann", was="ready", to="running", why="claim")
    logging.getLogger("worker").warning("seen")
    assert json.loads(capsys.readouterr().err)["event"] == "seen"


async def test_what_the_sweeper_moves_is_told_too(
    house: House, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def not_asked(_: object) -> tuple[bool | None, dict[str, object]]:
        return None, {}

    task = await house.task(await house.person("ann", "owner"))
    await steps.claim(house.db, house.worker, "default", 5)
    await house.db.execute("update workers set lease_until = now() - interval '1 hour'")
    with caplog.at_level(logging.INFO, "worker.sweeper"):
        chainer = Chainer(house.db, house.deps.settings.home, house.deps.organisation.audit)
        assert (
            await Sweeper(house.db, database_url, house.deps.ring, not_asked, chainer, Climber(house.deps).tick).sweep()
            == 1
        )
    [told_] = [vars(r) for r in caplog.records if r.getMessage() == "step moved"]
    assert (told_["task"], told_["step"], told_["principal"], told_["from"], told_["to"], told_["why"]) == (
        str(task), 1, "sweeper", "running", "ready", "its worker is gone",
    )  # fmt: skip


async def test_the_life_of_a_task_is_told_from_its_history(house: House, caplog: pytest.LogCaptureFixture) -> None:
    ann = await house.person("ann", "owner")
    chronicle = Chronicle(house.db)
    assert "untold" not in await looks.due(house.db, chronicle.told), "it is not begun"
    with caplog.at_level(logging.INFO, "worker.chronicle"):
        await chronicle.begin()
        task, approval = await house.ask(ann)
        stopped = await house.task(ann)
        await tasks.cancel(house.db, stopped, ann.actor, "her words")
        await clock.move(house.db, timedelta(days=1))
        await approvals.expire(house.db, approval)
        await settled(house)
        assert "untold" in await looks.due(house.db, chronicle.told)
        assert await chronicle.tell() == len(caplog.records)
        assert "untold" not in await looks.due(house.db, chronicle.told)
    lines = [
        (r.getMessage().split()[0], d["task"], d.get("step"), d["principal"], d["from"], d["to"], d["why"])
        for r in caplog.records
        for d in [vars(r)]
    ]
    assert lines == [
        ("task", str(task), None, "ann", "", "running", "person"),
        ("approval", str(task), 1, "ann", "", "pending", "worker"),
        ("task", str(task), None, "ann", "running", "waiting", "worker"),
        ("task", str(stopped), None, "ann", "", "running", "person"),
        ("task", str(stopped), None, "ann", "running", "cancelling", "person"),
        ("step", str(stopped), 1, "ann", "ready", "cancelled", "person"),
        ("task", str(stopped), None, "ann", "cancelling", "cancelled", "person"),
        ("approval", str(task), 1, "ann", "pending", "expired", "sweeper"),
        ("step", str(task), 1, "ann", "awaiting_approval", "skipped", "sweeper"),
        ("task", str(task), None, "ann", "waiting", "abandoned", "sweeper"),
    ]
    assert "her words" not in caplog.text


def test_what_is_told_of_an_outcome_is_a_legal_move_in_our_own_words() -> None:
    secret = "alice@example.org"
    outcomes = (
        Succeeded(result={"summary": secret}), Failed(error=secret), Failed(error=secret, retry_in_s=1.0),
        Failed(error=secret, outcome=Outcome.CANCELLED), Unknown(error=secret), Parked(ask={"x": secret}, why=secret),
        Released(why=secret), Waiting(reason=secret, seconds=1.0, within_s=2.0), Dropped(evidence=secret),
    )  # fmt: skip
    for outcome in outcomes:
        for effect_class in ("pure", "unsafe"):
            for attempts_left in (True, False):
                to, word = told(outcome, effect_class, attempts_left)
                assert to in STEP["running"] or isinstance(outcome, Dropped)
                assert secret not in word


def test_a_deps_has_measures_of_its_own(house: House) -> None:
    first, second = (Deps(house.deps.settings, house.deps.organisation, house.db, house.deps.ring) for _ in range(2))
    first.measures.count("steps_total", "act", "ok")
    assert second.measures.take() == {}


async def test_what_died_with_a_worker_is_looked_for_again_as_soon_as_it_may_be_back(
    house: House, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_asked(_: object) -> tuple[bool | None, dict[str, object]]:
        return None, {}

    def tell(due: frozenset[str]) -> None:
        seen.append(due)
        if len(seen) > 1:
            looked_again.set()

    apart = "select max(apart_s(task, 1, 1::smallint)) from generate_series(1, 1000) task"
    assert 0 < await house.db.fetchval(apart) < config.APART_S
    monkeypatch.setattr(config, "SWEEP_EVERY_S", 3600.0)
    seen: list[frozenset[str]] = []
    looked_again, ann = asyncio.Event(), await house.person("ann", "owner")
    for _ in range(20):
        await house.task(ann)
    await steps.claim(house.db, house.worker, "default", 20)
    await house.db.execute("update workers set lease_until = now() - interval '1 hour'")
    chainer = Chainer(house.db, house.deps.settings.home, house.deps.organisation.audit)
    climb = Climber(house.deps).tick
    sweeping = asyncio.create_task(
        Sweeper(house.db, database_url, house.deps.ring, not_asked, chainer, climb, tell).run()
    )
    await asyncio.wait_for(looked_again.wait(), PATIENCE_S)
    await ended([sweeping])
    assert ["ready" in due for due in seen] == [False, True]
    assert "lost" in seen[0]
