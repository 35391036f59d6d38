"""The prompts: text files here, each of which a file of the same name in `$SAYSO_HOME/prompts` replaces.

`render` puts values in for `{{name}}` and is no template language: no conditions, no loops, and what a value holds is
never looked at again. A dotted name, as in `{{ find.paths }}`, is not a variable but what the model is taught to write.
Others' words go through `inert` before they are put between marks.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

BUILT_IN: Final = Path(__file__).parent
NAMES: Final = ("plan", "turn", "repair", "aside")
PROMPT_CHARS_MOST: Final = 50_000
_CLOSING: Final = re.compile(r"<(\s*)/")
_VARIABLE: Final = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


class BadPrompt(ValueError):
    """A prompt that cannot be used; the message names it and the fix."""


def load_prompt(name: str, home: Path | None = None) -> str:
    """The operator's prompt, else the built-in one. Raises `BadPrompt`, also when the two differ in their variables."""
    if name not in NAMES:
        raise BadPrompt(f"there is no prompt {name!r}; there are {', '.join(NAMES)}")
    built_in = (BUILT_IN / f"{name}.md").read_text(encoding="utf-8")
    own = home / "prompts" / f"{name}.md" if home is not None else None
    if own is None or not own.is_file():
        return built_in
    try:
        text = own.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadPrompt(f"{own} cannot be read: {type(error).__name__}; it must be UTF-8 text") from error
    if len(text) > PROMPT_CHARS_MOST:
        raise BadPrompt(f"{own} has {len(text)} characters; {PROMPT_CHARS_MOST} are the most")
    _compare(str(own), variables(text), variables(built_in))
    return text


def prompt_problems(home: Path) -> list[str]:
    """What is wrong with the operator's prompts, for a check at start; empty when they can be used."""
    problems = []
    for name in NAMES:
        try:
            load_prompt(name, home)
        except BadPrompt as error:
            problems.append(str(error))
    return problems


def render(prompt: str, **values: str) -> str:
    """Every `{{name}}` replaced by its value, once. Raises `BadPrompt` when names are missing or left over."""
    _compare("the prompt", variables(prompt), frozenset(values))
    return _VARIABLE.sub(lambda match: values[match.group(1)], prompt)


def inert(text: str) -> str:
    """Others' text so that it can't close the part of a prompt that it stands in, whatever case or spaces it writes."""
    return _CLOSING.sub(r"<\1\\/", text)


def variables(prompt: str) -> frozenset[str]:
    return frozenset(_VARIABLE.findall(prompt))


def _compare(what: str, used: frozenset[str], given: frozenset[str]) -> None:
    if used - given:
        unknown = ", ".join(f"{{{{{name}}}}}" for name in sorted(used - given))
        raise BadPrompt(f"{what} uses {unknown}, which nothing gives; there are {', '.join(sorted(given)) or 'none'}")
    if given - used:
        unused = ", ".join(f"{{{{{name}}}}}" for name in sorted(given - used))
        raise BadPrompt(f"{what} does not use {unused}; put it in, or the model does not see it")
