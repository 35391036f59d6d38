"""`POST /slack/events`: reads the raw body within its limit, verifies the signature, parses, and hands it over.

Not by way of Bolt, which would sort, parse and look up again what is known here. Whatever is wrong with a request is
answered 4xx before anything else looks at it. 5xx means only that a good request could not be committed, so that Slack
delivers it again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from slack_bolt.response import BoltResponse
from starlette.responses import JSONResponse, Response

from bot.bodies import whole_body
from bot.slack.signature import Refused, judged, parsed
from core import config

log = logging.getLogger(__name__)


def slack_router(taken: Callable[[dict[str, Any]], Awaitable[BoltResponse]], secret: str) -> APIRouter:
    """One route for events, interactivity and commands; `taken` gets the payload as Socket Mode would bring it."""
    router = APIRouter()

    @router.post("/slack/events", include_in_schema=False)
    async def slack_events(request: Request) -> Response:
        body = await whole_body(request, config.BODY_BYTES)
        if isinstance(body, int):
            return _refusal(Refused(body, "the body is too large, or came too slowly"))
        headers = request.scope["headers"]
        refused = judged(headers, body, secret, time.time())
        if refused is not None:
            return _refusal(refused)
        payload = parsed(headers, body)
        if isinstance(payload, Refused):
            return _refusal(payload)
        answer = await taken(payload)
        return Response(answer.body, answer.status, answer.first_headers_without_set_cookie())

    return router


def _refusal(refused: Refused) -> Response:
    log.info("Slack request refused with %s: %s", refused.status, refused.why)
    return JSONResponse({"error": refused.why}, refused.status)
