"""Files by the web: sent with the chat's form by who is signed in, given back to who may see them, never as a page."""

import re

import pytest

from core import config
from tests.web_house import House, unique

CSV = b"a,b\n1,2\n"


async def csrf_of(browser: object) -> str:
    page = (await browser.get("/")).text  # type: ignore[attr-defined]  # an httpx client
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None
    return found.group(1)


async def test_a_file_comes_by_the_form_and_is_given_back_as_a_download(house: House) -> None:
    ann, bob = await house.person("ann"), await house.person("bob")
    browser = await house.browser(ann)
    form = {"csrf": await csrf_of(browser), "nonce": unique(), "text": ""}
    sent = await browser.post("/chat", data=form, files=[("files", ("<b>..\u202e.html", CSV, "text/html"))])
    assert sent.status_code == 200
    row = await house.db.fetchrow("select * from attachments")
    assert (row["state"], row["content"], row["is_own"], row["due_at"]) == ("here", CSV, False, None)
    page = (await browser.get("/")).text
    assert f'href="/attachments/{row["id"]}" download>&lt;b&gt;...html</a>' in page
    given = await browser.get(f"/attachments/{row['id']}")
    assert (given.status_code, given.content) == (200, CSV)
    assert given.headers["content-disposition"].startswith("attachment;")
    assert given.headers["content-type"] == "application/octet-stream"
    assert given.headers["x-content-type-options"] == "nosniff"
    assert (await (await house.api(ann)).get(f"/api/attachments/{row['id']}")).content == CSV
    for client in (await house.browser(bob), await house.api(bob)):
        path = f"/api/attachments/{row['id']}" if "authorization" in client.headers else f"/attachments/{row['id']}"
        assert (await client.get(path)).status_code == 404


async def test_a_file_sent_by_another_account_of_the_same_human_is_theirs(house: House) -> None:
    ann, phone = await house.person("ann"), await house.person("ann-phone")
    browser = await house.browser(phone)
    form = {"csrf": await csrf_of(browser), "nonce": unique(), "text": ""}
    await browser.post("/chat", data=form, files=[("files", ("a.csv", CSV, "text/csv"))])
    path = f"/api/attachments/{await house.db.fetchval('select id from attachments')}"
    asking = await house.api(ann)
    assert (await asking.get(path)).status_code == 404
    await house.db.execute("update principals set same_as = $1 where id = $2", ann.id, phone.id)
    assert (await asking.get(path)).content == CSV


@pytest.mark.parametrize("path", ["/attachments/1", "/api/attachments/1"])
async def test_without_a_session_or_a_token_nothing_is_given(house: House, path: str) -> None:
    async with house.client() as nobody:
        assert (await nobody.get(path)).status_code in (303, 401)


async def test_nobody_uploads_without_a_session_or_our_proof(house: House) -> None:
    ann = await house.person("ann")
    files = [("files", ("a.csv", CSV, "text/csv"))]
    async with house.client() as nobody:
        answer = await nobody.post("/chat", data={"text": "x", "nonce": unique()}, files=files)
        assert answer.url.path == "/login" or answer.status_code in (303, 401)
    forged = await (await house.browser(ann)).post("/chat", data={"csrf": "no", "nonce": unique()}, files=files)
    assert forged.status_code == 403
    assert await house.db.fetchval("select count(*) from attachments") == 0


async def test_a_body_is_bounded_for_files_too(house: House) -> None:
    browser = await house.browser(await house.person("ann"))
    files = [("files", ("a.bin", bytes(config.UPLOAD_BYTES), "application/octet-stream"))]
    form = {"csrf": await csrf_of(browser), "nonce": unique()}
    assert (await browser.post("/chat", data=form, files=files)).status_code == 413
    assert (await browser.post("/logout", data=form, files=files)).status_code == 413


async def test_a_form_without_a_chosen_file_is_only_words(house: House) -> None:
    browser = await house.browser(await house.person("ann"))
    form = {"csrf": await csrf_of(browser), "nonce": unique(), "text": "help"}
    await browser.post("/chat", data=form, files=[("files", ("", b"", "application/octet-stream"))])
    assert await house.db.fetchval("select count(*) from attachments") == 0
    assert await house.db.fetchval("select body from inbound") == "help"
