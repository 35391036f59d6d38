"""What each Web API method does to the world, and what Slack answers.

Arguments arrive decoded and checked for presence and type (slack_api); here are the rules that need the world:
does the channel exist, is the message ours, is the trigger still good. A refusal is raised as `Refused`.
"""

import copy
from collections.abc import Callable
from typing import Any

from tests.sim.slack_check import block_problems, view_problems
from tests.sim.slack_world import Body, Channel, Message, View, World

POST_TEXT_CHARS = 40_000
UPDATE_TEXT_CHARS = 4_000
MARKDOWN_TEXT_CHARS = 12_000
METADATA_CHARS = 16_000
PAGE = 100


class Refused(Exception):
    """Slack answers `ok: false` with this error."""

    def __init__(self, error: str, messages: list[str] | None = None) -> None:
        super().__init__(error, messages)
        self.error, self.messages = error, messages or []


def wire(world: World, message: Message, metadata: bool = True) -> Body:
    """A message as the API and the payloads show it."""
    body: Body = {"type": "message", "user": message.user, "ts": message.ts, "text": message.text, "team": world.team}
    if message.bot_id:
        body |= {"bot_id": message.bot_id, "app_id": world.app}
    if message.blocks:
        body["blocks"] = copy.deepcopy(message.blocks)
    if message.thread_ts:
        body["thread_ts"] = message.thread_ts
    if message.edits and message.ephemeral_to is None:
        body["edited"] = {"user": message.user, "ts": f"{message.edits[-1].until:.6f}"}
    if metadata and message.metadata:
        body["metadata"] = copy.deepcopy(message.metadata)
    return body | copy.deepcopy(message.extra)


def view_wire(world: World, view: View) -> Body:
    text = {"type": "plain_text", "text": "View Title", "emoji": True}
    given = copy.deepcopy(view.body)
    return {
        "id": view.id,
        "team_id": world.team,
        "type": given["type"],
        "blocks": given["blocks"],
        "private_metadata": given.get("private_metadata", ""),
        "callback_id": given.get("callback_id", ""),
        "state": {"values": {}},
        "hash": view.hash,
        "title": given.get("title", text),
        "clear_on_close": given.get("clear_on_close", False),
        "notify_on_close": given.get("notify_on_close", False),
        "close": given.get("close"),
        "submit": given.get("submit"),
        "previous_view_id": view.previous_id,
        "root_view_id": view.root_id,
        "app_id": world.app,
        "external_id": given.get("external_id", ""),
        "app_installed_team_id": world.team,
        "bot_id": world.bot_id,
    }


def with_ids(world: World, blocks: list[Body]) -> list[Body]:
    """Slack names blocks and elements that have no id of their own."""
    named = copy.deepcopy(blocks)
    for block in named:
        block.setdefault("block_id", f"b{world.number():04x}")
        for element in [*block.get("elements", []), block.get("accessory")]:
            if isinstance(element, dict) and block["type"] in ("actions", "section"):
                element.setdefault("action_id", f"a{world.number():04x}")
        if "child_blocks" in block:
            block["child_blocks"] = with_ids(world, block["child_blocks"])
    return named


def channel_of(world: World, name: str, to_post: bool = False) -> Channel:
    if name in world.members and not world.members[name].is_bot:
        return world.im(name)
    channel = world.channels.get(name)
    if channel is None:
        raise Refused("channel_not_found")
    if to_post and channel.archived:
        raise Refused("is_archived")
    if to_post and world.bot_user not in channel.members:
        raise Refused("not_in_channel")
    return channel


def postable(world: World, name: str) -> Channel:
    """The channel, where the app may post; a user id stands for their DM."""
    return channel_of(world, name, to_post=True)


def _content(args: Body, most: int) -> tuple[str, list[Body]]:
    text, blocks = args.get("text") or "", args.get("blocks") or []
    markdown = args.get("markdown_text")
    if markdown is not None and (text or blocks):
        raise Refused("markdown_text_conflict")
    if not (text or blocks or markdown or args.get("attachments")):
        raise Refused("no_text")
    if len(text) > most or len(markdown or "") > MARKDOWN_TEXT_CHARS:
        raise Refused("msg_too_long")
    if problems := block_problems(blocks):
        raise Refused("invalid_blocks", problems)
    metadata = args.get("metadata")
    if metadata is not None and not (
        isinstance(metadata.get("event_type"), str) and isinstance(metadata.get("event_payload"), dict)
    ):
        raise Refused("invalid_metadata_format")
    if len(str(metadata)) > METADATA_CHARS:
        raise Refused("metadata_too_large")
    return text or markdown or "", blocks


