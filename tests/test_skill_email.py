"""The email skill against a small SMTP server and against the mailbox folder."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from core.models import EffectClass, Permission
from tests.skill_context import KEY, built_in, context
from worker.skills import BadArguments, NotDone, OutcomeUnknown
from worker.skills.context import Handles
from worker.skills.handles import mailer
from worker.skills.mailer import Mailer, Server

ARGS = {"to": "ann@acme.example", "subject": "Logs cleaned", "body": "Deleted 1 file: old.log"}


class SmtpServer:
    """The commands that a client needs, and a way to fail at each of them."""

    def __init__(self, fail_at: str = "", answer: str = "") -> None:
        self.fail_at, self.answer = fail_at, answer
        self.said: list[str] = []
        self.texts: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 stub\r\n")
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while line := (await reader.readline()).decode().strip():
                self.said.append(line)
                verb = line.split(":")[0].split(" ")[0].upper()
                if verb in ("DATA", "RCPT", "MAIL", "EHLO") and self.fail_at == (line if verb == "RCPT" else verb):
                    writer.write(f"{self.answer}\r\n".encode())
                elif verb == "DATA":
                    await self.take(reader, writer)
                elif verb == "QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                else:
                    writer.write(b"250 ok\r\n")
                if writer.transport.is_closing():
                    return
        writer.close()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"354 go on\r\n")
        text = await reader.readuntil(b"\r\n.\r\n")
        if self.fail_at == "hang up":
            writer.transport.abort()
        elif self.fail_at == "text":
            writer.write(f"{self.answer}\r\n".encode())
        else:
            self.texts.append(text[:-3].replace(b"\r\n..", b"\r\n."))
            writer.write(b"250 taken\r\n")


@contextlib.asynccontextmanager
async def smtp(fail_at: str = "", answer: str = "") -> AsyncIterator[SmtpServer]:
    server = SmtpServer(fail_at, answer)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


def by_smtp(home: Path, port: int, login: str = "") -> Mailer:
    return mailer(home, {"from": "bot@acme.example"}, f"smtp://{login}127.0.0.1:{port}")


def by_mailbox(home: Path) -> Mailer:
    return mailer(home, {"from": "bot@acme.example"}, None)


async def send(mail: Mailer, key: str = KEY, **args: Any) -> dict[str, Any]:
    skill = built_in("email.send")
    return await skill.run(context(Handles(mail=mail), key), skill.validate(ARGS | args))


def parsed(text: bytes) -> EmailMessage:
    message = email.message_from_bytes(text, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def words(message: EmailMessage) -> str:
    return str(message.get_content()).replace("\r\n", "\n")


async def test_without_smtp_the_message_lands_in_the_mailbox_once(tmp_path: Path) -> None:
    skill, ctx = built_in("email.send"), context(Handles(mail=by_mailbox(tmp_path)))
    assert (await skill.probe(ctx, ARGS, KEY)).state == "not_happened"
    result = await send(by_mailbox(tmp_path), cc=["bob@acme.example"])
    assert result["message_id"] == "<sayso.7.3.0@acme.example>" and result["by"] == "mailbox"
    assert result["summary"] == "Sent 'Logs cleaned' to ann@acme.example, bob@acme.example"
    file = tmp_path / "mail" / f"{KEY}.eml"
    first, message = file.read_bytes(), parsed(file.read_bytes())
    assert message["To"] == "ann@acme.example" and message["Cc"] == "bob@acme.example"
    assert message["Message-ID"] == "<sayso.7.3.0@acme.example>" and message["From"] == "bot@acme.example"
    assert words(message) == "Deleted 1 file: old.log\n"
    assert (await skill.probe(ctx, ARGS, KEY)).state == "happened"
    await send(by_mailbox(tmp_path), cc=["bob@acme.example"])
    assert file.read_bytes() == first and [p.name for p in (tmp_path / "mail").iterdir()] == [file.name]
    assert file.stat().st_mode & 0o077 == 0


async def test_smtp_delivers_the_message_as_approved(tmp_path: Path) -> None:
    body = "Grüße ☕\n.\n..\nRCPT TO:<eve@evil.example>\n" + "x" * 2000
    async with smtp() as server:
        result = await send(by_smtp(tmp_path, server.port), subject="Grüße", body=body, cc=["bob@acme.example"])
    assert result["by"] == "smtp" and len(server.texts) == 1
    assert [s for s in server.said if s.startswith(("MAIL", "RCPT"))] == [
        "MAIL FROM:<bot@acme.example>",
        "RCPT TO:<ann@acme.example>",
        "RCPT TO:<bob@acme.example>",
    ]
    text = server.texts[0]
    assert text.isascii() and max(map(len, text.split(b"\r\n"))) <= 998
    message = parsed(text)
    assert message["Subject"] == "Grüße" and words(message) == body + "\n"
    assert not (tmp_path / "mail").exists()


async def test_smtp_cannot_be_probed(tmp_path: Path) -> None:
    ctx = context(Handles(mail=by_smtp(tmp_path, 1)))
    found = await built_in("email.send").probe(ctx, ARGS, KEY)
    assert found.state == "unsure" and "<sayso.7.3.0@acme.example>" in found.evidence
    assert built_in("email.send").manifest.effect_class is EffectClass.CHECKABLE


@pytest.mark.parametrize(
    ("fail_at", "answer", "retry"),
    [
        ("EHLO", "421 later", True),
        ("MAIL", "550 not you", False),
        ("RCPT TO:<ann@acme.example>", "550 no such person", False),
        ("RCPT TO:<bob@acme.example>", "451 try later", True),
        ("DATA", "554 no", False),
        ("text", "554 spam", False),
        ("text", "451 busy", True),
    ],
)
async def test_a_refusal_at_any_command_means_nothing_was_sent(
    tmp_path: Path, fail_at: str, answer: str, retry: bool
) -> None:
    async with smtp(fail_at, answer) as server:
        with pytest.raises(NotDone) as refused:
            await send(by_smtp(tmp_path, server.port), cc=["bob@acme.example"])
        assert server.texts == [] and (refused.value.retry_in_s is not None) == retry


@pytest.mark.parametrize(("fail_at", "answer"), [("hang up", ""), ("text", "gibberish")])
async def test_a_line_that_breaks_after_the_text_is_unknown(tmp_path: Path, fail_at: str, answer: str) -> None:
    async with smtp(fail_at, answer) as server:
        with pytest.raises(OutcomeUnknown):
            await send(by_smtp(tmp_path, server.port))


async def test_no_server_means_not_done_and_retry(tmp_path: Path) -> None:
    async with smtp() as server:
        port = server.port
    with pytest.raises(NotDone, match="cannot be reached") as refused:
        await send(by_smtp(tmp_path, port))
    assert refused.value.retry_in_s


async def test_a_password_is_not_sent_without_tls(tmp_path: Path) -> None:
    async with smtp() as server:
        mail = by_smtp(tmp_path, server.port, "bot:hunter2@")
        assert mail.server is not None and "hunter2" not in repr(mail)
        # 127.1.2.3 is this machine too, but not one of the names that count as local.
        elsewhere = Mailer(mail.mailbox, mail.sender, Server("127.1.2.3", server.port, False, "bot", "hunter2"))
        listener = await asyncio.start_server(server.serve, "127.1.2.3", server.port)
        try:
            with pytest.raises(NotDone, match="offers no TLS"):
                await send(elsewhere)
        finally:
            listener.close()
        assert not any("AUTH" in line for line in server.said)


@pytest.mark.parametrize(
    "args",
    [
        {"to": "ann"},
        {"to": "ann@acme.example, eve@evil.example"},
        {"to": "ann@acme.example\r\nBcc: eve@evil.example"},
        {"to": "Ann <ann@acme.example>"},
        {"to": "ann@acme.example>"},
        {"to": '"a b"@acme.example'},
        {"to": "аnn@acme.example"},  # the first letter is Cyrillic
        {"to": "ann@äcme.example"},
        {"to": "ann@acme..example"},
        {"to": ".ann@acme.example"},
        {"to": "ann@-acme.example"},
        {"to": "a" * 65 + "@acme.example"},
        {"to": "a@" + "b." * 130 + "example"},
        {"to": ["ann@acme.example"]},
        {"cc": ["bob@acme.example\nBcc: eve@evil.example"]},
        {"cc": ["bob@acme.example"] * 21},
        {"subject": "Hello\nBcc: eve@evil.example"},
        {"subject": "Hello\r"},
        {"subject": "Hello\u2028there"},
        {"subject": "\u202eolleh"},
        {"bcc": ["eve@evil.example"]},
    ],
)
def test_what_could_add_a_recipient_or_a_header_is_refused(args: dict[str, Any]) -> None:
    with pytest.raises(BadArguments):
        built_in("email.send").validate(ARGS | args)


async def test_the_preview_is_the_whole_message(tmp_path: Path) -> None:
    ctx = context(Handles(mail=by_mailbox(tmp_path)))
    text = await built_in("email.send").preview(ctx, ARGS | {"cc": ["bob@acme.example"]})
    assert text == (
        "From: bot@acme.example\nTo: ann@acme.example\nCc: bob@acme.example\n"
        "Subject: Logs cleaned\n\nDeleted 1 file: old.log"
    )


async def test_only_a_sending_skill_may_send(tmp_path: Path) -> None:
    reader = by_mailbox(tmp_path).narrowed(frozenset({Permission.READ}))
    with pytest.raises(NotDone, match="declares no send"):
        await reader.send(KEY, "ann@acme.example", "s", "b", [])
    assert not (tmp_path / "mail").exists()


def test_the_smtp_url_is_read_whole() -> None:
    server = Server.parse("smtps://bot%40acme:p%2Fw@mail.acme.example?from=bot@acme.example")
    assert (server.host, server.port, server.tls) == ("mail.acme.example", 465, True)
    assert (server.user, server.password, server.sender) == ("bot@acme", "p/w", "bot@acme.example")
    assert Server.parse("smtp://localhost").port == 587
    for bad in ("http://mail", "smtp://", "mail.acme.example:25"):
        with pytest.raises(ValueError, match="SMTP_URL"):
            Server.parse(bad)
    with pytest.raises(ValueError, match="not a plain address"):
        mailer(Path(), {"from": "Bot <bot@acme.example>"}, None)
