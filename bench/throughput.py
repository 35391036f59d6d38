"""W1 to W3: how many steps a second, for single steps, chains of ten, and one step that fans out to twenty.

Every system runs in a process of its own on a fresh copy of its database; the probe runs before and after, with as many
connections as the cell has slots.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from bench import raw
from bench.cells import Key, Sample
from bench.children import ChildFailed
from bench.peers import Load, Shape
from bench.run import Run

CHAIN_STEPS: Final = 10
QUICK_BESIDE: Final = 8
FAN_STEPS: Final = 22  # 1 → 20 → 1


@dataclass(frozen=True, slots=True)
class Workload:
    """`steps_full` and `steps_quick`: how many steps a fast system is given; a slow one gets a quarter.

    `variant`: a way in which only Sayso is measured. `in_chat`: the tasks belong to a conversation, whose card is kept up
    to date. `workers`: processes that share the slots.
    """

    name: str
    shape: Shape
    steps: int
    concurrencies: tuple[int, ...]
    steps_full: int
    steps_quick: int
    variant: str = ""
    in_chat: bool = False
    workers: int = 1


WORKLOADS: Final = (
    Workload("W1", "chain", 1, (1, 8, 32), 8_000, 400),
    Workload("W2", "chain", CHAIN_STEPS, (1, 8, 32), 12_000, 500),
    Workload("W1", "chain", 1, (8, 32), 16_000, 600, "two workers", workers=2),
    Workload("W2", "chain", CHAIN_STEPS, (8, 32), 16_000, 800, "two workers", workers=2),
    Workload("W2", "chain", CHAIN_STEPS, (8,), 3_000, 300, "in a chat", in_chat=True),
    Workload("W3", "fan", FAN_STEPS, (8,), 4_400, 440),
)
SLOW: Final = frozenset({"dbos", "langgraph", "procrastinate", "pgqueuer"})


async def measure(run: Run, workload: Workload) -> AsyncIterator[Sample]:
    """All systems in turn, again for each repeat; the quick run measures others beside us only at C = 8."""
    systems = ["sayso"] if workload.variant else run.systems
    for repeat in range(run.repeats):
        for concurrency in run.concurrencies or workload.concurrencies:
            before = await _probe(run, concurrency)
            for system in systems:
                if run.quick and system != "sayso" and concurrency != QUICK_BESIDE and run.concurrencies is None:
                    continue
                if run.leaves_out(workload.name, system):
                    continue
                took = await _carry_out(run, system, workload, concurrency)
                after = await _probe(run, concurrency)
                raw_rate = (before.rate + after.rate) / 2
                before = after
                variant = f"C={concurrency} {workload.variant}" if workload.variant else ""
                key = Key(workload.name, system, concurrency, variant)
                if took is not None:
                    rate = took["steps"] / took["seconds"]
                    yield Sample(key, repeat, raw_rate, rate, latencies_ms=tuple(took["gaps_ms"]))


async def _probe(run: Run, concurrency: int) -> raw.Raw:
    return await raw.probe(run.stand.dsn("raw"), concurrency, run.probe_s)


async def _carry_out(run: Run, system: str, workload: Workload, concurrency: int) -> dict[str, Any] | None:
    steps = workload.steps_quick if run.quick else workload.steps_full
    if system in SLOW:
        steps //= 4
    if concurrency == 1:
        steps //= 2
    tasks = max(steps // workload.steps, 2 * concurrency)
    load = Load(tasks, workload.steps, concurrency, workload.shape, workload.in_chat, workload.workers)
    try:
        async with run.site(system) as site:
            answer = await run.ask(system, "run", site, load)
    except ChildFailed as error:
        answer = {"problems": [str(error)]}
    if answer["problems"]:
        run.fail(f"{workload.name} {system} C={concurrency}", "; ".join(answer["problems"]))
        return None
    return answer
