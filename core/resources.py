"""What a call touches, as `write files/reports/a.md`, and patterns over it, as `write:files/reports/**`.

Pure. A pattern is a permission (or `*`), a kind of resource and a glob: `*` within a part of a path, `**` over parts, `?` one
sign. Whether it allows and whether it forbids are two questions: what cannot be read for certain (a path that climbs, a link
with a user name, a listing of many files) is not allowed by a narrow pattern, and is forbidden by one that it may fall under.
"""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from core.models import Permission, SkillManifest

FORM: Final = re.compile(rf"(?P<permission>\*|{'|'.join(Permission)}):(?P<kind>[a-z][a-z0-9_]*)/(?P<glob>\S+)")
ANYTHING: Final = "*"
_SPOKEN_OF: Final = frozenset({*map(str, Permission), ANYTHING})
PATTERNS_KEPT: Final = 4_096
_PATH: Final = (
    re.compile(r".+"),
    "the path may not begin or end with a slash, or climb with ..; write e.g. reports/**",
)
_FORMS: Final = {
    "http": (
        re.compile(r"(\*\*|(?![^/]*\*\*)[\w.*?-]+(:\d{1,5})?)(/.*)?"),
        "write a host and perhaps a path, e.g. read:http/*.acme.example/docs/**",
    ),
    "mail": (re.compile(r"\*\*?|[^@/]+@[^@/]+"), "write an address, e.g. send:mail/*@acme.example"),
}
_WILD: Final = re.compile(r"[*?\[]")
_CLIMBS: Final = re.compile(r"(^|/)\.{0,2}(/|$)|\\|[\x00-\x1f\x7f]")
_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Resource:
    """`is_any`: the skill names a kind only, so what of it a call touches is not known before."""

    permission: Permission
    kind: str
    value: str
    is_any: bool = False

    def __str__(self) -> str:
        return f"{self.permission} {self.kind}/{self.value}"


def touched(args: Mapping[str, Any], skill: SkillManifest) -> tuple[Resource, ...]:
    """Everything that the declared permissions name, with the arguments put in: one for each value of a list."""
    return tuple(dict.fromkeys(r for one in skill.permissions for r in _named(one.permission, one.resource, args)))


def _named(permission: Permission, template: str, args: Mapping[str, Any]) -> Iterator[Resource]:
    kind, _, rest = template.partition(":")
    fields = _fields(rest)
    if not fields:
        yield Resource(permission, kind, rest or ANYTHING, is_any=rest in ("", ANYTHING))
        return
    for values in itertools.product(*(_values(args.get(field)) for field in fields)):
        yield Resource(permission, kind, rest.format_map(dict(zip(fields, values, strict=True))))


@lru_cache(maxsize=PATTERNS_KEPT)
def _fields(template: str) -> tuple[str, ...]:
    return tuple(field for _, field, _, _ in string.Formatter().parse(template) if field)


def _values(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else ["" if value is None else str(value)]


def is_pattern(right: str) -> bool:
    """Whether a right of a role is about resources, and not about skills, tasks or everything."""
    return ":" in right and right.partition(":")[0] in _SPOKEN_OF


@lru_cache(maxsize=PATTERNS_KEPT)
def pattern(text: str) -> Pattern:
    return Pattern.parse(text)


@dataclass(frozen=True, slots=True)
class Pattern:
    """Raises ValueError when the text is none; the message says how one is written."""

    permission: str
    kind: str
    glob: str

    @classmethod
    def parse(cls, text: str) -> Pattern:
        match = FORM.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} names no resource; write e.g. write:files/reports/** or read:http/*.acme.example"
            )
        kind, glob = match["kind"], match["glob"]
        fault = _FORMS.get(kind, _PATH)
        if not fault[0].fullmatch(glob) or (fault is _PATH and _CLIMBS.search(glob)):
            raise ValueError(f"{text!r}: {fault[1]}")
        return cls(match["permission"], kind, glob)

    def allows(self, one: Resource) -> bool:
        """Whether all that the resource may stand for falls under it."""
        if not self._is_about(one):
            return False
        if one.is_any:
            return True
        value = _plain(one)
        if value is None:
            return False
        if one.kind == "files" and _WILD.search(value):  # a listing: only a whole folder is certain to hold all of it
            folder = self.glob.removesuffix("**")
            return folder != self.glob and not _WILD.search(folder) and value.startswith(folder)
        return _matches(self, value)

    def forbids(self, one: Resource) -> bool:
        """Whether anything that the resource may stand for falls under it."""
        if not self._is_about(one):
            return False
        if one.is_any:
            return self.glob == "**"
        value = _plain(one)
        if value is None:
            return True
        if one.kind == "files" and (wild := _WILD.search(value)):
            before, own = value[: wild.start()], self.glob[: m.start()] if (m := _WILD.search(self.glob)) else self.glob
            return before.startswith(own) or own.startswith(before)
        return _matches(self, value)

    def _is_about(self, one: Resource) -> bool:
        return self.kind == one.kind and self.permission in (ANYTHING, one.permission)


def _plain(one: Resource) -> str | None:
    """The value in the one form that patterns are held against; None when it can't be told what it means."""
    match one.kind:
        case "http":
            return _link(one.value)
        case "mail":
            return one.value.casefold() if one.value.count("@") == 1 else None
    return None if _CLIMBS.search(one.value) and one.value else one.value


def _link(text: str) -> str | None:
    """`https://Docs.ACME.example:443/a?b` → `docs.acme.example/a`."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    path = parts.path or "/"
    if parts.scheme not in _PORTS or not host.isascii() or not host or "@" in parts.netloc or "%" in host:
        return None
    if re.search(r"[\x00-\x20\x7f\\]", text) or re.search(r"%(2e|2f|5c|25)", path, re.IGNORECASE):
        return None
    path = unquote(path)
    if re.search(r"/\.{1,2}(/|$)|//", path):
        return None
    return host.rstrip(".") + (f":{port}" if port not in (None, _PORTS[parts.scheme]) else "") + path


def _matches(pattern: Pattern, value: str) -> bool:
    return _compiled(pattern.kind, pattern.glob).fullmatch(value) is not None


@lru_cache(maxsize=PATTERNS_KEPT)
def _compiled(kind: str, glob: str) -> re.Pattern[str]:
    if kind == "mail":
        return re.compile(".*" if glob == "*" else _regex(glob.casefold()), re.DOTALL)
    if kind != "http":
        return re.compile(_regex(glob), re.DOTALL)
    host, _, path = glob.partition("/")
    # Of a host a star is any number of names; without a path every path is meant.
    return re.compile(_regex(host.lower().replace("**", "*")) + "/" + (_regex(path) if path else ".*"), re.DOTALL)


def _regex(glob: str) -> str:
    parts = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(parts.get(piece) or re.escape(piece) for piece in re.split(r"(\*\*|\*|\?)", glob))
