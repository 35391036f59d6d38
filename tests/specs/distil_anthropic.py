"""Makes anthropic_messages.json beside this file from the published description in $SAYSO_SPECS.

The original is generated from the types of the anthropic SDK 2.11.0 (MIT). Only text, images, tools and errors are kept: of
every choice, the branches that we may send or receive. Requests are closed, as the API refuses what it does not know.
Run it by hand after a new original: `SAYSO_SPECS=… python -m tests.specs.distil_anthropic`.
"""

import json
import os
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LICENCE = (
    "Distilled from the types of anthropic 2.11.0. MIT License, Copyright 2023 Anthropic, PBC. Made by"
    " tests/specs/distil_anthropic.py."
)
ROOTS = (
    "MessageCreateParams",
    "MessageCreateParamsStreaming",
    "MessageCountTokensParams",
    "Message",
    "RawMessageStreamEvent",
    "ErrorResponse",
)
PARAMETERS = {
    "max_tokens", "messages", "metadata", "model", "service_tier", "stop_sequences", "stream", "system", "tool_choice",
    "tools",
}  # fmt: skip
# Content, tools and pieces of streams that no part of ours knows.
DROPPED = (
    "Browser", "Computer", "CodeExecution", "BashCode", "TextEditor", "WebSearch", "WebFetch", "ToolSearch", "ToolBash",
    "ToolTextEditor", "Memory", "Document", "SearchResult", "ContainerUpload", "Thinking", "RedactedThinking",
    "Citation", "Citations", "ServerToolUse", "SignatureDelta", "ToolReference", "Diagnostics", "Container",
    "ServerToolCaller",
)  # fmt: skip


def trimmed(schema: Any) -> Any:
    """Without titles, without the branches that are dropped, and with `enum` of model names left open."""
    if isinstance(schema, list):
        return [trimmed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: trimmed(value) for key, value in schema.items() if key not in ("title", "description")}
    if "properties" in schema:
        made["properties"] = {name: trimmed(value) for name, value in schema["properties"].items()}
    if "anyOf" in schema:
        made["anyOf"] = [trimmed(branch) for branch in schema["anyOf"] if not is_dropped(branch)]
    return made


def is_dropped(branch: dict[str, Any]) -> bool:
    items = branch.get("items", {})
    name = branch.get("$ref", items.get("$ref", "")).rsplit("/", 1)[-1]
    if items.get("anyOf") and all(is_dropped(one) for one in items["anyOf"]):
        return True
    return name.startswith(DROPPED)


def referred(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*(referred(item) for item in schema))
    if not isinstance(schema, dict):
        return set()
    own = {schema["$ref"].rsplit("/", 1)[-1]} if isinstance(schema.get("$ref"), str) else set()
    return own.union(*(referred(value) for value in schema.values()))


def distilled(original: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    wanted = list(ROOTS)
    while wanted:
        name = wanted.pop()
        if name in kept:
            continue
        schema = trimmed(original["$defs"][name])
        if name in ROOTS[:3]:
            schema["properties"] = {k: v for k, v in schema["properties"].items() if k in PARAMETERS}
        if name.endswith("Param") or name in ROOTS[:3]:
            schema["additionalProperties"] = False
        kept[name] = schema
        wanted += sorted(referred(schema))
    return {"licence": LICENCE, "$defs": dict(sorted(kept.items()))}


def main() -> None:
    source = Path(os.environ.get("SAYSO_SPECS", "../shared/specs")) / "anthropic" / "messages.schema.json"
    made = distilled(json.loads(source.read_text(encoding="utf-8")))
    (HERE / "anthropic_messages.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
