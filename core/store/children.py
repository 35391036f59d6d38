"""Child tasks and deadlines: what a task starts, and what ends when it does or when its time is over.

Each function is one commit; those a worker calls carry the step's fence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core import config
from core.db import Db
from core.models import Claimed, PlannedStep
from core.store.steps import planned


async def spawn(
    db: Db,
    worker: int,
    step: Claimed,
    *,
    goal: str,
    kind: str,
    steps: Sequence[PlannedStep],
    origin: str,
    words: str = "",
) -> dict[str, Any]:
    """A child of the step's task; the same step starts it once. {kind: spawned | stale | refused, task, why}.

    `words` is the goal in full, `origin` says whether an untrusted source had a part in it.
    """
    answer: dict[str, Any] = await db.fetchval(
        "select spawn_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        worker, step.task_id, step.n, step.fence, goal[: config.GOAL_CHARS], kind, planned(steps), origin, words,
        config.CHILD_DEPTH_MOST, config.CHILDREN_MOST,
    )  # fmt: skip
    return answer


async def of(db: Db, task: int) -> list[dict[str, Any]]:
    """The children of a task, oldest first. A question about one of its cards is none."""
    rows = await db.fetch(
        "select id, goal, status, result, error from tasks where parent_id = $1 and kind <> 'aside' order by id limit $2",
        task, config.CHILDREN_MOST,
    )  # fmt: skip
    return [dict(r) | {"id": str(r["id"])} for r in rows]


async def forsaken(db: Db) -> list[int]:
    """Open tasks whose parent was stopped or given up."""
    return [r[0] for r in await db.fetch("select * from forsaken_v1()")]


async def clocks(db: Db) -> list[tuple[int, int]]:
    """Steps whose time begins or is over."""
    return [(r["task_id"], r["n"]) for r in await db.fetch("select * from clocks_v1()")]


async def heed_clock(db: Db, task: int, n: int) -> bool:
    """Begin a step's time, or end the step when it is over; whether it ended."""
    done: bool = await db.fetchval("select heed_clock_v1($1, $2)", task, n)
    return done


async def overdue(db: Db) -> list[int]:
    """Tasks whose deadline has passed and which have something left to begin."""
    return [r[0] for r in await db.fetch("select * from overdue_v1()")]


async def end_overdue(db: Db, task: int) -> bool:
    done: bool = await db.fetchval("select end_overdue_v1($1)", task)
    return done


async def set_deadline(db: Db, task: int, within_s: float) -> None:
    """The task ends so many seconds from now at the latest, and no later than it had to; what runs then is let finish."""
    await db.execute(
        "update tasks set ends_by = least(ends_by, sayso_now() + make_interval(secs => $2)) where id = $1",
        task,
        within_s,
    )


async def set_priority(db: Db, task: int, priority: int, actor: str) -> str | None:
    """0 urgent … 3 low; answers the task's status, None when it was put away."""
    status: str | None = await db.fetchval("select set_priority_v1($1, $2, $3)", task, priority, actor)
    return status


async def not_stopped(db: Db, task: int) -> list[dict[str, Any]]:
    """What a stop could not stop, in the task and in those that it started: steps that run or whose outcome is unknown:
    {task_id, n, title, status, begun}."""
    rows = await db.fetch(
        "with recursive family (id) as (select $1::bigint"
        " union all select t.id from family f join tasks t on t.parent_id = f.id and t.kind <> 'aside' and t.finished_at is null)"
        " select task_id, n, coalesce(nullif(title, ''), nullif(skill, ''), kind) as title, status,"
        " effect_state is not distinct from 'intent' as begun from steps"
        " where task_id in (select id from family) and status in ('running', 'unknown') order by task_id, n",
        task,
    )
    return [dict(r) for r in rows]
