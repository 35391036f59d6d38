"""Skills as data: what others may know of one without importing it, and where the arguments of a call came from."""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from typing import Any

from pydantic import ConfigDict, Field

from core.models.frozen import Frozen


class Permission(StrEnum):
    READ = "read"
    WRITE = "write"
    SEND = "send"
    DELETE = "delete"
    SPEND = "spend"
    EXECUTE = "execute"
    ADMIN = "admin"


WEIGHT = {permission: weight for weight, permission in enumerate(Permission)}


class EffectClass(StrEnum):
    """What may be done when it is not known whether an action happened."""

    PURE = "pure"
    IDEMPOTENT = "idempotent"
    CHECKABLE = "checkable"
    UNSAFE = "unsafe"


class ArgumentRole(StrEnum):
    """control: who, where, how much, what is removed. content: the rest."""

    CONTROL = "control"
    CONTENT = "content"


class Origin(StrEnum):
    """Where an argument's value came from, from most to least trusted."""

    REQUESTER = "requester"
    CONFIG = "config"
    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"


class ArgumentOrigin(Frozen):
    """`step` brought it; `by` is the key of a person who put it in by an edit."""

    origin: Origin
    step: int | None = None
    note: str = ""
    by: str = ""


class PermissionOn(Frozen):
    """`resource` is a pattern over the arguments, e.g. `files:{paths}` or `mail:{to}`."""

    permission: Permission
    resource: str = "*"


class SkillManifest(Frozen):
    """Everything others may know of a skill without importing it; workers publish it to the `skills` table.

    `schema` is the JSON Schema of the arguments (an object). `card` is a template such as
    `Delete {paths} from the workspace`. `schema_hash` is the SHA-256 of the canonical schema.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str
    version: str
    summary: str
    args_schema: dict[str, Any]
    schema_hash: str
    permissions: tuple[PermissionOn, ...]
    effect_class: EffectClass = EffectClass.UNSAFE
    reversible: bool = False
    roles: dict[str, ArgumentRole] = Field(default_factory=dict)
    output_trusted: bool = False
    card: str = ""
    timeout_s: float = 30.0
    has_preview: bool = False
    has_probe: bool = False
    has_undo: bool = False
    names_files: tuple[str, ...] = ()

    @cached_property
    def permission(self) -> Permission:
        """The heaviest permission it needs."""
        return max((p.permission for p in self.permissions), key=WEIGHT.__getitem__, default=Permission.ADMIN)

    @property
    def is_pure(self) -> bool:
        return self.effect_class is EffectClass.PURE
