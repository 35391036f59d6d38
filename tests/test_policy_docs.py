"""The examples of docs/policy.md are rules and cases that run."""

import re
from datetime import UTC, datetime
from pathlib import Path

import yaml
from pydantic import TypeAdapter

from core.expressions import VARIABLES
from core.organisation import parse
from core.recorded import Case, try_case
from worker.skills.registry import Registry

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "policy.md").read_text(encoding="utf-8")
PEOPLE = "people: {ann: {name: Ann, roles: [owner]}}\n"


def block(kind: str) -> str:
    [found] = re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_rules_shown_are_rules_and_the_cases_shown_hold_under_them(tmp_path: Path) -> None:
    organisation = parse(PEOPLE + block("yaml"))
    assert next(rule.name for rule in organisation.policy.rules) == "no prod"
    cases = TypeAdapter(list[Case]).validate_python(yaml.safe_load(block("yaml cases")))
    manifests = {m.name: m for m in Registry.load(tmp_path).manifests()}
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert {case.name: try_case(case, manifests, organisation, now).wrong for case in cases} == {
        case.name: () for case in cases
    }


def test_all_variables_are_named() -> None:
    listed = re.search(r"may speak of `([^`]+)`", TEXT.replace("\n", " "))
    assert listed is not None
    assert set(listed.group(1).split()) == VARIABLES
