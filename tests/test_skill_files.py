"""The files skills on a real folder: what they return, what they refuse, and that all they change comes back."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.models import Permission
from tests.skill_context import KEY, built_in, file_context
from worker.skills import BadArguments, NotDone, OutcomeUnknown
from worker.skills import hashes as hashes_module
from worker.skills import workspace as workspace_module
from worker.skills.context import Handles
from worker.skills.trash import KEEP_S, RECORD_KEEP_S, Trash
from worker.skills.workspace import Workspace, matches

Args = dict[str, Any]


def put(home: Path, path: str, text: str = "x") -> Path:
    file = home / "workspace" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def everything(home: Path) -> dict[str, str]:
    root = home / "workspace"
    return {str(p.relative_to(root)): p.read_text() for p in root.rglob("*") if p.is_file() and not p.is_symlink()}


async def run(home: Path, name: str, args: Args, key: str = KEY) -> Args:
    skill = built_in(name)
    return await skill.run(file_context(home, key), skill.validate(args))


async def undo(home: Path, name: str, args: Args, result: Args, key: str = "sayso:7:9:0") -> Args:
    skill = built_in(f"{name}.undo")
    ctx = file_context(home, key, undo_of=(built_in(name).validate(args), result))
    return await skill.run(ctx, {"task": "7", "step": 3})


async def state(home: Path, name: str, args: Args, key: str = KEY) -> str:
    return (await built_in(name).probe(file_context(home), args, key)).state


async def test_list_finds_by_pattern_and_follows_no_link(tmp_path: Path) -> None:
    for path in ("old.log", "a/b.log", "a/c/d.log", "a/e.txt", ".hidden", ".git/config.log"):
        put(tmp_path, path)
    (tmp_path / "workspace" / "link.log").symlink_to("old.log")
    (tmp_path / "workspace" / "loop").symlink_to(".")
    os.mkfifo(tmp_path / "workspace" / "pipe.log")
    expected = {
        "*": ["old.log"],
        "*.log": ["old.log"],
        "**/*.log": ["a/b.log", "a/c/d.log", "old.log"],
        "a/**": ["a/b.log", "a/c/d.log", "a/e.txt"],
        "**": ["a/b.log", "a/c/d.log", "a/e.txt", "old.log"],
        "a/*": ["a/b.log", "a/e.txt"],
        "./a/[be].*": ["a/b.log", "a/e.txt"],
        ".*": [".hidden"],
        ".git/*": [".git/config.log"],
        "nothing*": [],
    }
    for pattern, paths in expected.items():
        assert await run(tmp_path, "files.list", {"pattern": pattern}) == {
            "paths": paths,
            "count": len(paths),
        }, pattern
    assert (await run(tmp_path, "files.list", {}))["paths"] == ["old.log"]
    for pattern in ("../*", "/etc/*", "", "a/../../*"):
        with pytest.raises(NotDone, match="no pattern below"):
            await run(tmp_path, "files.list", {"pattern": pattern})


async def test_list_says_when_it_is_cut_and_skips_names_json_cannot_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(6):
        put(tmp_path, f"{n}.txt")
    (tmp_path / "workspace" / os.fsdecode(b"\xff.txt")).write_text("x")
    assert (await run(tmp_path, "files.list", {}))["unnameable"] == 1
    monkeypatch.setattr(workspace_module, "LIST_MOST", 3)
    cut = await run(tmp_path, "files.list", {})
    assert cut["truncated"] and cut["count"] == 3


def test_matching_is_fast_for_hostile_patterns() -> None:
    started = time.thread_time()
    assert not matches(tuple("a" * 32), ("**", "a") * 16 + ("b",))
    assert matches(("a", "b", "c"), ("**", "**", "c")) and not matches((".a", "b"), ("**", "b"))
    assert time.thread_time() - started < 5


async def test_read_gives_text_or_base64_and_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.txt", "grüße")
    (tmp_path / "workspace" / "b.bin").write_bytes(b"\xff\x00")
    (tmp_path / "workspace" / "nul").write_bytes(b"a\0b")
    assert await run(tmp_path, "files.read", {"path": "a.txt"}) == {
        "path": "a.txt",
        "bytes": 7,
        "truncated": False,
        "text": "grüße",
    }
    assert (await run(tmp_path, "files.read", {"path": "b.bin"}))["base64"] == "/wA="
    assert (await run(tmp_path, "files.read", {"path": "nul"}))["base64"] == "YQBi"
    ctx = file_context(tmp_path)
    assert ctx.files.read("a.txt", 3) == ("grü".encode()[:3], 7)
    put(tmp_path, "long.txt", "ü" * 300_000)
    long = await run(tmp_path, "files.read", {"path": "long.txt"})
    assert long["truncated"] and long["text"] == "ü" * 250_000 and long["bytes"] == 600_000


async def test_delete_moves_to_the_trash_and_undo_brings_it_back(tmp_path: Path) -> None:
    put(tmp_path, "old.log", "precious")
    put(tmp_path, "a/b.log", "too")
    args = {"paths": ["old.log", "a/b.log"]}
    assert await state(tmp_path, "files.delete", args) == "not_happened"
    result = await run(tmp_path, "files.delete", args)
    assert result["deleted"] == ["old.log", "a/b.log"] and result["summary"] == "Deleted 2 files: old.log, a/b.log"
    assert everything(tmp_path) == {} and await state(tmp_path, "files.delete", args) == "happened"
    assert (tmp_path / "trash").stat().st_mode & 0o777 == 0o700
    (tmp_path / "workspace" / "a").rmdir()
    back = await undo(tmp_path, "files.delete", args, result)
    assert back == {"summary": "Put back 2 files: old.log, a/b.log", "restored": ["old.log", "a/b.log"]} | {
        "not_restored": []
    }
    assert everything(tmp_path) == {"old.log": "precious", "a/b.log": "too"}
    assert await undo(tmp_path, "files.delete", args, result) == back


async def test_the_summary_of_one_file_is_singular(tmp_path: Path) -> None:
    put(tmp_path, "old.log")
    result = await run(tmp_path, "files.delete", {"paths": ["./old.log"]})
    assert result == {
        "deleted": ["old.log"],
        "skipped": [],
        "summary": "Deleted 1 file: old.log",
        "trash": KEY,
    }


async def test_the_same_key_again_deletes_nothing_new(tmp_path: Path) -> None:
    put(tmp_path, "old.log", "first")
    first = await run(tmp_path, "files.delete", {"paths": ["old.log"]})
    put(tmp_path, "old.log", "second")
    assert await run(tmp_path, "files.delete", {"paths": ["old.log"]}) == first
    assert everything(tmp_path) == {"old.log": "second"}
    with pytest.raises(NotDone, match="used for something else"):
        await run(tmp_path, "files.delete", {"paths": ["other.log"]})


async def test_delete_is_all_checked_before_anything_moves(tmp_path: Path) -> None:
    put(tmp_path, "a.log")
    put(tmp_path, "d/e.log")
    os.link(tmp_path / "workspace" / "d" / "e.log", tmp_path / "hard")
    (tmp_path / "workspace" / "link").symlink_to("a.log")
    for bad, why in [("none", "no file"), ("d", "folder"), ("d/e.log", "hard links"), ("link", "regular")]:
        with pytest.raises(NotDone, match=why):
            await run(tmp_path, "files.delete", {"paths": ["a.log", bad]}, f"sayso:1:{len(bad)}:0")
    assert "a.log" in everything(tmp_path) and list((tmp_path / "trash").iterdir()) == []


async def test_undo_never_overwrites_what_came_since(tmp_path: Path) -> None:
    put(tmp_path, "old.log", "first")
    args = {"paths": ["old.log"]}
    result = await run(tmp_path, "files.delete", args)
    put(tmp_path, "old.log", "second")
    with pytest.raises(NotDone, match="exists again"):
        await undo(tmp_path, "files.delete", args, result)
    assert everything(tmp_path) == {"old.log": "second"}
    (tmp_path / "workspace" / "old.log").unlink()
    assert (await undo(tmp_path, "files.delete", args, result))["restored"] == ["old.log"]
    assert everything(tmp_path) == {"old.log": "first"}


@pytest.mark.parametrize(
    "args",
    [
        {"paths": ["../outside"]},
        {"paths": ["/etc/passwd"]},
        {"paths": ["a", "./a"]},
        {"paths": []},
        {"paths": ["x" * 300]},
        {"paths": [f"{n}" for n in range(501)]},
        {"paths": "old.log"},
        {"path": ["old.log"]},
    ],
)
def test_hostile_paths_are_bad_arguments(args: Args) -> None:
    with pytest.raises(BadArguments):
        built_in("files.delete").validate(args)


async def test_names_with_bidi_marks_can_be_deleted_but_not_made(tmp_path: Path) -> None:
    name = "invoice\u202etxt.exe"
    put(tmp_path, name)
    with pytest.raises(BadArguments, match=r"U\+202E"):
        built_in("files.write").validate({"path": name, "content": "x"})
    with pytest.raises(BadArguments, match=r"U\+202E"):
        built_in("files.move").validate({"source": "a", "target": name})
    assert (await run(tmp_path, "files.delete", {"paths": [name]}))["deleted"] == [name]


async def test_write_makes_and_undo_removes(tmp_path: Path) -> None:
    args = {"path": "a/b/new.txt", "content": "hello"}
    result = await run(tmp_path, "files.write", args)
    assert result["created"] and result["summary"] == "Wrote a/b/new.txt (5 bytes)"
    assert everything(tmp_path) == {"a/b/new.txt": "hello"} and await state(tmp_path, "files.write", args) == "happened"
    assert await run(tmp_path, "files.write", args) == result
    await undo(tmp_path, "files.write", args, result)
    assert everything(tmp_path) == {}
    assert (await undo(tmp_path, "files.write", args, result))["summary"] == "Removed a/b/new.txt again"


async def test_write_replaces_only_when_told_and_undo_puts_the_old_one_back(tmp_path: Path) -> None:
    file = put(tmp_path, "a.txt", "old")
    file.chmod(0o640)
    with pytest.raises(NotDone, match="say overwrite=true"):
        await run(tmp_path, "files.write", {"path": "a.txt", "content": "new"})
    args = {"path": "a.txt", "content": "new", "overwrite": True}
    assert "-old\n+new" in (await built_in("files.write").preview(file_context(tmp_path), args) or "")
    result = await run(tmp_path, "files.write", args, "sayso:7:4:0")
    assert not result["created"] and everything(tmp_path) == {"a.txt": "new"}
    assert file.stat().st_mode & 0o777 == 0o640
    await undo(tmp_path, "files.write", args, result)
    assert everything(tmp_path) == {"a.txt": "old"}


@pytest.mark.parametrize("overwrite", [False, True])
async def test_undo_of_a_write_leaves_what_somebody_edited(tmp_path: Path, overwrite: bool) -> None:
    if overwrite:
        put(tmp_path, "a.txt", "old")
    args = {"path": "a.txt", "content": "new", "overwrite": overwrite}
    result = await run(tmp_path, "files.write", args)
    put(tmp_path, "a.txt", "wen")  # same size, same inode
    with pytest.raises(NotDone, match="changed since"):
        await undo(tmp_path, "files.write", args, result)
    assert everything(tmp_path) == {"a.txt": "wen"}


async def test_move_never_replaces_and_undo_moves_back(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "a")
    put(tmp_path, "b.txt", "b")
    with pytest.raises(NotDone, match="exists already"):
        await run(tmp_path, "files.move", {"source": "a.txt", "target": "b.txt"})
    args = {"source": "a.txt", "target": "c/d.txt"}
    result = await run(tmp_path, "files.move", args)
    assert everything(tmp_path) == {"c/d.txt": "a", "b.txt": "b"}
    assert await state(tmp_path, "files.move", args) == "happened"
    assert await run(tmp_path, "files.move", args) == result
    await undo(tmp_path, "files.move", args, result)
    assert everything(tmp_path) == {"a.txt": "a", "b.txt": "b"}
    with pytest.raises(NotDone, match="no file"):
        await run(tmp_path, "files.move", {"source": "none", "target": "x"}, "sayso:1:1:0")


async def test_undo_of_a_move_refuses_when_the_file_went_on(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "a")
    args = {"source": "a.txt", "target": "b.txt"}
    result = await run(tmp_path, "files.move", args)
    (tmp_path / "workspace" / "b.txt").rename(tmp_path / "workspace" / "c.txt")
    with pytest.raises(NotDone, match="changed or moved since"):
        await undo(tmp_path, "files.move", args, result)
    assert everything(tmp_path) == {"c.txt": "a"}


async def test_hashes_bind_the_contents_that_the_arguments_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.txt", "a")
    ctx, skill = file_context(tmp_path), built_in("files.delete")
    args = {"paths": ["a.txt", "absent"]}
    assert await skill.content_hashes(ctx, args) == {"a.txt": hashlib.sha256(b"a").hexdigest()}
    (tmp_path / "workspace" / "d").mkdir()
    (tmp_path / "workspace" / "l").symlink_to("/etc/passwd")
    for odd in ("d", "l"):
        with pytest.raises(NotDone):
            await skill.content_hashes(ctx, {"paths": [odd]})
    monkeypatch.setattr(hashes_module, "HASH_BYTES", 0)
    before = await skill.content_hashes(ctx, {"paths": ["a.txt"]})
    assert before["a.txt"].startswith("stat:")
    put(tmp_path, "a.txt", "b")
    assert await skill.content_hashes(ctx, {"paths": ["a.txt"]}) != before
    assert await built_in("files.list").content_hashes(ctx, {}) == {}


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("files.delete", {"paths": ["a.txt", "d/b.txt"]}),
        ("files.move", {"source": "a.txt", "target": "c.txt"}),
        ("files.write", {"path": "a.txt", "content": "new", "overwrite": True}),
        ("files.write", {"path": "new.txt", "content": "new"}),
    ],
)
async def test_a_call_that_has_run_is_still_the_action_that_was_approved(tmp_path: Path, name: str, args: Args) -> None:
    put(tmp_path, "a.txt", "one")
    put(tmp_path, "d/b.txt", "two")
    skill, ctx = built_in(name), file_context(tmp_path)
    before = await skill.content_hashes(ctx, args)
    await run(tmp_path, name, args)
    assert await skill.content_hashes(ctx, args) == before
    assert await skill.content_hashes(file_context(tmp_path, "another:key"), args) != before


async def test_nothing_to_delete_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(BadArguments, match=r"files\.delete: 'paths' is empty$"):
        await run(tmp_path, "files.delete", {"paths": []})


async def test_previews_say_what_would_change_and_change_nothing(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "x" * 1500)
    ctx = file_context(tmp_path)
    put(tmp_path, "c.txt", "y")
    before = everything(tmp_path)
    assert await built_in("files.delete").preview(ctx, {"paths": ["a.txt"]}) == "a.txt: 1 kB"
    several = await built_in("files.delete").preview(ctx, {"paths": ["a.txt", "c.txt"]})
    assert several == "a.txt: 1 kB\nc.txt: 1 byte\n2 in all, 1 kB"
    assert await built_in("files.write").preview(ctx, {"path": "b", "content": "hi"}) == "new file, 2 bytes"
    assert await built_in("files.move").preview(ctx, {"source": "a.txt", "target": "b"}) == "a.txt (1 kB) → b"
    assert everything(tmp_path) == before and list((tmp_path / "trash").iterdir()) == []


async def test_a_second_run_of_the_same_key_waits_for_the_first_by_saying_unknown(tmp_path: Path) -> None:
    put(tmp_path, "a.txt")
    with Trash(tmp_path / "trash").entry(KEY), pytest.raises(OutcomeUnknown, match="still at work"):
        await run(tmp_path, "files.delete", {"paths": ["a.txt"]})
    assert (await run(tmp_path, "files.delete", {"paths": ["a.txt"]}))["deleted"] == ["a.txt"]


async def test_twenty_deletes_of_one_file_at_once_delete_it_once(tmp_path: Path) -> None:
    put(tmp_path, "a.txt")
    runs = [run(tmp_path, "files.delete", {"paths": ["a.txt"]}, f"sayso:1:{n}:0") for n in range(20)]
    results = await asyncio.gather(*runs, return_exceptions=True)
    won = [result for result in results if isinstance(result, dict)]
    assert len(won) == 1 and all(isinstance(r, NotDone) for r in results if r is not won[0])


async def test_a_handle_does_only_what_the_skill_declared(tmp_path: Path) -> None:
    put(tmp_path, "a.txt")
    files = Workspace.under(tmp_path)
    reader = Handles(files=files).narrowed({"files": frozenset({Permission.READ})}).files
    assert reader is not None and reader.read("a.txt") == (b"x", 1)
    changes: list[Callable[[], Args]] = [
        lambda: reader.delete(KEY, ["a.txt"]),
        lambda: reader.write(KEY, "b", b""),
        lambda: reader.move(KEY, "a.txt", "b"),
        lambda: reader.undo(KEY),
        lambda: reader.narrowed(frozenset(Permission)).delete(KEY, ["a.txt"]),
    ]
    for change in changes:
        with pytest.raises(NotDone, match="declares no"):
            change()
    writer = files.narrowed(frozenset({Permission.WRITE}))
    with pytest.raises(NotDone, match="declares no delete"):
        writer.delete(KEY, ["a.txt"])
    with pytest.raises(NotDone, match="no http handle"):
        _ = file_context(tmp_path).http


def age(home: Path, key: str, by_s: float) -> None:
    record = home / "trash" / key / "entry.json"
    os.utime(record, (time.time() - by_s, time.time() - by_s))


async def test_the_trash_is_emptied_by_age_and_the_record_stays(tmp_path: Path) -> None:
    put(tmp_path, "a.txt")
    args = {"paths": ["a.txt"]}
    result = await run(tmp_path, "files.delete", args)
    age(tmp_path, KEY, KEEP_S + 60)
    assert Trash(tmp_path / "trash").prune() == [KEY]
    assert sorted(os.listdir(tmp_path / "trash" / KEY)) == ["entry.json"]
    with pytest.raises(NotDone, match="emptied"):
        await undo(tmp_path, "files.delete", args, result)
    put(tmp_path, "a.txt")
    assert await run(tmp_path, "files.delete", args) == result and "a.txt" in everything(tmp_path)
    age(tmp_path, KEY, RECORD_KEEP_S + 60)
    assert Trash(tmp_path / "trash").prune() == [KEY] and os.listdir(tmp_path / "trash") == []
    with pytest.raises(NotDone, match="no entry"):
        await undo(tmp_path, "files.delete", args, result)


async def test_the_trash_is_bounded_in_size_but_never_takes_yesterdays_undo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker.skills import trash as trash_module

    monkeypatch.setattr(trash_module, "KEEP_BYTES", 150)
    for n in range(3):
        put(tmp_path, f"{n}", "x" * 100)
        await run(tmp_path, "files.delete", {"paths": [f"{n}"]}, f"k{n}")
    assert Trash(tmp_path / "trash").prune() == []
    for n in range(3):
        age(tmp_path, f"k{n}", 3 * 24 * 3600 - n)
    assert Trash(tmp_path / "trash").prune() == ["k1", "k0"]
    trash = Trash(tmp_path / "trash")
    with trash.entry("k2"):
        age(tmp_path, "k2", KEEP_S + 60)
        assert trash.prune() == []  # somebody is using it


def test_layouts_in_which_skills_could_reach_sayso_itself_are_refused(tmp_path: Path) -> None:
    for workspace, trash in [(".", None), ("..", None), ("w", "w/trash"), ("trash/w", None)]:
        with pytest.raises(ValueError, match=r"skills\.files\.workspace"):
            Workspace.under(tmp_path / "home", Path(workspace), Path(trash) if trash else None)
    assert Workspace.under(tmp_path / "home", Path("./workspace")).root == tmp_path / "home" / "workspace"


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_a_trash_on_another_file_system_is_refused_with_the_fix(tmp_path: Path) -> None:
    if Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system")
    with pytest.raises(ValueError, match=r"set skills\.files\.trash"):
        Workspace.under(tmp_path, Path("/dev/shm/sayso-test-none"))
    os.rmdir("/dev/shm/sayso-test-none")
