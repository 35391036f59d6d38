"""What roles may do and see."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from core.organisation.schema import Organisation

OWNER = "owner"


def may(organisation: Organisation, roles: Iterable[str], what: str) -> bool:
    """Whether any role allows `what` (`skill:files.delete`, `see:task:7`) and none forbids it. Owners may unless forbidden."""
    allowed = False
    for name in roles:
        role = organisation.roles.get(name)
        if role is None:
            allowed = allowed or name == OWNER
            continue
        if any(fnmatchcase(what, pattern) for pattern in role.may_not):
            return False
        allowed = allowed or any(pattern == "*" or fnmatchcase(what, pattern) for pattern in role.may)
    return allowed


def sees_all(organisation: Organisation, roles: Iterable[str]) -> bool:
    """Whether every task is visible to someone with these roles."""
    roles = list(roles)
    listed = any("all" in organisation.roles[r].see for r in roles if r in organisation.roles)
    return OWNER in roles or listed or may(organisation, roles, "see:task:*")


def sees_conversation(organisation: Organisation, roles: Iterable[str]) -> bool:
    """Whether others' tasks in one's own conversations are visible."""
    return any("conversation" in organisation.roles[r].see for r in roles if r in organisation.roles)
