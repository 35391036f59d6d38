"""A stand-in for Anthropic: messages with tools and streams, and token counts; on the real wire format.

Every request is checked against the published schema (a distilled copy is in tests/specs), then against the rules that
no schema says. `python -m tests.sim.anthropic` prints what to put into the environment and serves until Ctrl-C.
"""

import functools
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from tests.sim.llm_script import Asked, Body, Reply, Said, pieces, tokens, with_ids
from tests.sim.llm_server import ModelServer, Refusal, read_json, serve_by_hand, sse

SPEC = Path(__file__).resolve().parent.parent / "specs" / "anthropic_messages.json"
VERSIONS = ("2023-06-01", "2026-10-21")
ID = re.compile(r"[a-zA-Z0-9_-]+")
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
STOPS = {"end": "end_turn", "tools": "tool_use", "length": "max_tokens", "refused": "refusal"}


class AnthropicSim(ModelServer):
    vendor = "anthropic"
    models = {"claude-sonnet-4-6", "claude-haiku-4-5", "claude-sonnet-5-5", "claude-haiku-5-5"}

    @property
    def base_url(self) -> str:
        return self.line.url

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post("/v1/messages/count_tokens", self._count_tokens)

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        return await self.converse(request, "messages")

    async def _count_tokens(self, request: web.Request) -> web.StreamResponse:
        body: Body = {}
        try:
            self.check_access(request)
            body = await read_json(request)
            check_schema("MessageCountTokensParams", body)
        except Refusal as refusal:
            return self._refuse("messages.count_tokens", body, refusal)
        self.journal.write(self.vendor, "in", "messages.count_tokens", body)
        return web.json_response({"input_tokens": counted(body)})

    def check_access(self, request: web.Request) -> None:
        # The SDK sends its key as a bearer token since version 2; the older header is still taken.
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        key = request.headers.get("x-api-key") or (token if scheme == "Bearer" else "")
        if not key:
            raise Refusal(401, "x-api-key header is required")
        if key != self.key:
            raise Refusal(401, "invalid x-api-key")
        if request.headers.get("anthropic-version") not in VERSIONS:
            raise Refusal(400, "anthropic-version: header is required")

    def check_body(self, body: Body) -> None:
        check_schema("MessageCreateParamsStreaming" if body.get("stream") else "MessageCreateParams", body)
        if body["max_tokens"] < 1:
            raise Refusal(400, "max_tokens: Input should be greater than or equal to 1")
        check_tools(body.get("tools") or [])
        check_messages(body["messages"], has_tools=bool(body.get("tools")))

    def read(self, body: Body) -> Asked:
        system = body.get("system") or ""
        text = system if isinstance(system, str) else "\n\n".join(block["text"] for block in system)
        turns = ([Said("system", text)] if text else []) + [t for m in body["messages"] for t in read_message(m)]
        tools = tuple(tool["name"] for tool in body.get("tools") or [])
        return Asked(self.vendor, body["model"], tuple(turns), tools, bool(body.get("stream")), body)

    def whole(self, body: Body, reply: Reply, number: int) -> Body:
        reply = with_ids(reply, "toolu_", number)
        content: list[Body] = [{"type": "text", "text": reply.text}] if reply.text else []
        content += [
            {"type": "tool_use", "id": c.id, "name": c.name, "input": parsed(c.text()), "caller": {"type": "direct"}}
            for c in reply.calls
        ]
        return message(body, reply, number, content, STOPS[reply.stop])

    async def stream(self, body: Body, reply: Reply, number: int) -> AsyncIterator[str]:
        reply = with_ids(reply, "toolu_", number)
        started = message(body, reply, number, [], None)
        started["usage"]["output_tokens"] = 1
        yield event({"type": "message_start", "message": started})
        yield event({"type": "ping"})
        if reply.text:
            block: Body = {"type": "text", "text": ""}
            yield event({"type": "content_block_start", "index": 0, "content_block": block})
            for piece in pieces(reply.text):
                delta = {"type": "text_delta", "text": piece}
                yield event({"type": "content_block_delta", "index": 0, "delta": delta})
            yield event({"type": "content_block_stop", "index": 0})
        for index, call in enumerate(reply.calls, start=1 if reply.text else 0):
            block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}, "caller": {"type": "direct"}}
            yield event({"type": "content_block_start", "index": index, "content_block": block})
            for piece in ["", *pieces(call.text())]:
                delta = {"type": "input_json_delta", "partial_json": piece}
                yield event({"type": "content_block_delta", "index": index, "delta": delta})
            yield event({"type": "content_block_stop", "index": index})
        ended = {"stop_reason": STOPS[reply.stop], "stop_sequence": None}
        yield event({"type": "message_delta", "delta": ended, "usage": {"output_tokens": spoken(reply)}})
        yield event({"type": "message_stop"})

    def error(self, refusal: Refusal) -> Body:
        kind = TYPES.get(refusal.status, "api_error" if refusal.status >= 500 else "invalid_request_error")
        text = f"model: {refusal.message}" if refusal.status == 404 else refusal.message
        return {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_sim"}

    def stream_error(self) -> str:
        return event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})


