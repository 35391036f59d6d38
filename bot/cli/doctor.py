"""`doctor`: is everything there that Sayso needs, and what to do where it is not."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from typing import Annotated

import asyncpg
import typer
from redis.exceptions import RedisError

from bot.cli.ground import servers
from core import db as database
from core import organisation
from core.organisation import OrganisationError
from core.ring import open_redis
from core.settings import Settings, SettingsError
from core.store import health


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    is_well: bool
    say: str


def doctor(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Check settings, database, cache, workers and channels. Exit 1 when something needs a hand."""
    findings = asyncio.run(_examine())
    if as_json:
        typer.echo(json.dumps([asdict(f) for f in findings], ensure_ascii=False))
    else:
        for finding in findings:
            typer.echo(f"{'ok ' if finding.is_well else 'NOT'} {finding.what}: {finding.say}")
    raise typer.Exit(0 if all(f.is_well for f in findings) else 1)


async def _examine() -> list[Finding]:
    try:
        Settings.load()
    except SettingsError as error:
        return [Finding("settings", False, problem) for problem in error.problems]
    with servers() as ground:
        settings = ground.settings
        return [
            Finding("settings", True, f"home {settings.home}"),
            _file(settings),
            *await _database(settings),
            await _cache(settings),
            *_channels(settings),
        ]


def _file(settings: Settings) -> Finding:
    try:
        known = organisation.load(settings.config_path)
    except OrganisationError as error:
        return Finding("sayso.yaml", False, str(error))
    there = "read" if settings.config_path.is_file() else "absent, which is fine"
    return Finding("sayso.yaml", True, f"{there}; {len(known.people)} people, {len(known.policy.rules)} rules")


async def _database(settings: Settings) -> list[Finding]:
    try:
        db = await database.open_pool(settings.database_dsn(), most=1)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        return [Finding("database", False, f"cannot be reached: {type(error).__name__}: {error}")]
    try:
        lacking = await database.pending(db)
        if lacking:
            return [Finding("database", False, f"lacks {', '.join(lacking)}; run ./sayso migrate")]
        seen = await health.seen(db)
        workers = f"{seen.workers} alive, oldest ready step waits {seen.oldest_ready_s:.0f} s"
        return [
            Finding("database", True, seen.server),
            Finding(
                "workers",
                seen.workers > 0,
                workers if seen.workers else "none is alive; run ./sayso up or ./sayso worker",
            ),
            Finding(
                "outbox", seen.dead_messages == 0, f"{seen.open_messages} on their way, {seen.dead_messages} given up"
            ),
            Finding("unknown effects", seen.unknown_steps == 0, f"{seen.unknown_steps} wait for a probe or a person"),
        ]
    finally:
        await db.close()


async def _cache(settings: Settings) -> Finding:
    redis = open_redis(settings.redis_address())
    try:
        await redis.ping()
    except (RedisError, OSError, TimeoutError) as error:
        return Finding("redis", False, f"cannot be reached ({type(error).__name__}); work goes on at one look a second")
    finally:
        await redis.aclose()
    return Finding("redis", True, "answers")


def _channels(settings: Settings) -> list[Finding]:
    slack = f"on, {settings.slack_how} mode" if settings.slack_on else "off; set SLACK_BOT_TOKEN to turn it on"
    telegram = f"on, {settings.telegram_mode}" if settings.telegram_on else "off; set TELEGRAM_BOT_TOKEN to turn it on"
    return [Finding("slack", True, slack), Finding("telegram", True, telegram)]
