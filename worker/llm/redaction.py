"""Takes the secrets that we hold out of what goes to a model and out of what comes back as an error.

Pure. Only long values are taken out: a short one, such as the password of a test database, may be an ordinary word,
and a prompt without its ordinary words asks something else. Logs and cards have their own, stricter mask.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from worker.llm.protocol import Turn

SECRET_CHARS_LEAST: Final = 12
MASK: Final = "‹secret›"


class Redaction:
    def __init__(self, secrets: Iterable[str]) -> None:
        # Longest first: one secret may contain another.
        known = sorted({s for s in secrets if len(s) >= SECRET_CHARS_LEAST}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, known))) if known else None

    def text(self, text: str) -> str:
        """Also without half characters (lone surrogates), which no vendor's JSON can hold."""
        text = text.encode("utf-8", "replace").decode()
        return self._pattern.sub(MASK, text) if self._pattern else text

    def value(self, value: Any) -> Any:
        """The same for every text inside a JSON value, names included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        return value

    def turn(self, turn: Turn) -> Turn:
        calls = tuple(replace(call, args=self.value(call.args)) for call in turn.calls)
        return replace(turn, text=self.text(turn.text), calls=calls)
