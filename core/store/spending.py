"""What a task and its requester have used up: money, tokens, steps, minutes of work.

What a task started, and what started it, is one piece of work: it has one budget, else who wants more of it would start a child.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from core.budgets import Used
from core.db import Db
from core.models import Claimed

# All tasks of the piece of work that task $1 belongs to: from the one at its top down.
_FAMILY: Final = (
    "with recursive above (id, parent_id) as (select id, parent_id from tasks where id = $1"
    "   union all select t.id, t.parent_id from above a join tasks t on t.id = a.parent_id),"
    " family (id) as (select id from above where parent_id is null"
    "   union all select t.id from family f join tasks t on t.parent_id = f.id)"
)


async def of_task(db: Db, task: int, n: int, requester: int, day: datetime) -> Used:
    """Before step `n`. `day` is when the person's day began. A budget that was approved in the task is used from here on.

    Of steps that run at once, those before this one count: else each of many would wait for the others.
    """
    await db.execute(
        "update approvals set status = 'consumed' where task_id = $1 and kind = 'budget' and status = 'approved'", task
    )
    row = await db.fetchrow(
        f"{_FAMILY}, bought (usd, tokens) as (select coalesce(sum(usd), 0)::float8,"
        "   coalesce(sum(input_tokens + output_tokens), 0)::float8 from llm_calls where task_id in (select id from family))"
        " select bought.usd, bought.tokens,"
        " (select count(*) from steps where task_id in (select id from family) and kind in ('plan', 'think', 'act')"
        "   and (task_id, n) <> ($1, $2) and case when status = 'running' then (task_id, n) < ($1, $2)"
        "     else attempt > 0 or status in ('succeeded', 'failed', 'unknown') end)::float8 as steps,"
        " coalesce((select sum(extract(epoch from until - at)) / 60 from (select at, to_state,"
        "   lead(at, 1, now()) over (partition by task_id order by id) as until from events"
        "   where task_id in (select id from family) and machine = 'task') moves"
        "   where to_state in ('planning', 'running')), 0)::float8 as minutes,"
        " coalesce((select sum(c.usd) from llm_calls c join tasks t on t.id = c.task_id"
        "   where t.requester_id = $3 and c.called_at >= $4), 0)::float8 as day_usd,"
        " coalesce((select sum(c.input_tokens + c.output_tokens) from llm_calls c join tasks t on t.id = c.task_id"
        "   where t.requester_id = $3 and c.called_at >= $4), 0)::float8 as day_tokens,"
        " coalesce((select jsonb_object_agg(budget, raised) from (select items -> 0 -> 'action' -> 'args' ->> 'budget' as budget,"
        "   count(*) as raised from approvals where kind = 'budget' and status = 'consumed'"
        "   and (task_id in (select id from family)"
        "   or (requester_id = $3 and decided_at >= $4 and items -> 0 -> 'action' -> 'args' ->> 'budget' like 'person_day.%'))"
        "   and (items -> 0 -> 'action' -> 'args' ->> 'budget' like 'task.%' or decided_at >= $4)"
        "   group by 1) r), '{}') as raised from bought",
        task, n, requester, day,
    )  # fmt: skip
    return Used(
        amounts={
            "task": {measure: row[measure] for measure in ("usd", "tokens", "steps", "minutes")},
            "person_day": {"usd": row["day_usd"], "tokens": row["day_tokens"]},
        },
        raised=dict(row["raised"]),
    )


async def past(db: Db, wanted: Collection[str], step: Claimed, target: str) -> dict[str, Any]:
    """Of `spent`, `new_target` and `rate` what is wanted: US dollars of the task so far, whether the skill never acted on the
    target before, and how many of its calls the requester had begun in the last hour."""
    row = await db.fetchrow(
        f"{_FAMILY} select case when $2 then"
        "   coalesce((select sum(usd) from llm_calls where task_id in (select id from family)), 0)::float8 end as spent,"
        " case when $3 then not exists (select from effects e where md5(e.action ->> 'target') = md5($6)"
        "   and e.action ->> 'skill' = $5 and e.state = 'done') end as new_target,"
        " case when $4 then (select count(*) from effects e join tasks t on t.id = e.task_id where t.requester_id = $7"
        "   and e.action ->> 'skill' = $5 and e.begun_at > now() - interval '1 hour') end as rate",
        step.task_id, "spent" in wanted, "new_target" in wanted, "rate" in wanted, step.skill, target, step.requester_id,
    )  # fmt: skip
    return {name: row[name] for name in wanted}
