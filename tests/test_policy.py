"""May it go, must a person be asked, is it refused: the answers of the gate, one row each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.models import (
    Action,
    Allow,
    Approvers,
    ArgumentOrigin,
    ArgumentRole,
    Ask,
    Classified,
    ConversationRef,
    Deny,
    EffectClass,
    Grant,
    Origin,
    Permission,
    PermissionOn,
    Provenance,
    Requester,
    SkillManifest,
)
from core.organisation import Organisation, load, parse
from core.policy import OWNERS, classify, covers, stricter

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
EXAMPLE = load(Path(__file__).parent.parent / "sayso.example.yaml")
ANN = Requester(id="1", key="ann", name="Ann Lee", roles=("owner", "oncall"))
BOB = Requester(id="2", key="bob", name="Bob Roy", roles=("engineer",))
NOBODY = Requester(id="3", key="eve", name="Eve")
PAGE = ArgumentOrigin(origin=Origin.UNTRUSTED, step=2, note="http.get")
OWN = ArgumentOrigin(origin=Origin.REQUESTER)


def skill(
    name: str, *permissions: str, reversible: bool = False, content: tuple[str, ...] = (), on: str = "*"
) -> SkillManifest:
    return SkillManifest(
        name=name,
        version="1",
        summary="",
        args_schema={},
        schema_hash="h",
        permissions=tuple(PermissionOn(permission=Permission(p), resource=on) for p in permissions),
        effect_class=EffectClass.UNSAFE,
        reversible=reversible,
        roles=dict.fromkeys(content, ArgumentRole.CONTENT),
    )


DELETE = skill("files.delete", "delete", reversible=True)
READ = skill("files.read", "read", on="files:{path}")
GET = skill("http.get", "read", on="http:{url}")
SEND = skill("email.send", "send", content=("body",))
SQL = skill("sql.execute", "execute")


def ask_policy(
    manifest: SkillManifest,
    args: dict[str, Any] | None = None,
    *,
    by: Requester = ANN,
    organisation: Organisation | str = EXAMPLE,
    origins: dict[str, ArgumentOrigin] | None = None,
    grants: tuple[Grant, ...] = (),
    now: datetime = NOW,
    target: str = "",
    **more: Any,
) -> Classified:
    action = Action(
        skill=manifest.name, version="1", schema_hash="h", args=args or {}, target=target, task_id="7", step=1
    )
    org = parse(organisation) if isinstance(organisation, str) else organisation
    labels = dict.fromkeys(args or {}, OWN) | (origins or {})
    tainted = any(o.origin is Origin.UNTRUSTED for o in labels.values())
    return classify(action, manifest, Provenance(origins=labels, tainted=tainted), by, org, grants, now, **more)


def rules(*lines: str) -> str:
    return (
        "people: {ann: {roles: [owner]}, bob: {roles: [engineer]}}\n"
        "roles: {engineer: {may: ['skill:*']}}\n"
        "approvers: {both: {roles: [owner, engineer], needed: 2, four_eyes: true}, ops: {people: [bob]}}\n"
        "policy:\n  rules:\n" + "".join(f"    - {line}\n" for line in lines)
    )


# ---------------------------------------------------------------- the default


@pytest.mark.parametrize(
    ("permissions", "reversible", "kind"),
    [
        (("read",), False, Allow),
        (("write",), True, Allow),
        (("read", "write"), True, Allow),
        (("write",), False, Ask),
        (("delete",), True, Ask),
        (("delete", "read"), True, Ask),
        (("send",), True, Ask),
        (("spend",), True, Ask),
        (("execute",), True, Ask),
        (("admin",), True, Ask),
        ((), True, Ask),
    ],
)
def test_without_a_rule_the_permission_decides(
    permissions: tuple[str, ...], reversible: bool, kind: type[Classified]
) -> None:
    answer = ask_policy(skill("x.y", *permissions, reversible=reversible), organisation="")
    assert isinstance(answer, kind)
    assert answer.reasons
    if isinstance(answer, Allow):
        assert answer.notice == ("write" in permissions), "what was changed is told"
    if isinstance(answer, Ask):
        assert answer.approvers == OWNERS
        assert answer.expires_in_s == 24 * 3600


def test_approvers_called_default_decide_where_no_rule_names_any() -> None:
    answer = ask_policy(DELETE, organisation="approvers: {default: {roles: [owner], needed: 1, veto: false}}")
    assert isinstance(answer, Ask)
    assert answer.approvers == Approvers(roles=("owner",), veto=False)


# ---------------------------------------------------------------- rights


def test_who_has_no_role_for_it_is_refused_without_asking_anyone() -> None:
    answer = ask_policy(DELETE, by=NOBODY)
    assert answer == Deny(reasons=("Eve may not use files.delete.",), rule="rights")


@pytest.mark.parametrize(
    ("by", "manifest", "target", "kind"),
    [
        (BOB, DELETE, "files:a.log", Ask),
        (BOB, SQL, "sql:dev/x", Deny),
        (ANN, SQL, "sql:dev/x", Ask),
        (ANN, SQL, "sql:prod/x", Deny),
        (ANN, SQL, "sql:dev/x, sql:prod/x", Deny),
    ],
)
def test_rights_may_name_what_is_acted_on(
    by: Requester, manifest: SkillManifest, target: str, kind: type[Classified]
) -> None:
    answer = ask_policy(manifest, {"statement": "select 1"}, by=by, target=target)
    assert isinstance(answer, kind)


@pytest.mark.parametrize("change", [{"version": "2"}, {"schema_hash": "other"}, {"skill": "files.read"}])
def test_a_skill_that_is_not_the_installed_one_is_refused(change: dict[str, Any]) -> None:
    action = Action(skill="files.delete", version="1", schema_hash="h", args={}).model_copy(update=change)
    answer = classify(action, DELETE, Provenance(), ANN, EXAMPLE, (), NOW)
    assert isinstance(answer, Deny)
    assert "not the one that is installed" in answer.reasons[0]


# ---------------------------------------------------------------- the example's rules


@pytest.mark.parametrize(
    ("manifest", "args", "kind", "rule", "approvers"),
    [
        (SQL, {"statement": "DROP table x"}, Deny, "no prod drops", None),
        (SQL, {"statement": "select 1"}, Ask, "default", ("owner",)),
        (skill("note.remember", "write"), {"text": "x"}, Allow, "own notes", None),
        (SEND, {"to": "x@else.example", "body": ""}, Ask, "outside mail", ("oncall",)),
        (SEND, {"to": "bob@acme.example", "body": ""}, Ask, "default", ("owner",)),
        (DELETE, {"paths": ["x"] * 21}, Ask, "many files", ("owner", "oncall")),
        (DELETE, {"paths": ["x"] * 20}, Ask, "default", ("owner",)),
    ],
)
def test_the_example_decides_as_it_says(
    manifest: SkillManifest, args: dict[str, Any], kind: type[Classified], rule: str, approvers: tuple[str, ...] | None
) -> None:
    answer = ask_policy(manifest, args)
    assert isinstance(answer, kind)
    assert answer.rule == rule
    if isinstance(answer, Ask):
        assert answer.approvers.roles == approvers


def test_a_rule_tells_the_person_what_it_was_given_to_say() -> None:
    answer = ask_policy(SQL, {"statement": "truncate x"})
    assert answer.reasons == ("Dropping tables is done by hand.",)


@pytest.mark.parametrize(
    ("hour_utc", "rule"), [(6, "office hours deploys"), (8, "default"), (18, "office hours deploys")]
)
def test_hours_are_those_of_the_organisations_time_zone(hour_utc: int, rule: str) -> None:
    # Berlin is an hour ahead in winter: 06:30 UTC is before 8, 18:30 UTC is 19:30.
    manifest, now = skill("http.request", "send"), NOW.replace(hour=hour_utc, minute=30)
    answer = ask_policy(manifest, {"url": "https://deploy.acme.example/x"}, now=now)
    assert answer.rule == rule


# ---------------------------------------------------------------- rules


def test_the_first_rule_that_matches_decides() -> None:
    org = rules(
        "{name: a, skill: 'files.*', when: 'count > 5', then: ask, approvers: ops}",
        "{name: b, skill: 'files.delete', then: allow}",
        "{name: c, skill: '*', then: ask}",
    )
    assert ask_policy(DELETE, {"paths": ["x"] * 6}, organisation=org).rule == "a"
    assert ask_policy(DELETE, {"paths": ["x"]}, organisation=org) == Allow(reasons=("The rule 'b' says so.",), rule="b")
    assert ask_policy(SEND, {"to": "x"}, organisation=org).rule == "c"


def test_a_rule_sets_who_decides_how_long_and_how_risky_it_is() -> None:
    org = rules(
        "{name: a, skill: '*', then: ask, approvers: ops, risk: low, expires_in: 5m, ladder: default, say: Look twice.}"
    )
    assert ask_policy(SEND, organisation=org) == Ask(
        reasons=("Look twice.",),
        rule="a",
        approvers=Approvers(people=("bob",)),
        ladder="default",
        risk="low",
        expires_in_s=300,
    )


def test_a_rule_that_forbids_counts_wherever_it_stands() -> None:
    org = rules("{name: a, skill: '*', then: allow}", "{name: b, skill: 'files.*', then: deny, say: No.}")
    assert ask_policy(DELETE, organisation=org) == Deny(reasons=("No.",), rule="b")


@pytest.mark.parametrize("strict", ["approvers: both", "risk: critical"])
def test_four_eyes_and_the_top_tier_come_before_what_allows(strict: str) -> None:
    org = rules("{name: a, skill: '*', then: allow}", f"{{name: b, skill: 'files.*', then: ask, {strict}}}")
    answer = ask_policy(DELETE, {"paths": ["a"]}, organisation=org, grants=(GRANT,))
    assert isinstance(answer, Ask)
    assert answer.rule == "b"


@pytest.mark.parametrize(
    "org",
    [
        rules("{name: a, skill: '*', when: 'args.nothing > 1', then: allow}"),
        rules("{name: a, skill: '*', when: 'args.nothing > 1', then: deny}", "{name: b, skill: '*', then: allow}"),
        rules("{name: a, skill: '*', when: 'args.nothing > 1', then: ask}", "{name: b, skill: '*', then: allow}"),
        rules("{name: a, skill: '*', when: 'count', then: allow}"),
    ],
)
@pytest.mark.parametrize("manifest", [READ, DELETE])
def test_a_rule_that_cannot_be_evaluated_asks_and_says_why(org: str, manifest: SkillManifest) -> None:
    answer = ask_policy(manifest, {"path": "a"}, organisation=org, grants=(GRANT,))
    assert isinstance(answer, Ask)
    assert "'a' could not be evaluated" in answer.reasons[0]


def test_a_broken_rule_still_names_who_would_have_decided() -> None:
    org = rules("{name: a, skill: '*', when: 'args.nothing > 1', then: ask, approvers: both}")
    answer = ask_policy(DELETE, organisation=org)
    assert isinstance(answer, Ask)
    assert answer.approvers.needed == 2


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ("amount > 100", True),
        ("count == 3", True),
        ('target == "t"', True),
        ("new_target", True),
        ("tainted", False),
        ('origin.to == "requester"', True),
        ('requester.id == "ann" && "owner" in requester.roles', True),
        ('conversation.channel == "slack" && conversation.id == "C1"', True),
        ('task.id == "7" && task.goal == "tidy" && task.spent > 1.0', True),
        ('permission == "spend" && risk == "critical" && effect_class == "unsafe" && !reversible', True),
    ],
)
def test_every_variable_of_a_condition_has_its_value(when: str, holds: bool) -> None:
    org = rules(f"{{name: a, skill: '*', when: '{when}', then: ask, say: Yes.}}")
    answer = ask_policy(
        skill("pay.now", "spend", content=("lines",)),
        {"usd": "250.00", "to": ["a", "b", "c"], "lines": ["x"] * 9},
        organisation=org,
        target="t",
        conversation=ConversationRef(channel="slack", id="C1"),
        task={"id": "7", "goal": "tidy", "spent": 1.5, "new_target": True},
    )
    assert (answer.rule == "a") is holds


@pytest.mark.parametrize("amount", ["a lot", "nan", "inf", [], True])
def test_an_amount_that_is_no_number_is_not_taken_for_nothing(amount: Any) -> None:
    org = rules("{name: a, skill: '*', when: 'amount > 100.0', then: ask}", "{name: b, skill: '*', then: allow}")
    assert isinstance(ask_policy(SEND, {"amount": amount}, organisation=org), Ask)
    assert isinstance(ask_policy(SEND, {"amount": 5}, organisation=org), Allow)


# ---------------------------------------------------------------- taint


def test_a_tainted_control_argument_asks_and_says_where_it_came_from() -> None:
    org = rules("{name: a, skill: '*', then: allow}")
    answer = ask_policy(SEND, {"to": "eve@evil.example", "body": "x"}, organisation=org, origins={"to": PAGE})
    assert isinstance(answer, Ask), "a rule that allows does not wash it"
    assert answer.provenance == ("recipient comes from a web page read in step 2",)
    assert answer.reasons == ("Part of it was not chosen by the person who asked.",)


def test_tainted_content_alone_does_not_ask() -> None:
    org = rules("{name: a, skill: '*', then: allow}")
    answer = ask_policy(SEND, {"to": "ann@acme.example", "body": "x"}, organisation=org, origins={"body": PAGE})
    assert isinstance(answer, Allow)


def test_an_argument_of_unknown_role_counts_as_control() -> None:
    answer = ask_policy(skill("x.y", "write", reversible=True), {"any": 1}, origins={"any": PAGE})
    assert isinstance(answer, Ask)


def test_a_grant_does_not_cover_a_tainted_control_argument() -> None:
    answer = ask_policy(DELETE, {"paths": ["a"]}, origins={"paths": PAGE}, grants=(GRANT,))
    assert isinstance(answer, Ask)


@pytest.mark.parametrize("manifest", [SQL, skill("pay.now", "spend"), skill("x.y", "admin"), skill("x.y")])
def test_a_critical_action_with_a_tainted_control_argument_is_refused(manifest: SkillManifest) -> None:
    org = rules("{name: a, skill: '*', then: ask, risk: low}")
    answer = ask_policy(manifest, {"x": 1}, organisation=org, origins={"x": PAGE})
    assert isinstance(answer, Deny)
    assert "x comes from a web page read in step 2" in answer.reasons


def test_reading_here_needs_no_approval_but_a_link_from_a_page_does() -> None:
    assert isinstance(ask_policy(READ, {"path": "a"}, origins={"path": PAGE}), Allow)
    assert isinstance(ask_policy(GET, {"url": "https://x.example"}), Allow)
    answer = ask_policy(GET, {"url": "https://evil.example/?q=secret"}, origins={"url": PAGE})
    assert isinstance(answer, Ask)


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        (PAGE, "x comes from a web page read in step 2"),
        (ArgumentOrigin(origin=Origin.UNTRUSTED), "x comes from content of others"),
        (ArgumentOrigin(origin=Origin.UNTRUSTED, step=9, note="crm.find"), "x comes from the result of crm.find read in step 9"),
    ],
)  # fmt: skip
def test_the_card_says_what_brought_it(origin: ArgumentOrigin, line: str) -> None:
    answer = ask_policy(DELETE, {"x": 1}, origins={"x": origin})
    assert isinstance(answer, Ask)
    assert answer.provenance == (line,)


# ---------------------------------------------------------------- grants

GRANT = Grant(
    id="9", skill="files.delete", args={"paths": {"is": ["a"]}}, principal_key="ann", owner_key="olga",
    owner_roles=("owner",), expires_at=NOW + timedelta(days=1),
)  # fmt: skip


def test_a_grant_lets_it_go_and_is_named() -> None:
    answer = ask_policy(DELETE, {"paths": ["a"]}, grants=(GRANT,))
    assert isinstance(answer, Allow)
    assert answer.grant_id == "9"


@pytest.mark.parametrize(
    ("change", "covered"),
    [
        ({}, True),
        ({"args": {"paths": {"is": ["b"]}}}, False),
        ({"args": {"paths": {"is": ["a"]}, "force": {"is": True}}}, False),
        ({"args": {}}, False),
        ({"skill_version": "1", "schema_hash": "h"}, True),
        ({"skill_version": "2"}, False),
        ({"schema_hash": "g"}, False),
        ({"skill": "files.*"}, False),
        ({"principal_key": "bob"}, False),
        ({"task_id": "7", "uses_left": 1}, True),
        ({"task_id": "8"}, False),
        ({"uses_left": 0}, False),
        ({"expires_at": NOW}, False),
    ],
)
def test_a_grant_covers_exactly_what_it_says(change: dict[str, Any], covered: bool) -> None:
    action = Action(skill="files.delete", version="1", schema_hash="h", args={"paths": ["a"]}, task_id="7")
    assert covers(GRANT.model_copy(update=change), action, DELETE, ANN, NOW) is covered


@pytest.mark.parametrize(
    ("organisation", "owner"),
    [
        ("approvers: {default: {roles: [owner], needed: 2}}", {}),
        ("{people: {carl: {}}, approvers: {default: {people: [carl]}}}", {}),
        ("", {"owner_roles": ("engineer",)}),
    ],
)
def test_a_grant_counts_only_where_its_giver_alone_could_say_yes(organisation: str, owner: dict[str, Any]) -> None:
    grant = GRANT.model_copy(update=owner)
    assert isinstance(ask_policy(DELETE, {"paths": ["a"]}, organisation=organisation, grants=(grant,)), Ask)


def test_no_grant_covers_what_four_eyes_decide_by_default() -> None:
    org = "approvers: {default: {roles: [owner], four_eyes: true}}"
    assert isinstance(ask_policy(DELETE, {"paths": ["a"]}, organisation=org, grants=(GRANT,)), Ask)


def test_a_grant_is_not_used_up_where_none_is_needed() -> None:
    grant = GRANT.model_copy(update={"skill": "files.read", "args": {"path": {"is": "a"}}})
    assert ask_policy(READ, {"path": "a"}, grants=(grant,)) == Allow(
        reasons=("Reading needs no approval.",), rule="default"
    )


def test_no_grant_covers_the_top_tier() -> None:
    grant = GRANT.model_copy(update={"skill": "sql.execute", "args": {"statement": {"is": "select 1"}}})
    assert isinstance(ask_policy(SQL, {"statement": "select 1"}, grants=(grant,)), Ask)


# ---------------------------------------------------------------- an approval given before


def asked(**approvers: Any) -> Ask:
    return Ask(reasons=(), approvers=Approvers(**approvers))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (asked(roles=("a",)), asked(roles=("a",)), None),
        (asked(roles=("a",)), asked(roles=("a", "b"), people=("x",)), None),
        (asked(roles=("a",), needed=2), asked(roles=("a",), needed=1), None),
        (asked(roles=("a",), four_eyes=True), asked(roles=("a",)), None),
        (asked(roles=("a",)), Allow(reasons=("ok",)), None),
        (asked(roles=("a",)), asked(roles=("a",), needed=2), "2 instead of 1"),
        (asked(roles=("a",)), asked(roles=("a",), four_eyes=True), "no longer approve"),
        (asked(roles=("a", "b")), asked(roles=("b",)), "no longer a"),
        (asked(people=("x",)), asked(people=("y",)), "no longer x"),
        (asked(slack_usergroups=("S1",)), asked(roles=("a",)), "no longer S1"),
        (asked(roles=("a",)), Deny(reasons=("No.",)), "refused now: No."),
    ],
)
def test_an_approval_holds_unless_policy_became_stricter(old: Ask, new: Classified, says: str | None) -> None:
    why = stricter(old, new)
    assert why is None if says is None else why is not None and says in why


# ---------------------------------------------------------------- always


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda s: st.lists(s, max_size=3) | st.dictionaries(st.text(max_size=5), s, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from([DELETE, READ, GET, SEND, SQL]),
    st.dictionaries(st.sampled_from(["to", "paths", "url", "statement", "amount", "usd"]), json_values, max_size=4),
    st.sampled_from([ANN, BOB, NOBODY]),
    st.sampled_from([PAGE, OWN]),
)
def test_whatever_the_arguments_there_is_an_answer_with_reasons(
    manifest: SkillManifest, args: dict[str, Any], by: Requester, origin: ArgumentOrigin
) -> None:
    answer = ask_policy(manifest, args, by=by, origins=dict.fromkeys(args, origin))
    assert answer.reasons
    if manifest is not READ and args and origin is PAGE and set(args) != {"body"}:
        assert not isinstance(answer, Allow)
