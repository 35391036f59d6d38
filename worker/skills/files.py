"""Skills on the workspace folder: list, read, write, move, delete. What they change can be taken back.

All changes are idempotent by the step's key: the trash keeps a record per key, so the same call again finishes what
a crashed one began and returns the same result (see `changes`). Probes read that record.
"""

from __future__ import annotations

import asyncio
import base64
import codecs
import difflib
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from core.models import Permission
from worker.skills.beneath import clean_path, readable_path
from worker.skills.changes import sized
from worker.skills.context import Probe, SkillContext
from worker.skills.errors import NotDone
from worker.skills.skill import Content, Control, skill

FILES_MOST: Final = 500
PATTERN_CHARS: Final = 256
DIFF_BYTES: Final = 100_000
PREVIEW_FILES: Final = 40

ExistingFile = Annotated[str, AfterValidator(clean_path)]
NewFile = Annotated[str, AfterValidator(readable_path)]


def each_once(paths: list[str]) -> list[str]:
    if len(set(paths)) != len(paths):
        raise ValueError("a file is named twice")
    return paths


@skill(permissions=[(Permission.READ, "files:{pattern}")], effect="pure", card="List {pattern} in the workspace")
async def list_(
    ctx: SkillContext, pattern: Annotated[str, Control, Field(max_length=PATTERN_CHARS)] = "*"
) -> dict[str, Any]:
    """List files of the workspace whose path matches a pattern such as `*.log` or `**/*.md`."""
    found = await asyncio.to_thread(ctx.files.find, pattern)
    result: dict[str, Any] = {"paths": list(found.paths), "count": len(found.paths)}
    if found.truncated:
        result["truncated"] = True
    if found.unnameable:
        result["unnameable"] = found.unnameable
    return result


@skill(permissions=[(Permission.READ, "files:{path}")], effect="pure", card="Read {path} in the workspace")
async def read(ctx: SkillContext, path: Annotated[ExistingFile, Control]) -> dict[str, Any]:
    """Read a file of the workspace: its text, or base64 when it is not text; long files are cut."""
    data, size = await asyncio.to_thread(ctx.files.read, path)
    return {"path": path, "bytes": size, "truncated": len(data) < size, **in_json(data, len(data) < size)}


def in_json(data: bytes, is_cut: bool) -> dict[str, str]:
    """`{"text"}` for UTF-8 without NUL (which jsonb cannot hold), else `{"base64"}`."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(data, final=not is_cut)
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
    return {"base64": base64.b64encode(data).decode()} if "\0" in text else {"text": text}


@skill(
    permissions=[(Permission.WRITE, "files:{path}")],
    effect="idempotent",
    reversible=True,
    card="Write {path} in the workspace",
    names_files=("path",),
)
async def write(
    ctx: SkillContext,
    path: Annotated[NewFile, Control],
    content: Annotated[str, Content],
    overwrite: Annotated[bool, Control] = False,
) -> dict[str, Any]:
    """Write a text file into the workspace. Only overwrite=true replaces an existing one, which the trash keeps."""
    return await asyncio.to_thread(ctx.files.write, ctx.key, path, content.encode(), overwrite)


@write.preview
async def _(ctx: SkillContext, path: str, content: str, overwrite: bool) -> str | None:
    size = await asyncio.to_thread(ctx.files.size, path)
    if size is None:
        return f"new file, {sized(len(content.encode()))}"
    if not overwrite:
        raise NotDone(f"{path!r} exists ({sized(size)}); say overwrite=true to replace it")
    old, _ = await asyncio.to_thread(ctx.files.read, path, DIFF_BYTES)
    lines = difflib.unified_diff(
        old.decode(errors="replace").splitlines(),
        content[:DIFF_BYTES].splitlines(),
        "now",
        "after",
        lineterm="",
    )
    return "\n".join(lines) or "no change"


@write.probe
async def _(ctx: SkillContext, path: str, content: str, overwrite: bool) -> Probe:
    return await asyncio.to_thread(ctx.files.outcome, ctx.key)


@write.undo
async def _(ctx: SkillContext, result: dict[str, Any], path: str, content: str, overwrite: bool) -> dict[str, Any]:
    return await asyncio.to_thread(ctx.files.undo, recorded_key(result))


@skill(
    permissions=[(Permission.WRITE, "files:{source}"), (Permission.WRITE, "files:{target}")],
    effect="idempotent",
    reversible=True,
    card="Move {source} to {target} in the workspace",
    names_files=("source", "target"),
)
async def move(
    ctx: SkillContext, source: Annotated[ExistingFile, Control], target: Annotated[NewFile, Control]
) -> dict[str, Any]:
    """Move or rename a file of the workspace; an existing file is never replaced."""
    return await asyncio.to_thread(ctx.files.move, ctx.key, source, target)


@move.preview
async def _(ctx: SkillContext, source: str, target: str) -> str | None:
    size = await asyncio.to_thread(ctx.files.size, source)
    if size is None:
        raise NotDone(f"there is no file {source!r}")
    if await asyncio.to_thread(ctx.files.size, target) is not None:
        raise NotDone(f"{target!r} exists already, and a move never replaces a file")
    return f"{source} ({sized(size)}) → {target}"


@move.probe
async def _(ctx: SkillContext, source: str, target: str) -> Probe:
    return await asyncio.to_thread(ctx.files.outcome, ctx.key)


@move.undo
async def _(ctx: SkillContext, result: dict[str, Any], source: str, target: str) -> dict[str, Any]:
    return await asyncio.to_thread(ctx.files.undo, recorded_key(result))


@skill(
    permissions=[(Permission.DELETE, "files:{paths}")],
    effect="idempotent",
    reversible=True,
    card="Delete {paths} from the workspace",
    names_files=("paths",),
)
async def delete(
    ctx: SkillContext,
    paths: Annotated[
        list[ExistingFile], Control, Field(min_length=1, max_length=FILES_MOST), AfterValidator(each_once)
    ],
) -> dict[str, Any]:
    """Delete files from the workspace. They stay in the trash for 30 days and can be put back."""
    return await asyncio.to_thread(ctx.files.delete, ctx.key, paths)


@delete.preview
async def _(ctx: SkillContext, paths: list[str]) -> str | None:
    return await asyncio.to_thread(lambda: "\n".join(_size_lines(ctx, paths)))


def _size_lines(ctx: SkillContext, paths: list[str]) -> list[str]:
    sizes: dict[str, int] = {}
    for path in paths:
        size = ctx.files.size(path)
        if size is None:
            raise NotDone(f"there is no file {path!r}")
        sizes[path] = size
    lines = [f"{path}: {sized(size)}" for path, size in list(sizes.items())[:PREVIEW_FILES]]
    if len(sizes) > PREVIEW_FILES:
        lines.append(f"… and {len(sizes) - PREVIEW_FILES} more")
    total = f"{len(paths)} in all, {sized(sum(sizes.values()))}"
    return [*lines, total] if len(paths) > 1 else lines


@delete.probe
async def _(ctx: SkillContext, paths: list[str]) -> Probe:
    return await asyncio.to_thread(ctx.files.outcome, ctx.key)


@delete.undo
async def _(ctx: SkillContext, result: dict[str, Any], paths: list[str]) -> dict[str, Any]:
    return await asyncio.to_thread(ctx.files.undo, recorded_key(result))


def recorded_key(result: dict[str, Any]) -> str:
    key = result.get("trash")
    if not isinstance(key, str):
        raise NotDone("the recorded result names no trash entry, so there is nothing to undo from")
    return key
