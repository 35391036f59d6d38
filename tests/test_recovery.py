"""The ground gives way: Redis empties, stops and comes back, Postgres dies at once and starts again, a worker sleeps
past its lease, a bot is killed in the middle of a delivery, and everything is told to stop.

What must hold: what was acknowledged stays, every process goes on by itself, and the sink counts each effect once.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from core import config
from core.db import migrate
from core.embedded import RunningServers, start_servers
from core.embedded.postgres import Postgres
from core.models import Accepted, Claimed, Unknown
from core.ring import open_redis
from core.store import approvals, conversations, people, steps
from tests import sink
from tests.patience import PATIENCE_S
from tests.processes import HERE, Plant, open_plant, plant_fixture, until  # noqa: F401  (a fixture)
from worker.act import Actor
from worker.lease import Lease
from worker.skills.handles import open_handles
from worker.skills.registry import Registry
from worker.slots import Hold


def send(address: str, path: str = "/answer") -> str:
    return f"do http.request method=POST url={address}{path} body=pay"


# ---------------------------------------------------------------- Redis


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[RunningServers]:
    """A Valkey that this test may stop."""
    with start_servers(tmp_path / "valkey", postgres=False) as running:
        yield running
        running.valkey.stop("immediate")


async def test_work_goes_on_while_redis_is_emptied_stopped_and_started_again(
    database_url: str, own_valkey: RunningServers, tmp_path: Path
) -> None:
    assert own_valkey.redis_url is not None
    async with open_plant(tmp_path / "home", database_url, own_valkey.redis_url) as plant:
        address = plant.sink()
        worker = await plant.worker()
        bot, _ = await plant.bot()
        emptied = await plant.say(send(address, "/answer-1"))
        approval = await plant.asked(emptied)
        redis = open_redis(own_valkey.redis_url)
        await redis.flushall()
        await redis.aclose()
        assert isinstance(await plant.press(approval, "approve"), Accepted)
        await plant.is_task(emptied, "succeeded")

        await asyncio.to_thread(own_valkey.valkey.stop, "immediate")
        stopped = await plant.approved(send(address, "/answer-2"))
        await plant.is_task(stopped, "succeeded")

        await asyncio.to_thread(own_valkey.valkey.start)
        back = await plant.approved(send(address, "/answer-3"))
        await plant.is_task(back, "succeeded")
        await delivered(plant)
        assert worker.is_up()
        assert bot.is_up()
        assert await plant.db.fetchval("select count(*) from workers") == 1
        assert len(sink.calls(plant.ledger)) == 3


# ---------------------------------------------------------------- Postgres


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A Postgres that these tests may kill; durable, as `./sayso up` has it."""
    home = tmp_path_factory.mktemp("postgres")
    with start_servers(home, redis=False) as running:
        yield running.postgres
        running.postgres.stop("immediate")
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def own_url(own_postgres: Postgres, request: pytest.FixtureRequest) -> str:
    """A migrated database in it."""
    name = f"t{abs(hash(request.node.name))}"
    admin = await asyncpg.connect(own_postgres.url())
    await admin.execute(f"create database {name}")
    await admin.close()
    await migrate(own_postgres.url(name))
    return own_postgres.url(name)


async def test_postgres_dies_and_returns_under_a_running_effect(
    own_postgres: Postgres, own_url: str, redis_url: str, tmp_path: Path
) -> None:
    """The effect's answer arrives while there is no database: the worker keeps it until there is one again."""
    async with open_plant(tmp_path / "home", own_url, redis_url) as plant:
        address = plant.sink()
        worker = await plant.worker()
        bot, base = await plant.bot()
        in_flight = await plant.approved(send(address, "/hold"))
        waiting = await plant.say(send(address, "/answer"))
        approval = await plant.asked(waiting)
        await plant.carried_out(1)

        await restart(own_postgres, meanwhile=lambda: sink.release(plant.ledger, "/hold"))

        assert isinstance(await plant.press(approval, "approve"), Accepted)
        await plant.is_task(in_flight, "succeeded")
        await plant.is_task(waiting, "succeeded")
        await delivered(plant)
        assert worker.is_up()
        assert bot.is_up()
        async with httpx.AsyncClient(base_url=base, timeout=PATIENCE_S) as client:
            assert (await client.get("/readyz")).status_code == 200
        assert len(sink.calls(plant.ledger)) == 2


