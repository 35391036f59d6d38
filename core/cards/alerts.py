"""What an alert rule says in its channel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

from core.display import visible
from core.organisation.schema import Alert


def condition_text(rule: Alert) -> str:
    """The rule as a person would say it."""
    if rule.when is not None:
        what = rule.when
    elif rule.above is not None:
        what = f"{rule.gauge} above {rule.above:g}"
    else:
        what = f"{rule.gauge} below {rule.below or 0:g}"
    return visible(what) + (f" for {timedelta(seconds=rule.for_)}" if rule.for_ else "")


def alert_text(rule: Alert, gauges: Mapping[str, float], says: str) -> str:
    """One message: that it began, or that it is over, with the figures that it names."""
    named = sorted(set(re.findall(r"\w+", rule.when or rule.gauge)) & set(gauges))
    now = ", ".join(f"{name} is {gauges[name]:g}" for name in named)
    head = "Alert" if says == "fired" else "Over"
    return f"{head}: {condition_text(rule)}" + (f" ({now} now)" if now else "")
