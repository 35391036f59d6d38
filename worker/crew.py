"""Everything that one worker process is made of, opened and closed together.

A crew holds one lease. `run` ends when the executor was stopped or the lease is lost; the entry point then opens a
fresh crew or leaves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from core import __version__, config, organisation, ring
from core.db import DATABASE_AWAY, close_pool, open_pool, refuse_misfit
from core.deciding import ASIDE
from core.deps import Deps
from core.ending import ended
from core.logs import moved
from core.models import Claimed, Failed, Outcome, Released, Unknown
from core.settings import Settings
from core.store import llm_calls, people, skills, sms
from core.store.steps import Probing
from worker import outcome
from worker.act import Actor
from worker.aside import Aside
from worker.audit import Chainer
from worker.budget import OverBudget, Purse
from worker.executor import Executor, Shareable
from worker.ladder import Climber
from worker.lease import Lease, LeaseLost
from worker.listener import Listener
from worker.llm import CallRecord, Models
from worker.planned import PlanAsker
from worker.prompts import prompt_problems
from worker.quarantine import flaw_of, quarantined
from worker.skills.context import SkillContext
from worker.skills.handles import open_handles
from worker.skills.registry import Registry
from worker.slots import Hold
from worker.sweeper import Sweeper
from worker.telling import told
from worker.think import Thinker
from worker.upkeep import Housekeeper
from worker.waiting import Waiter

log = logging.getLogger(__name__)

STOPPED = Failed(error="The task was stopped.", outcome=Outcome.CANCELLED)


class Crew:
    def __init__(
        self,
        deps: Deps,
        dsn: str,
        lease: Lease,
        actor: Actor,
        thinker: Thinker,
        redis_url: str,
        slots: int = config.WORKER_SLOTS,
    ) -> None:
        self.redis_url = redis_url
        self._deps, self._lease, self._actor, self._thinker = deps, lease, actor, thinker
        self._aside = Aside(deps, thinker.models)
        self._waiter = Waiter(actor)
        self._asker = PlanAsker(actor)
        self.executor = Executor(deps.db, deps.ring, lease, self._carry, slots=slots)
        chainer = Chainer(deps.db, deps.settings.home, deps.organisation.audit)
        self._sweeper = Sweeper(deps.db, dsn, deps.ring, self._probe, chainer, Climber(deps).tick, self._told)
        self._housekeeper = Housekeeper(deps.db, deps.measures)
        self._listener = Listener(deps, thinker.models, redis_url)
        self._purse = Purse(deps)
        self._looking: set[asyncio.Task[None]] = set()

    @property
    def deps(self) -> Deps:
        return self._deps

    async def run(self) -> None:
        """Carry steps out, sweep, keep house and listen, until stopped or without a lease."""
        beside = [asyncio.create_task(part.run()) for part in (self._sweeper, self._housekeeper, self._listener)]
        try:
            await self.executor.run()
        except LeaseLost as error:
            log.error("the lease is lost, starting over: %s", error)
        finally:
            await ended(beside)
            await self._housekeeper.leave()

    def _told(self, due: frozenset[str]) -> None:
        """What this worker's sweeper has found that others carry out."""
        self.executor.told("ready" in due)
        if "voices" in due:
            self._listener.poke()

    def look_at(self, task: int) -> None:
        """A ring: something about this task may have changed."""
        self.executor.poke()
        if self.executor.holds_task(task):
            looking = asyncio.create_task(self.executor.check_cancels())
            self._looking.add(looking)
            looking.add_done_callback(self._looking.discard)

    async def _carry(self, hold: Hold) -> Claimed | Shareable | None:
        if (waited_s := hold.step.row.get("waited_s")) is not None:  # none for a step claimed with the one before it
            self._deps.measures.observe("claim_seconds", waited_s, hold.step.lane)
        try:
            came = STOPPED if hold.cancel_asked else await self._perform(hold)
        except asyncio.CancelledError:
            if hold.is_dropped:
                raise
            came = STOPPED if hold.cancel_asked else Released(why="the worker is shutting down")
        except DATABASE_AWAY:
            raise
        except Exception as error:
            # Without an outcome the step would stay ours and be taken up again for ever.
            log.exception("step %s.%s broke", hold.step.task_id, hold.step.n)
            why = f"{hold.step.skill or hold.step.kind} broke: {type(error).__name__}: {error}"
            came = Failed(error=why) if hold.may_interrupt else Unknown(error=why)
        result = outcome.shareable(hold.step, came)
        if result is not None:
            return Shareable(result, lambda hold: self._write(hold.step, came), lambda: self._tell(hold.step, came))
        return await self._write(hold.step, came)

    async def _write(self, step: Claimed, came: outcome.Outcome) -> Claimed | None:
        following = await outcome.write(self._deps.db, self._deps.ring, self._lease, step, came)
        self._tell(step, came)
        return following

    def _tell(self, step: Claimed, came: outcome.Outcome) -> None:
        """One line and one count for each outcome that was written."""
        to, word = told(came, step.effect_class, step.attempt < step.max_attempts)
        self._deps.measures.count("steps_total", step.kind, word)
        person = step.row["requester_key"]
        moved(log, "step", task=step.task_id, step=step.n, principal=person, was="running", to=to, why=word)

    async def _perform(self, hold: Hold) -> outcome.Outcome:
        if flaw := flaw_of(hold.step):
            return quarantined(hold.step, flaw)
        if hold.step.kind == "think" and hold.step.skill == ASIDE:
            return await self._aside.answer(hold.step)
        if hold.step.kind in ("plan", "think"):
            hold.is_thinking = True
            try:
                return await self._thinker.think(hold.step)
            finally:
                hold.is_thinking = False
        if hold.step.kind == "act":
            try:
                await self._purse.look(hold.step, thinking=False)
            except OverBudget as over:
                return over.parked
            return await self._actor.act(hold)
        if hold.step.kind == "wait":
            return await self._waiter.wait(hold)
        if hold.step.kind == "ask":
            return await self._asker.ask(hold.step)
        return Failed(error=f"This worker cannot do steps of kind {hold.step.kind!r}.", outcome=Outcome.REFUSED)

    async def _probe(self, probing: Probing) -> tuple[bool | None, dict[str, Any]]:
        """Ask the skill whether the call with this key happened."""
        skill = self._actor.registry.get(probing.skill)
        if skill is None:
            return None, {"summary": f"No skill {probing.skill!r} here to look with."}
        args = probing.action.get("args") if isinstance(probing.action, dict) else None
        if not isinstance(args, dict):
            return None, {"summary": "What was called cannot be read any more, so nobody can look whether it happened."}
        ctx = SkillContext(
            key=probing.key,
            task_id=str(probing.task_id),
            step=probing.n,
            requester_key="",
            handles=self._actor.handles,
            settings=self._actor.registry.settings_of(probing.skill),
            content_hashes=probing.action.get("content_hashes", {}),
        )
        found = await skill.probe(ctx, args, probing.key)
        happened = {"happened": True, "not_happened": False}.get(found.state)
        evidence: dict[str, Any] = {"summary": found.evidence}
        if found.result is not None:
            evidence["result"] = found.result
        return happened, evidence