@functools.cache
def validator(name: str) -> Draft202012Validator:
    spec = json.loads(SPEC.read_text(encoding="utf-8"))
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": spec["$defs"]})


def check_schema(name: str, body: Body) -> None:
    error = best_match(validator(name).iter_errors(body))
    if error is not None:
        raise Refusal(400, f"{'.'.join(map(str, error.absolute_path)) or 'body'}: {error.message[:300]}")


def check_tools(tools: list[Body]) -> None:
    for i, tool in enumerate(tools):
        if not TOOL_NAME.fullmatch(tool["name"]):
            raise Refusal(400, f"tools.{i}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        if tool["input_schema"].get("type") != "object":
            raise Refusal(400, f"tools.{i}.custom.input_schema.type: Input should be 'object'")
    if len({tool["name"] for tool in tools}) < len(tools):
        raise Refusal(400, "tools: Tool names must be unique.")


def check_messages(messages: list[Body], *, has_tools: bool) -> None:
    """What the API refuses although the schema allows it: order, empty texts, calls without results."""
    if not messages:
        raise Refusal(400, "messages: at least one message is required")
    if messages[0]["role"] != "user":
        raise Refusal(400, 'messages: first message must use the "user" role')
    if messages[-1]["role"] != "user":
        raise Refusal(400, "Prefilling assistant messages is not supported for this model.")
    waiting: list[str] = []
    for i, one in enumerate(messages):
        blocks = blocks_of(one)
        if not blocks:
            raise Refusal(400, f"messages.{i}: all messages must have non-empty content")
        for j, block in enumerate(blocks):
            if block["type"] == "text" and not block["text"].strip():
                raise Refusal(400, f"messages.{i}.content.{j}: text content blocks must be non-empty")
            if block["type"] in ("tool_use", "tool_result") and not has_tools:
                raise Refusal(400, "Requests which include `tool_use` or `tool_result` blocks must define tools")
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        for result in results:
            if result not in waiting:
                text = f"unexpected `tool_use_id` found in `tool_result` blocks: {result}"
                raise Refusal(
                    400, f"messages.{i}.content: {text}. Each must have a `tool_use` block in the previous message."
                )
        missing = [one_id for one_id in waiting if one_id not in results]
        if missing:
            text = f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}"
            raise Refusal(400, f"messages.{i}: {text}.")
        if any(block["type"] != "tool_result" for block in blocks[: len(results)]):
            raise Refusal(400, f"messages.{i}.content: `tool_result` blocks must come first")
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if not all(ID.fullmatch(one_id) for one_id in waiting):
            raise Refusal(400, f"messages.{i}.content: tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")


def blocks_of(one: Body) -> list[Body]:
    content = one["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def read_message(one: Body) -> list[Said]:
    """A user's message may hold several results and a text: one turn each."""
    blocks = blocks_of(one)
    turns = [
        Said("tool", text_of(block.get("content", "")), (), block["tool_use_id"])
        for block in blocks
        if block["type"] == "tool_result"
    ]
    text = "\n\n".join(block["text"] for block in blocks if block["type"] == "text")
    calls = tuple((block["name"], block["input"]) for block in blocks if block["type"] == "tool_use")
    return turns + ([Said(one["role"], text, calls)] if text or calls else [])


def text_of(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def parsed(text: str) -> Any:
    """The vendor sends an object; what the script wrote in another form stays text, as broken servers send it."""
    try:
        return json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return text


def message(body: Body, reply: Reply, number: int, content: list[Body], stop: str | None) -> Body:
    return {
        "id": f"msg_sim{number:08d}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {
            "input_tokens": max(counted(body) - reply.cached_tokens, 0),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": reply.cached_tokens,
            "output_tokens": spoken(reply),
            "service_tier": "standard",
        },
    }


def counted(body: Body) -> int:
    return tokens(json.dumps([body.get("system"), body["messages"], body.get("tools")], ensure_ascii=False))


def spoken(reply: Reply) -> int:
    return tokens(reply.text + "".join(call.name + call.text() for call in reply.calls)) + 1


def event(data: Body) -> str:
    return sse(data, data["type"])


if __name__ == "__main__":
    serve_by_hand(AnthropicSim(), {"ANTHROPIC_BASE_URL": "base_url", "ANTHROPIC_API_KEY": "key"})
