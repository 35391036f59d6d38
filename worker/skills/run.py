"""A finished skill as the executor sees it: validate, preview, hash, run, probe, undo.

Every call goes through here with handles cut down to what the skill declared, and every answer comes back as plain
JSON. It decides nothing about permission, retries or timeouts: those are the policy's and the executor's.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import rfc8785
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import ErrorDetails, to_jsonable_python

from core import digest
from core.models import ArgumentRole, EffectClass, Permission, PermissionOn, SkillManifest
from worker.skills.context import Probe, SkillContext, declared
from worker.skills.errors import BadArguments, NotDone

ARGUMENT_BYTES: Final = 1_000_000
PREVIEW_CHARS: Final = 8_000
UNDO_MAY: Final = frozenset({Permission.READ, Permission.WRITE})
LOOK_MAY: Final = frozenset({Permission.READ})

Call = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Skill:
    """`parts` are the optional functions by name: preview, probe, undo, content_hashes."""

    manifest: SkillManifest
    model: type[BaseModel]
    call: Call
    parts: Mapping[str, Call] = field(default_factory=dict)
    _may: Mapping[str, frozenset[Permission]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_may", declared(self.manifest))

    def validate(self, args: dict[str, Any]) -> dict[str, Any]:
        """The arguments with defaults filled in, as canonical JSON can hold them; else BadArguments."""
        checked: dict[str, Any] = self._checked(args).model_dump(mode="json")
        refuse_unspeakable(self.manifest.name, checked)
        return checked

    def target(self, args: dict[str, Any]) -> str:
        """What is acted on, in words: the resource of the heaviest permission with the arguments filled in."""
        heaviest = next(p for p in self.manifest.permissions if p.permission is self.manifest.permission)
        words = {name: ", ".join(map(str, v)) if isinstance(v, list) else str(v) for name, v in args.items()}
        return heaviest.resource.format_map({**dict.fromkeys(self.manifest.roles, ""), **words})

    async def run(self, ctx: SkillContext, args: dict[str, Any]) -> dict[str, Any]:
        """Do it. NotDone, OutcomeUnknown and BadArguments as in `errors`; anything else by effect class."""
        checked = self._checked(args)
        return jsonable(await self.call(self._mine(ctx), **values(checked)))

    async def preview(self, ctx: SkillContext, args: dict[str, Any]) -> str | None:
        if "preview" not in self.parts:
            return None
        text = await self.parts["preview"](self._looking(ctx), **values(self._checked(args)))
        return None if text is None else cut(str(text))

    async def probe(self, ctx: SkillContext, args: dict[str, Any], key: str) -> Probe:
        """Whether the call with this key happened. Never raises: what cannot be found out is `unsure`."""
        if "probe" not in self.parts:
            return Probe.unsure(f"{self.manifest.name} has no probe")
        try:
            found: Probe = await self.parts["probe"](self._looking(ctx, key), **values(self._checked(args)))
        except Exception as error:  # whatever it raises, it did not find out
            return Probe.unsure(f"the probe failed: {type(error).__name__}: {error}")
        return found

    async def undo(self, ctx: SkillContext, args: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
        """Take back the call that had these arguments and this result."""
        if "undo" not in self.parts:
            raise NotDone(f"{self.manifest.name} cannot be undone")
        may = {name: given | UNDO_MAY for name, given in declared(self.manifest).items()}
        answer = await self.parts["undo"](ctx.narrowed(may), result, **values(self._checked(args)))
        return jsonable(answer)

    async def content_hashes(self, ctx: SkillContext, args: dict[str, Any]) -> dict[str, str]:
        """SHA-256 of everything that the arguments only name. A named file that is absent has no entry.

        Once the call with `ctx.key` has begun, these stay what they were before it; a second run is the same action.
        """
        if "content_hashes" not in self.parts and not self.manifest.names_files:
            return {}
        checked = self._checked(args)
        if "content_hashes" in self.parts:
            hashes: dict[str, str] = await self.parts["content_hashes"](self._looking(ctx), **values(checked))
            return hashes
        named = [getattr(checked, name) for name in self.manifest.names_files]
        paths = [path for one in named for path in (one if isinstance(one, list) else [one])]
        return await asyncio.to_thread(self._looking(ctx).files.hashes, ctx.key, paths)

    def _checked(self, args: dict[str, Any]) -> BaseModel:
        try:
            return self.model.model_validate(args)
        except ValidationError as error:
            raise BadArguments(in_words(self.manifest.name, error, tuple(self.manifest.roles))) from error

    def _mine(self, ctx: SkillContext) -> SkillContext:
        return ctx.narrowed(self._may)

    def _looking(self, ctx: SkillContext, key: str | None = None) -> SkillContext:
        return ctx.narrowed(dict.fromkeys(self._may, LOOK_MAY), key)


def undo_skill(of: Skill) -> Skill:
    """`<name>.undo`: takes back what one step of that skill did. The executor passes its record in `ctx.undo_of`."""
    name = of.manifest.name
    model = create_model(f"{name}.undo", __config__=ConfigDict(extra="forbid"), task=(str, ...), step=(int, ...))
    schema = model.model_json_schema()
    resources = dict.fromkeys(p.resource.partition(":")[0] for p in of.manifest.permissions)

    async def call(ctx: SkillContext, task: str, step: int) -> dict[str, Any]:
        if ctx.undo_of is None:
            raise NotDone(f"step {step} of task {task} left no record of {name}, so it cannot be undone")
        return await of.undo(ctx, *ctx.undo_of)

    manifest = SkillManifest(
        name=f"{name}.undo",
        version=of.manifest.version,
        summary=f"Undo what {name} did in a step.",
        args_schema=schema,
        schema_hash=hashlib.sha256(rfc8785.dumps(schema)).hexdigest(),
        permissions=tuple(PermissionOn(permission=Permission.WRITE, resource=f"{r}:*") for r in resources),
        effect_class=EffectClass.IDEMPOTENT,
        reversible=True,
        roles={"task": ArgumentRole.CONTROL, "step": ArgumentRole.CONTROL},
        card=f"Undo: {name} in step {{step}} of task {{task}}",
        timeout_s=of.manifest.timeout_s,
    )
    return Skill(manifest, model, call)


def values(checked: BaseModel) -> dict[str, Any]:
    return {name: getattr(checked, name) for name in type(checked).model_fields}


def jsonable(value: Any) -> dict[str, Any]:
    """A JSON object from whatever a skill returned; what is not an object is wrapped, never lost."""
    plain = to_jsonable_python(value, fallback=repr, inf_nan_mode="strings", bytes_mode="base64")
    return plain if isinstance(plain, dict) else {"value": plain}


def cut(text: str) -> str:
    return text if len(text) <= PREVIEW_CHARS else f"{text[:PREVIEW_CHARS]}\n… {len(text) - PREVIEW_CHARS} more"


def refuse_unspeakable(name: str, args: dict[str, Any]) -> None:
    """What cannot be hashed canonically or stored as jsonb cannot be approved either."""
    try:
        text = digest.rfc8785_bytes(args)
    except (rfc8785.CanonicalizationError, ValueError) as error:
        raise BadArguments(f"{name}: the arguments have no canonical form ({error})") from error
    if len(text) > ARGUMENT_BYTES:
        raise BadArguments(f"{name}: the arguments have {len(text)} bytes; at most {ARGUMENT_BYTES} are taken")
    if b"\\u0000" in text.replace(b"\\\\", b""):
        raise BadArguments(f"{name}: the arguments hold a NUL character")


def in_words(name: str, error: ValidationError, arguments: tuple[str, ...]) -> str:
    return f"{name}: " + "; ".join(_in_words(one, arguments) for one in error.errors(include_url=False))


def _in_words(one: ErrorDetails, arguments: tuple[str, ...]) -> str:
    where = ".".join(str(part) for part in one["loc"]) or "arguments"
    if one["type"] == "extra_forbidden":
        return f"there is no argument {where!r}; it takes {', '.join(arguments) or 'none'}"
    if one["type"] == "missing":
        return f"{where!r} is missing"
    if one["type"] in ("too_short", "string_too_short") and not one["input"]:
        return f"{where!r} is empty"
    return f"{where!r}: {one['msg'].removeprefix('Value error, ')}"
