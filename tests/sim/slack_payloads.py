"""The payloads that Slack sends to an app, built from the world. Pure: nothing is delivered here.

Shapes follow the payloads recorded from Slack (tests compare the keys where these are at hand) and are checked against
the distilled schema before they leave; a stand-in that sends what Slack never sends would prove nothing.
"""

import re
import uuid
from typing import Any

from tests.sim.slack_check import inbound_problems
from tests.sim.slack_methods import view_wire, wire
from tests.sim.slack_world import Body, Channel, Member, Message, View, World

VERIFICATION_TOKEN = "verification-token"
MENTION = re.compile(r"<@([A-Z0-9]+)>")


def checked(kind: str, payload: Body) -> Body:
    """The payload again; raises where it is not what Slack would send (that is a fault of the stand-in)."""
    problems = inbound_problems(kind, payload)
    if problems:
        raise AssertionError(f"the stand-in built a {kind} that Slack would not send: {problems}")
    return payload


def rich_text(text: str, world: World) -> list[Body]:
    """What a person's client makes of typed text: one rich_text block, mentions as elements of their own."""
    elements: list[Body] = []
    at = 0
    for mention in MENTION.finditer(text):
        if mention.start() > at:
            elements.append({"type": "text", "text": text[at : mention.start()]})
        elements.append({"type": "user", "user_id": mention[1]})
        at = mention.end()
    if at < len(text):
        elements.append({"type": "text", "text": text[at:]})
    section = {"type": "rich_text_section", "elements": elements}
    return [{"type": "rich_text", "block_id": f"r{world.number():03x}", "elements": [section]}]


def event_callback(world: World, event: Body, channel: Channel | None, team: str | None = None) -> Body:
    """The envelope of the Events API; `team` is the workspace it claims to come from (ours when None)."""
    event_type, installed = event["type"], team or world.team
    envelope: Body = {
        "token": VERIFICATION_TOKEN,
        "team_id": installed,
        "api_app_id": world.app,
        "event": event,
        "type": "event_callback",
        "event_id": f"Ev{world.number():010d}",
        "event_time": int(world.clock.time()),
        "authorizations": [
            {
                "enterprise_id": world.enterprise,
                "team_id": installed,
                "user_id": world.bot_user,
                "is_bot": True,
                "is_enterprise_install": False,
            }
        ],
        "is_ext_shared_channel": bool(channel and channel.shared),
        "event_context": f"1-{event_type}-{installed}-{channel.id if channel else 'none'}",
    }
    return envelope | ({"enterprise_id": world.enterprise} if world.enterprise else {})


def said(world: World, message: Message, author: Member, channel: Channel) -> Body:
    """The event of a person's (or a bot's own) message in a channel or DM."""
    event: Body = {
        "client_msg_id": str(uuid.uuid4()),
        "type": "message",
        "text": message.text,
        "user": message.user,
        "ts": message.ts,
        "team": author.team,
        "blocks": message.blocks or rich_text(message.text, world),
        "channel": channel.id,
        "event_ts": message.ts,
        "channel_type": channel.kind,
    }
    if message.bot_id:
        event |= {"bot_id": message.bot_id, "app_id": world.app}
    if author.team != world.team:
        event |= {"user_team": author.team, "source_team": author.team}
    if message.thread_ts:
        parent = world.find(channel.id, message.thread_ts)
        event |= {"thread_ts": message.thread_ts, "parent_user_id": parent.user if parent else message.user}
    event |= message.extra
    return checked("message_file_share" if event.get("subtype") == "file_share" else "message", event)


def mentioned(world: World, message: Message, author: Member, channel: Channel) -> Body:
    event = said(world, message, author, channel)
    del event["channel_type"]
    return checked("app_mention", event | {"type": "app_mention"})


def broadcast(world: World, message: Message, channel: Channel) -> Body:
    """A thread reply that was "also sent to the channel" arrives a second time, as a subtype."""
    root = world.find(channel.id, message.thread_ts or "")
    assert root is not None, "only a reply in a thread can be broadcast"
    event: Body = {
        "type": "message",
        "subtype": "thread_broadcast",
        "text": message.text,
        "user": message.user,
        "ts": message.ts,
        "thread_ts": message.thread_ts,
        "root": wire(world, root) | {"reply_count": 1, "latest_reply": message.ts},
        "client_msg_id": str(uuid.uuid4()),
        "channel": channel.id,
        "event_ts": message.ts,
        "channel_type": channel.kind,
    }
    return checked("thread_broadcast", event)


def changed(world: World, message: Message, channel: Channel) -> Body:
    now, last = world.ts(), message.edits[-1]
    edited = {"edited": {"user": message.user, "ts": now}}
    return {
        "type": "message",
        "subtype": "message_changed",
        "message": wire(world, message) | edited,
        "previous_message": wire(world, message) | {"text": last.text, "blocks": last.blocks},
        "channel": channel.id,
        "hidden": True,
        "ts": now,
        "event_ts": now,
        "channel_type": channel.kind,
    }


def removed(world: World, message: Message, channel: Channel) -> Body:
    now = world.ts()
    return {
        "type": "message",
        "subtype": "message_deleted",
        "previous_message": wire(world, message),
        "channel": channel.id,
        "hidden": True,
        "deleted_ts": message.ts,
        "event_ts": now,
        "ts": now,
        "channel_type": channel.kind,
    }


def home_opened(world: World, user: Member, tab: str) -> Body:
    event: Body = {
        "type": "app_home_opened",
        "user": user.id,
        "channel": world.im(user.id).id,
        "tab": tab,
        "event_ts": world.ts(),
    }
    if tab == "home" and user.id in world.homes:
        event["view"] = view_wire(world, world.homes[user.id])
    return checked("app_home_opened", event)


