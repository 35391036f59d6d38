"""The development mailbox: mails that the email skill wrote to files because no SMTP server is set. For owners only.

Shown as plain text and never as HTML, whatever a mail claims to be.
"""

from __future__ import annotations

import asyncio
import email.policy
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Final

from bot.web.auth import Viewer
from core.display import visible, visible_lines
from core.settings import Settings

MAILS_SHOWN: Final = 200
MAIL_BYTES: Final = 2_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,180}\.eml")


@dataclass(frozen=True, slots=True)
class Mail:
    name: str
    at: datetime
    sender: str
    to: str
    subject: str
    text: str = ""


def is_shown(settings: Settings, viewer: Viewer) -> bool:
    return viewer.is_owner and settings.smtp() is None


def folder(settings: Settings) -> Path:
    return settings.home / "mail"


async def listed(settings: Settings) -> list[Mail]:
    """The newest mails first."""
    return await asyncio.to_thread(_listed, folder(settings))


def _listed(home: Path) -> list[Mail]:
    paths = [p for p in home.glob("*.eml") if _NAME.fullmatch(p.name)] if home.is_dir() else []
    newest = sorted(paths, key=lambda p: (p.stat().st_mtime, p.name), reverse=True)[:MAILS_SHOWN]
    return [mail for p in newest if (mail := _read(p))]


async def read(settings: Settings, name: str) -> Mail | None:
    """One mail; None when the name is none that we write."""
    if not _NAME.fullmatch(name):
        return None
    return await asyncio.to_thread(_read, folder(settings) / name)


def _read(path: Path) -> Mail | None:
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAIL_BYTES:
        return None
    parsed = BytesParser(_class=EmailMessage, policy=email.policy.default).parsebytes(path.read_bytes())
    body = parsed.get_body(preferencelist=("plain", "html"))
    text = body.get_content() if body is not None else ""
    return Mail(
        name=path.name,
        at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
        sender=_header(parsed, "From"),
        to=_header(parsed, "To"),
        subject=_header(parsed, "Subject") or "(no subject)",
        text=visible_lines(str(text).replace("\r\n", "\n")),
    )


def _header(message: EmailMessage, name: str) -> str:
    return visible(str(message.get(name, "")))
