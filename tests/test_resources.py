"""Patterns of resources: what they allow and forbid, what roles give through skills, and the examples of the docs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from core.models import Permission
from core.organisation import OrganisationError, note_scopes, parse, sees_all, why_not
from core.recorded import Case, try_case
from core.resources import Pattern, Resource, touched
from core.store import memories, people
from tests.test_policy_docs import block
from tests.test_whole_way import Sayso, eventually, running
from worker.skills.registry import Registry

SKILLS = {m.name: m for m in Registry.load(Path("/nonexistent")).manifests()}
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def resource(text: str) -> Resource:
    permission, _, rest = text.partition(":")
    kind, _, value = rest.partition("/")
    return Resource(Permission(permission), kind, value)


@pytest.mark.parametrize(
    ("pattern", "of", "allows", "forbids"),
    [
        ("write:files/reports/**", "write:files/reports/a.md", True, True),
        ("write:files/reports/**", "write:files/reports/q1/a.md", True, True),
        ("write:files/reports/**", "write:files/reports", False, False),
        ("write:files/reports/**", "write:files/reports2/a.md", False, False),
        ("write:files/reports/**", "read:files/reports/a.md", False, False),
        ("*:files/reports/**", "delete:files/reports/a.md", True, True),
        ("read:files/*.md", "read:files/a.md", True, True),
        ("read:files/*.md", "read:files/d/a.md", False, False),
        ("read:files/?.md", "read:files/ab.md", False, False),
        ("read:files/a[b].md", "read:files/ab.md", False, False),
        ("read:files/**", "read:sql/reports", False, False),
        # a path that climbs or begins elsewhere can't be told
        ("read:files/reports/**", "read:files/reports/../hr/a.md", False, True),
        ("read:files/reports/**", "read:files//etc/passwd", False, True),
        ("read:files/reports/**", "read:files/reports\\..\\a", False, True),
        # listings stand for many files
        ("read:files/reports/**", "read:files/reports/*.md", True, True),
        ("read:files/reports/**", "read:files/reports/**", True, True),
        ("read:files/reports/*.md", "read:files/reports/*.md", False, True),
        ("read:files/reports/**", "read:files/**", False, True),
        ("read:files/reports/**", "read:files/r*/a", False, True),
        ("read:files/reports/**", "read:files/support/*", False, False),
        ("read:files/**", "read:files/**", True, True),
        # hosts
        ("read:http/*.acme.example", "read:http/https://docs.acme.example/a?b=c", True, True),
        ("read:http/*.acme.example", "read:http/https://A.B.ACME.example", True, True),
        ("read:http/*.acme.example", "read:http/https://acme.example/", False, False),
        ("read:http/*.acme.example", "read:http/https://evil.example/x.acme.example/", False, False),
        ("read:http/*.acme.example", "read:http/https://x.acme.example.evil.example/", False, False),
        ("read:http/*.acme.example", "read:http/https://x.acme.example@evil.example/", False, True),
        ("read:http/*.acme.example", "read:http/https://x.acme.example:8443/", False, False),
        ("read:http/x.acme.example:8443", "read:http/https://x.acme.example:8443/a", True, True),
        ("read:http/x.acme.example", "read:http/http://x.acme.example:80/a", True, True),
        ("read:http/x.acme.example", "read:http/https://x.acme.example./a", True, True),
        ("read:http/x.acme.example/docs/**", "read:http/https://x.acme.example/docs/a/b", True, True),
        ("read:http/x.acme.example/docs/**", "read:http/https://x.acme.example/admin", False, False),
        ("read:http/x.acme.example/docs/**", "read:http/https://x.acme.example/docs/../admin", False, True),
        ("read:http/x.acme.example/docs/**", "read:http/https://x.acme.example/docs/%2e%2e/admin", False, True),
        ("read:http/x.acme.example/docs/**", "read:http/https://x.acme.example/%64ocs/a", True, True),
        ("read:http/**", "read:http/https://anything.example/at/all", True, True),
        ("read:http/**", "read:http/javascript:alert(1)", False, True),
        # mail
        ("send:mail/*@acme.example", "send:mail/Ann@ACME.example", True, True),
        ("send:mail/*@acme.example", "send:mail/ann@evil.example", False, False),
        ("send:mail/*@acme.example", "send:mail/a@evil.example,b@acme.example", False, True),
        ("send:mail/*", "send:mail/ann@acme.example", True, True),
        ("execute:sql/prod/*", "execute:sql/prod/users", True, True),
        ("execute:sql/prod/*", "execute:sql/dev/users", False, False),
    ],
)
def test_what_a_pattern_allows_and_forbids(pattern: str, of: str, allows: bool, forbids: bool) -> None:
    one = Pattern.parse(pattern)
    assert (one.allows(resource(of)), one.forbids(resource(of))) == (allows, forbids)


def test_what_a_call_touches_is_one_resource_for_each_value() -> None:
    mail = touched({"to": "a@x.example", "cc": ["b@x.example", "c@x.example"]}, SKILLS["email.send"])
    assert [str(one) for one in mail] == ["send mail/a@x.example", "send mail/b@x.example", "send mail/c@x.example"]
    assert [str(one) for one in touched({"paths": ["a, b", "c"]}, SKILLS["files.delete"])] == [
        "delete files/a, b",
        "delete files/c",
    ]
    assert touched({"query": "x"}, SKILLS["note.recall"])[0].is_any


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("roles:\n  a:\n    may:\n    - 'wirte:files/a'", "sayso.yaml:4: roles.a.may.0: 'wirte:files/a' does not fit"),
        ("roles:\n  a:\n    may: ['write:files']", "sayso.yaml:3: roles.a.may.0: 'write:files' names no resource"),
        ("roles: {a: {may: ['read:files//etc/**']}}", "may not begin or end with a slash, or climb"),
        ("roles: {a: {may_not: ['read:files/../x']}}", "or climb with ..; write e.g. reports/**"),
        ("roles: {a: {may: ['read:http/https://a.example']}}", "write a host and perhaps a path"),
        ("roles: {a: {may: ['read:http/**.acme.example']}}", "write a host and perhaps a path"),
        ("roles: {a: {may: ['send:mail/acme.example']}}", "write an address, e.g. send:mail/*@acme.example"),
        (
            "policy:\n  rules:\n  - {name: a, then: deny}\n  - {name: b, resource: files/x, then: deny}",
            "sayso.yaml:4: ",
        ),
    ],
)
def test_a_pattern_that_is_none_is_refused_with_its_line_and_the_fix(text: str, said: str) -> None:
    with pytest.raises(OrganisationError) as refused:
        parse(text)
    assert said in str(refused.value)


# ---------------------------------------------------------------- roles

ROLES = parse(
    "roles:\n"
    "  support: {may: ['skill:files.*', 'read:files/support/**']}\n"
    "  hr: {may: ['skill:files.*', '*:files/hr/**']}\n"
    "  reader: {may: ['read:files/public/**']}\n"
    "  engineer: {may: ['skill:files.*', 'skill:email.*']}\n"
    "  barred: {may_not: ['*:files/hr/**']}\n"
    "  chief: {may: ['*']}\n"
)


@pytest.mark.parametrize(
    ("roles", "skill", "args", "why"),
    [
        (["support"], "files.read", {"path": "support/a"}, None),
        (["support"], "files.read", {"path": "hr/a"}, "may not read files/hr/a"),
        (["support"], "files.write", {"path": "support/a"}, "may not write files/support/a"),
        (["support"], "files.delete", {"paths": ["support/a", "hr/a"]}, "may not delete files/support/a"),
        (["support"], "http.get", {"url": "https://a.example"}, "may not use http.get"),
        (["support", "hr"], "files.move", {"source": "hr/a", "target": "hr/b"}, None),
        (["support", "hr"], "files.move", {"source": "hr/a", "target": "support/b"}, "may not write files/support/b"),
        (["support", "engineer"], "files.read", {"path": "hr/a"}, None),
        (["support", "engineer", "barred"], "files.read", {"path": "hr/a"}, "may not read files/hr/a"),
        (["engineer", "barred"], "files.list", {"pattern": "**"}, "may not read files/**"),
        (["engineer", "barred"], "files.list", {"pattern": "logs/*"}, None),
        (["reader"], "files.read", {"path": "public/a"}, None),
        (["reader"], "files.read", {"path": "a"}, "may not use files.read"),
        (["chief", "support"], "files.read", {"path": "hr/a"}, None),
        (["owner"], "files.read", {"path": "hr/a"}, None),
        (["owner", "support"], "files.read", {"path": "hr/a"}, None),
        (["owner", "barred"], "files.read", {"path": "hr/a"}, "may not read files/hr/a"),
        # an undo names a kind only: who may write some of it may take back what was done for them
        (["hr"], "files.delete.undo", {"task": "1", "step": 1}, None),
        (["reader"], "files.delete.undo", {"task": "1", "step": 1}, "may not use files.delete.undo"),
        ([], "files.read", {"path": "a"}, "may not use files.read"),
    ],
)
def test_what_a_role_gives_through_a_skill(roles: list[str], skill: str, args: dict[str, Any], why: str | None) -> None:
    assert why_not(ROLES, roles, skill, "", touched(args, SKILLS[skill])) == why


def test_roles_without_resources_give_what_they_gave() -> None:
    plain = parse("roles: {dev: {may: ['skill:files.*', 'skill:sql.query@dev/*']}}")
    assert why_not(plain, ["dev"], "files.read", "files:x", touched({"path": "x"}, SKILLS["files.read"])) is None
    assert why_not(plain, ["dev"], "http.get", "", touched({"url": "x"}, SKILLS["http.get"])) == "may not use http.get"


def test_the_examples_of_the_docs_hold() -> None:
    organisation = parse(block("yaml roles"))
    cases = TypeAdapter(list[Case]).validate_python(yaml.safe_load(block("yaml roles cases")))
    assert {c.name: try_case(c, SKILLS, organisation, NOW).wrong for c in cases} == {c.name: () for c in cases}
    assert note_scopes(organisation, ["writer"]) == ("person", "conversation")


@pytest.mark.parametrize(
    ("roles", "seen"),
    [
        ("a: {may: ['*']}", ("person", "conversation", "organisation")),
        ("a: {may: ['skill:*'], may_not: ['read:notes/org']}", ("person", "conversation")),
        ("a: {may: ['skill:*', 'read:notes/person']}", ("person",)),
        ("a: {may: ['skill:*', 'read:files/x/**']}", ("person", "conversation", "organisation")),
        ("a: {may_not: ['*:notes/**']}", ()),
    ],
)
def test_whose_notes_a_role_may_read(roles: str, seen: tuple[str, ...]) -> None:
    assert note_scopes(parse(f"roles: {{{roles}}}"), ["a"]) == seen


def test_what_a_role_may_not_see_it_does_not_see() -> None:
    org = parse("roles: {boss: {see: [all]}, blind: {may_not: ['see:task:*']}}")
    assert sees_all(org, ["boss"]) and sees_all(org, ["owner"])
    assert not sees_all(org, ["boss", "blind"]) and not sees_all(org, ["owner", "blind"])


# ---------------------------------------------------------------- on real parts

ACME = """
people:
  ann: {name: Ann, roles: [owner], identities: {slack: T0ACME/U01ALICE}}
  eve: {name: Eve, roles: [support], identities: {slack: T0ACME/U03EVE}}
