"""Why a provider did not answer, told apart by what may be done next.

Pure, and the same for both vendors: their SDKs raise the same kinds of errors. No vendor's sentence passes through
here, since it may quote the prompt or a key; only its short error codes do.
"""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

import httpx2

RETRY_AFTER_MOST_S: Final = 3600.0
_CODE: Final = re.compile(r"[a-z][a-z0-9_.-]{1,60}")


class Trouble(StrEnum):
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"
    BAD_ANSWER = "bad_answer"
    NO_ACCESS = "no_access"
    NO_MONEY = "no_money"
    NO_SUCH_MODEL = "no_such_model"
    BAD_REQUEST = "bad_request"
    REFUSED = "refused"


# May pass by itself: another try at the same route makes sense.
PASSING: Final = frozenset(
    {
        Trouble.RATE_LIMITED,
        Trouble.OVERLOADED,
        Trouble.SERVER_ERROR,
        Trouble.UNREACHABLE,
        Trouble.TIMED_OUT,
        Trouble.BAD_ANSWER,
    }
)
# Says something about the provider's health, not about our question; a rate limit is an answer, and has its own rest.
UNHEALTHY: Final = PASSING - {Trouble.RATE_LIMITED}

_BY_STATUS: Final = {
    401: Trouble.NO_ACCESS,
    402: Trouble.NO_MONEY,
    403: Trouble.NO_ACCESS,
    404: Trouble.NO_SUCH_MODEL,
    408: Trouble.TIMED_OUT,
    409: Trouble.OVERLOADED,
    429: Trouble.RATE_LIMITED,
    503: Trouble.OVERLOADED,
    504: Trouble.TIMED_OUT,
    529: Trouble.OVERLOADED,
}
# Codes say more than the status: an empty account is a 429 at OpenAI, and an error inside a stream has no status.
_BY_CODE: Final = {
    "insufficient_quota": Trouble.NO_MONEY,
    "billing_error": Trouble.NO_MONEY,
    "content_filter": Trouble.REFUSED,
    "content_policy_violation": Trouble.REFUSED,
    "model_not_found": Trouble.NO_SUCH_MODEL,
    "overloaded_error": Trouble.OVERLOADED,
    "rate_limit_error": Trouble.RATE_LIMITED,
    "rate_limit_exceeded": Trouble.RATE_LIMITED,
    "timeout_error": Trouble.TIMED_OUT,
}


class ProviderFailed(Exception):
    """One provider did not answer. `code` is the vendor's short error code, where it gave one."""

    def __init__(self, trouble: Trouble, *, retry_after_s: float | None = None, code: str = "") -> None:
        super().__init__(f"{trouble} ({code})" if code else str(trouble))
        self.trouble = trouble
        self.retry_after_s = retry_after_s
        self.code = code


def from_status(status: int, codes: tuple[object, ...], headers: Mapping[str, str]) -> ProviderFailed:
    """An error answer; `codes` are what the vendor put into `code` and `type` of its error, in any form."""
    known = [c for c in codes if isinstance(c, str) and _CODE.fullmatch(c)]
    trouble = next((_BY_CODE[c] for c in known if c in _BY_CODE), None)
    if trouble is None:
        trouble = _BY_STATUS.get(status) or (Trouble.BAD_REQUEST if 400 <= status < 500 else Trouble.SERVER_ERROR)
    wait_s = retry_after_s(headers) if trouble in PASSING else None
    return ProviderFailed(trouble, retry_after_s=wait_s, code=known[0] if known else str(status))


def from_transport(error: httpx2.HTTPError) -> ProviderFailed:
    """What went wrong on the wire, also in the middle of a stream, where the SDKs do not wrap it."""
    slow = isinstance(error, httpx2.TimeoutException) and not isinstance(error, httpx2.ConnectTimeout)
    return ProviderFailed(Trouble.TIMED_OUT if slow else Trouble.UNREACHABLE)


def retry_after_s(headers: Mapping[str, str], unix_now: Callable[[], float] = time.time) -> float | None:
    """`retry-after-ms`, or `retry-after` as seconds or as a date (RFC 9110 §10.2.3), capped; None where unreadable."""
    for name, per_second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            wait_s = float(headers.get(name, "")) / per_second
        except ValueError:
            continue
        if math.isfinite(wait_s):
            return min(max(wait_s, 0.0), RETRY_AFTER_MOST_S)
    try:
        at = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        return min(max(at.timestamp() - unix_now(), 0.0), RETRY_AFTER_MOST_S)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
