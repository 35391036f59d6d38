"""Every row of docs/reliability.md, and every threat of docs/security.md, names a test, and each that is named exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "reliability.md"
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)(?:\[([\w-]+)\])?`")


SECURITY = PAGE.with_name("security.md")


def threats() -> str:
    """The part of docs/security.md whose rows name tests."""
    return SECURITY.read_text(encoding="utf-8").partition("## Threats")[2].partition("\n## ")[0]


def rows(text: str) -> list[str]:
    """The rows of its tables, without heads and rulers."""
    lines = text.splitlines()
    heads = {i for i, line in enumerate(lines) if line.startswith("|---")}
    return [line for i, line in enumerate(lines) if line.startswith("|") and i not in heads and i + 1 not in heads]


def test_every_row_names_its_test() -> None:
    for text, least in ((PAGE.read_text(encoding="utf-8"), 40), (threats(), 35)):
        assert len(rows(text)) > least
        assert [row for row in rows(text) if not NAMED.search(row)] == []


def test_each_test_that_is_named_exists() -> None:
    sources = {path.name: path.read_text(encoding="utf-8") for path in TESTS.glob("*.py")}
    # A parameter is a word of some test file; its id has "-" for a space and its number at the end.
    words = " ".join(re.sub(r"[-_]", " ", source) for source in sources.values())
    missing = []
    for file, name, parameter in set(NAMED.findall(PAGE.read_text(encoding="utf-8") + threats())):
        tree = ast.walk(ast.parse(sources.get(file, "")))
        functions = {node.name for node in tree if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        if name not in functions or re.sub(r"[-_]", " ", re.sub(r"-\d+$", "", parameter)) not in words:
            missing.append(f"{file}::{name}[{parameter}]")
    assert missing == []


def test_what_the_page_tells_to_run_exists() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [file for file in re.findall(r"tests/\w+\.py", text) if not (TESTS.parent / file).is_file()] == []
    assert "@" not in text
