"""The worker's side of the engine: lease, claim, begin, complete and what else may become of a step.

Each function is one commit. Those that write carry the fence; a False, 'stale' or None answer means that the fence was
lost and nothing was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core.db import Connection, Db
from core.models import Claimed, PlannedStep


def planned(steps: Iterable[PlannedStep]) -> list[dict[str, Any]]:
    """Steps as the SQL functions take them."""
    return [step.model_dump(mode="json") for step in steps]


def _claimed(row: Mapping[str, Any]) -> Claimed:
    return Claimed(
        task_id=row["task_id"],
        n=row["n"],
        kind=row["kind"],
        skill=row["skill"],
        args=row["args"],
        origins=row["origins"],
        effect_class=row["effect_class"],
        needs=tuple(row["needs"]),
        fence=row["fence"],
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        gen=row["gen"],
        timeout_s=row["timeout_s"],
        approval_id=str(row["approval_id"]) if row["approval_id"] else None,
        effect_state=row["effect_state"],
        task_goal=row["goal"],
        plan_version=row["plan_version"],
        requester_id=row["requester_id"],
        conversation_id=row["conversation_id"],
        lane=row["lane"],
        row=row,
    )


# ---------------------------------------------------------------- lease


class LeaseLost(Exception):
    """This worker's lease has ended; it may write nothing more."""


async def enrol(db: Db, host: str, pid: int, release: str, ttl_s: float) -> int:
    """A new worker row with a lease; answers its id."""
    made: int = await db.fetchval(
        "insert into workers (host, pid, release, lease_until)"
        " values ($1, $2, $3, now() + make_interval(secs => $4)) returning id",
        host, pid, release, ttl_s,
    )  # fmt: skip
    return made


async def leave(db: Db, worker: int) -> None:
    """Take the worker's row away; what still runs under it is an orphan at once."""
    await db.execute("delete from workers where id = $1", worker)


@dataclass(frozen=True, slots=True)
class Running:
    task_id: int
    n: int
    fence: int
    cancel_asked: bool


async def heartbeat(db: Db, worker: int, ttl_s: float) -> list[Running]:
    """Renew the lease; answer what runs here according to the database. Raises `LeaseLost`."""
    try:
        rows = await db.fetch("select * from heartbeat_v1($1, $2)", worker, ttl_s)
    except Exception as error:
        if getattr(error, "sqlstate", "") == "SY002":
            raise LeaseLost(str(error)) from error
        raise
    return [Running(r["task_id"], r["n"], r["fence"], r["cancel_asked"]) for r in rows]


async def forget_dead_workers(db: Db) -> int:
    """Delete workers whose lease ended long ago and under which nothing runs."""
    done: str = await db.execute(
        "delete from workers w where w.lease_until < now() - interval '1 hour'"
        " and not exists (select from steps s where s.worker_id = w.id and s.status = 'running')"
    )
    return int(done.split()[-1])


async def hold_sign(connection: Connection, lock: int, worker: int) -> None:
    """Hold the session lock that tells others, by its absence, that this worker died."""
    await connection.execute("select pg_advisory_lock($1, $2)", lock, worker)


async def silent_workers(db: Db, lock: int) -> list[int]:
    """Workers with a running step whose session lock nobody holds: a hint that they died."""
    rows = await db.fetch(
        "select w.id from workers w where exists (select from steps s where s.worker_id = w.id and s.status = 'running')"
        " and not exists (select from pg_locks l where l.locktype = 'advisory' and l.granted and l.classid = $1::bigint::oid"
        " and l.objid = (w.id % 2147483648)::bigint::oid"
        " and l.database = (select oid from pg_database where datname = current_database()))",
        lock,
    )
    return [r["id"] for r in rows]


# ---------------------------------------------------------------- claim, begin, complete


async def claim(db: Db, worker: int, lane: str, limit: int) -> list[Claimed]:
    """Take up to `limit` ready steps of the lane, most urgent first."""
    return await claim_lanes(db, worker, [lane], [limit])


async def claim_lanes(db: Db, worker: int, lanes: Sequence[str], rooms: Sequence[int]) -> list[Claimed]:
    """Take ready steps, at most `rooms[i]` of the i-th lane and `rooms[0]` in all, the first lane before the others."""
    rows = await db.fetch("select * from claim_v1($1, $2, $3)", worker, lanes, rooms)
    return [_claimed(r) for r in rows]


async def looked_at(db: Db, task: int) -> list[Claimed]:
    """All steps of a task as a worker would be told of them now, without claiming any."""
    rows = await db.fetch(
        "select c.* from (select array_agg(task_id) as tasks, array_agg(n) as ns from steps where task_id = $1) k,"
        " claimed_rows(k.tasks, k.ns) c order by c.n",
        task,
    )
    return [_claimed(r) for r in rows]


