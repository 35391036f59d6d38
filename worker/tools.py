"""The tools with which a turn starts child tasks, waits for them, tells them something and stops them.

Pure. Each call becomes a step of its own: visible in the plan, done once, and read by the turn that follows. What is
wrong with a call is said in words that the model can mend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core import config
from core.durations import Duration
from core.models import ArgumentOrigin, PlannedStep
from worker.llm import ToolCall, ToolSpec


class _Call(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SpawnTask(_Call):
    id: str = Field(default="", pattern=r"^([A-Za-z_][\w-]{0,40})?$", description="Your name for it, for await_task")
    goal: str = Field(min_length=1, max_length=4_000, description="All that it has to know: it sees nothing else")


class AwaitTask(_Call):
    task: str = Field(description="Its number, or the id that you give it in spawn_task")
    within: Duration = Field(default=config.WAIT_WITHIN_S, ge=1, le=config.WAIT_MOST_S, description="Wait no longer")


class SendTask(_Call):
    task: str = Field(description="The number of a child task")
    text: str = Field(min_length=1, max_length=4_000)
    priority: Literal["interrupt", "wake", "normal", "low"] = "normal"


class KillTask(_Call):
    task: str = Field(description="The number of a child task")
    why: str = Field(default="", max_length=config.REASON_CHARS)


_FORMS: Final[Mapping[str, type[_Call]]] = {
    "spawn_task": SpawnTask,
    "await_task": AwaitTask,
    "send_task": SendTask,
    "kill_task": KillTask,
}
_TELLS: Final = {
    "spawn_task": "Start a child task that works towards a goal by itself, beside this one, for the same person.",
    "await_task": "Wait until a child task has ended; its result is read in the next turn.",
    "send_task": "Tell a running child task something.",
    "kill_task": "Stop a child task. What it has done stays done.",
}
TOOLS: Final = tuple(ToolSpec(name, _TELLS[name], form.model_json_schema()) for name, form in _FORMS.items())
NAMES: Final = frozenset(_FORMS)


def read_call(call: ToolCall) -> SpawnTask | AwaitTask | SendTask | KillTask:
    """Raises ValueError, which says what is wrong."""
    try:
        read: Any = _FORMS[call.name].model_validate(call.args)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise ValueError(f"{call.name}: {problems}") from error
    return read  # type: ignore[no-any-return]  # one of the forms


def task_steps(
    calls: Sequence[ToolCall], *, first: int, after: int, origins: Mapping[str, ArgumentOrigin]
) -> tuple[PlannedStep, ...]:
    """The calls as steps from number `first`, all after the turn. Raises ValueError."""
    read = [read_call(call) for call in calls]
    named = {form.id: first + i for i, form in enumerate(read) if isinstance(form, SpawnTask) and form.id}
    made = []
    for n, form in enumerate(read, start=first):
        task = getattr(form, "task", "").strip().removeprefix("#")
        started = named.get(task)
        if task and started is None and not (task.isascii() and task.isdigit()):
            known = ", ".join(named) or "none"
            raise ValueError(f"there is no task {task!r}; give its number, or an id of spawn_task (there are: {known})")
        if started is not None and started >= n:
            raise ValueError(f"{task!r} is started after it is awaited; put spawn_task first")
        args, title = _step(form, task if started is None else f"{{{{ {started}.task }}}}", task)
        needs = (after,) if started is None else (after, started)
        made.append(PlannedStep(n=n, kind="wait", args=args, title=title, needs=needs, origins=dict(origins)))
    return tuple(made)


def _step(form: Any, task: str, shown: str) -> tuple[dict[str, Any], str]:
    match form:
        case SpawnTask(goal=goal):
            return {"for": "spawn", "goal": _literal(goal)}, f"Start a task: {_literal(goal)[:80]}"
        case AwaitTask(within=within):
            return {"for": "child", "task": task, "within": within, "or": "fail"}, f"Wait for task {shown}"
        case SendTask(text=text, priority=priority):
            return {"for": "send", "task": task, "text": _literal(text), "priority": priority}, f"Tell task {shown}"
        case KillTask(why=why):
            return {"for": "kill", "task": task, "why": _literal(why)}, f"Stop task {shown}"
    raise ValueError(f"{type(form).__name__} is no tool")


def _literal(text: str) -> str:
    """What a model writes to a task is text: no reference in it is filled in."""
    return text.replace("{{", "{ {").replace("}}", "} }")
