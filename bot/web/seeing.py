"""The task or the approval of a call or a page, if its viewer may see it; else the answer that there is none.

What is not there and what is not theirs are answered alike. What may then be done with it is asked of `own_task` and of
the intake.
"""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException, Request

from bot.web.auth import Viewer, deps_of, may_steer
from core.cards import NO_TASK, NOT_YOURS, press_answer
from core.db import Db
from core.models import NotFound
from core.store import approvals, tasks


async def task_for(db: Db, viewer: Viewer, number: int | None) -> dict[str, Any] | None:
    """The task as the API shows it."""
    if number is None:
        return None
    return await tasks.shown(
        db, number, viewer.person.id, sees_all=viewer.sees_all, sees_conversation=viewer.sees_conversation
    )


async def seen_task(request: Request, viewer: Viewer, task_id: str) -> dict[str, Any]:
    """Raises 404."""
    found = await task_for(deps_of(request).db, viewer, tasks.parse_id(task_id))
    if found is None:
        raise HTTPException(404, NO_TASK)
    return found


async def own_task(request: Request, viewer: Viewer, task_id: str) -> dict[str, Any]:
    """One that the viewer may lay a hand on. Raises 404, or 403 where they may only look."""
    found = await seen_task(request, viewer, task_id)
    if not may_steer(viewer, found):
        raise HTTPException(403, NOT_YOURS)
    return found


async def approval_for(db: Db, viewer: Viewer, approval_id: str) -> dict[str, Any] | None:
    """The whole row."""
    if not await approvals.is_visible(db, approval_id, viewer.person.id, sees_all=viewer.sees_all):
        return None
    return await approvals.whole(db, approval_id)


async def seen_approval(request: Request, viewer: Viewer, approval_id: str) -> dict[str, Any]:
    """Raises 404."""
    found = await approval_for(deps_of(request).db, viewer, approval_id)
    if found is None:
        raise HTTPException(404, press_answer(NotFound()))
    return found
