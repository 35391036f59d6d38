"""The audit log: everything is in it, nothing can be taken out unseen, and an export proves itself."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from bot.cli import app
from core.audit import ANCHORS, FIRST, Anchor, Entry, NotAnAnchor, entry_hash, read_anchors, read_export, verify
from core.db import Pool, transaction
from core.models import Accepted
from core.organisation import AuditPart
from core.store import audit
from tests.test_whole_way import eventually, running
from worker.audit import Chainer

NOW = datetime(2026, 11, 21, 10, 0, 0, 123456, tzinfo=UTC)


def chain_of(*kinds: str) -> list[Entry]:
    made: list[Entry] = []
    for seq, kind in enumerate(kinds, start=1):
        entry = Entry(seq, NOW + timedelta(seconds=seq), kind, "ann", "7", None, {"step": seq, "why": "äöü"},
                      made[-1].hash if made else FIRST)  # fmt: skip
        made.append(replace(entry, hash=entry_hash(entry)))
    return made


def anchor_of(entry: Entry) -> Anchor:
    return Anchor(entry.seq, str(entry.hash))


# ---------------------------------------------------------------- the chain


def test_a_log_as_it_was_written_is_found_so() -> None:
    rows = chain_of("request", "vote", "execution", "outcome")
    found = verify(rows, [anchor_of(rows[1])])
    assert (found.fault, found.rows, found.unanchored) == (None, 4, 2)
    assert found.head is not None
    assert found.head.hash == rows[-1].hash


@settings(max_examples=60)
@given(at=st.integers(0, 5), field=st.sampled_from(["kind", "actor", "task", "approval", "data", "at"]))
def test_any_change_of_any_row_names_that_row(at: int, field: str) -> None:
    rows = chain_of("request", "vote", "execution", "outcome", "request", "vote")
    other: dict[str, Any] = {"kind": "x", "actor": "eve", "task": "8", "approval": "a", "data": {}, "at": NOW}
    rows[at] = replace(rows[at], **{field: other[field]})
    assert (verify(rows).fault or "").startswith(f"row {at + 1} was changed")


def test_a_row_that_is_missing_or_exchanged_is_named() -> None:
    rows = chain_of("request", "vote", "execution")
    assert (verify([rows[0], rows[2]]).fault or "").startswith("row 2 is missing")
    assert (verify(rows[1:]).fault or "").startswith("row 1 is missing")
    other = replace(rows[1], actor="eve", hash=None)
    forged = replace(other, hash=entry_hash(other))
    assert (verify([rows[0], forged, rows[2]]).fault or "").startswith("row 3 does not follow")


def test_a_log_that_was_cut_off_or_written_anew_is_noticed_by_its_anchor() -> None:
    rows = chain_of("request", "vote", "execution")
    assert verify(rows[:2]).fault is None, "nothing in the table itself tells"
    assert (verify(rows[:2], [anchor_of(rows[2])]).fault or "").startswith("row 3 is missing: the log ends with row 2")
    anew = chain_of("request", "deny", "execution")
    assert (verify(anew, [anchor_of(rows[1])]).fault or "").startswith("row 2 is not the one that was anchored")


def test_an_anchor_line_cut_by_a_crash_is_passed_over_and_any_other_is_refused() -> None:
    good = Anchor(1, "ab").line()
    assert [a.seq for a in read_anchors([good, '{"seq": 2, "ha'])] == [1]
    with pytest.raises(NotAnAnchor, match="line 1"):
        list(read_anchors(["nonsense", good]))


# ---------------------------------------------------------------- the table


async def note(db: Any, kind: str = "request", **data: Any) -> None:
    await db.execute("insert into audit (kind, actor, data) values ($1, 'ann', $2)", kind, data)


async def chained(db: Any, wanted: int, by: Callable[[], Awaitable[int]] | None = None) -> None:
    """Chain until so many are; a transaction of any database of the server may hold them up for a moment."""
    done = 0

    async def step() -> bool:
        nonlocal done
        done += await (by() if by else audit.chain(db))
        return done == wanted

    await eventually(step)


async def all_rows(db: Pool) -> list[Entry]:
    return [entry async for entry in audit.rows(db)]


async def test_rows_are_chained_in_the_order_in_which_they_were_committed(db: Pool) -> None:
    async with transaction(db) as slow:
        await note(slow, "first to begin, last to commit")
        await note(db, "quick")
        assert await audit.chain(db) == 0, "a running transaction may still come before it"
    await chained(db, 2)
    assert await audit.chain(db) == 0
    rows = await all_rows(db)
    assert [row.seq for row in rows] == [1, 2]
    assert verify(rows).fault is None


async def test_writers_at_once_chain_each_row_once(db: Pool) -> None:
    for n in range(40):
        await note(db, n=n, large=2**60, deep={"a": [1.5, None, True]})

    async def at_once() -> int:
        return sum(await asyncio.gather(*(audit.chain(db, 15) for _ in range(6))))

    await chained(db, 40, at_once)
    rows = await all_rows(db)
    assert len(rows) == 40
    assert verify(rows).fault is None


@pytest.mark.parametrize(
    "statement",
    [
        "update audit set actor = 'eve'",
        "update audit set hash = 'x'",
        "update audit set seq = null, hash = null, prev_hash = null",
        "delete from audit",
        "truncate audit",
    ],
)
async def test_nothing_but_appending_is_possible(db: Pool, statement: str) -> None:
    await note(db)
    await chained(db, 1)
    with pytest.raises(asyncpg.PostgresError, match="only ever appended"):
        await db.execute(statement)


async def test_whoever_goes_round_the_trigger_is_found_out(db: Pool) -> None:
    for n in range(5):
        await note(db, n=n)
    await chained(db, 5)
    last = await audit.head(db)
    assert last is not None
    await db.execute("alter table audit disable trigger user")
    await db.execute("update audit set data = '{\"n\": 99}' where seq = 3")
    assert (verify(await all_rows(db)).fault or "").startswith("row 3 was changed")
    await db.execute("delete from audit where seq >= 3")
    assert (verify(await all_rows(db), [last]).fault or "").startswith("row 3 is missing")


async def test_a_role_that_may_use_the_tables_cannot_rewrite_history(db: Pool, database_url: str) -> None:
    await note(db)
    role = f"app_{abs(hash(database_url)) % 10**8}"
    await db.execute(f"create role {role}")
    try:
        await audit.grant_use(db, role)
        async with db.acquire() as theirs:
            await theirs.execute(f"set role {role}")
            await note(theirs, "theirs")
            await chained(theirs, 2)
            for statement in ("update audit set actor = 'eve'", "delete from audit", "truncate audit"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await theirs.execute(statement)
            await theirs.execute("reset role")
    finally:
        await db.execute(f"drop owned by {role}")
        await db.execute(f"drop role {role}")


# ---------------------------------------------------------------- anchors


async def test_the_head_is_anchored_in_a_file_and_at_an_address_once_it_has_moved(db: Pool, tmp_path: Path) -> None:
    got: list[dict[str, Any]] = []

    async def take(request: web.Request) -> web.Response:
        got.append(json.loads(await request.text()))
        return web.Response()

    site = web.Application()
    site.router.add_post("/anchor", take)
    runner = web.AppRunner(site)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    wanted = AuditPart(anchor_url=f"http://127.0.0.1:{runner.addresses[0][1]}/anchor", anchor_every=0)
    try:
        chainer = Chainer(db, tmp_path, wanted)
        await note(db)
        await chained(db, 1, chainer.round)
        assert await chainer.round() == 0
        await chainer.aclose()
        await note(db)
        await chained(db, 1, chainer.round)
        await chainer.aclose()
    finally:
        await runner.cleanup()
    kept = list(read_anchors((tmp_path / ANCHORS).read_text(encoding="ascii").splitlines()))
    assert [anchor.seq for anchor in kept] == [1, 2]
    assert (tmp_path / ANCHORS).stat().st_mode & 0o777 == 0o600
    assert [one["seq"] for one in got] == [1, 2]
    assert verify(await all_rows(db), kept).fault is None


async def test_an_anchor_that_cannot_be_written_stops_nothing(db: Pool, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="ascii")
    wanted = AuditPart(anchor_file=tmp_path / "file" / "below", anchor_url="http://127.0.0.1:1/", anchor_every=0)
    chainer = Chainer(db, tmp_path, wanted)
    await note(db)
    await chained(db, 1, chainer.round)
    await chainer.aclose()
    assert await audit.unchained(db) == 0


# ---------------------------------------------------------------- what is in it


async def all_are_chained(db: Pool) -> bool:
    return not await audit.waits(db)


async def test_a_request_its_vote_the_execution_and_the_outcome_are_in_the_log(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with running(database_url, redis_url, tmp_path) as sayso:
        (sayso.workspace / "old.log").write_text("x", encoding="utf-8")
        task = await sayso.say("do files.delete paths=old.log")
        approval = await sayso.approval_of(task)
        assert isinstance(await sayso.press(approval["id"], "approve"), Accepted)
        await sayso.until(task, "succeeded")
        refused = await sayso.say("do files.delete paths=keep/me")
        await sayso.until(refused, "failed")
        await eventually(lambda: all_are_chained(sayso.deps.db))
        rows = await all_rows(sayso.deps.db)
    told = [(row.kind, row.actor) for row in rows if row.task == str(task)]
    assert [kind for kind, _ in told] == ["request", "vote", "execution", "outcome"]
    assert told[1][1] == "person:ann"
    [no] = [row for row in rows if row.task == str(refused)]
    assert (no.kind, no.data["skill"]) == ("refusal", "files.delete")
    assert "keep/ stays" in no.data["why"]
    assert {row.data["person"] for row in rows if row.kind == "rights"} == {"ann", "bob"}
    assert verify(rows).fault is None


# ---------------------------------------------------------------- the command


async def test_the_command_verifies_the_database_and_an_export_and_says_what_is_wrong(
    db: Pool, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    await note(db, "vote", why="=HYPERLINK(1)")
    await db.execute("insert into audit (kind, actor) values ('request', '=cmd')")
    await chained(db, 2)
    environment = {
        "DATABASE_URL": database_url, "REDIS_URL": redis_url, "SAYSO_HOME": str(tmp_path),
        "SAYSO_CONFIG": str(tmp_path / "none.yaml"),
    }  # fmt: skip

    async def run(*args: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["audit", *args], env=environment)

    good = await run("verify")
    assert good.exit_code == 0, good.output
    assert good.output.startswith("2 rows, all as they were written. The last 2 are not anchored yet.")
    export, table = tmp_path / "log.jsonl", tmp_path / "log.csv"
    assert (await run("export", "--to", str(export))).exit_code == 0
    assert (await run("export", "--to", str(table), "--format", "csv")).exit_code == 0
    assert "'=cmd" in table.read_text(encoding="utf-8")
    assert verify(read_export(export.read_text(encoding="utf-8").splitlines())).fault is None
    export.write_text(export.read_text(encoding="utf-8").replace("=cmd", "ann"), encoding="utf-8")
    bad = await run("verify", "--export", str(export), "--json")
    assert bad.exit_code == 1
    assert json.loads(bad.output)["fault"].startswith("row 2 was changed")
    export.write_text("{}\n", encoding="utf-8")
    assert (await run("verify", "--export", str(export))).exit_code == 2
    assert (await run("export", "--format", "xml")).exit_code == 2
    (tmp_path / ANCHORS).write_text(Anchor(9, "f" * 64).line() + "\n", encoding="ascii")
    cut = await run("verify")
    assert cut.exit_code == 1
    assert "row 3 is missing" in cut.output


async def test_a_role_that_is_not_there_is_said(database_url: str, redis_url: str, tmp_path: Path) -> None:
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "SAYSO_HOME": str(tmp_path)}
    said = await asyncio.to_thread(CliRunner().invoke, app, ["migrate", "--grant-to", "nobody_here"], env=environment)
    assert said.exit_code == 1
    assert "no database role 'nobody_here'" in said.output
