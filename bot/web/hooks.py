"""Signed webhooks: another program starts a task as a service principal of sayso.yaml, or sends an event that tasks wait for.

The signature is checked over the raw bytes before anything is parsed. What the body says is foreign text: the intent's
template is the organisation's word, the values put into it are nobody's, and intake is told which they are.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request

from bot.web import shapes
from bot.web.auth import deps_of, web_identity, web_place
from core import config, intake
from core.models import Channel, Inbound, Place
from core.organisation.schema import place_parts
from core.store import people

router = APIRouter(tags=["hooks"])

VALUE_CHARS: Final = 2_000
_BLANK = re.compile(r"\{\{\s*body((?:\.[A-Za-z0-9_]+)*)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Rendered:
    """An intent as text, and which parts of it came from the body."""

    text: str
    foreign: tuple[str, ...]


@router.post(
    "/hooks/{name}",
    status_code=202,
    response_model=shapes.Accepted,
    responses={
        401: {"model": shapes.Problem, "description": "missing, stale or wrong signature"},
        404: {"model": shapes.Problem, "description": "no such hook"},
        413: {"model": shapes.Problem, "description": "larger than 1 MB"},
        422: {"model": shapes.Problem, "description": "not JSON"},
    },
)
async def receive_hook(request: Request, name: str) -> dict[str, Any]:
    """`X-Sayso-Timestamp` and `X-Sayso-Signature: v1=hex(HMAC-SHA256(secret, timestamp + "." + body))`."""
    deps = deps_of(request)
    hook = deps.organisation.hooks.get(name)
    if hook is None:
        raise HTTPException(404, "no such hook")
    body = await request.body()
    signature = signed_by(deps.settings.secret(hook.secret_env) or "", request.headers, body, time.time())
    if signature is None:
        raise HTTPException(401, "the signature is missing, stale or wrong")
    service = await people.by_key(deps.db, hook.as_)
    if service is None:
        raise HTTPException(404, "no such hook")
    said = parsed(body)
    if hook.event is not None:
        if len(body) > config.EVENT_BYTES:
            raise HTTPException(413, f"an event carries at most {config.EVENT_BYTES:,} bytes")
        data = said if isinstance(said, dict) else {"body": said}
        await intake.announce(deps, hook.event, data, sender=service, dedup=f"hook:{name}:{signature}")
        if not hook.intent:
            return {"task_id": None}
    rendered = render(hook.intent, said)
    sender = await web_identity(deps, service)
    received = await intake.receive(
        deps,
        Inbound(
            channel=Channel.HOOK,
            delivery_id=f"{name}:{signature}",
            sender=sender,
            place=place_of(hook.conversation) or web_place(service),
            text=rendered.text,
            foreign=rendered.foreign,
        ),
    )
    return {"task_id": None if received.task_id is None else str(received.task_id)}


# ---------------------------------------------------------------- the signature


def signed_by(secret: str, headers: Mapping[str, str], body: bytes, now_s: float) -> str | None:
    """The signature if it is right and at most 300 s old or early; None otherwise, for whatever reason."""
    stamp, given = (headers.get("x-sayso-timestamp", ""), headers.get("x-sayso-signature", ""))
    if not secret or not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12 and given.isascii()):
        return None
    if abs(now_s - int(stamp)) > config.SIGNATURE_SKEW_S:
        return None
    right = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return right if hmac.compare_digest(given, f"v1={right}") else None


# ---------------------------------------------------------------- the intent


def parsed(body: bytes) -> Any:
    """The body's JSON, or 422."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(422, "the body is not JSON") from None


def render(template: str, body: Any) -> Rendered:
    """Fill `{{ body.title }}` places; a value that is missing is empty, one that is no text is JSON."""
    foreign: list[str] = []

    def fill(blank: re.Match[str]) -> str:
        value = _value(body, blank.group(1).split(".")[1:])
        if value:
            foreign.append(value)
        return value

    return Rendered(_BLANK.sub(fill, template)[: config.INBOUND_CHARS], tuple(foreign))


def _value(body: Any, path: list[str]) -> str:
    for key in path:
        body = body.get(key) if isinstance(body, dict) else None
    if body is None:
        return ""
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")[:VALUE_CHARS]


def place_of(conversation: str | None) -> Place | None:
    """`slack/T0ACME/C0OPS`, as sayso.yaml writes a conversation."""
    if not conversation:
        return None
    channel, external_id = place_parts(conversation)
    return Place(channel=channel, external_id=external_id)