def post_message(world: World, args: Body) -> Body:
    channel = channel_of(world, args["channel"], to_post=True)
    text, blocks = _content(args, POST_TEXT_CHARS)
    message = Message(
        channel.id, world.ts(), world.bot_user, text, with_ids(world, blocks), args.get("thread_ts"), world.bot_id
    )
    message.metadata = args.get("metadata")
    world.posted.append(message)
    return {"channel": channel.id, "ts": message.ts, "message": wire(world, message)}


def own_message(world: World, args: Body, refusal: str) -> Message:
    # Here, unlike in chat.postMessage, a user id does not stand for the DM.
    if args["channel"] not in world.channels:
        raise Refused("channel_not_found")
    message = world.find(args["channel"], args["ts"])
    if message is None or message.deleted or message.ephemeral_to is not None:
        raise Refused("message_not_found")
    if message.user != world.bot_user:
        raise Refused(refusal)
    return message


def update(world: World, args: Body) -> Body:
    message = own_message(world, args, "cant_update_message")
    if message.is_streaming():
        raise Refused("streaming_state_conflict")
    text, blocks = _content(args, UPDATE_TEXT_CHARS)
    # Blocks that are not sent stay, and hide the new text; an empty list takes them away.
    message.replace(text, with_ids(world, blocks) if args.get("blocks") is not None else message.blocks)
    if args.get("metadata") is not None:
        message.metadata = args["metadata"]
    return {"channel": message.channel, "ts": message.ts, "text": text, "message": wire(world, message)}


def delete(world: World, args: Body) -> Body:
    message = own_message(world, args, "cant_delete_message")
    message.deleted = True
    return {"channel": message.channel, "ts": message.ts}


def post_ephemeral(world: World, args: Body) -> Body:
    channel = channel_of(world, args["channel"], to_post=True)
    if args["user"] not in channel.members:
        raise Refused("user_not_in_channel")
    text, blocks = _content(args, POST_TEXT_CHARS)
    message = Message(channel.id, world.ts(), world.bot_user, text, with_ids(world, blocks), args.get("thread_ts"))
    message.bot_id, message.ephemeral_to = world.bot_id, args["user"]
    world.posted.append(message)
    return {"message_ts": message.ts}


def open_conversation(world: World, args: Body) -> Body:
    if args.get("channel"):
        return {"channel": {"id": channel_of(world, args["channel"]).id}}
    users = args["users"].split(",")
    if len(users) != 1:
        raise Refused("method_not_supported_for_channel_type")
    if users[0] not in world.members:
        raise Refused("user_not_found")
    already = "D" + users[0][1:] in world.channels
    return {"no_op": already, "already_open": already, "channel": {"id": world.im(users[0]).id}}


def conversation_info(world: World, args: Body) -> Body:
    channel = channel_of(world, args["channel"])
    return {
        "channel": {
            "id": channel.id,
            "name": channel.name,
            "is_channel": channel.kind == "channel",
            "is_group": channel.kind == "group",
            "is_im": channel.kind == "im",
            "is_mpim": channel.kind == "mpim",
            "is_private": channel.kind != "channel",
            "is_archived": channel.archived,
            "is_member": world.bot_user in channel.members,
            "is_ext_shared": channel.shared,
            "context_team_id": world.team,
        }
    }


def _page(world: World, messages: list[Message], args: Body) -> Body:
    oldest, latest = float(args.get("oldest") or 0), float(args.get("latest") or 1e12)
    inside = [one for one in messages if oldest <= float(one.ts) <= latest]
    most = int(args.get("limit") or PAGE)
    shown = [wire(world, one, bool(args.get("include_all_metadata"))) for one in inside[:most]]
    return {"messages": shown, "has_more": len(inside) > most}


def history(world: World, args: Body) -> Body:
    channel = channel_of(world, args["channel"])
    tops = [one for one in world.standing(channel.id) if one.thread_ts in (None, one.ts)]
    return _page(world, tops[::-1], args)


def replies(world: World, args: Body) -> Body:
    channel = channel_of(world, args["channel"])
    thread = [one for one in world.standing(channel.id) if args["ts"] in (one.ts, one.thread_ts)]
    if not thread:
        raise Refused("thread_not_found")
    return _page(world, thread, args)


def user_info(world: World, args: Body) -> Body:
    member = world.members.get(args["user"])
    if member is None:
        raise Refused("user_not_found")
    return {
        "user": {
            "id": member.id,
            "team_id": member.team,
            "name": member.name,
            "deleted": member.deleted,
            "real_name": member.name.title(),
            "tz": "Europe/Berlin",
            "profile": {"real_name": member.name.title(), "display_name": member.name, "team": member.team},
            "is_bot": member.is_bot,
            "is_restricted": False,
            "is_stranger": member.team != world.team,
        }
    }


