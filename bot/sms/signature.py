"""Is a request Twilio's: its signature over the address that we gave out and the form that came.

Pure. The address is built from PUBLIC_BASE_URL, never from what the request says of itself, and the algorithm is the one
that is configured, never the one that a header names. The form is judged strictly, since the signature joins names and
values without a mark between them: https://www.twilio.com/docs/usage/webhooks/webhooks-security
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import FormData
from twilio.request_validator import HMAC_SHA1, HMAC_SHA256, RequestValidator

from core import config
from core.settings import Settings

HEADER: Final = "x-twilio-signature"
FORM: Final = "application/x-www-form-urlencoded"
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
_ALGORITHMS: Final = {"HMAC-SHA1": HMAC_SHA1, "HMAC-SHA256": HMAC_SHA256}


class Signer:
    """Knows the secret and the algorithm; both are fixed when it is made."""

    def __init__(self, settings: Settings) -> None:
        self._base_url = settings.base_url()
        self._algorithm = _ALGORITHMS[settings.twilio_signature]
        shared = settings.twilio_signature == "HMAC-SHA256"
        self._validator = RequestValidator(
            settings.secret_of(settings.twilio_signing_key if shared else settings.twilio_auth_token)
        )

    def signed(self, path: str, query: str, form: FormData, signatures: Sequence[str]) -> bool:
        """Whether there is one signature, and it is right."""
        if len(signatures) != 1 or not signatures[0].isascii():
            return False
        url = self._base_url + path + (f"?{query}" if query else "")
        return bool(self._validator.validate(url, form, signatures[0], self._algorithm))


def read_form(body: bytes) -> FormData | None:
    """The fields in order, repeated ones too; None when it is no form, or one with names that no vendor gives."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=True, encoding="utf-8", errors="strict",
            max_num_fields=config.SMS_FIELDS_MOST,
        )  # fmt: skip
    except ValueError:
        return None
    return FormData([*pairs]) if all(_NAME.fullmatch(name) for name, _ in pairs) else None


def only(form: FormData, wanted: Mapping[str, str]) -> dict[str, str] | None:
    """The fields that we read, each there once and of its shape; None when one is not."""
    found = {}
    for name, shape in wanted.items():
        values = form.getlist(name)
        if (
            len(values) != 1
            or not isinstance(values[0], str)
            or not re.fullmatch(shape, values[0], re.DOTALL | re.ASCII)
        ):
            return None
        found[name] = values[0]
    return found