async def behind(db: Db, task: int, n: int) -> list[Claimed]:
    """The open steps that need step `n`, as a worker would be told of them now."""
    rows = await db.fetch(
        "select c.* from (select array_agg(s.task_id) as tasks, array_agg(s.n) as ns from steps s"
        "   where s.task_id = $1 and $2 = any (s.needs) and s.outcome is null) k,"
        " claimed_rows(k.tasks, k.ns) c order by c.n",
        task, n,
    )  # fmt: skip
    return [_claimed(r) for r in rows]


async def adopt(db: Db, worker: int, task: int, n: int, fence: int) -> Claimed | None:
    """A step that the database says is ours and we do not know: its claim's reply was lost."""
    row = await db.fetchrow("select * from adopt_v1($1, $2, $3, $4)", worker, task, n, fence)
    return _claimed(row) if row else None


async def begin(
    db: Db,
    worker: int,
    step: Claimed,
    *,
    key: str,
    digest: str,
    action: Mapping[str, Any],
    approval: str | None,
    grant: str | None,
) -> str:
    """Consume approval or grant and write the intent. 'go', or why the call may not be made (see begin_v1)."""
    answer: str = await db.fetchval(
        "select begin_v1($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        worker, step.task_id, step.n, step.fence, key, digest, dict(action),
        UUID(approval) if approval else None, UUID(grant) if grant else None,
    )  # fmt: skip
    return answer


@dataclass(frozen=True, slots=True)
class Completed:
    ok: bool
    freed: int
    next: Claimed | None


async def complete(
    db: Db,
    worker: int,
    step: Claimed,
    result: Mapping[str, Any],
    added: Sequence[PlannedStep] = (),
    *,
    claim_next: bool = True,
) -> Completed:
    """Outcome, planned steps, dependents and the next claim in one commit."""
    row = await db.fetchrow(
        "select ok, freed, next from complete_v1($1, $2, $3, $4, $5, $6, $7)",
        worker, step.task_id, step.n, step.fence, dict(result), planned(added) if added else None, claim_next,
    )  # fmt: skip
    return completed(row)


def completed(row: Mapping[str, Any]) -> Completed:
    """What complete_v1 and its like answer."""
    following = row["next"]
    has_next = following is not None and following["task_id"] is not None
    return Completed(row["ok"], row["freed"], _claimed(following) if has_next else None)


@dataclass(frozen=True, slots=True)
class ManyCompleted:
    """`left_out`: tasks that somebody else has locked. `freed`: something is ready that was not claimed here."""

    left_out: frozenset[int]
    freed: bool
    claimed: list[Claimed]


async def complete_many(
    db: Db,
    worker: int,
    done: Sequence[tuple[Claimed, dict[str, Any]]],
    lanes: Sequence[str],
    rooms: Sequence[int],
    *,
    more: bool,
) -> ManyCompleted:
    """Pure steps that succeeded, with their results: one commit, which claims what follows them and, when `more`, the lanes."""
    row = await db.fetchrow(
        "select left_out, freed, claimed from complete_many_v1($1, $2, $3, $4, $5, $6, $7, $8)",
        worker, [s.task_id for s, _ in done], [s.n for s, _ in done], [s.fence for s, _ in done], [r for _, r in done],
        lanes, rooms, more,
    )  # fmt: skip
    return ManyCompleted(frozenset(row["left_out"]), row["freed"], [_claimed(r) for r in row["claimed"] or ()])


async def fail(
    db: Db,
    worker: int,
    step: Claimed,
    error: str,
    outcome: str,
    retry_s: float | None,
    added: Sequence[PlannedStep] = (),
) -> bool:
    """Known not to have happened: again after `retry_s` seconds while attempts last, or failed."""
    done: bool = await db.fetchval(
        "select fail_v1($1, $2, $3, $4, $5, $6, $7, $8)",
        worker, step.task_id, step.n, step.fence, error, outcome, retry_s, planned(added) if added else None,
    )  # fmt: skip
    return done


async def release(db: Db, worker: int, step: Claimed, why: str, ready_s: float = 0.0) -> bool:
    """Give the step back untouched; its attempt is not charged."""
    done: bool = await db.fetchval(
        "select release_v1($1, $2, $3, $4, $5, $6)", worker, step.task_id, step.n, step.fence, why, ready_s
    )
    return done


async def park(
    db: Db, worker: int, step: Claimed, ask: Mapping[str, Any], places: Sequence[int], why: str
) -> str | None:
    """The step waits for people: approval and cards in the same commit. The approval's id, None when stale."""
    made = await db.fetchval(
        "select park_v1($1, $2, $3, $4, $5, $6, $7)",
        worker, step.task_id, step.n, step.fence, dict(ask), list(places), why,
    )  # fmt: skip
    return str(made) if made else None


async def lose(db: Db, worker: int, step: Claimed, error: str) -> str:
    """The call may or may not have reached the world: ready, unknown, failed, or 'stale'."""
    answer: str = await db.fetchval(
        "select lose_v1($1, $2, $3, $4, $5)", worker, step.task_id, step.n, step.fence, error
    )
    return answer


