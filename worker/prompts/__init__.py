"""The prompts, as text files beside this one; a file of the same name in `$SAYSO_HOME/prompts` replaces one.

Rendering only puts values in: a value is never expanded again, and a name that is missing or unknown is an error.
"""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
_NAME = re.compile(r"\{\{\s*(\w+)\s*\}\}")


class BadPrompt(ValueError):
    """A prompt and its values do not fit; the message names what is missing or unknown."""


def load_prompt(name: str, home: Path) -> str:
    own = home / "prompts" / f"{name}.md"
    path = own if own.is_file() else HERE / f"{name}.md"
    return path.read_text(encoding="utf-8")


def render(prompt: str, **values: str) -> str:
    """Raises `BadPrompt` when the prompt names a value that is not given."""

    def put_in(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in values:
            raise BadPrompt(f"the prompt names {name!r}; it may name {', '.join(sorted(values))}")
        return values[name]

    return _NAME.sub(put_in, prompt)
