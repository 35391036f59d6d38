"""Skills on long-term memory: remember a note, recall notes.

What is recalled may hold words of others, so the results count as untrusted. Where notes live is the caller's.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from core.models import Permission
from worker.skills.context import SkillContext
from worker.skills.errors import NotDone
from worker.skills.skill import Content, Control, skill

NOTE_CHARS: Final = 4_000
QUERY_CHARS: Final = 500
RECALL_MOST: Final = 20

Scope = Literal["person", "conversation", "org"]


@skill(
    permissions=[(Permission.WRITE, "notes:{scope}")],
    effect="idempotent",
    reversible=True,
    card="Remember for the {scope}: {text}",
)
async def remember(
    ctx: SkillContext,
    text: Annotated[str, Content, Field(min_length=1, max_length=NOTE_CHARS)],
    scope: Annotated[Scope, Control] = "person",
) -> dict[str, Any]:
    """Remember a note for later, for this person, this conversation or the organisation."""
    return {"id": await ctx.notes.remember(text, scope, ctx.key), "summary": f"Remembered: {text[:80]}"}


@remember.undo
async def _(ctx: SkillContext, result: dict[str, Any], text: str, scope: Scope) -> dict[str, Any]:
    if "id" not in result:
        raise NotDone("the recorded result names no note")
    await ctx.notes.forget(str(result["id"]))
    return {"summary": f"Forgot: {text[:80]}"}


@skill(permissions=[(Permission.READ, "notes:*")], effect="pure", card="Recall notes about {query}")
async def recall(
    ctx: SkillContext,
    query: Annotated[str, Control, Field(min_length=1, max_length=QUERY_CHARS)],
    limit: Annotated[int, Control, Field(ge=1, le=RECALL_MOST)] = 5,
) -> dict[str, Any]:
    """Find remembered notes about something."""
    notes = await ctx.notes.recall(query, limit)
    return {"notes": notes, "count": len(notes)}
