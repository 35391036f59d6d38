"""How long something lasts, as people write it in sayso.yaml and in plans: `90`, `90s`, `5m`, `2h`, `3d`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

DAYS_MOST = 366
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(value: Any) -> Any:
    """`90`, `90s`, `5m`, `2h`, `3d` → seconds. Raises ValueError for other text."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d{1,9})\s*([smhd])", value.strip(), re.ASCII)
        if not match:
            raise ValueError(f"{value!r} is no duration; write it like 30s, 5m, 2h or 3d")
        return int(match.group(1)) * _UNITS[match.group(2)]
    return value


Duration = Annotated[
    int,
    BeforeValidator(seconds),
    Field(ge=0, le=DAYS_MOST * 86400),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string"}], "description": "Seconds, or like 30s, 5m, 2h"}),
]


def in_words(span_s: float) -> str:
    """`5400` → `90 min`; the largest unit that says it without a fraction worth saying."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if span_s >= 2 * unit or span_s == unit:
            return f"{span_s / unit:.3g} {name}"
    return f"{span_s:.3g} s"
