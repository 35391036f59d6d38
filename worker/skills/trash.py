"""One folder per idempotency key, outside the workspace: what was taken away, and a record of what was meant.

The record (`entry.json`) is written and flushed before the world is touched and again after, so whoever comes later
with the same key (the same step after a crash, a probe, an undo) can tell exactly how far it got. One run at a time
holds an entry, by flock. What is kept has an age and a size; records outlive what they describe.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from worker.skills.beneath import FOLDER_FLAGS
from worker.skills.errors import NotDone, OutcomeUnknown

KEEP_S: Final = 30 * 24 * 3600
KEEP_BYTES: Final = 2_000_000_000
# Younger than this is kept whatever its size: an undo that was offered must work.
SPARE_S: Final = 24 * 3600
RECORD_KEEP_S: Final = 400 * 24 * 3600
PRUNE_EVERY_S: Final = 600
RECORD_BYTES: Final = 4_000_000

RECORD: Final = "entry.json"
PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._-]{0,100}")


def key_name(key: str) -> str:
    """A file name for an idempotency key: the key itself where it is plain, else its hash."""
    return key if PLAIN_KEY.fullmatch(key) else hashlib.sha256(key.encode()).hexdigest()


@dataclass(slots=True)
class Entry:
    """An open entry. `record` is None until the first `save`."""

    key: str
    fd: int
    record: dict[str, Any] | None

    def save(self, record: dict[str, Any]) -> None:
        """Replace the record so that a crash leaves the old one or the new one."""
        self.record = record
        fd = os.open("entry.tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=self.fd)
        with os.fdopen(fd, "wb") as file:
            file.write(json.dumps(record).encode())
            file.flush()
            os.fsync(file.fileno())
        os.rename("entry.tmp", RECORD, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        os.fsync(self.fd)

    def facts(self, name: str) -> os.stat_result | None:
        return facts_at(self.fd, name)

    def inode(self, name: str) -> int | None:
        facts = self.facts(name)
        return None if facts is None else facts.st_ino


def facts_at(folder: int, name: str) -> os.stat_result | None:
    """What a name in an open folder stands for (a link stands for itself), or None."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


class Trash:
    """`root` is made when first needed. It has to be on the file system of the workspace: things are renamed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._pruned_at = 0.0

    @contextlib.contextmanager
    def entry(self, key: str) -> Iterator[Entry]:
        """The entry of this key, made when new, held until the block ends. OutcomeUnknown when another run holds it."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = self.root / key_name(key)
        fd = _locked(folder, key)
        try:
            entry = Entry(key, fd, _record(fd, key))
            yield entry
        finally:
            # A call that was refused leaves no trace.
            if _record_is_absent(fd):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            os.close(fd)

    @contextlib.contextmanager
    def known(self, key: str) -> Iterator[Entry]:
        """The entry of this key, held; NotDone when there is none."""
        if not (self.root / key_name(key)).is_dir():
            raise NotDone(f"the trash has no entry {key}; it was emptied, or the step ran on another machine")
        with self.entry(key) as entry:
            yield entry

    @contextlib.contextmanager
    def seen(self, key: str) -> Iterator[Entry | None]:
        """For probes: the entry as it is, neither made nor held."""
        try:
            fd = os.open(self.root / key_name(key), FOLDER_FLAGS | os.O_NOFOLLOW)
        except FileNotFoundError:
            yield None
            return
        try:
            yield Entry(key, fd, _record(fd, key))
        finally:
            os.close(fd)

    def prune(self, now: float | None = None) -> list[str]:
        """Empty what is too old or too much, at most every ten minutes; the keys emptied. Busy entries are left."""
        now = time.time() if now is None else now
        if now - self._pruned_at < PRUNE_EVERY_S or not self.root.is_dir():
            return []
        self._pruned_at = now
        kept = sorted((_weight(child) for child in self.root.iterdir()), reverse=True)
        emptied = []
        total = 0
        for at, size, folder in kept:
            total += size
            too_much = total > KEEP_BYTES and now - at > SPARE_S
            too_old = now - at > RECORD_KEEP_S
            wanted = too_old or (size and (too_much or now - at > KEEP_S))
            if wanted and _empty(folder, with_record=too_old):
                emptied.append(folder.name)
                total -= size
        return emptied


def _locked(folder: Path, key: str) -> int:
    """The open, locked folder of a key; made anew when the one that was locked has just been removed."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            fd = os.open(folder, FOLDER_FLAGS | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if folder.is_dir() and os.path.samestat(folder.lstat(), os.fstat(fd)):
                return fd
        except BlockingIOError as error:
            os.close(fd)
            raise OutcomeUnknown(f"another run of {key} is still at work") from error
        os.close(fd)


def _record_is_absent(fd: int) -> bool:
    return facts_at(fd, RECORD) is None


def _weight(folder: Path) -> tuple[float, int, Path]:
    """When the entry was last recorded, how many bytes it keeps, and where."""
    at, size = 0.0, 0
    with contextlib.suppress(OSError), os.scandir(folder) as children:
        for child in children:
            facts = child.stat(follow_symlinks=False)
            if child.name == RECORD:
                at = facts.st_mtime
            else:
                size += facts.st_size
        at = at or folder.lstat().st_mtime
    return at, size, folder


def _empty(folder: Path, with_record: bool) -> bool:
    try:
        fd = os.open(folder, FOLDER_FLAGS | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        entry = Entry(folder.name, fd, _record(fd, folder.name))
        if entry.record is not None and not with_record:
            facts = os.stat(RECORD, dir_fd=fd)
            entry.save({**entry.record, "emptied": True})
            # The record keeps its age, or emptying would make it young again.
            os.utime(RECORD, ns=(facts.st_atime_ns, facts.st_mtime_ns), dir_fd=fd)
        for name in os.listdir(fd):
            if name != RECORD or with_record:
                os.unlink(name, dir_fd=fd)
        if with_record:
            folder.rmdir()
        return True
    except (OSError, OutcomeUnknown):
        return False
    finally:
        os.close(fd)


def _record(fd: int, key: str) -> dict[str, Any] | None:
    try:
        record_fd = os.open(RECORD, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    except FileNotFoundError:
        return None
    with os.fdopen(record_fd, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > RECORD_BYTES:
            raise OutcomeUnknown(f"the trash record of {key} is damaged")
        try:
            record = json.loads(file.read())
        except ValueError as error:
            raise OutcomeUnknown(f"the trash record of {key} cannot be read: {error}") from error
    if not isinstance(record, dict):
        raise OutcomeUnknown(f"the trash record of {key} is damaged")
    return record
