"""`POST /twilio/sms` and `POST /twilio/status`: read within a size, verified, judged, committed, then answered.

What is unsigned, malformed or too large is refused and changes nothing. An incoming message is answered with TwiML that says
what it came to; the same one again is answered the same. A database that is away is 503.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from starlette.datastructures import FormData
from twilio.twiml.messaging_response import MessagingResponse

from bot.bodies import whole_body
from bot.sms.signature import FORM, HEADER, Signer, only, read_form
from core import config
from core.texting import Text

log = logging.getLogger(__name__)

SMS_PATH: Final = "/twilio/sms"
STATUS_PATH: Final = "/twilio/status"
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
        read = await _read(request, signer, account, INBOUND)
        if isinstance(read, int):
            return Response(status_code=read)
        form, fields = read
        kind = _OPT_OUT.get(str(form.get("OptOutType", "")).upper())
        said = await hear(Text(fields["MessageSid"], fields["From"], fields["Body"], kind))
        return twiml(said)

    @router.post(STATUS_PATH, include_in_schema=False)
    async def receive_status(request: Request) -> Response:
        read = await _read(request, signer, account, STATUS)
        if isinstance(read, int):
            return Response(status_code=read)
        form, fields = read
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


async def _read(
    request: Request, signer: Signer, account: str, wanted: Mapping[str, str]
) -> tuple[FormData, dict[str, str]] | int:
    """The form of a request that Twilio has signed for our account, and its fields; or the status that refuses it."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        return 415
    body = await whole_body(request, config.SMS_BODY_BYTES)
    if isinstance(body, int):
        return body
    form = read_form(body)
    if form is None:
        return 400
    if not signer.signed(request.url.path, request.url.query, form, request.headers.getlist(HEADER)):
        log.warning("a request to %s is not signed by Twilio; check PUBLIC_BASE_URL and the token", request.url.path)
        return 403
    fields = only(form, wanted)
    if fields is None:
        return 400
    return (form, fields) if fields["AccountSid"] == account else 403
