"""`ask`, `approvals`, `skills`: the JSON API from a terminal. `--json` prints exactly what the API answered."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any, get_args

import httpx
import typer

from bot.cli.ground import end, read_settings, tell
from core import fatigue
from core.models import Verdict

WAITING, DENIED = 3, 4
POLL_S = 0.2
ID_CHARS = 8

AsJson = Annotated[bool, typer.Option("--json", help="Print the API's JSON.")]


def ask(
    text: Annotated[str, typer.Argument(help="What you would write in the chat.")],
    wait_s: Annotated[float, typer.Option("--wait", help="How long to wait for the task, in seconds.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Give Sayso something to do and wait for it. Exit 3: it waits for a decision; 4: it was denied or refused."""
    answer = call("POST", "/api/intents", {"text": text})
    task_id = answer["task_id"]
    if task_id is None:
        show(answer, as_json, *(answer.get("said") or "Answered in the web chat.").split("\n"))
        return
    task = call("GET", f"/api/tasks/{task_id}")
    deadline = time.monotonic() + wait_s
    while task["status"] in ("queued", "planning", "running") and time.monotonic() < deadline:
        time.sleep(POLL_S)
        task = call("GET", f"/api/tasks/{task_id}")
    show(task, as_json, *f"task {task['id']}: {task['status']}{came_to(task)}".split("\n"))
    raise typer.Exit(_code(task))


