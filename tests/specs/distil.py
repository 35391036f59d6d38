"""Makes the slack_*.json fixtures beside this file from the published descriptions in $SAYSO_SPECS.

The originals are generated from @slack/web-api 8.2.0, @slack/types 3.2.0, @slack/bolt 5.1.0 and slack_sdk 3.47.0 (all
MIT). Only the shapes we meet are kept. Where a payload recorded from Slack disagrees with them the payload wins; each
such place is written out below. Run it by hand after new originals: `SAYSO_SPECS=… python -m tests.specs.distil`.
"""

import json
import os
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LICENCE = (
    "Distilled from @slack/web-api 8.2.0, @slack/types 3.2.0, @slack/bolt 5.1.0 and slack_sdk 3.47.0. MIT License, "
    "Copyright Slack Technologies, LLC and its affiliates. Made by tests/specs/distil.py."
)
METHODS = [
    "apps.connections.open",
    "assistant.threads.setStatus",
    "assistant.threads.setSuggestedPrompts",
    "assistant.threads.setTitle",
    "auth.test",
    "chat.appendStream",
    "chat.delete",
    "chat.getPermalink",
    "chat.postEphemeral",
    "chat.postMessage",
    "chat.startStream",
    "chat.stopStream",
    "chat.update",
    "conversations.history",
    "conversations.info",
    "conversations.open",
    "conversations.replies",
    "files.completeUploadExternal",
    "files.getUploadURLExternal",
    "files.info",
    "reactions.add",
    "users.info",
    "views.open",
    "views.publish",
    "views.push",
    "views.update",
]
# What only the Python SDK's signatures tell.
OWN_METHODS = {
    "blocks.validate": {"required": [], "boolean": [], "string": [], "object": ["blocks", "message", "view"]},
    "usergroups.users.list": {"required": ["usergroup"], "boolean": ["include_disabled"], "string": ["team_id"]},
    "agents.sessions.setStatus": {
        "required": ["channel_id", "status"],
        "boolean": [],
        "string": ["thread_ts", "title", "initiator_user_id", "icon_emoji", "icon_url", "username"],
    },
}
INBOUND = (
    "app_home_opened app_mention block_actions message message_file_share message_shortcut slash_command"
    " thread_broadcast view_submission view_closed"
)
ANY_OBJECT = {"type": "object"}
# An inbound payload repeats what the app sent, which is checked when it is sent.
OPAQUE = ("Block", "KnownBlock", "MessageAttachment", "View", "BotProfile", "FunctionInputs", "UploadedFile")


