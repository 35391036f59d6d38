"""Every figure that Sayso shows of itself: its name, what it says, its labels and buckets.

Pure. The names are what dashboards and alert rules hold on to: they are added to, never changed. Gauges are read from the
database when somebody asks (`core.store.gauges`); counters and durations are collected in each process (`core.measures`)
and added up in the database (`core.store.measures`), so that they outlive the worker that saw them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from core import config

PREFIX: Final = "sayso_"
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(frozen=True, slots=True)
class Gauge:
    """A value of the moment. With a `label` it has one value for each of `values`, 0 where nothing is."""

    name: str
    says: str
    label: str = ""
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measure:
    """What adds up: a counter, or with `buckets` how long something took, in seconds."""

    name: str
    says: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


OPEN_TASKS: Final = ("queued", "planning", "running", "waiting", "paused", "cancelling")
OPEN_MESSAGES: Final = ("pending", "sending", "unknown")

GAUGES: Final = (
    Gauge("queue_depth", "ready steps that no worker has taken", "lane", config.LANES),
    Gauge("queue_oldest_ready_seconds", "how long the longest-waiting ready step waits"),
    Gauge("tasks", "unfinished tasks", "status", OPEN_TASKS),
    Gauge("steps_unknown", "steps of which it is not known whether they happened"),
    Gauge("approvals_pending", "approvals that wait for a decision"),
    Gauge("approvals_oldest_seconds", "how long the longest-waiting approval waits"),
    Gauge("outbox_depth", "messages not yet delivered", "status", OPEN_MESSAGES),
    Gauge("outbox_oldest_seconds", "how long the oldest message that is due waits"),
    Gauge("outbox_dead", "messages given up in the last day"),
    Gauge("workers_alive", "workers whose lease holds"),
    Gauge(
        "oldest_transaction_seconds",
        "age of the oldest transaction: history is shown, and dead rows vacuumed, behind it",
    ),
)

MEASURES: Final = (
    Measure("claim_seconds", "from a step being ready to a worker taking it", ("lane",), SECONDS),
    Measure("press_seconds", "from a press's arrival to its committed decision", ("channel",), SECONDS),
    Measure("begin_seconds", "from the decision to the begin of the action", (), SECONDS),
    Measure("steps_total", "outcomes of steps", ("kind", "outcome")),
    Measure("messages_total", "deliveries to chats", ("channel", "outcome")),
    Measure("llm_seconds", "how long a model took to answer", ("provider",), SECONDS),
    Measure("llm_calls_total", "calls to models; outcome is ok or a kind of error", ("provider", "outcome")),
)


def flat(reading: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """A reading as alert rules name it: `queue_depth` is all lanes together, `queue_depth_urgent` one of them."""
    values: dict[str, float] = {}
    for gauge in GAUGES:
        found = reading.get(gauge.name, {})
        values[gauge.name] = float(sum(found.values()))
        values |= {f"{gauge.name}_{value}": float(found.get(value, 0)) for value in gauge.values}
    return values


NAMES: Final = frozenset(flat({}))
