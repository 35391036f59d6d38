"""The `@skill` decorator: turns an async function with type hints and a docstring into something a step may call.

What the function does not say is refused when it is declared, with the fix named, so that a wrong card, a missing
probe or an unmarked argument never reaches a person. The author's side is `Declaration`, the executor's is `Skill`;
`registry` makes one into the other once the whole module is read.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import string
import typing
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import rfc8785
from pydantic import BaseModel, ConfigDict, create_model
from pydantic_core import PydanticUndefined

from core.config import STEP_TIMEOUT_MOST_S, STEP_TIMEOUT_S
from core.models import ArgumentRole, EffectClass, Permission, PermissionOn, SkillManifest
from worker.skills.context import SkillContext
from worker.skills.errors import BadDeclaration
from worker.skills.run import Skill

Control: Final = ArgumentRole.CONTROL
Content: Final = ArgumentRole.CONTENT

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,40}(\.[a-z][a-z0-9_]{0,40}){1,3}")
SUMMARY_CHARS: Final = 200
# What a pure skill may not ask for: these say that something changes.
CHANGING: Final = frozenset({Permission.WRITE, Permission.SEND, Permission.DELETE, Permission.SPEND})

SkillFunction = Callable[..., Awaitable[Any]]
Hook = TypeVar("Hook", bound=SkillFunction)


@dataclass(frozen=True, slots=True)
class Terms:
    """What the decorator was given, checked by `checked_terms`."""

    permissions: tuple[PermissionOn, ...]
    effect: EffectClass
    card: str
    reversible: bool | None
    timeout_s: float
    version: str
    output_trusted: bool
    names_files: tuple[str, ...]


def skill(
    *,
    permissions: Sequence[tuple[Permission | str, str]],
    effect: EffectClass | str = EffectClass.UNSAFE,
    card: str,
    reversible: bool | None = None,
    timeout_s: float = STEP_TIMEOUT_S,
    version: str = "1",
    output_trusted: bool = False,
    names_files: Sequence[str] = (),
    name: str | None = None,
) -> Callable[[SkillFunction], Declaration]:
    """Declare a skill. Its name is `module.function` unless given.

    `permissions` are pairs of permission and resource pattern over the arguments, as `("delete", "files:{paths}")`;
    the word before the colon names the handle that the skill gets. `card` is what people read before they approve.
    `effect` is one of pure, idempotent, checkable, unsafe. Raises BadDeclaration, which names the fix.
    """

    def declare(fn: SkillFunction) -> Declaration:
        full = name or default_name(fn)
        if not NAME.fullmatch(full):
            raise BadDeclaration(f"{full!r} is no skill name; give name= as in 'files.delete'")
        terms = checked_terms(
            full,
            permissions,
            effect,
            card,
            reversible,
            timeout_s,
            version,
            output_trusted,
            tuple(names_files),
        )
        return Declaration(full, fn, terms)

    return declare


class Declaration:
    """A declared function, to which `preview`, `probe`, `undo` and `content_hashes` may be added as decorators.

    Each takes the context and the skill's own arguments by name; `undo` takes the recorded result before them.
    """

    def __init__(self, name: str, fn: SkillFunction, terms: Terms) -> None:
        functools.update_wrapper(self, fn)
        self.name = name
        self.terms = terms
        self._fn = fn
        self._hooks: dict[str, Callable[..., Awaitable[Any]]] = {}
        self.summary = summary_of(name, fn)
        self.model, self.roles = model_of(name, fn)
        refuse_unknown_names(name, terms, tuple(self.roles))

    def __call__(self, ctx: SkillContext, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        return self._fn(ctx, *args, **kwargs)

    def preview(self, hook: Hook) -> Hook:
        """What would change, as text for the card; a pure read."""
        return self._add("preview", hook, 1)

    def probe(self, hook: Hook) -> Hook:
        """Whether the call with this `ctx.key` happened, as a `Probe`; a pure read."""
        return self._add("probe", hook, 1)

    def undo(self, hook: Hook) -> Hook:
        """Take back what returned this result; must bear being called again."""
        return self._add("undo", hook, 2)

    def content_hashes(self, hook: Hook) -> Hook:
        """SHA-256 by name of what the arguments only name; default: the files of `names_files`."""
        return self._add("content_hashes", hook, 1)

    def finished(self) -> Skill:
        """The skill, once its module is read; raises BadDeclaration when a promised part is missing."""
        return Skill(manifest_of(self, frozenset(self._hooks)), self.model, self._fn, dict(self._hooks))

    def _add(self, part: str, hook: Hook, own: int) -> Hook:
        if part in self._hooks:
            raise BadDeclaration(f"{self.name} has two {part} functions; keep one")
        is_async: bool = inspect.iscoroutinefunction(hook)
        if not is_async:
            raise BadDeclaration(f"{self.name}: {part} must be an async function")
        taken = list(inspect.signature(hook).parameters)[own:]
        if taken != list(self.roles):
            raise BadDeclaration(
                f"{self.name}: {part} takes ({', '.join(taken)}) after its first {own}, "
                f"but the skill's arguments are ({', '.join(self.roles)}); use the same names in the same order"
            )
        self._hooks[part] = hook
        return hook


def manifest_of(declared: Declaration, hooks: frozenset[str]) -> SkillManifest:
    """Pure: the published form, or BadDeclaration for a promise without its function."""
    name, terms = declared.name, declared.terms
    if terms.effect is EffectClass.CHECKABLE and "probe" not in hooks:
        raise BadDeclaration(f"{name} is checkable but has no probe; add @…probe or declare effect='unsafe'")
    if terms.reversible and "undo" not in hooks:
        raise BadDeclaration(f"{name} is reversible but has no undo; add @…undo or drop reversible=True")
    if terms.reversible is False and "undo" in hooks:
        raise BadDeclaration(f"{name} has an undo but says reversible=False; drop one of the two")
    if terms.effect is EffectClass.PURE and "undo" in hooks:
        raise BadDeclaration(f"{name} is pure, so there is nothing to undo; drop the undo or change effect=")
    schema = declared.model.model_json_schema()
    return SkillManifest(
        name=name,
        version=terms.version,
        summary=declared.summary,
        args_schema=schema,
        schema_hash=schema_hash(schema),
        permissions=terms.permissions,
        effect_class=terms.effect,
        reversible="undo" in hooks,
        roles=declared.roles,
        output_trusted=terms.output_trusted,
        card=terms.card,
        timeout_s=terms.timeout_s,
        has_preview="preview" in hooks,
        has_probe="probe" in hooks,
        has_undo="undo" in hooks,
        names_files=terms.names_files,
    )


def schema_hash(schema: dict[str, Any]) -> str:
    """SHA-256 of the RFC 8785 canonical text."""
    return hashlib.sha256(rfc8785.dumps(schema)).hexdigest()


def default_name(fn: Callable[..., Any]) -> str:
    """`files.delete` from function `delete` of module `…files`; a trailing `_` avoids Python's own words."""
    return f"{fn.__module__.rpartition('.')[2]}.{fn.__name__.rstrip('_')}"


