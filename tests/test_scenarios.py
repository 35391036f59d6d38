"""Every story of tests/scenarios in every chat that it names, on a quiet day and under every kind of mishap."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.scenarios.mishaps import EVERY, Mishap
from tests.scenarios.player import Ending, Story, play, stories
from tests.scenarios.stage import Stage, open_stage

STORIES = stories()


@pytest.fixture
async def stage(
    database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, story: Story
) -> AsyncIterator[Stage]:
    async with open_stage(database_url, redis_url, tmp_path, monkeypatch, **story.over) as opened:
        yield opened


@pytest.mark.parametrize(
    ("story", "chat"), [pytest.param(one, chat, id=f"{one.name}-{chat}") for one in STORIES for chat in one.chats]
)
async def test_the_story_goes_as_it_is_written(stage: Stage, story: Story, chat: str) -> None:
    assert await play(stage, story, chat) == Ending()


@pytest.mark.parametrize("mishap", EVERY, ids=lambda one: one.name.replace(" ", "-"))
@pytest.mark.parametrize(
    ("story", "chat"),
    [pytest.param(one, chat, id=f"{one.name}-{chat}") for one in STORIES for chat in one.mishaps],
)
async def test_the_story_goes_the_same_way_whatever_one_line_does(
    stage: Stage, story: Story, chat: str, mishap: Mishap
) -> None:
    assert await play(stage, story, chat, mishap) == Ending()
