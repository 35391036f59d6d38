"""The three changes to a workspace (delete, write, move), each safe to run again with the same key.

All follow one order: look, record what is meant, rename, record what came of it. Inodes tell how far an earlier run
with the same key got, because a rename moves an inode from one name to another in one step. So a second run
finishes the first, or says exactly what is left; it never does a thing twice. `undoing` takes them back.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any, Final

from worker.skills.beneath import parent_folder, refuse_odd
from worker.skills.errors import NotDone, OutcomeUnknown
from worker.skills.renames import rename_new, swap
from worker.skills.trash import Entry, Trash, facts_at

NAMES_SHOWN: Final = 10
FILE_MODE: Final = 0o644

Record = dict[str, Any]


def delete(root: int, trash: Trash, key: str, paths: list[str]) -> Record:
    """Move files into the trash. `{"deleted", "skipped": [{"path", "why"}], "summary", "trash"}`."""
    with trash.entry(key) as entry:
        record = entry.record or _meant(entry, {"verb": "delete", "files": _found(root, paths)})
        _same(entry, record, "delete", [file["path"] for file in record["files"]] == paths)
        if "result" in record:
            return _result(record)
        skipped = []
        for n, file in enumerate(record["files"]):
            if not taken(entry, n) and (why := _take(root, entry, file, str(n))):
                skipped.append({"path": file["path"], "why": why})
        os.fsync(entry.fd)
        result = deleted(entry, record, skipped)
        if not result["deleted"]:
            raise NotDone("nothing was deleted: " + "; ".join(f"{s['path']!r} {s['why']}" for s in skipped))
        return _result(_done(entry, record, result))


def taken(entry: Entry, n: int) -> bool:
    """Whether the n-th file is in its slot, and there alone."""
    facts = entry.facts(str(n))
    return facts is not None and facts.st_nlink == 1


def deleted(entry: Entry, record: Record, skipped: list[dict[str, str]]) -> Record:
    """The result as the trash shows it."""
    gone = [file["path"] for n, file in enumerate(record["files"]) if taken(entry, n)]
    summary = f"Deleted {counted(gone)}" if gone else "Deleted nothing"
    if skipped:
        summary += f"; {len(skipped)} left where they were"
    return {"deleted": gone, "skipped": skipped, "summary": summary, "trash": entry.key}


def _found(root: int, paths: list[str]) -> list[Record]:
    return [{"path": path, "was": identity(_regular(root, path))} for path in paths]


def identity(facts: os.stat_result) -> list[int]:
    """Inodes are used again soon after a file is gone, so size and time of change are compared too."""
    return [facts.st_ino, facts.st_size, facts.st_mtime_ns]


def _regular(root: int, path: str) -> os.stat_result:
    with parent_folder(root, path) as (folder, name):
        facts = facts_at(folder, name)
    if facts is None:
        raise NotDone(f"there is no file {path!r}")
    refuse_odd(path, facts)
    return facts


def _take(root: int, entry: Entry, file: Record, slot: str) -> str:
    """Move one file into its slot; why not, or an empty string."""
    path = file["path"]
    try:
        with parent_folder(root, path) as (folder, name):
            facts = facts_at(folder, name)
            if facts is None:
                return "is no longer there"
            if identity(facts) != file["was"]:
                return "was changed or replaced meanwhile"
            rename_new(folder, name, entry.fd, slot)
            there = entry.facts(slot)
            # Somebody may have put another thing under that name between the look and the rename.
            if there is None or there.st_ino != file["was"][0] or not stat.S_ISREG(there.st_mode):
                rename_new(entry.fd, slot, folder, name)
                return "was replaced by something else meanwhile"
            os.fsync(folder)
    except (OSError, NotDone) as error:
        return f"could not be moved: {error}"
    return ""


def write(root: int, trash: Trash, key: str, path: str, content: bytes, overwrite: bool) -> Record:
    """Put a file in place in one step; what it replaces goes to the trash. `{"path", "bytes", "created", …}`."""
    sha = hashlib.sha256(content).hexdigest()
    with trash.entry(key) as entry:
        record = entry.record or _staged(root, entry, path, content, sha, overwrite)
        _same(entry, record, "write", (record["path"], record["sha256"]) == (path, sha))
        if "result" in record:
            return _result(record)
        if not written(entry, record):
            _put(root, entry, record)
        keep_old(entry, record)
        return _result(_done(entry, record, write_result(entry, record)))


def _staged(root: int, entry: Entry, path: str, content: bytes, sha: str, overwrite: bool) -> Record:
    with parent_folder(root, path, make=True) as (folder, name):
        there = facts_at(folder, name)
    if there is not None:
        refuse_odd(path, there)
        if not overwrite:
            raise NotDone(f"{path!r} exists already; say overwrite=true to replace it")
    mode = stat.S_IMODE(there.st_mode) & 0o777 if there else FILE_MODE
    try:
        inode = _stage(entry, content, mode)
    except OSError as error:
        raise NotDone(f"{path!r} cannot be written: {error}") from error
    return _meant(
        entry,
        {"verb": "write", "path": path, "sha256": sha, "bytes": len(content), "inode": inode}
        | {"replaces": identity(there) if there else None},
    )


def _stage(entry: Entry, content: bytes, mode: int) -> int:
    fd = os.open("new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE, dir_fd=entry.fd)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_ino


def written(entry: Entry, record: Record) -> bool:
    """Whether the rename happened: then the staged inode is no longer in the trash."""
    return bool(entry.inode("new") != record["inode"])


def keep_old(entry: Entry, record: Record) -> None:
    """After a swap the replaced file lies under the staged one's name."""
    if entry.facts("new") is not None and written(entry, record):
        os.rename("new", "old", src_dir_fd=entry.fd, dst_dir_fd=entry.fd)
        os.fsync(entry.fd)


