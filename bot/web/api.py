"""The JSON API of tasks, approvals and skills for programs that hold a person's token.

Every call is made as that person: what they may not see does not exist for them, and what they say or decide passes
the same intake as a chat message or a button. Streams are in `bot.web.stream`.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal, assert_never

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request, Response
from starlette.responses import JSONResponse

from bot.web import shapes
from bot.web.auth import Asking, Viewer, deps_of, web_identity, web_place
from bot.web.seeing import own_task, seen_approval, seen_task
from core import config, fatigue, intake
from core.cards import press_answer
from core.deps import Deps
from core.models import (
    Accepted,
    AlreadyDecided,
    Changed,
    Channel,
    Decided,
    Identity,
    Inbound,
    Invalid,
    NotAllowed,
    NotFound,
    Place,
    Press,
    Received,
    TooLate,
)
from core.store import approvals, children, conversations, ladder, skills, tasks, versions
from core.store.fatigue import figures
from core.versions import NoSuchVersion

PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": shapes.Problem, "description": "no valid token"},
    404: {"model": shapes.Problem, "description": "unknown, or not visible to you: the same answer"},
    422: {"model": shapes.Problem, "description": "invalid"},
}
DECISION_PROBLEMS = PROBLEMS | {
    403: {"model": shapes.Problem, "description": "visible, but you may not decide"},
    409: {"model": shapes.Problem, "description": "decided already (says by whom and when), expired, or changed since"},
}

STALE: dict[int | str, dict[str, Any]] = {
    409: {"model": shapes.Problem, "description": "the task has changed since the version that you named"}
}

router = APIRouter(prefix="/api", responses=PROBLEMS)

Status = Literal["pending", "approved", "denied", "expired", "superseded", "cancelled", "undeliverable", "consumed"]
HANDS: dict[str, str] = {"cancel": "stop", "retry": "retry", "pause": "pause", "resume": "resume"}


def expected_version(if_match: Annotated[str | None, Header()] = None) -> int | None:
    """The version in `If-Match`, bare or as an entity tag. Nothing and `*` mean any."""
    text = (if_match or "*").removeprefix("W/").strip().strip('"')
    if text == "*":
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise HTTPException(422, f'If-Match is a task\'s version, like "3"; {if_match!r} is none')
    return int(text)


Expected = Annotated[int | None, Depends(expected_version)]


def stale(error: intake.Stale) -> JSONResponse:
    return JSONResponse({"error": str(error), "version": error.version}, 409)


# ---------------------------------------------------------------- intents


@router.post(
    "/intents",
    status_code=202,
    response_model=shapes.IntentAccepted,
    response_model_exclude_defaults=True,
    tags=["tasks"],
)
async def say(request: Request, viewer: Asking, body: shapes.IntentBody) -> dict[str, Any]:
    """Say something to Sayso. The same `idempotency_key` again answers the same task."""
    deps = deps_of(request)
    received = await intake.receive(
        deps,
        Inbound(
            channel=Channel.WEB,
            delivery_id=f"api:{viewer.person.id}:{body.idempotency_key or uuid.uuid4().hex}",
            sender=await web_identity(deps, viewer.person),
            place=await _place(deps, viewer, body.conversation),
            text=body.text,
        ),
    )
    if body.within_s is not None and received.task_id is not None and getattr(received, "kind", "task") == "task":
        # A commit of its own: who was not answered says it again, with the same key.
        await children.set_deadline(deps.db, received.task_id, body.within_s)
    if isinstance(received, Received) and received.task_id is None:
        said = "\n\n".join(await conversations.said_to(deps.db, received.inbound_id))
        return {"task_id": None, "said": request.app.state.mask(said)}
    return {"task_id": _text(received.task_id)}


async def _place(deps: Deps, viewer: Viewer, conversation: str | None) -> Place:
    """Where the intent belongs: only a place that the person has spoken in, or their own."""
    if conversation is None:
        return web_place(viewer.person)
    number = tasks.parse_id(conversation)
    if number is None:
        channel, _, rest = conversation.partition("/")
        number = await _find(deps, channel, rest)
    found = await conversations.by_id(deps.db, number) if number is not None else None
    if found is None or not (viewer.sees_all or await conversations.is_member(deps.db, found.id, viewer.person.id)):
        raise HTTPException(404, "no such conversation")
    return Place(
        channel=Channel(found.channel), external_id=found.external_id, thread=found.thread, private=found.is_private
    )


async def _find(deps: Deps, channel: str, rest: str) -> int | None:
    """`T0ACME/C0OPS` is a Slack channel, `T0ACME/C0OPS/1718.1` a thread in it."""
    whole = await conversations.find(deps.db, channel, rest)
    outer, _, thread = rest.rpartition("/")
    return whole if whole is not None else await conversations.find(deps.db, channel, outer, thread)


# ---------------------------------------------------------------- tasks


@router.get("/tasks", response_model=list[shapes.Task], tags=["tasks"])
async def list_tasks(
    request: Request,
    viewer: Asking,
    open: Annotated[bool, Query(description="only those not finished")] = False,
    limit: Annotated[int, Query(ge=1, le=100)] = 100,
) -> list[dict[str, Any]]:
    """The tasks that you may see, newest first."""
    db = deps_of(request).db
    rows = await tasks.listed(
        db,
        viewer.person.id,
        sees_all=viewer.sees_all,
        sees_conversation=viewer.sees_conversation,
        only_open=open,
        limit=limit,
    )
    steps = await tasks.steps_of(db, [int(row["id"]) for row in rows])
    return [row | {"steps": steps[int(row["id"])]} for row in rows]


@router.get("/tasks/{task_id}", response_model=shapes.Task, tags=["tasks"])
async def show_task(
    request: Request,
    response: Response,
    viewer: Asking,
    task_id: str,
    version: Annotated[str | None, Query(description="as it was: 3, or 3.2 for a moment in it")] = None,
) -> dict[str, Any]:
    """One task; `ETag` is its version, for `If-Match` of the calls that change it."""
    found = await seen_task(request, viewer, task_id)
    if version is None:
        response.headers["etag"] = f'"{found["version"]}"'
        return found
    try:
        then = await versions.shown_at(deps_of(request).db, int(found["id"]), version)
    except NoSuchVersion as error:
        raise HTTPException(404, f"task {task_id}: {error}") from None
    return then or found


@router.post("/tasks/{task_id}/{hand}", response_model=shapes.Controlled, responses=STALE, tags=["tasks"])
async def lay_hand(
    request: Request, viewer: Asking, task_id: str, hand: str, expected: Expected, body: shapes.HandBody | None = None
) -> dict[str, Any] | JSONResponse:
    """`cancel`, `retry`, `pause` or `resume` a task; with `If-Match` or `version` only the version that you saw."""
    if hand not in HANDS:
        raise HTTPException(404, "no such call")
    task = await own_task(request, viewer, task_id)
    try:
        named = body.version if body else None
        said = await intake.control(
            deps_of(request),
            viewer.person,
            int(task["id"]),
            HANDS[hand],
            version=named if expected is None else expected,
        )
    except intake.Stale as error:
        return stale(error)
    except intake.NotVisible:
        raise HTTPException(403, "you may see this task but not steer it") from None
    after = await seen_task(request, viewer, task_id)
    return {"task_id": after["id"], "status": after["status"], "said": said}


# ---------------------------------------------------------------- approvals


@router.get("/approvals", response_model=list[shapes.Approval], tags=["approvals"])
async def list_approvals(request: Request, viewer: Asking, status: Status | None = None) -> list[dict[str, Any]]:
    """The approvals that you may see, oldest first; of one status, or all."""
    rows = await approvals.listed(deps_of(request).db, viewer.person.id, sees_all=viewer.sees_all, status=status)
    return [shown for row in rows if (shown := shapes.readable_approval(row)) is not None]


@router.get("/approvals/report", tags=["approvals"])
async def report_approvals(
    request: Request, viewer: Asking, days: Annotated[int, Query(ge=1, le=366)] = config.REPORT_DAYS
) -> dict[str, Any]:
    """How approvals are answered, per skill and person, with suggestions in words. Only where you see everything."""
    if not viewer.sees_all:
        raise HTTPException(403, "only who sees everything may see how others decide")
    return fatigue.report(days, await figures(deps_of(request).db, days))


@router.get("/approvals/{approval_id}", response_model=shapes.ApprovalWithTimeline, tags=["approvals"])
async def show_approval(request: Request, viewer: Asking, approval_id: str) -> dict[str, Any]:
    """One approval, with what was done to have it answered: rungs of the ladder, who was asked where, receipts, votes."""
    row = await seen_approval(request, viewer, approval_id)
    shown = shapes.readable_approval(row)
    if shown is None:
        raise HTTPException(500, "the row of this approval cannot be read; nothing runs because of it")
    return shown | {"timeline": (await ladder.timelines(deps_of(request).db, [row["id"]]))[row["id"]]}


@router.post(
    "/approvals/{approval_id}/decisions",
    response_model=shapes.Decision,
    responses=DECISION_PROBLEMS,
    tags=["approvals"],
)
async def decide(
    request: Request, viewer: Asking, approval_id: str, body: shapes.DecisionBody
) -> JSONResponse | dict[str, Any]:
    """One decision. The digest must be the one that you were shown."""
    decided = await intake.press(
        deps_of(request),
        Press(
            channel=Channel.WEB,
            delivery_id=f"api:{uuid.uuid4().hex}",
            sender=Identity(channel=Channel.WEB, external_id=viewer.person.key),
            approval_id=approval_id,
            verdict=body.verdict,
            digest=body.digest,
            reason=body.reason,
            text=body.text,
            args=body.args,
            to=body.to,
            items=tuple(body.items),
            uses=body.uses,
            minutes=body.minutes,
        ),
        by=viewer.person,
    )
    if not isinstance(decided, Accepted):
        # Only now, so that a press that counts waits for no further look. What they may not see is not there for them.
        available = shapes.answers_to((await seen_approval(request, viewer, approval_id))["kind"])
        if body.verdict not in available:
            why = f"{body.verdict!r} is not available for this approval"
            return JSONResponse({"error": why, "available": list(available)}, 422)
    return _answer(decided)


def _answer(decided: Decided) -> JSONResponse | dict[str, Any]:
    said: dict[str, Any] = {"error": press_answer(decided)}
    match decided:
        case Accepted():
            return {"approval_id": decided.approval_id, "status": decided.status, "decisions": list(decided.decisions)}
        case AlreadyDecided():
            at = decided.at.isoformat() if decided.at else None
            return JSONResponse(said | {"status": decided.status, "by": decided.by, "at": at}, 409)
        case NotAllowed():
            return JSONResponse(said, 403)
        case TooLate():
            return JSONResponse(said | {"status": "expired", "at": decided.expired_at.isoformat()}, 409)
        case Changed():
            return JSONResponse(said | {"status": "changed"}, 409)
        case Invalid():
            return JSONResponse(said, 422)
        case NotFound():
            return JSONResponse(said, 404)
        case _:
            assert_never(decided)


# ---------------------------------------------------------------- skills


@router.get("/skills", tags=["skills"])
async def list_skills(request: Request, viewer: Asking) -> list[dict[str, Any]]:
    """The manifests that workers publish, by name."""
    found = await skills.manifests(deps_of(request).db)
    return [found[name].model_dump(mode="json") for name in sorted(found)]


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)
