"""What the files named by a call contain, as hashes that an approval covers.

They are those of the moment before the call: once it has begun, its own changes must not look like somebody else's,
or the second run of a crashed step would no longer be what was approved. So what the trash entry of the call's key
has taken is hashed there. Changes nothing.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Final

from worker.skills.beneath import parent_folder, refuse_odd
from worker.skills.changes import Record, identity_of
from worker.skills.errors import NotDone
from worker.skills.trash import Entry, Trash, facts_at

# A file beyond this is bound by inode, size and time of change instead: reading it would take too long.
HASH_BYTES: Final = 256_000_000
CHUNK_BYTES: Final = 1 << 20
FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def hashes(root: int, trash: Trash, key: str, paths: list[str]) -> dict[str, str]:
    """Path → SHA-256; absent ones are left out. NotDone for a folder, a link, or a file with several links."""
    found: dict[str, str | None] = {}
    with trash.seen(key) as entry:
        if entry is not None and entry.record is not None and "emptied" not in entry.record:
            found = _begun(root, entry, entry.record)
    for path in paths:
        if path not in found:
            found[path] = _at(root, path)
    return {path: found[path] or "" for path in paths if found[path]}


def _begun(root: int, entry: Entry, record: Record) -> dict[str, str | None]:
    """What the call of this entry found before it changed it; only for what it has changed."""
    if record["verb"] == "delete":
        slots = [(str(n), file["path"]) for n, file in enumerate(record["files"])]
        return {path: _hash(entry.fd, slot) for slot, path in slots if entry.facts(slot) is not None}
    if record["verb"] == "write":
        return _written(root, entry, record)
    if identity_of(root, record["target"]) != record["was"]:
        return {}
    with parent_folder(root, record["target"]) as (folder, name):
        return {record["source"]: _hash(folder, name), record["target"]: None}


def _written(root: int, entry: Entry, record: Record) -> dict[str, str | None]:
    replaced = record["replaces"]
    # The slot under which the replaced file lies: "old", or for a moment after a swap "new".
    for slot in ("old", "new"):
        if replaced is not None and entry.inode(slot) == replaced[0]:
            return {record["path"]: _hash(entry.fd, slot)}
    there = identity_of(root, record["path"])
    is_ours = there is not None and there[0] == record["inode"]
    return {record["path"]: None} if replaced is None and is_ours else {}


def _at(root: int, path: str) -> str | None:
    if identity_of(root, path) is None:
        return None
    with parent_folder(root, path) as (folder, name):
        facts = facts_at(folder, name)
        if facts is None:
            return None
        refuse_odd(path, facts)
        return _hash(folder, name)


def _hash(folder: int, name: str) -> str:
    fd = os.open(name, FLAGS, dir_fd=folder)
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise NotDone(f"{name!r} is not a regular file")
        sha = hashlib.sha256()
        if facts.st_size > HASH_BYTES:
            sha.update(f"{facts.st_ino} {facts.st_size} {facts.st_mtime_ns}".encode())
            return "stat:" + sha.hexdigest()
        while chunk := os.read(fd, CHUNK_BYTES):
            sha.update(chunk)
        return sha.hexdigest()
    finally:
        os.close(fd)
