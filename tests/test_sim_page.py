"""The page of `sayso up --sim`: in a real browser in front of a whole Sayso, and `up --sim` itself as processes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.browser import CHROMIUM, PATIENCE_MS, open_browser
from tests.patience import PATIENCE_S
from tests.ports import free_port
from tests.scenarios.stage import Stage, open_stage
from tests.sim import by_rule
from tests.sim.desk import CAST, Desk
from tests.sim.llm_script import Asked, Reply, Said, Script
from tests.test_up import Place, eventually
from tests.test_whole_way import eventually as until

FIGURES_MOST_BYTES = 100_000


@pytest.fixture
async def stage(
    database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    def furnish(world: object) -> None:
        desk = Desk(world, "http://127.0.0.1:8080", False)  # type: ignore[arg-type]  # the stage's own world
        desk.add_routes(desk.world.site.app)

    script = Script(otherwise=by_rule.answer)
    async with open_stage(database_url, redis_url, tmp_path, monkeypatch, furnish, script=script) as opened:
        yield opened


@pytest.fixture
async def page(stage: Stage) -> AsyncIterator[Page]:
    if CHROMIUM is None:
        pytest.skip("this machine has no Chromium")
    async with open_browser() as browser:
        made = await browser.new_page()
        made.set_default_timeout(PATIENCE_MS)
        troubles: list[str] = []
        made.on("pageerror", lambda error: troubles.append(str(error)))
        made.on("console", lambda m: troubles.append(m.text) if m.type == "error" else None)
        await made.goto(stage.world.site.url)
        yield made
    assert troubles == []


async def say(page: Page, chat: str, text: str, *, aloud: bool = False) -> None:
    """Until it was taken: then the page empties the field."""
    field = page.locator(f"#{chat} form.say input")
    await field.fill(text)
    if aloud:
        await page.locator(f"#{chat}").get_by_role("button", name="Say aloud").click()
    else:
        await field.press("Enter")
    await expect(field).to_have_value("")


async def test_a_newcomer_asks_in_one_chat_approves_there_and_sees_it_in_the_other(stage: Stage, page: Page) -> None:
    (stage.workspace / "old.log").write_text("old", encoding="utf-8")
    page.on("dialog", lambda dialog: dialog.accept())
    slack, telegram = page.locator("#slack"), page.locator("#telegram")
    await say(page, "slack", "do files.delete paths=old.log")
    await slack.get_by_role("button", name="Approve", exact=True).click()
    await expect(slack.get_by_text("Approved by Ann in Slack").first).to_be_visible()
    await until(lambda: not (stage.workspace / "old.log").exists())
    await say(page, "telegram", "hello there")
    await expect(telegram.get_by_text("not a language model").first).to_be_visible()


async def test_time_passes_a_text_comes_and_a_form_is_filled_in(stage: Stage, page: Page) -> None:
    (stage.workspace / "a.log").write_text("old", encoding="utf-8")
    await say(page, "slack", "do files.delete paths=a.log")
    await expect(page.locator("#slack").get_by_role("button", name="Approve", exact=True)).to_be_visible()
    await page.get_by_role("button", name="15 min").click()
    await expect(page.locator("#sms").get_by_text("Reply OK").first).to_be_visible()
    await page.locator("#slack summary", has_text="More").click()
    await page.locator("#slack").get_by_role("button", name="Deny with a reason…").click()
    await page.get_by_label("Why not?").fill("not today")
    await page.locator("#slack form.form button.primary").click()
    await expect(page.locator("#slack").get_by_text("not today").first).to_be_visible()
    assert (stage.workspace / "a.log").exists()


async def test_news_leave_open_menus_typed_words_the_caret_and_the_scroll_position_as_they_are(
    stage: Stage, page: Page
) -> None:
    (stage.workspace / "a.log").write_text("old", encoding="utf-8")
    slack, ann = page.locator("#slack"), stage.who("ann")
    await say(page, "slack", "do files.delete paths=a.log")
    card = await slack.locator("article", has_text="No answer means no").element_handle()
    assert card is not None
    await slack.locator("summary", has_text="letter by letter").click()
    await slack.locator("summary", has_text="More").click()
    await slack.get_by_role("button", name="Deny with a reason…").click()
    reason = page.get_by_label("Why not?")
    await expect(reason).to_be_focused()
    await reason.press_sequentially("still ned")
    await reason.press("ArrowLeft")
    await slack.locator(".log").evaluate("log => { log.scrollTop = 40; }")
    await ann.say("do files.list", "slack")
    await expect(slack.locator("article", has_text="a.log").last).to_contain_text("Succeeded")
    await page.keyboard.type("e")
    await expect(reason).to_have_value("still need")
    assert await slack.locator(".log").evaluate("log => log.scrollTop") == 40
    folded, menu = await slack.locator("details").evaluate_all("all => all.map((one) => one.open)")
    assert (folded, menu) == (False, True)
    await ann.press("Deny")
    await expect(slack.locator("article", has_text="Denied by Ann")).to_have_count(1)
    assert await card.evaluate("card => card.isConnected && card.innerText.includes('Denied by Ann')")
    await expect(reason).to_be_focused()


async def test_a_voice_is_heard_a_question_is_answered_and_the_home_tab_stops_a_task(stage: Stage, page: Page) -> None:
    for name in ("a.log", "b.log", "c.log"):
        (stage.workspace / name).write_text("old", encoding="utf-8")
    page.on("dialog", lambda dialog: dialog.accept())
    slack, telegram = page.locator("#slack"), page.locator("#telegram")
    await say(page, "slack", "do files.delete paths=a.log")
    await expect(slack.get_by_text("Delete a.log").first).to_be_visible()
    await say(page, "slack", "do files.delete paths=c.log")
    await say(page, "telegram", "do files.delete paths=b.log", aloud=True)
    for label in ("More…", "Deny with a reason…"):
        await telegram.get_by_role("button", name=label).click()
    await expect(page.locator("#replying")).to_contain_text("Deny with a reason")
    await say(page, "telegram", "still needed")
    await expect(telegram.locator("button:disabled")).to_have_text(re.compile("Denied by Ann"))
    await slack.locator("nav button", has_text="Home").click()
    await expect(slack.get_by_role("heading", name="Your open tasks")).to_be_visible()
    stops = slack.locator(".log").get_by_role("button", name="Stop", exact=True)
    await expect(stops).to_have_count(2)
    await stops.last.click()  # of two that read alike: the elder task's
    await expect(stops).to_have_count(1)
    await expect(slack.get_by_text("do files.delete paths=c.log")).to_be_visible()
    await slack.get_by_role("button", name="Open the card").click()
    await expect(slack.locator("article:focus")).to_contain_text("Delete c.log")
    assert all((stage.workspace / name).exists() for name in ("a.log", "b.log", "c.log"))


async def test_what_is_planned_goes_wrong_once_and_the_page_says_so(stage: Stage, page: Page) -> None:
    await page.select_option("#leg", "slack-post")
    await page.select_option("#kind", "drop")
    await page.get_by_role("button", name="Plan it").click()
    await expect(page.locator("#planned")).to_contain_text("chat.postMessage: drop_before")
    await say(page, "slack", "do files.list")
    await expect(page.locator("#slack .message:not(.mine)").first).to_be_visible()
    await expect(page.locator("#planned")).to_be_empty()


async def test_only_the_page_may_ask_and_a_wrong_request_is_told_why(stage: Stage) -> None:
    async with httpx.AsyncClient(base_url=stage.world.site.url) as client:
        said = {"who": "ann", "chat": "slack", "text": "hello"}
        assert (await client.post("/sim/say", json=said)).status_code == 403
        client.headers["X-Sim"] = "test"
        for verb, body in (
            ("say", {**said, "chat": "fax"}),
            ("press", {"who": "ann", "chat": "slack", "ref": "0", "button": "Approve"}),
            ("clock", {"seconds": -1}),
            ("fault", {"leg": "nowhere", "kind": "500"}),
        ):
            answer = await client.post(f"/sim/{verb}", json=body)
            assert (answer.status_code, bool(answer.json()["error"])) == (422, True)
        state = (await client.get("/sim/state")).json()
        assert [one["key"] for one in state["people"]] == [key for key, *_ in CAST]


@pytest.mark.parametrize(
    ("text", "skill"),
    [
        ("list files", "files.list"),
        ("please delete old.log", "files.delete"),
        ("write a.txt: two words", "files.write"),
        ("tidy up the logs", "files.delete"),
        ("what is love?", ""),
    ],
)
def test_the_stand_in_of_a_model_follows_its_rules_and_says_that_it_is_none(text: str, skill: str) -> None:
    turns = (Said("system", ""), Said("user", text))
    answer = by_rule.answer(Asked("openai", "m", turns, ("propose_plan",), False, {}))
    if isinstance(answer, Reply):
        assert answer.calls[0].args["steps"][-1]["skill"] == skill  # type: ignore[index]
    else:
        assert skill == ""
        assert "not a language model" in answer


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ('{"paths": ["a.log"], "count": 1}', "Files: a.log"),
        ('{"bytes": 5, "summary": "Wrote a.log (5 bytes)"}', "Wrote a.log (5 bytes)"),
        ("no JSON", "It came to: no JSON"),
    ],
)
def test_the_stand_in_of_a_model_tells_results_in_words(result: str, words: str) -> None:
    turns = (Said("user", f'<result step="2">{result}</result>'),)
    told = str(by_rule.answer(Asked("openai", "m", turns, ("propose_plan",), False, {})))
    assert told.startswith(f"{words}\n")


def test_the_picture_of_the_page_is_small() -> None:
    picture = Path(__file__).resolve().parents[1] / "docs" / "sim.png"
    assert 10_000 < picture.stat().st_size < FIGURES_MOST_BYTES


def test_up_sim_starts_everything_without_an_account_and_leaves_the_real_home_alone(tmp_path: Path) -> None:
    place = Place(tmp_path)
    page = free_port()
    place.environment |= {"SLACK_BOT_TOKEN": "", "OPENAI_API_KEY": "", "ANTHROPIC_API_KEY": ""}
    try:
        place.start("--sim", "--sim-port", str(page))
        base = f"http://127.0.0.1:{page}"
        with httpx.Client(base_url=base, headers={"X-Sim": "test"}, trust_env=False, timeout=PATIENCE_S) as client:
            said = {"who": "ann", "chat": "telegram", "text": "do files.write path=hello.txt content=hi"}
            assert client.post("/sim/say", json=said).status_code == 200

            def written() -> bool:
                return (tmp_path / ".sayso" / "sim" / "workspace" / "hello.txt").exists()

            eventually(written, "the file that was asked for in the chat")
            assert client.post("/sim/clock", json={"seconds": 3600}).status_code == 200
            assert client.get("/sim/state").json()["ahead_s"] == 3600
        assert not (tmp_path / ".sayso" / "workspace").exists()
    finally:
        if place.up is not None:
            place.up.terminate()
            assert place.up.wait(60) == 0
