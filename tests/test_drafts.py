"""Answers while they are written: shown by one bot, ended by the whole answer or taken back; never a secret, never a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import expect

from bot.courier import Courier
from bot.drafts import Drafts
from bot.sending import DraftGone, MaybeSent, NotSent
from core import config
from core.cards import Card
from core.display import Masks
from core.ring import Ring
from core.store import drafts, people
from core.store.conversations import Conversation
from tests.browser import needs_chromium, open_browser
from tests.llm_house import HELLO, WEATHER, opened, stand_in
from tests.patience import PATIENCE_S
from tests.sim.anthropic import AnthropicSim
from tests.sim.llm_script import Call, Calls, Reply, Say, Script
from tests.sim.llm_server import KEY, ModelServer
from tests.sim.openai import OpenAISim
from tests.test_api_events import frames
from tests.test_web_browser import visiting
from tests.test_whole_way import RecordingChat, Sayso, eventually, running
from tests.web_house import House, open_house, served, unique
from worker.writing import readable

VENDORS = {"openai": OpenAISim, "anthropic": AnthropicSim}
ANSWER = (
    "The logs take 3 GB, most of it from the nightly build, which nobody has looked at since the summer, says the list."
)
PREAMBLE = "Let me look at that closely first, since I do not know yet what there is in the workspace at all."


@dataclass
class DraftingChat(RecordingChat):
    """A chat in which a draft is a message that grows. `standing` is what each message shows now."""

    standing: dict[str, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    lost: int = 0
    refused: int = 0
    busy: int = 0

    async def post(self, conversation: Conversation, content: Card | str, message: int) -> str:
        ref = await super().post(conversation, content, message)
        if isinstance(content, str):
            self.standing[ref] = content
        return ref

    async def draft(self, conversation: Conversation, task: int, text: str, live: str | None) -> str | None:
        assert not self.busy, "one at a time"
        self.busy += 1
        await asyncio.sleep(0.01)
        self.busy -= 1
        self.told.append(text)
        if self.refused:
            self.refused -= 1
            raise NotSent("too many", 0.01)
        if not text:
            self.standing.pop(live or "", None)
            return None
        ref = live or f"draft-{unique()}"
        self.standing[ref] = text
        return ref

    async def finish(self, conversation: Conversation, live: str, content: str, message: int) -> str:
        if live not in self.standing:
            raise DraftGone
        self.standing[live] = content
        if self.lost:
            self.lost -= 1
            raise MaybeSent("the line broke")
        return live


@pytest.fixture(autouse=True)
def without_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "DRAFT_GAP_S", 0.02)
    monkeypatch.setattr(config, "DRAFT_SHOW_GAP_S", 0.02)


@asynccontextmanager
async def written(
    sim: ModelServer, database_url: str, redis_url: str, home: Path, bots: int = 2, **env: str
) -> AsyncIterator[tuple[Sayso, DraftingChat]]:
    """A Sayso with that model, and several bots that all hear what it writes."""
    chat = DraftingChat("slack")
    name = sim.vendor.upper()
    async with (
        sim,
        running(
            database_url,
            redis_url,
            home,
            chat=chat,
            **{f"{name}_API_KEY": KEY, f"{name}_BASE_URL": sim.base_url},
            **env,
        ) as sayso,
    ):
        listeners = [Drafts(sayso.deps.db, redis_url, [chat], sayso.deps.masks()) for _ in range(bots)]
        parts = [asyncio.create_task(one.run()) for one in listeners]
        redis = sayso.deps.ring._redis
        await eventually(lambda: _all_listen(redis, bots))
        yield sayso, chat
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)


async def _all_listen(redis: Any, bots: int) -> bool:
    [(_, listening)] = await redis.pubsub_numsub("sayso:drafts")
    return int(listening) >= bots


# ---------------------------------------------------------------- what the model writes


@pytest.mark.parametrize("vendor", VENDORS)
async def test_words_before_a_call_are_taken_back_when_the_call_begins(vendor: str) -> None:
    heard: list[str | None] = []
    reply = Calls(Call("look_up_weather", {"place": "Oslo"}), text="Let me look.")
    async with stand_in(vendor, reply) as sim, opened(sim) as house:
        answer = await house.ask(HELLO, (WEATHER,), on_delta=heard.append)
    assert heard[-1] is None
    assert "".join(piece for piece in heard if piece) == answer.text == "Let me look."


async def test_what_a_broken_stream_said_is_taken_back() -> None:
    heard: list[str | None] = []
    broken = Reply("A long sentence that breaks", breaks_after=3)
    async with stand_in("anthropic", broken, Say("All of it.")) as sim, opened(sim) as house:
        await house.ask(on_delta=heard.append)
    assert None in heard
    assert "".join(piece for piece in heard[heard.index(None) :] if piece) == "All of it."


async def test_a_server_that_cannot_stream_is_asked_for_whole_answers() -> None:
    heard: list[str | None] = []
    async with stand_in("openai", "First.", "Second.") as sim, opened(sim) as house:
        read = sim.read

        def cannot_stream(body: dict[str, Any]) -> Any:
            if body.get("stream"):
                raise sim.refusal("stream is not supported here")
            return read(body)

        sim.refusal = _bad_request  # type: ignore[attr-defined]
        sim.read = cannot_stream  # type: ignore[method-assign]
        assert (await house.ask(on_delta=heard.append)).text == "First."
        assert (await house.ask(on_delta=heard.append)).text == "Second."
    assert [entry.status for entry in sim.journal] == [400, 200, 200]
    assert heard == []


def _bad_request(why: str) -> Exception:
    from tests.sim.llm_server import Refusal

    return Refusal(400, why, "unsupported_parameter", "stream")


def test_a_secret_is_masked_and_its_beginning_waits() -> None:
    masks = Masks(["sk-abcdef-123456"], b"k" * 32)
    whole = "The key is sk-abcdef-123456, keep it."
    for end in range(len(whole) + 1):
        shown = readable(whole[:end], masks)
        assert "sk-" not in shown
    assert readable(whole, masks).endswith("›, keep it.")


def test_a_draft_is_bounded() -> None:
    shown = readable("long " * 10_000, Masks([], b"k" * 32))
    assert len(shown) <= config.DRAFT_CHARS_MOST + 2
    assert shown.endswith("…")


# ---------------------------------------------------------------- what the chat shows


@pytest.mark.parametrize("vendor", VENDORS)
async def test_an_answer_grows_in_one_message_and_ends_in_it(
    vendor: str, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    held = asyncio.Event()
    sim = VENDORS[vendor](Script(Reply(ANSWER, held=held, held_after=9)))
    async with written(sim, database_url, redis_url, tmp_path) as (sayso, chat):
        number = await sayso.say("how big are the logs?")
        await eventually(lambda: chat.standing)
        [shown] = chat.standing.values()
        assert ANSWER.startswith(shown.rstrip()) and len(shown) >= config.DRAFT_CHARS_LEAST
        held.set()
        await sayso.until(number, "succeeded")
        await eventually(lambda: list(chat.standing.values()) == [ANSWER])
        assert chat.texts == [], "the draft became the answer; nothing else was posted"
        assert "" not in chat.told
        await eventually(lambda: _no_drafts(sayso))


async def _no_drafts(sayso: Sayso) -> bool:
    return not await sayso.deps.db.fetchval("select count(*) from drafts")


async def test_a_turn_that_calls_a_tool_after_all_leaves_nothing(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    held = asyncio.Event()
    step = {"id": "find", "skill": "files.list", "args": {"pattern": "*"}}
    call = Call("propose_plan", {"say": "Looking.", "steps": [step], "then": "continue"})
    script = Script(Calls(call, text=PREAMBLE, held=held, held_after=9), "Nothing is there.")
    async with written(OpenAISim(script), database_url, redis_url, tmp_path) as (sayso, chat):
        number = await sayso.say("what is there?")
        await eventually(lambda: chat.standing)
        held.set()
        await sayso.until(number, "succeeded")
        await eventually(lambda: list(chat.standing.values()) == ["Nothing is there."])
        assert chat.told[-1] == ""


async def test_a_secret_in_an_answer_never_leaves_in_a_draft(database_url: str, redis_url: str, tmp_path: Path) -> None:
    secret = "kept-1234567890-abcdefghij"
    text = f"{PREAMBLE} The token is {secret}, as you can see for yourself in the file that you sent."
    held = asyncio.Event()
    sim = OpenAISim(Script(Reply(text, held=held, held_after=14)))
    async with written(sim, database_url, redis_url, tmp_path, SAYSO_SECRET_KEY=secret) as (sayso, chat):
        number = await sayso.say("what is in it?")
        await eventually(lambda: any("secret #" in shown for shown in chat.told))
        held.set()
        await sayso.until(number, "succeeded")
        await eventually(lambda: any(shown.endswith("you sent.") for shown in chat.standing.values()))
        assert not any("kept" in shown for shown in [*chat.told, *chat.standing.values()])


# ---------------------------------------------------------------- what goes wrong


async def _answered(house: House, place: Conversation, task: int) -> None:
    await house.db.execute("update tasks set kind = 'plan', status = 'running' where id = $1", task)
    await house.db.execute(
        "update tasks set status = 'succeeded', finished_at = now(), result = $2 where id = $1", task, {"text": ANSWER}
    )
    await house.db.execute(
        "insert into outbox (conversation_id, kind, body) values ($1, 'text', $2)", place.id, {"task": task}
    )


async def _drafted(house: House, holder: str, ref: str | None) -> tuple[Conversation, int]:
    """A task in a Slack chat, whose draft a bot holds."""
    ann = await house.person("ann", "owner")
    task = await house.task(ann)
    number = await house.db.fetchval(
        "insert into conversations (channel, external_id, is_private) values ('slack', 'T1/D1', true) returning id"
    )
    await house.db.execute("delete from outbox")
    await house.db.execute("delete from cards")
    await house.db.execute("update tasks set conversation_id = $2, kind = 'plan' where id = $1", task, number)
    assert await drafts.hold(house.db, task, number, holder) is not None
    if ref is not None:
        await drafts.shown(house.db, task, number, holder, ref)
    return Conversation(number, "slack", "T1/D1", "", True), task


def _courier(house: House, chat: RecordingChat) -> Courier:
    return Courier(house.db, house.deps.settings.redis_address(), [chat], house.deps.masks())


async def test_the_answer_waits_while_its_draft_is_being_posted(house: House) -> None:
    place, task = await _drafted(house, "one", None)
    chat = DraftingChat("slack")
    await _answered(house, place, task)
    courier = _courier(house, chat)
    await courier.deliver()
    assert chat.standing == {}
    chat.standing["d1"] = "The logs"
    await drafts.shown(house.db, task, place.id, "one", "d1")

    async def delivered() -> bool:
        await courier.deliver()
        return chat.standing == {"d1": ANSWER}

    await eventually(delivered)
    assert await house.db.fetchval("select attempts from outbox where body ? 'task'") == 1, "waiting is no try"


async def test_no_draft_begins_after_the_task_is_over(house: House) -> None:
    place, task = await _drafted(house, "one", "d1")
    await _answered(house, place, task)
    assert await drafts.hold(house.db, task, place.id, "one") is None


async def test_an_answer_whose_end_was_lost_on_the_way_is_ended_again_in_place(house: House) -> None:
    place, task = await _drafted(house, "one", "d1")
    chat = DraftingChat("slack", standing={"d1": "The logs"}, lost=1)
    await _answered(house, place, task)
    courier = _courier(house, chat)

    async def is_sent() -> bool:
        await courier.deliver()
        return bool(await house.db.fetchval("select status = 'sent' from outbox where body ? 'task'"))

    await eventually(is_sent)
    assert chat.standing == {"d1": ANSWER}


async def test_an_answer_whose_draft_was_deleted_is_posted(house: House) -> None:
    place, task = await _drafted(house, "one", "d1")
    chat = DraftingChat("slack")
    await _answered(house, place, task)
    await _courier(house, chat).deliver()
    assert list(chat.standing.values()) == [ANSWER]


async def test_the_draft_of_a_bot_that_died_is_taken_back(house: House, redis_url: str) -> None:
    place, task = await _drafted(house, "dead", "d1")
    chat = DraftingChat("slack", standing={"d1": "The logs"})
    assert await drafts.hold(house.db, task, place.id, "other") is None, "a bot that may be alive keeps it"
    await house.db.execute("update drafts set lease_until = now() - interval '1 second', busy_until = null")
    listening = asyncio.create_task(Drafts(house.db, redis_url, [chat], str).run())
    await eventually(lambda: chat.standing == {})
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_a_draft_that_could_not_be_taken_back_is_taken_back_later(
    house: House, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "DRAFT_SILENCE_S", 0.05)
    monkeypatch.setattr(config, "SEND_TIMEOUT_S", 0.5)
    await _drafted(house, "dead", "d1")
    chat = DraftingChat("slack", standing={"d1": "The logs"}, refused=3)
    await house.db.execute("update drafts set lease_until = now() - interval '1 second', busy_until = null")
    listening = asyncio.create_task(Drafts(house.db, redis_url, [chat], str).run())
    await eventually(lambda: chat.standing == {})
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert chat.refused == 0, "two tries at a time, and then the next round"


# ---------------------------------------------------------------- the web


async def test_an_open_page_shows_what_is_written_to_those_who_may_see_it(
    db: Any, redis_url: str, tmp_path: Path
) -> None:
    async with open_house(db, tmp_path, redis_url=redis_url) as house, served(house.app) as address:
        ann, eve = await house.person("ann", "engineer"), await house.person("eve", "engineer")
        task = await house.task(ann)
        own = await house.task(eve)
        ring = Ring.open(redis_url)
        async with _page(house, ann, address) as anns, _page(house, eve, address) as eves:
            await eventually(lambda: _all_listen(ring._redis, 1))
            for of, text in ((task, "The logs\u202e take 3 GB"), (own, "Yours")):
                ring.draft({"task": of, "turn": 1, "text": text, "is_over": False})
            assert await _draft(anns) == {"task": str(task), "text": "The logs⟨U+202E⟩ take 3 GB"}
            assert await _draft(eves) == {"task": str(own), "text": "Yours"}
        await ring.close()


async def test_an_open_page_shows_nothing_more_to_who_may_not_see_it_any_longer(
    db: Any, redis_url: str, tmp_path: Path
) -> None:
    async with open_house(db, tmp_path, redis_url=redis_url) as house, served(house.app) as address:
        task, eve = await house.task(await house.person("ann", "engineer")), await house.person("eve", "owner")
        ring = Ring.open(redis_url)
        async with _page(house, eve, address) as eves:
            await eventually(lambda: _all_listen(ring._redis, 1))
            await _event(eves, "look")
            await db.execute("update principals set roles = '{}' where id = $1", eve.id)
            own = await house.task(eve)
            await _event(eves, "look")
            for of in (task, own):
                ring.draft({"task": of, "turn": 1, "text": "The logs take 3 GB", "is_over": False})
            assert (await _draft(eves))["task"] == str(own)
        await ring.close()


@asynccontextmanager
async def _page(house: House, person: people.Principal, address: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    cookies = {"sayso": await house.session(person)}
    async with (
        httpx.AsyncClient(base_url=address, cookies=cookies, timeout=PATIENCE_S) as client,
        client.stream("GET", "/live", params={"page": "/"}) as answer,
    ):
        assert answer.status_code == 200
        heard = frames(answer)
        assert await anext(heard) == {"comment": "hello"}, "it listens from now on"
        yield heard


async def _draft(page: AsyncIterator[dict[str, Any]]) -> Any:
    return await _event(page, "draft")


async def _event(page: AsyncIterator[dict[str, Any]], name: str) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        async for frame in page:
            if frame.get("event") == name:
                return frame["data"]
    raise AssertionError("the stream ended")


@needs_chromium
async def test_a_draft_stands_in_its_card_until_it_is_taken_back(db: Any, redis_url: str, tmp_path: Path) -> None:
    async with (
        open_house(db, tmp_path, redis_url=redis_url) as house,
        open_browser() as browser,
        visiting(house, browser) as visit,
    ):
        task = await house.task(visit.ann, goal="how big are the logs?")
        page = await visit.open()
        ring = Ring.open(redis_url)
        await eventually(lambda: _all_listen(ring._redis, 1))
        drafted = page.locator(f"#task-{task} > .is-draft")
        for text in ("The logs", "The logs <b>take</b>"):
            ring.draft({"task": task, "turn": 1, "text": text, "is_over": False})
            await expect(drafted).to_have_text(text)
        ring.draft({"task": task, "turn": 1, "text": "", "is_over": False})
        await expect(drafted).to_have_count(0)
        await ring.close()
