"""Would Slack take this? Pure checks of requests, blocks and views against the published schemas and limits.

Returns what is wrong as sentences in Slack's own manner; it never raises and changes nothing. The schemas are the
distilled fixtures in tests/specs; what they cannot say (limits, uniqueness, non-emptiness) is written out here.
"""

import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match

SPECS = Path(__file__).parent.parent / "specs"
BLOCKS_PER_MESSAGE = 50
BLOCKS_PER_VIEW = 100
SECTION_FIELD_CHARS = 2000
ACCESSIBILITY_LABEL_CHARS = 75
# The SDKs add it to every call once they know the workspace.
EVERYWHERE = ("team_id",)
# These belong to modals.
NOT_IN_MESSAGES = ("alert",)
OPTIONED = ("overflow", "static_select", "radio_buttons", "checkboxes")
OPTION_CHARS = 75

Body = dict[str, Any]


@cache
def fixture(name: str) -> Body:
    content: Body = json.loads((SPECS / f"{name}.json").read_text())
    return content


@cache
def definition_of_type(kind: str) -> str | None:
    """The name of the schema whose `type` is this, e.g. "section" → "SectionBlock"."""
    for name, schema in fixture("slack_blocks")["definitions"].items():
        if schema.get("properties", {}).get("type", {}).get("const") == kind:
            return str(name)
    return None


@cache
def validator(file: str, name: str) -> Draft7Validator:
    definitions = fixture(file)["definitions"]
    return Draft7Validator({"$ref": f"#/definitions/{name}", "definitions": definitions})


def shape_problems(file: str, name: str, value: Any, at: str) -> list[str]:
    error = best_match(validator(file, name).iter_errors(value))
    if error is None:
        return []
    path = "".join(f"/{part}" for part in error.absolute_path)
    return [f"{error.message[:300]} [json-pointer:{at}{path}]"]


def decode(method: str, args: Body) -> Body:
    """Form fields as the types the method declares: JSON in objects and arrays, "1" and "true" in booleans."""
    declared = fixture("slack_requests")["methods"].get(method, {}).get("args", {})
    return {name: _decode_one(value, declared.get(name, ["string"])) for name, value in args.items()}


def _decode_one(value: Any, kinds: list[str]) -> Any:
    if not isinstance(value, str) or kinds == ["string"]:
        return value
    if "boolean" in kinds and value.lower() in ("0", "1", "true", "false"):
        return value.lower() in ("1", "true")
    if "number" in kinds and value.lstrip("-").isdigit():
        return int(value)
    if {"array", "object"} & set(kinds) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def argument_problems(method: str, args: Body) -> tuple[list[str], list[str]]:
    """(what Slack refuses: missing or of a wrong type, what it silently ignores: unknown arguments)."""
    known = fixture("slack_requests")["methods"][method]
    least = [[name for name in names if args.get(name) in (None, "")] for names in known["required"]]
    refused = []
    if [] not in least:
        missing = min(least, key=len)
        refused.append(f"[ERROR] missing required field: {', '.join(missing)}")
    refused += [
        f"[ERROR] must be of type {' or '.join(known['args'][name])} [json-pointer:/{name}]"
        for name, value in args.items()
        if name in known["args"] and value is not None and not _fits(value, known["args"][name])
    ]
    ignored = [name for name in args if name not in known["args"] and name not in EVERYWHERE]
    return refused, [f"unknown argument {name!r}" for name in ignored]


def _fits(value: Any, kinds: list[str]) -> bool:
    python: dict[str, tuple[type, ...]] = {
        "string": (str,),
        "number": (int, float),
        "integer": (int,),
        "boolean": (bool,),
        "array": (list,),
        "object": (dict,),
        "null": (type(None),),
    }
    if isinstance(value, bool):
        return "boolean" in kinds or not kinds
    return not kinds or any(isinstance(value, python[kind]) for kind in kinds)


def block_problems(blocks: Any, most: int = BLOCKS_PER_MESSAGE, surface: str = "message") -> list[str]:
    """Everything for which Slack answers invalid_blocks; empty when it would post them."""
    if not isinstance(blocks, list):
        return ["[ERROR] must be an array [json-pointer:/blocks]"]
    problems = [f"[ERROR] no more than {most} items allowed [json-pointer:/blocks]"] if len(blocks) > most else []
    ids = [block["block_id"] for block in blocks if isinstance(block, dict) and block.get("block_id")]
    problems += [f"[ERROR] block_id {one!r} already exists" for one in sorted({i for i in ids if ids.count(i) > 1})]
    for number, block in enumerate(blocks):
        problems += _one_block(block, f"/blocks/{number}", surface)
    return problems


def _one_block(block: Any, at: str, surface: str) -> list[str]:
    kind = block.get("type") if isinstance(block, dict) else None
    name = definition_of_type(kind) if isinstance(kind, str) else None
    if name is None or not name.endswith("Block") or (surface == "message" and kind in NOT_IN_MESSAGES):
        return [f"[ERROR] unsupported type: {kind} [json-pointer:{at}/type]"]
    problems = [f"[ERROR] {one}" for one in shape_problems("slack_blocks", name, block, at)]
    if kind == "section" and not block.get("text") and not block.get("fields"):
        problems.append(f"[ERROR] missing required field: text or fields [json-pointer:{at}]")
    if kind in ("actions", "context", "context_actions") and block.get("elements") == []:
        problems.append(f"[ERROR] no fewer than 1 items allowed [json-pointer:{at}/elements]")
    if kind == "plan":
        problems += _plan_problems(block, at)
    if kind == "container":
        for number, child in enumerate(block.get("child_blocks") or []):
            problems += _one_block(child, f"{at}/child_blocks/{number}", surface)
    actions = [one.get("action_id") for one in block.get("elements") or [] if isinstance(one, dict)]
    named = [one for one in actions if one]
    problems += [
        f"[ERROR] action_id {one!r} already exists [json-pointer:{at}/elements]"
        for one in sorted({one for one in named if named.count(one) > 1})
    ]
    return problems + [f"[ERROR] {one}" for one in _too_long(block, at)]


