"""What we send and what the stand-ins send, against the vendors' descriptions, both taken from whole stories.

The descriptions are those of tests/specs, which are always here; where the vendors' whole published files lie in
`$SAYSO_SPECS`, those are asked too. What breaks a description is shown to be noticed.
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

from tests import contracts
from tests.patience import PATIENCE_S
from tests.scenarios.player import Ending, play, stories
from tests.scenarios.stage import Stage, open_stage
from tests.sim.journal import Entry
from tests.sim.llm_script import Say, Script
from tests.sim.openai import OpenAISim
from tests.sim.telegram_check import decode
from worker.llm.openai_provider import OpenAIProvider
from worker.llm.protocol import Image, ToolCall, ToolSpec, Turn

SPECS = Path(os.environ.get("SAYSO_SPECS", Path(__file__).resolve().parents[2] / "shared" / "specs"))
STORIES = {story.name: story for story in stories()}
PLAYED = [
    ("ask_and_approve", "slack"), ("deny_with_reason", "slack"), ("plain_words", "slack"), ("ask_and_approve", "telegram"),
    ("grant", "telegram"), ("plain_words", "telegram"), ("escalation_to_sms", "web"),
]  # fmt: skip

# The web's pages are its own; SMS goes out from the ladder of a story on the web.
WITHOUT_A_WIRE = {("web", "in"), ("web", "out")}


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
async def test_everything_on_the_wire_is_as_it_is_described(stage: Stage, name: str, chat: str) -> None:
    assert await play(stage, STORIES[name], chat) == Ending()
    checked = [entry for entry in stage.world.journal if (entry.vendor, entry.direction) in contracts.WIRES]
    wrong = {
        f"{entry.vendor} {entry.direction} {entry.method}: {said}"
        for entry in checked
        if (said := contracts.problem_of(entry.vendor, entry.direction, entry.method, entry.body))
    }
    assert {(entry.vendor, entry.direction) for entry in checked} >= {(chat, "in"), (chat, "out")} - WITHOUT_A_WIRE
    assert wrong == set()
    if SPECS.is_dir():
        published_too = [entry for entry in checked if (entry.vendor, entry.direction) in CHECKS]
        assert {CHECKS[entry.vendor, entry.direction](entry) for entry in published_too} <= {""}


TWO_ACTIONS = {"inline_keyboard": [[{"text": "Approve", "callback_data": "a:1:approve", "url": "https://x.example"}]]}
BROKEN: list[tuple[str, str, str, dict[str, Any], str]] = [
    ("slack", "in", "chat.postMessage", {"text": "x"}, "channel"),
    ("slack", "in", "chat.postMessage", {"channel": "C1", "text": "x", "colour": "red"}, "colour"),
    ("slack", "in", "chat.postMessage", {"channel": "C1", "text": "x", "blocks": [{"type": "box"}]}, "box"),
    ("slack", "out", "message", {"event": {"type": "message", "text": "x"}}, "required"),
    ("telegram", "in", "sendMessage", {"chat_id": 1}, "text"),
    ("telegram", "in", "sendMessage", {"chat_id": 1, "text": "x", "colour": "red"}, "colour"),
    ("telegram", "in", "sendMessage", {"chat_id": 1, "text": "x", "reply_markup": TWO_ACTIONS}, "valid"),
    ("telegram", "in", "answerCallbackQuery", {"callback_query_id": "1", "text": "x" * 201}, "too long"),
    ("telegram", "in", "sendPhoto", {"chat_id": 1}, "sendPhoto"),
    ("telegram", "out", "message", {"update_id": 1, "message": {"message_id": 1, "date": 1}}, "chat"),
    ("twilio", "in", "messages.create", {"To": "+15550002222", "From": "+15550003333", "Body": "x" * 1601}, "Body: "),
    ("twilio", "in", "messages.create", {"To": "+15550002222", "Body": "x"}, "valid"),
    ("twilio", "out", "status", {"MessageSid": "SM1"}, "required"),
    ("anthropic", "in", "messages", {"model": "m", "messages": []}, "max_tokens"),
    ("openai", "in", "chat.completions", {"model": "m", "messages": [{"role": "user", "content": "x"}], "top_k": 1}, "top_k"),
    ("openai", "in", "chat.completions", {"model": "m", "messages": [{"role": "assistant", "content": None}]}, "valid"),
]  # fmt: skip


@pytest.mark.parametrize(("vendor", "direction", "method", "body", "said"), BROKEN)
def test_what_breaks_a_description_is_noticed(
    vendor: str, direction: str, method: str, body: dict[str, Any], said: str
) -> None:
    assert said in contracts.problem_of(vendor, direction, method, body)


async def test_what_we_ask_of_openai_is_as_it_is_described() -> None:
    """With a tool, a picture, a call and its answer; whole and in pieces."""
    turns = (
        Turn("system", "Be brief."),
        Turn("user", "What is this?", images=(Image("image/png", "aGk="),)),
        Turn("assistant", "", calls=(ToolCall("c1", "look", {"at": "it"}),)),
        Turn("tool", "a cat", call_id="c1"),
    )
    tools = (ToolSpec("look", "Look at it", {"type": "object"}),)
    async with OpenAISim(Script(Say("A cat."), Say("A cat."))) as sim:
        provider = OpenAIProvider(sim.key, sim.base_url)
        for on_delta in (None, lambda delta: None):
            await provider.complete(
                "gpt-5.4", turns, tools, max_output_tokens=100, timeout_s=PATIENCE_S, on_delta=on_delta
            )
        await provider.aclose()
        asked = [entry.body for entry in sim.journal.of("openai", "chat.completions")]
    assert len(asked) == 2
    assert [contracts.openai_chat("Request", body) for body in asked] == ["", ""]
