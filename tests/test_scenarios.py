"""Every story of tests/scenarios in every chat that it names, on a quiet day, and each leg under every kind of mishap.

So few stories are played under mishaps that each leg meets each of them; `SAYSO_SWEEP=all` plays every story in every chat
under every mishap.
"""

from __future__ import annotations

import ast
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from slack_sdk.web.async_client import AsyncWebClient
from telegram import Bot

from bot.slack.manifest import manifest
from bot.telegram.translate import ALLOWED_UPDATES
from tests.scenarios.mishaps import BY_ITSELF, EVERY, LEGS, NOT_IN_CHATS, Mishap, plan, runs
from tests.scenarios.player import Ending, play, stories
from tests.scenarios.stage import Stage, open_stage
from tests.sim.world import World

ROOT = Path(__file__).parent.parent
STORIES = {one.name: one for one in stories()}
PLAYED = [(one.name, chat) for one in STORIES.values() for chat in one.chats]
CHOSEN = list(runs())
IS_WHOLE = os.environ.get("SAYSO_SWEEP") == "all"
NAMED = {(leg.vendor, leg.way, leg.method) for leg in LEGS}


@pytest.fixture
async def stage(
    database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Stage]:
    given = request.node.callspec.params
    story, chat, mishap = given["story"], given["chat"], given.get("mishap")

    def furnish(world: World) -> None:
        if mishap is not None:
            plan(world, mishap, story, chat, at_start=True)

    over = STORIES[story].over
    async with open_stage(database_url, redis_url, tmp_path, monkeypatch, furnish, **over) as opened:
        yield opened


@pytest.mark.parametrize(("story", "chat"), [pytest.param(*one, id="-".join(one)) for one in PLAYED])
async def test_the_story_goes_as_it_is_written(stage: Stage, story: str, chat: str) -> None:
    assert await play(stage, STORIES[story], chat) == Ending()
    assert _unnamed(stage) == set()


@pytest.mark.parametrize(
    ("story", "chat", "mishap"),
    [
        pytest.param(*one, mishap, id=f"{'-'.join(one)}-{mishap.name.replace(' ', '-')}")
        for mishap in EVERY
        for one in PLAYED
        if IS_WHOLE or (*one, mishap) in CHOSEN
    ],
)
async def test_the_story_goes_the_same_way_whatever_one_line_does(
    stage: Stage, story: str, chat: str, mishap: Mishap
) -> None:
    assert await play(stage, STORIES[story], chat, mishap) == Ending()
    assert _unnamed(stage) == set()


def _unnamed(stage: Stage) -> set[tuple[str, str, str]]:
    """What passed between us and a vendor and is in no row of `LEGS`."""
    passed = {(one.vendor, one.direction, one.method) for one in stage.world.journal}
    return {one for one in passed if one[0] not in ("shop", "phone")} - NAMED


# ---------------------------------------------------------------- the table of legs is complete


def test_each_leg_is_met_by_a_story_that_is_played_in_its_chat() -> None:
    assert [leg for leg in LEGS if leg.place not in PLAYED] == []
    assert len(NAMED) == len(LEGS), "a leg that stands there twice would be spoiled twice"
    assert set(BY_ITSELF.values()) <= set(STORIES)
    for leg in LEGS:
        for mishap in EVERY:
            assert leg.kind(mishap) is None or (*leg.place, mishap) in CHOSEN


def test_each_method_that_the_bot_calls_in_slack_is_a_leg() -> None:
    names = {name for name in dir(AsyncWebClient) if "_" in name.strip("_")}
    called = {name.replace("_", ".") for name in _attributes("bot/slack") & names}
    assert "chat.postMessage" in called
    assert {one for one in called if ("slack", one) not in NOT_IN_CHATS} - _methods("slack", "in") == set()


def test_each_method_that_the_bot_calls_in_telegram_is_a_leg() -> None:
    by_attribute = {name: camel for name in dir(Bot) if hasattr(Bot, camel := _camel(name)) and camel != name}
    called = {by_attribute[name] for name in _attributes("bot/telegram") & set(by_attribute)}
    called |= {name for name in _strings("bot/telegram") if name in by_attribute.values() or name == "getUpdates"}
    assert {"sendMessage", "getUpdates"} <= called
    assert called - _methods("telegram", "in") == set()


def test_each_kind_of_delivery_that_we_ask_for_is_a_leg() -> None:
    asked = manifest("https://sayso.example.com")
    events = {name.partition(".")[0] for name in asked["settings"]["event_subscriptions"]["bot_events"]}
    commands = {one["command"] for one in asked["features"]["slash_commands"]}
    slack = events | commands | {"block_actions", "view_submission", "message_action"}
    assert slack == _methods("slack", "out")
    assert set(ALLOWED_UPDATES) == _methods("telegram", "out")


def _methods(vendor: str, way: str) -> set[str]:
    return {method for one, direction, method in NAMED if (one, direction) == (vendor, way)}


def _parsed(room: str) -> Iterator[ast.AST]:
    for path in (ROOT / room).glob("*.py"):
        yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def _attributes(room: str) -> set[str]:
    return {node.attr for node in _parsed(room) if isinstance(node, ast.Attribute)}


def _strings(room: str) -> set[str]:
    return {node.value for node in _parsed(room) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def _camel(name: str) -> str:
    first, *more = name.split("_")
    return first + "".join(word.title() for word in more)
