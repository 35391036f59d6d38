"""Standing permissions over the API: listed, given by an owner, revoked. Most are given from a card (`grant`)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Request

from bot.web import shapes
from bot.web.api import PROBLEMS
from bot.web.auth import Asking, deps_of
from core import deciding, predicate
from core.store import grants, people, skills

router = APIRouter(prefix="/api/grants", tags=["grants"], responses=PROBLEMS)


@router.get("", response_model=list[shapes.Grant])
async def list_grants(request: Request, viewer: Asking) -> list[dict[str, Any]]:
    """The live ones that you gave or have; all, where you see everything."""
    rows = await grants.listed(deps_of(request).db, viewer.person.id, sees_all=viewer.sees_all)
    return [shapes.grant(row) for row in rows]


@router.post("", status_code=201, response_model=shapes.Grant, responses={403: {"model": shapes.Problem}})
async def give(request: Request, viewer: Asking, body: shapes.GrantBody) -> dict[str, Any]:
    """Only owners. It helps where an owner could approve the call; critical calls and four eyes are asked each time."""
    db = deps_of(request).db
    if not viewer.is_owner or viewer.person.is_service:
        raise HTTPException(403, "only an owner may give a permission that nobody asked for")
    holder = await people.by_key(db, body.for_) if body.for_ else viewer.person
    manifest = (await skills.manifests(db)).get(body.skill)
    if holder is None or manifest is None:
        raise HTTPException(
            422, f"no worker has a skill {body.skill!r}" if holder else f"there is nobody called {body.for_!r}"
        )
    try:
        covers = predicate.read(body.args, manifest)
    except predicate.BadPredicate as error:
        raise HTTPException(422, str(error)) from error
    grant = deciding.spelled_out(manifest, covers, body.uses, body.minutes, is_similar=False)
    made = await grants.give(db, owner=viewer.person.id, holder=holder.id, grant=grant)
    return next(shapes.grant(g) for g in await grants.listed(db, viewer.person.id) if g["id"] == made)


@router.delete("/{grant_id}", status_code=204)
async def revoke(request: Request, viewer: Asking, grant_id: str) -> None:
    """By who gave it, who has it, or an owner; it ends at once, also for calls that wait."""
    if not await grants.revoke(deps_of(request).db, grant_id, viewer.person.id, is_owner=viewer.is_owner):
        raise HTTPException(404, "there is no such permission of yours")
