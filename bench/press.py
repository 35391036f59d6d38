"""How long from a press to the start of the gated step: bot and worker as processes of their own, over HTTP.

Each sample parks a task behind an approval, then presses Approve over the API; the skill's body writes down the moment
it starts, on a clock that all processes of the machine share. A raw single-row commit beside it says what the machine
could do. Run: `.venv/bin/python -m bench.press [--presses 300] [--json FILE]`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from core.db import migrate, open_pool
from core.embedded import start_servers
from core.store import people

SKILL = '''
import os, time
from worker.skills import SkillContext, skill

@skill(permissions=[("delete", "bench:{{n}}")], effect="unsafe", card="Touch {{n}}")
async def touch(ctx: SkillContext, n: int) -> dict:
    """Write down when it started."""
    with open({log!r}, "a") as file:
        file.write(f"{{n}} {{time.clock_gettime(time.CLOCK_MONOTONIC)}}\\n")
    return {{"summary": "touched"}}

@touch.undo
async def _(ctx: SkillContext, result: dict, n: int) -> dict:
    return {{}}
'''
HOUSE = Path(__file__).resolve().parent.parent
DEADLINE_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def raw_commits_ms(dsn: str, count: int) -> list[float]:
    """What one single-row commit takes here and now."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("create table if not exists bench_probe (id integer primary key, n integer)")
    await connection.execute("insert into bench_probe values (1, 0) on conflict do nothing")
    took = []
    for _ in range(count):
        began = time.perf_counter()
        await connection.execute("update bench_probe set n = n + 1 where id = 1")
        took.append((time.perf_counter() - began) * 1000)
    await connection.close()
    return took


async def presses_ms(base: str, token: str, log: Path, count: int) -> list[float]:
    """One sample a press, from just before the request leaves to the first line of the skill."""
    took: list[float] = []
    async with httpx.AsyncClient(base_url=base, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as http:
        for n in range(count):
            task = (await http.post("/api/intents", json={"text": f"do {SKILL_NAME} n={n}"})).json()["task_id"]
            approval = await _pending(http, task)
            began = time.clock_gettime(time.CLOCK_MONOTONIC)
            answer = await http.post(
                f"/api/approvals/{approval['id']}/decisions", json={"verdict": "approve", "digest": approval["digest"]}
            )
            answer.raise_for_status()
            took.append((await _started(log, n) - began) * 1000)
    return took


async def _pending(http: httpx.AsyncClient, task: str) -> dict[str, Any]:
    ends = time.monotonic() + DEADLINE_S
    while time.monotonic() < ends:
        for approval in (await http.get("/api/approvals?status=pending")).json():
            if approval["task_id"] == task:
                return dict(approval)
        await asyncio.sleep(0.005)
    raise TimeoutError(f"task {task} was never asked about")


async def _started(log: Path, n: int) -> float:
    ends = time.monotonic() + DEADLINE_S
    while time.monotonic() < ends:
        if log.exists():
            for line in reversed(log.read_text(encoding="ascii").splitlines()):
                number, _, at = line.partition(" ")
                if number == str(n) and at:
                    return float(at)
        await asyncio.sleep(0.001)
    raise TimeoutError(f"step {n} never started")


SKILL_NAME = "touch.touch"


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * q))]


def start(name: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", name], env=env, cwd=HOUSE)


async def measure(count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="sayso-bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        log = home / "started.log"
        (home / "skills").mkdir()
        (home / "skills" / "touch.py").write_text(SKILL.format(log=str(log)), encoding="utf-8")
        with start_servers(home) as servers:
            assert servers.database_url is not None
            await migrate(servers.database_url)
            db = await open_pool(servers.database_url, most=2)
            owner = await people.ensure_owner(db)
            token = await people.make_token(db, owner.id, "api", None)
            await db.close()
            port = free_port()
            env = os.environ | {
                "DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url or "", "SAYSO_HOME": folder,
                "PORT": str(port), "LOG_LEVEL": "WARNING",
            }  # fmt: skip
            children = [start(name, env) for name in ("bot", "worker")]
            try:
                base = f"http://127.0.0.1:{port}"
                await _ready(base, token)
                await presses_ms(base, token, log, 10)
                log.unlink()
                before = await raw_commits_ms(servers.database_url, 200)
                took = await presses_ms(base, token, log, count)
                after = await raw_commits_ms(servers.database_url, 200)
            finally:
                for child in children:
                    child.send_signal(signal.SIGTERM)
                for child in children:
                    child.wait(timeout=30)
        while servers.postgres.answers():
            await asyncio.to_thread(time.sleep, 0.1)
    raw = statistics.median(before + after)
    return {
        "workload": "W4 press to gated step", "system": "sayso", "concurrency": 1, "samples": len(took),
        "p50_ms": quantile(took, 0.5), "p99_ms": quantile(took, 0.99), "max_ms": max(took), "raw_commit_p50_ms": raw,
        "ratio_to_raw": statistics.median(took) / raw, "load_average": os.getloadavg()[0],
    }  # fmt: skip


async def _ready(base: str, token: str) -> None:
    ends = time.monotonic() + DEADLINE_S
    async with httpx.AsyncClient(base_url=base, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as http:
        while time.monotonic() < ends:
            try:
                skills = (await http.get("/api/skills")).json()
                if any(s["name"] == SKILL_NAME for s in skills):
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
    raise TimeoutError("bot and worker did not become ready")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presses", type=int, default=300)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cell = asyncio.run(measure(given.presses))
    print(
        f"{cell['samples']} presses: p50 {cell['p50_ms']:.1f} ms, p99 {cell['p99_ms']:.1f} ms, max {cell['max_ms']:.1f} ms; "
        f"one raw commit {cell['raw_commit_p50_ms']:.2f} ms (ratio {cell['ratio_to_raw']:.1f}); load {cell['load_average']:.1f}"
    )
    if given.json:
        given.json.write_text(json.dumps({"cells": [cell]}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
