"""Takes back what `changes` did, from the trash entry of the step that did it, and tells probes how far that got.

Never over anything that came since: a file that was made or edited meanwhile stays, and the refusal says so. Like
the changes themselves, an undo may be run again and then finishes or reports what the first run did.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

from worker.skills import changes
from worker.skills.beneath import parent_folder, regular_file
from worker.skills.changes import Record, counted, identity_of
from worker.skills.context import Probe
from worker.skills.errors import NotDone, OutcomeUnknown
from worker.skills.renames import rename_new, swap
from worker.skills.trash import Entry, Trash, facts_at


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
    taken = [path for path in record.get("result", {}).get("deleted", [])]
    in_the_way = [path for _, path in waiting if _exists(root, path)]
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
        if entry.inode("undone") != record["inode"]:
            _refuse_changed(root, record)
            with parent_folder(root, path) as (folder, name):
                rename_new(folder, name, entry.fd, "undone")
                os.fsync(folder)
        return {"summary": f"Removed {path} again", "restored": []}
    old = "old" if entry.facts("old") else "new"
    if entry.inode(old) == record["replaces"][0]:
        _refuse_changed(root, record)
        with parent_folder(root, path) as (folder, name):
            if not swap(entry.fd, old, folder, name):
                os.rename(old, name, src_dir_fd=entry.fd, dst_dir_fd=folder)
            os.fsync(folder)
    return {"summary": f"Put back what {path} was before", "restored": [path]}


def _unmove(root: int, entry: Entry, record: Record) -> Record:
    source, target, was = record["source"], record["target"], record["was"]
    if identity_of(root, source) != was:
        if identity_of(root, target) != was:
            raise NotDone(f"{target!r} was changed or moved since; it was left where it is")
        changes.rename(root, target, source, was[0])
    return {"summary": f"Moved {target} back to {source}", "restored": [source]}


def _exists(root: int, path: str) -> bool:
    try:
        with parent_folder(root, path) as (folder, name):
            return facts_at(folder, name) is not None
    except NotDone:
        return False


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
            return Probe.not_happened(
                f"the trash has no record of {key}, and nothing is changed before it has one"
            )
        if "result" in record:
            return Probe.happened(f"recorded as complete: {record['result']['summary']}", record["result"])
        if "emptied" in record:
            return Probe.unsure("the trash was emptied before the change was known to be complete")
        if record["verb"] == "delete":
            return _delete_outcome(entry, record)
        try:
            if record["verb"] == "write":
                done, result = (
                    changes.written(entry, record),
                    changes.write_result(entry, record),
                )
            else:
                done, result = (
                    changes.moved(root, record),
                    changes.move_result(entry, record),
                )
        except OutcomeUnknown as error:
            return Probe.unsure(error.message)
        return (
            Probe.happened(result["summary"], result)
            if done
            else Probe.not_happened("planned, but not begun")
        )


def _delete_outcome(entry: Entry, record: Record) -> Probe:
    result = changes.deleted(entry, record, [])
    gone, meant = len(result["deleted"]), len(record["files"])
    if gone == meant:
        return Probe.happened(result["summary"], result)
    if gone == 0:
        return Probe.not_happened("planned, but no file was moved")
    return Probe.unsure(f"{gone} of {meant} files are in the trash: {', '.join(result['deleted'])}")
