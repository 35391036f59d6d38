"""Nothing outside the workspace is ever opened, by either way of opening, also while others rename things."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worker.skills import beneath, renames
from worker.skills.beneath import (
    FOLDER_FLAGS,
    clean_path,
    open_beneath,
    open_by_walking,
    readable_path,
    regular_file,
)
from worker.skills.changes import delete, move, write
from worker.skills.errors import BadPath, NotDone
from worker.skills.trash import Trash

RACE_S = 0.7
Open = Callable[[int, str, int], int]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "inside" / "deep").mkdir(parents=True)
    (tmp_path / "inside" / "deep" / "a.txt").write_text("inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.txt").write_text("OUTSIDE")
    fd = os.open(tmp_path / "inside", FOLDER_FLAGS)
    yield fd
    os.close(fd)


def test_the_kernel_way_is_in_use_on_this_linux() -> None:
    assert beneath.kernel_can()


@pytest.mark.parametrize("way", [open_beneath, open_by_walking])
def test_both_ways_open_what_is_inside_and_refuse_links(root: int, tmp_path: Path, way: Open) -> None:
    inside = tmp_path / "inside"
    fd = way(root, "deep/a.txt", beneath.FILE_FLAGS)
    assert os.read(fd, 100) == b"inside"
    os.close(fd)
    (inside / "link").symlink_to(tmp_path / "outside" / "a.txt")
    (inside / "dangling").symlink_to(tmp_path / "outside" / "new.txt")
    (inside / "folder").symlink_to(tmp_path / "outside")
    (inside / "up").symlink_to("..")
    (inside / "self").symlink_to("deep")
    for path in ("link", "dangling", "folder/a.txt", "up/outside/a.txt", "self/a.txt"):
        with pytest.raises(OSError) as refused:
            way(root, path, beneath.FILE_FLAGS)
        assert refused.value.errno in (errno.ELOOP, errno.ENOTDIR, errno.EXDEV), path
    assert not (tmp_path / "outside" / "new.txt").exists()


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "./",
        "/",
        "/etc/passwd",
        "//etc/passwd",
        "..",
        "../outside/a.txt",
        "deep/../../outside/a.txt",
        "deep/..",
        "deep/",
        "a\0b",
        "x" * 256,
        "é" * 128,
        "a/" * 40 + "b",
        "y/" * 600 + "z",
        "\udcff",
    ],
)
def test_paths_that_leave_or_cannot_be_are_refused(path: str) -> None:
    with pytest.raises(BadPath):
        clean_path(path)


def test_one_file_has_one_spelling() -> None:
    assert {clean_path(p) for p in ("a/b", "./a/b", "a//b", "a/./b", ".//a/././b")} == {"a/b"}
    assert clean_path("..a/b..") == "..a/b.."


@pytest.mark.parametrize("char", ["\u202e", "\u200b", "\u2066", "\n", "\x1b", "\u2028", "\U000e0041", "\ufeff"])
def test_new_names_must_be_readable_but_old_ones_may_be_odd(char: str) -> None:
    assert clean_path(f"in{char}voice.txt") == f"in{char}voice.txt"
    with pytest.raises(BadPath, match="unreadable"):
        readable_path(f"in{char}voice.txt")


@pytest.mark.parametrize("path", [" a", "a ", "b/ c/d"])
def test_new_names_have_no_edge_blanks(path: str) -> None:
    with pytest.raises(BadPath, match="blank"):
        readable_path(path)


def test_only_regular_files_with_one_link_are_read(root: int, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    os.mkfifo(inside / "pipe")
    os.link(tmp_path / "outside" / "a.txt", inside / "hard")
    cases = [
        ("pipe", "not a regular file"),
        ("hard", "2 hard links"),
        ("deep", "is a folder"),
        ("none", "no file"),
    ]
    for path, why in cases:
        with pytest.raises(NotDone, match=why), regular_file(root, path):  # a FIFO's writer is waited for by nobody
            pass


@pytest.fixture
def swapping(root: int, tmp_path: Path) -> Iterator[None]:
    """While the test runs, `inside/deep` is a folder and a link to the outside in turn."""
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            renames.swap(root, "deep", root, "link")

    thread = threading.Thread(target=swap)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.mark.parametrize("way", [open_beneath, open_by_walking])
def test_a_rename_race_never_leads_outside(root: int, swapping: None, way: Open) -> None:
    end, read, refused = time.monotonic() + RACE_S, 0, 0
    while time.monotonic() < end or not (read and refused):
        try:
            fd = way(root, "deep/a.txt", beneath.FILE_FLAGS)
        except OSError:
            refused += 1
            continue
        try:
            assert os.read(fd, 100) == b"inside"
            read += 1
        finally:
            os.close(fd)
        assert time.monotonic() < end + 30


def test_changes_in_a_rename_race_never_touch_the_outside(root: int, swapping: None, tmp_path: Path) -> None:
    trash = Trash(tmp_path / "trash")
    end, done, n = time.monotonic() + RACE_S, 0, 0
    while time.monotonic() < end or not done:
        n += 1
        try:
            write(root, trash, f"w{n}", "deep/new.txt", b"new", overwrite=False)
            move(root, trash, f"m{n}", "deep/new.txt", "deep/moved.txt")
            delete(root, trash, f"d{n}", ["deep/moved.txt"])
            done += 1
        except NotDone:
            pass
        for name in ("new.txt", "moved.txt"):
            left = f"x{name}{n}"
            try:
                delete(root, trash, left, [f"deep/{name}"])
            except NotDone:
                continue
        assert sorted(os.listdir(tmp_path / "outside")) == ["a.txt"]
        assert time.monotonic() < end + 60
    assert (tmp_path / "outside" / "a.txt").read_text() == "OUTSIDE"


def test_rename_by_link_never_overwrites(root: int, tmp_path: Path) -> None:
    (tmp_path / "inside" / "b").write_text("b")
    (tmp_path / "inside" / "c").write_text("c")
    with pytest.raises(FileExistsError):
        renames.rename_by_link(root, "b", root, "c")
    renames.rename_by_link(root, "b", root, "d")
    assert sorted(p.name for p in (tmp_path / "inside").iterdir()) == ["c", "d", "deep"]
    assert (tmp_path / "inside" / "d").read_text() == "b"


def test_swap_exchanges_and_new_refuses(root: int, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    (inside / "b").write_text("b")
    (inside / "c").write_text("c")
    assert renames.swap(root, "b", root, "c")
    assert ((inside / "b").read_text(), (inside / "c").read_text()) == ("c", "b")
    with pytest.raises(FileExistsError):
        renames.rename_new(root, "b", root, "c")
    with pytest.raises(FileNotFoundError):
        renames.swap(root, "b", root, "none")
