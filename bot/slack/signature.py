"""Is this HTTP request from Slack, and what does it carry: judged on raw bytes before anything is parsed.

Pure: the clock's reading comes in. Whatever is wrong with a request is a refusal with a 4xx, never an exception.
https://docs.slack.dev/authentication/verifying-requests-from-slack
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from core import config

_STAMP: Final = re.compile(rb"[0-9]{1,12}")
_SIGNATURE: Final = re.compile(rb"v0=[0-9a-f]{64}")
FORM_FIELDS_MOST: Final = 100

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Refused:
    status: int
    why: str


def judged(headers: Headers, body: bytes, secret: str, now_s: float) -> Refused | None:
    """None when the body was signed by who holds the secret, at most five minutes off our clock in either direction."""
    if not secret:
        return Refused(401, "no signing secret is set")
    stamp, signature = _only(headers, b"x-slack-request-timestamp"), _only(headers, b"x-slack-signature")
    if stamp is None or not _STAMP.fullmatch(stamp):
        return Refused(401, "exactly one X-Slack-Request-Timestamp in Unix seconds is needed")
    if signature is None or not _SIGNATURE.fullmatch(signature):
        return Refused(401, "exactly one X-Slack-Signature of version v0 is needed")
    if abs(now_s - int(stamp)) > config.SIGNATURE_SKEW_S:
        return Refused(401, f"the timestamp is more than {config.SIGNATURE_SKEW_S} s away from our clock")
    if not hmac.compare_digest(signed(stamp, body, secret), signature):
        return Refused(401, "the signature is not of this body")
    return None


def signed(stamp: bytes, body: bytes, secret: str) -> bytes:
    mac = hmac.new(secret.encode(), b"v0:" + stamp + b":" + body, hashlib.sha256)
    return b"v0=" + mac.hexdigest().encode()


def _only(headers: Headers, name: bytes) -> bytes | None:
    found = [value for key, value in headers if key.lower() == name]
    return found[0] if len(found) == 1 else None


def parsed(headers: Headers, body: bytes) -> dict[str, Any] | Refused:
    """Events come as JSON; interactivity as a form with JSON in `payload`; commands as a form of their own."""
    kind = (_only(headers, b"content-type") or b"").partition(b";")[0].strip().lower()
    try:
        text = body.decode("utf-8")
        if kind == b"application/json":
            return _object(text)
        if kind != b"application/x-www-form-urlencoded":
            return Refused(400, "neither JSON nor a form")
        fields = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=FORM_FIELDS_MOST, errors="strict"))
        if "payload" in fields:
            return _object(fields["payload"])
    except (ValueError, RecursionError):
        return Refused(400, "the body cannot be read")
    # A `type` belongs to events and interactivity only: a form may not pose as one.
    fields.pop("type", None)
    return dict(fields) if "command" in fields or "ssl_check" in fields else Refused(400, "a form of no known kind")


def _object(text: str) -> dict[str, Any] | Refused:
    value = json.loads(text)
    if not isinstance(value, dict):
        return Refused(400, "not a JSON object")
    return value if isinstance(value.get("type"), str) else Refused(400, "a payload of no known kind")
