"""What people attach: fetched from the vendor, kept, given to its task, refused in words; by Slack and Telegram stand-ins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.attachments import Fetcher
from core import attachments, config
from core.db import Pool, transaction
from core.models import Attached, Channel, Identity, Inbound, Place
from core.plans import plan_step
from core.store import attachments as rows
from core.store import people, signals, steps, tasks
from tests.processes import until
from tests.sim import faults
from tests.sim.slack_files import SharedFile, clip
from tests.slack_house import SlackHouse, open_slack_house
from tests.telegram_town import Town, open_town
from tests.web_house import NOWHERE

CSV = b"name,amount\nann,3\n"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


@pytest.fixture
async def slack(db: Pool, tmp_path: Path) -> AsyncIterator[SlackHouse]:
    async with open_slack_house(db, tmp_path, "http", openai_base_url="http://127.0.0.1:9/v1") as opened:
        yield opened


@pytest.fixture
async def town(db: Pool, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(db, tmp_path, "webhook", openai_base_url="http://127.0.0.1:9/v1") as opened:
        yield opened


def fetcher(at: SlackHouse | Town) -> Fetcher:
    if isinstance(at, Town):
        assert at.adapter is not None
        return Fetcher(at.deps, NOWHERE, [at.adapter.files])
    return Fetcher(at.house.deps, NOWHERE, [at.adapter.files])


async def kept(db: Pool) -> list[dict[str, Any]]:
    return [dict(r) for r in await db.fetch("select * from attachments order by id")]


async def said(db: Pool) -> list[str]:
    found = await db.fetch("select body ->> 'text' as text from outbox where kind = 'text' order by id")
    return [r["text"] for r in found]


async def due_now(db: Pool) -> None:
    await db.execute("update attachments set due_at = now() where due_at is not null")


# ---------------------------------------------------------------- Slack


async def test_a_file_with_words_belongs_to_their_task_and_is_fetched_with_the_token(slack: SlackHouse) -> None:
    shared = await slack.ann.share(SharedFile("sales.csv", CSV, "text/csv"), text="sum this up")
    assert shared.acked
    [row] = await kept(slack.db)
    assert (row["state"], row["task_id"] is not None, row["name"]) == ("wanted", True, "sales.csv")
    assert await fetcher(slack).fetch() == 1
    [row] = await kept(slack.db)
    assert (row["state"], row["content"], row["due_at"]) == ("here", CSV, None)
    assert await fetcher(slack).fetch() == 0


async def test_what_is_attached_is_also_a_forks_and_a_fork_of_that_has_it_too(slack: SlackHouse) -> None:
    await slack.ann.share(SharedFile("sales.csv", CSV, "text/csv"), text="sum this up")
    [row] = await kept(slack.db)
    origin, ann = row["task_id"], await people.by_key(slack.db, "ann")
    assert ann is not None
    for _ in range(2):
        fork = await tasks.create(slack.db, requester=ann.id, goal="again", kind="plan", steps=[plan_step()], actor="")
        await slack.db.execute("update tasks set forked_from = $1 where id = $2", origin, fork)
        assert fork is not None
        assert [one.id for one in await rows.of_task(slack.db, fork)] == [row["id"]]
        origin = fork
    bob = await people.by_key(slack.db, "bob")
    assert bob is not None
    of_bob = await tasks.create(slack.db, requester=bob.id, goal="again", kind="plan", steps=[plan_step()], actor="")
    await slack.db.execute("update tasks set forked_from = $1 where id = $2", row["task_id"], of_bob)
    await slack.db.execute("update tasks set forked_from = $1 where id = $2", of_bob, origin)
    assert of_bob is not None
    assert [one.id for one in await rows.of_task(slack.db, of_bob)] == [row["id"]]
    assert await rows.of_task(slack.db, origin) == [], "Bob saw what is attached there, Ann may not"


async def test_the_same_delivery_again_attaches_nothing_twice(slack: SlackHouse) -> None:
    shared = await slack.ann.share(SharedFile("sales.csv", CSV, "text/csv"), text="sum this up")
    await slack.sim.redeliver(shared)
    assert len(await kept(slack.db)) == 1


async def test_a_stranger_and_people_who_do_not_mean_us_leave_no_file(slack: SlackHouse) -> None:
    stranger = slack.sim.user("U0MALLORY", "mallory")
    await stranger.share(SharedFile("a.csv", CSV, "text/csv"), text="sum this up")
    await slack.ann.share(SharedFile("b.csv", CSV, "text/csv"), text="look at this", channel="C0OPS")
    assert await kept(slack.db) == []


async def test_a_file_without_words_waits_for_them(slack: SlackHouse) -> None:
    await slack.ann.share(SharedFile("../../etc/pass\u202ewd.csv", CSV, "text/csv"))
    [told] = await said(slack.db)
    assert told == "I have passwd.csv. Tell me what to do with it."
    await fetcher(slack).fetch()
    await slack.ann.say("sum it up")
    [row] = await kept(slack.db)
    task = await slack.db.fetchval("select max(id) from tasks")
    assert (row["task_id"], row["state"]) == (task, "here")


async def test_files_that_arrive_while_their_turn_begins_to_wait_wake_it(slack: SlackHouse) -> None:
    await slack.ann.share(
        SharedFile("a.csv", CSV, "text/csv"), SharedFile("b.csv", CSV, "text/csv"), text="sum these up"
    )
    worker = await steps.enrol(slack.db, "host", 1, "test", 3600)
    [turn] = await steps.claim(slack.db, worker, "default", 5)
    async with transaction(slack.db) as tx:
        waits = signals.wait(tx, worker, turn, "files", seconds=60, within_s=600, key=rows.WAITS_KEY)
        assert await waits == "waiting"
        arriving = [
            asyncio.create_task(attachments.came(slack.house.deps, row["id"], CSV, "text/csv"))
            for row in await kept(slack.db)
        ]
        await asyncio.wait(arriving, timeout=0.3)
    await asyncio.gather(*arriving)
    assert await slack.db.fetchval("select status from steps") == "ready"


async def test_words_that_are_typed_do_not_take_a_recording_that_is_not_heard_yet(slack: SlackHouse) -> None:
    await slack.ann.share(clip(b"sound", {"status": "processing"}))
    await slack.ann.say("what time is it?")
    [row] = await kept(slack.db)
    assert row["task_id"] is None
    await attachments.heard(slack.house.deps, row["id"], "list the files")
    [row] = await kept(slack.db)
    goals = await slack.db.fetch("select id, goal from tasks order by id")
    assert [r["goal"] for r in goals] == ["what time is it?", "list the files"]
    assert row["task_id"] == goals[1]["id"]


async def test_what_was_sent_long_ago_is_not_given_to_a_task_of_today(slack: SlackHouse) -> None:
    await slack.ann.share(SharedFile("old.csv", CSV, "text/csv"))
    await slack.db.execute("update inbound set received_at = now() - interval '31 minutes'")
    await slack.ann.say("what is the time?")
    assert [row["task_id"] for row in await kept(slack.db)] == [None]


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (faults.LOGIN_PAGE, "files:read"),
        (faults.status(404), "gone from Slack"),
        (faults.status(403), "files:read"),
        (faults.status(302), "files:read"),
    ],
)
async def test_what_slack_will_not_give_is_said_and_ends_the_waiting(
    slack: SlackHouse, fault: faults.Kind, why: str
) -> None:
    await slack.ann.share(SharedFile("sales.csv", CSV, "text/csv"), text="sum this up")
    slack.sim.faults.add("download", 1, fault)
    await fetcher(slack).fetch()
    [row] = await kept(slack.db)
    assert (row["state"], row["content"]) == ("refused", None)
    [told] = await said(slack.db)
    assert told.startswith("I could not get sales.csv: ") and why in told
    assert await rows.awaited_s(slack.db, row["task_id"], 60) == 0
    assert slack.sim.faults.unmet() == []


@pytest.mark.parametrize("fault", [faults.CUT_SHORT, faults.status(503), faults.status(429)])
async def test_what_may_pass_is_tried_again(slack: SlackHouse, fault: faults.Kind) -> None:
    await slack.ann.share(SharedFile("sales.csv", CSV, "text/csv"), text="sum this up")
    slack.sim.faults.add("download", 1, fault)
    await fetcher(slack).fetch()
    [row] = await kept(slack.db)
    assert (row["state"], row["content"], row["tries"]) == ("wanted", None, 1)
    await due_now(slack.db)
    await fetcher(slack).fetch()
    assert (await kept(slack.db))[0]["content"] == CSV


async def test_tries_come_to_an_end(slack: SlackHouse) -> None:
    await slack.ann.share(SharedFile("sales.csv", CSV, "text/csv"), text="sum this up")
    slack.sim.faults.add("download", config.ATTACHMENT_TRIES, faults.status(500))
    for _ in range(config.ATTACHMENT_TRIES):
        await due_now(slack.db)
        await fetcher(slack).fetch()
    assert [row["state"] for row in await kept(slack.db)] == ["lost"]
    assert "HTTP 500" in (await said(slack.db))[0]


async def test_a_bot_that_died_while_fetching_is_followed_by_another(slack: SlackHouse) -> None:
    await slack.ann.share(SharedFile("sales.csv", CSV, "text/csv"), text="sum this up")
    assert len(await rows.claim(slack.db, "wanted", ["slack"])) == 1  # and then nothing more
    assert await fetcher(slack).fetch() == 0
    await due_now(slack.db)
    assert await fetcher(slack).fetch() == 1
    assert (await kept(slack.db))[0]["content"] == CSV


async def test_a_file_over_which_bots_die_is_given_up(slack: SlackHouse) -> None:
    await slack.ann.share(SharedFile("sales.csv", CSV, "text/csv"), text="sum this up")
    for _ in range(config.ATTACHMENT_TRIES):
        await due_now(slack.db)
        assert len(await rows.claim(slack.db, "wanted", ["slack"])) == 1
    await due_now(slack.db)
    await fetcher(slack).fetch()
    assert [(row["state"], row["due_at"]) for row in await kept(slack.db)] == [("lost", None)]
    assert "something went wrong here" in (await said(slack.db))[0]


async def test_two_bots_fetch_a_file_once(slack: SlackHouse) -> None:
    await slack.ann.share(SharedFile("sales.csv", CSV, "text/csv"), text="sum this up")
    assert sum(await asyncio.gather(fetcher(slack).fetch(), fetcher(slack).fetch())) == 1


async def test_too_large_is_refused_before_and_while_it_is_fetched(
    slack: SlackHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "ATTACHMENT_BYTES", 1_000)
    await slack.ann.share(SharedFile("big.bin", bytes(2_000)), text="look")
    # One that lies about its size.
    await slack.ann.share(SharedFile("liar.bin", bytes(200_000), more={"size": 10}), text="look")
    await fetcher(slack).fetch()
    assert [(row["state"], row["content"]) for row in await kept(slack.db)] == [("refused", None)] * 2
    assert all("larger than" in told for told in await said(slack.db))
    assert len([e for e in slack.sim.journal.entries if e.method == "download"]) == 1


async def test_the_token_goes_to_slack_only(slack: SlackHouse) -> None:
    elsewhere = {"url_private": "http://127.0.0.1:9/x", "url_private_download": "http://127.0.0.1:9/x"}
    await slack.ann.share(SharedFile("a.txt", b"x", more=elsewhere), text="look")
    await slack.ann.share(SharedFile("b.txt", b"x", more={"is_external": True}), text="look")
    await fetcher(slack).fetch()
    assert {row["state"] for row in await kept(slack.db)} == {"refused"}
    assert all("outside Slack" in told for told in await said(slack.db))


# ---------------------------------------------------------------- Telegram


async def test_a_document_and_a_photo_are_fetched_from_telegram(town: Town) -> None:
    ann = town.sim.user(1001)
    await ann.send("document", CSV, "sum this up", media={"file_name": "sales.csv", "mime_type": "text/csv"})
    await ann.send("photo", PNG, "what is this?")
    await fetcher(town).fetch()
    first, second = await kept(town.db)
    assert (first["name"], first["kind"], first["content"]) == ("sales.csv", "file", CSV)
    assert (second["kind"], second["mime"], second["content"]) == ("image", "image/png", PNG)
    assert None not in (first["task_id"], second["task_id"])


async def test_an_album_goes_where_its_words_went(town: Town) -> None:
    ann = town.sim.user(1001)
    album = {"media_group_id": "g1"}
    await ann.send("photo", PNG, "which is best?", extra=album)
    await ann.send("photo", PNG, extra=album)
    await ann.send("photo", PNG, extra=album)
    assert len({row["task_id"] for row in await kept(town.db)}) == 1
    assert (await kept(town.db))[0]["task_id"] is not None
    assert await said(town.db) == []


async def test_telegrams_answers_are_told_apart(town: Town) -> None:
    ann = town.sim.user(1001)
    town.sim.faults.add("download", 1, faults.CUT_SHORT)
    town.sim.faults.add("download", 1, faults.status(404))
    await ann.send("document", CSV, "one", media={"file_name": "a.csv"})
    await fetcher(town).fetch()
    await ann.send("document", CSV, "two", media={"file_name": "b.csv"})
    await fetcher(town).fetch()
    assert [row["state"] for row in await kept(town.db)] == ["wanted", "refused"]
    await due_now(town.db)
    await fetcher(town).fetch()
    assert [row["state"] for row in await kept(town.db)] == ["here", "refused"]
    assert town.sim.faults.unmet() == []


async def test_what_a_message_answers_comes_with_it(town: Town) -> None:
    ann = town.sim.user(1001)
    first = await ann.send("document", CSV, media={"file_name": "a.csv"}, extra={"forward_origin": None})
    await ann.say("sum this up", reply_to=first.message)
    names = [(row["name"], row["task_id"] is not None) for row in await kept(town.db)]
    assert names == [("a.csv", True), ("a.csv", True)]


# ---------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ann\\plan.doc", "plan.doc"),
        ("inv\u202egpj.exe", "invgpj.exe"),
        (".ssh", "ssh"),
        ("a\x00b\nc.txt", "ab c.txt"),
        ("", "file"),
        ("..", "file"),
        ("x" * 300 + ".csv", "x" * 76 + ".csv"),
    ],
)
def test_names_are_made_harmless(name: str, shown: str) -> None:
    assert attachments.clean_name(name, "file") == shown


def test_an_image_is_known_by_its_bytes() -> None:
    assert attachments.image_mime(PNG) == "image/png"
    assert attachments.image_mime(b"RIFF\x00\x00\x00\x00WEBPVP8 ") == "image/webp"
    assert attachments.image_mime(b"RIFF\x00\x00\x00\x00WAVEfmt ") is None
    assert attachments.image_mime(b"<svg xmlns=") is None


async def test_only_so_many_files_are_taken_from_one_message(town: Town) -> None:
    many = tuple(Attached(ref=f"f{i}", name=f"{i}.txt") for i in range(12))
    inbound = Inbound(
        channel=Channel.TELEGRAM,
        delivery_id="update:1",
        sender=Identity(channel=Channel.TELEGRAM, external_id="1001"),
        place=Place(channel=Channel.TELEGRAM, external_id="1001", private=True),
        text="sum these up",
        attached=many,
    )
    await town.intake.receive(town.deps, inbound)
    assert len(await kept(town.db)) == config.ATTACHMENTS_MOST
    assert await said(town.db) == [attachments.TOO_MANY]


async def test_slacks_own_words_for_a_clip_need_no_download(slack: SlackHouse) -> None:
    done = {"status": "complete", "preview": {"content": "list the files", "has_more": False}}
    await slack.ann.share(clip(b"sound", {"status": "processing"}, {"status": "processing"}, done))
    assert await slack.count("tasks") == 0
    for _ in range(3):
        await due_now(slack.db)
        await fetcher(slack).fetch()
    assert await said(slack.db) == ["I heard: “list the files”"]
    assert await slack.db.fetchval("select goal from tasks") == "list the files"
    assert await slack.db.fetchval("select body from inbound where kind = 'message'") == "list the files"
    assert not [e for e in slack.sim.journal.entries if e.method == "download"]


async def test_a_recording_that_is_too_long_is_answered_at_once(town: Town) -> None:
    long = Attached(ref="v", kind="voice", is_own=True, size=config.ATTACHMENT_BYTES + 1)
    inbound = Inbound(
        channel=Channel.TELEGRAM,
        delivery_id="update:1",
        sender=Identity(channel=Channel.TELEGRAM, external_id="1001"),
        place=Place(channel=Channel.TELEGRAM, external_id="1001", private=True),
        text="",
        attached=(long,),
    )
    await town.intake.receive(town.deps, inbound)
    assert await said(town.db) == [attachments.NOT_HEARD.format(why=attachments.TOO_LARGE)]
    assert await town.db.fetchval("select count(*) from unheard") == 0


async def test_a_file_and_the_answer_to_the_recording_that_it_came_with_do_not_wait_for_each_other(
    slack: SlackHouse,
) -> None:
    await slack.ann.share(clip(b"sound", {"status": "processing"}), SharedFile("a.csv", CSV, "text/csv"))
    recording, file = await kept(slack.db)
    locked = (
        "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())"
    )

    async def waits() -> bool:
        return bool(await slack.db.fetchval(locked))

    async with transaction(slack.db) as tx:
        await rows.hold_spoken(tx, recording["id"])
        await rows.heard(tx, recording["id"], "list the files")
        arriving = asyncio.create_task(attachments.came(slack.house.deps, file["id"], CSV, "text/csv"))
        await until(waits, "the file waits for the answer")
        assert await rows.all_heard(tx, recording["inbound_id"]) is not None
        await rows.later(tx, file["id"], 0.0)
    await arriving
    assert {row["state"] for row in await kept(slack.db)} == {"here"}
