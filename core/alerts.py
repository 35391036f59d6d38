"""When an alert rule of sayso.yaml speaks: once when its condition has held for its time, once when that is over.

Pure: the gauges and the time come in, what the rule's state becomes and what is said go out. `core.store.alerts` keeps the
state in the same commit as the message. A gap in the watching counts for nothing: nobody knows what was in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from core import config, figures
from core.expressions import Expression
from core.organisation.schema import Alert

Says = Literal["fired", "resolved"]
GAP: Final = timedelta(seconds=4 * config.ALERTS_EVERY_S)


@dataclass(frozen=True, slots=True)
class Standing:
    """`since`: the condition holds since then; `fired_at`: it was told; `clear_since`: told, and over since then."""

    since: datetime | None = None
    fired_at: datetime | None = None
    clear_since: datetime | None = None
    seen_at: datetime | None = None


def key_of(rule: Alert) -> str:
    """The same for the same rule, wherever it stands in the file."""
    text = json.dumps(rule.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def holds(rule: Alert, gauges: Mapping[str, float]) -> bool:
    """Raises `BadExpression` when a condition can't be evaluated."""
    if rule.when is not None:
        return Expression(rule.when, figures.NAMES).holds(gauges)
    value = gauges[rule.gauge]
    return value > rule.above if rule.above is not None else value < (rule.below or 0.0)


def after(was: Standing, is_so: bool, now: datetime, for_s: float) -> tuple[Standing, Says | None]:
    """What follows from one look. It is over when it was not so for as long, at least `ALERT_CLEAR_LEAST_S`: no flapping."""
    if was.seen_at is not None and now - was.seen_at > GAP:
        was = replace(was, since=None, clear_since=None)
    was = replace(was, seen_at=now)
    if was.fired_at is None:
        since = (was.since or now) if is_so else None
        if since is not None and now - since >= timedelta(seconds=for_s):
            return replace(was, since=since, fired_at=now), "fired"
        return replace(was, since=since), None
    if is_so:
        return replace(was, clear_since=None), None
    clear = was.clear_since or now
    if now - clear >= timedelta(seconds=max(for_s, config.ALERT_CLEAR_LEAST_S)):
        return Standing(seen_at=now), "resolved"
    return replace(was, clear_since=clear), None
