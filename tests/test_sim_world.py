"""The world behind all wire formats: one journal, one clock, one vocabulary of faults on every leg, the same verbs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.patience import PATIENCE_S
from tests.sim import line
from tests.sim.faults import (
    DISCONNECT,
    DONE_BUT_ANSWER_LOST,
    DROP_BEFORE,
    DUPLICATE,
    REORDER,
    Kind,
    delay,
    status,
)
from tests.sim.people import Human
from tests.sim.world import World

PATHS = {"/slack/events": "slack", "/telegram/webhook": "telegram", "/twilio/sms": "sms"}


class App:
    """An app that takes everything and writes down in which order, with the headers."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, str]] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.text()
        self.taken.append((PATHS[request.path], body, request.headers.get("X-Slack-Retry-Num", "")))
        return web.Response(text="<Response/>" if request.path == "/twilio/sms" else "")

    async def took(self, count: int) -> list[tuple[str, str, str]]:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.taken) < count:  # noqa: ASYNC110  (what the vendor does of its own accord has no event)
                await asyncio.sleep(0.01)
        return self.taken


@pytest.fixture
async def app() -> AsyncIterator[App]:
    made = App()
    server = web.Application()
    for path in PATHS:
        server.router.add_post(path, made.take)
    runner = web.AppRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def world(app: App) -> AsyncIterator[World]:
    async with World(app.url) as opened:
        yield opened


@pytest.fixture
def ann(world: World) -> Human:
    return world.person("ann", "Ann", "U01ANN", 1001, "+15550002222")


DELIVERED = {"slack": "message", "telegram": "message", "sms": "inbound"}
VENDOR: dict[str, Any] = {"slack": "slack", "telegram": "telegram", "sms": "twilio"}


@pytest.mark.parametrize("chat", DELIVERED)
@pytest.mark.parametrize(
    ("kind", "acked", "arrives"),
    [
        (status(503), False, 0),
        (DROP_BEFORE, False, 0),
        (DONE_BUT_ANSWER_LOST, False, 1),
        (DISCONNECT, False, 0),
        (DUPLICATE, True, 2),
        (delay(0.01), True, 1),
    ],
    ids=str,
)
async def test_a_delivery_goes_wrong_as_planned_in_every_chat(
    world: World, app: App, ann: Human, chat: Any, kind: Kind, acked: bool, arrives: int
) -> None:
    world.slack.redelivers = world.telegram.redelivers = False
    world.plan(VENDOR[chat], DELIVERED[chat], kind, "out")
    said = await ann.say("hello", chat)
    assert said.acked is acked
    assert [one[0] for one in app.taken] == [chat] * arrives
    assert (await ann.say("again", chat)).acked, "only so many as were planned"


@pytest.mark.parametrize("chat", DELIVERED)
async def test_a_delivery_is_overtaken_by_the_next(
    world: World, app: App, ann: Human, chat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "OVERTAKEN_WITHIN_S", PATIENCE_S)
    world.plan(VENDOR[chat], DELIVERED[chat], REORDER, "out")
    await ann.say("first", chat)
    await ann.say("second", chat)
    second, first = await app.took(2)
    assert "second" in second[1]
    assert "first" in first[1]


async def test_slack_delivers_again_at_once_and_then_when_a_minute_and_five_have_passed(
    world: World, app: App, ann: Human
) -> None:
    world.plan("slack", "message", DONE_BUT_ANSWER_LOST, "out", times=3)
    assert not (await ann.say("hello")).acked
    await app.took(2)
    await world.clock.step(60)
    await app.took(3)
    await world.clock.step(299)
    await asyncio.sleep(0.05)
    assert len(app.taken) == 3, "not before its time"
    await world.clock.step(1)
    assert [number for _, _, number in await app.took(4)] == ["", "1", "2", "3"]
    assert len({body for _, body, _ in app.taken}) == 1, "the same event each time"


async def test_telegram_pushes_again_until_the_webhook_has_taken_it(world: World, app: App, ann: Human) -> None:
    world.plan("telegram", "message", status(502), "out", times=2)
    assert not (await ann.say("hello", "telegram")).acked
    await app.took(1)
    assert world.telegram.world.pending == []


CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "slack": ("chat.postMessage", "/api/chat.postMessage", {"channel": "D01ANN", "text": "hello"}),
    "telegram": ("sendMessage", "/bot{token}/sendMessage", {"chat_id": 1001, "text": "hello"}),
}


@pytest.mark.parametrize("chat", CALLS)
@pytest.mark.parametrize(
    ("kind", "shown"),
    [(status(429, 1), 0), (DROP_BEFORE, 0), (DONE_BUT_ANSWER_LOST, 1), (DISCONNECT, 1), (delay(0.01), 1)],
    ids=str,
)
async def test_a_call_goes_wrong_as_planned_at_every_vendor(
    world: World, ann: Human, chat: Any, kind: Kind, shown: int
) -> None:
    method, path, body = CALLS[chat]
    ann.sees(chat)
    world.plan(chat, method, kind)
    url = world.site.url + path.format(token=world.telegram.token)
    headers = {"Authorization": f"Bearer {world.slack.bot_token}"}
    async with aiohttp.ClientSession(headers=headers) as client:
        try:
            async with client.post(url, json=body) as answer:
                code, text = answer.status, await answer.text()
        except aiohttp.ClientError:
            code, text = 0, ""
    expected = {"status": 429, "delay": 200}.get(kind.name, 0)
    assert code == expected, text
    assert [seen.text for seen in ann.sees(chat)] == ["hello"] * shown


async def test_a_fault_that_nobody_met_fails_the_test() -> None:
    with pytest.raises(AssertionError, match=r"twilio: delivery of inbound: drop_before × 1"):
        async with World() as world:
            world.plan("twilio", "inbound", DROP_BEFORE, "out")


def test_what_the_app_calls_is_neither_doubled_nor_overtaken() -> None:
    with pytest.raises(AssertionError, match="duplicate happens to deliveries only"):
        World().plan("slack", "chat.update", DUPLICATE)


async def test_everything_of_all_vendors_stands_in_one_journal_in_its_order(world: World, ann: Human) -> None:
    await ann.say("one")
    await ann.say("two", "telegram")
    await ann.sms("three")
    await world.clock.step(3600)
    await ann.say("four")
    assert [entry.vendor for entry in world.journal] == ["slack", "telegram", "twilio", "slack"]
    assert world.journal.entries[-1].at - world.journal.entries[0].at >= 3600, "the journal's clock is the world's"


async def test_a_trigger_is_good_for_three_seconds_of_the_world_s_clock(world: World, ann: Human) -> None:
    trigger = world.slack.world.trigger("U01ANN")
    await world.clock.step(4)
    said = {"type": "section", "text": {"type": "plain_text", "text": "Why?"}}
    view = {"type": "modal", "title": {"type": "plain_text", "text": "Why"}, "blocks": [said]}
    headers = {"Authorization": f"Bearer {world.slack.bot_token}"}
    async with aiohttp.ClientSession(headers=headers) as client:
        call = {"trigger_id": trigger, "view": view}
        async with client.post(f"{world.slack.api_url}views.open", json=call) as answer:
            assert (await answer.json())["error"] == "expired_trigger_id"
