"""Takes ready steps from Postgres while it has free slots and carries each to its outcome.

It is woken by rings; without them it looks every second, unless the sweeper of this process does. It knows nothing of
skills or models: `carry` does the work and answers the step that was claimed with the outcome, if any. Pure steps that
succeeded are written together, by the same statement that claims the next ones; while they end quickly more are claimed
ahead, and one half is written while the other is carried out. What does not get its turn soon is given back. Cancelling
is cooperative: a step says through `Hold` whether it may be interrupted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from core import config
from core.db import DATABASE_AWAY, Pool
from core.ending import ended
from core.models import Claimed
from core.ring import Ring
from core.store import steps
from core.store.steps import Running
from worker.lease import Lease, LeaseLost
from worker.slots import Hold, Slots

log = logging.getLogger(__name__)

PLANNING = frozenset({"plan", "think"})

Carry = Callable[["Hold"], Awaitable["Claimed | Shareable | None"]]


@dataclass(frozen=True, slots=True)
class Shareable:
    """A pure step's success that may be written in one commit with others; `told` is called when it is.

    `alone` writes it by itself where that can't be, and answers the step that was claimed with it.
    """

    result: dict[str, Any]
    alone: Carry
    told: Callable[[], None]


class Executor:
    def __init__(self, db: Pool, ring: Ring, lease: Lease, carry: Carry, *, slots: int = config.WORKER_SLOTS) -> None:
        self._db, self._ring, self._lease, self._carry, self._slots = db, ring, lease, carry, Slots(slots)
        self._holds: dict[tuple[int, int], Hold] = {}
        self._seen_unknown: set[tuple[int, int, int]] = set()
        self._adopting: set[asyncio.Task[None]] = set()
        self._successes: list[tuple[Hold, Shareable]] = []
        self._claiming: asyncio.Task[None] | None = None
        self._share_by = 0.0
        self._wake = asyncio.Event()
        self._may_be_more, self._look_at = True, 0.0
        self._is_filling = False
        self._stopping = False

    @property
    def busy(self) -> int:
        return len(self._holds)

    def holds_task(self, task: int) -> bool:
        """Whether a step of the task runs here."""
        return any(key[0] == task for key in self._holds)

    def poke(self) -> None:
        """Something may be ready: look now."""
        self._may_be_more = True
        self._wake.set()

    def told(self, is_ready: bool) -> None:
        """The sweeper of this process has just looked whether steps are ready: no need to ask again before its next look."""
        if is_ready:
            self.poke()
        else:
            self._look_at = self._now() + config.SWEEP_EVERY_S + config.SWEEP_SLACK_S

    async def run(self) -> None:
        """Claim, write and beat until `stop`. Raises `LeaseLost` when the lease is gone."""
        beating = asyncio.create_task(self._beat())
        self._claiming = asyncio.create_task(self._take_turns())
        done, rest = await asyncio.wait((beating, self._claiming), return_when=asyncio.FIRST_COMPLETED)
        await ended(rest)
        for task in done:
            if task.exception() is not None:
                await self._drop_everything()
            task.result()

    async def stop(self, grace_s: float = config.GRACE_S) -> None:
        """Claim no more; after a moment hand back what may be interrupted, let effects end within the grace, return."""
        self._stopping = True
        self.poke()
        await self._ended(config.HAND_BACK_AFTER_S)
        for hold in list(self._holds.values()):
            if hold.may_interrupt and hold.running:
                hold.running.cancel()
        await self._ended(grace_s)
        if self._claiming is not None:  # it writes what has ended, and then ends itself
            await asyncio.wait((self._claiming,), timeout=grace_s)

    async def _ended(self, most_s: float) -> None:
        running = [hold.running for hold in self._holds.values() if hold.running]
        if running:
            await asyncio.wait(running, timeout=most_s)

    async def _drop_everything(self) -> None:
        """The lease is lost: nothing here goes on. A call in flight may tell for a moment what came of it: evidence."""
        for hold in list(self._holds.values()):
            hold.is_dropped = True
        self._slots.clear()
        for within_s in (0.0, config.EVIDENCE_WITHIN_S):
            if within_s:
                await self._ended(within_s)
            for hold in list(self._holds.values()):
                if hold.running and (hold.may_interrupt or within_s):
                    hold.running.cancel()

    async def check_cancels(self) -> None:
        """Ask the database which of our steps people want stopped, and which turns an event has interrupted."""
        if self._holds:
            await self._look()

    # ---------------------------------------------------------------- claiming

    async def _take_turns(self) -> None:
        """One statement at a time: write what has ended meanwhile and claim what there is room for."""
        while not self._is_over():
            self._wake.clear()
            took = 0
            try:
                await self._lease.show_sign()
                if self._stuck_at() <= self._now():
                    await self._give_back()
                rooms, due = self._rooms(), self._is_due()
                looks = rooms[0] > 0 and (due or not self._successes)
                looks &= self._may_be_more or self._now() >= self._look_at
                if looks:
                    self._may_be_more, self._look_at = False, self._now() + config.IDLE_POLL_S
                if looks or due:
                    self._slots.asked()
                if due:
                    batch, self._successes = self._successes, []
                    took = self._take(await self._write(batch, rooms, looks), rooms, looks)
                elif looks:
                    took = self._take(await self._claim(rooms), rooms, looks)
            except DATABASE_AWAY as error:
                log.warning("cannot claim: %s", type(error).__name__)
                self._look_at = self._now() + config.IDLE_POLL_S
            if not took and not self._is_due() and not self._is_over():
                await self._rest()

    def _is_over(self) -> bool:
        return self._stopping and not self._holds and not self._successes

    def _rooms(self) -> list[int]:
        """How many steps of each lane to claim."""
        if self._stopping or not self._lease.is_good():
            return [0 for _ in config.LANES]
        return self._slots.rooms()

    def _is_due(self) -> bool:
        """Whether what has ended is to be written now. While more than half of what was claimed ahead has not begun, it
        gathers: so Postgres writes one half while this process carries out the other."""
        return bool(self._successes) and (self._slots.is_half_begun() or self._now() >= self._share_by)

    async def _claim(self, rooms: list[int]) -> list[Claimed]:
        return await steps.claim_lanes(self._db, self._lease.worker, config.LANES, rooms)

    async def _write(self, batch: Sequence[tuple[Hold, Shareable]], rooms: list[int], looks: bool) -> list[Claimed]:
        """Outcomes and next claims in one commit. What can't be written so is written on its own."""
        worker = self._lease.worker
        results = [(hold.step, success.result) for hold, success in batch]
        try:
            done = await steps.complete_many(self._db, worker, results, config.LANES, rooms, more=looks)
        except Exception as error:
            log.warning("%s outcomes could not be written together: %s", len(batch), type(error).__name__)
            done = steps.ManyCompleted(frozenset(step.task_id for step, _ in results), freed=False, claimed=[])
        for hold, success in batch:
            if hold.step.task_id in done.left_out:
                hold.running = asyncio.create_task(self._carry_chain(hold, success.alone))
            else:
                self._forget(hold)
                success.told()
        if done.freed:
            first, _ = results[0]
            self._ring.task(first.task_id, n=first.n, fence=first.fence, lane=first.lane)
        else:
            self._ring.outbox()
        return done.claimed

    def _take(self, claimed: Sequence[Claimed], rooms: Sequence[int], looked: bool) -> int:
        """Carry them. When a look found as many as there was room for, there may be more."""
        for step in claimed:
            self._queue(step)
        self._fill_slots()
        if looked and len(claimed) >= rooms[-1]:
            self._may_be_more = True
        return len(claimed)

    async def _rest(self) -> None:
        """Until something rings or ends, or it is time to look (where there is room), to write or to give back."""
        until = self._look_at if self._rooms()[0] else self._now() + config.IDLE_POLL_S
        try:
            async with asyncio.timeout_at(min(self._share_by if self._successes else until, self._stuck_at())):
                await self._wake.wait()
        except TimeoutError:
            return

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _queue(self, step: Claimed) -> None:
        hold = Hold(step, self._now())
        before = self._holds.get((step.task_id, step.n))
        if before is not None:  # it was taken away from us and claimed again
            self._drop(before)
        self._holds[step.task_id, step.n] = hold
        self._slots.wait(hold)

    def _fill_slots(self) -> None:
        """Give free slots to what was claimed; a few in each round of the loop, so that the database is heard in between."""
        if not self._is_filling:
            self._fill()

    def _fill(self) -> None:
        self._is_filling, begun = False, 0
        while not self._stopping and (hold := self._slots.next()) is not None:
            hold.running = asyncio.create_task(self._carry_chain(hold, self._carry))
            begun += 1
            if begun == config.BEGUN_AT_ONCE:
                self._is_filling = True
                asyncio.get_running_loop().call_soon(self._fill)
                return

    def _stuck_at(self) -> float:
        """When what was claimed ahead has waited too long for a slot; at once when no more is to begin here."""
        since = self._slots.waiting_since()
        if since is None:
            return float("inf")
        return 0.0 if self._stopping else since + config.AHEAD_S

    async def _give_back(self) -> None:
        """What was claimed ahead did not get its turn: another worker may have a slot for it."""
        for hold in self._slots.all_waiting():
            if not self._slots.leave(hold):  # it got its turn meanwhile
                continue
            step = hold.step
            try:
                await steps.release(self._db, self._lease.worker, step, "it was claimed ahead and did not get its turn")
            except BaseException:
                self._slots.wait(hold)
                raise
            self._forget(hold)
            self._ring.task(step.task_id, n=step.n, fence=step.fence, lane=step.lane)

    async def _carry_chain(self, hold: Hold, carry: Carry) -> None:
        """The step, then the one claimed with its outcome, and so on."""
        try:
            while True:
                hold.since = self._now()
                came = await carry(hold)
                if isinstance(came, Shareable):
                    self._hand_over(hold, came)
                    return
                self._forget(hold)
                if came is None:
                    self._may_be_more |= hold.step.kind in PLANNING  # its steps are ready; no ring needs to tell us
                    return
                carry, hold = self._carry, Hold(came, self._now(), running=hold.running)
                self._slots.take(hold)
                self._holds[came.task_id, came.n] = hold
        except Exception:
            log.exception("step %s.%s could not be carried; the sweeper will find it", hold.step.task_id, hold.step.n)
        finally:
            if hold.running is not None:
                self._forget(hold)
            self._fill_slots()
            if not self._successes or self._is_due():
                self._wake.set()

    def _hand_over(self, hold: Hold, success: Shareable) -> None:
        """It is written with the next commit, which what ends meanwhile shares. Its slot is free already."""
        if not self._successes:
            self._share_by = self._now() + config.SHARED_WITHIN_S
            self._wake.set()  # a rest that has begun does not know of it
        self._successes.append((hold, success))
        self._slots.ended(self._now() - hold.since)
        self._slots.free(hold)
        hold.running = None

    def _forget(self, hold: Hold) -> None:
        self._slots.free(hold)
        if self._holds.get((hold.step.task_id, hold.step.n)) is hold:
            del self._holds[hold.step.task_id, hold.step.n]

    # ---------------------------------------------------------------- heartbeat

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(config.HEARTBEAT_S)
            try:
                await self._look()
            except DATABASE_AWAY as error:
                log.warning("no heartbeat: %s", type(error).__name__)
                if not self._lease.is_good():
                    raise LeaseLost("no heartbeat reached the database in time") from error

    async def _look(self) -> None:
        thinking = [hold for hold in self._holds.values() if hold.is_thinking]
        rows = await self._lease.beat()
        self._heed(rows)
        ours = {(row.task_id, row.n, row.fence) for row in rows}
        for hold in thinking:
            if hold.is_thinking and (hold.step.task_id, hold.step.n, hold.step.fence) not in ours:
                self._drop(hold)

    def _heed(self, rows: list[Running]) -> None:
        unknown = set()
        for row in rows:
            hold = self._holds.get((row.task_id, row.n))
            if hold is None or hold.step.fence != row.fence:
                unknown.add((row.task_id, row.n, row.fence))
            elif row.cancel_asked and not hold.cancel_asked:
                hold.cancel_asked = True
                if hold.may_interrupt and hold.running:
                    hold.running.cancel()
        # Seen twice in a row, so not merely on its way: a claim whose reply was lost.
        for task, n, fence in unknown & self._seen_unknown:
            adopting = asyncio.create_task(self._adopt(task, n, fence))
            self._adopting.add(adopting)
            adopting.add_done_callback(self._adopting.discard)
        self._seen_unknown = unknown

    async def _adopt(self, task: int, n: int, fence: int) -> None:
        step = await steps.adopt(self._db, self._lease.worker, task, n, fence)
        if step is not None and (task, n) not in self._holds:
            log.info("adopted step %s.%s", task, n)
            self._queue(step)
            self._fill_slots()

    def _drop(self, hold: Hold) -> None:
        """What it comes to will not be written: the step is another's by now. Once: it may still be writing its account."""
        self._slots.leave(hold)
        if not hold.is_dropped and hold.running:
            hold.is_dropped = True
            hold.running.cancel()
