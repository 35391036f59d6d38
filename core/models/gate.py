"""The gate's answers, and all that it looks at beside the action: who asks, where, from whose words, with which grants."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from core.models.frozen import Frozen
from core.models.skills import ArgumentOrigin


class Allow(Frozen):
    kind: Literal["allow"] = "allow"
    reasons: tuple[str, ...]
    rule: str = ""
    grant_id: str | None = None
    notice: bool = False


class Approvers(Frozen):
    """Who may decide: any of these people (by `people` key of sayso.yaml) or holders of any of these roles.

    With `four_eyes` neither who asked nor the `editors` of the call.
    """

    people: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    slack_usergroups: tuple[str, ...] = ()
    needed: int = 1
    four_eyes: bool = False
    veto: bool = True
    editors: tuple[str, ...] = ()


Risk = Literal["low", "medium", "high", "critical"]


class Ask(Frozen):
    kind: Literal["ask"] = "ask"
    reasons: tuple[str, ...]
    provenance: tuple[str, ...] = ()
    rule: str = ""
    approvers: Approvers
    ladder: str = "default"
    risk: Risk = "high"
    expires_in_s: int = 24 * 3600


class Deny(Frozen):
    kind: Literal["deny"] = "deny"
    reasons: tuple[str, ...]
    rule: str = ""


Classified = Annotated[Allow | Ask | Deny, Field(discriminator="kind")]


class Requester(Frozen):
    """The person (or service) behind a task, as policy sees them."""

    id: str
    key: str
    name: str = ""
    roles: tuple[str, ...] = ()
    is_service: bool = False


class ConversationRef(Frozen):
    channel: str = ""
    id: str = ""


class Provenance(Frozen):
    """Origin per argument, and whether the turn that proposed the action had read untrusted content."""

    origins: dict[str, ArgumentOrigin] = Field(default_factory=dict)
    tainted: bool = False


class Grant(Frozen):
    """A standing permission for calls that `principal_key` asks for, given by `owner_key`.

    `args` is a predicate (see `core.predicate`); the version and schema hash are those of the skill it was given for.
    """

    id: str
    skill: str
    skill_version: str = ""
    schema_hash: str = ""
    args: dict[str, Any] = Field(default_factory=dict)
    principal_key: str
    owner_key: str = ""
    owner_roles: tuple[str, ...] = ()
    task_id: str | None = None
    uses_left: int | None = None
    expires_at: datetime
