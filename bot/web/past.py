"""The past of tasks over the API: their versions, one of them as it was, and going on from there.

Rights are those of the task: what somebody may not see now, they may not see as it was.
"""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import JSONResponse

from bot.web import shapes
from bot.web.api import PROBLEMS, STALE, Expected, stale
from bot.web.auth import Asking, Viewer, deps_of, web_identity, web_place
from bot.web.seeing import own_task, seen_task
from core import branching, intake
from core.deps import Deps
from core.models import Channel, Inbound
from core.store import versions

router = APIRouter(prefix="/api", responses=PROBLEMS, tags=["tasks"])


@router.get("/tasks/{task_id}/versions", response_model=list[shapes.Version])
async def list_versions(request: Request, viewer: Asking, task_id: str) -> list[dict[str, Any]]:
    """What began each version, who, why, and what happened in it. `label` is what `?version=` takes."""
    task = await seen_task(request, viewer, task_id)
    return await versions.listed(deps_of(request).db, int(task["id"]))


@router.post("/tasks/{task_id}/fork", status_code=202, response_model=shapes.Forked, responses=STALE)
async def fork(
    request: Request, viewer: Asking, task_id: str, expected: Expected, body: shapes.ForkBody
) -> dict[str, Any] | JSONResponse:
    """A task of your own from a step of this one, with the same or changed arguments; everything in it passes the gate anew."""
    deps, number = deps_of(request), int((await seen_task(request, viewer, task_id))["id"])
    words = branching.in_words(number, body.step, body.args, body.model)
    try:
        done = await intake.fork(
            deps, viewer.person, await _said(deps, viewer, words, body.idempotency_key), number, body.step,
            args=body.args, model=body.model, at=body.at, key=body.idempotency_key,
            version=body.version if expected is None else expected,
        )  # fmt: skip
    except intake.Stale as error:
        return stale(error)
    except (branching.CannotBranch, branching.NoSuchVersion) as error:
        raise HTTPException(422, str(error)) from None
    return {"task_id": str(done.task), "said": done.said}


async def _said(deps: Deps, viewer: Viewer, words: str, key: str | None = None) -> Inbound:
    return Inbound(
        channel=Channel.WEB,
        delivery_id=f"api:{viewer.person.id}:fork:{key or uuid.uuid4().hex}",
        sender=await web_identity(deps, viewer.person),
        place=web_place(viewer.person),
        text=words,
    )


@router.post("/tasks/{task_id}/rollback", response_model=shapes.Controlled, responses=STALE)
async def roll_back(
    request: Request, viewer: Asking, task_id: str, expected: Expected, body: shapes.RollbackBody
) -> dict[str, Any] | JSONResponse:
    """The plan as it was at a version: in the task itself while it is open or failed, else in a new one, whose id is answered."""
    deps, task = deps_of(request), await own_task(request, viewer, task_id)
    try:
        done = await intake.roll_back(
            deps, viewer.person, await _said(deps, viewer, f"rollback {task['id']} {body.to}"), int(task["id"]), body.to,
            why=body.reason, version=body.version if expected is None else expected,
        )  # fmt: skip
    except intake.Stale as error:
        return stale(error)
    except (branching.CannotBranch, branching.NoSuchVersion) as error:
        raise HTTPException(422, str(error)) from None
    return {"task_id": str(done.task), "status": done.status, "said": done.said}
