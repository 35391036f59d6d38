"""Questions that are answered in words: what a message of ours asks for, and how it is known again when somebody replies.

Pure. Telegram has no form, so a question is a message that opens the reply field. What it is about stands in a link inside
our own message, which the reply brings back: it survives restarts and is understood by any process. Words and cards carry
no links of ours, so nothing that others write can pose as a question. It gives no right: whose answer counts is decided
behind `Intake`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from bot.telegram.render import cut
from core import config
from core.cards import sentence
from core.display import visible
from core.editing import BadEdit, Field

PAYLOAD_CHARS: Final = 64  # https://core.telegram.org/bots/features#deep-linking
PLACEHOLDER_CHARS: Final = 64
DIGEST_CHARS: Final = 8
SHOWN_CHARS: Final = 1000
HEADLINE_CHARS: Final = 300

SIGNS: Final[Mapping[str, str]] = {"edit": "e", "deny": "d", "ask": "q", "delegate": "h"}
VERBS: Final = {sign: verb for verb, sign in SIGNS.items()}
TITLES: Final[Mapping[str, str]] = {
    "edit": "Edit", "deny": "Deny with a reason", "ask": "Ask the agent", "delegate": "Hand it on",
}  # fmt: skip
HOW: Final[Mapping[str, str]] = {
    "edit": "Reply to this message with one name=value a line.",
    "deny": "Reply to this message with the reason. It denies the action; the agent reads why and may try another way.",
    "ask": "Reply to this message with your question. The answer comes onto the card. It decides nothing.",
    "delegate": "Reply to this message with the person's key in sayso.yaml, such as bob.",
}
WITH_FIELD: Final = "Reply to this message with the new value{kind}."
KINDS: Final[Mapping[str, str]] = {
    "list": ", one a line", "json": " as JSON", "boolean": ": true or false", "integer": ": a whole number",
    "number": ": a number",
}  # fmt: skip
PLACEHOLDERS: Final[Mapping[str, str]] = {
    "edit": "The new value", "deny": "Why not?", "ask": "Your question", "delegate": "Their key, such as bob",
}  # fmt: skip
NO_WORDS: Final = "There were no words in that."
NOT_A_LINE: Final = "{line}: that is no name=value"

_PAYLOAD = re.compile(r"([edqh])([0-9]{0,2})_([0-9a-f]{32})_([0-9a-f]{0,8})", re.ASCII)
_LINK = re.compile(r"https?://(?:www\.)?t\.me/(\w{1,64})/?\?start=([\w-]{1,64})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Prompt:
    """`field` is the argument that an edit is about, counted from 1; 0 several. `digest` begins the one that was shown."""

    verb: str
    approval_id: str
    digest: str
    field: int = 0

    @property
    def payload(self) -> str:
        """As the parameter of a t.me link."""
        field = str(self.field) if self.verb == "edit" else ""
        payload = f"{SIGNS[self.verb]}{field}_{UUID(self.approval_id).hex}_{self.digest[:DIGEST_CHARS]}"
        assert len(payload) <= PAYLOAD_CHARS, payload
        return payload


def read_payload(payload: str) -> Prompt | None:
    found = _PAYLOAD.fullmatch(payload)
    if found is None or (found[2] and found[1] != SIGNS["edit"]):
        return None
    return Prompt(VERBS[found[1]], str(UUID(hex=found[3])), found[4], int(found[2] or 0))


def read_link(url: str, username: str) -> Prompt | None:
    """The question behind a link of ours; None for any other link."""
    found = _LINK.fullmatch(url)
    return read_payload(found[2]) if found and found[1].lower() == username.lower() else None


def question(prompt: Prompt, headline: str, field: Field | None, username: str, *, to: str, wrong: str = "") -> str:
    """The message as HTML. `to` is who is asked, as HTML, where others read it too; `wrong` is what the last answer lacked."""
    title = f"{TITLES[prompt.verb]} {visible(field.name)}" if field else TITLES[prompt.verb]
    link = f"https://t.me/{username}?start={prompt.payload}"
    lines = [html.escape(sentence(wrong))] if wrong else []
    lines.append(
        f'{to}<a href="{link}">{html.escape(title)}</a>: <code>{html.escape(cut(headline, HEADLINE_CHARS))}</code>'
    )
    if field is not None:
        if field.hint:
            lines.append(f"<code>{html.escape(cut(visible(field.hint), HEADLINE_CHARS))}</code>")
        if field.value:
            lines.append(f"Now:\n<pre>{html.escape(cut(field.value, SHOWN_CHARS))}</pre>")
        kind = f": one of {', '.join(field.choices)}" if field.kind == "choice" else KINDS.get(field.kind, "")
        lines.append(html.escape(WITH_FIELD.format(kind=kind)))
    else:
        lines.append(HOW[prompt.verb])
    return "\n".join(lines)


def placeholder(prompt: Prompt, field: Field | None) -> str:
    """What stands in the empty reply field."""
    words = PLACEHOLDERS[prompt.verb] if field or prompt.verb != "edit" else "name=value"
    return words[:PLACEHOLDER_CHARS]


def filled_in(prompt: Prompt, text: str, fields: Sequence[Field]) -> dict[str, str]:
    """The words of a reply as a filled-in form. Raises `BadEdit`."""
    if prompt.field:
        if prompt.field > len(fields):
            raise BadEdit("that argument is not there any more")
        return {fields[prompt.field - 1].name: text}
    given = {}
    for line in text.splitlines():
        name, sign, value = line.partition("=")
        if line.strip() and not sign:
            raise BadEdit(NOT_A_LINE.format(line=cut(visible(line), PLACEHOLDER_CHARS)))
        if line.strip():
            given[name.strip()] = value.strip()
    known = {field.name for field in fields}
    if unknown := next((name for name in given if name not in known), ""):
        raise BadEdit(f"there is no argument {unknown!r}; there are {', '.join(known)}"[: config.REASON_CHARS])
    return given
