"""Skills on what came with the task's messages: read more of a text, save a file into the workspace.

Both reach only what is attached to their own task. Names that senders gave are never a path.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from pydantic import Field

from core import config
from core.models import Permission
from worker.skills.context import Probe, SkillContext
from worker.skills.errors import NotDone
from worker.skills.files import NewFile, in_json, recorded_key
from worker.skills.skill import Content, Control, skill

# A turn is shown so much of a result and no more.
READ_BYTES: Final = 5_000

Number = Annotated[int, Field(ge=1)]
Offset = Annotated[int, Field(ge=0, le=config.ATTACHMENT_BYTES)]


@skill(permissions=[(Permission.READ, "attachments:{id}")], effect="pure", card="Read the attached file {id}")
async def read(
    ctx: SkillContext, id: Annotated[Number, Content], offset: Annotated[Offset, Content] = 0
) -> dict[str, Any]:
    """Read an attached file from a byte on: its text, or base64 when it is not text; `next` is where the rest begins."""
    file = await ctx.attachments.open(id)
    data = await ctx.attachments.read(id, offset, READ_BYTES)
    end = offset + len(data)
    more = {"next": end} if end < file.size else {}
    return {"name": file.name, "bytes": file.size, **more, **in_json(data, bool(more))}


@skill(
    permissions=[(Permission.WRITE, "files:{path}"), (Permission.READ, "attachments:{id}")],
    effect="idempotent",
    reversible=True,
    card="Save the attached file {id} as {path} in the workspace",
    names_files=("path",),
)
async def save(
    ctx: SkillContext,
    id: Annotated[Number, Content],
    path: Annotated[NewFile, Control],
    overwrite: Annotated[bool, Control] = False,
) -> dict[str, Any]:
    """Save an attached file into the workspace. Only overwrite=true replaces an existing one, which the trash keeps."""
    file = await ctx.attachments.open(id)
    data = await ctx.attachments.read(id, 0, file.size)
    if len(data) != file.size:
        raise NotDone(f"The attached file {id} can't be read whole.")
    return await asyncio.to_thread(ctx.files.write, ctx.key, path, data, overwrite)


@save.probe
async def _(ctx: SkillContext, id: int, path: str, overwrite: bool) -> Probe:
    return await asyncio.to_thread(ctx.files.outcome, ctx.key)


@save.undo
async def _(ctx: SkillContext, result: dict[str, Any], id: int, path: str, overwrite: bool) -> dict[str, Any]:
    return await asyncio.to_thread(ctx.files.undo, recorded_key(result))
