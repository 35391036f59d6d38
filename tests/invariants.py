"""What must hold of the rows, whatever went wrong before: each invariant as a query that answers the rows breaking it.

Tests of crashes, races and chaos ask `broken` at their end. What only the world outside can tell (was it done twice?)
is counted at the sink of each test; here stands what the database alone can show.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from core.db import Db

# $1: the tasks looked at, null for all. Every query answers one text per violation.
QUERIES: Final = {
    "I1 an effect is judged not to have happened only by its own worker, a probe or a person": """
        select e.key from effects e join effects later on later.task_id = e.task_id and later.n = e.n and later.gen > e.gen
          join steps s on s.task_id = e.task_id and s.n = e.n
         where e.state <> 'not_done' and s.effect_class in ('unsafe', 'checkable')
           and ($1::bigint[] is null or e.task_id = any ($1))""",
    "I1 what is done is done once": """
        select e.task_id || '.' || e.n from effects e
         where e.state = 'done' and ($1::bigint[] is null or e.task_id = any ($1))
         group by e.task_id, e.n having count(*) > 1""",
    "I2 what was begun under an approval was approved by enough people for just that": """
        select e.key from effects e join approvals a on a.id = e.approval_id
         where ($1::bigint[] is null or e.task_id = any ($1))
           and (jsonb_array_length(a.items) = 1 and a.status <> 'consumed' or not exists (
                    select from jsonb_array_elements(a.items) i where i ->> 'digest' = e.digest)
                or (select count(distinct d.principal_id) from decisions d
                     where d.approval_id = a.id and d.verdict = any (yes_verdicts() || array['not_happened']))
                   < (a.approvers ->> 'needed')::integer)""",
    "I2 an approval is used for one generation of each of its steps": """
        select a.id::text from approvals a join effects e on e.approval_id = a.id
         where ($1::bigint[] is null or e.task_id = any ($1))
         group by a.id, e.task_id, e.n having count(*) > 1""",
    "I3 an approval is decided once": """
        select subject from events where machine = 'approval' and from_state = 'pending'
           and ($1::bigint[] is null or task_id = any ($1)) group by subject having count(*) > 1""",
    "I4 a task has steps, and what was pressed has its consequence": """
        select t.id::text from tasks t where not exists (select from steps s where s.task_id = t.id)
           and ($1::bigint[] is null or t.id = any ($1))
        union all
        select d.approval_id::text from decisions d join approvals a on a.id = d.approval_id
         where a.status = 'pending' and ($1::bigint[] is null or a.task_id = any ($1))
           and (select count(*) from decisions v where v.approval_id = a.id and v.verdict = d.verdict)
               >= (a.approvers ->> 'needed')::integer""",
    "I5 nothing runs under a worker that is gone": """
        select s.task_id || '.' || s.n from steps s left join workers w on w.id = s.worker_id
         where s.status = 'running' and ($1::bigint[] is null or s.task_id = any ($1))
           and coalesce(w.lease_until, '-infinity') < now() - interval '5 s'
           and s.deadline_at < now() - interval '5 s'""",
    "I6 an open task has something that moves it on": """
        select t.id || ' ' || t.status from tasks t
         where t.status in ('queued', 'planning', 'running', 'waiting', 'cancelling')
           and ($1::bigint[] is null or t.id = any ($1))
           and not exists (select from tasks c where c.parent_id = t.id
                              and c.status not in ('succeeded', 'failed', 'abandoned', 'cancelled'))
           and not exists (
            select from steps s left join approvals a on a.id = s.approval_id where s.task_id = t.id
               and (s.status in ('ready', 'running') or (s.status = 'waiting' and s.ready_at is not null)
                    or (s.status = 'awaiting_approval' and a.status = 'pending')
                    or (s.status = 'unknown' and (s.waits_for = 'probe' or a.status = 'pending'))))""",
    "I6 a waiting approval belongs to a step that waits for it": """
        select a.id::text from approvals a join steps s on s.task_id = a.task_id and s.n = a.n
         where a.status = 'pending' and ($1::bigint[] is null or a.task_id = any ($1))
           and (s.approval_id is distinct from a.id or s.status not in ('awaiting_approval', 'unknown'))""",
    "I6 a step that waits for people has them asked": """
        select s.task_id || '.' || s.n from steps s left join approvals a on a.id = s.approval_id
         where s.status = 'awaiting_approval' and a.status is distinct from 'pending'
           and ($1::bigint[] is null or s.task_id = any ($1))""",
    "I8 no version of a subject occurs twice": """
        select machine || ' ' || coalesce(nullif(subject, ''), task_id || '.' || coalesce(n, 0)) from events
         where ($1::bigint[] is null or task_id = any ($1))
         group by machine, subject, task_id, n, version having count(*) > 1""",
    "I8 events hold only legal moves": """
        select e.machine || ': ' || e.from_state || ' to ' || e.to_state from events e
         where ($1::bigint[] is null or e.task_id = any ($1)) and not exists (
            select from transitions t where t.machine = e.machine and t.from_state = e.from_state and t.to_state = e.to_state)""",
    "I8 each move begins where the last one ended": """
        select x.machine || ' ' || x.task_id || '.' || coalesce(x.n, 0) || ': ' || x.was || ', then ' || x.from_state from (
            select e.*, lag(to_state) over (partition by machine, subject, task_id, n order by version, id) as was
              from events e where $1::bigint[] is null or e.task_id = any ($1)) x
         where x.was is not null and x.was <> x.from_state""",
    "I11 a yes was said by a person": """
        select a.id::text from approvals a
         where a.status in ('approved', 'consumed') and ($1::bigint[] is null or a.task_id = any ($1))
           and not exists (select from decisions d join principals p on p.id = d.principal_id
                            where d.approval_id = a.id and not p.is_service
                              and d.verdict = any (yes_verdicts() || array['happened', 'not_happened']))""",
    "I11 no yes is left over of a task that has ended": """
        select a.id || ' ' || a.status from approvals a join tasks t on t.id = a.task_id
         where a.status in ('pending', 'approved') and t.status in ('succeeded', 'failed', 'abandoned', 'cancelled')
           and ($1::bigint[] is null or a.task_id = any ($1))""",
    "what an ended task did is known, or given up by a person": """
        select e.key || ' ' || e.state from effects e join tasks t on t.id = e.task_id
          join steps s on s.task_id = e.task_id and s.n = e.n
         where t.status in ('succeeded', 'failed', 'abandoned', 'cancelled') and e.state in ('intent', 'unknown')
           and s.outcome is distinct from 'given_up' and ($1::bigint[] is null or e.task_id = any ($1))""",
}
# Only once a courier had the time: what the last card of everything that has ended shows.
SHOWN: Final = """
    select c.subject || ' ' || c.task_id || ': ' || c.shown || ' of ' || c.wanted from cards c
     where c.shown < c.wanted and ($1::bigint[] is null or c.task_id = any ($1))"""


async def broken(db: Db, tasks: Collection[int] | None = None, *, delivered: bool = False) -> list[str]:
    """Every violation in words, for these tasks or for all. `delivered`: the cards must show it too (I7)."""
    only = None if tasks is None else list(tasks)
    queries = QUERIES | ({"I7 cards show how it ended": SHOWN} if delivered else {})
    return [f"{name}: {row[0]}" for name, query in queries.items() for row in await db.fetch(query, only)]


async def holds_text(db: Db, needle: str) -> list[str]:
    """The tables in which a text occurs anywhere (I10: a secret must occur in none)."""
    tables = [
        row["table_name"]
        for row in await db.fetch(
            "select table_name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'"
        )
    ]
    return [
        table
        for table in tables
        if await db.fetchval(f'select exists (select from "{table}" r where strpos(r::text, $1) > 0)', needle)
    ]
