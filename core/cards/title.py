"""The headline of an action: the skill's template with the arguments filled in, short enough for a lock screen.

Pure. A step that was planned before its arguments were known is named by what they refer to, and by their values once there.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

from core.display import names_secret, visible
from core.models import SkillManifest
from core.templates import BadReference, of_result, rewrite

VALUE_CHARS = 60
LISTED = 3
PRIVATE_VALUE = "(private)"


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


def call_title(manifest: SkillManifest, args: Mapping[str, Any]) -> str:
    """Of a call as it is planned: what is not given is what the skill takes it for."""
    taken = {
        name: field["default"]
        for name, field in manifest.args_schema.get("properties", {}).items()
        if isinstance(field, Mapping) and field.get("default") is not None
    }
    return action_title(manifest.card, taken | dict(args)) or manifest.name


def step_title(step: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> str:
    """`Delete {{ 2.paths }}` → `Delete a.log, b.log`, or `Delete (paths of step 2)` while nobody knows. `steps` are those of
    its task, with their results."""
    results = {s["n"]: s["result"] for s in steps if isinstance(s.get("result"), Mapping)}

    def referred(_: str, name: str, path: tuple[str, ...]) -> str:
        try:
            value = of_result(results, name, path)
        except BadReference:
            value = None
        if value is None or isinstance(value, Mapping):
            return f"({'.'.join(path) or 'the result'} of step {name})"
        return PRIVATE_VALUE if names_secret({".".join(path): value}) else _short(value)

    return visible(rewrite(step["title"] or step["skill"] or step["kind"], referred))


def _field(name: str, args: Mapping[str, Any]) -> str:
    return PRIVATE_VALUE if names_secret({name: args[name]}) else _short(args[name])


def _short(value: Any) -> str:
    if isinstance(value, list):
        shown = ", ".join(_short(v) for v in value[:LISTED]) or "(nothing)"
        return shown if len(value) <= LISTED else f"{shown} and {len(value) - LISTED} more"
    text = str(value)
    return text if len(text) <= VALUE_CHARS else f"{text[: VALUE_CHARS - 1]}…"