roles:
  support: {may: ["skill:files.*", "skill:note.*", "*:files/support/**", "read:notes/person", "write:notes/person"]}
"""
EVE = "T0ACME/U03EVE"


async def test_a_role_reads_only_its_files_and_its_notes(database_url: str, redis_url: str, tmp_path: Path) -> None:
    async with running(database_url, redis_url, tmp_path, ACME) as sayso:
        for name in ("support/a.md", "hr/pay.md"):
            (sayso.workspace / name).parent.mkdir()
            (sayso.workspace / name).write_text(f"of {name}", encoding="utf-8")
        assert (await ended(sayso, "do files.read path=support/a.md"))["status"] == "succeeded"
        refused = await ended(sayso, "do files.read path=hr/pay.md")
        assert refused["status"] == "failed" and "Eve may not read files/hr/pay.md." in refused["error"]
        ann, eve = await people.by_key(sayso.deps.db, "ann"), await people.by_key(sayso.deps.db, "eve")
        assert ann is not None and eve is not None
        for text, scope, whose in (("the pay list is secret", "organisation", ann), ("my pay day", "person", eve)):
            await memories.remember(sayso.deps.db, whose.id, text, origin="requester", scope=scope)
        found = await ended(sayso, "do note.recall query=pay")
        assert [note["text"] for note in found["result"]["notes"]] == ["my pay day"]
        await sayso.say("recall pay", EVE)
        said = await eventually(lambda: next((t for t in sayso.chat.texts if "pay" in t), None))
        assert "my pay day" in said and "secret" not in said
        await sayso.say("recall pay")
        await eventually(lambda: any("the pay list is secret" in t for t in sayso.chat.texts))


async def ended(sayso: Sayso, text: str) -> dict[str, Any]:
    return await sayso.until(await sayso.say(text, EVE), "succeeded", "failed")
