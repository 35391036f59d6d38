"""What no request may exceed and no answer may lack, checked before any route: sizes, times, Host, Origin, headers.

Pure ASGI, so that a stream stays a stream and a refused body is never read to its end. Vendors' webhooks carry
signatures instead of cookies and arrive under whatever name a tunnel gives them, so Host is not checked there.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import config
from core.settings import Settings

HEADER_BYTES: Final = 32_000
BODY_READ_S: Final = 20.0
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
ANY_HOST: Final = ("/healthz", "/readyz", "/metrics", "/hooks/", "/slack/", "/telegram/", "/twilio/")
UPLOADS: Final = "/chat"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

# `same-origin` rather than `no-referrer`: nothing leaves to other sites, and browsers still name our own origin in
# form posts (under `no-referrer` they would say `Origin: null`, Fetch standard, "append a request Origin header").
SECURITY_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " font-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True, slots=True)
class Refused:
    status: int
    why: str


@dataclass(frozen=True, slots=True)
class OurNames:
    """Under which names this server may be spoken to."""

    hosts: frozenset[str]
    public_authority: str

    @classmethod
    def of(cls, settings: Settings) -> OurNames:
        public = urlsplit(settings.public_base_url or "")
        own = {settings.host.strip("[]").lower()} - {"0.0.0.0", "::", ""}  # noqa: S104  (not bound to, left out)
        return cls(frozenset(LOOPBACK | own), _authority(public.netloc, public.scheme))

    def knows(self, host: str, scheme: str) -> bool:
        """A loopback name or HOST with whatever port (it may be forwarded), or exactly PUBLIC_BASE_URL's."""
        if not _name(host):
            return False
        spoken = {_authority(host, scheme), _authority(host, "https")}
        return self.public_authority in spoken or _name(host) in self.hosts


def _name(authority: str) -> str:
    try:
        return (urlsplit(f"//{authority}").hostname or "").lower()
    except ValueError:
        return ""


def _authority(netloc: str, scheme: str) -> str:
    """`host[:port]` in lower case without the scheme's default port."""
    default = {"http": ":80", "https": ":443"}.get(scheme, "")
    low = netloc.lower()
    return low.removesuffix(default) if default else low


def judged(method: str, path: str, headers: dict[str, str], names: OurNames, scheme: str) -> Refused | None:
    """Whether a request is refused for its headers alone."""
    if sum(len(k) + len(v) for k, v in headers.items()) > HEADER_BYTES:
        return Refused(431, "the headers are too large")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        return Refused(400, "Content-Length is not a number")
    if len(length) > 12 or int(length) > most_bytes(path):
        return Refused(413, f"the body is larger than {most_bytes(path)} bytes")
    if path.startswith(ANY_HOST):
        return None
    host = headers.get("host", "")
    if not names.knows(host, scheme):
        return Refused(421, "this server does not go by that name; set PUBLIC_BASE_URL to the address you use")
    if method not in SAFE_METHODS and not _is_same_origin(headers, host, names):
        return Refused(403, "this request was sent by a page of another site")
    return None


def most_bytes(path: str) -> int:
    """Files come by the chat's form alone, which is read only for who is signed in."""
    return config.UPLOAD_BYTES if path == UPLOADS else config.BODY_BYTES


def _is_same_origin(headers: dict[str, str], host: str, names: OurNames) -> bool:
    """Browsers name the page's origin on every POST; programs name none, and need a token anyway."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    authority = _authority(parts.netloc, parts.scheme)
    if not authority:
        return False
    return authority in (_authority(host, parts.scheme), names.public_authority)


class Limits:
    """The middleware around the whole app."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._names = app, OurNames.of(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        refused = judged(scope["method"], scope["path"], headers, self._names, scope["scheme"])
        if refused is not None:
            await _refuse(send, refused)
            return
        await _Guarded(receive, send, scope["path"]).run(self._app, scope)


class _Guarded:
    """One request whose body is counted and timed while the app reads it."""

    def __init__(self, receive: Receive, send: Send, path: str) -> None:
        self._receive, self._send, self._path = receive, send, path
        self._bytes = 0
        self._read_until = time.monotonic() + BODY_READ_S
        self._ended = False
        self._refused: Refused | None = None
        self._started = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            if self._refused is None or self._started:
                raise
        if self._refused is not None and not self._started:
            await _refuse(self._send, self._refused)

    async def receive(self) -> Message:
        if self._refused is not None:
            return {"type": "http.disconnect"}
        if self._ended:
            return await self._receive()
        try:
            async with asyncio.timeout(max(self._read_until - time.monotonic(), 0)):
                message = await self._receive()
        except TimeoutError:
            return self._refuse(Refused(408, "the body did not arrive in time"))
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            self._ended = not message.get("more_body", False)
            if self._bytes > most_bytes(self._path):
                return self._refuse(Refused(413, f"the body is larger than {most_bytes(self._path)} bytes"))
        return message

    def _refuse(self, refused: Refused) -> Message:
        self._refused = refused
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self._refused is not None and not self._started:
            return  # whatever the app made of the cut body, the sender gets our answer
        if message["type"] == "http.response.start":
            self._started = True
            kept = {k for k, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(pair for pair in _headers(self._path) if pair[0] not in kept)]
        await self._send(message)


def _headers(path: str) -> list[tuple[bytes, bytes]]:
    caching = "public, max-age=3600" if path.startswith("/static/") else "no-store"
    named = SECURITY_HEADERS | {"cache-control": caching}
    return [(name.encode(), value.encode()) for name, value in named.items()]


async def _refuse(send: Send, refused: Refused) -> None:
    body = json.dumps({"error": refused.why}).encode()
    head = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": [*head, *_headers("")]})
    await send({"type": "http.response.body", "body": body})
