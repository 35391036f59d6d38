"""The headline of an action: the skill's template with the arguments filled in, short enough for a lock screen."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from core.display import names_secret

VALUE_CHARS = 60
LISTED = 3


def action_title(template: str, args: Mapping[str, Any]) -> str:
    """`Delete {paths} from the workspace` → `Delete a.log, b.log and 4 more from the workspace`.

    The whole of every argument is elsewhere on the card; an unknown field stays as it is written. What has a secret's name
    is not in a headline, which is shown in more places than the card.
    """
    parts = []
    for text, name, _, _ in string.Formatter().parse(template):
        parts.append(text)
        if name is not None:
            parts.append(_field(name, args) if name in args else f"{{{name}}}")
    return "".join(parts)


def _field(name: str, args: Mapping[str, Any]) -> str:
    return "(private)" if names_secret({name: args[name]}) else _short(args[name])


def _short(value: Any) -> str:
    if isinstance(value, list):
        shown = ", ".join(_short(v) for v in value[:LISTED])
        return shown if len(value) <= LISTED else f"{shown} and {len(value) - LISTED} more"
    text = str(value)
    return text if len(text) <= VALUE_CHARS else f"{text[: VALUE_CHARS - 1]}…"
