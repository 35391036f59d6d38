"""What an agent's app asks of Slack beside messages: sessions, prompts, groups, links, and whether its blocks are good.

As strict as Slack where that is known: the scope that a method needs, a thread that is there, the four states of a session.
"""

from collections.abc import Callable

from tests.sim.slack_check import block_problems, view_problems
from tests.sim.slack_methods import Refused, channel_of
from tests.sim.slack_world import Body, World

SESSION_STATUSES = ("processing", "suspended", "active", "closed")
# Without its scope a method answers missing_scope; those that need none, or only chat:write, are not told.
SCOPES = {
    "files.completeUploadExternal": "files:write",
    "files.getUploadURLExternal": "files:write",
    "files.info": "files:read",
    "usergroups.users.list": "usergroups:read",
    "assistant.threads.setSuggestedPrompts": "assistant:write",
    "agents.sessions.setStatus": "assistant:write",
}


def note_status(world: World, args: Body) -> Body:
    channel_of(world, args["channel_id"])
    if "prompts" not in args and "loading_messages" not in args and len(str(args.get("title", ""))) > 200:
        raise Refused("invalid_arguments", ["[ERROR] must be less than 201 characters [json-pointer:/title]"])
    world.statuses.append(dict(args))
    return {}


def session_status(world: World, args: Body) -> Body:
    if args["status"] not in SESSION_STATUSES:
        raise Refused("invalid_arguments", [f"[ERROR] status must be one of {', '.join(SESSION_STATUSES)}"])
    channel = channel_of(world, args["channel_id"])
    if not world.find(channel.id, args.get("thread_ts") or ""):
        raise Refused("thread_not_found")
    note_status(world, args)
    key = (channel.id, args["thread_ts"])
    title = world.sessions.get(key, {}).get("title") or args.get("title", "")
    world.sessions[key] = {"status": args["status"], "title": title}
    warning = {} if world.hears_stops else {"warning": "missing_agent_session_stopped_event_subscription"}
    return {"status": args["status"], "title": title} | warning


def permalink(world: World, args: Body) -> Body:
    channel = channel_of(world, args["channel"])
    if world.find(channel.id, args["message_ts"]) is None:
        raise Refused("message_not_found")
    moment = args["message_ts"].replace(".", "")
    return {
        "channel": channel.id,
        "permalink": f"https://{world.team_domain}.slack.com/archives/{channel.id}/p{moment}",
    }


def validate(world: World, args: Body) -> Body:
    problems = block_problems(args.get("blocks") or (args.get("message") or {}).get("blocks") or [])
    if args.get("view"):
        problems = view_problems(args["view"])
    if problems:
        raise Refused("invalid_blocks", problems)
    return {}


def usergroup_users(world: World, args: Body) -> Body:
    if args["usergroup"] not in world.usergroups:
        raise Refused("no_such_subteam")
    return {"users": list(world.usergroups[args["usergroup"]])}


AGENT_METHODS: dict[str, Callable[[World, Body], Body]] = {
    "agents.sessions.setStatus": session_status,
    "assistant.threads.setStatus": note_status,
    "assistant.threads.setSuggestedPrompts": note_status,
    "assistant.threads.setTitle": note_status,
    "blocks.validate": validate,
    "chat.getPermalink": permalink,
    "usergroups.users.list": usergroup_users,
}
