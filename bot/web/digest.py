"""What happened while somebody was away, for programs and pages: the same as the chat tells who comes back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from bot.web.api import PROBLEMS
from bot.web.auth import Asking, deps_of
from core import config, returning

router = APIRouter(prefix="/api", responses=PROBLEMS, tags=["tasks"])


class MissedTask(BaseModel):
    task_id: str
    goal: str
    status: str
    at: str


class MissedApproval(BaseModel):
    """`by` and `at`: who decided, and when; null where nobody did."""

    approval_id: str
    task_id: str
    title: str
    status: str
    requester: str
    by: str | None
    at: str | None
    expires_at: str


class MissedStep(BaseModel):
    task_id: str
    step: int
    title: str


class MissedTasks(BaseModel):
    total: int
    items: list[MissedTask]


class MissedApprovals(BaseModel):
    total: int
    items: list[MissedApproval]


class MissedSteps(BaseModel):
    total: int
    items: list[MissedStep]


class Missed(BaseModel):
    """What happened to what is yours since then; `usd` was spent on models."""

    since: str
    finished: MissedTasks
    waiting: MissedApprovals
    decided: MissedApprovals
    expired: MissedApprovals
    unknown: MissedSteps
    usd: float


@router.get("/digest", response_model=Missed)
async def show_digest(
    request: Request, viewer: Asking, within_s: Annotated[int | None, Query(ge=1, le=config.DIGEST_MOST_S)] = None
) -> dict[str, Any]:
    """What happened to what is yours: in so many seconds, or since you were last seen. At most five of each, with totals."""
    return await returning.missed(deps_of(request).db, viewer.person, within_s)
