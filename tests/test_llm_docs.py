"""docs/models.md says what the code does: routes, waits and names."""

import re
from pathlib import Path

import yaml

from core.organisation import ModelsPart
from core.settings import Settings
from worker.llm import circuit, models, redaction
from worker.llm.routes import DEFAULTS, choose
from worker.prompts import NAMES

TEXT = (Path(__file__).parent.parent / "docs" / "models.md").read_text(encoding="utf-8")


def test_the_default_routes_are_the_ones_that_are_told() -> None:
    told = {
        row.group(1): tuple(re.findall(r"`([^`]+)`", row.group(2)))
        for row in re.finditer(r"^\| `(plan|act|transcribe)` \| (.+) \|$", TEXT, re.MULTILINE)
    }
    assert told == {purpose: DEFAULTS[purpose] for purpose in ("plan", "act", "transcribe")}


def test_the_example_is_a_valid_part_of_sayso_yaml() -> None:
    [example] = re.findall(r"```yaml\n(.+?)```", TEXT, re.DOTALL)
    part = ModelsPart.model_validate(yaml.safe_load(example)["models"])
    chosen = choose(Settings(), part)
    assert [str(route) for route in chosen.routes["plan"]] == ["local/qwen3"], "GATEWAY_TOKEN is not set here"


def test_the_limits_are_the_ones_that_are_told() -> None:
    assert (circuit.FAILURES_MOST, circuit.REST_FIRST_S, circuit.REST_MOST_S) == (4, 15, 240)
    assert models.RETRY_WAIT_MOST_S == 5
    assert redaction.SECRET_CHARS_LEAST == 12
    for told in ("Four failures", "15 seconds", "four minutes", "five seconds", "twelve characters"):
        assert told in TEXT
    assert all(f"{name}.md" in TEXT for name in NAMES)
