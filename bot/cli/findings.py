"""What doctor says of what was seen: pure, one finding a subject, each with what to do where it is not well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bot.slack import manifest
from core import fatigue
from core.organisation import Organisation
from core.settings import Settings
from core.store.health import LATE_S, Seen

if TYPE_CHECKING:
    from bot.slack.checkup import Checked

POSTGRES_LEAST: Final = 150000
REDIS_LEAST: Final = (6, 2)
SKEW_MOST_S: Final = 5.0
FREE_LEAST_BYTES: Final = 1_000_000_000
TRANSACTION_MOST_S: Final = 600.0
XID_AGE_MOST: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """`fix` is what to do, empty where it is well."""

    what: str
    is_well: bool
    say: str
    fix: str = ""


def well(what: str, say: str) -> Finding:
    return Finding(what, True, say)


def judged(seen: Seen, skew_s: float) -> Iterator[Finding]:
    """Of a database that answers and is migrated. `skew_s`: this machine's clock minus the database's."""
    yield from _ground(seen, skew_s)
    yield from _workers(seen)
    yield from _leases(seen)
    yield from _people(seen)
    yield from _vacuum(seen)


def _ground(seen: Seen, skew_s: float) -> Iterator[Finding]:
    if seen.version_num < POSTGRES_LEAST:
        yield Finding("database", False, f"{seen.server} is too old", "use PostgreSQL 15 or newer")
    elif seen.pgvector is None:
        yield Finding("database", False, f"{seen.server} has no pgvector", "create extension vector")
    else:
        yield well("database", f"{seen.server}, pgvector {seen.pgvector}, every migration applied")
    if seen.clock_is_moved:
        yield Finding("clock", False, "the database's clock is moved, as tests do", "delete the row of the table clock")
    elif abs(skew_s) > SKEW_MOST_S:
        which = "ahead of" if skew_s > 0 else "behind"
        say = f"this machine is {abs(skew_s):.0f} s {which} the database"
        yield Finding("clock", False, say, "set both by NTP; signatures of chats are refused beyond 300 s")
    else:
        yield well("clock", f"{abs(skew_s):.1f} s from the database's")


def _workers(seen: Seen) -> Iterator[Finding]:
    if not seen.workers:
        yield Finding("workers", False, "none is alive", "run ./sayso up or ./sayso worker")
    else:
        names = ", ".join(f"{w['id']} on {w['host']} ({w['release']})" for w in seen.workers)
        yield well("workers", f"{len(seen.workers)} alive: {names}")
    kinds = {w["skills_hash"] for w in seen.workers if w["skills_hash"]}
    if len(kinds) > 1:
        by = "; ".join(f"{w['id']} on {w['host']}: {w['skills_hash'][:8]}" for w in seen.workers)
        yield Finding(
            "skills",
            False,
            f"workers publish different skills ({by})",
            "give all of them the same release and skills folder",
        )
    elif seen.unreadable:
        yield Finding(
            "skills", False, f"cannot be read: {', '.join(seen.unreadable)}", "restart a worker; revoke the permission"
        )
    else:
        yield well(
            "skills", "published, the same by every worker" if kinds else "none published by a worker that is alive"
        )
    late = [r for r in seen.ready if r["oldest_s"] > LATE_S]
    waiting = ", ".join(f"{r['count']} in lane {r['lane']}, the oldest for {r['oldest_s']:.0f} s" for r in seen.ready)
    if late:
        yield Finding(
            "queue", False, f"ready steps wait: {waiting}", "start more workers, or see why theirs do not end"
        )
    else:
        yield well("queue", waiting or "nothing waits for a worker")


def _leases(seen: Seen) -> Iterator[Finding]:
    stuck = []
    if seen.orphaned_steps:
        stuck.append(f"{seen.orphaned_steps} steps run under workers that are gone")
    if seen.overdue_steps:
        stuck.append(f"{seen.overdue_steps} timers and probes are overdue")
    if seen.stuck_messages:
        stuck.append(f"{seen.stuck_messages} messages are held by a bot that is gone")
    if stuck:
        yield Finding(
            "leases", False, "; ".join(stuck), "a worker that is alive takes them up; see its log if this stays"
        )
    else:
        yield well("leases", "nothing is held by what is gone")
    if seen.unmoved_tasks:
        numbers = ", ".join(map(str, seen.unmoved_tasks))
        yield Finding(
            "tasks", False, f"open, and nothing moves them: {numbers}", "stop them: ./sayso ask 'stop NUMBER'"
        )
    if seen.late_jobs:
        jobs = ", ".join(r["job"] for r in seen.late_jobs)
        yield Finding("upkeep", False, f"not done in time: {jobs}", "see the log of a worker for 'upkeep of'")
    else:
        yield well("upkeep", "done in time")


def _people(seen: Seen) -> Iterator[Finding]:
    if seen.due_messages_s > LATE_S:
        say = f"the oldest message that is due waits for {seen.due_messages_s:.0f} s"
        yield Finding("outbox", False, say, "is a bot running, and is the message's channel on there?")
    elif seen.dead_messages:
        newest = seen.dead_messages[0]
        say = f"{len(seen.dead_messages)} given up this week, the last in {newest['channel']}: {newest['error']}"
        yield Finding("outbox", False, say, "put right what the error names; a card is sent again when its task moves")
    else:
        yield well("outbox", "nothing is late, nothing was given up this week")
    if seen.unknown:
        where = ", ".join(f"step {r['n']} of task {r['task_id']}" for r in seen.unknown)
        yield Finding(
            "unknown effects", False, f"not known whether it happened: {where}", "answer the question on its card"
        )
    else:
        yield well("unknown effects", "none")
    if seen.quarantined:
        where = ", ".join(f"step {r['n']} of task {r['task_id']}" for r in seen.quarantined)
        yield Finding(
            "quarantine", False, f"rows that cannot be read ended {where}",
            "find out what wrote them (audit, kind quarantine); ask for those tasks again; this fades after a week",
        )  # fmt: skip
    else:
        yield well("quarantine", "every row was readable this week")


def _vacuum(seen: Seen) -> Iterator[Finding]:
    old = seen.oldest_transaction
    if old and old["age_s"] > TRANSACTION_MOST_S:
        who = f"process {old['pid']} ({old['name'] or 'unnamed'}, {old['state']})"
        say = f"{who} has had one open for {old['age_s']:.0f} s; behind it no history is shown and nothing is vacuumed"
        fix = f"end it: select pg_terminate_backend({old['pid']})"
        yield Finding("transactions", False, say, fix)
    else:
        yield well("transactions", f"the oldest is {old['age_s']:.0f} s old" if old else "none is open")
    if not seen.is_autovacuum_on:
        yield Finding("vacuum", False, "autovacuum is off", "turn it on; every update leaves a dead row")
    elif seen.xid_age > XID_AGE_MOST:
        yield Finding(
            "vacuum", False, f"{seen.xid_age:,} transactions since the last freeze", "vacuum freeze; see what blocks it"
        )
    elif seen.bloat:
        which = ", ".join(f"{r['name']} ({r['dead']:,} dead beside {r['live']:,})" for r in seen.bloat)
        yield Finding(
            "vacuum", False, f"dead rows in {which}", f"vacuum {seen.bloat[0]['name']}; look for long transactions"
        )
    else:
        yield well("vacuum", "dead rows are few")


def of_approvals(people: Sequence[Mapping[str, Any]], days: int) -> Finding:
    """`people` are `core.store.fatigue.by_person`."""
    found = fatigue.waved_through(people)
    if found:
        say = f"in the last {days} days {', '.join(found)} said yes to everything, each time in under 2 seconds"
        fix = "see ./sayso approvals report: fewer asks, or a second approver, would make a yes mean something"
        return Finding("approvals", False, say, fix)
    return well("approvals", "nobody says yes to everything without reading it")


def of_redis(info: dict[str, object]) -> Finding:
    """`info` is what INFO server answers."""
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version") or info.get("redis_version") or "?")
    compatible = str(info.get("redis_version") or version)
    if tuple(int(p) for p in compatible.split(".")[:2] if p.isdigit()) < REDIS_LEAST:
        return Finding("redis", False, f"{name} {version} is too old", "use Valkey, or Redis 6.2 or newer")
    return well("redis", f"{name} {version}")


def of_disk(free: int, total: int, home: str) -> Finding:
    say = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free under {home}"
    if free < FREE_LEAST_BYTES:
        return Finding("disk", False, say, "make room: with none the database stops")
    return well("disk", say)


def of_models(settings: Settings, organisation: Organisation) -> Finding:
    """Whether each route that sayso.yaml names has a provider with a key."""
    routes = organisation.models.routes
    dry = [
        purpose
        for purpose, given in routes.items()
        if not any(_has_key(settings, organisation, r.partition("/")[0]) for r in given)
    ]
    if dry:
        say = f"no provider of these routes has a key: {', '.join(dry)}"
        return Finding("models", False, say, "set OPENAI_API_KEY or ANTHROPIC_API_KEY, or change models.routes")
    if not settings.has_model(organisation.models):
        return well(
            "models", "none, which is fine: commands only. Set OPENAI_API_KEY or ANTHROPIC_API_KEY for plain words"
        )
    return well("models", f"routes for {', '.join(routes)}" if routes else "the usual routes")


def _has_key(settings: Settings, organisation: Organisation, provider: str) -> bool:
    spec = organisation.models.providers.get(provider)
    if spec is not None and spec.key is not None:
        return spec.key == "none" or bool(settings.secret(spec.key))
    if spec is not None and spec.base_url is not None:
        return True
    kind = spec.kind if spec is not None else provider
    return bool(
        (settings.openai_api_key or settings.openai_base_url) if kind == "openai" else settings.anthropic_api_key
    )


def of_alerts(settings: Settings, organisation: Organisation) -> Iterator[Finding]:
    """A rule whose channel is off would speak into the void."""
    on = {"slack": settings.slack_on, "telegram": settings.telegram_on, "sms": settings.twilio_on, "web": True}
    places = {alert.to.partition("/")[0] for alert in organisation.alerts}
    off = sorted(channel for channel in places if not on.get(channel, False))
    if off:
        yield Finding(
            "alerts", False, f"rules post to {', '.join(off)}, which is off", "turn the channel on, or change `to`"
        )
    elif organisation.alerts:
        yield well("alerts", f"{len(organisation.alerts)} rules")


def of_approvers(settings: Settings, organisation: Organisation) -> Iterator[Finding]:
    """Who is only known to Slack decides nothing while it is off."""
    groups = organisation.approvers.items()
    lost = [name for name, one in groups if one.slack_usergroups and not (one.people or one.roles)]
    if lost and not settings.slack_on:
        fix = "set SLACK_BOT_TOKEN, or name people or roles beside the user groups"
        yield Finding("approvers", False, f"only Slack knows who is in {', '.join(lost)}, and it is off", fix)


def of_slack(seen: Checked) -> Iterator[Finding]:
    """What the token may do against what the app's manifest asks for, and our cards against what Slack takes."""
    if seen.trouble:
        yield Finding("slack token", False, f"Slack could not be asked: {seen.trouble}", "set SLACK_BOT_TOKEN anew")
        return
    lacks = manifest.lacking(seen.scopes)
    if lacks:
        say = "; ".join(f"{scope.name} ({scope.why})" for scope in lacks)
        deaf = [event.name for event in manifest.unheard(seen.scopes)]
        more = f"; so these events can't come: {', '.join(deaf)}" if deaf else ""
        fix = "paste ./sayso manifest slack into the app's manifest page and install it again"
        yield Finding("slack scopes", False, f"{seen.who} lacks {say}{more}", fix)
    else:
        yield well("slack scopes", f"{seen.who}: all {len(manifest.SCOPES)} that the manifest asks for")
    if seen.refused:
        fix = "cards are then sent in a simpler form; report this, with the version of Sayso"
        yield Finding("slack cards", False, f"Slack does not take {'; '.join(seen.refused)}", fix)
    else:
        yield well("slack cards", "Slack takes each kind" if seen.is_validated else "this Slack validates none")


def of_channels(settings: Settings) -> Iterator[Finding]:
    slack = f"on, {settings.slack_how} mode" if settings.slack_on else "off; set SLACK_BOT_TOKEN to turn it on"
    telegram = f"on, {settings.telegram_mode}" if settings.telegram_on else "off; set TELEGRAM_BOT_TOKEN to turn it on"
    yield well("slack", slack)
    yield well("telegram", telegram)
    sender = settings.twilio_messaging_service_sid or settings.twilio_from
    sms = f"on, from {sender}; Twilio calls {settings.base_url()}/twilio/sms, signed with {settings.twilio_signature}"
    yield well("sms", sms if settings.twilio_on else "off; set TWILIO_AUTH_TOKEN to turn it on")
