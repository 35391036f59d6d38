"""What a skill is given: who asked, the key that makes its call recognisable, and handles for what it declared.

A skill that declares `("delete", "files:{paths}")` gets the `files` handle and no other; one that declares only
`read` on it gets a handle that refuses to change anything. The executor puts all handles in, `Skill` narrows them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from core.models import Permission, SkillManifest
from worker.skills.errors import NotDone

if TYPE_CHECKING:
    from worker.skills.http_client import HttpClient
    from worker.skills.mailer import Mailer
    from worker.skills.workspace import Workspace

T = TypeVar("T")
State = Literal["happened", "not_happened", "unsure"]


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether a call happened, and how we know. `result` is what the call would have returned, where it did."""

    state: State
    evidence: str
    result: dict[str, Any] | None = None

    @classmethod
    def happened(cls, evidence: str, result: dict[str, Any] | None = None) -> Probe:
        return cls("happened", evidence, result)

    @classmethod
    def not_happened(cls, evidence: str) -> Probe:
        return cls("not_happened", evidence)

    @classmethod
    def unsure(cls, evidence: str) -> Probe:
        return cls("unsure", evidence)


class Notes(Protocol):
    """Long-term memory of the person (or conversation, or organisation) that the task belongs to."""

    async def remember(self, text: str, scope: str, key: str) -> str:
        """Write one note and return its id; the same key again returns the same id and writes nothing."""

    async def recall(self, query: str, limit: int) -> list[dict[str, Any]]:
        """The notes nearest to the query, best first: id, text, scope, at, origin."""

    async def forget(self, note_id: str) -> bool:
        """Take a note back; False when there is none (any more)."""


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file that came with the task's messages; `name` is the sender's, made harmless."""

    name: str
    mime: str
    size: int


class Attachments(Protocol):
    """What is attached to the task, by its number."""

    async def open(self, number: int) -> AttachedFile:
        """Raises `NotDone` when there is none of this number here."""

    async def read(self, number: int, offset: int, most_bytes: int) -> bytes:
        """Some of its bytes; raises as `open` does."""


@dataclass(frozen=True, slots=True)
class Handles:
    """The ways out of a skill. None is a handle that this skill does not have."""

    files: Workspace | None = None
    http: HttpClient | None = None
    mail: Mailer | None = None
    notes: Notes | None = None
    attachments: Attachments | None = None

    def guarded(self, may_call: Callable[[], bool]) -> Handles:
        """The same, those that reach out asking in the last moment whether they may."""
        return replace(
            self,
            http=self.http and self.http.guarded(may_call),
            mail=self.mail and self.mail.guarded(may_call),
        )

    def narrowed(self, may: Mapping[str, frozenset[Permission]]) -> Handles:
        """Only the handles named, each able to do only what its permissions say."""
        files = self.files.narrowed(may["files"]) if self.files and "files" in may else None
        http = self.http.narrowed(may["http"]) if self.http and "http" in may else None
        mail = self.mail.narrowed(may["mail"]) if self.mail and "mail" in may else None
        notes = NarrowedNotes(self.notes, may["notes"]) if self.notes and "notes" in may else None
        return Handles(files, http, mail, notes, self.attachments if "attachments" in may else None)


def declared(manifest: SkillManifest) -> dict[str, frozenset[Permission]]:
    """Pure: handle name → permissions, from the words before the colons of the resource patterns."""
    found: dict[str, frozenset[Permission]] = {}
    for one in manifest.permissions:
        name = one.resource.partition(":")[0]
        found[name] = found.get(name, frozenset()) | {one.permission}
    return found


@dataclass(frozen=True, slots=True)
class SkillContext:
    """`key` is `sayso:task:step:gen`. `deadline` is on `time.monotonic()`'s clock.

    `undo_of` is (arguments, result) of the step that an undo takes back. `settings` are the organisation's for the
    skill's namespace. `content_hashes` are those of the approved action, where there is one.
    """

    key: str
    task_id: str
    step: int
    requester_key: str
    handles: Handles = field(default_factory=Handles)
    deadline: float = float("inf")
    undo_of: tuple[dict[str, Any], dict[str, Any]] | None = None
    content_hashes: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> Workspace:
        return _there("files", self.handles.files)

    @property
    def http(self) -> HttpClient:
        return _there("http", self.handles.http)

    @property
    def mail(self) -> Mailer:
        return _there("mail", self.handles.mail)

    @property
    def notes(self) -> Notes:
        return _there("notes", self.handles.notes)

    @property
    def attachments(self) -> Attachments:
        return _there("attachments", self.handles.attachments)

    def left_s(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    def narrowed(self, may: Mapping[str, frozenset[Permission]], key: str | None = None) -> SkillContext:
        return SkillContext(
            key or self.key,
            self.task_id,
            self.step,
            self.requester_key,
            self.handles.narrowed(may),
            self.deadline,
            self.undo_of,
            self.content_hashes,
            self.settings,
        )


def _there(name: str, handle: T | None) -> T:
    if handle is None:
        raise NotDone(f"this skill has no {name} handle; declare a permission on '{name}:…' to get it")
    return handle


def refuse_unless(may: frozenset[Permission], handle: str, *wanted: Permission) -> None:
    """NotDone unless one of the wanted permissions was declared on the handle."""
    if not may.intersection(wanted):
        raise NotDone(f"this skill declares no {' or '.join(wanted)} permission on '{handle}:…', so it may not do this")


class NarrowedNotes:
    """`Notes` that can be written only by a skill that declared it."""

    def __init__(self, notes: Notes, may: frozenset[Permission]) -> None:
        self._notes = notes
        self._may = may

    async def remember(self, text: str, scope: str, key: str) -> str:
        refuse_unless(self._may, "notes", Permission.WRITE)
        return await self._notes.remember(text, scope, key)

    async def recall(self, query: str, limit: int) -> list[dict[str, Any]]:
        return await self._notes.recall(query, limit)

    async def forget(self, note_id: str) -> bool:
        refuse_unless(self._may, "notes", Permission.WRITE)
        return await self._notes.forget(note_id)
