"""What adapters bring in, in words that belong to no vendor: messages and presses, who and where.

Frozen. Adapters build an `Inbound` or a `Press`; `core.intake` turns them into rows.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from core.models.frozen import Frozen


class Channel(StrEnum):
    SLACK = "slack"
    TELEGRAM = "telegram"
    SMS = "sms"
    WEB = "web"
    HOOK = "hook"
    CLI = "cli"


class Identity(Frozen):
    """Who a vendor says is there: Slack `T0ACME/U01ALICE`, Telegram `1001`, phone `+15550002222`, web `ann`."""

    channel: Channel
    external_id: str
    display_name: str = ""


class Place(Frozen):
    """Where a conversation is, in the vendor's own terms. `thread` is a Slack thread_ts or a Telegram topic id.

    `private` is true where only this person and Sayso can read (a DM).
    """

    channel: Channel
    external_id: str
    thread: str = ""
    private: bool = False
    title: str = ""

    @property
    def key(self) -> str:
        return f"{self.channel}/{self.external_id}" + (f"/{self.thread}" if self.thread else "")


AttachmentKind = Literal["file", "voice", "image"]


class Attached(Frozen):
    """Something that came with a message. `ref` is what its channel fetches it by; `content` is there where it came at once.

    `is_own` is a recording of the sender's own voice. Messages with one `album` were sent together. The rest is what the
    vendor claims, and is believed of nothing but its looks.
    """

    ref: str = ""
    name: str = ""
    mime: str = ""
    size: int | None = None
    kind: AttachmentKind = "file"
    is_own: bool = False
    album: str = ""
    content: bytes | None = None


class Inbound(Frozen):
    """A message as received. `delivery_id` is the vendor's; the same one again changes nothing.

    `text` holds the sender's own words only; what was quoted or forwarded is in `foreign`.
    `addressed` is true when Sayso was meant (DM, mention, command); otherwise it counts only in a thread that a
    task owns. `answers_to` is the vendor's id of our message that it answers, where the vendor tells.
    """

    channel: Channel
    delivery_id: str
    sender: Identity
    place: Place
    text: str
    foreign: tuple[str, ...] = ()
    addressed: bool = True
    message_ref: str = ""
    answers_to: str = ""
    attached: tuple[Attached, ...] = ()


Verdict = Literal[
    "approve", "approve_similar", "grant", "deny", "edit", "delegate", "looking", "ask", "stop",
    "happened", "not_happened", "abandon", "answer",
]  # fmt: skip


class Press(Frozen):
    """A button pressed or an answer given. `digest` is what the presser was shown, where the surface can carry it.

    `args` are the changed arguments of an edit, or what a grant covers; `to` is a person's key; `text` a question or an
    answer; `items` the digests of those items that are meant (without: all); `uses` and `minutes` bound a grant.
    """

    channel: Channel
    delivery_id: str
    sender: Identity
    approval_id: str
    verdict: Verdict
    digest: str | None = None
    reason: str = ""
    text: str = ""
    args: dict[str, Any] | None = None
    to: str | None = None
    items: tuple[str, ...] = ()
    uses: int | None = None
    minutes: int | None = None
