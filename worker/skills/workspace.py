"""The `files` handle: one folder that skills may list, read and change, and a trash beside it.

Each method opens the folder anew, so nothing is kept that could go stale, and refuses what the skill's permissions
do not cover. The methods block on the disk; skills call them through `asyncio.to_thread`. Reading is here, the
changes are in `changes` and `undoing`.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from core.models import Permission
from worker.skills import changes, hashes, undoing
from worker.skills.beneath import FOLDER_FLAGS, parent_folder, refuse_odd, regular_file
from worker.skills.context import Probe, refuse_unless
from worker.skills.errors import NotDone
from worker.skills.trash import Trash, facts_at

READ_BYTES: Final = 500_000
WRITE_BYTES: Final = 900_000
LIST_MOST: Final = 5_000
WALK_MOST: Final = 100_000
WALK_DEPTH: Final = 32
CHUNK_BYTES: Final = 1 << 20

CHANGING: Final = (Permission.WRITE, Permission.DELETE)


@dataclass(frozen=True, slots=True)
class Listing:
    """`truncated` when there were more than could be looked at or shown; `unnameable` are not valid UTF-8."""

    paths: tuple[str, ...]
    truncated: bool = False
    unnameable: int = 0


class Workspace:
    """`may` are the permissions of the skill that holds this handle."""

    def __init__(self, root: Path, trash: Trash, may: frozenset[Permission] = frozenset(Permission)) -> None:
        self.root = root
        self._trash = trash
        self._may = may

    @classmethod
    def under(cls, home: Path, workspace: Path | None = None, trash: Path | None = None) -> Workspace:
        """The workspace of an installation, made when absent. Paths are relative to `home`.

        Raises ValueError, with the fix, for a layout in which skills could reach Sayso's own files or in which the
        trash is on another file system.
        """
        root = (home / (workspace or "workspace")).resolve()
        bin_ = (home / (trash or "trash")).resolve()
        for own in (home.resolve(), bin_):
            if own.is_relative_to(root):
                raise ValueError(f"skills.files.workspace {root} holds {own}; choose a folder that does not")
        if root.is_relative_to(bin_):
            raise ValueError(f"skills.files.workspace {root} is inside the trash {bin_}; choose another folder")
        root.mkdir(mode=0o755, parents=True, exist_ok=True)
        bin_.mkdir(mode=0o700, parents=True, exist_ok=True)
        if root.stat().st_dev != bin_.stat().st_dev:
            raise ValueError(
                f"{root} and the trash {bin_} are on different file systems, so files cannot be moved between them in "
                "one step; set skills.files.trash to a folder on the workspace's file system, outside the workspace"
            )
        return cls(root, Trash(bin_))

    def narrowed(self, may: frozenset[Permission]) -> Workspace:
        return Workspace(self.root, self._trash, self._may & may)

    def find(self, pattern: str = "*") -> Listing:
        """Regular files whose path matches: `*` within a folder, `**` over folders; dot files only if named so."""
        parts = tuple(part for part in pattern.split("/") if part not in ("", "."))
        if not parts or ".." in parts or pattern.startswith("/") or len(parts) > WALK_DEPTH:
            raise NotDone(f"{pattern!r} is no pattern below the workspace; use something like '*.log' or '**/*.md'")
        with self._open() as root:
            return _listed(root, parts)

    def read(self, path: str, most: int = READ_BYTES) -> tuple[bytes, int]:
        """The first `most` bytes, and the size of the whole file."""
        with self._open() as root, regular_file(root, path) as fd:
            data = bytearray()
            while len(data) < most and (chunk := os.read(fd, min(CHUNK_BYTES, most - len(data)))):
                data += chunk
            return bytes(data), os.fstat(fd).st_size

    def size(self, path: str) -> int | None:
        """The size of a regular file, None when nothing has that name."""
        with self._open() as root:
            try:
                with parent_folder(root, path) as (folder, name):
                    facts = facts_at(folder, name)
            except NotDone:
                return None
        if facts is not None:
            refuse_odd(path, facts)
        return None if facts is None else facts.st_size

    def hashes(self, key: str, paths: list[str]) -> dict[str, str]:
        """Path → SHA-256 of what it held before the call with this key; see `hashes`."""
        with self._open() as root:
            return hashes.hashes(root, self._trash, key, paths)

    def write(self, key: str, path: str, content: bytes, overwrite: bool = False) -> dict[str, Any]:
        refuse_unless(self._may, "files", Permission.WRITE)
        if len(content) > WRITE_BYTES:
            raise NotDone(f"{len(content)} bytes are too many; at most {WRITE_BYTES} are written at once")
        with self._open() as root:
            self._trash.prune()
            return changes.write(root, self._trash, key, path, content, overwrite)

    def move(self, key: str, source: str, target: str) -> dict[str, Any]:
        refuse_unless(self._may, "files", Permission.WRITE)
        with self._open() as root:
            return changes.move(root, self._trash, key, source, target)

    def delete(self, key: str, paths: list[str]) -> dict[str, Any]:
        refuse_unless(self._may, "files", Permission.DELETE)
        with self._open() as root:
            self._trash.prune()
            return changes.delete(root, self._trash, key, paths)

    def undo(self, key: str) -> dict[str, Any]:
        """Take back the change that was made with this key (the `trash` field of its result)."""
        refuse_unless(self._may, "files", *CHANGING)
        with self._open() as root:
            return undoing.undo(root, self._trash, key)

    def outcome(self, key: str) -> Probe:
        with self._open() as root:
            return undoing.outcome(root, self._trash, key)

    @contextlib.contextmanager
    def _open(self) -> Iterator[int]:
        try:
            fd = os.open(self.root, FOLDER_FLAGS)
        except OSError as error:
            raise NotDone(f"the workspace {self.root} cannot be opened: {error.strerror}") from error
        try:
            yield fd
        finally:
            os.close(fd)


def _listed(root: int, pattern: tuple[str, ...]) -> Listing:
    deepest = WALK_DEPTH if "**" in pattern else len(pattern)
    paths: list[str] = []
    unnameable = seen = 0
    for parts in _walk(root, (), deepest):
        seen += 1
        if seen > WALK_MOST or len(paths) > LIST_MOST:
            return Listing(tuple(sorted(paths[:LIST_MOST])), truncated=True, unnameable=unnameable)
        if not matches(parts, pattern):
            continue
        path = "/".join(parts)
        if path.isprintable() or _is_utf8(path):
            paths.append(path)
        else:
            unnameable += 1
    return Listing(tuple(sorted(paths)), unnameable=unnameable)


def _walk(folder: int, parts: tuple[str, ...], deepest: int) -> Iterator[tuple[str, ...]]:
    """The regular files below, links never followed; folders that vanish meanwhile are empty."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        here = (*parts, entry.name)
        mode = entry.stat(follow_symlinks=False).st_mode if _still(entry) else 0
        if stat.S_ISREG(mode):
            yield here
        elif stat.S_ISDIR(mode) and len(here) < deepest:
            try:
                deeper = os.open(entry.name, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
            except OSError:
                continue
            try:
                yield from _walk(deeper, here, deepest)
            finally:
                os.close(deeper)


def _still(entry: os.DirEntry[str]) -> bool:
    try:
        entry.stat(follow_symlinks=False)
        return True
    except OSError:
        return False


def matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Pure: whether a path fits a pattern, both in components; linear in their product."""
    reach = {0}
    for part in parts:
        stay = {at for at in _skips(reach, pattern) if at < len(pattern) and pattern[at] == "**" and part[0] != "."}
        step = {at + 1 for at in _skips(reach, pattern) if at < len(pattern) and _fits(part, pattern[at])}
        reach = stay | step
    return len(pattern) in _skips(reach, pattern) and (not pattern or pattern[-1] != "**" or bool(parts))


def _skips(reach: set[int], pattern: tuple[str, ...]) -> set[int]:
    """`**` also stands for no folder at all."""
    found = set(reach)
    for at in range(len(pattern)):
        if at in found and pattern[at] == "**":
            found.add(at + 1)
    return found


def _fits(part: str, wanted: str) -> bool:
    if wanted == "**" or (part.startswith(".") and not wanted.startswith(".")):
        return False
    return fnmatch.fnmatchcase(part, wanted)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
        return True
    except UnicodeEncodeError:
        return False
