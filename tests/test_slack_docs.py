"""The page a stranger follows: its manifest is one that Slack takes, and it has what the adapter needs."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

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
    socket, _, http = [yaml.safe_load(text) for text in blocks_of("yaml")]
    return [socket, merged(socket, http)]


def test_the_manifest_subscribes_to_what_the_adapter_hears() -> None:
    for manifest in manifests():
        assert set(manifest["settings"]["event_subscriptions"]["bot_events"]) == {
            "app_mention", "message.im", "message.channels", "message.groups", "message.mpim",
        }  # fmt: skip
        scopes = set(manifest["oauth_config"]["scopes"]["bot"])
        assert {"app_mentions:read", "chat:write", "commands", "im:history", "im:write"} <= scopes
        assert manifest["settings"]["interactivity"]["is_enabled"] is True
        assert manifest["features"]["app_home"]["messages_tab_read_only_enabled"] is False


def test_the_manifest_for_http_names_one_address_three_times() -> None:
    http = manifests()[1]
    assert http["settings"]["socket_mode_enabled"] is False
    assert {
        http["settings"]["event_subscriptions"]["request_url"],
        http["settings"]["interactivity"]["request_url"],
        http["features"]["slash_commands"][0]["url"],
    } == {"https://sayso.example.com/slack/events"}


@pytest.mark.skipif(not SCHEMA.is_file(), reason=f"the manifest's schema is not at {SCHEMA} (set SAYSO_SPECS)")
@pytest.mark.parametrize("number", [0, 1], ids=["socket", "http"])
def test_the_manifest_is_one_that_slack_takes(number: int) -> None:
    validator = Draft7Validator(json.loads(SCHEMA.read_text()))
    assert [error.message for error in validator.iter_errors(manifests()[number])] == []


def test_the_page_names_the_settings_that_exist() -> None:
    named = set(re.findall(r"\bSLACK_[A-Z_]+", PAGE)) - {"SLACK_BOT_TOKEN_FILE"}
    assert named == {"SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET", "SLACK_MODE"}
