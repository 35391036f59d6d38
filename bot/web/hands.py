"""A hand on a task, from its page: tell it something, say how urgent it is, go on from an earlier state of it.

Forms that work without a script, over the same functions as the API and the chats; who may do what is asked there too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from bot.web import auth
from bot.web.auth import Formed, Session, Signed, deps_of, web_identity, web_place
from bot.web.forms import SEE_OTHER, Word, changed_arguments, once
from bot.web.masking import masked
from bot.web.pages import frame, html
from bot.web.seeing import own_task, seen_task
from bot.web.views import waiting_for
from core import branching, cards, config, editing, intake
from core.commands import Level
from core.display import visible
from core.models import Channel, Inbound
from core.store import skills
from core.store.signals import Priority

router = APIRouter()


async def _inbound(request: Request, session: Session, text: str, nonce: str) -> Inbound:
    person = session.viewer.person
    return Inbound(
        channel=Channel.WEB,
        delivery_id=once(person.id, nonce),
        sender=await web_identity(deps_of(request), person),
        place=web_place(person),
        text=text,
    )


def _said(request: Request, sentence: str, path: str) -> Response:
    response = RedirectResponse(path, SEE_OTHER)
    auth.say_next(response, request, visible(sentence))
    return response


@router.post("/tasks/{task_id}/tell")
async def tell(
    request: Request,
    session: Formed,
    task_id: str,
    text: Annotated[str, Form(max_length=config.INBOUND_CHARS)] = "",
    priority: Annotated[Priority, Form()] = "normal",
    nonce: Word = "",
) -> Response:
    """Words for a running task. `priority` as in the API: normal, interrupt, wake, low."""
    task = await seen_task(request, session.viewer, task_id)
    words = text.replace("\r\n", "\n").replace("\x00", "\N{REPLACEMENT CHARACTER}").strip()
    path = f"/tasks/{task['id']}"
    if not words:
        return _said(request, "There is nothing in it. Write what the task should know.", path)
    inbound = await _inbound(request, session, words, nonce)
    told = await intake.steer(deps_of(request), session.viewer.person, int(task["id"]), words, priority, inbound)
    return _said(request, told.said, path)


@router.post("/tasks/{task_id}/urgency")
async def prioritise(request: Request, session: Formed, task_id: str, level: Annotated[Level, Form()]) -> Response:
    task = await own_task(request, session.viewer, task_id)
    said = await intake.prioritise(deps_of(request), session.viewer.person, int(task["id"]), level)
    return _said(request, said, f"/tasks/{task['id']}")


@router.get("/tasks/{task_id}/fork")
async def fork_form(
    request: Request, session: Signed, task_id: str, step: Annotated[int, Query(ge=1, le=100_000)]
) -> Response:
    """The arguments of a step, to be changed before a task of one's own goes on from there."""
    deps, task = deps_of(request), await seen_task(request, session.viewer, task_id)
    chosen = _step(task, step)
    manifest = (await skills.manifests(deps.db)).get(chosen["skill"])
    fields = editing.form(chosen["args"], manifest) if manifest else ()
    waiting = await waiting_for(deps, session.viewer)
    shown = {"task": task, "step": chosen, "what": cards.step_title(chosen, task["steps"]), "fields": fields}
    context = frame(deps, session, f"From step {step} of task {task['id']}", "", waiting)
    return html("fork.html", context | masked(shown, request.app.state.mask))


@router.post("/tasks/{task_id}/fork")
async def fork(
    request: Request, session: Formed, task_id: str, step: Annotated[int, Form(ge=1, le=100_000)], nonce: Word = ""
) -> Response:
    deps, task = deps_of(request), await seen_task(request, session.viewer, task_id)
    chosen, path = _step(task, step), f"/tasks/{task['id']}"
    manifest = (await skills.manifests(deps.db)).get(chosen["skill"])
    try:
        args = await changed_arguments(request, chosen["args"], manifest) if manifest else {}
        words = branching.in_words(int(task["id"]), step, args, None)
        done = await intake.fork(
            deps, session.viewer.person, await _inbound(request, session, words, nonce), int(task["id"]), step,
            args=args, key=once(session.viewer.person.id, nonce),
        )  # fmt: skip
    except editing.BadEdit as error:
        return _said(request, f"Nothing is begun: {error}.", f"{path}/fork?step={step}")
    except branching.CannotBranch as error:
        return _said(request, f"Nothing is begun: {error}.", path)
    return _said(request, done.said, f"/tasks/{done.task}")


@router.post("/tasks/{task_id}/rollback")
async def roll_back(
    request: Request,
    session: Formed,
    task_id: str,
    to: Word = "",
    why: Annotated[str, Form(max_length=config.REASON_CHARS)] = "",
    nonce: Word = "",
) -> Response:
    task = await own_task(request, session.viewer, task_id)
    inbound = await _inbound(request, session, f"rollback {task['id']} {to}", nonce)
    try:
        done = await intake.roll_back(
            deps_of(request), session.viewer.person, inbound, int(task["id"]), to, why=visible(why),
            key=once(session.viewer.person.id, nonce),
        )  # fmt: skip
    except (branching.CannotBranch, branching.NoSuchVersion) as error:
        return _said(request, f"Nothing is put back: {error}.", f"/tasks/{task['id']}")
    return _said(request, done.said, f"/tasks/{done.task}")


def _step(task: Mapping[str, Any], number: int) -> dict[str, Any]:
    found: dict[str, Any] | None = next((s for s in task["steps"] if s["n"] == number), None)
    if found is None:
        raise HTTPException(404, f"There is no step {number} in this task.")
    return found
