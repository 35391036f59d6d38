"""sayso.yaml: what is valid, what is refused in words that name the line and the fix, and what follows from it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.models import ArgumentOrigin, EffectClass, Origin, PermissionOn, SkillManifest
from core.organisation import (
    BadInputs,
    Organisation,
    OrganisationError,
    load,
    may,
    parse,
    runbook_steps,
    secret_names,
    sees_all,
    sees_conversation,
)

EXAMPLE = Path(__file__).parent.parent / "sayso.example.yaml"
OWN = ArgumentOrigin(origin=Origin.REQUESTER)
CONFIG = ArgumentOrigin(origin=Origin.CONFIG)


def problems(text: str) -> list[str]:
    with pytest.raises(OrganisationError) as caught:
        parse(text)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


# ---------------------------------------------------------------- what is valid


def test_the_example_is_valid_and_read_whole() -> None:
    org = load(EXAMPLE)
    assert org.organisation == "Acme"
    assert org.timezone == "Europe/Berlin"
    assert org.people["ann"].identities["telegram"] == "1001"
    assert org.people["bob"].out_of_office is not None
    assert org.people["bob"].out_of_office.until == date(2026, 12, 1)
    assert org.people["deployer"].service
    assert org.approvers["two_eyes"].needed == 2
    assert [(r.after, r.to) for r in org.ladders["default"]] == [
        (0, "conversation"),
        (300, "direct"),
        (900, "sms"),
        (3600, "expire"),
    ]
    assert org.ladders["patient"][1].after == 3 * 86400
    assert [r.name for r in org.policy.rules][:2] == ["no prod drops", "own notes"]
    assert org.policy.budgets["task"].minutes == 120
    assert org.models.routes["plan"] == ["anthropic/claude-sonnet-4-6", "openai/gpt-5.4"]
    assert org.skills["files"] == {"workspace": "./workspace"}
    assert org.hooks["alerts"].as_ == "deployer"
    assert org.schedules[0].run == "clean-logs"
    assert org.alerts[0].for_ == 120


@pytest.mark.parametrize(
    "text", ["", "   \n", "# nothing\n", "---\n", "null", "people:\nroles:\npolicy:\n  rules:\n", "{}"]
)
def test_an_empty_file_is_valid(text: str) -> None:
    assert parse(text) == Organisation()


def test_an_absent_file_is_an_empty_one(tmp_path: Path) -> None:
    assert load(tmp_path / "sayso.yaml") == Organisation()


@pytest.mark.parametrize(
    ("written", "seconds"), [("0m", 0), ("30s", 30), ("5m", 300), ("2h", 7200), ("3d", 259_200), ("90", 90)]
)
def test_durations_become_seconds(written: str, seconds: int) -> None:
    org = parse(f"policy: {{rules: [{{name: a, then: ask, expires_in: {written}}}]}}")
    assert org.policy.rules[0].expires_in == seconds


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[a, b]", "sayso.yaml:1: the file must be a mapping"),
        ("a: [", "sayso.yaml:1: this is not YAML"),
        ("people:\n\tann: {}", "sayso.yaml:2: this is not YAML"),
        ("a: 2026-13-01", "sayso.yaml:1: this cannot be read"),
        ("peple: {}", "sayso.yaml:1: peple is not known; did you mean 'people'?"),
        ("zzz: 1", "zzz is not known; remove it"),
        ("people:\n  ann:\n    role: [owner]", "sayso.yaml:3: people.ann.role is not known; did you mean 'roles'?"),
        ("people: {ann: {roles: owner}}", "people.ann.roles: this is no list; write it as [a, b]"),
        ("people: {ann: }", "people.ann: this is no mapping"),
        ("people: {Ann Lee: {}}", "'Ann Lee' does not fit; write a name without spaces such as ann"),
        ("people: {ann: {}}\npeople: {}", "sayso.yaml:2: 'people' is here twice (first in line 1)"),
        ("skills: &a {b: *a}", "this contains itself"),
        (
            "people:\n  ann:\n    identities:\n      telegram: 1001",
            "sayso.yaml:4: people.ann.identities.telegram: this is no text; write it in quotes",
        ),
        ("people: {ann: {identities: {slack: U01ALICE}}}", "no slack identity; write it like T0ACME/U01ALICE"),
        ("people: {ann: {identities: {phone: '0171 5550'}}}", "no phone identity"),
        ("people: {ann: {identities: {discord: x}}}", "people.ann.identities.discord: "),
        ("people:\n  ann: {identities: {web: a}}\n  bob: {identities: {web: a}}", "sayso.yaml:3: 'a' is 'ann' already"),
        ("people: {ann: {roles: [onwer]}}", "there is no role 'onwer'; did you mean 'owner'?"),
        ("people: {ann: {out_of_office: {until: 2026-12-01, delegate: ann}}}", "no other person 'ann'"),
        (
            "people: {ann: {out_of_office: {until: 2026-12-01, delegate: x}}, x: {service: true}}",
            "services never decide",
        ),
        ("timezone: Berlin", "sayso.yaml:1: timezone: 'Berlin' is no time zone; write one like Europe/Berlin"),
        ("roles: {a: {may: [files.delete]}}", "write '*', skill:files.*"),
        ("roles: {a: {see: [everything]}}", "roles.a.see.0: Input should be 'own', 'conversation' or 'all'"),
        ("approvers: {ops: {people: [nobody]}}", "there is no person 'nobody'"),
        ("approvers: {ops: {roles: [nobody]}}", "there is no role 'nobody'"),
        (
            "people: {s: {service: true}}\napprovers: {ops: {people: [s]}}",
            "sayso.yaml:2: s is a service; services never decide",
        ),
        ("approvers: {ops: {}}", "nobody is in this group"),
        ("people: {a: {}}\napprovers: {ops: {people: [a], needed: 2}}", "2 are needed, but only 1 are named"),
        ("ladders: {l: []}", "the ladder has no rung"),
        (
            "ladders:\n  l:\n    - {after: 5m, to: direct}\n    - {after: 1m, to: expire}",
            "sayso.yaml:4: this rung comes before",
        ),
        ("ladders: {l: [{after: 0m, to: expire}, {after: 5m, to: direct}]}", "nothing comes after expire"),
        ("ladders: {l: [{after: soon, to: direct}]}", "'soon' is no duration; write it like 30s, 5m, 2h or 3d"),
        (
            "policy:\n  rules:\n    - name: a\n      then: ask\n      when: 'cuont > 1'",
            "sayso.yaml:5: policy.rules.0.when: the condition does not compile: there is no variable 'cuont'; did you",
        ),
        ("policy: {rules: [{name: a, then: maybe}]}", "policy.rules.0.then: Input should be 'allow', 'ask' or 'deny'"),
        ("policy: {rules: [{then: ask}]}", "policy.rules.0.name is missing; add it"),
        ("policy: {rules: [{name: a, then: ask}, {name: a, then: ask}]}", "two rules are called 'a'"),
        ("policy: {rules: [{name: a, then: ask, approvers: ops}]}", "there is no approvers group 'ops'"),
        ("policy: {rules: [{name: a, then: ask, ladder: x}]}", "there is no ladder 'x'"),
        (
            "approvers: {o: {roles: [owner]}}\npolicy: {rules: [{name: a, then: deny, approvers: o}]}",
            "asks nobody; remove approvers",
        ),
        ("models: {routes: {plan: [gpt-5.4]}}", "'gpt-5.4' is no route; write it like openai/gpt-5.4"),
        ("models: {routes: {plan: [opnai/x]}}", "there is no provider 'opnai'; did you mean 'openai'?"),
        ("hooks: {h: {secret_env: S, as: x, intent: y}}", "there is no person 'x'"),
        ("hooks: {h: {secret_env: abc def, as: x, intent: y}}", "the name of an environment variable"),
        (
            "people: {x: {}}\nhooks: {h: {secret_env: S, as: x, intent: y, conversation: C0}}",
            "'C0' is no conversation; write it like slack/",
        ),
        ("schedules: [{name: a, cron: '0 7 * *', run: r, as: x}]", "'0 7 * *' is no schedule; write five fields"),
        ("schedules: [{name: a, cron: '0 7 * * *', run: r, as: x}]", "there is no runbook 'r'"),
        ("alerts: [{metric: workers_alive, to: slack/x}]", "a metric needs one of above and below"),
        ("alerts: [{metric: worker_alive, below: 1, to: slack/x}]", "did you mean 'workers_alive'?"),
        ("alerts: [{above: 1, to: slack/x}]", "an alert needs one of metric and when"),
        ("alerts: [{when: worker_alive < 1, to: slack/x}]", "did you mean 'workers_alive'?"),
        ("alerts: [{when: workers_alive < 1, below: 2, to: slack/x}]", "a condition (when) neither"),
    ],
)
def test_a_problem_names_its_line_and_the_fix(text: str, says: str) -> None:
    found = problems(text)
    assert any(says in one for one in found), found
    assert all(one.startswith("sayso.yaml:") for one in found)


def runbook(steps: str, inputs: str = "{}") -> str:
    return f"runbooks:\n  r:\n    inputs: {inputs}\n    steps:\n{steps}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("runbooks: {r: {steps: []}}", "runbooks.r.steps: List should have at least 1 item"),
        (
            runbook("      - {id: a, skill: x.y, args: {p: '{{ b.c }}'}}\n      - {id: b, skill: x.y}"),
            "sayso.yaml:5: step 'a' refers to 'b', which does not come before it",
        ),
        (runbook("      - {id: a, skill: x.y, args: {p: '{{ a.c }}'}}"), "refers to 'a'"),
        (runbook("      - {id: a, skill: x.y, args: {p: '{{ 1.c }}'}}"), "refers to '1'"),
        (runbook("      - {id: a, skill: x.y, needs: [b]}"), "step 'a' needs 'b', which does not come before it"),
        (
            runbook("      - {id: a, skill: x.y}\n      - {id: a, skill: x.y}"),
            "sayso.yaml:6: another thing is called 'a'",
        ),
        (runbook("      - {id: inputs, skill: x.y}"), "another thing is called 'inputs'"),
        (
            runbook("      - {id: a, skill: x.y, args: {p: '{{ inputs.patern }}'}}", "{pattern: {}}"),
            "there is no input 'patern'; did you mean 'pattern'?",
        ),
        (runbook("      - {id: a, skill: x.y, args: {p: '{{ inputs }}'}}", "{pattern: {}}"), "there is no input ''"),
        (
            runbook("      - {id: a, skill: x.y}", "{n: {type: integer, default: many}}"),
            "the default 'many' is no integer",
        ),
        (runbook("      - {id: 1a, skill: x.y}"), "write a name such as find"),
        (runbook("      - {id: a, skill: x.y, args: {p: " + "[" * 70 + "]" * 70 + "}}"), "nested more than 64 deep"),
    ],
)
def test_a_runbook_that_cannot_work_is_refused_when_it_is_read(text: str, says: str) -> None:
    found = problems(text)
    assert any(says in one for one in found), found


def test_all_problems_are_told_at_once() -> None:
    found = problems("peple: {}\npeople:\n  ann: {roles: owner}\n  bob: {nme: Bob}\n")
    assert [one.split(" ")[0] for one in found] == ["sayso.yaml:3:", "sayso.yaml:4:", "sayso.yaml:1:"]


def test_an_unreadable_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "sayso.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(OrganisationError, match=r"sayso\.yaml:1: cannot be read"):
        load(tmp_path / "sayso.yaml")
    with pytest.raises(OrganisationError, match="cannot be read"):
        load(tmp_path)


@given(st.text(max_size=80) | st.text(st.sampled_from("people:{}[]&*a1 \n-'\"!|>#?"), max_size=60))
def test_any_text_is_read_or_refused_with_lines(text: str) -> None:
    try:
        organisation = parse(text)
    except OrganisationError as error:
        organisation = None
        lines = error.problems
    if organisation is None:
        assert lines and all(line.startswith("sayso.yaml:") for line in lines)


# ---------------------------------------------------------------- rights

ROLES = parse(
    "roles:\n"
    "  worker: {may: ['skill:files.*', 'skill:sql.query@dev/*', 'see:task:7'], see: [own, conversation]}\n"
    "  careful: {may: ['*'], may_not: ['skill:files.delete', 'skill:sql.execute@prod/*']}\n"
    "  auditor: {may: ['see:task:*']}\n"
    "  boss: {see: [all]}\n"
)


@pytest.mark.parametrize(
    ("roles", "what", "at", "allowed"),
    [
        (["worker"], "skill:files.delete", "", True),
        (["worker"], "skill:http.get", "", False),
        (["worker"], "see:task:7", "", True),
        (["worker"], "see:task:8", "", False),
        (["worker", "careful"], "skill:files.delete", "", False),
        (["careful"], "skill:anything.else", "", True),
        (["careful"], "skill:sql.execute", "sql:prod/users", False),
        (["careful"], "skill:sql.execute", "sql:dev/users", True),
        (["careful"], "skill:sql.execute", "sql:dev/users, sql:prod/users", False),
        (["worker"], "skill:sql.query", "", False),
        (["worker"], "skill:sql.query", "sql:dev/x", True),
        (["worker"], "skill:sql.query", "sql:dev/x, sql:prod/x", False),
        (["owner"], "skill:anything", "", True),
        (["owner", "careful"], "skill:files.delete", "", False),
        (["gone"], "skill:files.delete", "", False),
        ([], "skill:files.delete", "", False),
    ],
)
def test_a_role_allows_and_another_forbids(roles: list[str], what: str, at: str, allowed: bool) -> None:
    assert may(ROLES, roles, what, at=at) is allowed


def test_an_owner_that_the_file_defines_may_what_it_says() -> None:
    org = parse("roles: {owner: {may: ['skill:files.*']}}")
    assert may(org, ["owner"], "skill:files.read")
    assert not may(org, ["owner"], "skill:http.get")


@pytest.mark.parametrize(
    ("roles", "everything", "here"),
    [
        (["owner"], True, False),
        (["boss"], True, False),
        (["auditor"], True, False),
        (["worker"], False, True),
        ([], False, False),
    ],
)
def test_who_sees_whose_tasks(roles: list[str], everything: bool, here: bool) -> None:
    assert sees_all(ROLES, roles) is everything
    assert sees_conversation(ROLES, roles) is here


# ---------------------------------------------------------------- runbooks


def manifest(name: str, effect: EffectClass = EffectClass.PURE) -> SkillManifest:
    return SkillManifest(
        name=name,
        version="1",
        summary="",
        args_schema={},
        schema_hash="h",
        permissions=(PermissionOn(permission="read"),),
        effect_class=effect,
        card="Do {paths}" if name == "files.delete" else "",
        timeout_s=7.0,
    )


MANIFESTS = {
    m.name: m
    for m in (
        manifest("files.list"),
        manifest("files.delete", EffectClass.CHECKABLE),
        manifest("email.send"),
        manifest("x.y"),
    )
}


def test_the_examples_runbook_becomes_steps() -> None:
    steps = runbook_steps(load(EXAMPLE), "clean-logs", {}, MANIFESTS)
    assert [(s.n, s.kind, s.skill, s.needs) for s in steps] == [
        (1, "act", "files.list", ()),
        (2, "act", "files.delete", (1,)),
        (3, "act", "email.send", (2,)),
    ]
    assert [s.args for s in steps] == [
        {"pattern": "*.log"},
        {"paths": "{{ 1.paths }}"},
        {"to": "ann@acme.example", "subject": "Logs cleaned", "body": "{{ 2.summary }}"},
    ]
    assert steps[1].effect_class is EffectClass.CHECKABLE
    assert steps[1].timeout_s == 7.0
    assert all(origin == CONFIG for s in steps for origin in s.origins.values())


def test_what_the_person_gave_is_theirs_and_what_the_file_says_is_configuration() -> None:
    org = parse(
        runbook(
            "      - {id: a, skill: x.y, args: {p: 'logs/{{ inputs.name }}', n: '{{ inputs.count }}', fixed: 1}}",
            "{name: {}, count: {type: integer, default: 3}}",
        )
    )
    (step,) = runbook_steps(org, "r", {"name": "old"}, MANIFESTS)
    assert step.args == {"p": "logs/old", "n": 3, "fixed": 1}
    assert step.origins == {"p": OWN, "n": CONFIG, "fixed": CONFIG}


def test_a_reference_makes_a_step_wait_for_what_it_refers_to() -> None:
    org = parse(
        runbook(
            "      - {id: a, skill: x.y}\n      - {id: b, skill: x.y}\n"
            "      - {id: c, skill: x.y, args: {l: ['{{ b.x.0 }}', {k: 'and {{ a.y }}'}]}}"
        )
    )
    step = runbook_steps(org, "r", {}, MANIFESTS)[2]
    assert step.needs == (1, 2)
    assert step.args == {"l": ["{{ 2.x.0 }}", {"k": "and {{ 1.y }}"}]}


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("string", "7", "7"),
        ("integer", "7", 7),
        ("integer", 7, 7),
        ("number", "-7.5", -7.5),
        ("boolean", "yes", True),
        ("boolean", False, False),
        ("boolean", "FALSE", False),
    ],
)
def test_inputs_are_typed(kind: str, given: Any, value: Any) -> None:
    org = parse(runbook("      - {id: a, skill: x.y, args: {v: '{{ inputs.v }}'}}", f"{{v: {{type: {kind}}}}}"))
    (step,) = runbook_steps(org, "r", {"v": given}, MANIFESTS)
    assert step.args["v"] == value
    assert type(step.args["v"]) is type(value)


@pytest.mark.parametrize(
    ("kind", "inputs", "says"),
    [
        ("string", {}, "r needs v. Say: run r v=…"),
        ("string", {"v": "a", "w": "b"}, "r has no input 'w'. It takes: v."),
        ("string", {"v": "{{ 1.secret }}"}, "may not hold"),
        ("integer", {"v": "7.5"}, "r: v='7.5' is no integer."),
        ("integer", {"v": "1_0"}, "is no integer"),
        ("integer", {"v": str(2**53)}, "is no integer"),
        ("number", {"v": "nan"}, "is no number"),
        ("boolean", {"v": "maybe"}, "is no boolean"),
    ],
)
def test_wrong_inputs_are_refused_with_the_fix(kind: str, inputs: dict[str, Any], says: str) -> None:
    org = parse(runbook("      - {id: a, skill: x.y, args: {v: '{{ inputs.v }}'}}", f"{{v: {{type: {kind}}}}}"))
    with pytest.raises(BadInputs, match=says.replace(".", r"\.").replace("{", r"\{")):
        runbook_steps(org, "r", inputs, MANIFESTS)


def test_an_unknown_runbook_or_skill_is_named() -> None:
    org = load(EXAMPLE)
    with pytest.raises(BadInputs, match=r"no runbook 'clean-log'\. Did you mean clean-logs\?"):
        runbook_steps(org, "clean-log", {}, MANIFESTS)
    with pytest.raises(BadInputs, match=r"There are: none\."):
        runbook_steps(Organisation(), "x", {}, MANIFESTS)
    with pytest.raises(BadInputs, match=r"needs the skill 'files\.list', which no worker has"):
        runbook_steps(org, "clean-logs", {}, {})


def test_the_secrets_that_the_file_takes_from_the_environment_are_known_for_masking() -> None:
    assert {"DEPLOY_TOKEN", "CRM_RO_URL", "CRM_RW_URL", "ALERTS_HOOK_SECRET"} <= secret_names(load(EXAMPLE))
