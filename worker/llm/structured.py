"""Checks the calls of an answer against their tools' schemas, and makes the turns that send a wrong answer back once.

Pure but for the prompt it reads. What is wrong is said in words that the model can mend; the caller decides whether to ask again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from worker.llm.protocol import TOOL_NAME, Answer, ToolCall, ToolSpec, Turn
from worker.prompts import load_prompt, render

PROBLEMS_MOST: Final = 5
PROBLEM_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class Parsed:
    """Every call names a known tool and fits its schema. No calls at all is a text answer."""

    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class Invalid:
    message: str


def parse_calls(answer: Answer, tools: Sequence[ToolSpec]) -> Parsed | Invalid:
    """All calls, or what is wrong with them; one wrong call spoils the answer."""
    known = {tool.name: tool for tool in tools}
    problems = [_named(call.name, call.error) for call in answer.bad]
    if answer.stop == "length":
        problems.append("the answer was cut off because it was too long; be shorter")
    for call in answer.calls:
        tool = known.get(call.name)
        if tool is None:
            problems.append(f"there is no tool {call.name[:64]!r}; there is {', '.join(sorted(known)) or 'none'}")
        else:
            problems += [_named(call.name, problem) for problem in _problems(call.args, tool.schema)]
    if problems:
        return Invalid("; ".join(problem[:PROBLEM_CHARS] for problem in problems[:PROBLEMS_MOST]))
    return Parsed(answer.calls)


def repair_turns(turns: Sequence[Turn], answer: Answer, message: str, home: Path | None = None) -> list[Turn]:
    """The conversation so far, the answer as it came, and what is wrong with it, in the words of `repair.md`."""
    mend = render(load_prompt("repair", home), message=message).strip()
    if answer.calls and not answer.bad and all(TOOL_NAME.fullmatch(call.name) for call in answer.calls):
        told = [Turn("tool", mend, call_id=call.id) for call in answer.calls]
        return [*turns, Turn("assistant", answer.text, answer.calls), *told]
    # A call that no vendor would take back as one is quoted instead.
    quoted = [f"[call of {c.name or 'no tool'} with {c.raw}]" for c in answer.bad]
    quoted += [f"[call of {c.name} with {c.args}]" for c in answer.calls]
    said = "\n".join(part for part in (answer.text.strip(), *quoted) if part)
    return [*turns, *([Turn("assistant", said)] if said else []), Turn("user", mend)]


def _problems(args: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    found = []
    for error in sorted(Draft202012Validator(schema).iter_errors(args), key=lambda e: list(map(str, e.absolute_path))):
        # Of an anyOf that fits nowhere, the branch that came closest says the most.
        nearest = best_match([error]) or error
        where = ".".join(str(part) for part in nearest.absolute_path)
        found.append(f"{where}: {nearest.message}" if where else nearest.message)
    return found


def _named(tool: str, problem: str) -> str:
    return f"{tool[:64] or 'a call'}: {problem}"
