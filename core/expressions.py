"""`when:` conditions of policy rules, in CEL. The library stands behind this one small port.

A condition is checked when sayso.yaml is read: its syntax, its variables and their fields. What can only be seen when
it is evaluated (an argument that is not there, a number where text is meant) raises, and the caller asks a person.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any, Final

# The package would bring its own command line along, with an editor and colours: a fifth of the start of each of our processes.
sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))
import cel  # noqa: E402

VARIABLES: Final = frozenset(
    {
        "skill", "permission", "args", "risk", "effect_class", "reversible", "origin", "tainted", "requester",
        "conversation", "count", "amount", "target", "new_target", "rate", "now", "task",
    }
)  # fmt: skip
FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "requester": frozenset({"id", "roles"}),
    "conversation": frozenset({"channel", "id"}),
    "task": frozenset({"id", "goal", "spent"}),
}
SOURCE_CHARS_MOST: Final = 2_000
COMPILED_KEPT: Final = 1_024

_TEXT = re.compile(r"""[rR]?(?:\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')""")
_BINDS = re.compile(r"\.(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
_FIELD = re.compile(r"(?<![\w.])(requester|conversation|task)\s*\.\s*([A-Za-z_]\w*)")


class BadExpression(ValueError):
    """It is no CEL, names something that is not there, or cannot be evaluated."""


class Expression:
    """A compiled condition over these variables, of which it names `names`. Raises `BadExpression`."""

    def __init__(self, source: str, variables: frozenset[str] = VARIABLES) -> None:
        if len(source) > SOURCE_CHARS_MOST:
            raise BadExpression(f"it is longer than {SOURCE_CHARS_MOST:,} characters")
        self._program, self.names = _compiled(source, variables)
        self.source = source

    def holds(self, variables: Mapping[str, Any]) -> bool:
        """Raises `BadExpression` when it cannot be evaluated or is not true or false."""
        try:
            # Only what it names: each variable is translated for the library, which takes longer than the evaluation.
            answer = self._program.execute({name: variables[name] for name in self.names if name in variables})
        except Exception as error:  # the library raises KeyError, TypeError, RuntimeError and others of its own
            raise BadExpression(_in_words(error)) from error
        if not isinstance(answer, bool):
            raise BadExpression(f"it gave {answer!r} instead of true or false")
        return answer


@lru_cache(maxsize=COMPILED_KEPT)
def _compiled(source: str, variables: frozenset[str]) -> tuple[Any, tuple[str, ...]]:
    try:
        program = cel.compile(source)
    except ValueError as error:
        raise BadExpression(_syntax(str(error))) from error
    bare = _TEXT.sub("''", source)
    for name in sorted(set(program.variables()) - variables - set(_BINDS.findall(bare))):
        raise BadExpression(f"there is no variable {name!r}; {_nearest(name, variables)}")
    for name, field in _FIELD.findall(bare):
        if variables is VARIABLES and field not in FIELDS[name]:
            raise BadExpression(f"{name} has no {field!r}; {_nearest(field, FIELDS[name])}")
    return program, tuple(variables.intersection(program.variables()))


def _syntax(message: str) -> str:
    """`Failed to parse expression '…': ERROR: <input>:1:3: Syntax error: …` → the part after the place."""
    found = re.search(r"<input>:(\d+):(\d+): ([^\n]+)", message)
    return f"{found.group(3)} (at character {found.group(2)})" if found else message.split("\n", maxsplit=1)[0]


def _in_words(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no {error.args[0]!r}; write has(…) before it" if error.args else "something is not there"
    return str(error).split("\n", maxsplit=1)[0] or type(error).__name__


def _nearest(name: str, known: frozenset[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"