def kinds(schema: dict[str, Any], definitions: dict[str, Any]) -> set[str]:
    if "$ref" in schema:
        return kinds(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    found: set[str] = set()
    for branch in [*schema.get("anyOf", []), *schema.get("allOf", [])]:
        found |= kinds(branch, definitions)
    declared = schema.get("type", [])
    return found | set([declared] if isinstance(declared, str) else declared)


def branches(schema: dict[str, Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in schema:
        return branches(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    if "anyOf" in schema:
        return [leaf for branch in schema["anyOf"] for leaf in branches(branch, definitions)]
    return [schema]


def requests(original: dict[str, Any]) -> dict[str, Any]:
    definitions, methods = original["definitions"], {}
    for method in METHODS:
        leaves = branches(original["methods"][method], definitions)
        args: dict[str, Any] = {}
        for leaf in leaves:
            for name, schema in leaf.get("properties", {}).items():
                args[name] = sorted(set(args.get(name, [])) | kinds(schema, definitions))
        required = [set(leaf.get("required", [])) for leaf in leaves]
        least = {tuple(sorted(one)) for one in required if not any(other < one for other in required)}
        methods[method] = {"args": args, "required": sorted(map(list, least))}
    for method, own in OWN_METHODS.items():
        strings = {name: ["string"] for name in [*own["required"], *own["string"]]}
        objects = {name: ["array", "object"] for name in own.get("object", [])}
        methods[method] = {
            "args": strings | objects | {name: ["boolean"] for name in own["boolean"]},
            "required": [own["required"]],
        }
    return {"$comment": LICENCE, "methods": methods}


def blocks(messages: dict[str, Any], modal: dict[str, Any], inbound: dict[str, Any]) -> dict[str, Any]:
    definitions = dict(messages["definitions"])
    del definitions["Blocks"]
    for name, schema in (
        ("ModalView", modal["definitions"]["ModalView"]),
        ("HomeView", inbound["definitions"]["HomeView"]),
    ):
        shell = json.loads(json.dumps(schema))
        shell["properties"]["blocks"] = {"type": "array"}
        shell["additionalProperties"] = False
        definitions[name] = shell
    return {"$comment": LICENCE, "definitions": definitions}


def refs(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        own = {schema["$ref"].rsplit("/", 1)[-1]} if "$ref" in schema else set()
        return own.union(*(refs(value) for value in schema.values()))
    return set().union(*(refs(item) for item in schema)) if isinstance(schema, list) else set()


def inbound_payloads(original: dict[str, Any]) -> dict[str, Any]:
    all_definitions = json.loads(json.dumps(original["definitions"]))
    for name in OPAQUE:
        all_definitions[name] = ANY_OBJECT
    press = all_definitions["BlockAction<ButtonAction>"]
    # Recorded presses carry "enterprise": null, and those in a modal no response_url.
    press["properties"]["enterprise"] = {"anyOf": [press["properties"]["enterprise"], {"type": "null"}]}
    press["required"].remove("response_url")
    for name in ("ViewSubmitAction", "ViewClosedAction"):
        organisation = all_definitions[name]["properties"]["enterprise"]
        all_definitions[name]["properties"]["enterprise"] = {"anyOf": [organisation, {"type": "null"}]}
    # The root of a recorded broadcast lacks channel and event_ts.
    all_definitions["ThreadBroadcastMessageEvent"]["properties"]["root"] = ANY_OBJECT
    # Of a file there are seventy fields, and more each year.
    all_definitions["FileShareMessageEvent"]["properties"]["files"]["items"] = {
        "type": "object",
        "required": ["id", "name", "mimetype", "size", "url_private"],
    }
    for event in ("GenericMessageEvent", "AppMentionEvent"):
        all_definitions[event]["properties"].pop("files", None)
        all_definitions[event]["properties"].pop("app_context", None)
    wanted = {kind: all_definitions["Inbound"]["properties"][kind] for kind in INBOUND.split()}
    kept: dict[str, Any] = {}
    open_names = refs(wanted)
    while open_names:
        name = open_names.pop()
        kept[name] = all_definitions[name]
        open_names |= refs(kept[name]) - set(kept)
    return {"$comment": LICENCE, "kinds": wanted, "definitions": kept}


def limits(original: dict[str, Any]) -> dict[str, Any]:
    by_type: dict[str, dict[str, int]] = {}
    for name, own in original["limits"].items():
        kind = own["type"] or {"ConfirmObject": "confirm", "Option": "option", "View": "view"}.get(name)
        if kind is not None:
            lengths = {key.removesuffix("_max_length"): size for key, size in own.items() if key != "type"}
            by_type.setdefault(kind, {}).update(lengths)
    return {"$comment": LICENCE, "limits": by_type}


def main() -> None:
    source = Path(os.environ["SAYSO_SPECS"]) / "slack"

    def load(name: str) -> dict[str, Any]:
        text = (source / name).read_text().replace("%3C", "<").replace("%3E", ">").replace("%7C", "|")
        content: dict[str, Any] = json.loads(text)
        return content

    inbound = load("inbound_payloads.schema.json")
    made = {
        "slack_requests.json": requests(load("web_api_requests.schema.json")),
        "slack_blocks.json": blocks(
            load("block_kit_blocks.schema.json"), load("block_kit_modal_view.schema.json"), inbound
        ),
        "slack_inbound.json": inbound_payloads(inbound),
        "slack_limits.json": limits(load("block_kit_limits.json")),
    }
    for name, content in made.items():
        (HERE / name).write_text(json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
