"""Who may decide, in rows that a founder can read, on four channels; and that each row is there for a reason.

Every row of tests/review_table.yaml is played on the web, in Slack, in Telegram and by SMS against a real database. Then the
rule that the row stands for is taken out (an exact piece of text of a SQL function or of a Python function is replaced, in
this test's own database and process only) and the row has to fail. A run plays each row on one channel and takes some of the
rules out, another day the others; `SAYSO_MUTANTS=all` does all of it, and `python -m tests.review_play` prints the table.
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.db import Pool
from tests.four_channels import CHANNELS, Four, open_four
from tests.mutants import mutated, text_of
from tests.review_play import Play
from tests.review_question import EVERYTHING, Row, rows

ROWS = rows()
SAMPLE = 8
TODAY = datetime.datetime.now(tz=datetime.UTC).toordinal()


@pytest.fixture
async def four(db: Pool, tmp_path: Path) -> AsyncIterator[Four]:
    async with open_four(db, tmp_path) as opened:
        yield opened


def chosen() -> list[Row]:
    """Whose rule is taken out in this run."""
    every = 1 if EVERYTHING else len(ROWS) // SAMPLE
    return [row for row in ROWS if row.number % every == TODAY % every]


def channels_of(row: Row) -> list[str]:
    """One of the four in a run, another the next day; what only phones can do is on phones too."""
    if EVERYTHING:
        return list(CHANNELS)
    found = CHANNELS[(row.number + TODAY) % len(CHANNELS)]
    if found not in row.only:
        found = row.only[0]
    return [found, "sms"] if row.is_about_phones and found != "sms" else [found]


async def test_every_row_is_so_on_its_channels(four: Four) -> None:
    wrong = {
        f"{row.number}: {row.says}": found for row in ROWS if (found := await Play(four, row, channels_of(row)).run())
    }
    assert wrong == {}


async def test_without_the_rule_that_it_stands_for_a_row_fails(four: Four) -> None:
    survived = []
    for row in chosen():
        async with mutated(four.db, row.kills["in"], row.kills["was"], row.kills["now"]):
            if not await Play(four, row).run():
                survived.append(f"{row.number}: {row.says} {row.kills}")
        assert await Play(four, row, channels_of(row)[:1]).run() == [], "the rule is back, and so is what the row says"
    assert survived == []


def test_each_row_stands_for_a_rule_of_its_own() -> None:
    assert len(ROWS) >= 100
    assert len({tuple(sorted(row.kills.items())) for row in ROWS}) == len(ROWS)
    assert len({row.says for row in ROWS}) == len(ROWS)
    assert len({row.story for row in ROWS}) == len(ROWS)


async def test_every_rule_that_a_row_stands_for_stands_where_the_row_says(db: Pool) -> None:
    """So that whoever moves a rule hears of its row at once, and not on the day when its turn comes."""
    standing = {row.number: (await text_of(db, row.kills["in"])).count(row.kills["was"]) for row in ROWS}
    assert {number: times for number, times in standing.items() if times != 1} == {}
