"""Signed webhooks: the right bytes start a task once, everything else starts nothing."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.web.hooks import render
from core.db import Pool
from core.organisation import Organisation
from core.store import conversations, tasks
from tests.web_house import House, open_house

SECRET = "hook-secret-for-tests"
ORGANISATION = {
    "people": {"deployer": {"service": True, "roles": ["owner"]}},
    "hooks": {
        "alerts": {
            "secret_env": "ALERTS_HOOK_SECRET",
            "as": "deployer",
            "intent": "do files.delete paths={{ body.path }}",
            "conversation": "slack/T0ACME/C0OPS",
        },
        "fixed": {
            "secret_env": "ALERTS_HOOK_SECRET",
            "as": "deployer",
            "intent": "do files.delete paths=fixed.log,{{ body.path }}",
        },
        "whole": {"secret_env": "ALERTS_HOOK_SECRET", "as": "deployer", "intent": "do files.delete paths=fixed.log"},
        "done": {"secret_env": "ALERTS_HOOK_SECRET", "as": "deployer", "event": "deploy-done"},
        "silent": {"secret_env": "UNSET_HOOK_SECRET", "as": "deployer", "intent": "help"},
    },
}
BODY = json.dumps({"path": "old.log"}).encode()


@pytest.fixture
async def hooked(db: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setenv("ALERTS_HOOK_SECRET", SECRET)
    async with open_house(db, tmp_path, Organisation.model_validate(ORGANISATION)) as house:
        await house.person("deployer", "owner", service=True)
        yield house


def signed(body: bytes, *, at_s: float | None = None, secret: str = SECRET) -> dict[str, str]:
    stamp = str(int(time.time() if at_s is None else at_s))
    mark = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"x-sayso-timestamp": stamp, "x-sayso-signature": f"v1={mark}"}


async def post(house: House, body: bytes, headers: Any, name: str = "alerts") -> httpx.Response:
    return await house.client().post(f"/hooks/{name}", content=body, headers=headers)


async def test_a_signed_hook_starts_a_task_as_its_service_in_its_conversation(hooked: House) -> None:
    answer = await post(hooked, BODY, signed(BODY))
    assert answer.status_code == 202
    task = await tasks.whole(hooked.db, int(answer.json()["task_id"]))
    assert task is not None
    assert (task["requester"], task["goal"]) == ("deployer", "do files.delete paths=old.log")
    place = await tasks.conversation_of(hooked.db, int(task["id"]))
    assert place == await conversations.find(hooked.db, "slack", "T0ACME/C0OPS")


async def test_the_same_delivery_twenty_times_is_one_task(hooked: House) -> None:
    headers = signed(BODY)
    answers = {(await post(hooked, BODY, headers)).text for _ in range(20)}
    assert len(answers) == 1
    assert await hooked.db.fetchval("select count(*) from tasks") == 1


async def test_what_a_body_says_is_foreign_and_never_the_requesters_own_word(hooked: House) -> None:
    answer = await post(hooked, BODY, signed(BODY))
    assert await hooked.db.fetchval("select foreign_text from inbound") == ["old.log"]
    assert await conversations.own_words(hooked.db, int(answer.json()["task_id"])) == []


@pytest.mark.parametrize(("name", "origin"), [("alerts", "untrusted"), ("fixed", "untrusted"), ("whole", "requester")])
async def test_an_argument_is_trusted_only_where_the_template_alone_says_it(
    hooked: House, name: str, origin: str
) -> None:
    await post(hooked, BODY, signed(BODY), name)
    [origins] = [row["origins"] for row in await hooked.db.fetch("select origins from steps")]
    assert origins["paths"]["origin"] == origin


def wrong() -> dict[str, Any]:
    """Made anew for each test, so that only what a name says is wrong with it."""
    right = signed(BODY)
    return {
        "no headers": {},
        "no signature": {"x-sayso-timestamp": right["x-sayso-timestamp"]},
        "no timestamp": {"x-sayso-signature": right["x-sayso-signature"]},
        "another secret": signed(BODY, secret="another"),
        "another body": signed(b"{}"),
        "stale": signed(BODY, at_s=time.time() - 400),
        "early": signed(BODY, at_s=time.time() + 400),
        "upper case": {name: value.upper() for name, value in right.items()},
        "no version": right | {"x-sayso-signature": right["x-sayso-signature"].removeprefix("v1=")},
        "empty": right | {"x-sayso-signature": ""},
        "a float": right | {"x-sayso-timestamp": "1e9"},
        "a huge number": right | {"x-sayso-timestamp": "9" * 5000},
        "a negative number": right | {"x-sayso-timestamp": "-5"},
        "bytes beyond ASCII": [(b"x-sayso-timestamp", b"\xb2"), (b"x-sayso-signature", b"v1=\xff\xfe")],
    }


@pytest.mark.parametrize("what", list(wrong()))
async def test_a_wrong_signature_is_401_and_changes_nothing(hooked: House, what: str) -> None:
    answer = await post(hooked, BODY, wrong()[what])
    assert answer.status_code == 401
    assert set(answer.json()) == {"error"}
    assert await hooked.db.fetchval("select count(*) from inbound") == 0


async def test_a_hook_without_its_secret_refuses_even_what_an_empty_secret_signs(hooked: House) -> None:
    assert (await post(hooked, BODY, signed(BODY, secret=""), "silent")).status_code == 401


async def test_an_unknown_hook_is_404_in_the_same_shape(hooked: House) -> None:
    for name in ("nothing", "%00", "a" * 500, "..%2falerts"):
        answer = await post(hooked, BODY, signed(BODY), name)
        assert answer.status_code == 404
        assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 200_000], ids=["empty", "cut", "no text", "deep"])
async def test_signed_bytes_that_are_no_json_are_422(hooked: House, body: bytes) -> None:
    answer = await post(hooked, body, signed(body))
    assert answer.status_code == 422
    assert await hooked.db.fetchval("select count(*) from inbound") == 0


async def test_a_body_beyond_the_limit_is_413(hooked: House) -> None:
    body = json.dumps({"path": "x" * 1_000_000}).encode()
    assert (await post(hooked, body, signed(body))).status_code == 413


@pytest.mark.parametrize(
    "body",
    [[], 5, None, {"path": None}, {"path": {"a": "\u0000"}}, {"path": "\ud800"}, {"path": "a\u0000b"}, {"path": "‮x"}],
)
async def test_a_body_of_another_shape_never_breaks_anything(hooked: House, body: Any) -> None:
    raw = json.dumps(body).encode()
    assert (await post(hooked, raw, signed(raw))).status_code == 202


def test_a_template_is_filled_once_and_names_what_is_foreign() -> None:
    body = {"title": "{{ body.secret }}", "secret": "s", "n": {"x": [1, 2]}}
    filled = render("look at {{ body.title }} and {{body.n.x}} and {{ body.gone.x }}.", body)
    assert filled.text == "look at {{ body.secret }} and [1, 2] and ."
    assert filled.foreign == ("{{ body.secret }}", "[1, 2]")


async def test_a_hooks_event_is_kept_once_for_who_waits_for_it_and_starts_nothing(hooked: House) -> None:
    body = json.dumps({"status": "ok"}).encode()
    headers = signed(body)
    for _ in range(2):
        answer = await post(hooked, body, headers, "done")
        assert (answer.status_code, answer.json()) == (202, {"task_id": None})
    rows = await hooked.db.fetch("select name, body, origin, scope, stream from signals")
    assert [tuple(r) for r in rows] == [("deploy-done", {"status": "ok"}, "untrusted", "global", "external")]
    assert await hooked.db.fetchval("select count(*) from tasks") == 0
    large = json.dumps({"x": "y" * 70_000}).encode()
    assert (await post(hooked, large, signed(large), "done")).status_code == 413
