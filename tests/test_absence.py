"""What somebody who comes back is told: only what is theirs, once, bounded, in private, the same on the API."""

from __future__ import annotations

import itertools

import pytest

from core import config, intake
from core.commands import Digest, PlainText, Wrong, parse
from core.models import Channel, Identity, Inbound, Place, Received
from core.store.people import Principal
from tests.web_house import House

NUMBERS = itertools.count(1)


async def say(house: House, person: Principal, text: str, place: Place | None = None) -> list[str]:
    """What Sayso says to it, in that place."""
    place = place or Place(channel=Channel.WEB, external_id=person.key, private=True)
    await house.db.execute(
        "insert into identities (channel, external_id, principal_id) values ('web', $1, $2) on conflict do nothing",
        person.key, person.id,
    )  # fmt: skip
    before = await house.db.fetchval("select coalesce(max(id), 0) from outbox")
    received = await intake.receive(
        house.deps,
        Inbound(
            channel=Channel.WEB, delivery_id=f"d{next(NUMBERS)}", place=place, text=text,
            sender=Identity(channel=Channel.WEB, external_id=person.key),
        ),
    )  # fmt: skip
    assert isinstance(received, Received)
    rows = await house.db.fetch(
        "select body ->> 'text' as said from outbox where id > $1 and kind = 'text' order by id", before
    )
    return [row["said"] for row in rows]


async def hours_pass(house: House, hours: float) -> None:
    """Everything so far was that much earlier."""
    await house.db.execute("update inbound set received_at = received_at - make_interval(secs => $1)", hours * 3600)


async def end(house: House, task: int, status: str) -> None:
    await house.db.execute("update tasks set status = 'running' where id = $1 and status = 'queued'", task)
    await house.db.execute("update tasks set status = $2, finished_at = now() where id = $1", task, status)


async def test_who_comes_back_is_told_once_what_happened_to_what_is_theirs(house: House) -> None:
    ann, bob = await house.person("ann", "owner", name="Ann"), await house.person("bob", "engineer")
    await say(house, ann, "tasks")
    await say(house, bob, "tasks")
    await hours_pass(house, 9)
    done = await house.task(ann, goal="tidy\u202e the logs")
    await end(house, done, "failed")
    bobs, approval = await house.ask(bob)
    other = await house.task(bob, goal="Bob's own")
    await end(house, other, "failed")
    digest, answer = await say(house, ann, "tasks")
    assert digest.splitlines()[0].startswith("While you were away (since ")
    assert digest.splitlines()[1:] == [
        "Waiting for your decision:",
        f"  {bobs}: Delete old.log from the workspace, asked by bob",
        "Finished:",
        f"  {done}: tidy⟨U+202E⟩ the logs (failed)",
    ]
    assert "While you were away" not in answer
    assert len(await say(house, ann, "tasks")) == 1, "once"
    await house.db.execute(
        "update approvals set status = 'denied', decided_by = $2, decided_at = now() where id = $1", approval, ann.id
    )
    [told, _] = await say(house, bob, "tasks")
    assert f"  {bobs}: Delete old.log from the workspace: denied by Ann" in told.splitlines()
    assert "tidy" not in told, "Ann's tasks are not Bob's"


async def test_nothing_is_said_where_others_read_or_when_nothing_happened(house: House) -> None:
    ann = await house.person("ann", "owner")
    shared = Place(channel=Channel.WEB, external_id="room")
    await say(house, ann, "tasks")
    await hours_pass(house, 9)
    assert len(await say(house, ann, "tasks")) == 1, "nothing happened"
    await hours_pass(house, 9)
    await end(house, await house.task(ann), "failed")
    assert len(await say(house, ann, "tasks", shared)) == 1
    assert await say(house, ann, "digest", shared) == [
        "Others read this conversation. Say digest in a direct message to me."
    ]


async def test_a_digest_can_be_asked_for_and_is_bounded(house: House) -> None:
    ann = await house.person("ann", "owner")
    await say(house, ann, "tasks")
    assert (await say(house, ann, "What did I miss?"))[0].startswith("Nothing happened to what is yours since ")
    for _ in range(config.MISSED_LISTED + 2):
        await end(house, await house.task(ann, goal="x" * 300), "failed")
    [said] = await say(house, ann, "digest 1h")
    assert len(said.splitlines()) == config.MISSED_LISTED + 3
    assert said.splitlines()[-1].startswith("  … and 2 more: ")
    assert len(said) < 1200


async def test_the_api_and_the_page_answer_the_same(house: House) -> None:
    ann, eve = await house.person("ann", "engineer"), await house.person("eve", "engineer")
    task = await house.task(ann)
    await end(house, task, "failed")
    mine = (await (await house.api(ann)).get("/api/digest")).json()
    assert [item["task_id"] for item in mine["finished"]["items"]] == [str(task)]
    page = (await (await house.browser(ann)).get("/digest")).text
    assert f"{task}: do files.list (failed)" in page
    assert 'href="/digest"' in (await (await house.browser(ann)).get("/inbox")).text
    assert (mine["finished"]["total"], mine["waiting"]["total"], mine["usd"]) == (1, 0, 0)
    theirs = (await (await house.api(eve)).get("/api/digest", params={"within_s": 60})).json()
    assert theirs["finished"] == {"total": 0, "items": []}
    assert (await (await house.api(eve)).get("/api/digest", params={"within_s": 0})).status_code == 422


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("digest", Digest(None)),
        ("/digest", Digest(None)),
        ("What did I miss?", Digest(None)),
        ("digest 2d", Digest(2 * 86400)),
        ("digest of that article", PlainText("digest of that article")),
        ("what did I miss in the meeting", PlainText("what did I miss in the meeting")),
        ("digest 400d", Wrong("A digest goes back 30 days at most. Say: digest 2d")),
    ],
)
def test_the_words_for_it(text: str, means: object) -> None:
    assert parse(text, {}, ()) == means
