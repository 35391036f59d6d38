"""What we send and what the stand-ins send, against the vendors' published descriptions, both taken from whole stories.

The stand-ins judge by distilled copies; here the published files themselves are asked. They lie in `$SAYSO_SPECS`.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from tests.scenarios.player import Ending, play, stories
from tests.scenarios.stage import Stage, open_stage
from tests.sim.journal import Entry
from tests.sim.telegram_check import decode

SPECS = Path(os.environ.get("SAYSO_SPECS", Path(__file__).resolve().parents[2] / "shared" / "specs"))
STORIES = {story.name: story for story in stories()}
PLAYED = [
    ("ask_and_approve", "slack"), ("deny_with_reason", "slack"), ("plain_words", "slack"), ("ask_and_approve", "telegram"),
    ("grant", "telegram"), ("plain_words", "telegram"), ("escalation_to_sms", "web"),
]  # fmt: skip

pytestmark = pytest.mark.skipif(not SPECS.is_dir(), reason=f"no published descriptions in {SPECS}")


@cache
def published(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((SPECS / name).read_text(encoding="utf-8"))
    return read


def problem(file: str, schema: dict[str, Any], value: Any) -> str:
    """What is wrong with the value, "" when nothing is."""
    spec = published(file)
    beside = {name: spec[name] for name in ("definitions", "$defs", "components") if name in spec}
    error = best_match(Draft202012Validator({**schema, **beside}).iter_errors(value))
    return "" if error is None else f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"


def slack_call(entry: Entry) -> str:
    file = "slack/web_api_requests.schema.json"
    schema = published(file)["methods"].get(entry.method)
    return problem(file, schema, entry.body) if schema is not None else ""


def slack_delivery(entry: Entry) -> str:
    file = "slack/inbound_payloads.schema.json"
    schema = published(file)["definitions"]["Inbound"]["properties"].get(entry.method)
    if any(action["type"] != "button" for action in entry.body.get("actions", ())):
        return ""  # only a button's press is described, not a menu's
    # The description is of the event inside its envelope; and Slack writes "enterprise": null, which it forgets.
    body = {name: value for name, value in entry.body.get("event", entry.body).items() if value is not None}
    return problem(file, schema, body) if schema is not None else ""


def telegram_call(entry: Entry) -> str:
    file = "telegram/bot_api.schema.json"
    method = published(file)["x-methods"].get(entry.method)
    return problem(file, method["params"], decode(entry.method, entry.body)[0]) if method else "no such method"


def telegram_delivery(entry: Entry) -> str:
    return problem("telegram/bot_api.schema.json", {"$ref": "#/definitions/Update"}, entry.body)


def twilio_call(entry: Entry) -> str:
    file = "twilio/api_v2010.messages.json"
    path = next(path for path in published(file)["paths"] if path.endswith("Messages.json"))
    [content] = published(file)["paths"][path]["post"]["requestBody"]["content"].values()
    unknown = set(entry.body) - set(content["schema"]["properties"])
    return f"unknown: {sorted(unknown)}" if unknown else ""


def anthropic_call(entry: Entry) -> str:
    name = "MessageCreateParamsStreaming" if entry.body.get("stream") else "MessageCreateParams"
    return problem("anthropic/messages.schema.json", {"$ref": f"#/$defs/{name}"}, entry.body)


CHECKS: dict[tuple[str, str], Callable[[Entry], str]] = {
    ("slack", "in"): slack_call,
    ("slack", "out"): slack_delivery,
    ("telegram", "in"): telegram_call,
    ("telegram", "out"): telegram_delivery,
    ("twilio", "in"): twilio_call,
    ("anthropic", "in"): anthropic_call,
}


@pytest.fixture
async def stage(
    database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    async with open_stage(database_url, redis_url, tmp_path, monkeypatch) as opened:
        yield opened


@pytest.mark.parametrize(("name", "chat"), PLAYED)
async def test_everything_on_the_wire_is_as_it_is_published(stage: Stage, name: str, chat: str) -> None:
    assert await play(stage, STORIES[name], chat) == Ending()
    checked = [entry for entry in stage.world.journal if (entry.vendor, entry.direction) in CHECKS]
    wrong = [
        f"{entry.vendor} {entry.direction} {entry.method}: {said}"
        for entry in checked
        if (said := CHECKS[entry.vendor, entry.direction](entry))
    ]
    assert checked
    assert not wrong, "\n".join(sorted(set(wrong)))