def checked_terms(
    name: str,
    permissions: Sequence[tuple[Permission | str, str]],
    effect: EffectClass | str,
    card: str,
    reversible: bool | None,
    timeout_s: float,
    version: str,
    output_trusted: bool,
    names_files: tuple[str, ...],
) -> Terms:
    if not permissions:
        raise BadDeclaration(f"{name} declares no permission; add permissions=[('read', '*')] or what it needs")
    wanted = []
    for permission, resource in permissions:
        if permission not in list(Permission):
            raise BadDeclaration(f"{name}: unknown permission {permission!r}; use one of {', '.join(Permission)}")
        wanted.append(PermissionOn(permission=Permission(permission), resource=resource))
    if effect not in list(EffectClass):
        raise BadDeclaration(f"{name}: unknown effect {effect!r}; use one of {', '.join(EffectClass)}")
    if effect == EffectClass.PURE and any(one.permission in CHANGING for one in wanted):
        raise BadDeclaration(f"{name} is pure but asks for more than reading; change effect= or the permission")
    if not 0 < timeout_s <= STEP_TIMEOUT_MOST_S:
        raise BadDeclaration(f"{name}: timeout_s={timeout_s!r} is not within 0 to {STEP_TIMEOUT_MOST_S:g}")
    if not card:
        raise BadDeclaration(f"{name} has no card; say what people approve, as in 'Delete {{paths}}'")
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,30}", version):
        raise BadDeclaration(f"{name}: version={version!r} is no version; use something like '1'")
    return Terms(tuple(wanted), EffectClass(effect), card, reversible, timeout_s, version, output_trusted, names_files)


