"""A person's hand on a task, and on the tasks that it started: these are paused, resumed and made urgent with it.

Each function is part of its caller's transaction. Children are locked before their parents, which is how their own ends do
it: whoever holds a child may wait for its parent, never the other way round. A stop reaches the children later, in commits
of their own (`children.forsaken`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from core.db import Connection
from core.store import children, tasks

# The tasks below one that may still do something, however deep. A question about a card has a task of its own, which is no part
# of the work.
_BELOW: Final = (
    "with recursive family (id, status) as ("
    " select id, status from tasks where parent_id = $1 and kind <> 'aside'"
    "   and status not in ('succeeded', 'abandoned', 'cancelled')"
    " union all select t.id, t.status from family f join tasks t on t.parent_id = f.id"
    "   and t.kind <> 'aside' and t.status not in ('succeeded', 'abandoned', 'cancelled'))"
)


@dataclass(frozen=True, slots=True)
class Hand:
    """What the task is now, and which tasks below it the hand moved as well."""

    status: str
    also: tuple[int, ...] = ()


async def hold(tx: Connection, task: int) -> int | None:
    """Hold the task and what is below it until the transaction ends; answers the task's version."""
    rows = await tx.fetch(
        f"{_BELOW} select t.id, t.version from tasks t where t.id = $1 or t.id in (select id from family)"
        " order by t.id desc for update of t",
        task,
    )
    return next((r["version"] for r in rows if r["id"] == task), None)


async def pause(tx: Connection, task: int, actor: str) -> Hand:
    await hold(tx, task)
    status = await tasks.pause(tx, task, actor)
    if status != "paused":
        return Hand(status)
    return Hand(status, tuple([c for c in await _below(tx, task) if await tasks.pause(tx, c, actor) == "paused"]))


async def resume(tx: Connection, task: int, actor: str) -> Hand:
    """Also those that were paused by themselves before: whoever lets the task go on lets all of it go on."""
    await hold(tx, task)
    if await tasks.status_of(tx, task) != "paused":
        return Hand(await tasks.resume(tx, task, actor))
    resumed = [c for c in await _below(tx, task, "paused") if await tasks.resume(tx, c, actor) != "paused"]
    return Hand(await tasks.resume(tx, task, actor), tuple(resumed))


async def retry(tx: Connection, task: int, actor: str) -> Hand:
    """With it the failed children whose end failed it: else it would hear of the same failure again. A task that is not
    retried, because something in it was given up, leaves them as they are."""
    await hold(tx, task)
    failed = await _failed_for(tx, task) if await tasks.status_of(tx, task) == "failed" else []
    status, retried = await tasks.retry(tx, task, actor), []
    for child in failed if status != "failed" else []:
        below = await retry(tx, child, actor)
        retried += [child, *below.also] if below.status != "failed" else []
    return Hand(status, tuple(retried))


async def set_priority(tx: Connection, task: int, priority: int, actor: str) -> str | None:
    """0 urgent … 3 low; answers the task's status, None when it was put away."""
    await hold(tx, task)
    for child in await _below(tx, task):
        await children.set_priority(tx, child, priority, actor)
    return await children.set_priority(tx, task, priority, actor)


async def _below(tx: Connection, task: int, status: str | None = None) -> list[int]:
    rows = await tx.fetch(
        f"{_BELOW} select id from family where status not in ('failed', 'cancelling') and coalesce(status = $2, true)"
        " order by id",
        task,
        status,
    )
    return [r["id"] for r in rows]


async def _failed_for(tx: Connection, task: int) -> list[int]:
    """The failed children that a failed step of the task had waited for."""
    rows = await tx.fetch(
        "select c.id from tasks c where c.parent_id = $1 and c.status = 'failed' and exists (select from steps w"
        " where w.task_id = $1 and w.status = 'failed' and not w.handled and w.args ->> 'for' = 'child'"
        "   and (w.waits_key = 'child:' || c.id or exists (select from steps s"
        "     where s.task_id = $1 and s.n = any (w.needs) and s.result ->> 'task' = c.id::text))) order by c.id",
        task,
    )
    return [r["id"] for r in rows]