async def test_what_was_acknowledged_survives_a_postgres_that_dies_at_once(
    own_postgres: Postgres, own_url: str, redis_url: str, tmp_path: Path
) -> None:
    """While somebody says things one after the other: each either raised, or is a task that ends."""
    async with open_plant(tmp_path / "home", own_url, redis_url) as plant:
        worker = await plant.worker()
        acknowledged: list[int] = []
        refused = 0
        over = asyncio.Event()

        async def talk() -> None:
            nonlocal refused
            while not over.is_set():
                try:
                    acknowledged.append(await plant.say("do files.list"))
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    refused += 1
                    await asyncio.sleep(0.02)

        talking = asyncio.create_task(talk())
        await until(lambda: some(len(acknowledged) >= 20), "tasks are made")
        before = len(acknowledged)
        await restart(own_postgres)
        await until(lambda: some(len(acknowledged) >= before + 20), "tasks are made again")
        over.set()
        await talking
        assert refused > 0

        async def all_done() -> bool:
            ended = await plant.db.fetchval(
                "select count(*) from tasks where id = any ($1) and status = 'succeeded'", acknowledged
            )
            return bool(ended == len(acknowledged))

        await until(all_done, f"{len(acknowledged)} tasks have ended")
        assert worker.is_up()


async def restart(postgres: Postgres, meanwhile: Callable[[], None] | None = None) -> None:
    await asyncio.to_thread(postgres.stop, "immediate")
    if meanwhile:
        meanwhile()
    await asyncio.to_thread(postgres.start)


async def some(seen: bool) -> bool:
    return seen


# ---------------------------------------------------------------- a worker that sleeps past its lease


async def test_a_worker_that_slept_past_its_lease_writes_nothing_when_it_wakes(plant: Plant) -> None:
    """Asleep in the middle of a call; another worker has the question asked, a person says that it happened."""
    address = plant.sink()
    sleeper = await plant.worker()
    task = await plant.approved(send(address, "/hold"))
    await plant.carried_out(1)
    sleeper.freeze()
    await plant.pass_lease(sleeper)
    await plant.worker()
    question = await plant.asked(task, "unknown")
    sink.release(plant.ledger, "/hold")
    sleeper.thaw()

    await started_over(plant, sleeper.pid, sleeper.number)
    assert (await plant.step(task))["status"] == "unknown"
    assert await plant.effects(task) == [(1, "unknown")]
    assert isinstance(await plant.press(question, "happened"), Accepted)
    await plant.is_task(task, "succeeded")
    assert await plant.effects(task) == [(1, "done")]
    assert len(sink.calls(plant.ledger)) == 1
    assert sleeper.is_up()


async def test_a_worker_that_slept_before_begin_does_not_make_the_call(plant: Plant) -> None:
    """Asleep between claim and begin; another worker has done it meanwhile."""
    address = plant.sink()
    sleeper = await plant.worker()
    task = await plant.say(send(address))
    approval = await plant.asked(task)
    sleeper.freeze()
    assert isinstance(await plant.press(approval, "approve"), Accepted)
    async with plant.locked(task):
        sleeper.thaw()
        session = await plant.waits_in("begin_v1")
        sleeper.freeze()
        await plant.end_session(session)
    await plant.pass_lease(sleeper)
    await plant.worker()
    await plant.is_task(task, "succeeded")
    sleeper.thaw()
    await started_over(plant, sleeper.pid, sleeper.number)
    assert len(sink.calls(plant.ledger)) == 1
    assert await plant.effects(task) == [(1, "done")]
    assert sleeper.is_up()