async def file_evidence(db: Db, step: Claimed, evidence: Mapping[str, Any]) -> None:
    """Keep what a worker without a lease found out; it changes no state. The cards of the task show it."""
    await db.execute("select file_evidence_v1($1, $2, $3, $4)", step.task_id, step.n, step.fence, dict(evidence))


# ---------------------------------------------------------------- sweep


async def orphans(db: Db, hinted: Sequence[int]) -> list[tuple[int, int, int]]:
    rows = await db.fetch("select * from orphans_v1($1)", list(hinted))
    return [(r["task_id"], r["n"], r["fence"]) for r in rows]


async def recover(db: Db, task: int, n: int, fence: int, hinted: Sequence[int]) -> str:
    answer: str = await db.fetchval("select recover_v1($1, $2, $3, $4)", task, n, fence, list(hinted))
    return answer


async def due_timers(db: Db) -> list[tuple[int, int]]:
    rows = await db.fetch(
        "select task_id, n from steps where status = 'waiting' and ready_at <= sayso_now() order by ready_at limit 500"
    )
    return [(r["task_id"], r["n"]) for r in rows]


async def wake(db: Db, task: int, n: int) -> bool:
    done: bool = await db.fetchval("select wake_v1($1, $2)", task, n)
    return done


@dataclass(frozen=True, slots=True)
class Probing:
    task_id: int
    n: int
    gen: int
    skill: str
    key: str
    action: dict[str, Any]


async def due_probes(db: Db, hold_s: float, limit: int) -> list[Probing]:
    rows = await db.fetch("select * from probes_v1($1, $2)", hold_s, limit)
    return [Probing(r["task_id"], r["n"], r["gen"], r["skill"], r["key"], r["action"]) for r in rows]


async def probed(db: Db, probe: Probing, happened: bool | None, evidence: Mapping[str, Any]) -> str:
    """Tell what the probe found; None asks a person. Answers the task's status or 'stale'."""
    answer: str = await db.fetchval(
        "select probed_v1($1, $2, $3, $4, $5)", probe.task_id, probe.n, probe.gen, happened, dict(evidence)
    )
    return answer


# ---------------------------------------------------------------- what a step reads


async def results(db: Db, task: int, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Results of succeeded steps by number."""
    rows = await db.fetch(
        "select n, result from steps where task_id = $1 and n = any ($2) and status = 'succeeded'", task, list(numbers)
    )
    return {r["n"]: r["result"] or {} for r in rows}


async def transcript(db: Db, task: int, before: int) -> list[dict[str, Any]]:
    """All steps of a task numbered below `before`, for the turn that reads them."""
    rows = await db.fetch(
        "select n, kind, skill, title, args, status, outcome, result, error, needs from steps"
        " where task_id = $1 and n < $2 order by n",
        task, before,
    )  # fmt: skip
    return [dict(r) for r in rows]


async def read_before(db: Db, task: int, n: int) -> list[dict[str, Any]]:
    """The arguments of the steps below `n` that only read."""
    rows = await db.fetch(
        "select args from steps where task_id = $1 and n < $2 and kind = 'act' and effect_class = 'pure'", task, n
    )
    return [r["args"] for r in rows]


async def last_number(db: Db, task: int) -> int:
    number: int = await db.fetchval("select coalesce(max(n), 0) from steps where task_id = $1", task)
    return number


async def sources(db: Db, task: int, numbers: Sequence[int]) -> dict[int, str]:
    """Which skill each of these steps called."""
    rows = await db.fetch("select n, skill from steps where task_id = $1 and n = any ($2)", task, list(numbers))
    return {r["n"]: r["skill"] for r in rows}


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A step's arguments, with references still in them, where they come from, and the time by which rules judge."""

    args: dict[str, Any]
    origins: dict[str, Any]
    now: datetime


async def planned_call(db: Db, task: int, n: int) -> PlannedCall | None:
    row = await db.fetchrow(
        "select args, origins, sayso_now() as now from steps where task_id = $1 and n = $2", task, n
    )
    return PlannedCall(row["args"], row["origins"], row["now"]) if row else None


async def effect_of(db: Db, task: int, n: int, requester: int, sees_all: bool) -> dict[str, Any] | None:
    """The newest effect of a step with its step's skill and result: what an undo needs. None for others' tasks."""
    row = await db.fetchrow(
        "select e.key, e.state, e.action, e.gen, s.skill, s.result, s.status from effects e"
        " join steps s on s.task_id = e.task_id and s.n = e.n join tasks t on t.id = e.task_id"
        " where e.task_id = $1 and e.n = $2 and (t.requester_id = $3 or $4) order by e.gen desc limit 1",
        task, n, requester, sees_all,
    )  # fmt: skip
    return dict(row) if row else None