def _plan_problems(plan: Body, at: str) -> list[str]:
    """The published type takes anything as a task; Slack renders task cards, each known by its id."""
    problems, tasks = [], plan.get("tasks") or []
    for number, task in enumerate(tasks):
        problems += [
            f"[ERROR] {one}" for one in shape_problems("slack_blocks", "TaskCardBlock", task, f"{at}/tasks/{number}")
        ]
    ids = [task.get("task_id") for task in tasks if isinstance(task, dict)]
    if len(set(ids)) != len(ids):
        problems.append(f"[ERROR] task_id must be unique [json-pointer:{at}/tasks]")
    return problems


def _too_long(value: Any, at: str) -> Iterator[str]:
    """Walks one block and compares each part with the limit of what holds it."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _too_long(item, f"{at}/{number}")
        return
    if not isinstance(value, dict):
        return
    is_text = value.get("type") in ("plain_text", "mrkdwn")
    if is_text and value.get("text") == "":
        yield f"must be more than 0 characters [json-pointer:{at}/text]"
    own = fixture("slack_limits")["limits"].get(_limits_of(value, at), {})
    for name, most in own.items():
        part = value.get("text" if name == "label" and "value" in value else name)
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            part = part["text"]
        if isinstance(part, str | list) and len(part) > most:
            unit = "characters" if isinstance(part, str) else "items"
            yield f"no more than {most} {unit} allowed [json-pointer:{at}/{name}]"
    if value.get("type") in OPTIONED:
        yield from _option_problems(value, at)
    if value.get("type") == "number_input" and not _is_number(value.get("initial_value", "0")):
        yield f"must be a number [json-pointer:{at}/initial_value]"
    if value.get("type") == "section":
        for number, field in enumerate(value.get("fields") or []):
            if len(str(field.get("text", ""))) > SECTION_FIELD_CHARS:
                yield f"no more than {SECTION_FIELD_CHARS} characters allowed [json-pointer:{at}/fields/{number}]"
    if len(str(value.get("accessibility_label", ""))) > ACCESSIBILITY_LABEL_CHARS:
        yield f"no more than {ACCESSIBILITY_LABEL_CHARS} characters allowed [json-pointer:{at}/accessibility_label]"
    for name, part in value.items():
        if name != "child_blocks":
            yield from _too_long(part, f"{at}/{name}")


def _option_problems(element: Body, at: str) -> Iterator[str]:
    options = element.get("options") or []
    values = [one.get("value") for one in options if isinstance(one, dict)]
    if not options and not element.get("option_groups"):
        yield f"no fewer than 1 items allowed [json-pointer:{at}/options]"
    if len(set(values)) != len(values):
        yield f"values must be unique [json-pointer:{at}/options]"
    for number, option in enumerate(options):
        if len(option["text"]["text"]) > OPTION_CHARS:
            yield f"no more than {OPTION_CHARS} characters allowed [json-pointer:{at}/options/{number}/text]"
    if element.get("initial_option", options[:1] and options[0]) not in options:
        yield f"must be one of the options [json-pointer:{at}/initial_option]"


def _is_number(text: Any) -> bool:
    try:
        return isinstance(text, str) and math.isfinite(float(text))
    except ValueError:
        return False


def _limits_of(value: Body, at: str) -> str:
    if at.endswith("/confirm"):
        return "confirm"
    return "option" if "type" not in value and "text" in value and "value" in value else str(value.get("type", ""))


def view_problems(view: Any) -> list[str]:
    kind = view.get("type") if isinstance(view, dict) else None
    if kind not in ("modal", "home"):
        return [f"[ERROR] unsupported type: {kind} [json-pointer:/view/type]"]
    problems = shape_problems("slack_blocks", "ModalView" if kind == "modal" else "HomeView", view, "/view")
    for name, most in fixture("slack_limits")["limits"]["view"].items():
        part = view.get(name)
        part = part.get("text") if isinstance(part, dict) else part
        if isinstance(part, str) and len(part) > most:
            problems.append(f"[ERROR] no more than {most} characters allowed [json-pointer:/view/{name}]")
    blocks = view.get("blocks", [])
    if not blocks:
        problems.append("[ERROR] no fewer than 1 items allowed [json-pointer:/view/blocks]")
    if kind == "modal" and any(block.get("type") == "input" for block in blocks) and not view.get("submit"):
        problems.append("[ERROR] missing required field: submit [json-pointer:/view/submit]")
    return problems + block_problems(blocks, BLOCKS_PER_VIEW, kind)


def inbound_problems(kind: str, payload: Body) -> list[str]:
    """What is wrong with a payload that we are about to send in Slack's name (kind as in slack_inbound.json)."""
    ref = fixture("slack_inbound")["kinds"][kind]["$ref"]
    return shape_problems("slack_inbound", ref.rsplit("/", 1)[-1], payload, "")
