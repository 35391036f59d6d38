"""Who is asking: a bearer token for programs, a session cookie for browsers, and the proof that a form is ours.

Only hashes of tokens are stored, by `core.store.people`. A form proves itself with an HMAC of the session under
SAYSO_SECRET_KEY, so that no other page can press a button for a signed-in person.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request
from starlette.responses import Response

from core import config
from core.deps import Deps
from core.models import Channel, Identity, Place
from core.organisation import Organisation, sees_all, sees_conversation
from core.settings import Settings
from core.store import people
from core.store.people import Principal

SAID_S: Final = 20
SAID_CHARS: Final = 400
TOKEN_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Viewer:
    """A signed-in person (or service) and how far they see."""

    person: Principal
    sees_all: bool
    sees_conversation: bool

    @property
    def is_owner(self) -> bool:
        return "owner" in self.person.roles


@dataclass(frozen=True, slots=True)
class Session:
    """A viewer in a browser. `csrf` goes into every form that we render for them."""

    viewer: Viewer
    token: str
    csrf: str


class SignedOut(Exception):
    """A page was asked for by a browser without a session."""


class Forged(Exception):
    """A form came without our proof."""


def deps_of(request: Request) -> Deps:
    deps: Deps = request.app.state.deps
    return deps


def viewer_of(person: Principal, organisation: Organisation) -> Viewer:
    """What the roles of sayso.yaml let a person see; an owner sees everything."""
    return Viewer(person, sees_all(organisation, person.roles), sees_conversation(organisation, person.roles))


def may_steer(viewer: Viewer, task: Mapping[str, Any]) -> bool:
    """Stop, pause, resume, retry, undo: who asked for a task, and who sees everything. An approver only decides."""
    return viewer.sees_all or bool(task["requester"] == viewer.person.key)


# ---------------------------------------------------------------- programs


async def bearer(request: Request) -> Viewer:
    """The holder of the API token, or 401."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not 0 < len(token) <= TOKEN_CHARS:
        raise _unauthorised("a bearer token is needed; get one with `./sayso people token`")
    deps = deps_of(request)
    person = await people.holder(deps.db, token, "api")
    if person is None:
        raise _unauthorised("this token is not valid")
    return viewer_of(person, deps.organisation)


def _unauthorised(why: str) -> HTTPException:
    return HTTPException(401, why, headers={"www-authenticate": "Bearer"})


# ---------------------------------------------------------------- browsers


def is_https(settings: Settings) -> bool:
    return urlsplit(settings.public_base_url or "").scheme == "https"


def cookie_name(settings: Settings) -> str:
    """`__Host-` binds the cookie to this host and to TLS (RFC 6265bis section 4.1.3.2)."""
    return "__Host-sayso" if is_https(settings) else "sayso"


def proof(request: Request, purpose: str, subject: str) -> str:
    """A keyed hash that only this deployment can make. `app.state.key` is SAYSO_SECRET_KEY, read once."""
    key: bytes = request.app.state.key
    return hmac.new(key, f"{purpose}:{subject}".encode(), hashlib.sha256).hexdigest()


async def session(request: Request) -> Session:
    """The browser's session; raises `SignedOut`."""
    deps = deps_of(request)
    token = request.cookies.get(cookie_name(deps.settings), "")
    person = await people.holder(deps.db, token, "session") if 0 < len(token) <= TOKEN_CHARS else None
    if person is None:
        raise SignedOut
    return Session(viewer_of(person, deps.organisation), token, proof(request, "form", token))


async def formed(request: Request) -> Session:
    """The session of a form that carries our proof; raises `SignedOut` or `Forged`."""
    found = await session(request)
    given = (await request.form()).get("csrf")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), found.csrf.encode()):
        raise Forged
    return found


def sign_in(response: Response, settings: Settings, token: str) -> None:
    response.set_cookie(
        cookie_name(settings),
        token,
        max_age=int(config.SESSION_EXPIRES_S),
        path="/",
        httponly=True,
        secure=is_https(settings),
        samesite="strict",
    )


def sign_out(response: Response, settings: Settings) -> None:
    response.delete_cookie(cookie_name(settings), path="/", httponly=True, secure=is_https(settings), samesite="strict")


# ---------------------------------------------------------------- one sentence for the next page


def say_next(response: Response, request: Request, sentence: str) -> None:
    """Have the next page show a sentence. Signed, so that no link can put words into our mouth."""
    text = base64.urlsafe_b64encode(sentence[:SAID_CHARS].encode()).decode()
    value = f"{text}.{proof(request, 'said', text)}"
    secure = is_https(deps_of(request).settings)
    response.set_cookie("sayso-said", value, max_age=SAID_S, httponly=True, secure=secure, samesite="strict")


def said(request: Request) -> str:
    """The sentence that the last answer left, if it is ours."""
    text, _, mark = request.cookies.get("sayso-said", "").partition(".")
    if not hmac.compare_digest(mark.encode(), proof(request, "said", text).encode()):
        return ""
    return base64.urlsafe_b64decode(text.encode()).decode()


# ---------------------------------------------------------------- as intake knows them


async def web_identity(deps: Deps, person: Principal) -> Identity:
    """The person as the sender of a web message. Made here when they have none: who holds a session is known already."""
    external_id = await people.web_identity(deps.db, person)
    return Identity(channel=Channel.WEB, external_id=external_id, display_name=person.name)


def web_place(person: Principal) -> Place:
    """The person's own conversation on the web."""
    return Place(channel=Channel.WEB, external_id=person.key, private=True, title="web chat")


def nonce() -> str:
    """A form's own delivery id: sent twice, it counts once."""
    return secrets.token_urlsafe(16)


Asking = Annotated[Viewer, Depends(bearer)]
Signed = Annotated[Session, Depends(session)]
Formed = Annotated[Session, Depends(formed)]
