"""Gives back what was attached, to those who may see it: to programs with a token, to browsers with a session.

Always as a download of no type: what somebody sent is never a page of ours.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from bot.web.auth import Asking, Session, Viewer, deps_of, session
from bot.web.seeing import task_for
from core.store import attachments, tasks

api = APIRouter()
pages = APIRouter()


@api.get("/api/attachments/{attachment_id}", response_class=Response)
async def one(request: Request, viewer: Asking, attachment_id: str) -> Response:
    """The bytes of an attached file, as a download."""
    return await _download(request, viewer, attachment_id)


@pages.get("/attachments/{attachment_id}")
async def by_browser(request: Request, who: Annotated[Session, Depends(session)], attachment_id: str) -> Response:
    return await _download(request, who.viewer, attachment_id)


async def _download(request: Request, viewer: Viewer, attachment_id: str) -> Response:
    """One that is not there and one that is not for this person are answered alike."""
    db, number = deps_of(request).db, tasks.parse_id(attachment_id)
    found = await attachments.shown(db, number) if number is not None else None
    if found is None or not await _is_visible(request, viewer, found):
        raise HTTPException(404, "There is no such file, or you may not see it.")
    if found.state != "here" or found.size is None:
        raise HTTPException(410, f"{found.name} is not here: {found.why or 'it has not arrived yet'}.")
    named = f"attachment; filename*=UTF-8''{quote(found.name, safe='')}"
    content = await attachments.content(db, found.id)
    return Response(content, media_type="application/octet-stream", headers={"content-disposition": named})


async def _is_visible(request: Request, viewer: Viewer, found: attachments.Attachment) -> bool:
    """As its task is; before it has one, to who sent it."""
    db = deps_of(request).db
    if found.task_id is None:
        return await attachments.is_from(db, found.id, viewer.person.id)
    return await task_for(db, viewer, found.task_id) is not None
