"""A database as it looks after much work: copies of one real task's rows, made by SQL because the real way takes hours.

Every column is copied as the engine wrote it except ids and what must be unique, so a copy is as large as its original.
Triggers are off meanwhile: the copies' history is copied too, not made anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import asyncpg

PLACES: Final = 1_000  # conversations over which the copies are spread
# In the order of the copies and after all that are there, as `new_id` makes them one after the other.
UUID: Final = "(lpad(to_hex(4102444800000 + g), 12, '0') || substr(md5('copy' || g), 13))::uuid"
KEYED_BY_ID: Final = ("tasks", "inbound", "conversations", "cards", "outbox", "moves")


async def clone(dsn: str, task: int, count: int) -> None:
    """`count` more tasks like `task`, with steps, approval, effects, events, inbound, cards and messages."""
    connection = await asyncpg.connect(dsn, command_timeout=600)
    try:
        await connection.execute("set session_replication_role = replica")
        after = {t: await connection.fetchval(f"select coalesce(max(id), 0) from {t}") for t in KEYED_BY_ID}
        await connection.execute(
            "insert into conversations (channel, external_id, is_private) select 'web', 'copy' || $1 || ':' || g, true"
            " from generate_series(1, $2) g",
            str(task), PLACES,
        )  # fmt: skip
        for table, (which, changed) in _copies(after).items():
            await connection.execute(await _statement(connection, table, which, changed), task, count)
        for table in KEYED_BY_ID:
            await connection.execute(
                f"select setval(pg_get_serial_sequence('{table}', 'id'), (select max(id) from {table}))"
            )
    finally:
        await connection.close()


async def tidy(dsn: str) -> None:
    """As autovacuum would leave it, in a moment and not in minutes."""
    connection = await asyncpg.connect(dsn, command_timeout=600)
    await connection.execute("vacuum analyze")
    await connection.execute("checkpoint")
    await connection.close()


def _copies(after: Mapping[str, int]) -> dict[str, tuple[str, dict[str, str]]]:
    """Per table: which rows are copied, and the columns that differ, as SQL over the row `r` and the copy's number `g`."""
    task = f"{after['tasks']} + g"
    mine = "r.task_id = $1"
    of_task = {"task_id": task}
    approval = f"case when r.approval_id is not null then {UUID} end"
    place = f"case when r.conversation_id is not null then {after['conversations']} + 1 + g % {PLACES} end"

    def spread(table: str, column: str, low: str, high: str) -> str:
        """Several rows a task: each copy gets a stretch of ids as long as the original's."""
        return f"{after[table]} + (g - 1) * (1 + {high} - {low}) + 1 + r.{column} - {low}"

    def ends(table: str, where: str) -> tuple[str, str]:
        return f"(select min(id) from {table} {where})", f"(select max(id) from {table} {where})"

    of_cards = ends("cards", "where task_id = $1")
    card = spread("cards", "id", *of_cards)
    messages = "where card_id in (select id from cards where task_id = $1)"
    return {
        "tasks": (
            "r.id = $1",
            {
                "id": task,
                "conversation_id": place,
                "inbound_id": f"case when r.inbound_id is not null then {after['inbound']} + g end",
                "idempotency_key": "case when r.idempotency_key is not null then r.idempotency_key || ':' || g end",
            },
        ),
        "steps": (mine, of_task | {"approval_id": approval}),
        "approvals": (
            mine,
            of_task | {"id": UUID, "items": f"jsonb_set(r.items, '{{0,task}}', to_jsonb(({task})::text))"},
        ),
        "effects": (mine, of_task | {"approval_id": approval, "key": "r.key || ':' || g"}),
        "moves": (
            mine,
            of_task
            | {
                "id": spread("moves", "id", *ends("moves", "where task_id = $1")),
                "xid": "(r.xid::text::bigint + g * 10)::text::xid8",  # no two copies were made in the same commits
                "subject": f"case when r.subject ~ '^[0-9a-f-]{{36}}$' then ({UUID})::text else r.subject end",
            },
        ),
        "inbound": (
            mine,
            of_task
            | {
                "id": f"{after['inbound']} + g",
                "conversation_id": place,
                "delivery_id": "r.delivery_id || ':' || g",
            },
        ),
        "cards": (mine, of_task | {"id": card, "approval_id": approval, "conversation_id": place}),
        "outbox": (
            "r.card_id in (select id from cards where task_id = $1)",
            {
                "id": spread("outbox", "id", *ends("outbox", messages)),
                "card_id": spread("cards", "card_id", *of_cards),
                "conversation_id": place,
                "dedup": "case when r.dedup is not null then r.dedup || ':' || g end",
            },
        ),
    }


async def _statement(connection: asyncpg.Connection, table: str, which: str, changed: Mapping[str, str]) -> str:
    rows: list[Any] = await connection.fetch(
        "select column_name from information_schema.columns where table_name = $1 and table_schema = 'public'"
        " and is_generated = 'NEVER' order by ordinal_position",
        table,
    )
    columns = [row["column_name"] for row in rows]
    missing = set(changed) - set(columns)
    assert not missing, f"{table} has no {missing} any more"
    values = ", ".join(changed.get(column, f"r.{column}") for column in columns)
    # Copy by copy, as work comes task by task: a whole table's first rows and then its second ones would leave other indexes.
    return (
        f"with original as materialized (select r.* from {table} r where {which})"
        f" insert into {table} ({', '.join(columns)}) overriding system value"
        f" select {values} from generate_series(1, $2::integer) g"
        " cross join lateral (select * from original where g > 0 offset 0) r"
    )