def _new_view(world: World, body: Body, user: str, root: str | None, previous: str | None) -> View:
    view_id = f"V{world.number():08d}"
    given = body | {"blocks": with_ids(world, body.get("blocks", []))}
    view = View(view_id, given, f"{world.clock.time():.0f}.{world.number():06x}", user, root or view_id, previous)
    world.views[view_id] = view
    return view


def _checked_view(args: Body, kind: str) -> Body:
    view: Body = args["view"]
    problems = view_problems(view)
    if view.get("type") != kind:
        problems.append(f"[ERROR] must be of type {kind} [json-pointer:/view/type]")
    if problems:
        raise Refused("invalid_arguments", problems)
    return view


def _spent_trigger(world: World, trigger_id: str) -> str:
    trigger = world.triggers.get(trigger_id)
    if trigger is None:
        raise Refused("invalid_trigger_id")
    if trigger.used:
        raise Refused("exchanged_trigger_id")
    if world.clock.monotonic() - trigger.at > world.trigger_life_s:
        raise Refused("expired_trigger_id")
    trigger.used = True
    return trigger.user


def open_view(world: World, args: Body) -> Body:
    body = _checked_view(args, "modal")
    user = _spent_trigger(world, args["trigger_id"])
    return {"view": view_wire(world, _new_view(world, body, user, None, None))}


def push_view(world: World, args: Body) -> Body:
    body = _checked_view(args, "modal")
    user = _spent_trigger(world, args["trigger_id"])
    below = [view for view in world.views.values() if view.user == user and view.body["type"] == "modal"]
    if not below:
        raise Refused("not_found")
    return {"view": view_wire(world, _new_view(world, body, user, below[-1].root_id, below[-1].id))}


def update_view(world: World, args: Body) -> Body:
    body = _checked_view(args, "modal")
    external = args.get("external_id")
    found = [one for one in world.views.values() if external and one.body.get("external_id") == external]
    view = world.views.get(args.get("view_id") or "") or (found[0] if found else None)
    if view is None:
        raise Refused("not_found")
    if args.get("hash") not in (None, view.hash):
        raise Refused("hash_conflict")
    view.body = body | {"blocks": with_ids(world, body.get("blocks", []))}
    view.hash = f"{world.clock.time():.0f}.{world.number():06x}"
    return {"view": view_wire(world, view)}


def publish_view(world: World, args: Body) -> Body:
    body = _checked_view(args, "home")
    if args["user_id"] not in world.members:
        raise Refused("user_not_found")
    standing = world.homes.get(args["user_id"])
    if args.get("hash") is not None and standing is not None and args["hash"] != standing.hash:
        raise Refused("hash_conflict")
    world.homes[args["user_id"]] = _new_view(world, body, args["user_id"], None, None)
    return {"view": view_wire(world, world.homes[args["user_id"]])}


def add_reaction(world: World, args: Body) -> Body:
    channel = channel_of(world, args["channel"])
    message = world.find(channel.id, args.get("timestamp") or "")
    if message is None or message.deleted:
        raise Refused("message_not_found")
    key = (channel.id, message.ts, args["name"])
    if key in world.reactions:
        raise Refused("already_reacted")
    world.reactions.add(key)
    return {}


def complete_upload(world: World, args: Body) -> Body:
    files: list[Body] = []
    if not args["files"]:
        raise Refused("invalid_arguments", ["[ERROR] no fewer than 1 items allowed [json-pointer:/files]"])
    for given in args["files"]:
        upload = world.uploads.get(given["id"])
        if upload is None or "content" not in upload:
            raise Refused("file_not_found")
        upload["title"] = given.get("title", upload["name"])
        files.append({"id": given["id"], "title": upload["title"], "name": upload["name"]})
    if args.get("channel_id"):
        channel = channel_of(world, args["channel_id"], to_post=True)
        message = Message(channel.id, world.ts(), world.bot_user, args.get("initial_comment") or "")
        message.thread_ts, message.bot_id, message.extra = args.get("thread_ts"), world.bot_id, {"files": files}
        world.posted.append(message)
    return {"files": files}


EFFECTS: dict[str, Callable[[World, Body], dict[str, Any]]] = {
    "chat.delete": delete,
    "chat.postEphemeral": post_ephemeral,
    "chat.postMessage": post_message,
    "chat.update": update,
    "conversations.history": history,
    "conversations.info": conversation_info,
    "conversations.open": open_conversation,
    "conversations.replies": replies,
    "files.completeUploadExternal": complete_upload,
    "reactions.add": add_reaction,
    "users.info": user_info,
    "views.open": open_view,
    "views.publish": publish_view,
    "views.push": push_view,
    "views.update": update_view,
}
