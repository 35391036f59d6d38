"""What phones read: the question with its code or its link, the code for linking, and the answer to each reply.

Pure. A question fits into one message of 160 GSM-7 characters or carries a link instead of a code. No text uses a word that
carriers act on (STOP, CANCEL, YES, END) as an answer to a question.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, assert_never

from core import config
from core.sms import cut, fits, gsm_length, whole_action
from core.texting import Told

SOON: Final = timedelta(hours=20)
FOREVER_YEAR: Final = 9999
NAME_PLACES: Final = 20
TITLE_PLACES: Final = 60

HELP: Final = (
    "{org}: approvals by SMS. Reply OK or NO and the code of a message to approve or deny it. STOP ends these messages."
)
LINK: Final = (
    "{org}: your code is {code}. In chat, say: sms confirm {code}. Then approvals may come by SMS."
    " HELP for help, STOP to stop."
)
HOW: Final = "To answer, send OK or NO and the 8 characters of the code."


def question(row: Mapping[str, Any], organisation: str, code: str, now: datetime) -> str | None:
    """The whole action with its code; None when it does not fit. `row` is what `store.approvals.whole` answers."""
    action = whole_action(row["items"]) if row["kind"] == "action" else None
    if action is None:
        return None
    text = (
        f"{cut(organisation, NAME_PLACES)}: {_who(row)} asks: {action}\n"
        f"Reply OK {code} or NO {code}{_until(row, now)}. HELP STOP"
    )
    return text if fits(text) else None


def pointer(row: Mapping[str, Any], organisation: str, base_url: str, now: datetime) -> str | None:
    """The link to the card, for those who are signed in, and as much of the title as fits; None when not even that fits."""
    before = f"{cut(organisation, NAME_PLACES)}: {_who(row)} asks: "
    after = f"\nRead and answer{_until(row, now)}: {base_url}/approvals/{row['id']} STOP ends these"
    room = config.SMS_CHARS - (gsm_length(before) or 0) - (gsm_length(after) or config.SMS_CHARS)
    title = cut(str(row["card"].get("title") or row["skill"]), min(room, TITLE_PLACES))
    text = before + title + after
    return text if room > 0 and fits(text) else None


def _who(row: Mapping[str, Any]) -> str:
    return cut(str(row["requester_name"] or row["requester"]), NAME_PLACES)


def _until(row: Mapping[str, Any], now: datetime) -> str:
    at: datetime | None = row["expires_at"]
    if at is None or at.year >= FOREVER_YEAR:
        return ""
    return at.strftime(" by %H:%M UTC" if at - now < SOON else " by %d %b %H:%M UTC")


def link_code(organisation: str, code: str) -> str:
    return LINK.format(org=cut(organisation, NAME_PLACES), code=code)


def reply(told: Told, organisation: str) -> str | None:
    """What is said back; None where silence is right."""
    title = cut(told.title, TITLE_PLACES)
    match told.kind:
        case "approved":
            return f"Approved: {title}. It runs now."
        case "denied":
            return f"Denied: {title}. It will not run."
        case "counted":
            return f"Your answer is counted: {title}. More people are needed."
        case "already":
            return _already(told, title)
        case "expired":
            return f"Too late: {title} has expired. It will not run."
        case "not_allowed":
            return cut(f"Nothing was decided: {told.why}.", config.SMS_CHARS)
        case "changed":
            return f"Nothing was decided: {title} has changed since. Read the new question."
        case "wrong":
            return f"Wrong code, {told.left} {'try' if told.left == 1 else 'tries'} left."
        case "locked":
            return f"Too many wrong codes: locked for {config.SMS_WRONG_WITHIN_S // 60} minutes. Answer in chat or on the web."
        case "no_code" | "other":
            return HOW
        case "started":
            return f"{cut(organisation, NAME_PLACES)}: approvals may come by SMS again. HELP for help, STOP to stop."
        case "help":
            return None if told.vendor else HELP.format(org=cut(organisation, NAME_PLACES))
        case "stranger":
            return (
                f"{cut(organisation, NAME_PLACES)}: this number is not linked. Say in chat: sms link and your number."
            )
        case "stopped" | "silent":
            return None
        case _:
            assert_never(told.kind)


def _already(told: Told, title: str) -> str:
    status = {"consumed": "approved", "undeliverable": "given up", "superseded": "replaced by a newer question"}
    became = status.get(told.status, told.status)
    if became == "pending":
        return f"Your answer to {title} is counted already. More people are needed."
    by = f" by {cut(told.by, NAME_PLACES)}" if told.by else ""
    at = told.at.strftime(" at %H:%M UTC") if told.at else ""
    return f"Already {became}{by}{at}: {title}."
