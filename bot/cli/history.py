"""`tasks`, `fork`, `replay`: the tasks that you may see, one of them with its steps, its past, and going on from there.

All but `replay` goes through the API with your token, so you see here what you may see there. `replay` reads the database
as the worker does, in a process of its own, since only a worker has the skills.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bot.cli.ground import HOUSE, end, servers
from bot.cli.talk import AsJson, call, came_to, show

Task = Annotated[str, typer.Argument(help="The task's number.")]
At = Annotated[str | None, typer.Option("--at", help="As it was at a version: 3, or 3.2 for a moment in it.")]


class ByNumber(TyperGroup):
    """`tasks 12` is `tasks show 12`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0].isdigit():
            args = ["show", *args]
        return super().resolve_command(ctx, args)


tasks_app = typer.Typer(cls=ByNumber, invoke_without_command=True)


@tasks_app.callback()
def tasks(ctx: typer.Context, as_json: AsJson = False) -> None:
    """The tasks that you may see; with a number, one with its steps."""
    if ctx.invoked_subcommand is None:
        found = call("GET", "/api/tasks")
        show(found, as_json, *[f"{t['id']}: {t['goal']} ({t['status']})" for t in found] or ["No tasks."])


@tasks_app.command("show")
def show_task(task_id: Task, at: At = None, as_json: AsJson = False) -> None:
    """One task with its steps, as it is or as it was."""
    task = call("GET", f"/api/tasks/{task_id}", params={"version": at} if at else None)
    then = f" as of version {task['as_of']['version']}, {task['as_of']['at'][:19]}" if at else ""
    lines = [f"task {task['id']}{then}: {task['goal']} ({task['status']}){came_to(task)}"]
    lines += [f"  {s['n']}. {s['skill'] or s['kind']}: {s['status']} {s['error'] or ''}" for s in task["steps"]]
    show(task, as_json, *lines)


@tasks_app.command("at")
def show_at(task_id: Task, version: Annotated[str, typer.Argument()], as_json: AsJson = False) -> None:
    """The same as `show --at`."""
    show_task(task_id, version, as_json)


@tasks_app.command()
def history(task_id: Task, as_json: AsJson = False) -> None:
    """Every version of a task: who changed what, when and why. The numbers in front are what `--at` takes."""
    found = call("GET", f"/api/tasks/{task_id}/versions")
    show(found, as_json, *[_line(move) for version in found for move in (version, *version["moves"])])


@tasks_app.command()
def rollback(
    task_id: Task,
    version: Annotated[str, typer.Argument(help="3, or 3.2 for a moment in it; see history.")],
    reason: Annotated[str, typer.Option(help="Why; goes into the history.")] = "",
    as_json: AsJson = False,
) -> None:
    """Put a task's plan back to what it was at a version. What has happened in the world stays, and is said."""
    done = call("POST", f"/api/tasks/{task_id}/rollback", {"to": version, "reason": reason})
    show(done, as_json, *done["said"].split("\n"))


def fork(
    task_id: Task,
    step: Annotated[int, typer.Argument(help="The step that runs anew, with all that follows from it.")],
    args: Annotated[
        list[str] | None, typer.Option("--args", help="name=value; JSON where it is no text. Repeatable.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="provider/model for the turns that run anew.")] = None,
    at: Annotated[str | None, typer.Option(help="Fork from the task as it was at this version.")] = None,
    policy: Annotated[str | None, typer.Option(help="Refused: see replay --dry.")] = None,
    as_json: AsJson = False,
) -> None:
    """Go on from a step of a task in a task of your own. What does not depend on the step is kept with its results."""
    if policy is not None:
        end(
            f"A fork runs under the policy in force. What another would say: replay --dry {task_id} --policy {policy}",
            2,
        )
    body: dict[str, Any] = {"step": step, "args": dict(map(_given, args or ()))}
    body |= {name: value for name, value in (("model", model), ("at", at)) if value is not None}
    done = call("POST", f"/api/tasks/{task_id}/fork", body)
    show(done, as_json, *done["said"].split("\n"))


def replay(
    task_id: Task,
    dry: Annotated[bool, typer.Option("--dry", help="With side effects off: the only way there is.")] = False,
    policy: Annotated[Path | None, typer.Option(help="Judge by this sayso.yaml instead of the one in force.")] = None,
    step: Annotated[int | None, typer.Option(help="With --args: what if this step had other arguments?")] = None,
    args: Annotated[list[str] | None, typer.Option("--args", help="name=value, for --step. Repeatable.")] = None,
    as_json: AsJson = False,
) -> None:
    """Walk a task's plan again, doing nothing: what the gate said then and would say now. Exit 0 the same, 1 it differs."""
    if not dry:
        end("A task is replayed only with --dry; to run it again from a step, fork it.", 2)
    if not task_id.isdigit() or (step is None) != (not args):
        end("Say replay --dry <task>; --args goes with --step.", 2)
    if policy is not None and not policy.is_file():
        end(f"There is no file {policy}.", 2)
    command = [sys.executable, "-m", "worker.replay", task_id]
    command += ["--policy", str(policy.absolute())] if policy else []
    command += ["--changed", json.dumps({str(step): dict(map(_given, args))})] if args else []
    with servers() as ground:
        ran = subprocess.run(command, env=ground.environment, cwd=HOUSE, capture_output=True, text=True, check=False)  # noqa: S603  # our own module
    if ran.returncode not in (0, 1) or not ran.stdout:
        end(ran.stderr.strip() or "The replay ended without an answer.", 2)
    lines = json.loads(ran.stdout)
    show(lines, as_json, *[text for line in lines for text in _compared(line)])
    raise typer.Exit(ran.returncode)


def _compared(line: dict[str, Any]) -> list[str]:
    """A step in one line, and why beneath it where something differs."""
    mark = "=" if line["same"] else "≠"
    digest = f", digest {line['digest']}" if line["digest"] else ""
    texts = [f"{mark} {line['n']:>3}  {line['what']:<20} then {line['then']}, now {line['now']}{digest}"]
    if not line["same"]:
        texts += [
            f"       {when}: {why}" for when, why in (("then", line["why_then"]), ("now", line["why_now"])) if why
        ]
        texts += [f"       differs in {', '.join(line['drift'])}"] if line["drift"] else []
    return texts


def _given(text: str) -> tuple[str, Any]:
    """`paths=["a"]` is a list, `path=a` a text, `n=3` a number; `n="3"` is the text."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        end(f"{text!r} is no argument; write name=value", 2)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _line(move: dict[str, Any]) -> str:
    what = f"{move['machine']} {move['n']}" if move["machine"] == "step" else move["machine"]
    if move["n"] and move["machine"] != "step":
        what += f" of step {move['n']}"
    label = move["label"].removesuffix(".0")
    indent = "  " if "." in label else ""
    why = f": {move['why']}" if move["why"] else ""
    by = move["actor"].removeprefix("person:")
    return f"{indent}{label}  {move['at'][11:19]}  {what} {move['from'] or 'new'} → {move['to']} by {by}{why}"
