"""The account of every call to a model: tokens, price, latency; no content."""

from __future__ import annotations

from decimal import Decimal

from core.db import Db


async def record(
    db: Db,
    *,
    purpose: str,
    provider: str,
    model: str,
    prompt_sha256: str,
    input_tokens: int,
    output_tokens: int,
    cached_tokens: int,
    usd: Decimal | None,
    latency_ms: int,
    outcome: str,
    error_class: str,
    task: int | None = None,
    n: int | None = None,
) -> None:
    """One row; `usd` None means that the price is not known, never that it was free."""
    await db.execute(
        "insert into llm_calls (task_id, n, purpose, provider, model, prompt_sha256, input_tokens, output_tokens,"
        " cached_tokens, usd, latency_ms, outcome, error_class)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        task, n, purpose, provider, model, prompt_sha256, input_tokens, output_tokens, cached_tokens, usd, latency_ms,
        outcome, error_class,
    )  # fmt: skip


async def models_of(db: Db, task: int) -> dict[int, str]:
    """`provider/model` of the call that answered each turn of a task."""
    rows = await db.fetch(
        "select distinct on (n) n, provider || '/' || model as model from llm_calls"
        " where task_id = $1 and n is not null and outcome = 'answered' order by n, id desc",
        task,
    )
    return {row["n"]: row["model"] for row in rows}
