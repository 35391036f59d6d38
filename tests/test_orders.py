"""Orders that share a commit come to exactly what each would come to alone, and what is not so plain goes its own way."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from core import config, intake
from core.models import Attached, Channel, Duplicate, Identity, Inbound, Place, Received
from core.orders import may_be_order
from core.store import skills
from core.store.people import Principal
from tests.web_house import MANIFESTS, House

ORDER = "do files.list pattern=*.log"
ROWS = {
    "inbound": "select channel, kind, principal_id, conversation_id, body, foreign_text, message_ref, task_id from inbound",
    "tasks": "select * from tasks",
    "steps": "select * from steps",
    "cards": "select * from cards",
    "outbox": "select * from outbox",
    "events": "select task_id, machine, from_state, to_state, version, actor, why from events order by id",
}
OF_ITS_OWN = (
    "id", "inbound_id", "task_id", "card_id", "created_at", "updated_at", "ready_at", "next_at", "added_after",
)  # fmt: skip


def said(person: Principal, delivery: str, text: str = ORDER, **more: Any) -> Inbound:
    return Inbound(
        channel=Channel.WEB, delivery_id=delivery, sender=Identity(channel=Channel.WEB, external_id=person.key),
        place=Place(channel=Channel.WEB, external_id=person.key, private=True), text=text, **more,
    )  # fmt: skip


def ann_in_a_place_with_another_name(ann: Principal) -> Place:
    return Place(channel=Channel.WEB, external_id=ann.key, private=True, title="renamed")


async def known(house: House, key: str = "ann") -> Principal:
    """Somebody who has written before."""
    person = await house.person(key, "owner")
    await house.db.execute(
        "insert into identities (channel, external_id, principal_id) values ('web', $1, $2) on conflict do nothing",
        key, person.id,
    )  # fmt: skip
    assert isinstance(await intake.receive(house.deps, said(person, f"first of {key}", "tasks")), Received)
    return person


async def commits(house: House) -> int:
    """How many transactions have written the messages."""
    return int(await house.db.fetchval("select count(distinct xmin::text) from inbound where body like 'do %'"))


async def written(house: House) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [{k: v for k, v in dict(row).items() if k not in OF_ITS_OWN} for row in await house.db.fetch(query)]
        for name, query in ROWS.items()
    }


async def test_the_quick_way_writes_what_the_ordinary_way_writes(house: House) -> None:
    ann = await known(house)
    orders, organisation = house.deps.orders, house.deps.organisation
    more = {"foreign": ("a quote",), "message_ref": "17.1"}
    at_first = await written(house)
    quick = await orders.take(house.db, organisation, said(ann, "d1", **more))
    assert isinstance(quick, Received) and quick.kind == "task"
    then = await written(house)
    unlike = said(ann, "d2", **more).model_copy(update={"place": ann_in_a_place_with_another_name(ann)})
    assert await orders.take(house.db, organisation, unlike) is None
    assert isinstance(await intake.receive(house.deps, unlike), Received)
    in_the_end = await written(house)
    for name in ROWS:
        ordinary = in_the_end[name][len(then[name]) :]
        assert ordinary == then[name][len(at_first[name]) :] != [], name


async def test_orders_that_come_together_share_commits_and_repeated_ones_are_taken_once(house: House) -> None:
    people = [await known(house, f"p{n}") for n in range(4)]
    await intake.receive(house.deps, said(people[0], "before", "do files.list pattern=before"))  # the skills are read
    messages = [said(people[n % 4], f"d{n}") for n in range(40)]
    came = await asyncio.gather(*(intake.receive(house.deps, one) for one in [*messages, *messages[:10]]))
    tasks = [one.task_id for one in came if isinstance(one, Received)]
    again = [one.task_id for one in came if isinstance(one, Duplicate)]
    assert len(tasks) == len(set(tasks)) == 40 and len(again) == 10
    assert set(again) <= set(tasks)
    assert await house.db.fetchval("select count(*) from tasks") == 41
    assert await commits(house) <= config.ORDERS_WRITING_MOST + 3
    owners = await house.db.fetch(
        "select i.body, i.principal_id = t.requester_id as is_own, i.delivery_id from inbound i join tasks t on t.id = i.task_id"
        " where i.delivery_id <> 'before'"
    )
    assert len(owners) == 40 and all(row["is_own"] for row in owners)


async def test_one_order_that_cannot_be_written_spoils_no_other(house: House) -> None:
    ann = await known(house)
    messages = [said(ann, f"d{n}", ORDER if n != 5 else f"{ORDER}\0") for n in range(8)]
    came = await asyncio.gather(*(intake.receive(house.deps, one) for one in messages), return_exceptions=True)
    assert isinstance(came[5], asyncpg.DataError)
    assert [one.kind for one in came if isinstance(one, Received)] == ["task"] * 7


async def test_what_the_database_finds_less_plain_goes_the_ordinary_way(house: House) -> None:
    ann = await known(house)
    stranger = said(ann, "s1").model_copy(update={"sender": Identity(channel=Channel.WEB, external_id="nobody")})
    greeted = await intake.receive(house.deps, stranger)
    assert isinstance(greeted, Received) and greeted.kind == "pairing"

    loose = said(ann, "f1", "", attached=(Attached(name="a.txt", content=b"a", mime="text/plain"),))
    assert isinstance(await intake.receive(house.deps, loose), Received)
    received = await intake.receive(house.deps, said(ann, "o1"))
    assert isinstance(received, Received)
    assert await house.db.fetchval("select task_id from attachments") == received.task_id, "its file is handed over"

    task = await house.task(ann, goal="tidy up")
    await house.db.execute("update tasks set status = 'running' where id = $1 and status = 'queued'", task)
    await house.db.execute("update tasks set status = 'failed', finished_at = now() where id = $1", task)
    await house.db.execute("update inbound set received_at = received_at - interval '9 hours'")
    assert isinstance(await intake.receive(house.deps, said(ann, "o2")), Received)
    assert await house.db.fetchval("select count(*) from outbox where body ->> 'text' like 'While you were away%'") == 1


async def test_orders_are_read_by_the_skills_that_are_published_now(house: House) -> None:
    ann = await known(house)
    assert isinstance(await intake.receive(house.deps, said(ann, "d1")), Received)
    newer = [one.model_copy(update={"timeout_s": 77.0}) for one in MANIFESTS]
    await skills.publish(house.db, newer)
    received = await intake.receive(house.deps, said(ann, "d2"))
    assert isinstance(received, Received)
    assert await house.db.fetchval("select timeout_s from steps where task_id = $1", received.task_id) == 77.0


async def test_whoever_stops_waiting_for_an_order_takes_no_other_with_them(house: House) -> None:
    ann = await known(house)
    asked = [asyncio.create_task(intake.receive(house.deps, said(ann, f"d{n}"))) for n in range(6)]
    await asyncio.sleep(0)
    asked[0].cancel()
    asked[3].cancel()
    came = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for n, one in enumerate(came) if n not in (0, 3)] == [Received] * 4
    # What was given up may be committed or not; delivered again, it is there once.
    again = [await intake.receive(house.deps, said(ann, f"d{n}")) for n in range(6)]
    assert len({one.task_id for one in again}) == 6
    assert await house.db.fetchval("select count(*) from tasks") == 6


@pytest.mark.parametrize(
    ("text", "more", "may_be"),
    [
        ("do x.y", {}, True),
        ("/RUN tidy", {}, True),
        ("plan first: do x.y", {}, True),
        ("stop 12", {}, False),
        ("", {}, False),
        ("do x.y", {"addressed": False}, False),
        ("do x.y", {"attached": (Attached(name="a"),)}, False),
        ("do x.y", {"channel": Channel.HOOK}, False),
        ("do " + "x" * config.INBOUND_CHARS, {}, False),
    ],
)
def test_only_typed_orders_to_us_may_go_the_quick_way(text: str, more: dict[str, Any], may_be: bool) -> None:
    message = said(Principal(1, "ann", "Ann", (), False), "d", text).model_copy(update=more)
    assert may_be_order(message) is may_be
