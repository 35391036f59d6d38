"""The pages without a script: what they show, what their forms do, and that hostile text stays text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from core.db import Pool
from core.store import approvals, conversations, tasks
from tests.test_web_login import csrf
from tests.web_house import DIGEST, House, open_house, unique

HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</pre></article><h1>Approved</h1>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe",
    "a\u200bb\u2066c",
    "&lt;b&gt;",
)  # fmt: skip


def forms(page: httpx.Response, action: str) -> list[dict[str, str]]:
    """The hidden fields of each form with this action."""
    found = re.findall(rf'<form[^>]*action="{re.escape(action)}"[^>]*>(.*?)</form>', page.text, re.DOTALL)
    return [dict(re.findall(r'name="(\w+)" value="([^"]*)"', form)) for form in found]


async def press(house: House, browser: httpx.AsyncClient, approval: str, verdict: str, **more: str) -> httpx.Response:
    page = await browser.get("/inbox")
    [fields] = [f for f in forms(page, f"/approvals/{approval}/decide") if f["verdict"] == verdict]
    return await browser.post(f"/approvals/{approval}/decide", data=fields | more)


async def test_the_chat_shows_ones_own_words_the_replies_and_the_cards(house: House) -> None:
    ann = await house.person("ann", "owner")
    browser = await house.browser(ann)
    page = await browser.get("/")
    assert "Tell Sayso what to do" in page.text
    for text in ("help", "do files.delete paths=old.log"):
        fields = forms(page, "/chat")[0]
        page = await browser.post("/chat", data=fields | {"text": text})
    assert "I understand these commands" in page.text
    assert 'id="task-1"' in page.text
    assert page.text.index("do files.delete paths=old.log") < page.text.index('id="task-1"')


async def test_the_same_form_twice_says_it_once(house: House) -> None:
    browser = await house.browser(await house.person("ann", "owner"))
    fields = forms(await browser.get("/"), "/chat")[0] | {"text": "do files.list"}
    for _ in range(3):
        assert (await browser.post("/chat", data=fields)).status_code == 200
    assert await house.db.fetchval("select count(*) from tasks") == 1
    assert (await browser.post("/chat", data=fields | {"nonce": ""})).status_code == 422


async def test_an_approval_is_approved_in_the_inbox_and_the_page_says_so(house: House) -> None:
    ann = await house.person("ann", "owner")
    _, approval = await house.ask(ann)
    browser = await house.browser(ann)
    page = await press(house, browser, approval, "approve")
    assert "Approved." in page.text
    assert page.url.path == "/inbox"
    assert (await approvals.whole(house.db, approval) or {})["status"] == "approved"
    assert "Approved." not in (await browser.get("/inbox")).text


async def test_something_destructive_takes_two_steps(house: House) -> None:
    ann = await house.person("ann", "owner")
    _, approval = await house.ask(ann, destructive=True)
    browser = await house.browser(ann)
    question = await press(house, browser, approval, "approve")
    assert "Delete old.log from the workspace?" in question.text
    assert (await approvals.whole(house.db, approval) or {})["status"] == "pending"
    [fields] = forms(question, f"/approvals/{approval}/decide")
    assert fields["confirmed"] == "yes"
    await browser.post(f"/approvals/{approval}/decide", data=fields)
    assert (await approvals.whole(house.db, approval) or {})["status"] == "approved"


async def test_a_no_takes_a_reason_and_the_card_shows_it(house: House) -> None:
    ann = await house.person("ann", "owner")
    _, approval = await house.ask(ann)
    browser = await house.browser(ann)
    await press(house, browser, approval, "deny", reason="not <b>today</b>")
    page = await browser.get(f"/approvals/{approval}")
    assert "Reason: not &lt;b&gt;today&lt;/b&gt;" in page.text
    assert "denied" in page.text


async def test_the_whole_card_says_everything_that_will_run(house: House) -> None:
    ann = await house.person("ann", "owner")
    _, approval = await house.ask(ann, args={"paths": ["a.log", "b.log"], "note": "x" * 20_000})
    browser = await house.browser(ann)
    whole = (await browser.get(f"/approvals/{approval}")).text
    for part in (
        "a.log",
        "b.log",
        "x" * 20_000,
        DIGEST,
        "It deletes.",
        "paths comes from a page read in step 2",
        "owner",
    ):
        assert part in whole
    assert 'value="approve"' in whole
    # In a list it is too long to be shown whole, so there is no yes there, only the way to it.
    inbox = (await browser.get("/inbox")).text
    assert "x" * 20_000 not in inbox and 'value="approve"' not in inbox and 'value="deny"' in inbox
    assert f'href="/approvals/{approval}"' in inbox


async def test_who_may_not_decide_sees_the_card_without_buttons(house: House) -> None:
    bob, eve = await house.person("bob", "engineer"), await house.person("eve", "engineer")
    _, approval = await house.ask(bob)
    mine = await (await house.browser(bob)).get(f"/approvals/{approval}")
    assert 'value="approve"' not in mine.text and 'value="stop"' in mine.text
    theirs = await (await house.browser(eve)).get(f"/approvals/{approval}")
    assert theirs.status_code == 404
    assert "old.log" not in (await (await house.browser(eve)).get("/inbox")).text
    forced = await (await house.browser(bob)).post(
        f"/approvals/{approval}/decide",
        data={"csrf": csrf(await (await house.browser(bob)).get("/")), "verdict": "approve", "digest": DIGEST},
    )
    assert forced.status_code == 403  # that proof belongs to another session


async def test_a_press_by_force_is_refused_by_the_intake(house: House) -> None:
    bob = await house.person("bob", "engineer")
    _, approval = await house.ask(bob)
    browser = await house.browser(bob)
    fields = {"csrf": csrf(await browser.get("/")), "verdict": "approve", "digest": DIGEST, "nonce": unique()}
    page = await browser.post(f"/approvals/{approval}/decide", data=fields)
    assert "not among those who may decide" in page.text
    assert (await approvals.whole(house.db, approval) or {})["status"] == "pending"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"verdict": "happened"}, 422),
        ({"verdict": "'"}, 422),
        ({"verdict": "approve", "reason": "x" * 501}, 422),
        ({"verdict": "approve", "nonce": "short"}, 422),
        ({"verdict": "approve", "nonce": "x" * 300}, 422),
    ],
)
async def test_a_crooked_press_is_422(house: House, fields: dict[str, str], status: int) -> None:
    ann = await house.person("ann", "owner")
    _, approval = await house.ask(ann)
    browser = await house.browser(ann)
    base = {"csrf": csrf(await browser.get("/")), "digest": DIGEST, "nonce": unique()}
    assert (await browser.post(f"/approvals/{approval}/decide", data=base | fields)).status_code == status
    assert (await approvals.whole(house.db, approval) or {})["status"] == "pending"


async def test_no_form_sends_anyone_to_another_site(house: House) -> None:
    ann = await house.person("ann", "owner")
    for back in (
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/inbox?x",
        "javascript:alert(1)",
        "/%0d%0a",
    ):
        _, approval = await house.ask(ann)
        browser = await house.browser(ann)
        browser.follow_redirects = False
        fields = {
            "csrf": csrf(await browser.get("/")),
            "verdict": "deny",
            "digest": DIGEST,
            "nonce": unique(),
            "back": back,
        }
        answer = await browser.post(f"/approvals/{approval}/decide", data=fields)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/approvals/{approval}")


async def test_a_task_is_paused_resumed_and_stopped_by_its_buttons(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await house.task(ann)
    browser = await house.browser(ann)
    for verb, status in (("pause", "paused"), ("resume", "running"), ("stop", "cancelled")):
        [fields] = forms(await browser.get(f"/tasks/{task}"), f"/tasks/{task}/{verb}")
        page = await browser.post(f"/tasks/{task}/{verb}", data=fields)
        if verb == "stop":
            assert "Stop this task?" in page.text
            page = await browser.post(f"/tasks/{task}/{verb}", data=forms(page, f"/tasks/{task}/stop")[0])
        assert (await tasks.whole(house.db, task) or {})["status"] == status
    assert "History" in page.text and "running → cancelling" in page.text


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_text_is_only_text_on_every_page(house: House, text: str) -> None:
    ann = await house.person("ann", "owner", name=text)
    task, approval = await house.ask(ann, title=text, goal=text, args={text: text, "paths": [text]})
    await conversations.say(house.db, await house.place(ann), text)
    browser = await house.browser(ann)
    for path in ("/", "/inbox", "/tasks", f"/tasks/{task}", f"/approvals/{approval}"):
        page = await browser.get(path)
        assert page.status_code == 200
        tags = Tags(page.text)
        assert tags.names.count("script") == 1 and "img" not in tags.names[tags.names.index("nav") :]
        assert not [a for a in tags.attributes if a[0].startswith("on") or "javascript:" in (a[1] or "")[:20]]
        assert not [line for line in page.text.split("\n") if set(line) & set("\u202e\u200b\u2066")], path
        assert "{{ 7" in page.text or "7 * 7" not in text


class Tags(HTMLParser):
    """Every tag and attribute as a browser would read them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [a for a in attrs if a[0] not in ("data-say", "value")]


