"""Takes back what `changes` did, from the trash entry of the step that did it, and tells probes how far that got.

Never over anything that came since: a file that was made or edited meanwhile stays, and the refusal says so. Like
the changes themselves, an undo may be run again and then finishes or reports what the first run did.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any, Final

from worker.skills import changes
from worker.skills.beneath import parent_folder, regular_file
from worker.skills.changes import Record, counted, identity_of
from worker.skills.context import Probe
from worker.skills.errors import NotDone, OutcomeUnknown
from worker.skills.renames import rename_new, swap
from worker.skills.trash import Entry, Trash

# Only where the kernel has no rename that refuses to overwrite.
HALF_DONE: Final = "half done: one file has its old and its new name; running it again completes it"


def undo(root: int, trash: Trash, key: str) -> Record:
    """Take back the change that was made with this key. `{"summary", "restored": […]}`; NotDone says why not."""
    with trash.known(key) as entry:
        record = entry.record
        if record is None:
            raise NotDone("nothing was changed, so there is nothing to undo")
        if "undone" in record:
            undone: Record = record["undone"]
            return undone
        if "emptied" in record and record["verb"] != "move":
            raise NotDone("the trash was emptied since; what was there is gone")
        how = {"delete": _undelete, "write": _unwrite, "move": _unmove}[record["verb"]]
        result = how(root, entry, record)
        entry.save({**record, "undone": result})
        return result


def _undelete(root: int, entry: Entry, record: Record) -> Record:
    waiting = [(str(n), file["path"]) for n, file in enumerate(record["files"]) if entry.facts(str(n))]
    taken = record.get("result", {}).get("deleted", [])
    in_the_way = [path for slot, path in waiting if _in_the_way(root, entry, slot, path)]
    if in_the_way:
        raise NotDone(f"{', '.join(in_the_way)} exists again; nothing was put back over it")
    left = []
    for slot, path in waiting:
        with parent_folder(root, path, make=True) as (folder, name):
            try:
                rename_new(entry.fd, slot, folder, name)
            except FileExistsError:
                left.append(path)
            os.fsync(folder)
    back = [path for path in taken or [path for _, path in waiting] if path not in left]
    summary = f"Put back {counted(back)}" + (f"; {', '.join(left)} exists again and was left" if left else "")
    return {"summary": summary, "restored": back, "not_restored": left}


def _unwrite(root: int, entry: Entry, record: Record) -> Record:
    path = record["path"]
    if not changes.written(entry, record):
        raise NotDone("nothing was written, so there is nothing to undo")
    if record["replaces"] is None:
        half = entry.facts("undone")
        if half is None:
            _refuse_changed(root, record)
        if half is None or half.st_nlink > 1:
            with parent_folder(root, path) as (folder, name):
                rename_new(folder, name, entry.fd, "undone")
                os.fsync(folder)
        return {"summary": f"Removed {path} again", "restored": []}
    changes.keep_old(entry, record)
    if entry.inode("old") == record["replaces"][0]:
        _refuse_changed(root, record)
        with parent_folder(root, path) as (folder, name):
            if not swap(entry.fd, "old", folder, name):
                os.rename("old", name, src_dir_fd=entry.fd, dst_dir_fd=folder)
            os.fsync(folder)
    return {"summary": f"Put back what {path} was before", "restored": [path]}


def _unmove(root: int, entry: Entry, record: Record) -> Record:
    source, target, was = record["source"], record["target"], record["was"]
    at_source, at_target = identity_of(root, source) == was, identity_of(root, target) == was
    if not at_source and not at_target:
        raise NotDone(f"{target!r} was changed or moved since; it was left where it is")
    if at_target:
        changes.rename(root, target, source, was[0])
    return {"summary": f"Moved {target} back to {source}", "restored": [source]}


def _in_the_way(root: int, entry: Entry, slot: str, path: str) -> bool:
    """Whether another file has that name; the same one may have two after a crash (see `rename_by_link`)."""
    there = identity_of(root, path)
    return there is not None and there[0] != entry.inode(slot)


def _refuse_changed(root: int, record: Record) -> None:
    """What somebody edited since is theirs."""
    path = record["path"]
    with regular_file(root, path) as fd:
        same = os.fstat(fd).st_ino == record["inode"] and os.fstat(fd).st_size == record["bytes"]
        content = b"".join(iter(lambda: os.read(fd, 1 << 20), b"")) if same else b""
    if not same or hashlib.sha256(content).hexdigest() != record["sha256"]:
        raise NotDone(f"{path!r} was changed since; it was left as it is")


def outcome(root: int, trash: Trash, key: str) -> Probe:
    """Whether the change with this key happened, from its entry alone; changes nothing."""
    with trash.seen(key) as entry:
        record: dict[str, Any] | None = entry.record if entry else None
        if entry is None or record is None:
            return Probe.not_happened(f"the trash has no record of {key}, and it is made before any change")
        if "result" in record:
            return Probe.happened(f"recorded as complete: {record['result']['summary']}", record["result"])
        if "emptied" in record:
            return Probe.unsure("the trash was emptied before the change was known to be complete")
        how = {"delete": _delete_outcome, "write": _write_outcome, "move": _move_outcome}[record["verb"]]
        return how(root, entry, record)


def _delete_outcome(root: int, entry: Entry, record: Record) -> Probe:
    result = changes.deleted(entry, record, [])
    gone, meant = len(result["deleted"]), len(record["files"])
    if any(entry.facts(str(n)) and not changes.taken(entry, n) for n in range(meant)):
        return Probe.unsure(HALF_DONE)
    if gone == meant:
        return Probe.happened(result["summary"], result)
    if gone == 0:
        return Probe.not_happened("planned, but no file was moved")
    return Probe.unsure(f"{gone} of {meant} files are in the trash: {', '.join(result['deleted'])}")


def _write_outcome(root: int, entry: Entry, record: Record) -> Probe:
    if changes.written(entry, record):
        result = changes.write_result(entry, record)
        return Probe.happened(result["summary"], result)
    there = identity_of(root, record["path"])
    if there and there[0] == record["inode"]:
        return Probe.unsure(HALF_DONE)
    return Probe.not_happened("planned, but not begun")


def _move_outcome(root: int, entry: Entry, record: Record) -> Probe:
    try:
        done = changes.moved(root, record)
    except OutcomeUnknown as error:
        return Probe.unsure(error.message)
    if done:
        result = changes.move_result(entry, record)
        return Probe.happened(result["summary"], result)
    if identity_of(root, record["target"]) == record["was"]:
        return Probe.unsure(HALF_DONE)
    return Probe.not_happened("planned, but not begun")
