"""Checks a model's tool calls before anything is done with them, and says what is wrong in words it can mend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.llm.protocol import Answer, BadCall, ToolCall, ToolSpec, Turn


@dataclass(frozen=True, slots=True)
class Parsed:
    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class Invalid:
    message: str


def parse_calls(answer: Answer, tools: Sequence[ToolSpec]) -> Parsed | Invalid:
    """Every call has JSON arguments and names a tool that there is."""
    names = {tool.name for tool in tools}
    if answer.stop == "length":
        return Invalid("The answer was cut off because it was too long; be shorter.")
    calls = []
    for call in answer.calls:
        if isinstance(call, BadCall):
            return Invalid(f"{call.name}: {call.error}")
        if call.name not in names:
            return Invalid(f"There is no tool {call.name!r}; there are {', '.join(sorted(names))}.")
        calls.append(call)
    return Parsed(tuple(calls))


def repair_turns(turns: Sequence[Turn], answer: Answer, message: str) -> list[Turn]:
    """The conversation with the bad answer in it and what is wrong with it."""
    fixed = [*turns, Turn("assistant", answer.text, answer.calls)]
    if answer.calls:
        return [*fixed, *(Turn("tool", f"Not done: {message}", call_id=call.id) for call in answer.calls)]
    return [*fixed, Turn("user", f"That can't be used: {message} Please try again.")]
