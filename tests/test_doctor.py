"""What doctor sees on a real database, and that it says what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from bot.cli import findings
from bot.cli.doctor import examine
from bot.cli.findings import Finding
from bot.slack import checkup, manifest
from core.db import Pool
from core.organisation import parse
from core.settings import Settings
from core.store import clock, conversations, skills, steps
from tests.sim.slack import SlackSim
from tests.web_house import MANIFESTS, House


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return settings_of(database_url, redis_url, tmp_path)


def settings_of(database_url: str, redis_url: str, home: Path, **more: Any) -> Settings:
    given = {
        "database_url": database_url,
        "redis_url": redis_url,
        "sayso_home": home,
        "sayso_config": home / "sayso.yaml",
    }
    return Settings.model_validate(given | more)


async def said(settings: Settings) -> dict[str, Finding]:
    return {f.what: f for f in await examine(settings)}


async def not_well(settings: Settings) -> dict[str, str]:
    found = await examine(settings)
    assert all(f.fix for f in found if not f.is_well) and not any(f.fix for f in found if f.is_well)
    return {f.what: f.say for f in found if not f.is_well}


async def test_a_healthy_sayso_is_well_in_every_respect(house: House, settings: Settings) -> None:
    await house.task(await house.person("ann", "owner"))
    assert await not_well(settings) == {}
    found = await said(settings)
    assert set(found) >= {
        "settings", "sayso.yaml", "disk", "database", "clock", "workers", "skills", "queue", "leases", "upkeep", "outbox",
        "unknown effects", "quarantine", "transactions", "vacuum", "redis", "models", "slack", "telegram",
    }  # fmt: skip
    assert "Valkey" in found["redis"].say and "pgvector" in found["database"].say


async def test_it_finds_what_is_stuck_and_says_what_to_do(house: House, settings: Settings) -> None:
    db, ann = house.db, await house.person("ann", "owner")
    task = await house.task(ann)
    [step] = await steps.claim(db, house.worker, "default", 5)
    late = await house.task(ann)
    await conversations.say(db, await house.place(ann), "hello")
    for sql in (
        "update workers set lease_until = now() - interval '1 hour'",
        "update steps set deadline_at = now() - interval '1 hour' where status = 'running'",
        f"update steps set ready_at = now() - interval '2 minutes' where task_id = {late}",
        "update outbox set status = 'sending', lease_until = now() - interval '1 hour' where kind = 'text'",
        "update outbox set created_at = now() - interval '5 minutes' where status = 'pending'",
        "update upkeep set due_at = now() - interval '1 hour' where job = 'archive'",
    ):
        await db.execute(sql)
    assert (step.task_id, step.n) == (task, 1)
    assert await not_well(settings) == {
        "workers": "none is alive",
        "queue": "ready steps wait: 1 in lane default, the oldest for 120 s",
        "leases": "1 steps run under workers that are gone; 1 messages are held by a bot that is gone",
        "outbox": "the oldest message that is due waits for 300 s",
        "upkeep": "not done in time: archive",
    }


async def test_it_names_unknown_dead_quarantined_and_unmoved(house: House, settings: Settings) -> None:
    db, ann = house.db, await house.person("ann", "owner")
    unknown = await house.task(ann)
    [step] = await steps.claim(db, house.worker, "default", 5)
    await steps.begin(db, house.worker, step, key="k1", digest="d", action={}, approval=None, grant=None)
    await steps.lose(db, house.worker, step, "lost")
    broken = await house.task(ann)
    [step] = await steps.claim(db, house.worker, "default", 5)
    await steps.fail(db, house.worker, step, "Quarantined: its row cannot be read", "error", None)
    unmoved = await house.task(ann)
    await db.execute(f"update steps set status = 'cancelled', outcome = 'cancelled' where task_id = {unmoved}")
    unasked, approval = await house.ask(ann)
    await db.execute("update approvals set status = 'cancelled' where id = $1::text::uuid", approval)
    await db.execute("update outbox set status = 'sending' where id = 1")
    await db.execute("update outbox set status = 'dead', error = 'channel_not_found' where id = 1")
    found = await not_well(settings)
    assert found.pop("outbox").endswith("the last in web: channel_not_found")
    assert found == {
        "unknown effects": f"not known whether it happened: step 1 of task {unknown}",
        "quarantine": f"rows that cannot be read ended step 1 of task {broken}",
        "tasks": f"open, and nothing moves them: {unmoved}, {unasked}",
    }


async def test_it_sees_workers_that_differ_rows_that_cannot_be_read_and_a_moved_clock(
    house: House, settings: Settings
) -> None:
    other = await steps.enrol(house.db, "elsewhere", 2, "0.0.9", 3600)
    await skills.sign(house.db, house.worker, await skills.publish(house.db, MANIFESTS))
    await skills.sign(house.db, other, await skills.publish(house.db, MANIFESTS[:1]))
    assert "workers publish different skills" in (await not_well(settings))["skills"]
    await skills.sign(house.db, other, await skills.publish(house.db, reversed(MANIFESTS)))
    assert await not_well(settings) == {}
    await house.db.execute("update skills set manifest = '[]' where name = 'files.list'")
    ann = await house.person("ann", "owner")
    await house.db.execute(
        "insert into grants (owner_id, holder_id, skill, args, expires_at)"
        " values ($1, $1, 'files.delete', '7', now() + interval '1 day')",
        ann.id,
    )  # fmt: skip
    await clock.move(house.db, timedelta(seconds=1))
    found = await not_well(settings)
    assert "manifest of skill files.list" in found["skills"] and "standing permission" in found["skills"]
    assert found["clock"] == "the database's clock is moved, as tests do"


async def test_a_transaction_that_stays_open_is_named(house: House, settings: Settings, database_url: str) -> None:
    idle = await asyncpg.connect(database_url, server_settings={"application_name": "forgotten"})
    try:
        await idle.execute("begin; select pg_current_xact_id()")
        found = (await said(settings))["transactions"]
        assert found.is_well and "the oldest is" in found.say
    finally:
        await idle.close()


async def test_without_servers_it_still_says_everything_else(tmp_path: Path) -> None:
    found = await not_well(settings_of("postgresql://127.0.0.1:1/none", "redis://127.0.0.1:1/0", tmp_path))
    assert set(found) == {"database", "redis"} and "cannot be reached" in found["database"]


async def test_each_problem_of_the_file_is_a_finding(settings: Settings, house: House) -> None:
    settings.config_path.write_text("people: {ann: {roles: [nobody]}}\nalerts: [{metric: x, above: 1, to: slack/x}]\n")
    files = [f.say for f in await examine(settings) if f.what == "sayso.yaml"]
    assert len(files) == 2 and "sayso.yaml:1" in files[0] and "sayso.yaml:2" in files[1]


async def test_an_unmigrated_database_is_told_to_migrate(db: Pool, settings: Settings) -> None:
    await db.execute("delete from schema_migrations where name like '0007%'")
    found = (await said(settings))["database"]
    assert (found.is_well, found.fix) == (False, "run ./sayso migrate") and "0007_upkeep.sql" in found.say


def test_old_servers_little_room_and_routes_without_keys_are_named() -> None:
    assert not findings.of_redis({"redis_version": "5.0.7"}).is_well
    assert findings.of_redis({"redis_version": "7.2.4", "valkey_version": "9.1.0"}) == Finding(
        "redis", True, "Valkey 9.1.0"
    )
    assert not findings.of_disk(10_000_000, 10**12, "/x").is_well
    org = parse(
        "models: {routes: {plan: [openai/gpt-5.4], act: [local/x]},"
        " providers: {local: {kind: openai, base_url: 'http://l/v1', key: none}}}"
    )
    bare = Settings.model_validate({})
    assert findings.of_models(bare, org).say == "no provider of these routes has a key: plan"
    assert findings.of_models(Settings.model_validate({"openai_api_key": "k"}), org).is_well
    assert findings.of_models(bare, parse("")).is_well
    [off] = findings.of_alerts(bare, parse("alerts: [{metric: workers_alive, below: 1, to: slack/T0ACME/C0OPS}]"))
    assert off.say == "rules post to slack, which is off"


def test_the_command_prints_json_and_ends_with_one_when_something_is_wrong(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    environ = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SAYSO_HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        [sys.executable, "-m", "bot.cli", "doctor", "--json"], env=environ, capture_output=True, text=True, timeout=60
    )
    found = {f["what"]: f for f in json.loads(done.stdout)}
    assert done.returncode == 1, done.stderr
    assert found["workers"] == {
        "what": "workers", "is_well": False, "say": "none is alive", "fix": "run ./sayso up or ./sayso worker",
    }  # fmt: skip


def test_approvers_that_only_slack_knows_are_lost_while_it_is_off() -> None:
    known = parse(
        "people: {ann: {}}\napprovers: {ops: {slack_usergroups: [S0OPS]}, all: {people: [ann], slack_usergroups: [S1]}}"
    )
    [found] = findings.of_approvers(Settings(), known)
    assert not found.is_well and "in ops, and" in found.say and found.fix
    on = Settings.model_validate({"slack_bot_token": "xoxb"})
    assert list(findings.of_approvers(on, known)) == []


async def test_it_holds_slacks_token_against_the_manifest_and_tries_our_cards() -> None:
    async with SlackSim() as sim:
        here = Settings.model_validate({"slack_bot_token": sim.bot_token, "slack_api_url": sim.api_url})
        sim.scopes = [scope.name for scope in manifest.SCOPES]
        found = {f.what: f for f in findings.of_slack(await checkup.look(here))}
        assert found["slack scopes"].is_well and "sayso in acme" in found["slack scopes"].say
        assert found["slack cards"].say == "Slack takes each kind" and sim.violations == []
        sim.scopes.remove("usergroups:read")
        sim.lacks["blocks.validate"] = "method_deprecated"
        found = {f.what: f for f in findings.of_slack(await checkup.look(here))}
        assert "usergroups:read (user groups as approvers" in found["slack scopes"].say
        assert "subteam_members_changed" in found["slack scopes"].say
        assert "manifest" in found["slack scopes"].fix and found["slack cards"].is_well
        sim.lacks["blocks.validate"] = "invalid_blocks"
        cards = {f.what: f for f in findings.of_slack(await checkup.look(here))}["slack cards"]
        assert not cards.is_well and "approval card: invalid_blocks" in cards.say
        wrong = here.model_copy(update={"slack_bot_token": SecretStr("xoxb-wrong")})
        [token] = findings.of_slack(await checkup.look(wrong))
        assert not token.is_well and "SLACK_BOT_TOKEN is not valid" in token.say and "xoxb-wrong" not in token.say
