"""What is wrong with a request of ours, or with what a stand-in sends, by the descriptions in tests/specs.

Slack's and Anthropic's are cut from files that may be copied; of the others, what we use is written down in our own words,
each with the vendor's page. They are here always, so nothing that breaks them passes. Pure: problems come back as text, ""
when there are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from tests.sim import anthropic
from tests.sim.slack_check import argument_problems, block_problems, decode, fixture, inbound_problems, view_problems
from tests.sim.telegram_check import Refused
from tests.sim.telegram_check import decode as read_telegram

SPECS: Final = Path(__file__).resolve().parent / "specs"
VIEWS: Final = ("views.open", "views.push", "views.publish", "views.update")
WIRES: Final = (
    ("slack", "in"), ("slack", "out"), ("telegram", "in"), ("telegram", "out"), ("twilio", "in"), ("twilio", "out"),
    ("anthropic", "in"), ("openai", "in"),
)  # fmt: skip


def problem_of(vendor: str, direction: str, method: str, body: Mapping[str, Any]) -> str:
    """Of one line of the journal; "" also for what no description knows, as a page of Slack's own."""
    match vendor, direction:
        case "slack", "in" if method in fixture("slack_requests")["methods"]:
            return slack_call(method, dict(body))
        case "slack", "out" if method in fixture("slack_inbound")["kinds"]:
            return slack_delivery(method, body)
        case "telegram", "in":
            return telegram_call(method, dict(body))
        case "telegram", "out":
            return broken("telegram_bot_api", {"$ref": "#/$defs/Update"}, body)
        case "twilio", "in":
            return broken("twilio_messages", described("twilio_messages")["request"], body)
        case "twilio", "out":
            name = "inbound" if "Body" in body else "status_callback"
            return broken("twilio_messages", described("twilio_messages")[name], body)
        case "anthropic", "in" if method == "messages":
            name = "MessageCreateParamsStreaming" if body.get("stream") else "MessageCreateParams"
            return _told(best_match(anthropic.validator(name).iter_errors(body)))
        case "openai", "in" if method == "chat.completions":
            return openai_chat("Request", body)
    return ""


def slack_call(method: str, body: dict[str, Any]) -> str:
    args = decode(method, body)
    refused, unknown = argument_problems(method, args)
    found = [*refused, *unknown]
    if args.get("blocks"):
        found += block_problems(args["blocks"])
    if method in VIEWS:
        found += view_problems(args.get("view"))
    return "; ".join(found)


def slack_delivery(kind: str, body: Mapping[str, Any]) -> str:
    if any(action["type"] != "button" for action in body.get("actions", ())):
        return ""  # only a button's press is described, not a menu's
    # The description is of the event inside its envelope; and Slack writes "enterprise": null, which it forgets.
    event = {name: value for name, value in body.get("event", body).items() if value is not None}
    return "; ".join(inbound_problems(kind, event))


def telegram_call(method: str, body: dict[str, Any]) -> str:
    known = described("telegram_bot_api")["methods"].get(method)
    if known is None:
        return f"{method} is no method that we describe"
    try:
        args, unknown = read_telegram(method, body)
    except Refused as refused:
        return refused.description
    closed = {"type": "object", "additionalProperties": False, **known}
    return broken("telegram_bot_api", closed, args | dict.fromkeys(unknown))


def openai_chat(name: str, value: Any) -> str:
    """`name` is Request, Response or Chunk."""
    return broken("openai_chat", {"$ref": f"#/$defs/{name}"}, value)


@cache
def described(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((SPECS / f"{name}.yaml").read_text(encoding="utf-8"))
    return read


def broken(file: str, schema: Mapping[str, Any], value: Any) -> str:
    """What is wrong with the value by a schema of this file."""
    beside = {"$defs": described(file).get("$defs", {})}
    return _told(best_match(Draft202012Validator({**schema, **beside}).iter_errors(value)))


def _told(error: Any) -> str:
    return "" if error is None else f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"
