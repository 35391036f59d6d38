"""The webhook: who is not Telegram, and what is no update, changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.telegram.webhook import HEADER, PATH
from core.db import Pool
from core.settings import SettingsError
from tests.telegram_town import SECRET, Town, open_town


@pytest.fixture
async def town(db: Pool, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(db, tmp_path, "webhook") as opened:
        yield opened


async def raw_post(town: Town, headers: list[tuple[bytes, bytes]], body: bytes = b'{"update_id":1}') -> tuple[int, int]:
    """(status, how many parts of the body were read)."""
    read, sent = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": PATH,
        "raw_path": PATH.encode(), "query_string": b"", "root_path": "", "scheme": "https", "client": ("127.0.0.1", 1),
        "server": ("sayso.example.com", 443), "headers": [(b"host", b"sayso.example.com"), *headers],
    }  # fmt: skip
    await town.app(scope, receive, send)
    return sent[0]["status"], read


WRONG: list[list[bytes]] = [
    [],
    [b""],
    [SECRET[:-1].encode()],
    [(SECRET + "x").encode()],
    [SECRET.lower().encode()],
    [b"\xff\xfe" * 16],
    ["ѕ".encode() * 32],
    [SECRET.encode(), SECRET.encode()],
]


async def test_a_wrong_secret_is_403_before_the_body_is_read(town: Town) -> None:
    for given in WRONG:
        assert await raw_post(town, [(HEADER.encode(), value) for value in given]) == (403, 0), given
    assert town.intake.tried == []


NO_UPDATES = [
    (b"", 400), (b"{", 400), (b"[]", 400), (b"\xff\xfe", 400), (b'{"update_id":"x"}', 400), (b"[" * 50_000, 400),
    (b'{"update_id":1,"message":{"message_id":1}}', 400), (b'{"update_id":1,"edited_message":{}}', 400),
    (b'{"update_id":1,"poll_answer":null}', 200), (b" " * 1_000_001, 413),
]  # fmt: skip


async def test_a_body_that_is_no_update_is_refused_without_a_trace(town: Town) -> None:
    for body, status in NO_UPDATES:
        seen, _ = await raw_post(town, [(HEADER.encode(), SECRET.encode())], body)
        assert seen == status, body[:80]
    assert town.intake.tried == []
    assert await town.db.fetchval("select count(*) from inbound") == 0


async def test_a_wrong_secret_over_the_wire_is_refused_too(town: Town) -> None:
    status, _, _ = await town.sim.post({"update_id": 1}, {HEADER: "x" * 34})
    assert status == 403


@pytest.mark.parametrize("secret", [None, "", "short", "x" * 31, "ü" * 40, "with space" * 4])
async def test_webhook_mode_does_not_start_without_a_proper_secret(
    db: Pool, tmp_path: Path, secret: str | None
) -> None:
    with pytest.raises(SettingsError, match="TELEGRAM_WEBHOOK_SECRET"):
        async with open_town(db, tmp_path, "webhook", telegram_webhook_secret=secret):
            pass


async def test_polling_mode_has_no_webhook(db: Pool, tmp_path: Path) -> None:
    async with open_town(db, tmp_path, "polling") as town:
        status, read = await raw_post(town, [(HEADER.encode(), SECRET.encode())])
        assert status in (404, 405)
        assert read == 0


async def test_an_update_before_we_know_who_we_are_is_taken_as_soon_as_we_do(db: Pool, tmp_path: Path) -> None:
    async with open_town(db, tmp_path, "webhook", is_known=False) as town:
        update = (
            b'{"update_id":1,"message":{"message_id":1,"date":1,"chat":{"id":1001,"type":"private"},"text":"tasks",'
        )
        update += b'"from":{"id":1001,"is_bot":false,"first_name":"Ann"}}}'
        early = asyncio.create_task(raw_post(town, [(HEADER.encode(), SECRET.encode())], update))
        await asyncio.sleep(0)
        assert town.intake.tried == []
        town.introduce()
        assert (await early)[0] == 200
        assert town.intake.tried == ["update:1"]
