"""What browsers post: words for the chat, presses on cards, a hand on a task, signing in and out.

Each form carries our proof and a number of its own, so that nothing is pressed by another page and nothing counts
twice. Every answer is a redirect to a page that shows the rows; the sentence for the presser travels with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, get_args

from fastapi import APIRouter, Form, Query, Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from bot.web import auth, shapes
from bot.web.auth import Formed, deps_of, web_identity, web_place
from bot.web.pages import frame, html
from bot.web.seeing import own_task, seen_approval
from bot.web.views import waiting_for
from core import config, editing, intake
from core.cards import Button, Card, approval_card, press_answer, task_card
from core.deps import Deps
from core.display import visible
from core.models import Attached, AttachmentKind, Channel, Identity, Inbound, Press, SkillManifest, Verdict
from core.store import people, skills

router = APIRouter()

SEE_OTHER: Final = 303
TASK_HANDS: Final = {"stop": "stop", "pause": "pause", "resume": "resume", "retry": "retry", "undo": "undo"}
_OURS = re.compile(r"/(?:inbox|tasks|tasks/\d{1,18}|approvals/[0-9a-f-]{36})?")
_NONCE = re.compile(r"[A-Za-z0-9_-]{8,64}")

Word = Annotated[str, Form(max_length=200)]


def _back(path: str, fallback: str, anchor: str = "") -> str:
    """Only a page of ours: nobody is sent elsewhere by a form."""
    return (path if _OURS.fullmatch(path) else fallback) + anchor


def once(person_id: int, nonce: str) -> str:
    if not _NONCE.fullmatch(nonce):
        raise HTTPException(422, "This form lacks its number. Open the page again.")
    return f"form:{person_id}:{nonce}"


# ---------------------------------------------------------------- chat


@router.post("/chat")
async def say(request: Request, session: Formed) -> Response:
    """Words, files, or both. The form is no parameter: nothing of it is read before it is known who sends it."""
    deps, person = deps_of(request), session.viewer.person
    form = await request.form()
    text, nonce = form.get("text", ""), form.get("nonce", "")
    if not isinstance(text, str) or not isinstance(nonce, str) or len(text) > config.INBOUND_CHARS * 2:
        raise HTTPException(422, "That is too long.")
    # A browser sends the empty field, too.
    files = [one for one in form.getlist("files") if isinstance(one, UploadFile) and one.filename]
    await intake.receive(
        deps,
        Inbound(
            channel=Channel.WEB,
            delivery_id=once(person.id, nonce),
            sender=await web_identity(deps, person),
            place=web_place(person),
            text=text.replace("\r\n", "\n").replace("\x00", "\N{REPLACEMENT CHARACTER}"),
            attached=tuple([await _attached(one) for one in files]),
        ),
    )
    return RedirectResponse("/#end", SEE_OTHER)


async def _attached(file: UploadFile) -> Attached:
    """A browser can only say what a file is called; nothing of it is a recording of theirs."""
    mime = file.content_type or ""
    kind: AttachmentKind = "image" if mime.startswith("image/") else "voice" if mime.startswith("audio/") else "file"
    return Attached(name=file.filename or "", mime=mime, kind=kind, content=await file.read())


# ---------------------------------------------------------------- decisions


@router.post("/approvals/{approval_id}/decide")
async def decide(
    request: Request,
    session: Formed,
    approval_id: str,
    verdict: Word,
    digest: Word,
    reason: Annotated[str, Form(max_length=config.REASON_CHARS)] = "",
    nonce: Word = "",
    back: Word = "",
    confirmed: Word = "",
    to: Word = "",
    text: Annotated[str, Form(max_length=config.INBOUND_CHARS)] = "",
) -> Response:
    deps, viewer = deps_of(request), session.viewer
    row = await seen_approval(request, viewer, approval_id)
    if verdict not in get_args(Verdict) or verdict not in shapes.answers_to(row["kind"]):
        raise HTTPException(422, "This approval can't be answered like that.")
    card = approval_card(row).masked(request.app.state.mask)
    asked = _button(card, verdict)
    back = _back(back, card.path)
    if asked is not None and asked.confirm and not confirmed:
        fields = {"verdict": verdict, "digest": digest, "reason": reason, "nonce": nonce, "back": back}
        return await _confirm(request, session, card, asked, f"{card.path}/decide", fields, back)
    try:
        args = await _changes(request, deps, row) if verdict == "edit" else None
    except editing.BadEdit as error:
        return _answer(request, f"Nothing is changed: {visible(str(error))}.", back)
    decided = await intake.press(
        deps,
        Press(
            channel=Channel.WEB,
            delivery_id=once(viewer.person.id, nonce),
            sender=Identity(channel=Channel.WEB, external_id=viewer.person.key),
            approval_id=row["id"],
            verdict=verdict,
            digest=digest,
            reason=visible(reason),
            args=args,
            to=to.strip() or None,
            text=text.replace("\x00", "\N{REPLACEMENT CHARACTER}"),
            items=tuple(str(d) for d in (await request.form()).getlist("items"))[: config.CARD_ITEMS_MOST],
        ),
        by=viewer.person,
    )
    return _answer(request, press_answer(decided), back)


async def _changes(request: Request, deps: Deps, row: Mapping[str, Any]) -> dict[str, Any]:
    """What the form of the arguments changes. Raises `BadEdit`."""
    action = row["items"][0]["action"]
    manifest = (await skills.manifests(deps.db)).get(action.get("skill", ""))
    if manifest is None or len(row["items"]) > 1:
        raise editing.BadEdit("this can't be edited here")
    return await changed_arguments(request, action["args"], manifest)


async def changed_arguments(request: Request, args: Mapping[str, Any], manifest: SkillManifest) -> dict[str, Any]:
    """Of a form's `arg-…` fields, those that differ from `args`. Raises `BadEdit`."""
    form = await request.form()
    given = {k.removeprefix("arg-"): v for k, v in form.items() if k.startswith("arg-") and isinstance(v, str)}
    return editing.changes(args, given, manifest)


