"""Events to tasks: sent once, kept until a turn or a waiting step has read them, and what they wake.

Each function is one commit. An event for one task is sent under that task's lock; a global one wakes nobody in its own
commit: `arrived` says afterwards who waits for it, and the sweeper asks the same for senders that died.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from core import config
from core.db import Db
from core.models import Claimed, EffectClass, PlannedStep
from core.store.steps import Completed, completed, planned
from core.waits import Child, Event

Stream = Literal["task_input", "task_output", "signals", "errors", "external", "history"]
Priority = Literal["interrupt", "wake", "normal", "low"]
Origin = Literal["requester", "person", "trusted", "untrusted"]


def reading_turn() -> dict[str, Any]:
    """A turn that reads what has come; the database gives it its number and its needs."""
    turn = PlannedStep(
        n=1,
        kind="think",
        after="settled",
        title="Read the results",
        effect_class=EffectClass.PURE,
        timeout_s=config.TURN_TIMEOUT_S,
    )
    return planned([turn])[0]


# ---------------------------------------------------------------- sending


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of an event. `kind`: sent, duplicate, not_found, not_allowed, over (the task has ended), full, or deaf
    (nobody would read it). `turn`: the turn that reads it is `running`, `coming`, was `added`, or there is `none`."""

    kind: Literal["sent", "duplicate", "not_found", "not_allowed", "over", "full", "deaf"]
    status: str = ""
    interrupted: tuple[int, ...] = ()
    woken: tuple[int, ...] = ()
    turn: str = "none"


async def send(
    db: Db,
    task: int,
    stream: Stream,
    body: Mapping[str, Any],
    *,
    priority: Priority,
    origin: Origin,
    actor: str,
    name: str = "",
    sender: int | None = None,
    dedup: str | None = None,
    scope: str | None = None,
    needs_reader: bool = False,
) -> Sent:
    """One event to one task; the same `dedup` again changes nothing. `needs_reader` sees to it that a turn reads it."""
    answer = await db.fetchval(
        "select signal_task_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        task, stream, scope or f"task/{task}", priority, name, dict(body), origin, sender, dedup,
        reading_turn() if needs_reader else None, config.EVENTS_UNREAD_MOST, actor,
    )  # fmt: skip
    return Sent(
        answer["kind"],
        answer.get("status", ""),
        tuple(answer.get("interrupted", ())),
        tuple(answer.get("woken", ())),
        answer.get("turn", "none"),
    )


async def send_to_all(
    db: Db, name: str, body: Mapping[str, Any], *, origin: Origin, sender: int | None, dedup: str | None
) -> bool:
    """An event for whoever waits for its name; whether it is new."""
    is_new: bool = await db.fetchval(
        "select signal_all_v1($1, $2, $3, $4, $5)", name, dict(body), origin, sender, dedup
    )
    return is_new


async def note_history(db: Db, task: int, what: str, by: int) -> None:
    """What a person did to a task with a mind, for its next turn to know; it has no turn of its own."""
    await db.execute(
        "insert into signals (stream, scope, task_id, priority, name, body, origin, sender_id)"
        " select 'history', 'task/' || t.id, t.id, 'low', $2::text, jsonb_build_object('what', $2::text), 'trusted', $3"
        " from tasks t where t.id = $1 and t.kind = 'plan' and t.finished_at is null",
        task, what, by,
    )  # fmt: skip


async def arrived(db: Db) -> list[tuple[int, int]]:
    """Waiting steps for which something has come."""
    return [(r["task_id"], r["n"]) for r in await db.fetch("select * from arrived_v1()")]


async def wake_early(db: Db, task: int, n: int) -> bool:
    done: bool = await db.fetchval("select wake_early_v1($1, $2)", task, n)
    return done


# ---------------------------------------------------------------- a waiting step


@dataclass(frozen=True, slots=True)
class Waited:
    """What a waiting step looks at, read at one moment."""

    now: datetime
    until: datetime | None
    woken: bool


async def waited(db: Db, task: int, n: int) -> Waited:
    row = await db.fetchrow(
        "select sayso_now() as now, waits_until as until, woken from steps where task_id = $1 and n = $2", task, n
    )
    return Waited(row["now"], row["until"], row["woken"])


