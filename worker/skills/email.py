"""The skill that sends mail. Who gets it is control, what it says is content; one recipient, others in copy.

It is `checkable`: in a mailbox folder the probe finds the message by the step's key; after a broken SMTP line the
probe is unsure, and then a person is asked, as for an unsafe skill.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from core.models import Permission
from worker.skills.context import Probe, SkillContext
from worker.skills.mailer import checked_address, one_line
from worker.skills.skill import Content, Control, skill

SUBJECT_CHARS: Final = 300
MAIL_CHARS: Final = 200_000
COPIES_MOST: Final = 20
NOBODY: Final[list[str]] = []

MailAddress = Annotated[str, AfterValidator(checked_address)]


@skill(
    permissions=[(Permission.SEND, "mail:{to}"), (Permission.SEND, "mail:{cc}")],
    effect="checkable",
    card="Send an email to {to}: {subject}",
    timeout_s=90.0,
)
async def send(
    ctx: SkillContext,
    to: Annotated[MailAddress, Control],
    subject: Annotated[str, Content, Field(max_length=SUBJECT_CHARS), AfterValidator(one_line)],
    body: Annotated[str, Content, Field(max_length=MAIL_CHARS)],
    cc: Annotated[list[MailAddress], Control, Field(max_length=COPIES_MOST)] = NOBODY,
) -> dict[str, Any]:
    """Send an email as plain text to one address, with others in copy."""
    return await ctx.mail.send(ctx.key, to, subject, body, cc)


@send.preview
async def _(ctx: SkillContext, to: str, subject: str, body: str, cc: list[str]) -> str | None:
    copies = f"Cc: {', '.join(cc)}\n" if cc else ""
    return f"From: {ctx.mail.sender}\nTo: {to}\n{copies}Subject: {subject}\n\n{body}"


@send.probe
async def _(ctx: SkillContext, to: str, subject: str, body: str, cc: list[str]) -> Probe:
    return await ctx.mail.outcome(ctx.key)