def _team(world: World, team: str) -> Body:
    body: Body = {"id": team, "domain": world.team_domain if team == world.team else team.lower()}
    if world.enterprise and team == world.team:
        body |= {"enterprise_id": world.enterprise, "enterprise_name": "Sandbox Org"}
    return body


def _user(member: Member, team: str) -> Body:
    return {"id": member.id, "username": member.name, "name": member.name, "team_id": team}


def _interaction(world: World, member: Member, team: str) -> Body:
    enterprise = {"id": world.enterprise, "name": "Sandbox Org"} if world.enterprise else None
    return {
        "user": _user(member, team),
        "api_app_id": world.app,
        "token": VERIFICATION_TOKEN,
        "trigger_id": world.trigger(member.id),
        "team": _team(world, team),
        "enterprise": enterprise,
        "is_enterprise_install": False,
    }


def _action(block: Body, element: Body, world: World) -> Body:
    action: Body = {
        "action_id": element["action_id"],
        "block_id": block["block_id"],
        "type": element["type"],
        "action_ts": world.ts(),
    }
    if element["type"] == "overflow":
        return action | {"selected_option": element["selected_option"]}
    # Not `confirm`: the published type of a press has the one of legacy dialogs there, which no block can hold.
    kept = ("text", "value", "style", "url")
    return action | {name: element[name] for name in kept if name in element}


def pressed(
    world: World, member: Member, team: str, message: Message, found: tuple[Body, Body], response_url: str
) -> Body:
    """A press of a button in a message, as block_actions."""
    channel = world.channels[message.channel]
    container: Body = {
        "type": "message",
        "message_ts": message.ts,
        "channel_id": message.channel,
        "is_ephemeral": message.ephemeral_to is not None,
    }
    if message.thread_ts:
        container["thread_ts"] = message.thread_ts
    body: Body = {
        "type": "block_actions",
        **_interaction(world, member, team),
        "container": container,
        "channel": {"id": channel.id, "name": channel.name},
        "message": wire(world, message),
        "state": {"values": {}},
        "response_url": response_url,
        "actions": [_action(*found, world)],
    }
    return _checked_press(body)


def pressed_in_view(world: World, member: Member, team: str, view: View, found: tuple[Body, Body]) -> Body:
    """A press of a button in a modal or in the Home tab; such a press has no channel and no response_url."""
    body: Body = {
        "type": "block_actions",
        **_interaction(world, member, team),
        "container": {"type": "view", "view_id": view.id},
        "view": view_wire(world, view),
        "actions": [_action(*found, world)],
    }
    return _checked_press(body)


def _checked_press(body: Body) -> Body:
    """The published type of a press knows buttons alone, so a menu's is judged without its action."""
    is_button = body["actions"][0]["type"] == "button"
    checked("block_actions", body if is_button else body | {"actions": []})
    return body


def shortcut(world: World, member: Member, team: str, message: Message, callback_id: str, response_url: str) -> Body:
    """A shortcut on a message, as message_action."""
    channel = world.channels[message.channel]
    body: Body = {
        "type": "message_action",
        **_interaction(world, member, team),
        "callback_id": callback_id,
        "action_ts": world.ts(),
        "message_ts": message.ts,
        "message": wire(world, message),
        "channel": {"id": channel.id, "name": channel.name},
        "response_url": response_url,
    }
    if body["enterprise"] is None:
        del body["enterprise"]
    return checked("message_shortcut", body)


def session_stopped(world: World, member: Member, channel: Channel, thread_ts: str) -> Body:
    """Slack's own Stop button; the published types have no schema of it. https://docs.slack.dev/reference/events/agent_session_stopped"""
    return {
        "type": "agent_session_stopped",
        "channel": channel.id,
        "thread_ts": thread_ts,
        "user": member.id,
        "streaming_message_ts": [],
        "event_ts": world.ts(),
    }


def group_changed(world: World, usergroup: str, added: list[str], removed: list[str]) -> Body:
    """https://docs.slack.dev/reference/events/subteam_members_changed"""
    return {
        "type": "subteam_members_changed",
        "subteam_id": usergroup,
        "team_id": world.team,
        "date_previous_update": int(world.clock.time()) - 60,
        "date_update": int(world.clock.time()),
        "added_users": added,
        "added_users_count": str(len(added)),
        "removed_users": removed,
        "removed_users_count": str(len(removed)),
    }


def submitted(world: World, member: Member, team: str, view: View, values: dict[str, dict[str, Any]]) -> Body:
    body: Body = {
        "type": "view_submission",
        **_interaction(world, member, team),
        "view": view_wire(world, view) | {"state": {"values": values}},
        "response_urls": [],
    }
    return checked("view_submission", body)


def closed(world: World, member: Member, team: str, view: View) -> Body:
    body: Body = {
        "type": "view_closed",
        **_interaction(world, member, team),
        "view": view_wire(world, view),
        "is_cleared": False,
    }
    del body["trigger_id"]
    return checked("view_closed", body)


def slash(
    world: World, member: Member, team: str, command: str, text: str, channel: Channel, response_url: str
) -> Body:
    body: Body = {
        "token": VERIFICATION_TOKEN,
        "team_id": team,
        "team_domain": world.team_domain,
        "channel_id": channel.id,
        "channel_name": channel.name,
        "user_id": member.id,
        "user_name": member.name,
        "command": command,
        "text": text,
        "api_app_id": world.app,
        "is_enterprise_install": "false",
        "response_url": response_url,
        "trigger_id": world.trigger(member.id),
    }
    if world.enterprise:
        body |= {"enterprise_id": world.enterprise, "enterprise_name": "Sandbox Org"}
    return checked("slash_command", body)
