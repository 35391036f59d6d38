"""What roles may do and see."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from core.organisation.schema import Organisation

OWNER = "owner"


def may(organisation: Organisation, roles: Collection[str], what: str, *, at: str = "") -> bool:
    """Whether any role allows `what` (`skill:files.delete`, `see:task:7`) and none forbids it. Owners may unless forbidden.

    `at` is what is acted on, as `sql:prod/users` or `files:a.log, b.log`. A pattern may name it, as in
    `skill:sql.execute@prod/*`: it forbids if any part is meant by it, and allows if every part is.
    """
    parts = [[f"{what}@{part}", f"{what}@{part.partition(':')[2]}"] for part in at.split(", ")] if at else []
    known = [organisation.roles[name] for name in roles if name in organisation.roles]
    forbidden = [pattern for role in known for pattern in role.may_not]
    allowed = [pattern for role in known for pattern in role.may]
    if OWNER in roles and OWNER not in organisation.roles:
        allowed.append("*")
    if _matches([what, f"{what}@{at}", *(form for part in parts for form in part)], forbidden):
        return False
    return _matches([what], allowed) or (bool(parts) and all(_matches(part, allowed) for part in parts))


def _matches(asked: Iterable[str], patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(one, pattern) for one in asked for pattern in patterns)


def sees_all(organisation: Organisation, roles: Collection[str]) -> bool:
    """Whether every task is visible to someone with these roles."""
    listed = any("all" in organisation.roles[r].see for r in roles if r in organisation.roles)
    return OWNER in roles or listed or may(organisation, roles, "see:task:*")


def sees_conversation(organisation: Organisation, roles: Iterable[str]) -> bool:
    """Whether others' tasks in one's own conversations are visible."""
    return any("conversation" in organisation.roles[r].see for r in roles if r in organisation.roles)


def may_steer(organisation: Organisation, roles: Collection[str]) -> bool:
    """Whether someone with these roles may tell others' tasks, which they can see, what to do (`steer:task:*`)."""
    return may(organisation, roles, "steer:task:*")


def secret_names(organisation: Organisation) -> set[str]:
    """The environment names from which the file takes secrets: hooks, credentials, databases, model keys."""
    names = {hook.secret_env for hook in organisation.hooks.values()}
    names |= {p.key for p in organisation.models.providers.values() if p.key}
    names |= set(_values_at(organisation.skills, ("from", "read", "write", "secret_env")))
    return {name for name in names if name.isidentifier()}


def _values_at(value: object, keys: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in keys and isinstance(inner, str):
                yield inner
            yield from _values_at(inner, keys)
    elif isinstance(value, list):
        for inner in value:
            yield from _values_at(inner, keys)
