"""`doctor`: is everything there that Sayso needs, is anything stuck, and what to do where it is.

Here everything is asked; what the answers mean is in `bot.cli.findings`. It changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import asyncpg
import typer
from redis.exceptions import RedisError

from bot.cli import findings
from bot.cli.findings import Finding, well
from bot.cli.ground import servers
from core import config, organisation
from core import db as database
from core.organisation import Organisation, OrganisationError
from core.ring import open_redis
from core.settings import Settings, SettingsError
from core.store import fatigue, health


def doctor(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Check settings, database, cache, workers, queues and channels. Exit 1 when something needs a hand."""
    found = asyncio.run(_examine())
    if as_json:
        typer.echo(json.dumps([asdict(f) for f in found], ensure_ascii=False))
    else:
        for finding in found:
            typer.echo(f"{'ok ' if finding.is_well else 'NOT'} {finding.what}: {finding.say}")
            if finding.fix:
                typer.echo(f"      → {finding.fix}")
    raise typer.Exit(0 if all(f.is_well for f in found) else 1)


async def _examine() -> list[Finding]:
    try:
        Settings.load()
    except SettingsError as error:
        return [
            Finding("settings", False, problem, "set it in the environment or in .env") for problem in error.problems
        ]
    with servers() as ground:
        return await examine(ground.settings)


async def examine(settings: Settings) -> list[Finding]:
    """Everything that can be said of these settings and what they name."""
    found = [well("settings", f"home {settings.home}"), _disk(settings)]
    try:
        known = organisation.load(settings.config_path)
        there = "read" if settings.config_path.is_file() else "absent, which is fine"
        found.append(well("sayso.yaml", f"{there}; {len(known.people)} people, {len(known.policy.rules)} rules"))
    except OrganisationError as error:
        known = Organisation()
        found += [Finding("sayso.yaml", False, problem, "change that line") for problem in error.problems]
    found += await _database(settings)
    found.append(await _cache(settings))
    found.append(findings.of_models(settings, known))
    found += [
        *findings.of_alerts(settings, known),
        *findings.of_approvers(settings, known),
        *findings.of_channels(settings),
    ]
    if settings.slack_on:
        from bot.slack import checkup

        found += findings.of_slack(await checkup.look(settings))
    return found


def _disk(settings: Settings) -> Finding:
    folder = next(p for p in (settings.home, *settings.home.parents) if p.exists())
    usage = shutil.disk_usage(folder)
    return findings.of_disk(usage.free, usage.total, str(folder))


async def _database(settings: Settings) -> list[Finding]:
    try:
        async with asyncio.timeout(config.STATEMENT_TIMEOUT_S):
            db = await database.open_pool(settings.database_dsn(), most=1, name="sayso doctor")
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        say = f"cannot be reached: {type(error).__name__}: {error}"
        return [Finding("database", False, say, "is it running, and is DATABASE_URL right?")]
    try:
        lacking = await database.pending(db)
        if lacking:
            return [Finding("database", False, f"lacks {', '.join(lacking)}", "run ./sayso migrate")]
        people = await fatigue.by_person(db, config.HABIT_DAYS)
        return [
            *findings.judged(await health.look(db), await _skew_s(db)),
            findings.of_approvals(people, config.HABIT_DAYS),
        ]
    finally:
        await db.close()


async def _skew_s(db: database.Pool) -> float:
    """This machine's clock minus the database's, seen from the middle of the question."""
    before = datetime.now(UTC)
    theirs: datetime = await db.fetchval("select clock_timestamp()")
    after = datetime.now(UTC)
    return ((before + (after - before) / 2) - theirs).total_seconds()


async def _cache(settings: Settings) -> Finding:
    redis = open_redis(settings.redis_address())
    try:
        return findings.of_redis(await redis.info("server"))
    except (RedisError, OSError, TimeoutError) as error:
        say = f"cannot be reached ({type(error).__name__}); work goes on at one look a second"
        return Finding("redis", False, say, "is it running, and is REDIS_URL right?")
    finally:
        await redis.aclose()
