"""Writes an outcome: the only place where the worker changes a step's state.

`perform` code answers a frozen value; each kind has one store call. A connection lost in the middle is tried again
while the lease lasts: the fence makes the repetition harmless.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, assert_never

from core import config
from core.db import DATABASE_AWAY, Db, Pool
from core.models import Claimed, Dropped, EffectClass, Failed, Parked, Released, Succeeded, Unknown, Waiting
from core.ring import Ring
from core.store import approvals, signals, steps
from worker.lease import Lease
from worker.llm.reading import storable

log = logging.getLogger(__name__)

TURNS = ("plan", "think")
Outcome = Succeeded | Failed | Unknown | Parked | Released | Waiting | Dropped


async def write(db: Pool, ring: Ring, lease: Lease, step: Claimed, outcome: Outcome) -> Claimed | None:
    """Write it, ring for what it made ready, and answer the step claimed in the same commit."""
    pause_s = 0.05
    while True:
        try:
            return await _write_once(db, ring, lease.worker, step, outcome)
        except DATABASE_AWAY as error:
            if not lease.is_good():
                raise
            log.warning("outcome of step %s.%s not written yet: %s", step.task_id, step.n, type(error).__name__)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, config.RETRY_FIRST_S)


def shareable(step: Claimed, outcome: Outcome) -> dict[str, Any] | None:
    """The result of a pure call that plans nothing: it may be written in one commit with others. None for all else."""
    if not isinstance(outcome, Succeeded) or outcome.added or step.kind != "act" or step.effect_state is not None:
        return None
    return _storable(outcome.result) if step.effect_class == "pure" else None


async def _write_once(db: Pool, ring: Ring, worker: int, step: Claimed, outcome: Outcome) -> Claimed | None:
    match outcome:
        case Succeeded(result=result, added=added, read=read):
            if read or step.kind in TURNS:
                done = await signals.complete_reading(db, worker, step, _storable(result), added, read)
            else:
                done = await steps.complete(db, worker, step, _storable(result), added)
            if not done.ok:
                await _file_late(db, step, "it happened", _storable(result))
            if done.freed:
                ring.task(step.task_id, n=step.n, fence=step.fence, lane=step.lane)
            else:
                ring.outbox()
            return done.next
        case Failed(error=error, outcome=why, retry_in_s=retry_s, added=added):
            if not await steps.fail(db, worker, step, storable(error), why, retry_s, added):
                await _file_late(db, step, f"it did not happen: {storable(error)}")
        case Unknown(error=error):
            if await steps.lose(db, worker, step, storable(error)) == "stale":
                await _file_late(db, step, storable(error))
        case Parked(ask=ask, places=places, why=why):
            made = await steps.park(db, worker, step, ask, places, why)
            if made is not None:
                await approvals.merge(db, made)
        case Released(why=why, ready_in_s=ready_s):
            await steps.release(db, worker, step, why, ready_s)
        case Waiting(reason=reason, seconds=seconds, within_s=within_s, key=key, read=read):
            await signals.wait(
                db, worker, step, storable(reason), seconds=seconds, within_s=within_s, key=key, read=read
            )
        case Dropped(evidence=evidence):
            await steps.file_evidence(db, step, {"said": evidence})
        case _:
            assert_never(outcome)
    ring.task(step.task_id, n=step.n, fence=step.fence, lane=step.lane)
    return None


async def _file_late(db: Db, step: Claimed, said: str, result: Any = None) -> None:
    """The fence was lost, so this decides nothing; whoever is asked whether the call happened reads it."""
    if step.effect_class != EffectClass.PURE:
        await steps.file_evidence(db, step, {"said": said} | ({} if result is None else {"result": result}))


def _storable(value: Any) -> Any:
    """What a skill answered, without the characters that a row can't hold: an outcome must never be unwritable."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {storable(str(name)): _storable(item) for name, item in value.items()}
    return value
