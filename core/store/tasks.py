"""Tasks: made, shown, steered by a person's hand."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from core import config
from core.db import Db, transaction
from core.models import PlannedStep
from core.store import archive
from core.store.steps import planned


async def create(
    db: Db,
    *,
    requester: int,
    goal: str,
    kind: str,
    steps: Sequence[PlannedStep],
    actor: str,
    inbound: int | None = None,
    conversation: int | None = None,
    lane: str = "default",
    priority: int = 2,
    idempotency_key: str | None = None,
    parent: int | None = None,
) -> int | None:
    """A task with its first steps and its run card. None when the requester has a task with this idempotency key."""
    made: int | None = await db.fetchval(
        "select create_task_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        inbound, conversation, requester, goal[: config.GOAL_CHARS], kind, planned(steps), lane, priority,
        idempotency_key, parent, actor,
    )  # fmt: skip
    return made


def parse_id(text: str) -> int | None:
    """A task id as URLs carry it; None when it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


async def by_idempotency_key(db: Db, requester: int, key: str) -> int | None:
    found: int | None = await db.fetchval(
        "select id from tasks where requester_id = $1 and idempotency_key = $2", requester, key
    )
    return found


# Who may see a task: its requester, people of its conversation where their roles say so, and who may see everything.
VISIBLE = (
    "(t.requester_id = $1 or $2 or ($3 and exists (select from inbound i"
    " where i.conversation_id = t.conversation_id and i.principal_id = $1))"
    " or exists (select from approvals v where v.task_id = t.id and seat_of($1, v) is not null))"
)


async def shown(db: Db, task: int, viewer: int, *, sees_all: bool, sees_conversation: bool) -> dict[str, Any] | None:
    """The task as the API shows it, or None when there is none or the viewer may not see it: the same answer.

    One that was put away is shown from the archive, with `archived_at`.
    """
    row = await db.fetchrow(
        "select t.*, p.key as requester, p.name as requester_name from tasks t join principals p on p.id = t.requester_id"
        f" where t.id = $4 and {VISIBLE}",
        viewer, sees_all, sees_conversation, task,
    )  # fmt: skip
    if row is not None:
        return await _with_steps(db, row)
    old = await archive.shown(db, task, viewer, sees_all=sees_all, sees_conversation=sees_conversation)
    if old is None:
        return None
    put_away, steps = old
    return _summary(put_away) | {
        "archived_at": put_away["archived_at"].isoformat(),
        "steps": [_step(s) for s in steps],
    }


async def whole(db: Db, task: int) -> dict[str, Any] | None:
    """The task as the API shows it, for our own eyes (cards)."""
    row = await db.fetchrow(
        "select t.*, p.key as requester, p.name as requester_name from tasks t join principals p on p.id = t.requester_id"
        " where t.id = $1",
        task,
    )
    return await _with_steps(db, row) if row else None


async def visible_among(
    db: Db, asked: Collection[int], viewer: int, *, sees_all: bool, sees_conversation: bool
) -> set[int]:
    """Those of the tasks that the viewer may see."""
    rows = await db.fetch(
        f"select t.id from tasks t where t.id = any ($4) and {VISIBLE}",
        viewer,
        sees_all,
        sees_conversation,
        list(asked),
    )
    return {r["id"] for r in rows}


async def _with_steps(db: Db, row: Mapping[str, Any]) -> dict[str, Any]:
    steps = await db.fetch("select * from steps where task_id = $1 order by n", row["id"])
    return shape(row, steps)


