"""What would policy say? The same pure function that stands before every action, asked without doing anything."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Request

from bot.web import shapes
from bot.web.api import PROBLEMS
from bot.web.auth import Asking, Viewer, deps_of
from core import policy
from core.deps import Deps
from core.models import (
    Action,
    ArgumentOrigin,
    Classified,
    ConversationRef,
    Origin,
    Provenance,
    Requester,
    SkillManifest,
)
from core.store import clock, grants, people, skills

router = APIRouter(prefix="/api/policy", tags=["policy"], responses=PROBLEMS)

NO_TASK = 0


@router.post("/test", response_model=shapes.PolicyAnswer)
async def try_policy(request: Request, viewer: Asking, body: shapes.PolicyTestBody) -> dict[str, Any]:
    """For yourself, or, where you see everything, for any person by key. Nothing runs and nobody is asked."""
    deps = deps_of(request)
    requester = await _requester(deps, viewer, body.requester)
    manifest = (await skills.manifests(deps.db)).get(body.skill)
    if manifest is None:
        raise HTTPException(422, f"no worker has a skill {body.skill!r}")
    answer = policy.classify(
        _action(manifest, body.args),
        manifest,
        _provenance(body),
        requester,
        deps.organisation,
        await grants.of(deps.db, int(requester.id), NO_TASK, manifest.name),
        await clock.now(deps.db),
        conversation=_conversation(body.conversation),
    )
    return _json(answer)


async def _requester(deps: Deps, viewer: Viewer, key: str | None) -> Requester:
    if key is None or key == viewer.person.key:
        return viewer.person.requester
    person = await people.by_key(deps.db, key) if viewer.sees_all else None
    if person is None:
        raise HTTPException(404, "no such person")
    return person.requester


def _action(manifest: SkillManifest, args: dict[str, Any]) -> Action:
    return Action(skill=manifest.name, version=manifest.version, schema_hash=manifest.schema_hash, args=args)


def _provenance(body: shapes.PolicyTestBody) -> Provenance:
    origins = {name: ArgumentOrigin(origin=body.origins.get(name, Origin.REQUESTER)) for name in body.args}
    return Provenance(origins=origins, tainted=body.tainted)


def _conversation(text: str | None) -> ConversationRef | None:
    channel, _, external_id = (text or "").partition("/")
    return ConversationRef(channel=channel, id=external_id) if external_id else None


def _json(answer: Classified) -> dict[str, Any]:
    body = answer.model_dump(mode="json")
    return {"verdict": body.pop("kind"), **body}
