"""What a task and its requester have used up: money, tokens, steps, minutes of work."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from core.budgets import Used
from core.db import Db
from core.models import Claimed


async def of_task(db: Db, task: int, n: int, requester: int, day: datetime) -> Used:
    """Before step `n`. `day` is when the person's day began. An approved budget of the step counts from here on."""
    await db.execute(
        "update approvals set status = 'consumed' where task_id = $1 and n = $2 and kind = 'budget' and status = 'approved'",
        task, n,
    )  # fmt: skip
    row = await db.fetchrow(
        "select coalesce((select sum(usd) from llm_calls where task_id = $1), 0)::float8 as usd,"
        " coalesce((select sum(input_tokens + output_tokens) from llm_calls where task_id = $1), 0)::float8 as tokens,"
        " (select count(*) from steps where task_id = $1 and n <> $2 and kind in ('plan', 'think', 'act')"
        "   and (attempt > 0 or status in ('succeeded', 'failed', 'unknown', 'running')))::float8 as steps,"
        " coalesce((select sum(extract(epoch from until - at)) / 60 from (select at, to_state,"
        "   lead(at, 1, now()) over (order by id) as until from events where task_id = $1 and machine = 'task') moves"
        "   where to_state in ('planning', 'running')), 0)::float8 as minutes,"
        " coalesce((select sum(c.usd) from llm_calls c join tasks t on t.id = c.task_id"
        "   where t.requester_id = $3 and c.called_at >= $4), 0)::float8 as day_usd,"
        " coalesce((select sum(c.input_tokens + c.output_tokens) from llm_calls c join tasks t on t.id = c.task_id"
        "   where t.requester_id = $3 and c.called_at >= $4), 0)::float8 as day_tokens,"
        " coalesce((select jsonb_object_agg(budget, raised) from (select items -> 0 -> 'action' -> 'args' ->> 'budget' as budget,"
        "   count(*) as raised from approvals where kind = 'budget' and status = 'consumed' and (task_id = $1"
        "   or (requester_id = $3 and decided_at >= $4 and items -> 0 -> 'action' -> 'args' ->> 'budget' like 'person_day.%'))"
        "   and (items -> 0 -> 'action' -> 'args' ->> 'budget' like 'task.%' or decided_at >= $4)"
        "   group by 1) r), '{}') as raised",
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
        "select case when $1 then coalesce((select sum(usd) from llm_calls where task_id = $4), 0)::float8 end as spent,"
        " case when $2 then not exists (select from effects e where md5(e.action ->> 'target') = md5($6)"
        "   and e.action ->> 'skill' = $5 and e.state = 'done') end as new_target,"
        " case when $3 then (select count(*) from effects e join tasks t on t.id = e.task_id where t.requester_id = $7"
        "   and e.action ->> 'skill' = $5 and e.begun_at > now() - interval '1 hour') end as rate",
        "spent" in wanted, "new_target" in wanted, "rate" in wanted, step.task_id, step.skill, target, step.requester_id,
    )  # fmt: skip
    return {name: row[name] for name in wanted}