def shape(row: Mapping[str, Any], steps: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A task and its steps as the API shows them."""
    return _summary(row) | {"steps": [_step(s) for s in steps]}


def _step(s: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "n": s["n"],
        "kind": s["kind"],
        "skill": s["skill"],
        "title": s["title"],
        "args": s["args"],
        "status": s["status"],
        "outcome": s["outcome"],
        "effect_class": s["effect_class"],
        "effect_state": s["effect_state"],
        "depends_on": list(s["needs"]),
        "approval_id": str(s["approval_id"]) if s["approval_id"] else None,
        "waits_for": s["waits_for"],
        "waits_until": _moment(s["waits_until"] if s["status"] == "waiting" else None),
        "ends_by": _moment(s["ends_by"]),
        "result": s["result"],
        "error": s["error"],
    }


def _summary(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "status": row["status"],
        "goal": row["goal"],
        "kind": row["kind"],
        "requester": row["requester"],
        "requester_name": row["requester_name"],
        "plan_version": row["plan_version"],
        "version": row["version"],
        "parent_id": str(row["parent_id"]) if row["parent_id"] else None,
        "forked_from": str(row["forked_from"]) if row["forked_from"] else None,
        "created_at": row["created_at"].isoformat(),
        "finished_at": _moment(row["finished_at"]),
        "ends_by": _moment(row["ends_by"]),
        "priority": config.PRIORITIES[row["priority"]],
        "result": row["result"],
        "error": row["error"],
    }


def _moment(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None


async def listed(
    db: Db,
    viewer: int,
    *,
    sees_all: bool,
    sees_conversation: bool,
    only_open: bool = False,
    conversation: int | None = None,
    limit: int = config.LIST_PAGE,
) -> list[dict[str, Any]]:
    """Newest first, without steps."""
    rows = await db.fetch(
        "select t.*, p.key as requester, p.name as requester_name from tasks t join principals p on p.id = t.requester_id"
        f" where {VISIBLE} and t.kind <> 'aside' and (not $4 or t.finished_at is null)"
        " and ($5::bigint is null or t.conversation_id = $5)"
        " order by t.id desc limit $6",
        viewer, sees_all, sees_conversation, only_open, conversation, limit,
    )  # fmt: skip
    return [_summary(r) for r in rows]


async def steps_of(db: Db, asked: Collection[int]) -> dict[int, list[dict[str, Any]]]:
    """The steps of several tasks, by task."""
    found: dict[int, list[dict[str, Any]]] = {task: [] for task in asked}
    for s in await db.fetch("select * from steps where task_id = any ($1) order by task_id, n", list(asked)):
        found[s["task_id"]].append(_step(s))
    return found


async def newest_in(db: Db, conversation: int, requester: int, *, only_open: bool) -> int | None:
    """The person's newest task in a conversation, else in another thread of the same place: what `stop` alone means."""
    found: int | None = await db.fetchval(
        "select t.id from tasks t join conversations h on h.id = $1 join conversations c on c.channel = h.channel"
        " and c.external_id = h.external_id and (c.id = t.conversation_id or exists (select from followers f"
        "   where f.task_id = t.id and f.conversation_id = c.id))"
        " where t.requester_id = $2 and (not $3 or t.finished_at is null) order by (c.id = h.id) desc, t.id desc limit 1",
        conversation, requester, only_open,
    )  # fmt: skip
    return found


async def conversation_of(db: Db, task: int) -> int | None:
    found: int | None = await db.fetchval("select conversation_id from tasks where id = $1", task)
    return found


async def follow(db: Db, task: int, conversation: int, person: int) -> bool:
    """Show the task in this conversation too; whether it was not shown there yet."""
    is_new: bool = await db.fetchval("select follow_task_v1($1, $2, $3)", task, conversation, person)
    return is_new


async def followed(db: Db) -> list[tuple[int, int, int]]:
    """(task, follower, conversation) of open tasks that are followed in a private conversation."""
    rows = await db.fetch(
        "select f.task_id, person_of(f.principal_id) as person, f.conversation_id from followers f"
        " join tasks t on t.id = f.task_id and t.finished_at is null"
        " join conversations c on c.id = f.conversation_id and c.is_private order by f.task_id, f.conversation_id"
    )
    return [(r["task_id"], r["person"], r["conversation_id"]) for r in rows]


async def unfollow(db: Db, task: int, conversation: int) -> None:
    """Show no more of the task there: neither what is on its way nor what comes."""
    async with transaction(db) as tx:
        await tx.execute("select from tasks where id = $1 for update", task)
        await tx.execute("delete from followers where task_id = $1 and conversation_id = $2", task, conversation)
        await tx.execute("delete from cards where task_id = $1 and conversation_id = $2", task, conversation)


async def owns_thread(db: Db, conversation: int) -> bool:
    found: bool = await db.fetchval("select exists (select from tasks where conversation_id = $1)", conversation)
    return found


async def ended_in_thread(db: Db, task: int, most: int) -> list[dict[str, Any]]:
    """The requester's own tasks that had ended in this task's Slack thread when it was begun: the newest, oldest first."""
    rows = await db.fetch(
        "select p.id, p.goal, p.status from tasks t join conversations h on h.id = t.conversation_id"
        " join tasks p on p.conversation_id = h.id and p.requester_id = t.requester_id and p.parent_id is null"
        " where t.id = $1 and h.channel = 'slack' and h.thread <> '' and p.id < t.id and p.finished_at <= t.created_at"
        " order by p.id desc limit $2",
        task, most,
    )  # fmt: skip
    return [dict(row) for row in reversed(rows)]


async def listening(db: Db, conversation: int, person: int, answers_to: str) -> int | None:
    """The open task that a message is meant for: the one whose card it answers, the one of its Slack thread, or one of the
    person's own here, in private also in another thread, that waits for a reply. Only tasks that would read it."""
    found: int | None = await db.fetchval(
        "select t.id from tasks t join conversations h on h.id = $1"
        " cross join lateral (select exists (select from steps s where s.task_id = t.id and s.outcome is null"
        "   and s.kind = 'wait' and s.args ->> 'event' = 'reply') as waits) w"
        " cross join lateral (select exists (select from cards c join conversations v on v.id = c.conversation_id"
        "   where c.task_id = t.id and c.provider_ref = $3 and v.channel = h.channel"
        "   and v.external_id = h.external_id) as answered) a"
        " where t.finished_at is null and t.status <> 'cancelling' and t.parent_id is null and (t.kind = 'plan' or w.waits)"
        " and (a.answered or t.conversation_id = h.id and h.channel = 'slack' and h.thread <> ''"
        "   or w.waits and t.requester_id = $2 and (t.conversation_id = h.id or exists (select from followers f"
        "     where f.task_id = t.id and f.conversation_id = h.id) or h.is_private and exists (select from conversations v"
        "       where v.id = t.conversation_id and v.channel = h.channel and v.external_id = h.external_id)))"
        " order by a.answered desc, t.conversation_id = h.id desc, t.id desc limit 1",
        conversation, person, answers_to or None,
    )  # fmt: skip
    return found


# A step whose skill knows how to undo it, and that no later step has undone.
CAN_UNDO = (
    "exists (select from skills k where k.name = s.skill and (k.manifest ->> 'has_undo')::boolean)"
    " and not exists (select from steps u where u.skill = s.skill || '.undo' and u.status = 'succeeded'"
    "   and u.args ->> 'task' = s.task_id::text and u.args ->> 'step' = s.n::text)"
)


async def newest_undoable(db: Db, conversation: int, requester: int) -> tuple[int, int] | None:
    """The person's newest done action that can be undone and was not, here, else in another thread of the same place."""
    row = await db.fetchrow(
        "select s.task_id, s.n from steps s join tasks t on t.id = s.task_id join conversations h on h.id = $1"
        " join conversations c on c.id = t.conversation_id and c.channel = h.channel and c.external_id = h.external_id"
        " join effects e on e.task_id = s.task_id and e.n = s.n and e.state = 'done'"
        f" where t.requester_id = $2 and s.status = 'succeeded' and {CAN_UNDO}"
        " order by (c.id = h.id) desc, e.resolved_at desc limit 1",
        conversation, requester,
    )  # fmt: skip
    return (row["task_id"], row["n"]) if row else None


async def undoable_step(db: Db, task: int) -> int | None:
    """The last done action of a task that can be undone and was not."""
    found: int | None = await db.fetchval(
        "select s.n from steps s join effects e on e.task_id = s.task_id and e.n = s.n and e.state = 'done'"
        f" where s.task_id = $1 and s.status = 'succeeded' and {CAN_UNDO} order by s.n desc limit 1",
        task,
    )
    return found


async def undo_of(db: Db, task: int) -> tuple[int | None, int | None]:
    """The last done action of a task that can be undone and was not, and the task that is undoing it or is still to. Of one
    moment: it may end in any."""
    row = await db.fetchrow(
        "select s.n, (select u.task_id from steps u where u.skill = s.skill || '.undo' and u.outcome is null"
        "   and u.args ->> 'task' = s.task_id::text and u.args ->> 'step' = s.n::text limit 1) as by"
        " from steps s join effects e on e.task_id = s.task_id and e.n = s.n and e.state = 'done'"
        f" where s.task_id = $1 and s.status = 'succeeded' and {CAN_UNDO} order by s.n desc limit 1",
        task,
    )
    return (row["n"], row["by"]) if row else (None, None)


async def undoable_steps(db: Db, task: int) -> set[int]:
    """All done actions of a task that can be undone and were not."""
    rows = await db.fetch(
        "select s.n from steps s join effects e on e.task_id = s.task_id and e.n = s.n and e.state = 'done'"
        f" where s.task_id = $1 and s.status = 'succeeded' and {CAN_UNDO}",
        task,
    )
    return {r["n"] for r in rows}


async def status_of(db: Db, task: int) -> str:
    status: str = await db.fetchval("select status from tasks where id = $1", task)
    return status


async def cancel(db: Db, task: int, actor: str, why: str) -> str:
    """Answers the status: 'cancelling' while something runs or is unknown, or the terminal one it had."""
    status: str = await db.fetchval("select cancel_v1($1, $2, $3)", task, actor, why)
    return status


async def pause(db: Db, task: int, actor: str) -> str:
    status: str = await db.fetchval("select pause_v1($1, $2)", task, actor)
    return status


async def resume(db: Db, task: int, actor: str) -> str:
    status: str = await db.fetchval("select resume_v1($1, $2)", task, actor)
    return status


async def retry(db: Db, task: int, actor: str) -> str:
    status: str = await db.fetchval("select retry_v1($1, $2)", task, actor)
    return status
