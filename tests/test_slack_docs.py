"""The page a stranger follows: its manifest is one that Slack takes, and it has what the adapter needs."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from jsonschema import Draft7Validator
from typer.testing import CliRunner

from bot.cli import app
from bot.slack import manifest
from tests import contracts

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "slack.md").read_text(encoding="utf-8")
SPECS = Path(os.environ.get("SAYSO_SPECS", Path(__file__).resolve().parents[2] / "shared" / "specs"))
SCHEMA = SPECS / "slack" / "manifest.schema.2.0.0.json"


def blocks_of(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def merged(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {key: merged(base.get(key), value) for key, value in over.items()}
    if isinstance(base, list) and isinstance(over, list) and over and isinstance(over[0], dict):
        return [merged(b, o) for b, o in zip(base, over, strict=True)]
    return over


def manifests() -> list[dict[str, Any]]:
    """For Socket Mode, and with the page's changes for HTTP."""
    socket, _, http, *_ = [yaml.safe_load(text) for text in blocks_of("yaml")]
    return [socket, merged(socket, http)]


def test_the_page_shows_the_manifest_that_the_command_prints() -> None:
    assert manifests() == [manifest.manifest(), manifest.manifest("https://sayso.example.com")]
    assert yaml.safe_load(manifest.as_yaml()) == manifest.manifest()
    assert yaml.safe_load(unquote(manifest.one_click().removeprefix(manifest.NEW_APP))) == manifest.manifest()


def test_the_page_says_why_each_scope_and_event_is_needed() -> None:
    rows = re.findall(r"^\| `([\w:.]+)` \| (.+) \|$", PAGE, re.MULTILINE)
    assert [row for row in rows if (row[0] not in ("chat.update",) and ":" in row[0]) or row[0] == "commands"] == [
        (scope.name, scope.why) for scope in manifest.SCOPES
    ]
    for event in manifest.EVENTS:
        assert (event.name, event.why) in rows
        assert set(event.scopes) <= {scope.name for scope in manifest.SCOPES}


def test_the_manifest_for_http_names_one_address_three_times() -> None:
    http = manifests()[1]
    assert http["settings"]["socket_mode_enabled"] is False
    assert {
        http["settings"]["event_subscriptions"]["request_url"],
        http["settings"]["interactivity"]["request_url"],
        http["features"]["slash_commands"][0]["url"],
    } == {"https://sayso.example.com/slack/events"}


@pytest.mark.parametrize("number", [0, 1], ids=["socket", "http"])
def test_the_manifest_is_one_that_slack_takes(number: int) -> None:
    assert contracts.broken("slack_manifest", contracts.described("slack_manifest"), manifests()[number]) == ""
    if SCHEMA.is_file():
        validator = Draft7Validator(json.loads(SCHEMA.read_text()))
        assert [error.message for error in validator.iter_errors(manifests()[number])] == []


def test_the_page_names_the_settings_that_exist() -> None:
    named = set(re.findall(r"\bSLACK_[A-Z_]+", PAGE)) - {"SLACK_BOT_TOKEN_FILE"}
    assert named == {"SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET", "SLACK_MODE"}


def test_the_command_prints_the_manifest_and_a_link(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PUBLIC_BASE_URL", raising=False)
    run = CliRunner().invoke
    plain = run(app, ["manifest", "slack"]).stdout
    assert yaml.safe_load(plain) == manifest.manifest()
    assert manifest.one_click() in plain and "- im:write  # " in plain
    assert json.loads(run(app, ["manifest", "slack", "--json"]).stdout) == manifest.manifest()
    assert run(app, ["manifest", "slack", "--link"]).stdout.strip() == manifest.one_click()
    lost = run(app, ["manifest", "slack", "--http"])
    assert (lost.exit_code, "PUBLIC_BASE_URL" in lost.output) == (2, True)
    here = {"PUBLIC_BASE_URL": "https://sayso.example.com"}
    assert yaml.safe_load(run(app, ["manifest", "slack", "--http"], env=here).stdout) == manifests()[1]
