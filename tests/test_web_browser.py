"""The web chat in a real browser: with the script it is live and keeps one's place, without it everything still works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from bot.web import stream
from core.db import open_pool
from core.models import PlannedStep
from core.store import approvals, conversations, people, steps, tasks
from core.store.people import Principal
from tests.browser import PATIENCE_MS, needs_chromium, open_browser
from tests.patience import PATIENCE_S
from tests.web_house import DIGEST, House, open_house, served

# One Chromium for all of them, so one loop.
pytestmark = [needs_chromium, pytest.mark.asyncio(loop_scope="module")]


@dataclass
class Visit:
    """A signed-in person's browser on a served Sayso. `troubles` are errors of the page's own script and policy."""

    house: House
    ann: Principal
    address: str
    browser: Browser
    troubles: list[str] = field(default_factory=list)

    async def stranger(self, **context: Any) -> BrowserContext:
        """A browser of somebody who is not signed in."""
        made = await self.browser.new_context(base_url=self.address, **context)
        made.set_default_timeout(PATIENCE_MS)
        return made

    async def open(self, path: str = "/", **context: Any) -> Page:
        made = await self.stranger(**context)
        session = await self.house.session(self.ann)
        await made.add_cookies([{"name": "sayso", "value": session, "url": self.address, "sameSite": "Strict"}])
        page = await made.new_page()
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("console", lambda m: self.troubles.append(m.text) if "Content Security" in m.text else None)
        await page.goto(path)
        return page

    async def status(self, approval: str) -> str:
        return str((await approvals.whole(self.house.db, approval) or {})["status"])


@asynccontextmanager
async def visiting(house: House, browser: Browser) -> AsyncIterator[Visit]:
    ann = await house.person("ann", "owner", name="Ann Lee")
    async with served(house.app) as address:
        visit = Visit(house, ann, address, browser)
        try:
            yield visit
        finally:
            for context in browser.contexts:
                await context.close()
        assert visit.troubles == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def visit(
    browser: Browser, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Visit]:
    monkeypatch.setattr(stream, "HUB_POLL_S", 0.1)
    db = await open_pool(database_url, most=8)
    try:
        async with open_house(db, tmp_path) as house, visiting(house, browser) as made:
            yield made
    finally:
        await asyncio.wait_for(db.close(), PATIENCE_S)


async def test_a_link_signs_in_by_its_button_and_signing_out_ends_it(visit: Visit) -> None:
    page = await (await visit.stranger()).new_page()
    code = await people.make_token(visit.house.db, visit.ann.id, "login", 900)
    await page.goto(f"/login?code={code}")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Tell Sayso what to do")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("button", name="Sign out")).to_have_count(0)
    await page.goto("/inbox")
    await expect(page.get_by_role("heading", name="You are not signed in")).to_be_visible()


async def test_a_link_from_another_site_opens_for_a_signed_in_person(visit: Visit) -> None:
    _, approval = await visit.house.ask(visit.ann)
    page = await visit.open()
    other = visit.address.replace("127.0.0.1", "localhost")  # another site, as far as cookies go
    await page.goto(f"{other}/login")
    await page.evaluate("url => { location.href = url }", f"{visit.address}/approvals/{approval}")
    await expect(page.get_by_role("heading", name="Delete old.log from the workspace")).to_be_visible()


async def test_what_is_said_appears_without_a_reload_and_the_box_is_ready_again(visit: Visit) -> None:
    page = await visit.open()
    await page.evaluate("window.stayed = true")
    box = page.get_by_label("Message to Sayso")
    await box.fill("help")
    await box.press("Enter")
    await expect(page.locator(".words", has_text="I understand these commands")).to_be_visible()
    await expect(box).to_have_value("")
    await expect(box).to_be_focused()
    await box.type("do files.delete paths=old.log")
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("article")).to_contain_text("do files.delete paths=old.log")
    assert await page.evaluate("window.stayed") is True


async def test_cards_come_and_change_by_themselves_and_half_a_reason_is_kept(visit: Visit) -> None:
    page = await visit.open("/inbox")
    await expect(page.get_by_text("Nothing waits for your decision.")).to_be_visible()
    _, first = await visit.house.ask(visit.ann, needed=2, title="Delete one.log")
    await expect(page.get_by_role("heading", name="Delete one.log")).to_be_visible()
    await page.get_by_text("Deny…").click()
    reason = page.locator(f"#reason-{first}")
    await reason.fill("half a rea")
    bob = await visit.house.person("bob", "owner", name="Bob")
    await approvals.decide(
        visit.house.db, principal=bob.id, approval=first, verdict="approve", digest=DIGEST, reason="",
        channel="web", delivery_id="1",
    )  # fmt: skip
    await expect(page.get_by_text("1 of 2 approved: Bob")).to_be_visible()
    await expect(reason).to_have_value("half a rea")
    await expect(reason).to_be_focused()
    await visit.house.ask(visit.ann, title="Delete two.log")
    await expect(page.get_by_role("heading", name="Delete two.log")).to_be_visible()
    await expect(reason).to_be_focused()
    await expect(page.locator("#waiting .count")).to_have_text("2")


async def test_someone_elses_decision_is_shown_on_an_open_card(visit: Visit) -> None:
    _, approval = await visit.house.ask(visit.ann)
    page = await visit.open(f"/approvals/{approval}")
    bob = await visit.house.person("bob", "owner", name="Bob")
    await approvals.decide(
        visit.house.db, principal=bob.id, approval=approval, verdict="deny", digest=DIGEST, reason="no",
        channel="slack", delivery_id="1",
    )  # fmt: skip
    await expect(page.get_by_text("Denied by Bob in Slack")).to_be_visible()
    await expect(page.get_by_role("button", name="Approve")).to_have_count(0)


async def test_a_press_asks_once_more_where_it_destroys_and_then_says_what_happened(visit: Visit) -> None:
    _, approval = await visit.house.ask(visit.ann, destructive=True)
    page = await visit.open()
    await page.get_by_role("button", name="Approve").click()
    dialog = page.get_by_role("dialog", name="Delete old.log from the workspace?")
    await expect(dialog).to_contain_text("old.log")
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    assert await visit.status(approval) == "pending"
    await page.get_by_role("button", name="Approve").click()
    await dialog.get_by_role("button", name="Approve").click()
    await expect(page.locator("#said")).to_have_text("Approved.")
    assert await visit.status(approval) == "approved"
    assert await page.evaluate("document.activeElement.closest('article, main') !== null")


async def test_the_keyboard_alone_is_enough_to_deny_with_a_reason(visit: Visit) -> None:
    _, approval = await visit.house.ask(visit.ann)
    page = await visit.open("/inbox")
    await page.locator(f"#deny-{approval} summary").focus()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await page.keyboard.type("too early")
    await page.keyboard.press("Enter")
    await expect(page.locator("#said")).to_have_text("Denied.")
    row = await approvals.whole(visit.house.db, approval) or {}
    assert (row["status"], row["reason"]) == ("denied", "too early")


async def test_without_a_script_one_says_confirms_and_denies_by_forms(visit: Visit) -> None:
    page = await visit.open("/", java_script_enabled=False)
    await page.get_by_label("Message to Sayso").fill("do files.list")
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("article")).to_contain_text("do files.list")
    assert len(await tasks.listed(visit.house.db, visit.ann.id, sees_all=True, sees_conversation=False)) == 1
    _, first = await visit.house.ask(visit.ann, destructive=True, title="Delete one.log")
    await page.goto("/inbox")
    await page.get_by_role("button", name="Approve").click()
    await expect(page.get_by_role("heading", name="Delete one.log?")).to_be_visible()
    await page.get_by_role("button", name="Approve").click()
    await expect(page.locator("#said")).to_have_text("Approved.")
    assert await visit.status(first) == "approved"
    _, second = await visit.house.ask(visit.ann, title="Delete two.log")
    await page.goto(f"/approvals/{second}")
    await page.get_by_text("Deny…").click()
    await page.get_by_label("Why not?").fill("no need")
    await page.get_by_role("button", name="Deny (Delete two.log)").click()
    await expect(page.get_by_text("Reason: no need").first).to_be_visible()


async def test_hostile_text_runs_nothing_in_a_browser(visit: Visit) -> None:
    text = '"><img src=x onerror="window.hit=1"><script>window.hit=1</script>\' autofocus onfocus=\'window.hit=1'
    task, approval = await visit.house.ask(
        visit.ann, title=text, goal=text, args={text: text, "paths": [text]}, destructive=True
    )
    await conversations.say(visit.house.db, await visit.house.place(visit.ann), text)
    page = await visit.open("/")
    for path in ("/", "/inbox", "/tasks", f"/tasks/{task}", f"/approvals/{approval}"):
        await page.goto(path)
        await expect(page.get_by_text("<script>window.hit=1</script>").first).to_be_visible()
        assert await page.evaluate("window.hit") is None
    await page.get_by_role("button", name="Approve").click()
    await expect(page.get_by_role("dialog")).to_contain_text("onerror")
    assert await page.evaluate("window.hit") is None


@pytest.mark.parametrize("width", [320, 390, 1100])
async def test_no_page_is_wider_than_the_screen(visit: Visit, width: int) -> None:
    long = "x" * 400
    task, approval = await visit.house.ask(visit.ann, title=f"Delete {long}", goal=long, args={"paths": [long]})
    page = await visit.open("/", viewport={"width": width, "height": 700})
    for path in ("/", "/inbox", "/tasks", f"/tasks/{task}", f"/approvals/{approval}"):
        await page.goto(path)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        heights = await page.locator("button:visible, summary.button:visible").evaluate_all(
            "all => all.map(one => one.getBoundingClientRect().height)"
        )
        assert min(heights) >= 24  # WCAG 2.2, 2.5.8


async def test_a_page_that_lost_its_server_catches_up(visit: Visit) -> None:
    page = await visit.open("/inbox")
    await page.context.set_offline(True)
    await visit.house.ask(visit.ann, title="Delete late.log")
    await page.context.set_offline(False)
    await expect(page.get_by_role("heading", name="Delete late.log")).to_be_visible()


async def test_keys_go_from_card_to_card_and_to_a_yes_but_never_say_it(visit: Visit) -> None:
    _, first = await visit.house.ask(visit.ann, title="Delete one.log")
    _, second = await visit.house.ask(visit.ann, title="Delete two.log")
    page = await visit.open("/inbox")
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    focused = "document.activeElement.id"
    at_second = await page.evaluate(focused)
    await page.keyboard.press("k")
    at_first = await page.evaluate(focused)
    assert {at_first, at_second} == {f"approval-{first}", f"approval-{second}"}
    await page.keyboard.press("a")
    assert await page.evaluate(focused) == f"approve-{at_first.removeprefix('approval-')}"
    await page.keyboard.press("a")
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    await page.keyboard.press("Escape")
    assert [await visit.status(one) for one in (first, second)] == ["pending", "pending"]
    await page.locator(f"#approve-{first}").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#said")).to_contain_text("Approved")
    assert await visit.status(first) == "approved"


async def test_a_drawing_changes_as_the_task_goes_on(visit: Visit) -> None:
    plan = [
        PlannedStep(n=n, kind="act", skill="files.list", needs=(n - 1,) if n > 1 else (), title=f"Look {n}")
        for n in (1, 2)
    ]
    task = await tasks.create(
        visit.house.db, requester=visit.ann.id, goal="look", kind="do", steps=plan, actor=visit.ann.actor
    )
    page = await visit.open(f"/tasks/{task}")
    await expect(page.get_by_role("link", name="Step 1, Look 1: ready")).to_be_visible()
    [step] = [s for s in await steps.claim(visit.house.db, visit.house.worker, "default", 16) if s.task_id == task]
    await steps.complete(visit.house.db, visit.house.worker, step, {}, claim_next=False)
    await expect(page.get_by_role("link", name="Step 1, Look 1: succeeded")).to_be_visible()
    await page.get_by_role("link", name="Step 2, Look 2: ready").focus()
    await page.keyboard.press("Enter")
    assert page.url.endswith("#step-2")
