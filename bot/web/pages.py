"""The pages: chat, inbox, approvals, tasks, mail. Rendered here, whole, without a script; the script only keeps them fresh.

Templates escape everything. A page that somebody may not see answers like one that does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response, StreamingResponse

from bot.web import auth, mailbox, stream
from bot.web.auth import Session, Signed, deps_of
from bot.web.masking import masked
from bot.web.views import View, view_at, waiting_for
from core.cards import PREVIEW, Card
from core.deps import Deps
from core.display import visible

router = APIRouter()

HERE: Final = Path(__file__).resolve().parent
STATIC: Final = HERE / "static"
LIVE_POLL_S: Final = 5.0
PATH_CHARS: Final = 200


def clock(at: datetime) -> str:
    """`14:32 UTC`, for today's readers; the script turns it into local time."""
    return at.strftime("%H:%M UTC")


def day_clock(at: datetime) -> str:
    return at.strftime("%-d %b %Y, %H:%M UTC")


@dataclass(frozen=True, slots=True)
class Lines:
    """A card's lines by weight: `first` before the action, `facts` after it, `folded` only when asked for."""

    first: list[str]
    facts: list[str]
    folded: list[str]


def weighed(card: Card) -> Lines:
    """Before a decision: why it is asked, and what to beware of, first. After it: what became of it, the rest folded."""
    before = [line for line in card.lines if line.startswith(("Why", "Beware"))]
    details = [line for line in card.lines if line.startswith((PREVIEW, "Can be undone"))]
    others = [line for line in card.lines if line not in before and line not in details]
    if is_settled(card):
        return Lines(others, [], [*before, *details])
    return Lines(before, [*details, *others], [])


def is_settled(card: Card) -> bool:
    return card.subject == "approval" and card.tone != "ask"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clock": clock,
        "day_clock": day_clock,
        "moment": datetime.fromisoformat,
        "visible": visible,
    }
    environment.globals |= {"nonce": auth.nonce, "weighed": weighed, "is_settled": is_settled}
    return environment


TEMPLATES: Final = _environment()


def html(template: str, context: dict[str, Any], status: int = 200) -> HTMLResponse:
    return HTMLResponse(TEMPLATES.get_template(template).render(context), status)


def page(request: Request, session: Session, view: View, status: int = 200) -> HTMLResponse:
    """A view in its frame, with the sentence that the last press left."""
    said = auth.said(request)
    context = frame(deps_of(request), session, view.title, view.path, view.waiting) | {
        "said": said,
        "live": view.path,
        "stamp": view.stamp,
    }
    response = html(view.template, context | view.data, status)
    if said:
        response.delete_cookie("sayso-said")
    return response


def frame(deps: Deps, session: Session, title: str, here: str, waiting: int) -> dict[str, Any]:
    """What every signed-in page needs."""
    return {
        "title": title,
        "here": here,
        "waiting": waiting,
        "sees_all": session.viewer.sees_all,
        "organisation": deps.organisation.organisation,
        "me": session.viewer.person,
        "csrf": session.csrf,
        "has_mail": mailbox.is_shown(deps.settings, session.viewer),
        "said": "",
        "live": "",
        "stamp": "",
    }


async def _view(request: Request, session: Session, path: str) -> View | None:
    """The page as this person sees it, without secrets."""
    view = await view_at(deps_of(request), session.viewer, path)
    return masked(view, request.app.state.mask) if view else None


async def _viewed(request: Request, session: Session, path: str) -> Response:
    view = await _view(request, session, path)
    if view is None:
        raise HTTPException(404, "There is no such page, or you may not see it.")
    return page(request, session, view)


@router.get("/")
async def chat(request: Request, session: Signed) -> Response:
    return await _viewed(request, session, "/")


@router.get("/inbox")
async def inbox(request: Request, session: Signed) -> Response:
    return await _viewed(request, session, "/inbox")


@router.get("/report")
async def report(request: Request, session: Signed) -> Response:
    return await _viewed(request, session, "/report")


@router.get("/digest")
async def digest(request: Request, session: Signed) -> Response:
    return await _viewed(request, session, "/digest")


@router.get("/tasks")
async def all_tasks(request: Request, session: Signed) -> Response:
    return await _viewed(request, session, "/tasks")


@router.get("/tasks/{task_id}")
async def one_task(request: Request, session: Signed, task_id: str) -> Response:
    return await _viewed(request, session, f"/tasks/{task_id}")


@router.get("/approvals/{approval_id}")
async def one_approval(request: Request, session: Signed, approval_id: str) -> Response:
    return await _viewed(request, session, f"/approvals/{approval_id}")


@router.get("/live")
async def live(
    request: Request,
    session: Signed,
    page: Annotated[str, Query(max_length=PATH_CHARS)],
    stamp: Annotated[str, Query(max_length=PATH_CHARS)] = "",
) -> StreamingResponse:
    """Tells an open page to look again. The session is asked for anew each time."""

    latest = session

    async def now() -> str | None:
        nonlocal latest
        try:
            latest = await auth.session(request)
        except auth.SignedOut:
            return None
        view = await _view(request, latest, page)
        return view.stamp if view else None

    async def visible_to_viewer(asked: set[int]) -> set[int]:
        return await stream.seen(deps_of(request).db, latest.viewer, asked)

    return stream.answer(stream.stamps(request.app.state.hub, stamp, now, LIVE_POLL_S, visible_to_viewer))


# ---------------------------------------------------------------- mail


@router.get("/mail")
async def mail(request: Request, session: Signed) -> Response:
    deps = deps_of(request)
    _must_show_mail(deps, session)
    mails = masked(await mailbox.listed(deps.settings), request.app.state.mask)
    waiting = await waiting_for(deps, session.viewer)
    return html("mail.html", frame(deps, session, "Mail", "/mail", waiting) | {"mails": mails, "mail": None})


@router.get("/mail/{name}")
async def one_mail(request: Request, session: Signed, name: str) -> Response:
    deps = deps_of(request)
    _must_show_mail(deps, session)
    found = masked(await mailbox.read(deps.settings, name), request.app.state.mask)
    if found is None:
        raise HTTPException(404, "There is no such mail.")
    waiting = await waiting_for(deps, session.viewer)
    return html("mail.html", frame(deps, session, found.subject, "/mail", waiting) | {"mails": [], "mail": found})


def _must_show_mail(deps: Deps, session: Session) -> None:
    if not mailbox.is_shown(deps.settings, session.viewer):
        raise HTTPException(404, "There is no such page, or you may not see it.")


# ---------------------------------------------------------------- when there is no page


async def sign_in_first(request: Request, error: Exception) -> Response:
    """401, or, for a link followed from another site, one more step: a strict cookie travels only from our own pages."""
    came_by_link = request.headers.get("sec-fetch-site") == "cross-site" and request.method == "GET"
    again = quote(request.url.path) if came_by_link and "sayso-again" not in request.query_params else ""
    return html("login.html", {"title": "Sign in", "code": "", "why": "", "again": again}, 200 if again else 401)


async def not_our_form(request: Request, error: Exception) -> Response:
    return await problem(
        request, 403, "This form is too old, or it is not ours. Open the page again and try once more."
    )


async def problem(request: Request, status: int, why: str) -> Response:
    return html("problem.html", {"title": "That did not work", "status": status, "why": why}, status)
