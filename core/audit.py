"""The audit log's chain: each row's hash covers its own content and the hash of the row before it.

Pure. `store.audit` numbers rows in the order in which they were committed and writes the hashes; `Verifier` goes through
rows and anchors as they come and names the first row that is not as it was. An anchor is a head that was written down
outside the table, so that a table that was cut off or written anew as a whole is noticed as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from core.digest import canonical, sha256

FIRST: Final = "0" * 64
ANCHORS: Final = "audit-anchors.jsonl"
_INTEGER_MOST: Final = 2**53 - 1


class NotAnAnchor(ValueError):
    """A line of the anchor file that is none; the message says which."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row. `data` is a JSON object; `hash` None while the row is not chained yet."""

    seq: int
    at: datetime
    kind: str
    actor: str
    task: str | None
    approval: str | None
    data: Mapping[str, Any]
    prev_hash: str | None = None
    hash: str | None = None

    def line(self) -> dict[str, Any]:
        """The row as it is hashed and exported, without its hash. Times are UTC with microseconds."""
        return {
            "seq": self.seq,
            "at": self.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "kind": self.kind,
            "actor": self.actor,
            "task": self.task,
            "approval": self.approval,
            "data": _plain(self.data),
            "prev_hash": self.prev_hash,
        }


@dataclass(frozen=True, slots=True)
class Anchor:
    """The head of the chain as it was seen at a time."""

    seq: int
    hash: str
    at: str = ""

    def line(self) -> str:
        return json.dumps({"seq": self.seq, "hash": self.hash, "at": self.at})


@dataclass(frozen=True, slots=True)
class Verified:
    """What a look at the whole chain found. `fault` names the first bad row; None when all is as it was.

    `unchained` rows have no hash yet: a moment's worth is normal, more means that no worker runs. `unanchored` rows
    stand behind the last anchor: nothing outside the table vouches for them yet.
    """

    rows: int
    head: Anchor | None
    unchained: int
    unanchored: int
    fault: str | None = None


def entry_hash(entry: Entry) -> str:
    """SHA-256 of the row's RFC 8785 text, `prev_hash` included."""
    return sha256(canonical(entry.line()))


@dataclass(slots=True)
class Verifier:
    """Takes all rows in order of `seq`, one by one, and keeps only what the next one is held against."""

    anchors: Mapping[int, Anchor]
    rows: int = 0
    head: Anchor | None = None
    fault: str | None = None

    @classmethod
    def against(cls, anchors: Iterable[Anchor]) -> Verifier:
        return cls({anchor.seq: anchor for anchor in anchors})

    def take(self, entry: Entry) -> bool:
        """False once a row is not as it was: the others need not be looked at."""
        before = self.head.hash if self.head else FIRST
        self.fault = self.fault or _fault(entry, self.rows + 1, before, self.anchors.get(self.rows + 1))
        if self.fault is None:
            self.rows += 1
            self.head = Anchor(self.rows, str(entry.hash), entry.line()["at"])
        return self.fault is None

    def found(self, unchained: int = 0) -> Verified:
        """What is to be said once every row was taken."""
        last = max(self.anchors, default=0)
        fault = self.fault
        if fault is None and last > self.rows:
            fault = f"row {self.rows + 1} is missing: the log ends with row {self.rows}, but row {last} was anchored"
        return Verified(self.rows, self.head, unchained, max(self.rows - last, 0), fault)


def verify(entries: Iterable[Entry], anchors: Iterable[Anchor] = ()) -> Verified:
    """The same for rows that are at hand."""
    verifier = Verifier.against(anchors)
    all(verifier.take(entry) for entry in entries)
    return verifier.found()


def _fault(entry: Entry, seq: int, before: str, anchor: Anchor | None) -> str | None:
    if entry.seq != seq:
        return f"row {seq} is missing: the next one is row {entry.seq}"
    if entry.prev_hash != before:
        return f"row {seq} does not follow the row before it: one of the two was replaced"
    if entry.hash != entry_hash(entry):
        return f"row {seq} was changed: its content does not have its hash ({entry.kind} by {entry.actor})"
    if anchor is not None and anchor.hash != entry.hash:
        return f"row {seq} is not the one that was anchored: the log was written anew from here or before"
    return None


def read_anchors(lines: Iterable[str]) -> Iterator[Anchor]:
    """The anchors of a file, one JSON object a line. A last line that was cut by a crash is passed over."""
    text = [line for line in lines if line.strip()]
    for number, line in enumerate(text, start=1):
        try:
            found = json.loads(line)
            yield Anchor(int(found["seq"]), str(found["hash"]), str(found.get("at", "")))
        except (ValueError, KeyError, TypeError) as error:
            if number < len(text):
                raise NotAnAnchor(f"line {number} of the anchors is no anchor: {line.strip()[:80]!r}") from error


def read_export(lines: Iterable[str]) -> Iterator[Entry]:
    """The rows of an export in JSON lines. Raises `ValueError` with the line's number."""
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            yield Entry(
                seq=row["seq"],
                at=datetime.strptime(row["at"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC),
                kind=row["kind"],
                actor=row["actor"],
                task=row["task"],
                approval=row["approval"],
                data=row["data"],
                prev_hash=row["prev_hash"],
                hash=row["hash"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"line {number} is no row of an export: {error!r}") from error


def _plain(value: Any) -> Any:
    """A number that has no canonical form is hashed as the text that it is."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) > _INTEGER_MOST:
        return str(value)
    return value


@dataclass(slots=True)
class Pace:
    """When the head is to be anchored: once it has moved, but at most every `every_s` seconds."""

    every_s: float
    moved: bool = False
    at_s: float = field(default=float("-inf"))

    def is_due(self, now_s: float) -> bool:
        return self.moved and now_s - self.at_s >= self.every_s

    def anchored(self, now_s: float) -> None:
        self.moved, self.at_s = False, now_s
