"""Threads of Slack in which tasks work: what each is to show, and what Slack was last told. See 0011_slack_groups.sql."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from core.db import Db


@dataclass(frozen=True, slots=True)
class Thread:
    """`statuses` are those of its tasks that a person began; `shown` is what Slack was told, `goal` the first task's."""

    conversation: int
    external_id: str
    thread: str
    shown: str | None
    statuses: tuple[str, ...]
    goal: str
    initiator: str


async def of_tasks(db: Db, tasks: Collection[int]) -> list[Thread]:
    """The threads in which these tasks are."""
    return await _threads(db, "select conversation_id from tasks where id = any ($1)", list(tasks))


async def unsettled(db: Db, limit: int) -> list[Thread]:
    """Those that Slack shows as working or waiting."""
    return await _threads(db, "select conversation_id from slack_sessions limit $1", limit)


async def _threads(db: Db, which: str, given: object) -> list[Thread]:
    rows = await db.fetch(
        "select x.*, coalesce((select min(i.external_id) from identities i"
        "   where i.channel = 'slack' and i.principal_id = x.initiators[1]), '') as initiator from ("
        " select c.id as conversation, c.external_id, c.thread, min(s.status) as shown,"
        "   array_agg(t.status order by t.id) as statuses, (array_agg(t.goal order by t.id))[1] as goal,"
        "   array_agg(t.requester_id order by t.id) as initiators"
        " from conversations c join tasks t on t.conversation_id = c.id and t.parent_id is null and t.kind <> 'aside'"
        " left join slack_sessions s on s.conversation_id = c.id"
        f" where c.channel = 'slack' and c.thread <> '' and c.id in ({which}) group by c.id order by c.id) x",
        given,
    )
    return [
        Thread(
            conversation=r["conversation"], external_id=r["external_id"], thread=r["thread"], shown=r["shown"],
            statuses=tuple(r["statuses"]), goal=r["goal"], initiator=r["initiator"],
        )
        for r in rows
    ]  # fmt: skip


async def rests(db: Db, conversation: int) -> None:
    """Slack was told that all has ended there: nothing more has to be known of it."""
    await db.execute("delete from slack_sessions where conversation_id = $1", conversation)


async def shows(db: Db, conversation: int, status: str) -> None:
    await db.execute(
        "insert into slack_sessions (conversation_id, status) values ($1, $2)"
        " on conflict (conversation_id) do update set status = excluded.status, set_at = now()",
        conversation, status,
    )  # fmt: skip
