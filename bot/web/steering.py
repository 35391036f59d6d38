"""A hand on a task that runs, over the API: tell it something, send it an event, set how urgent it is.

Who asked for a task and who sees everything may do all of it; rules may let others tell a task something.
"""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request
from pydantic import AfterValidator, Field

from bot.web import shapes
from bot.web.api import PROBLEMS
from bot.web.auth import Asking, Viewer, deps_of, web_identity, web_place
from bot.web.seeing import own_task, seen_task
from core import config, intake, waits
from core.cards import told_text
from core.commands import Level
from core.models import Channel, Inbound
from core.store.signals import Priority, Sent

OWN_NAMES = frozenset({waits.REPLY, "goal", "parent"})
REFUSED: dict[int | str, dict[str, Any]] = {
    403: {"model": shapes.Problem, "description": "visible, but you may not steer it"},
    409: {"model": shapes.Problem, "description": "the task has ended, reads nothing, or has too much to read"},
}

router = APIRouter(prefix="/api", responses=PROBLEMS | REFUSED, tags=["tasks"])


def _name(text: str) -> str:
    if text in OWN_NAMES or text.startswith("child:"):
        raise ValueError(f"{text!r} is a name of Sayso's own; choose another")
    return waits.event_name(text)


def _small(data: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(data, ensure_ascii=False).encode()) > config.EVENT_BYTES:
        raise ValueError(f"an event carries at most {config.EVENT_BYTES:,} bytes")
    return data


Key = Annotated[shapes.Words, Field(min_length=1, max_length=config.IDEMPOTENCY_KEY_CHARS)]


class SteerBody(shapes.Body):
    """`priority`: `normal` is read by the next turn, `interrupt` has the running turn begin again with it, `wake` ends
    what the task waits for, `low` is read when there is a turn anyway. The same `idempotency_key` again changes nothing."""

    text: Annotated[shapes.Words, Field(min_length=1, max_length=config.INBOUND_CHARS)]
    priority: Priority = "normal"
    idempotency_key: Key | None = None


class EventBody(shapes.Body):
    """An event for this task: what waits for its name goes on, and its next turn reads it as data."""

    name: Annotated[shapes.Words, AfterValidator(_name)]
    data: Annotated[dict[str, Any], AfterValidator(_small)] = Field(default_factory=dict)
    priority: Priority = "normal"
    idempotency_key: Key | None = None


class PriorityBody(shapes.Body):
    priority: Level


@router.post("/tasks/{task_id}/steer", response_model=shapes.Controlled)
async def steer(request: Request, viewer: Asking, task_id: str, body: SteerBody) -> dict[str, Any]:
    """Tell a running task something. `said` says when it is read."""
    deps = deps_of(request)
    task = await seen_task(request, viewer, task_id)
    inbound = Inbound(
        channel=Channel.WEB,
        delivery_id=_delivery(viewer, task["id"], body.idempotency_key),
        sender=await web_identity(deps, viewer.person),
        place=web_place(viewer.person),
        text=body.text,
    )
    told = await intake.steer(deps, viewer.person, int(task["id"]), body.text, body.priority, inbound)
    return await _answer(request, viewer, task, told.sent, told.said)


@router.post("/tasks/{task_id}/signal", response_model=shapes.Controlled)
async def signal(request: Request, viewer: Asking, task_id: str, body: EventBody) -> dict[str, Any]:
    """Send a task an event by name. The same `idempotency_key` again changes nothing."""
    task = await own_task(request, viewer, task_id)
    key = _delivery(viewer, task["id"], body.idempotency_key)
    sent = await intake.signal(
        deps_of(request), viewer.person, int(task["id"]), body.name, body.data, body.priority, key
    )
    said = told_text(
        int(task["id"]), sent.kind, sent.status, interrupted=sent.interrupted, woken=sent.woken, turn=sent.turn
    )
    return await _answer(request, viewer, task, sent, said)


@router.post("/tasks/{task_id}/priority", response_model=shapes.Controlled)
async def prioritise(request: Request, viewer: Asking, task_id: str, body: PriorityBody) -> dict[str, Any]:
    """More urgent work goes first at every step boundary; `urgent` has slots of its own."""
    task = await own_task(request, viewer, task_id)
    said = await intake.prioritise(deps_of(request), viewer.person, int(task["id"]), body.priority)
    after = await seen_task(request, viewer, task_id)
    return {"task_id": after["id"], "status": after["status"], "said": said}


def _delivery(viewer: Viewer, task: str, key: str | None) -> str:
    return f"steer:{viewer.person.id}:{task}:{key or uuid.uuid4().hex}"


async def _answer(request: Request, viewer: Viewer, task: dict[str, Any], sent: Sent, said: str) -> dict[str, Any]:
    if sent.kind == "not_allowed":
        raise HTTPException(403, said)
    if sent.kind not in ("sent", "duplicate"):
        raise HTTPException(409, said)
    after = await seen_task(request, viewer, task["id"])
    return {"task_id": after["id"], "status": after["status"], "said": said}
