"""What the benchmark's steps do: nothing, and say so in the ledger. Copied into the skills folder of a measured house."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any

from bench.ledger import Ledger
from worker.skills import Content, Control, SkillContext, skill

LEDGER = Ledger(Path(os.environ["BENCH_LEDGER"]))


@skill(permissions=[("read", "bench:*")], effect="pure", card="Do nothing")
async def noop(ctx: SkillContext, payload: Annotated[str, Content]) -> dict[str, Any]:
    """Do nothing."""
    LEDGER.note(ctx.task_id, ctx.step)
    return {"payload": payload}


@skill(permissions=[("read", "bench:*")], effect="pure", card="Think for {ms} ms")
async def think(ctx: SkillContext, ms: Annotated[int, Control]) -> dict[str, Any]:
    """Take some time and change nothing."""
    LEDGER.note(f"think:{ctx.task_id}", ctx.step)
    await asyncio.sleep(ms / 1000)
    return {"ms": ms}


@skill(permissions=[("send", "bench:{ms}")], effect="unsafe", card="Send, which takes {ms} ms")
async def send(ctx: SkillContext, ms: Annotated[int, Control]) -> dict[str, Any]:
    """Do something that must not be done twice: half the time before it is done, half of it after."""
    await asyncio.sleep(ms / 2000)
    LEDGER.note(f"send:{ctx.task_id}", ctx.step)
    await asyncio.sleep(ms / 2000)
    return {"sent": True}


@skill(permissions=[("delete", "bench:{n}")], effect="unsafe", card="Touch {n}")
async def touch(ctx: SkillContext, n: Annotated[int, Control]) -> dict[str, Any]:
    """Something that a person has to say yes to."""
    LEDGER.note(n, 2)
    return {"n": n}