async def started_over(plant: Plant, pid: int, number: int) -> None:
    """The process has noticed that its lease is gone, and has taken a fresh one."""

    async def look() -> bool:
        return bool(
            await plant.db.fetchval("select exists (select from workers where pid = $1 and id > $2)", pid, number)
        )

    await until(look, "the woken worker takes a fresh lease")


async def test_a_worker_whose_sign_was_cut_hangs_it_out_again(plant: Plant) -> None:
    """Without it every sweep would take its reading steps for a dead worker's."""
    address = plant.sink()
    worker = await plant.worker()

    async def holder() -> int | None:
        held = "select pid from pg_locks where locktype = 'advisory' and granted and classid = $1::bigint::oid and objid = $2"
        found: int | None = await plant.db.fetchval(held, config.WORKER_LOCK, worker.number)
        return found

    first = await until(holder, "the sign hangs out")
    await plant.db.execute("select pg_terminate_backend($1)", first)

    async def is_out_again() -> bool:
        return await holder() not in (None, first)

    await until(is_out_again, "the sign hangs out again")
    task = await plant.say(f"do http.get url={address}/hold")
    await until(lambda: some(bool(sink.calls(plant.ledger, method="GET"))), "the page is asked for")
    assert await steps.silent_workers(plant.db, config.WORKER_LOCK) == []
    sink.release(plant.ledger, "/hold")
    await plant.is_task(task, "succeeded")
    assert (await plant.step(task))["fence"] == 1


async def test_a_begun_call_that_was_lost_sight_of_is_asked_about_and_not_made_again(plant: Plant) -> None:
    """What adoption finds: the step is this worker's, its intent is written, and nobody here knows more."""
    step = Claimed(
        task_id=1, n=1, kind="act", skill="http.request", args={}, origins={}, effect_class="unsafe", needs=(), fence=1,
        attempt=1, max_attempts=3, gen=1, timeout_s=30, approval_id=None, effect_state="intent", task_goal="",
        plan_version=1, requester_id=1, conversation_id=None, lane="default",
    )  # fmt: skip
    handles = open_handles(plant.home, {}, plant.deps.settings.secret, None)
    actor = Actor(plant.deps, Lease(plant.db, ""), Registry.load(plant.home, {}), handles)
    assert isinstance(await actor.act(Hold(step)), Unknown)


# ---------------------------------------------------------------- a bot that is killed


async def test_a_decision_whose_bot_was_killed_before_the_answer_stands_and_is_told_again(plant: Plant) -> None:
    """The database commits it after the bot's death: no ring, no answer. Who presses again hears that it is decided."""
    address = plant.sink()
    first = await plant.worker()
    task = await plant.say(send(address))
    approval = await plant.asked(task)
    first.kill()
    headers, body = await token(plant), {"verdict": "approve", "digest": await digest_of(plant, approval)}
    bot, base = await plant.bot()
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=PATIENCE_S) as client:
        async with plant.locked(task):
            pressing = asyncio.create_task(client.post(f"/api/approvals/{approval}/decisions", json=body))
            await plant.waits_in("decide_v1")
            bot.kill()
        with pytest.raises(httpx.TransportError):
            await pressing
    _, base = await plant.bot()
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=PATIENCE_S) as client:
        again = await client.post(f"/api/approvals/{approval}/decisions", json=body)
    assert again.status_code == 409
    assert again.json()["by"] == "Ann"
    await plant.worker()
    await plant.is_task(task, "succeeded")
    await delivered(plant)
    assert len(sink.calls(plant.ledger)) == 1


async def test_a_message_whose_bot_was_killed_before_the_commit_starts_one_task_when_said_again(plant: Plant) -> None:
    headers = await token(plant)
    await plant.worker()
    said = {"text": "do files.list", "idempotency_key": "once"}
    bot, base = await plant.bot()
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=PATIENCE_S) as client:
        await conversations.ensure(plant.db, HERE)
        async with plant.db.acquire() as holding, holding.transaction():
            await holding.execute("select from conversations for update")
            asking = asyncio.create_task(client.post("/api/intents", json=said))
            await plant.waits_in("insert into conversations ")
            bot.kill()
        with pytest.raises(httpx.TransportError):
            await asking
    _, base = await plant.bot()
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=PATIENCE_S) as client:
        answers = [(await client.post("/api/intents", json=said)).json()["task_id"] for _ in range(2)]
    assert len(set(answers)) == 1
    assert await plant.db.fetchval("select count(*) from tasks") == 1
    await plant.is_task(int(answers[0]), "succeeded")
    await delivered(plant)