def approvals(
    approval_id: Annotated[
        str | None,
        typer.Argument(
            help="Its id, the beginning of it, or the number of its task. The answer may stand before it: approvals approve 12."
        ),
    ] = None,
    verdict: Annotated[
        str | None,
        typer.Argument(
            help="approve, approve_similar, grant, deny, edit, delegate, looking, ask, stop; happened, not_happened, abandon"
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; goes back to the agent.")] = "",
    args: Annotated[
        str, typer.Option(help="edit: the changed arguments, as JSON; approve_similar, grant: what is covered.")
    ] = "",
    to: Annotated[str | None, typer.Option(help="delegate: to whom, by key.")] = None,
    text: Annotated[str, typer.Option(help="ask: the question.")] = "",
    as_json: AsJson = False,
) -> None:
    """What waits for a decision; with an id and a verdict, decide it. `report`: how approvals are answered."""
    if approval_id == "report":
        report = call("GET", "/api/approvals/report")
        show(report, as_json, *fatigue.in_words(report).split("\n"))
        return
    if approval_id in get_args(Verdict):
        if verdict is None:
            raise typer.BadParameter(
                f"{approval_id} which one? Say: approvals {approval_id} ID; approvals shows the ids."
            )
        approval_id, verdict = verdict, approval_id
    waiting = call("GET", "/api/approvals?status=pending")
    if approval_id is None:
        lines = [line for a in waiting for line in (*_in_words(a), "")]
        show(waiting, as_json, *(lines[:-1] or ["Nothing waits for a decision."]))
        return
    found = _meant(waiting, approval_id)
    if verdict is None:
        show(found, as_json, *_in_words(found))
        return
    body = {"verdict": verdict, "digest": found["digest"], "reason": reason, "text": text, "to": to}
    if args:
        try:
            body["args"] = json.loads(args)
        except ValueError as error:
            raise typer.BadParameter(f"--args {args!r} is no JSON: {error}") from error
    answer = call("POST", f"/api/approvals/{found['id']}/decisions", body)
    show(answer, as_json, answer["status"])


grants_app = typer.Typer(invoke_without_command=True, help="Standing permissions: listed, given, revoked.")


@grants_app.callback()
def list_grants(ctx: typer.Context, as_json: AsJson = False) -> None:
    """The live ones that you gave or have; an owner sees all."""
    if ctx.invoked_subcommand is None:
        found = call("GET", "/api/grants")
        show(found, as_json, *[_grant_in_words(g) for g in found] or ["No standing permissions."])


@grants_app.command("give")
def give_grant(
    skill: Annotated[str, typer.Argument(help="Which skill.")],
    covers: Annotated[str, typer.Argument(help='What it covers, as JSON: {"paths": {"starts": "logs/"}}.')],
    whom: Annotated[str | None, typer.Option("--for", help="Whom it covers, by key; without it you.")] = None,
    days: Annotated[int, typer.Option(help="How long, at most 90.", min=1, max=90)] = 30,
    uses: Annotated[int | None, typer.Option(help="How often.", min=1)] = None,
    as_json: AsJson = False,
) -> None:
    """Give one. Only owners; every argument that says who, where or how much has to be named."""
    try:
        args = json.loads(covers)
    except ValueError as error:
        raise typer.BadParameter(f"{covers!r} is no JSON: {error}") from error
    body = {"skill": skill, "args": args, "for": whom, "minutes": days * 24 * 60, "uses": uses}
    made = call("POST", "/api/grants", body)
    show(made, as_json, _grant_in_words(made))


@grants_app.command("revoke")
def revoke_grant(grant_id: Annotated[str, typer.Argument(help="Its id, or the beginning of it.")]) -> None:
    """End one at once."""
    call("DELETE", f"/api/grants/{grant_id}")
    typer.echo("That permission has ended.")


def skills(as_json: AsJson = False) -> None:
    """The skills that the workers have."""
    found = call("GET", "/api/skills")
    show(found, as_json, *[f"{s['name']}: {s['summary']}" for s in found])


# ---------------------------------------------------------------- parts


def call(method: str, path: str, body: dict[str, Any] | None = None, *, params: dict[str, str] | None = None) -> Any:
    """What the API answers to the owner whose token is here; what it refuses ends the command with its words."""
    settings = read_settings()
    token_file = settings.home / "api-token"
    if not token_file.is_file():
        end(f"There is no {token_file}; start Sayso with ./sayso up first.")
    headers = {"Authorization": f"Bearer {token_file.read_text(encoding='ascii').strip()}"}
    try:
        answer = httpx.request(
            method,
            settings.base_url() + path,
            json=body,
            params=params,
            headers=headers,
            timeout=30,
            trust_env=False,
        )
    except httpx.TransportError as error:
        end(f"Sayso does not answer at {settings.base_url()}: {error}. Start it with ./sayso up.")
    if answer.status_code >= 400:
        said = (
            answer.json().get("error", answer.text) if "json" in answer.headers.get("content-type", "") else answer.text
        )
        end(f"{answer.status_code}: {said}", DENIED if answer.status_code == 403 else 1)
    return answer.json()


def show(value: Any, as_json: bool, *lines: str) -> None:
    if as_json:
        typer.echo(json.dumps(value, ensure_ascii=False))
    else:
        tell(*lines)


def came_to(task: dict[str, Any]) -> str:
    if task["error"]:
        return f": {task['error']}"
    result = task["result"] or {}
    said = result.get("text") or result.get("summary")
    return f": {said}" if said else ""


def _code(task: dict[str, Any]) -> int:
    if task["status"] == "succeeded":
        return 0
    if task["status"] in ("failed", "cancelled"):
        return 1
    return DENIED if task["status"] == "abandoned" else WAITING


def _grant_in_words(grant: dict[str, Any]) -> str:
    left = "" if grant["uses_left"] is None else f", {grant['uses_left']} more times"
    where = f" in task {grant['task_id']}" if grant["task_id"] else ""
    return (
        f"{grant['id']}: {grant['says']}{where}, for {grant['holder']}{left}, until {grant['expires_at']};"
        f" given by {grant['owner']}, used {grant['uses']} times"
    )


def _meant(waiting: list[dict[str, Any]], named: str) -> dict[str, Any]:
    """The one with this id, with an id that begins so, or the only one of the task with this number."""
    meant = [a for a in waiting if a["id"] == named or a["task_id"] == named]
    if not meant and len(named) >= ID_CHARS:
        meant = [a for a in waiting if a["id"].startswith(named)]
    if not meant:
        end("There is no such pending approval.")
    if len(meant) > 1:
        end(f"{len(meant)} approvals are meant by {named}: say which id.")
    return meant[0]


def _in_words(approval: dict[str, Any]) -> list[str]:
    lines = [f"{approval['id']}, task {approval['task_id']}"]
    for item in approval["items"]:
        lines.append(f"  {item['action']['skill']} {json.dumps(item['action']['args'], ensure_ascii=True)}")
    return [*lines, *(f"  because {reason}" for reason in approval["reasons"])]
