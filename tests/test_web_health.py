"""What the machines that watch are told, also when the database is gone."""

from __future__ import annotations

from pathlib import Path

from bot.courier import Courier
from core.db import Pool
from tests.web_house import NOWHERE, House, open_house


async def test_a_healthy_process_is_alive_and_ready(house: House) -> None:
    client = house.client()
    assert (await client.get("/healthz")).json() == {"status": "ok", "parts": {}}
    assert (await client.get("/readyz")).json() == {"status": "ready", "workers_alive": 1}


async def test_a_courier_that_stopped_going_round_is_a_reason_to_start_the_process_anew(house: House) -> None:
    courier = Courier(house.db, NOWHERE, [], str)
    house.app.state.is_stuck = courier.is_stuck
    house.app.state.parts["telegram"] = "broken, it is started again"
    answer = await house.client().get("/healthz")
    assert (answer.status_code, answer.json()["parts"]) == (200, {"telegram": "broken, it is started again"})
    courier._came_round_at -= 3600
    assert (await house.client().get("/healthz")).status_code == 503
    await courier.deliver()
    assert (await house.client().get("/healthz")).status_code == 200


async def test_a_database_without_the_last_migration_is_not_ready(house: House) -> None:
    await house.db.execute("delete from schema_migrations where name like '0001%'")
    answer = await house.client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["missing"] == ["0001_state.sql"]


async def test_without_a_database_it_lives_but_is_not_ready_and_never_500(db: Pool, tmp_path: Path) -> None:
    async with open_house(db, tmp_path) as house:
        api = await house.api(await house.person("ann", "owner"))
        await db.close()
        assert (await api.get("/healthz")).status_code == 200
        assert (await api.get("/readyz")).status_code == 503
        for path in ("/api/tasks", "/api/skills", "/api/approvals"):
            answer = await api.get(path)
            assert (answer.status_code, "database" in answer.json()["error"]) == (503, True)
        assert "sayso_database_up 0.0" in (await api.get("/metrics")).text


async def test_the_figures_count_what_waits(house: House) -> None:
    ann = await house.person("ann", "owner")
    await house.ask(ann)
    await house.task(ann)
    text = (await house.client().get("/metrics")).text
    for line in (
        "sayso_database_up 1.0",
        "sayso_approvals_pending 1.0",
        'sayso_tasks{status="waiting"} 1.0',
        'sayso_tasks{status="running"} 1.0',
        'sayso_outbox_depth{status="pending"}',
        "sayso_workers_alive 1.0",
    ):
        assert line in text
    [oldest] = [line for line in text.splitlines() if line.startswith("sayso_queue_oldest_ready_seconds ")]
    assert float(oldest.split()[1]) > 0
