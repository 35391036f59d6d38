"""What roles may do and see: skills, what a call touches through them, tasks and notes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from core.models import Permission
from core.organisation.schema import Organisation, Role
from core.resources import Pattern, Resource, is_pattern, pattern

OWNER: Final = "owner"
SHARES_KEPT: Final = 1_024
# As a right names them (`read:notes/org`), and as they are kept.
NOTE_SCOPES: Final[Mapping[str, str]] = {"person": "person", "conversation": "conversation", "org": "organisation"}


def may(organisation: Organisation, roles: Collection[str], what: str, *, at: str = "") -> bool:
    """Whether any role allows `what` (`skill:files.delete`, `see:task:7`) and none forbids it. Owners may unless forbidden.

    `at` is what is acted on, as `sql:prod/users` or `files:a.log, b.log`. A right may name it, as in
    `skill:sql.execute@prod/*`: it forbids if any part is meant by it, and allows if every part is.
    """
    given = [right for share in _shares(organisation, roles) for right in share]
    return not _forbidden(organisation, roles, what, at) and _given(given, what, at)


def why_not(
    organisation: Organisation, roles: Collection[str], skill: str, at: str, touched: Sequence[Resource]
) -> str | None:
    """Why someone with these roles may not use the skill on what the call touches (`read files/hr/a.md`); None: they may.

    Where a role names resources of a kind (`read:files/support/**`), it gives of that kind only those, through whichever
    skill; a role that names none gives what its skills touch.
    """
    what = f"skill:{skill}"
    barred = [one for role in _known(organisation, roles) for one in _resources(role.may_not)]
    for one in touched:
        if any(bar.forbids(one) for bar in barred):
            return f"may not {one}"
    if _forbidden(organisation, roles, what, at):
        return f"may not use {skill}"
    shares = _shares(organisation, roles)
    if not touched or not any(map(_resources, shares)):
        given = [right for share in shares for right in share]
        return None if _given(given, what, at) else f"may not use {skill}"
    for one in touched:
        if not any(_gives(share, what, at, one) for share in shares):
            return f"may not {one}" if any(_given(share, what, at) for share in shares) else f"may not use {skill}"
    return None


def _gives(share: Sequence[str], what: str, at: str, one: Resource) -> bool:
    """Whether what one role may do covers this part of the call."""
    named = _resources(share)
    if "*" in share or any(each.allows(one) for each in named):
        return True
    return _given(share, what, at) and all(each.kind != one.kind for each in named)


def _known(organisation: Organisation, roles: Iterable[str]) -> list[Role]:
    return [organisation.roles[name] for name in roles if name in organisation.roles]


def _shares(organisation: Organisation, roles: Collection[str]) -> list[Sequence[str]]:
    """What each of the roles may do. Owners may do everything, unless the file says what they may."""
    everything = [["*"]] if OWNER in roles and OWNER not in organisation.roles else []
    return [*everything, *(role.may for role in _known(organisation, roles))]


def _resources(rights: Iterable[str]) -> tuple[Pattern, ...]:
    return _patterns_among(tuple(rights))


@lru_cache(maxsize=SHARES_KEPT)
def _patterns_among(rights: tuple[str, ...]) -> tuple[Pattern, ...]:
    return tuple(pattern(right) for right in rights if is_pattern(right))


def _forbidden(organisation: Organisation, roles: Iterable[str], what: str, at: str) -> bool:
    forbidden = [right for role in _known(organisation, roles) for right in role.may_not]
    return bool(forbidden) and _matches(
        [what, f"{what}@{at}", *(form for part in _parts(what, at) for form in part)], forbidden
    )


def _given(rights: Sequence[str], what: str, at: str) -> bool:
    if _matches([what], rights):
        return True
    parts = _parts(what, at)
    return bool(parts) and all(_matches(part, rights) for part in parts)


def _parts(what: str, at: str) -> list[list[str]]:
    return [[f"{what}@{part}", f"{what}@{part.partition(':')[2]}"] for part in at.split(", ")] if at else []


def _matches(asked: Iterable[str], patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(one, pattern) for one in asked for pattern in patterns)


def note_scopes(organisation: Organisation, roles: Collection[str]) -> tuple[str, ...]:
    """Which notes someone with these roles may read, beside the right to use a skill: their own, the conversation's, all."""
    barred = [one for role in _known(organisation, roles) for one in _resources(role.may_not) if one.kind == "notes"]
    about = [[one for one in _resources(share) if one.kind == "notes"] for share in _shares(organisation, roles)]
    if not barred and not any(about):
        return tuple(NOTE_SCOPES.values())

    def is_readable(scope: str) -> bool:
        one = Resource(Permission.READ, "notes", scope)
        if any(bar.forbids(one) for bar in barred):
            return False
        return not any(about) or any(not mine or any(p.allows(one) for p in mine) for mine in about)

    return tuple(kept for scope, kept in NOTE_SCOPES.items() if is_readable(scope))


def sees_all(organisation: Organisation, roles: Collection[str]) -> bool:
    """Whether every task is visible to someone with these roles: owners, `see: [all]`, or the right `see:task:*`."""
    listed = OWNER in roles or any("all" in role.see for role in _known(organisation, roles))
    return may(organisation, roles, "see:task:*") or (listed and not _forbidden(organisation, roles, "see:task:*", ""))


def sees_conversation(organisation: Organisation, roles: Iterable[str]) -> bool:
    """Whether others' tasks in one's own conversations are visible."""
    return any("conversation" in role.see for role in _known(organisation, roles))


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