async def events_named(db: Db, task: int, name: str) -> list[Event]:
    """Events of this name that no waiting step of the task has read, oldest first."""
    rows = await db.fetch(
        "select g.id, g.name, g.body, g.origin, coalesce(nullif(p.name, ''), p.key, '') as by from events_named($1, $2) g"
        " left join principals p on p.id = g.sender_id order by g.id limit $3",
        task, name, config.EVENTS_UNREAD_MOST,
    )  # fmt: skip
    return [Event(r["id"], r["name"], r["body"], r["by"], r["origin"]) for r in rows]


async def child(db: Db, parent: int, task: int) -> Child | None:
    """A child of this parent; None when it is none."""
    row = await db.fetchrow(
        "select id, status, result, error from tasks where id = $1 and parent_id = $2", task, parent
    )
    return Child(str(row["id"]), row["status"], row["result"], row["error"]) if row else None


async def awaited(db: Db, waiting: int, task: int) -> Child | None:
    """A child of this task, or of the one that it was forked from: the fork reads what that had come to. So on, as long as its
    requester, who could see that, made each fork."""
    row = await db.fetchrow(
        "with recursive line as (select id, forked_from, requester_id from tasks where id = $1 union all"
        "   select t.id, t.forked_from, t.requester_id from line l join tasks t on t.id = l.forked_from"
        "    where l.requester_id = (select requester_id from tasks where id = $1))"
        " select id, status, result, error from tasks where id = $2 and parent_id in (select id from line)",
        waiting, task,
    )  # fmt: skip
    return Child(str(row["id"]), row["status"], row["result"], row["error"]) if row else None


async def outcomes(db: Db, task: int, numbers: Sequence[int]) -> tuple[dict[int, Any], bool]:
    """The results of those of the steps that have succeeded, and whether any has still to end."""
    rows = await db.fetch(
        "select n, status, result, outcome from steps where task_id = $1 and n = any ($2)", task, list(numbers)
    )
    results = {r["n"]: r["result"] or {} for r in rows if r["status"] == "succeeded"}
    return results, any(r["outcome"] is None for r in rows)


async def wait(
    db: Db,
    worker: int,
    step: Claimed,
    reason: str,
    *,
    seconds: float | None,
    within_s: float,
    key: str | None = None,
    read: Sequence[int] = (),
) -> str:
    """The step waits. Answers 'waiting', 'failed' when it has waited too long, 'cancelled', or 'stale'."""
    answer: str = await db.fetchval(
        "select wait_v1($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        worker, step.task_id, step.n, step.fence, reason, seconds, key, within_s, list(read),
    )  # fmt: skip
    return answer


# ---------------------------------------------------------------- a turn


@dataclass(frozen=True, slots=True)
class Said:
    """An event as a turn sees it. `is_new` until a turn has read it."""

    id: int
    stream: str
    name: str
    body: dict[str, Any]
    origin: str
    by: str
    is_new: bool


async def for_turn(db: Db, task: int, then: int | None = None) -> list[Said]:
    """The newest events of a task, read and unread, oldest first; as turn `then` saw them, where one is named."""
    rows = await db.fetch(
        "select * from (select g.id, g.stream, g.name, g.body, g.origin, coalesce(nullif(p.name, ''), p.key, '') as by,"
        " not exists (select from signal_reads r where r.task_id = $1 and r.signal_id = g.id and r.by_turn"
        "   and ($3::integer is null or r.n < $3)) as is_new"
        " from signals g left join principals p on p.id = g.sender_id where g.task_id = $1 and ($3::integer is null or exists ("
        "   select from signal_reads r where r.task_id = $1 and r.signal_id = g.id and r.by_turn and r.n <= $3))"
        " order by g.id desc limit $2) m order by id",
        task, config.EVENTS_SHOWN, then,
    )  # fmt: skip
    return [Said(**dict(r)) for r in rows]


async def complete_reading(
    db: Db, worker: int, step: Claimed, result: Mapping[str, Any], added: Sequence[PlannedStep], read: Sequence[int]
) -> Completed:
    """A turn's end: its outcome, its plan, and what it has read, in one commit."""
    row = await db.fetchrow(
        "select ok, freed, next from complete_reading_v1($1, $2, $3, $4, $5, $6, true, $7, $8)",
        worker, step.task_id, step.n, step.fence, dict(result), planned(added) if added else None, list(read),
        reading_turn(),
    )  # fmt: skip
    return completed(row)


# ---------------------------------------------------------------- upkeep


async def forget(db: Db) -> int:
    """Delete global events that nobody waited for in time."""
    gone: int = await db.fetchval("select forget_signals_v1($1)", float(config.EVENTS_KEPT_S))
    return gone
