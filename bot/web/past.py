"""The past of tasks over the API: their versions, one of them as it was, and going on from there.

Rights are those of the task: what somebody may not see now, they may not see as it was.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from bot.web import shapes
from bot.web.api import PROBLEMS, seen_task
from bot.web.auth import Asking, deps_of
from core.store import versions

router = APIRouter(prefix="/api", responses=PROBLEMS, tags=["tasks"])


@router.get("/tasks/{task_id}/versions", response_model=list[shapes.Version])
async def list_versions(request: Request, viewer: Asking, task_id: str) -> list[dict[str, Any]]:
    """What began each version, who, why, and what happened in it. `label` is what `?version=` takes."""
    task = await seen_task(request, viewer, task_id)
    return await versions.listed(deps_of(request).db, int(task["id"]))
