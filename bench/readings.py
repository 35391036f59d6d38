"""What the operating system and the database say of a process and of a database: memory, threads, time, transactions."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import asyncpg


def memory_mb(pid: int) -> float:
    """Resident memory."""
    return int(_status(pid, "VmRSS")) / 1024


def threads(pid: int) -> int:
    return int(_status(pid, "Threads"))


def cpu_s(pid: int) -> float:
    """Processor time used so far, in user and kernel mode."""
    return sum(_ticks(pid)[:2]) / os.sysconf("SC_CLK_TCK")


def family_cpu_s(pid: int) -> float:
    """As `cpu_s`, of a server with the processes that it has started, also of those that have ended."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    used = sum(_ticks(pid))
    for child in children:
        with contextlib.suppress(
            FileNotFoundError, ProcessLookupError
        ):  # it has ended: its parent counts it from now on
            used += sum(_ticks(int(child)))
    return used / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int) -> list[int]:
    """In user mode, in kernel mode; the same of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return [int(field) for field in fields[11:15]]


def _status(pid: int, name: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return line.split()[1]
    raise KeyError(name)


async def transactions(dsn_elsewhere: str, database: str) -> int:
    """Those of a database so far, read from another one so as not to be among them."""
    connection = await asyncpg.connect(dsn_elsewhere)
    found: int = await connection.fetchval(
        "select xact_commit + xact_rollback from pg_stat_database where datname = $1", database
    )
    await connection.close()
    return found


async def table_bytes(dsn: str, tables: Iterable[str]) -> dict[str, int]:
    """With indexes and out-of-line values."""
    connection = await asyncpg.connect(dsn)
    found = {t: await connection.fetchval("select pg_total_relation_size($1::text::regclass)", t) for t in tables}
    await connection.close()
    return found
