"""Signing in by a link that works once, and what a session's cookie and forms withstand."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from core.db import Pool
from core.store import people
from tests.web_house import BASE, House, open_house

HTML = {"accept": "text/html", "origin": BASE}


def csrf(page: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)
    assert found is not None, page.text[:500]
    return found.group(1)


async def code(house: House, key: str = "ann") -> str:
    person = await house.person(key, "owner")
    return await people.make_token(house.db, person.id, "login", 900)


async def test_opening_the_link_changes_nothing_and_the_button_signs_in_once(house: House) -> None:
    once = await code(house)
    client = house.client(headers=HTML)
    for _ in range(5):  # chats open links to preview them
        page = await client.get(f"/login?code={once}")
        assert page.status_code == 200
        assert "set-cookie" not in page.headers
        assert '<button class="primary" type="submit"' in page.text
    traded = await client.post("/login", data={"code": once})
    assert (traded.status_code, traded.headers["location"]) == (303, "/")
    assert "Ann" in (await client.get("/")).text
    again = await house.client(headers=HTML).post("/login", data={"code": once})
    assert again.status_code == 401
    assert "used already" in again.text


async def test_wrong_codes_are_401_whatever_they_are(house: House) -> None:
    once = await code(house)
    old = await people.make_token(house.db, (await house.person("ann", "owner")).id, "login", -5)
    for wrong in ("", "nonsense", once[:-1], once + "x", old, "\x00", "ä" * 50):
        answer = await house.client(headers=HTML).post("/login", data={"code": wrong})
        assert answer.status_code == 401, wrong
        assert "set-cookie" not in answer.headers
    assert (await house.client(headers=HTML).get("/login", params={"code": "x" * 1000})).status_code == 422


async def test_a_token_signs_in_too_and_a_wrong_one_does_not(house: House) -> None:
    bob = await house.person("bob", "engineer")
    token = await people.make_token(house.db, bob.id, "api", None)
    client = house.client(headers=HTML, follow_redirects=True)
    assert "Bob" in (await client.post("/login", data={"token": f" {token} "})).text
    wrong = await house.client(headers=HTML).post("/login", data={"token": token[:-1]})
    assert wrong.status_code == 401 and "set-cookie" not in wrong.headers


async def test_the_cookie_is_strict_and_out_of_reach_of_scripts(house: House) -> None:
    client = house.client(headers=HTML)
    answer = await client.post("/login", data={"code": await code(house)})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("sayso=")
    for part in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age="):
        assert part in cookie
    assert "Secure" not in cookie


async def test_behind_https_the_cookie_is_secure_and_bound_to_the_host(db: Pool, tmp_path: Path) -> None:
    async with open_house(db, tmp_path, public_base_url="https://sayso.acme.example") as house:
        client = house.client(headers={"host": "sayso.acme.example", "origin": "https://sayso.acme.example"})
        answer = await client.post("/login", data={"code": await code(house)})
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-sayso=")
        assert "Secure" in cookie and "Domain" not in cookie


async def test_a_login_posted_from_another_site_is_refused(house: House) -> None:
    once = await code(house)
    answer = await house.client().post("/login", data={"code": once}, headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
    assert await people.trade_login(house.db, once) is not None


async def test_signing_out_ends_the_session_for_good(house: House) -> None:
    browser = await house.browser(await house.person("ann", "owner"))
    page = await browser.get("/")
    token = browser.cookies["sayso"]
    await browser.post("/logout", data={"csrf": csrf(page)})
    assert (await house.client(cookies={"sayso": token}, headers=HTML).get("/")).status_code == 401


async def test_a_page_without_a_session_asks_to_sign_in_and_shows_nothing(house: House) -> None:
    ann = await house.person("ann", "owner")
    task, approval = await house.ask(ann)
    for path in ("/", "/inbox", "/tasks", f"/tasks/{task}", f"/approvals/{approval}", "/mail", "/live?page=/"):
        answer = await house.client(headers=HTML).get(path)
        assert answer.status_code == 401
        assert "not signed in" in answer.text and "old.log" not in answer.text


async def test_a_link_followed_from_a_chat_takes_one_step_more_because_the_cookie_is_strict(house: House) -> None:
    client = house.client(headers={"accept": "text/html", "sec-fetch-site": "cross-site"})
    answer = await client.get("/approvals/abc")
    assert answer.status_code == 200
    assert 'content="0;url=/approvals/abc?sayso-again=1"' in answer.text
    assert (await client.get("/approvals/abc?sayso-again=1")).status_code == 401
    hostile = await client.get('/approvals/"><script>alert(1)</script>')
    assert "<script" not in hostile.text


@pytest.mark.parametrize("wrong", ["", "0" * 64, "ä", "x" * 10_000])
async def test_a_form_without_our_proof_does_nothing(house: House, wrong: str) -> None:
    ann = await house.person("ann", "owner")
    task, approval = await house.ask(ann)
    browser = await house.browser(ann)
    for path, fields in (
        ("/chat", {"text": "do files.list", "nonce": "abcdefgh1"}),
        (f"/approvals/{approval}/decide", {"verdict": "approve", "digest": "x", "nonce": "abcdefgh2"}),
        (f"/tasks/{task}/stop", {"confirmed": "yes"}),
        ("/logout", {}),
    ):
        answer = await browser.post(path, data=fields | {"csrf": wrong})
        assert answer.status_code == 403
    assert await house.db.fetchval("select count(*) from inbound") == 0
    assert (await browser.get("/")).status_code == 200


async def test_the_proof_of_one_session_is_no_proof_for_another(house: House) -> None:
    ann, eve = await house.person("ann", "owner"), await house.person("eve", "engineer")
    theirs = csrf(await (await house.browser(eve)).get("/"))
    answer = await (await house.browser(ann)).post(
        "/chat", data={"csrf": theirs, "text": "do files.list", "nonce": "abcdefgh1"}
    )
    assert answer.status_code == 403


async def test_no_link_puts_words_into_our_mouth(house: House) -> None:
    browser = await house.browser(await house.person("ann", "owner"))
    for forged in ("aGVsbG8=.x", "aGVsbG8=." + "0" * 64, ".", "", "ä.ä", "aGVsbG8="):
        answer = await browser.get("/", headers=[(b"cookie", b"sayso-said=" + forged.encode())])
        assert "hello" not in answer.text