@pytest.mark.parametrize(
    "path", ["/nothing", "/tasks/999", "/tasks/abc", "/approvals/abc", "/approvals/%00", "/mail/x"]
)
async def test_a_page_that_is_not_there_says_so_to_people(house: House, path: str) -> None:
    page = await (await house.browser(await house.person("ann", "owner"))).get(path)
    assert page.status_code == 404
    assert "That did not work" in page.text


async def write_mail(home: Path) -> None:
    (home / "mail").mkdir()
    (home / "mail" / "sayso-1-1-1.eml").write_bytes(
        b"From: sayso@localhost\r\nTo: ann@acme.example\r\nSubject: Logs <b>cleaned</b>\r\n"
        b"Content-Type: text/html; charset=utf-8\r\n\r\n<script>alert(1)</script>Hi\r\n"
    )
    (home / "mail" / "broken.eml").write_bytes(b"\xff\xfe\x00Content-Type: text/plain; charset=nonsense\r\n\r\n\xff")
    (home / "secret.eml").write_text("secret")


async def test_owners_read_the_development_mailbox_as_plain_text(house: House, tmp_path: Path) -> None:
    await write_mail(tmp_path)
    browser = await house.browser(await house.person("ann", "owner"))
    listed = await browser.get("/mail")
    assert "Logs &lt;b&gt;cleaned&lt;/b&gt;" in listed.text
    page = await browser.get("/mail/sayso-1-1-1.eml")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;Hi" in page.text
    assert (await browser.get("/mail/broken.eml")).status_code == 200
    for name in ("..%2fsecret.eml", "../secret.eml", "%2e%2e/secret.eml", "nothing.eml", ".eml", "x" * 400 + ".eml"):
        assert (await browser.get(f"/mail/{name}")).status_code == 404


