"""`when:` conditions of policy rules, in CEL. The library stands behind this one small port."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import cel

VARIABLES: Final = frozenset(
    {
        "skill", "permission", "args", "risk", "effect_class", "reversible", "origin", "tainted", "requester",
        "conversation", "count", "amount", "target", "new_target", "now", "task",
    }
)  # fmt: skip
_BINDS = re.compile(r"\.(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")


class BadExpression(ValueError):
    """It is no CEL, or names something that is not there."""


class Expression:
    """A compiled condition."""

    def __init__(self, source: str) -> None:
        try:
            self._program = cel.compile(source)
        except ValueError as error:
            raise BadExpression(str(error).split("\n", maxsplit=1)[0]) from error
        unknown = set(self._program.variables()) - VARIABLES - set(_BINDS.findall(source))
        if unknown:
            names = ", ".join(sorted(unknown))
            raise BadExpression(f"there is no variable {names}; there are {', '.join(sorted(VARIABLES))}")
        self.source = source

    def holds(self, variables: Mapping[str, Any]) -> bool:
        """Raises `BadExpression` when it cannot be evaluated or is not true or false."""
        try:
            answer = self._program.execute(dict(variables))
        except Exception as error:  # the library raises KeyError, TypeError, RuntimeError and others of its own
            raise BadExpression(f"{type(error).__name__}: {error}") from error
        if not isinstance(answer, bool):
            raise BadExpression(f"it gave {answer!r} instead of true or false")
        return answer
