"""Skills that break where nobody expects it, under a real worker: the task ends with words, and the worker goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.test_whole_way import Sayso, running

SKILLS = '''
from typing import Annotated, Any

from worker.skills import Control, Permission, SkillContext, skill


@skill(permissions=[(Permission.SEND, "people:{to}")], card="Shout at {to}")
async def shout(ctx: SkillContext, to: Annotated[str, Control]) -> dict[str, Any]:
    """Shout at somebody."""
    return {"summary": "shouted"}


@shout.preview
async def preview(ctx: SkillContext, to: str) -> str:
    raise KeyError("to")


@skill(permissions=[(Permission.READ, "people:{to}")], effect="pure", card="Look at {to}")
async def nul(ctx: SkillContext, to: Annotated[str, Control]) -> dict[str, Any]:
    """Answer what no database can hold."""
    return {"summary": "a\\x00b", "list": ["\\ud800"], "k\\x00": 1}


@skill(permissions=[(Permission.READ, "people:{to}")], effect="pure", card="Look at {to}")
async def nul_error(ctx: SkillContext, to: Annotated[str, Control]) -> dict[str, Any]:
    """Break with words that no database can hold."""
    raise RuntimeError("a\\x00b")


@skill(permissions=[(Permission.READ, "people:{to}")], effect="pure", card="Look at {to}")
async def look(ctx: SkillContext, to: Annotated[str, Control]) -> dict[str, Any]:
    """Look at something."""
    return {"summary": "seen"}
'''
RULES = """
people:
  ann: {name: Ann, roles: [owner], identities: {slack: T0ACME/U01ALICE, telegram: "1001"}}
policy:
  rules:
    - {name: private, skill: odd.look, then: ask}
"""


@pytest.fixture
async def odd(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Sayso]:
    (tmp_path / "skills").mkdir()
    (tmp_path / "skills" / "odd.py").write_text(SKILLS, encoding="utf-8")
    async with running(database_url, redis_url, tmp_path, RULES) as opened:
        yield opened


async def test_a_preview_that_breaks_fails_its_step_and_asks_nobody(odd: Sayso) -> None:
    number = await odd.say("do odd.shout to=bob")
    done = await odd.until(number, "failed")
    assert "KeyError" in done["error"]
    assert await odd.deps.db.fetchval("select count(*) from approvals") == 0


async def test_a_result_that_no_database_can_hold_is_kept_without_what_it_cannot_hold(odd: Sayso) -> None:
    done = await odd.until(await odd.say("do odd.nul to=bob"), "succeeded")
    assert done["result"] == {"summary": "ab", "list": ["?"], "k": 1}


async def test_an_error_that_no_database_can_hold_still_ends_the_task(odd: Sayso) -> None:
    done = await odd.until(await odd.say("do odd.nul_error to=bob"), "failed")
    assert "ab" in done["error"]


async def test_a_yes_for_something_that_only_reads_is_used_up_too(odd: Sayso) -> None:
    number = await odd.say("do odd.look to=bob")
    approval = await odd.approval_of(number)
    await odd.press(approval["id"], "approve")
    await odd.until(number, "succeeded")
    assert await odd.deps.db.fetchval("select status from approvals") == "consumed"
