"""The grammar of approvals by SMS: codes, what a text message says, and what fits into one of 160 GSM-7 characters.

Pure. A code is eight characters of Crockford's alphabet, which has no letter that looks like a digit; what people type
instead is read as what they meant. Words that carriers act on themselves are never verbs of ours.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from core import config
from core.display import names_secret, visible

CODE_LETTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CODE_CHARS: Final = 8
PHONE: Final = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)

# 3GPP TS 23.038, 6.2.1: the default alphabet, and the extension table whose characters take two places.
GSM_BASIC: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENDED: Final = frozenset("^{}\\[~]|€\f")

STOP_WORDS: Final = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})
START_WORDS: Final = frozenset({"START", "YES", "UNSTOP"})
HELP_WORDS: Final = frozenset({"HELP", "INFO"})

_ANSWER: Final = re.compile(r"(OK|NO)\b[\s:.,#-]*(.*)", re.IGNORECASE | re.DOTALL)
_MEANT: Final = str.maketrans(
    {"O": "0", "I": "1", "L": "1", " ": None, "-": None, "\n": None, "\t": None, "\u00a0": None}
)
_BARE: Final = re.compile(r"[\w./@:+-]+", re.ASCII)
DIGEST_CHARS: Final = 6


# ---------------------------------------------------------------- what a phone says


@dataclass(frozen=True, slots=True)
class Answer:
    """`OK CODE` or `NO CODE`; `code` is None where there was none that could be one."""

    verdict: Literal["approve", "deny"]
    code: str | None


@dataclass(frozen=True, slots=True)
class Keyword:
    """What carriers want honoured."""

    word: Literal["stop", "start", "help"]


@dataclass(frozen=True, slots=True)
class Other:
    """Anything else; SMS is no place to give orders, since a sender's number can be forged."""


Said = Answer | Keyword | Other


def read(text: str) -> Said:
    """Never raises."""
    words = text.strip().strip(".!\"'").strip()
    for word, known in (("stop", STOP_WORDS), ("start", START_WORDS), ("help", HELP_WORDS)):
        if words.upper() in known:
            return Keyword(word)  # type: ignore[arg-type]  # the three words of the line above
    match = _ANSWER.fullmatch(words)
    if match is None:
        return Other()
    return Answer("approve" if match.group(1).upper() == "OK" else "deny", read_code(match.group(2)))


def read_code(text: str) -> str | None:
    """As it was meant: small letters, O for 0, I and L for 1, spaces and dashes between."""
    code = text.strip().strip(".!\"'").upper().translate(_MEANT)
    return code if len(code) == CODE_CHARS and set(code) <= set(CODE_LETTERS) else None


def keyed(key: bytes, purpose: str, phone: str, code: str) -> str:
    """What is kept of a code. `purpose` is the approval's id, or the link's."""
    return hmac.new(key, f"sms\0{purpose}\0{phone}\0{code}".encode(), hashlib.sha256).hexdigest()


# ---------------------------------------------------------------- what fits


def gsm_length(text: str) -> int | None:
    """How many of the 160 places it takes; None when a character would turn the whole message into UCS-2."""
    if not all(ch in GSM_BASIC or ch in GSM_EXTENDED for ch in text):
        return None
    return sum(2 if ch in GSM_EXTENDED else 1 for ch in text)


def fits(text: str) -> bool:
    length = gsm_length(text)
    return length is not None and length <= config.SMS_CHARS


def cut(text: str, places: int) -> str:
    """Text for a message that need not be whole: foreign characters become `?`, the end becomes dots."""
    plain = "".join(ch if ch in GSM_BASIC or ch in GSM_EXTENDED else "?" for ch in " ".join(text.split()))
    if (gsm_length(plain) or 0) <= places:
        return plain
    while plain and (gsm_length(plain) or 0) > places - 2:
        plain = plain[:-1]
    return plain.rstrip() + ".." if places > 2 else ""


def whole_action(items: Sequence[Mapping[str, Any]]) -> str | None:
    """Skill and every argument of the one action, with the first characters of the digest that binds the rest.

    None when there are several, when something in it can't be shown as it is, or has a secret's name.
    """
    action = items[0].get("action", {}) if len(items) == 1 else {}
    if not action or names_secret(action.get("args")):
        return None
    parts = [str(action.get("skill", ""))]
    parts += [f"{name}={_value(value)}" for name, value in action.get("args", {}).items()]
    text = " ".join(parts) + f" #{str(items[0].get('digest', ''))[:DIGEST_CHARS]}"
    return text if gsm_length(text) is not None and visible(text, technical=True) == text else None


def _value(value: Any) -> str:
    """Short where nothing can be taken for something else, else JSON."""
    if isinstance(value, str) and _BARE.fullmatch(value):
        return value
    if isinstance(value, list) and value and all(isinstance(v, str) and _BARE.fullmatch(v) for v in value):
        return ",".join(value)
    return json.dumps(value, ensure_ascii=False)
