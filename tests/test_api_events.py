"""Event streams on a real server: live, replayed, honest about gaps, and only of what one may see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

from core.store import events, people, tasks
from core.store.events import Cursor
from core.store.people import Principal
from tests.patience import PATIENCE_S
from tests.web_house import House, served


async def frames(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Server-sent events as an EventSource reads them; comments come as {"comment": ...}."""
    event: dict[str, Any] = {}
    async for line in answer.aiter_lines():
        if line.startswith(":"):
            yield {"comment": line[1:].strip()}
        elif line == "":
            if "data" in event:
                yield event
            event = {}
        else:
            name, _, value = line.partition(": ")
            event[name] = json.loads(value) if name == "data" else value


class Reader:
    """A program that holds a stream open."""

    def __init__(self, address: str, token: str, path: str, last_id: str | None = None) -> None:
        headers = [("authorization", f"Bearer {token}".encode())]
        headers += [("last-event-id", last_id.encode())] if last_id else []
        self._client = httpx.AsyncClient(base_url=address, headers=headers, timeout=PATIENCE_S)
        self._path = path

    async def __aenter__(self) -> Reader:
        self._stream = self._client.stream("GET", self._path)
        self.answer = await self._stream.__aenter__()
        self._frames = frames(self.answer)
        assert (await self.next(comments=True)) == {"comment": "hello"}
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stream.__aexit__(None, None, None)
        await self._client.aclose()

    async def next(self, *, comments: bool = False) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            async for frame in self._frames:
                if comments or "comment" not in frame:
                    return frame
        raise AssertionError("the stream ended")

    async def until(self, to: str) -> list[dict[str, Any]]:
        """Everything up to the event by which a task reaches a state."""
        seen = []
        while True:
            seen.append(await self.next())
            if seen[-1]["data"].get("machine") == "task" and seen[-1]["data"]["to"] == to:
                return seen


async def settled(house: House) -> Cursor:
    """The newest event, once no transaction elsewhere on the server holds it back."""
    last = await house.db.fetchval("select count(*) from events")
    async with asyncio.timeout(PATIENCE_S):
        while len(await events.since(house.db, Cursor(), limit=10_000)) < last:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return await events.newest(house.db)


async def token(house: House, person: Principal) -> str:
    return await people.make_token(house.db, person.id, "api", None)


async def test_a_tasks_stream_tells_its_history_and_then_what_happens(house: House) -> None:
    ann = await house.person("ann", "owner")
    task, other = await house.task(ann), await house.task(ann)
    async with (
        served(house.app) as address,
        Reader(address, await token(house, ann), f"/api/tasks/{task}/events") as reader,
    ):
        assert reader.answer.headers["content-type"].startswith("text/event-stream")
        await reader.until("running")
        await tasks.cancel(house.db, other, "person:ann", "")
        await tasks.cancel(house.db, task, "person:ann", "enough")
        seen = await reader.until("cancelled")
    assert {frame["data"]["task_id"] for frame in seen} == {str(task)}
    assert seen[-1]["data"]["actor"] == "person:ann"


async def test_a_reader_that_comes_back_gets_exactly_what_it_missed(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await house.task(ann)
    mine = await token(house, ann)
    async with served(house.app) as address:
        async with Reader(address, mine, "/api/events", "0-0") as reader:
            before = await reader.until("running")
        await tasks.cancel(house.db, task, "person:ann", "")
        async with Reader(address, mine, "/api/events", before[-1]["id"]) as reader:
            after = await reader.until("cancelled")
    everything = await events.of_task(house.db, task)
    assert [f["id"] for f in before + after] == [e["cursor"] for e in everything]


async def test_without_a_last_event_id_the_stream_of_all_begins_now(house: House) -> None:
    ann = await house.person("ann", "owner")
    old = await house.task(ann)
    await settled(house)
    async with served(house.app) as address, Reader(address, await token(house, ann), "/api/events") as reader:
        new = await house.task(ann)
        seen = await reader.until("running")
    assert {frame["data"]["task_id"] for frame in seen} == {str(new)}
    assert str(old) not in {frame["data"]["task_id"] for frame in seen}


async def test_a_gap_is_said(house: House) -> None:
    ann = await house.person("ann", "owner")
    await house.task(ann)
    mine = await token(house, ann)
    newest = str(await settled(house))
    async with served(house.app) as address:
        for last_id in ("1-1", "nonsense", "99999999999999999999999-1", "²-1", "-", "1-"):
            async with Reader(address, mine, "/api/events", last_id) as reader:
                frame = await reader.next()
                assert (frame["event"], frame["id"]) == ("reset", newest)
                assert frame["data"]["why"]


async def test_a_stream_holds_only_events_of_visible_tasks(house: House) -> None:
    ann, bob = await house.person("ann", "owner"), await house.person("bob", "engineer")
    hers = await house.task(ann)
    async with served(house.app) as address:
        async with Reader(address, await token(house, bob), "/api/events", "0-0") as reader:
            await house.task(ann)
            his = await house.task(bob)
            seen = await reader.until("running")
        refused = await house.client(headers={"authorization": f"Bearer {await token(house, bob)}"}).get(
            f"/api/tasks/{hers}/events"
        )
    assert {frame["data"]["task_id"] for frame in seen} == {str(his)}
    assert refused.status_code == 404


async def test_an_idle_stream_beats_and_ends_when_its_person_leaves(house: House) -> None:
    ann = await house.person("ann", "owner")
    house.app.state.hub.heartbeat_s = 0.05
    async with served(house.app) as address, Reader(address, await token(house, ann), "/api/events") as reader:
        assert (await reader.next(comments=True)) == {"comment": "still here"}
        await people.sync(house.db, [])
        async with asyncio.timeout(PATIENCE_S):
            async for frame in reader._frames:
                assert frame == {"comment": "still here"}


async def test_a_stream_that_is_never_idle_ends_when_its_person_leaves_too(house: House) -> None:
    ann, hub = await house.person("ann", "owner"), house.app.state.hub

    async def keep_busy() -> None:
        while True:
            hub._wake()
            await asyncio.sleep(0.01)

    async with served(house.app) as address, Reader(address, await token(house, ann), "/api/events") as reader:
        hub.heartbeat_s = 0.5
        busy = asyncio.create_task(keep_busy())
        await people.sync(house.db, [])
        async with asyncio.timeout(PATIENCE_S):
            assert [frame async for frame in reader._frames if "comment" not in frame] == []
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)


async def test_many_pages_of_missed_events_arrive_in_order_and_once(house: House) -> None:
    ann = await house.person("ann", "owner")
    made = [await house.task(ann) for _ in range(120)]
    for task in made:
        for hand in (tasks.pause, tasks.resume) * 2:
            await hand(house.db, task, "person:ann")
    total = await house.db.fetchval("select count(*) from events")
    assert total > 500
    async with served(house.app) as address, Reader(address, await token(house, ann), "/api/events", "0-0") as reader:
        seen = [(await reader.next())["id"] for _ in range(total)]
    cursors = [Cursor.parse(i) or Cursor() for i in seen]
    assert cursors == sorted(set(cursors))
    assert len(cursors) == total