async def test_the_mailbox_is_for_owners_and_only_without_a_mail_server(db: Pool, tmp_path: Path) -> None:
    await write_mail(tmp_path)
    async with open_house(db, tmp_path) as house:
        bob = await house.browser(await house.person("bob", "engineer"))
        assert (await bob.get("/mail")).status_code == 404
        assert 'href="/mail"' not in (await bob.get("/")).text
    async with open_house(db, tmp_path, smtp_url="smtp://127.0.0.1:25") as house:
        ann = await house.browser(await house.person("ann", "owner"))
        assert (await ann.get("/mail")).status_code == 404


async def test_how_approvals_are_answered_is_a_page_for_who_sees_everything(house: House) -> None:
    ann, eve = await house.person("ann", "owner"), await house.person("eve")
    for _ in range(3):
        await house.ask(ann)
    browser = await house.browser(ann)
    assert 'href="/report"' in (await browser.get("/inbox")).text
    page = await browser.get("/report")
    assert "files.delete" in page.text and "3<span" in page.text
    stranger = await house.browser(eve)
    assert 'href="/report"' not in (await stranger.get("/inbox")).text
    assert (await stranger.get("/report")).status_code == 404


async def test_every_page_says_how_many_approvals_wait(house: House) -> None:
    ann = await house.person("ann", "owner")
    task, approval = await house.ask(ann, destructive=True)
    browser = await house.browser(ann)
    pages = [
        await browser.get(path) for path in ("/", "/tasks", f"/tasks/{task}", f"/tasks/{task}/fork?step=1", "/mail")
    ]
    pages.append(await press(house, browser, approval, "approve"))
    assert "Delete old.log from the workspace?" in pages[-1].text
    assert [str(page.url) for page in pages if "(1 waiting for you)" not in page.text.replace("</span><span", "")] == []


async def test_a_secret_of_ours_is_on_no_page(db: Pool, tmp_path: Path) -> None:
    secret = "hunter2-hunter2"
    async with open_house(db, tmp_path, anthropic_api_key=secret) as house:
        ann = await house.person("ann", "owner")
        task, approval = await house.ask(
            ann, title=f"Read {secret}", goal=secret, args={"paths": [secret]}, destructive=True
        )
        await conversations.say(db, await house.place(ann), f"It says {secret}.")
        browser = await house.browser(ann)
        pages = [await browser.get(path) for path in ("/", "/inbox", "/digest", "/tasks", f"/tasks/{task}")]
        (tmp_path / "mail").mkdir()
        (tmp_path / "mail" / "sayso-1-1-1.eml").write_text(f"Subject: {secret}\n\nIt is {secret}.\n")
        pages += [await browser.get("/mail"), await browser.get("/mail/sayso-1-1-1.eml")]
        assert "secret #" in pages[-1].text
        pages.append(await press(house, browser, approval, "approve"))
        whole = await browser.get(f"/approvals/{approval}")
        assert [page.status_code for page in (*pages, whole)] == [200] * 9
        assert [str(page.url) for page in pages if secret in page.text] == []
        assert whole.text.count(secret) == whole.text.split('id="edit')[-1].count(secret), (
            "it is only where it is edited"
        )
