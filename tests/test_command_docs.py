"""The command line as the docs name it: every command there can be typed, with the options and arguments that stand there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from bot.cli import app

HOUSE = Path(__file__).resolve().parent.parent
PAGES = [HOUSE / "README.md", *sorted((HOUSE / "docs").glob("*.md")), HOUSE / "tests" / "sim" / "README.md"]
# `/sayso …` is Slack's command, and not this one.
INLINE = re.compile(r"`(?:\./)?sayso ([^`]+)`")
FENCED = re.compile(r"^(?:\./)?sayso (.+)$")
NAME = re.compile(r"[a-z]+( [a-z-]+)?")
REMARK = re.compile(r"\s+#.*|\s{3,}.*")


def named() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        is_code = False
        for line in page.read_text(encoding="utf-8").split("\n"):
            if line.startswith("```"):
                is_code = not is_code
            found = FENCED.findall(line) if is_code else INLINE.findall(line)
            commands = (REMARK.sub("", command) for command in found)
            yield from (
                (page.name, command) for command in commands if command.split()[0] != "test"
            )  # the launcher's own


def every_command(group: Any, path: str = "sayso") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if hasattr(command, "commands"):
            yield from every_command(command, f"{path} {name}")


def typed(command: Any, words: list[str], parent: Any = None, *, is_name: bool = False) -> list[str]:
    """Parse the words as they would be and run nothing; answers the names of the command that they reach. Raises click's
    `UsageError`; of a mere name nothing is lacking."""
    context = command.make_context(command.name or "sayso", list(words), parent=parent, resilient_parsing=is_name)
    if not hasattr(command, "commands"):
        return []
    rest = [*context._protected_args, *context.args]
    if not rest:
        return []
    name, inner, left = command.resolve_command(context, rest)
    assert inner is not None, f"there is no command {rest[0]!r}"
    return [str(name), *typed(inner, left, context, is_name=is_name)]


@pytest.mark.parametrize(("page", "words"), sorted(set(named())))
def test_a_command_of_the_docs_can_be_typed(page: str, words: str) -> None:
    reached = typed(typer.main.get_command(app), shlex.split(words), is_name=NAME.fullmatch(words) is not None)
    assert reached[:1] == words.split()[:1]


def test_every_command_says_what_it_is_for() -> None:
    found = dict(every_command(typer.main.get_command(app)))
    assert len(found) > 30
    assert [name for name, command in found.items() if not command.get_short_help_str()] == []
