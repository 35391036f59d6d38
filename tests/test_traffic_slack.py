"""A burst of signed Slack events, some of them delivered twice at the same moment: each is taken, and taken once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench.traffic import PEOPLE, events
from core.db import Pool
from core.store import people
from core.store.people import Wanted
from tests.slack_house import open_slack_house

EVENTS = 120
TWICE_EVERY = 4
TOGETHER = 30


async def test_every_event_of_a_burst_is_committed_once_before_it_is_acknowledged(db: Pool, tmp_path: Path) -> None:
    async with open_slack_house(db, tmp_path, "http") as slack:
        speakers = [
            Wanted(f"p{n}", f"P{n}", ("owner",), False, (("slack", f"T0ACME/U{n:05d}"),)) for n in range(PEOPLE)
        ]
        await people.sync(db, speakers)
        bodies = events(EVENTS)
        left = [body for n, body in enumerate(bodies) for _ in range(2 if n % TWICE_EVERY == 0 else 1)]
        while left:  # what was not answered in Slack's three seconds is delivered again
            answers = await asyncio.gather(*(slack.sim.http.post(body) for body in left[:TOGETHER]))
            assert {status for status, _, _ in answers} <= {200, 0}
            missed = [body for body, (status, _, _) in zip(left[:TOGETHER], answers, strict=True) if status == 0]
            left = missed + left[TOGETHER:]
        assert await slack.count("tasks") == EVENTS
        assert await db.fetchval("select count(distinct goal) from tasks") == EVENTS