async def test_a_message_whose_bot_was_killed_during_its_delivery_is_delivered_by_the_next(plant: Plant) -> None:
    (await plant.worker()).kill()
    task = await plant.say("do files.list")
    async with plant.db.acquire() as holding, holding.transaction():
        await holding.execute("select from cards where task_id = $1 for update", task)
        bot, _ = await plant.bot()
        session = await plant.waits_in("message_sent_v1")
        bot.kill()
        await plant.end_session(session)
    assert await plant.db.fetchval("select array_agg(status) from outbox") == ["sending"]
    await plant.db.execute("update outbox set lease_until = now() - interval '1 s' where status = 'sending'")
    await plant.bot()
    await plant.worker()
    await plant.is_task(task, "succeeded")
    await delivered(plant)


async def token(plant: Plant) -> dict[str, str]:
    """What Ann's program sends along."""
    ann = await people.by_key(plant.db, "ann")
    assert ann is not None
    return {"authorization": f"Bearer {await people.make_token(plant.db, ann.id, 'api', None)}"}


async def digest_of(plant: Plant, approval: str) -> str:
    shown = await approvals.whole(plant.db, approval)
    assert shown is not None
    return str(shown["digest"])


async def delivered(plant: Plant) -> None:
    """Nothing is left in the outbox, and every card shows the present state."""

    async def look() -> bool:
        return bool(
            await plant.db.fetchval(
                "select not exists (select from outbox where status <> 'sent')"
                " and not exists (select from cards where shown < wanted)"
            )
        )

    # A message whose claim was not answered waits for its lease.
    try:
        await until(look, "everything is delivered", config.MESSAGE_LEASE_S + PATIENCE_S)
    except AssertionError as error:
        left = await plant.db.fetch(
            "select m.id, m.kind, m.status, m.attempts, m.error, m.next_at - now() as due, m.lease_until - now() as lease,"
            " k.id as card, k.subject, k.wanted, k.shown from outbox m full join cards k on k.id = m.card_id"
            " where m.status <> 'sent' or k.shown < k.wanted"
        )
        said = "\n".join(child.said()[-3000:] for child in plant.children)
        raise AssertionError(f"{error}: {[dict(row) for row in left]}\n{said}") from error


# ---------------------------------------------------------------- told to stop


async def test_a_reading_step_is_handed_back_uncharged_when_the_worker_is_told_to_stop(plant: Plant) -> None:
    address = plant.sink()
    worker = await plant.worker()
    task = await plant.say(f"do http.get url={address}/hold")
    await until(lambda: some(bool(sink.calls(plant.ledger, method="GET"))), "the page is asked for")
    worker.running.send_signal(signal.SIGTERM)
    assert await worker.ended() == 0
    step = await plant.step(task)
    assert (step["status"], step["attempt"], step["worker_id"]) == ("ready", 0, None)
    assert await plant.db.fetchval("select count(*) from workers") == 0
    sink.release(plant.ledger, "/hold")
    await plant.worker()
    await plant.is_task(task, "succeeded")


async def test_an_effect_in_flight_is_let_finish_when_the_worker_is_told_to_stop(plant: Plant) -> None:
    address = plant.sink()
    worker = await plant.worker()
    task = await plant.approved(send(address, "/hold"))
    await plant.carried_out(1)
    worker.running.send_signal(signal.SIGTERM)
    sink.release(plant.ledger, "/hold")
    assert await worker.ended() == 0
    await plant.is_task(task, "succeeded")
    assert len(sink.calls(plant.ledger)) == 1
