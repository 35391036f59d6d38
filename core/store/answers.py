"""What models answered to the turns of open tasks, so that no answer is bought twice. Gone with the task."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core.db import Db
from core.models import Claimed


async def recorded(db: Db, step: Claimed, prompt: str) -> dict[str, Any] | None:
    """The answer to this question in this generation of the step, if there was one."""
    found: dict[str, Any] | None = await db.fetchval(
        "select answer from answers where task_id = $1 and n = $2 and gen = $3 and prompt_sha256 = $4",
        step.task_id, step.n, step.gen, prompt,
    )  # fmt: skip
    return found


async def keep(db: Db, step: Claimed, prompt: str, answer: Mapping[str, Any]) -> None:
    await db.execute(
        "insert into answers (task_id, n, gen, prompt_sha256, answer) values ($1, $2, $3, $4, $5) on conflict do nothing",
        step.task_id, step.n, step.gen, prompt, dict(answer),
    )  # fmt: skip


async def forget(db: Db, step: Claimed) -> None:
    """Those that made no sense: the question is to be asked anew."""
    await db.execute("delete from answers where task_id = $1 and n = $2 and gen = $3", step.task_id, step.n, step.gen)


async def last(db: Db, task: int, n: int) -> tuple[str, dict[str, Any], datetime] | None:
    """What was asked last in a step, by its hash, what was answered, and when."""
    row = await db.fetchrow(
        "select prompt_sha256, answer, answered_at from answers where task_id = $1 and n = $2"
        " order by answered_at desc limit 1",
        task, n,
    )  # fmt: skip
    return (row["prompt_sha256"], row["answer"], row["answered_at"]) if row else None
