"""`POST /twilio/sms` and `POST /twilio/status`: read within a size, verified, judged, committed, then answered.

What is unsigned, malformed or too large is refused and changes nothing. An incoming message is answered with TwiML that says
what it came to; the same one again is answered the same. A database that is away is 503.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Literal
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from starlette.datastructures import FormData
from twilio.twiml.messaging_response import MessagingResponse

from bot.sms.signature import FORM, HEADER, Signer, only, read_form
from core import config
from core.texting import Text

log = logging.getLogger(__name__)

SMS_PATH: Final = "/twilio/sms"
STATUS_PATH: Final = "/twilio/status"
BODY_READ_S: Final = 5.0
SID: Final = r"(SM|MM)[0-9a-fA-F]{32}"
PHONE: Final = r"\+[1-9][0-9]{6,14}|[0-9]{3,8}"
INBOUND: Final = {"MessageSid": SID, "From": PHONE, "AccountSid": r"AC[0-9a-fA-F]{32}", "Body": r".{0,1600}"}
STATUS: Final = {"MessageSid": SID, "MessageStatus": r"[a-z_]{1,30}", "AccountSid": r"AC[0-9a-fA-F]{32}"}
_OPT_OUT: Final[dict[str, Literal["stop", "start", "help"]]] = {"STOP": "stop", "START": "start", "HELP": "help"}

Hear = Callable[[Text], Awaitable[str | None]]
Note = Callable[[str, str, str, int | None], Awaitable[None]]


def sms_router(signer: Signer, account: str, hear: Hear, note: Note) -> APIRouter:
    """`hear` commits a message and answers what to say; `note` commits (sid, status, error code, our message)."""
    router = APIRouter(tags=["twilio"])

    @router.post(SMS_PATH, include_in_schema=False)
    async def receive_sms(request: Request) -> Response:
        form = await _verified(request, signer)
        if isinstance(form, int):
            return Response(status_code=form)
        fields = only(form, INBOUND)
        if fields is None:
            return Response(status_code=400)
        if fields["AccountSid"] != account:
            return Response(status_code=403)
        kind = _OPT_OUT.get(str(form.get("OptOutType", "")).upper())
        said = await hear(Text(fields["MessageSid"], fields["From"], fields["Body"], kind))
        return twiml(said)

    @router.post(STATUS_PATH, include_in_schema=False)
    async def receive_status(request: Request) -> Response:
        form = await _verified(request, signer)
        if isinstance(form, int):
            return Response(status_code=form)
        fields = only(form, STATUS)
        if fields is None:
            return Response(status_code=400)
        if fields["AccountSid"] != account:
            return Response(status_code=403)
        error = str(form.get("ErrorCode", ""))
        ours = parse_qs(request.url.query).get("message", [""])[0]
        message = int(ours) if ours.isascii() and ours.isdigit() and len(ours) <= 18 else None
        await note(fields["MessageSid"], fields["MessageStatus"], error if error.isalnum() else "", message)
        return Response(status_code=204)

    return router


def twiml(said: str | None) -> Response:
    """An answer that Twilio sends back to the phone; an empty one sends nothing."""
    response = MessagingResponse()
    if said:
        response.message(said)
    return Response(str(response), media_type="text/xml")


async def _verified(request: Request, signer: Signer) -> FormData | int:
    """The form of a request that Twilio has signed, or the status that refuses it."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        return 415
    try:
        async with asyncio.timeout(BODY_READ_S):
            body = await _body(request)
    except TimeoutError:
        return 408
    if body is None:
        return 413
    form = read_form(body)
    if form is None:
        return 400
    if not signer.signed(request.url.path, request.url.query, form, request.headers.getlist(HEADER)):
        log.warning("a request to %s is not signed by Twilio; check PUBLIC_BASE_URL and the token", request.url.path)
        return 403
    return form


async def _body(request: Request) -> bytes | None:
    """The whole body; None as soon as it is too large."""
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > config.SMS_BODY_BYTES:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > config.SMS_BODY_BYTES:
            return None
    return bytes(body)
