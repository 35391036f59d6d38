"""The `mail` handle: builds one message and hands it to an SMTP server, or to a mailbox folder where there is none.

The Message-ID comes from the step's key, so a mailbox can tell whether a message is in it. SMTP cannot: once the
server was offered the text and the line broke, only a person can look. Every recipient is offered first, and if one
is refused nothing is sent, so what was approved goes out whole or not at all.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from core.models import Permission
from worker.skills.beneath import FOLDER_FLAGS
from worker.skills.context import Probe, refuse_unless
from worker.skills.errors import LEASE_ENDED, NotDone, OutcomeUnknown
from worker.skills.renames import rename_new
from worker.skills.trash import key_name

if TYPE_CHECKING:
    import aiosmtplib

ADDRESS_CHARS: Final = 254
RETRY_S: Final = 30.0
GREET_S: Final = 30.0
HAND_OVER_S: Final = 45.0
QUIT_S: Final = 3.0
# Old relays take nothing else, and it costs little.
SEVEN_BIT: Final = SMTP.clone(cte_type="7bit")
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

# Plain addresses only: no display names, quotes, comments or non-ASCII letters that look like others.
ADDRESS: Final = re.compile(
    r"(?=.{3,254}\Z)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)


def checked_address(text: str) -> str:
    """One plain address, or ValueError."""
    if not ADDRESS.fullmatch(text) or len(text.partition("@")[0]) > 64:
        raise ValueError(f"{text[:ADDRESS_CHARS]!r} is not a plain address such as ann@example.com")
    return text


def one_line(text: str) -> str:
    """Header text: anything that could begin another header is refused."""
    if not text.isprintable():
        raise ValueError("line breaks and unprintable characters are not allowed here")
    return text


@dataclass(frozen=True, slots=True)
class Server:
    """From `SMTP_URL`: smtp://user:password@host:587 (STARTTLS where offered), smtps:// (TLS from the start)."""

    host: str
    port: int
    tls: bool
    user: str = ""
    password: str = ""
    sender: str = ""

    @classmethod
    def parse(cls, url: str) -> Server:
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ValueError("SMTP_URL must look like smtp://user:password@host:587 or smtps://…")
        tls = parts.scheme == "smtps"
        return cls(
            parts.hostname,
            parts.port or (465 if tls else 587),
            tls,
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            parse_qs(parts.query).get("from", [""])[0],
        )

    def __repr__(self) -> str:
        return f"Server({self.host}:{self.port})"


@dataclass(frozen=True, slots=True)
class Mailer:
    """`server` None means the mailbox folder. `may` are the permissions of the skill that holds this handle."""

    mailbox: Path
    sender: str
    server: Server | None = None
    may: frozenset[Permission] = frozenset(Permission)
    verify: ssl.SSLContext | None = None
    may_call: Callable[[], bool] = lambda: True

    def narrowed(self, may: frozenset[Permission]) -> Mailer:
        return replace(self, may=self.may & may)

    def guarded(self, may_call: Callable[[], bool]) -> Mailer:
        """The same, asking in the last moment before a message leaves whether it may: a worker that slept may not."""
        return replace(self, may_call=may_call)

    def message_id(self, key: str) -> str:
        return f"<{key_name(key).replace(':', '.')}@{self.sender.partition('@')[2]}>"

    def message(self, key: str, to: str, subject: str, body: str, cc: list[str]) -> EmailMessage:
        """The message; the same arguments and key give the same Message-ID."""
        message = EmailMessage(policy=SEVEN_BIT)
        message["From"] = self.sender
        message["To"] = to
        if cc:
            message["Cc"] = ", ".join(cc)
        message["Subject"] = subject
        message["Date"] = formatdate()
        message["Message-ID"] = self.message_id(key)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(body)
        return message

    async def send(self, key: str, to: str, subject: str, body: str, cc: list[str]) -> dict[str, Any]:
        refuse_unless(self.may, "mail", Permission.SEND)
        message = self.message(key, to, subject, body, cc)
        if self.server is None:
            await asyncio.to_thread(self._file, key, bytes(message))
            how = "mailbox"
        else:
            await self._submit(self.server, message, [to, *cc])
            how = "smtp"
        summary = f"Sent {subject!r} to {', '.join([to, *cc])}"
        return {"message_id": self.message_id(key), "to": to, "cc": cc, "by": how, "summary": summary}

    async def outcome(self, key: str) -> Probe:
        """The mailbox shows whether a message is in it; an SMTP server is not asked, since none can tell."""
        if self.server is not None:
            return Probe.unsure(f"{self.server.host} cannot be asked about a message; look for {self.message_id(key)}")
        if await asyncio.to_thread(self._path(key).is_file):
            return Probe.happened(f"{self._path(key).name} is in the mailbox")
        return Probe.not_happened("the mailbox has no message with this id")

    def _path(self, key: str) -> Path:
        return self.mailbox / f"{key_name(key)}.eml"

    def _file(self, key: str, content: bytes) -> None:
        """Into the mailbox in one step: a reader sees the whole message or none, and the first one stays."""
        self.mailbox.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self.mailbox / f".{key_name(key)}.{os.getpid()}.part"
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(self.mailbox, FOLDER_FLAGS)
        try:
            rename_new(folder, part.name, folder, self._path(key).name)
            os.fsync(folder)
        except FileExistsError:
            part.unlink()
        finally:
            os.close(folder)

    async def _submit(self, server: Server, message: EmailMessage, recipients: list[str]) -> None:
        import aiosmtplib

        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.tls,
            start_tls=None,
            timeout=HAND_OVER_S,
            # Else it asks the name service for our own name, which can take long.
            local_hostname=self.sender.partition("@")[2],
            tls_context=self.verify,
        )
        try:
            async with asyncio.timeout(GREET_S):
                await client.connect()
                await self._log_in(client, server)
                await client.mail(self.sender)
                for one in recipients:
                    await client.rcpt(one)
            if not self.may_call():
                raise NotDone(LEASE_ENDED)
        except aiosmtplib.SMTPResponseException as error:
            raise NotDone(f"{server.host} refused it: {error.code} {error.message}", later(error.code)) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise NotDone(f"{server.host} cannot be reached: {error}", RETRY_S) from error
        else:
            await self._hand_over(client, server, message)
        finally:
            with suppress(aiosmtplib.SMTPException, OSError):
                async with asyncio.timeout(QUIT_S):
                    await client.quit()
            client.close()

    async def _log_in(self, client: aiosmtplib.SMTP, server: Server) -> None:
        if not server.user:
            return
        # Whoever reads the line would read the password.
        if client.get_transport_info("sslcontext") is None and server.host not in LOOPBACK:
            raise NotDone(f"{server.host} offers no TLS, so no password is sent to it; use smtps:// or another port")
        await client.login(server.user, server.password)

    async def _hand_over(self, client: aiosmtplib.SMTP, server: Server, message: EmailMessage) -> None:
        import aiosmtplib

        try:
            async with asyncio.timeout(HAND_OVER_S):
                await client.data(bytes(message))
        except aiosmtplib.SMTPResponseException as error:
            if error.code <= 0:
                raise OutcomeUnknown(f"{server.host} gave no readable answer to the message") from error
            raise NotDone(
                f"{server.host} refused the message: {error.code} {error.message}", later(error.code)
            ) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise OutcomeUnknown(f"the line to {server.host} broke while the message was sent: {error}") from error


def later(code: int) -> float | None:
    """4yz replies are temporary (RFC 5321, 4.2.1)."""
    return RETRY_S if 400 <= code < 500 else None