def _button(card: Card, verb: str) -> Button | None:
    return next((b for b in (*card.buttons, *card.more) if b.verb == verb), None)


async def _confirm(
    request: Request, session: auth.Session, card: Card, asked: Button, action: str, fields: dict[str, str], back: str
) -> Response:
    """The second of two steps: the question alone on a page, with the whole action under it."""
    deps = deps_of(request)
    context = frame(deps, session, asked.label, "", await waiting_for(deps, session.viewer))
    shown = {"card": card, "asked": asked, "action": action, "fields": fields, "back": back}
    return html("confirm.html", context | shown)


def _answer(request: Request, sentence: str, back: str) -> Response:
    response = RedirectResponse(back, SEE_OTHER)
    auth.say_next(response, request, sentence)
    return response


# ---------------------------------------------------------------- tasks


@router.post("/tasks/{task_id}/{verb}")
async def lay_hand(
    request: Request, session: Formed, task_id: str, verb: str, back: Word = "", confirmed: Word = ""
) -> Response:
    deps, person = deps_of(request), session.viewer.person
    if verb not in TASK_HANDS:
        raise HTTPException(404, "There is no such page.")
    task = await own_task(request, session.viewer, task_id)
    number = int(task["id"])
    back = _back(back, f"/tasks/{number}")
    card = task_card(task, now=datetime.now(UTC)).masked(request.app.state.mask)
    asked = _button(card, verb)
    if asked is not None and asked.confirm and not confirmed:
        return await _confirm(request, session, card, asked, f"/tasks/{number}/{verb}", {"back": back}, back)
    try:
        said = await intake.control(deps, person, number, TASK_HANDS[verb])
    except intake.NotVisible:
        raise HTTPException(403, "You may see this task but not steer it.") from None
    return _answer(request, said, back)


# ---------------------------------------------------------------- in and out


@router.get("/login")
async def login_page(code: Annotated[str, Query(max_length=auth.TOKEN_CHARS)] = "") -> Response:
    """Opening the link changes nothing: chats open links to preview them. The button does."""
    return html("login.html", {"title": "Sign in", "code": code, "why": "", "again": ""})


@router.post("/login")
async def login(
    request: Request,
    code: Annotated[str, Form(max_length=auth.TOKEN_CHARS)] = "",
    token: Annotated[str, Form(max_length=auth.TOKEN_CHARS)] = "",
) -> Response:
    """A one-time code, or a person's API token, for a session."""
    session = await _session_for(deps_of(request), code, token)
    if session is None:
        why = (
            "That token is not valid." if token else "This link was used already, or it is too old. Ask for a new one."
        )
        return html("login.html", {"title": "Sign in", "code": "", "why": why, "again": ""}, 401)
    response = RedirectResponse("/", SEE_OTHER)
    auth.sign_in(response, deps_of(request).settings, session)
    return response


async def _session_for(deps: Deps, code: str, token: str) -> str | None:
    if token:
        person = await people.holder(deps.db, token.strip(), "api")
        return await people.make_token(deps.db, person.id, "session", config.SESSION_EXPIRES_S) if person else None
    traded = await people.trade_login(deps.db, code)
    return traded[1] if traded else None


@router.post("/logout")
async def logout(request: Request, session: Formed) -> Response:
    deps = deps_of(request)
    await people.end_session(deps.db, session.token)
    response = RedirectResponse("/login", SEE_OTHER)
    auth.sign_out(response, deps.settings)
    return response
