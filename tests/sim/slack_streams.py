"""Streamed messages of the Slack stand-in: started in a thread, appended to, stopped; refused when they are over.

As strict as Slack where that is known: a reader has to be named outside a direct message, fifty blocks go into one stream,
a stream dies after some minutes, and no edit goes into one that lives.
"""

import time
from collections.abc import Callable
from typing import Any

from tests.sim.slack_check import BLOCKS_PER_MESSAGE, block_problems
from tests.sim.slack_methods import MARKDOWN_TEXT_CHARS, Refused, own_message, postable, wire, with_ids
from tests.sim.slack_world import Body, Message, World

# What a chunk must hold, and what it may, from the published types.
CHUNKS = {
    "markdown_text": ({"text"}, set()),
    "plan_update": ({"title"}, set()),
    "task_update": ({"id", "title", "status"}, {"details", "output", "sources"}),
    "blocks": ({"blocks"}, set()),
}


def start(world: World, args: Body) -> Body:
    channel = postable(world, args["channel"])
    if channel.kind != "im":
        for name in ("recipient_team_id", "recipient_user_id"):
            if not args.get(name):
                raise Refused(f"missing_{name}")
    if args.get("recipient_user_id") and args["recipient_user_id"] not in channel.members:
        raise Refused("user_not_found")
    if not any(args["thread_ts"] in (one.ts, one.thread_ts) for one in world.standing(channel.id)):
        raise Refused("thread_not_found")
    message = Message(channel.id, world.ts(), world.bot_user, "", [], args["thread_ts"], world.bot_id)
    message.streaming_until = time.monotonic() + world.stream_life_s
    _take(world, message, args)
    world.posted.append(message)
    return {"channel": channel.id, "ts": message.ts}


def append(world: World, args: Body) -> Body:
    message = _streaming(world, args)
    if not args.get("chunks") and not args.get("markdown_text"):
        raise Refused("no_text")
    _take(world, message, args)
    return {"channel": message.channel, "ts": message.ts}


def stop(world: World, args: Body) -> Body:
    message = _streaming(world, args)
    _take(world, message, args)
    if problems := block_problems(args.get("blocks") or []):
        raise Refused("invalid_blocks", problems)
    message.blocks += with_ids(world, args.get("blocks") or [])
    message.metadata = args.get("metadata") or message.metadata
    message.streaming_until = None
    return {"channel": message.channel, "ts": message.ts, "message": wire(world, message)}


def _streaming(world: World, args: Body) -> Message:
    message = own_message(world, args, "message_not_owned_by_app")
    if not message.is_streaming():
        raise Refused("message_not_in_streaming_state")
    return message


def _take(world: World, message: Message, args: Body) -> None:
    """Adds what came; the blocks of one stream are counted together."""
    if args.get("markdown_text") and args.get("chunks"):
        raise Refused("invalid_arguments", ["[ERROR] markdown_text and chunks exclude each other"])
    blocks: list[Body] = []
    for chunk in args.get("chunks") or []:
        kind: Any = chunk.get("type") if isinstance(chunk, dict) else None
        if kind not in CHUNKS:
            raise Refused("invalid_chunks", [f"[ERROR] unsupported type: {kind}"])
        needed, more = CHUNKS[kind]
        if not needed <= set(chunk) or not set(chunk) <= needed | more | {"type"}:
            raise Refused("invalid_chunks", [f"[ERROR] a {kind} holds {', '.join(sorted(needed))}, not {chunk}"])
        if len(str(chunk.get("text") or "")) > MARKDOWN_TEXT_CHARS:
            raise Refused("msg_too_long")
        blocks += chunk.get("blocks") or []
        message.text += chunk.get("text") or ""
    if len(args.get("markdown_text") or "") > MARKDOWN_TEXT_CHARS:
        raise Refused("msg_too_long")
    message.text += args.get("markdown_text") or ""
    if len(message.blocks) + len(blocks) > BLOCKS_PER_MESSAGE:
        raise Refused("invalid_blocks", [f"[ERROR] no more than {BLOCKS_PER_MESSAGE} items allowed"])
    if problems := block_problems(blocks):
        raise Refused("invalid_blocks", problems)
    message.blocks += with_ids(world, blocks)


STREAMS: dict[str, Callable[[World, Body], Body]] = {
    "chat.startStream": start,
    "chat.appendStream": append,
    "chat.stopStream": stop,
}