def summary_of(name: str, fn: Callable[..., Any]) -> str:
    doc = inspect.getdoc(fn)
    if not doc:
        raise BadDeclaration(f"{name} has no docstring; its first line is what people and models read")
    return doc.split("\n\n")[0].replace("\n", " ")[:SUMMARY_CHARS]


def model_of(name: str, fn: Callable[..., Any]) -> tuple[type[BaseModel], dict[str, ArgumentRole]]:
    """The arguments as a pydantic model that allows nothing else, and their roles (unmarked is control)."""
    if not inspect.iscoroutinefunction(fn):
        raise BadDeclaration(f"{name} must be an async function; write 'async def'")
    try:
        hints = typing.get_type_hints(fn, include_extras=True)
    except NameError as error:
        raise BadDeclaration(f"{name}: a type hint is unknown ({error}); import it at module level") from error
    parameters = list(inspect.signature(fn).parameters.values())
    if not parameters or hints.get(parameters[0].name) is not SkillContext:
        raise BadDeclaration(f"{name} must take ctx: SkillContext first")
    if not gives_object(hints.get("return")):
        raise BadDeclaration(f"{name} must be hinted to return a dict, TypedDict or pydantic model")
    fields: dict[str, Any] = {}
    roles: dict[str, ArgumentRole] = {}
    for one in parameters[1:]:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD, one.POSITIONAL_ONLY):
            raise BadDeclaration(f"{name}: {one.name!r} must be an ordinary argument; name each one")
        if one.name not in hints:
            raise BadDeclaration(f"{name}: argument {one.name!r} has no type hint; add one")
        if hasattr(BaseModel, one.name) or one.name.startswith("_"):
            raise BadDeclaration(f"{name}: an argument cannot be called {one.name!r}; rename it")
        roles[one.name], hint = role_and_hint(hints[one.name])
        fields[one.name] = (hint, PydanticUndefined if one.default is one.empty else one.default)
    config = ConfigDict(extra="forbid", protected_namespaces=(), validate_default=True)
    try:
        return create_model(name, __config__=config, **fields), roles
    except Exception as error:
        raise BadDeclaration(f"{name}: its hints make no schema ({error})") from error


def role_and_hint(hint: Any) -> tuple[ArgumentRole, Any]:
    if typing.get_origin(hint) is not Annotated:
        return ArgumentRole.CONTROL, hint
    inner, *marks = typing.get_args(hint)
    role = next((mark for mark in marks if isinstance(mark, ArgumentRole)), ArgumentRole.CONTROL)
    rest = [mark for mark in marks if not isinstance(mark, ArgumentRole)]
    return role, Annotated[(inner, *rest)] if rest else inner


def gives_object(hint: Any) -> bool:
    kind = typing.get_origin(hint) or hint
    return isinstance(kind, type) and (issubclass(kind, BaseModel | dict) or typing.is_typeddict(kind))


def refuse_unknown_names(name: str, terms: Terms, arguments: tuple[str, ...]) -> None:
    for what, template in [
        ("card", terms.card),
        *(("permissions", one.resource) for one in terms.permissions),
    ]:
        try:
            named = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
        except ValueError as error:
            raise BadDeclaration(f"{name}: {what} {template!r} is no template ({error})") from error
        for field in named:
            if field not in arguments:
                raise BadDeclaration(
                    f"{name}: {what} {template!r} names {field!r}, which is not an argument; "
                    f"use {', '.join('{' + one + '}' for one in arguments) or 'no braces'}"
                )
    for file in terms.names_files:
        if file not in arguments:
            raise BadDeclaration(f"{name}: names_files has {file!r}, which is not an argument")
