"""What a skill gets for one call: its key, its handles, the notes of the person asked for, and what an undo needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from core.db import Pool
from core.models import Claimed
from core.organisation import note_scopes
from core.organisation.rights import NOTE_SCOPES
from core.store import attachments, memories, steps
from core.store.attachments import Attachment
from core.store.people import Principal
from worker.skills.context import AttachedFile, Handles, SkillContext
from worker.skills.errors import BadArguments, NotDone
from worker.skills.run import Skill

if TYPE_CHECKING:
    from worker.act import Actor

UNDO = ".undo"


def effect_key(step: Claimed) -> str:
    """The same for every attempt of a generation, so that a vendor or a probe recognises the call."""
    return f"sayso:{step.task_id}:{step.n}:{step.gen}"


async def context_for(actor: Actor, step: Claimed, skill: Skill, requester: Principal) -> SkillContext:
    """Raises `BadArguments` when an undo names a step that this person did not have done."""
    db, handles = actor.deps.db, actor.handles
    scopes = partial(note_scopes, actor.deps.organisation, requester.roles)
    notes = StoredNotes(db, requester.id, step.conversation_id, scopes)
    return SkillContext(
        key=effect_key(step),
        task_id=str(step.task_id),
        step=step.n,
        requester_key=requester.key,
        handles=Handles(handles.files, handles.http, handles.mail, notes, StoredAttachments(db, step.task_id)),
        deadline=time.monotonic() + step.timeout_s,
        undo_of=await _undo_of(db, step, requester) if step.skill.endswith(UNDO) else None,
        settings=actor.registry.settings_of(skill.manifest.name),
    )


async def _undo_of(db: Pool, step: Claimed, requester: Principal) -> tuple[dict[str, Any], dict[str, Any]]:
    task, number = str(step.args.get("task", "")), step.args.get("step")
    if not task.isdigit() or not isinstance(number, int):
        raise BadArguments("An undo names the task and the step that it takes back, e.g. task=12 step=1.")
    done = await steps.effect_of(db, int(task), number, requester.id, "owner" in requester.roles)
    if done is None or done["status"] != "succeeded" or done["skill"] + UNDO != step.skill:
        raise BadArguments(f"There is no done {step.skill.removesuffix(UNDO)} in step {number} of task {task}.")
    return done["action"]["args"], done["result"] or {}


@dataclass(frozen=True, slots=True)
class StoredNotes:
    """`Notes` over long-term memory, as one person in one conversation may use it; `scopes` answers what may be read."""

    db: Pool
    principal: int
    conversation: int | None
    scopes: Callable[[], tuple[str, ...]] = lambda: memories.SCOPES

    async def remember(self, text: str, scope: str, key: str) -> str:
        if scope == "conversation" and self.conversation is None:
            raise NotDone("this task has no conversation to remember it for; say scope=person")
        kept = NOTE_SCOPES[scope]
        made = await memories.remember(
            self.db, self.principal, text, origin="requester", scope=kept, conversation=self.conversation, key=key
        )
        return str(made)

    async def recall(self, query: str, limit: int) -> list[dict[str, Any]]:
        found = await memories.recall(self.db, self.principal, query, limit, self.conversation, scopes=self.scopes())
        return [
            {
                "id": str(n["id"]),
                "text": n["body"],
                "scope": n["scope"],
                "at": n["created_at"].isoformat(),
                "origin": n["origin"],
            }
            for n in found
        ]

    async def forget(self, note_id: str) -> bool:
        return note_id.isdigit() and await memories.forget(self.db, self.principal, int(note_id))


@dataclass(frozen=True, slots=True)
class StoredAttachments:
    """`Attachments` of one task, and of no other."""

    db: Pool
    task: int

    async def open(self, number: int) -> AttachedFile:
        one = await self._one(number)
        return AttachedFile(one.name, one.mime, one.size or 0)

    async def read(self, number: int, offset: int, most_bytes: int) -> bytes:
        return await attachments.content(self.db, (await self._one(number)).id, offset, most_bytes)

    async def _one(self, number: int) -> Attachment:
        found = next((a for a in await attachments.of_task(self.db, self.task) if a.id == number), None)
        if found is None:
            raise NotDone(f"nothing with the number {number} is attached to this task")
        if found.state != "here" or (found.words is not None and found.size is None):
            raise NotDone(f"{found.name} is not here: {found.why or 'it has not arrived yet'}")
        return found