@asynccontextmanager
async def open_crew(settings: Settings, *, slots: int = config.WORKER_SLOTS) -> AsyncIterator[Crew]:
    """Connect, load sayso.yaml and the skills, publish their manifests, take a lease. `slots`: steps carried at once."""
    dsn, redis_url = settings.database_dsn(), settings.redis_address()
    async with AsyncExitStack() as stack:
        db = await open_pool(dsn, name="sayso worker")
        stack.push_async_callback(close_pool, db)
        await refuse_misfit(db)
        rings = ring.Ring.open(redis_url)
        stack.push_async_callback(rings.close)
        known = organisation.load(settings.config_path)
        await people.sync(db, people.wanted(known))
        await sms.sync(db, sms.agreed(known))
        deps = Deps(settings, known, db, rings)
        registry = Registry.load(settings.home, known.skills)
        for problem in registry.problems:
            log.warning("skill left out: %s: %s", problem.source, problem.why)
        for flaw in prompt_problems(settings.home):
            log.warning("prompt left out: %s", flaw)
        published = await skills.publish(db, registry.manifests())
        handles = open_handles(settings.home, known.skills, settings.secret, settings.smtp())
        models = Models.open(settings, known.models, record=_recorder(deps))
        stack.push_async_callback(models.aclose)
        lease = Lease(db, dsn)
        await lease.take(__version__)
        await skills.sign(db, lease.worker, published)
        stack.push_async_callback(lease.leave)
        actor = Actor(deps, lease, registry, handles)
        yield Crew(deps, dsn, lease, actor, Thinker(deps, registry, models), redis_url, slots)


def _recorder(deps: Deps) -> Callable[[CallRecord], Awaitable[None]]:
    async def record(call: CallRecord) -> None:
        deps.measures.count("llm_calls_total", call.provider, call.error_class or call.outcome)
        deps.measures.observe("llm_seconds", call.latency_ms / 1000, call.provider)
        await llm_calls.record(
            deps.db,
            purpose=call.purpose,
            provider=call.provider,
            model=call.model,
            prompt_sha256=call.prompt_sha256,
            input_tokens=call.usage.input_tokens,
            output_tokens=call.usage.output_tokens,
            cached_tokens=call.usage.cached_tokens,
            usd=call.usd,
            latency_ms=call.latency_ms,
            outcome=call.outcome,
            error_class=call.error_class,
            task=call.task,
            n=call.n,
        )

    return record