def _put(root: int, entry: Entry, record: Record) -> None:
    path = record["path"]
    with parent_folder(root, path, make=True) as (folder, name):
        there = facts_at(folder, name)
        if record["replaces"] is None:
            _put_new(entry, record, folder, name)
        elif there is None or identity(there) != record["replaces"]:
            raise NotDone(f"{path!r} was changed or removed meanwhile; nothing was written")
        elif swap(entry.fd, "new", folder, name):
            if entry.inode("new") != record["replaces"][0]:
                swap(entry.fd, "new", folder, name)
                raise NotDone(f"{path!r} was replaced meanwhile; nothing was written")
        else:
            _put_over(entry, folder, name)
        os.fsync(folder)


def _put_new(entry: Entry, record: Record, folder: int, name: str) -> None:
    try:
        rename_new(entry.fd, "new", folder, name)
    except FileExistsError as error:
        raise NotDone(f"{record['path']!r} exists by now; nothing was written") from error


def _put_over(entry: Entry, folder: int, name: str) -> None:
    """Without a swap: keep a second link to the old file, then rename over it."""
    if entry.facts("old") is not None:
        os.unlink("old", dir_fd=entry.fd)
    os.link(name, "old", src_dir_fd=folder, dst_dir_fd=entry.fd, follow_symlinks=False)
    os.rename("new", name, src_dir_fd=entry.fd, dst_dir_fd=folder)


def write_result(entry: Entry, record: Record) -> Record:
    made = record["replaces"] is None
    return {
        "path": record["path"],
        "bytes": record["bytes"],
        "created": made,
        "summary": f"{'Wrote' if made else 'Replaced'} {record['path']} ({sized(record['bytes'])})",
        "trash": entry.key,
    }


def move(root: int, trash: Trash, key: str, source: str, target: str) -> Record:
    """Give a file another name, never over an existing one. `{"source", "target", "summary", "trash"}`."""
    with trash.entry(key) as entry:
        is_new = entry.record is None
        record = entry.record or _planned(root, entry, source, target)
        _same(entry, record, "move", (record["source"], record["target"]) == (source, target))
        if "result" in record:
            return _result(record)
        if is_new or not moved(root, record):
            rename(root, source, target, record["was"][0])
        return _result(_done(entry, record, move_result(entry, record)))


def _planned(root: int, entry: Entry, source: str, target: str) -> Record:
    facts = _regular(root, source)
    with parent_folder(root, target, make=True) as (folder, name):
        if facts_at(folder, name) is not None:
            raise NotDone(f"{target!r} exists already; nothing was moved")
    return _meant(entry, {"verb": "move", "source": source, "target": target, "was": identity(facts)})


def moved(root: int, record: Record) -> bool:
    """Whether the rename happened. OutcomeUnknown when the file is at neither name: others moved it too."""
    if identity_of(root, record["source"]) == record["was"]:
        return False
    if identity_of(root, record["target"]) == record["was"]:
        return True
    raise OutcomeUnknown(f"{record['source']!r} is at neither its old nor its new name; somebody changed it since")


def rename(root: int, source: str, target: str, inode: int) -> None:
    with (
        parent_folder(root, source) as (old, name),
        parent_folder(root, target, make=True) as (new, new_name),
    ):
        try:
            rename_new(old, name, new, new_name)
        except FileExistsError as error:
            raise NotDone(f"{target!r} exists by now; nothing was moved") from error
        except FileNotFoundError as error:
            raise NotDone(f"there is no file {source!r} any more; nothing was moved") from error
        there = facts_at(new, new_name)
        if there is None or there.st_ino != inode:
            rename_new(new, new_name, old, name)
            raise NotDone(f"{source!r} was replaced meanwhile; nothing was moved")
        os.fsync(old)
        os.fsync(new)


def identity_of(root: int, path: str) -> list[int] | None:
    try:
        with parent_folder(root, path) as (folder, name):
            facts = facts_at(folder, name)
    except NotDone:
        return None
    return None if facts is None else identity(facts)


def move_result(entry: Entry, record: Record) -> Record:
    source, target = record["source"], record["target"]
    summary = f"Moved {source} to {target}"
    return {"source": source, "target": target, "summary": summary, "trash": entry.key}


def counted(paths: list[str]) -> str:
    shown = ", ".join(paths[:NAMES_SHOWN])
    more = f" and {len(paths) - NAMES_SHOWN} more" if len(paths) > NAMES_SHOWN else ""
    return f"{len(paths)} file{'' if len(paths) == 1 else 's'}: {shown}{more}"


def sized(count: int) -> str:
    if count == 1:
        return "1 byte"
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count //= 1000
    return f"{count} GB"


def _meant(entry: Entry, record: Record) -> Record:
    entry.save(record)
    return record


def _done(entry: Entry, record: Record, result: Record) -> Record:
    entry.save({**record, "result": result})
    return {**record, "result": result}


def _result(record: Record) -> Record:
    result: Record = record["result"]
    return result


def _same(entry: Entry, record: Record, verb: str, same: bool) -> None:
    if record["verb"] != verb or not same:
        raise NotDone(f"the key {entry.key} was used for something else; nothing was changed")
    if "emptied" in record and "result" not in record:
        raise OutcomeUnknown(f"the trash of {entry.key} was emptied before the change was known to be complete")
