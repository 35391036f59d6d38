"""A stand-in for OpenAI: chat completions with tools and streams, models, embeddings; on the real wire format.

Strict where the vendor is: key, unknown parameters, the pairing of calls and their answers. `python -m tests.sim.openai`
prints what to put into the environment and serves until Ctrl-C.
"""

import base64
import hashlib
import math
import re
import struct
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from tests.sim.llm_script import Asked, Body, Reply, Said, pieces, tokens, with_ids
from tests.sim.llm_server import ModelServer, Refusal, read_json, serve_by_hand, sse

CREATED = 1_790_000_000
CHAT_MODELS = ("gpt-5.4", "gpt-5.4-mini", "gpt-5.4-nano")
TRANSCRIBING = ("gpt-5.4-transcribe", "whisper-1")
HEARABLE = (".flac", ".mp3", ".mp4", ".mpeg", ".mpga", ".m4a", ".ogg", ".wav", ".webm")
SNAPSHOT = "-2026-03-17"
EMBEDDING = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072}
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MESSAGES_MOST = 2048
TOOLS_MOST = 128
# Every parameter that the reference names; anything else is refused by the vendor, so it is here.
PARAMETERS = frozenset(
    [
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "modalities",
        "model",
        "moderation",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    ]
)
TYPES = {401: "invalid_request_error", 429: "requests", 500: "server_error", 503: "server_error"}
CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
FINISH = {"end": "stop", "tools": "tool_calls", "length": "length", "refused": "stop"}


class OpenAISim(ModelServer):
    vendor = "openai"
    models = {*CHAT_MODELS, *EMBEDDING, *TRANSCRIBING}

    @property
    def base_url(self) -> str:
        return f"{self.line.url}/v1"

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embed)
        app.router.add_post("/v1/audio/transcriptions", self._transcribe)
        app.router.add_get("/v1/models", self._list_models)
        app.router.add_get("/v1/models/{model}", self._one_model)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self.converse(request, "chat.completions")

    async def _embed(self, request: web.Request) -> web.StreamResponse:
        body: Body = {}
        try:
            self.check_access(request)
            body = await read_json(request)
            texts = checked_embedding(body)
        except Refusal as refusal:
            return self._refuse("embeddings", body, refusal)
        self.journal.write(self.vendor, "in", "embeddings", body)
        size = body.get("dimensions") or EMBEDDING[body["model"]]
        data = [
            {"object": "embedding", "index": i, "embedding": encoded(vector(text, size), body.get("encoding_format"))}
            for i, text in enumerate(texts)
        ]
        spent = sum(map(tokens, texts))
        usage = {"prompt_tokens": spent, "total_tokens": spent}
        return web.json_response({"object": "list", "data": data, "model": body["model"], "usage": usage})

    async def _transcribe(self, request: web.Request) -> web.StreamResponse:
        """Says what the next of `heard` is, whatever the sound."""
        body: Body = {}
        try:
            self.check_access(request)
            form = await request.post()
            file = form.get("file")
            body = {name: value for name, value in form.items() if isinstance(value, str)}
            if body.get("model") not in TRANSCRIBING:
                raise Refusal(404, f"The model `{body.get('model')}` does not exist", "model_not_found", "model")
            if not isinstance(file, web.FileField) or not file.filename.lower().endswith(HEARABLE):
                raise Refusal(400, "Invalid file format.", "", "file")
            method = "audio.transcriptions"
            fault = self.faults.meet(method)
            if (early := await self.line.before(fault, request, method, body, self._planned_refusal)) is not None:
                return early
            if not self.heard:
                raise Refusal(400, "nobody wrote down what this says", "", "file")
        except Refusal as refusal:
            return self._refuse("audio.transcriptions", body, refusal)
        self.journal.write(self.vendor, "in", method, body)
        # Whoever lost the answer asks again and hears the same.
        is_lost = fault is not None and fault.name in ("done_but_answer_lost", "disconnect")
        text = self.heard[0] if is_lost else self.heard.pop(0)
        usage = {"type": "tokens", "input_tokens": 14, "output_tokens": tokens(text), "total_tokens": 14 + tokens(text)}
        return await self.line.after(fault, request, web.json_response({"text": text, "usage": usage}))

    async def _list_models(self, request: web.Request) -> web.StreamResponse:
        try:
            self.check_access(request)
        except Refusal as refusal:
            return self._refuse("models.list", {}, refusal)
        self.journal.write(self.vendor, "in", "models.list", {})
        return web.json_response({"object": "list", "data": [described(model) for model in sorted(self.models)]})

    async def _one_model(self, request: web.Request) -> web.StreamResponse:
        model = request.match_info["model"]
        try:
            self.check_access(request)
            if model not in self.models:
                raise Refusal(404, f"The model '{model}' does not exist", "model_not_found", "model")
        except Refusal as refusal:
            return self._refuse("models.retrieve", {"model": model}, refusal)
        self.journal.write(self.vendor, "in", "models.retrieve", {"model": model})
        return web.json_response(described(model))

    def check_access(self, request: web.Request) -> None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not key:
            raise Refusal(401, "You didn't provide an API key.", "")
        if key != self.key:
            # The vendor quotes the key it was sent, masked in the middle.
            raise Refusal(401, f"Incorrect API key provided: {key[:8]}****{key[-4:]}.", "invalid_api_key")

    def check_body(self, body: Body) -> None:
        check_parameters(body)
        check_tools(body.get("tools"))
        check_messages(body["messages"])

    def read(self, body: Body) -> Asked:
        tools = tuple(tool["function"]["name"] for tool in body.get("tools") or [])
        turns = tuple(read_message(message) for message in body["messages"])
        return Asked(self.vendor, body["model"], turns, tools, bool(body.get("stream")), body)

    def whole(self, body: Body, reply: Reply, number: int) -> Body:
        reply = with_ids(reply, "call_", number)
        refused = reply.stop == "refused"
        message: Body = {
            "role": "assistant",
            "content": None if refused or (reply.calls and not reply.text) else reply.text,
            "refusal": reply.text if refused else None,
            "annotations": [],
        }
        if reply.calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.text()}}
                for call in reply.calls
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": FINISH[reply.stop]}
        return {**head(body, number, "chat.completion"), "choices": [choice], "usage": usage(body, reply)}

    async def stream(self, body: Body, reply: Reply, number: int) -> AsyncIterator[str]:
        reply = with_ids(reply, "call_", number)
        counts = bool((body.get("stream_options") or {}).get("include_usage"))
        common = head(body, number, "chat.completion.chunk") | ({"usage": None} if counts else {})

        def chunk(delta: Body, finish: str | None = None) -> str:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return sse({**common, "choices": [choice]})

        yield chunk({"role": "assistant", "content": None if reply.calls else "", "refusal": None})
        field = "refusal" if reply.stop == "refused" else "content"
        for piece in pieces(reply.text):
            yield chunk({field: piece})
        for index, call in enumerate(reply.calls):
            function = {"name": call.name, "arguments": ""}
            yield chunk({"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": function}]})
            for piece in pieces(call.text()):
                yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        yield chunk({}, FINISH[reply.stop])
        if counts:
            yield sse({**common, "choices": [], "usage": usage(body, reply)})
        yield "data: [DONE]\n\n"

    def error(self, refusal: Refusal) -> Body:
        return {
            "error": {
                "message": refusal.message,
                "type": TYPES.get(refusal.status, "invalid_request_error"),
                "param": refusal.param,
                "code": refusal.code or CODES.get(refusal.status),
            }
        }

    def stream_error(self) -> str:
        return sse(
            {"error": {"message": "The server had an error", "type": "server_error", "param": None, "code": None}}
        )


def check_parameters(body: Body) -> None:
    unknown = sorted(set(body) - PARAMETERS)
    if unknown:
        raise Refusal(400, f"Unrecognized request argument supplied: {unknown[0]}", "unknown_parameter", unknown[0])
    for name in ("model", "messages"):
        if name not in body:
            raise Refusal(400, f"Missing required parameter: '{name}'.", "missing_required_parameter", name)
    if not isinstance(body["model"], str):
        raise Refusal(400, "Invalid type for 'model': expected a string.", "invalid_type", "model")
    if "max_tokens" in body and body["model"].startswith(("gpt-5", "o")):
        message = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        raise Refusal(400, message, "unsupported_parameter", "max_tokens")
    limit = body.get("max_completion_tokens")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise Refusal(
            400,
            "Invalid 'max_completion_tokens': must be at least 1.",
            "integer_below_min_value",
            "max_completion_tokens",
        )
    if body.get("stream_options") is not None and not body.get("stream"):
        raise Refusal(
            400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "", "stream_options"
        )
    if body.get("tool_choice") is not None and not body.get("tools"):
        raise Refusal(400, "'tool_choice' is only allowed when 'tools' are specified.", "", "tool_choice")


def check_tools(tools: Any) -> None:
    if tools is None:
        return
    if not isinstance(tools, list) or not 1 <= len(tools) <= TOOLS_MOST:
        raise Refusal(400, f"Invalid 'tools': between 1 and {TOOLS_MOST} are expected.", "invalid_array", "tools")
    for i, tool in enumerate(tools):
        where = f"tools[{i}]"
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict) or set(function) - {"name", "description", "parameters", "strict"}:
            raise Refusal(400, f"Invalid value for '{where}'.", "invalid_value", where)
        if not TOOL_NAME.fullmatch(str(function.get("name", ""))):
            message = f"Invalid '{where}.function.name': string does not match pattern '^[a-zA-Z0-9_-]+$'."
            raise Refusal(400, message, "invalid_value", f"{where}.function.name")
        schema = function.get("parameters", {"type": "object"})
        if not isinstance(schema, dict) or schema.get("type") != "object":
            message = (
                f"Invalid schema for function '{function['name']}': schema must be a JSON Schema of 'type: \"object\"'."
            )
            raise Refusal(400, message, "invalid_function_parameters", f"{where}.function.parameters")


def check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not 1 <= len(messages) <= MESSAGES_MOST:
        raise Refusal(400, "Invalid 'messages': expected a non-empty array.", "empty_array", "messages")
    waiting: list[str] = []
    for i, message in enumerate(messages):
        where = f"messages[{i}]"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("system", "developer", "user", "assistant", "tool"):
            raise Refusal(400, f"Invalid value: '{role}'.", "invalid_value", f"{where}.role")
        if role == "tool":
            if message.get("tool_call_id") not in waiting:
                text = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
                raise Refusal(400, f"Invalid parameter: {text}", "", f"{where}.role")
            waiting.remove(message["tool_call_id"])
        elif waiting:
            text = "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."
            raise Refusal(400, f"{text} These did not have response messages: {', '.join(waiting)}", "", where)
        calls = message.get("tool_calls")
        if calls is not None:
            waiting = checked_calls(calls, role, where)
        if not isinstance(message.get("content"), (str, list)) and not (role == "assistant" and calls):
            raise Refusal(400, "Invalid value for 'content': expected a string, got null.", "", f"{where}.content")
    if waiting:
        raise Refusal(400, f"These tool calls did not have response messages: {', '.join(waiting)}", "", "messages")


def checked_calls(calls: Any, role: str, where: str) -> list[str]:
    """The ids that the next messages have to answer."""
    if role != "assistant" or not isinstance(calls, list) or not calls:
        raise Refusal(400, f"Invalid '{where}.tool_calls'.", "invalid_value", f"{where}.tool_calls")
    for call in calls:
        function = call.get("function") if isinstance(call, dict) and call.get("type") == "function" else None
        if not isinstance(function, dict) or not call.get("id") or not isinstance(function.get("arguments"), str):
            raise Refusal(400, f"Invalid '{where}.tool_calls'.", "invalid_value", f"{where}.tool_calls")
        if not TOOL_NAME.fullmatch(str(function.get("name", ""))):
            name = f"{where}.tool_calls.function.name"
            raise Refusal(400, f"Invalid '{name}': string does not match pattern.", "invalid_value", name)
    return [call["id"] for call in calls]


def checked_embedding(body: Body) -> list[str]:
    model, given = body.get("model"), body.get("input")
    if model not in EMBEDDING:
        raise Refusal(404, f"The model `{model}` does not exist", "model_not_found", "model")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t for t in texts):
        raise Refusal(400, "'$.input' is invalid.", "", "input")
    return texts


def read_message(message: Body) -> Said:
    content = message.get("content") or ""
    text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    calls = tuple((c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls") or [])
    role = "system" if message["role"] == "developer" else message["role"]
    return Said(role, text, calls, message.get("tool_call_id"))


def head(body: Body, number: int, kind: str) -> Body:
    model = body["model"] + (SNAPSHOT if body["model"] in CHAT_MODELS else "")
    made = {"id": f"chatcmpl-Sim{number:08d}", "object": kind, "created": CREATED + number, "model": model}
    return {**made, "service_tier": "default", "system_fingerprint": "fp_sim"}


def usage(body: Body, reply: Reply) -> Body:
    asked = tokens(str(body["messages"]) + str(body.get("tools", "")))
    said = tokens(reply.text + "".join(call.name + call.text() for call in reply.calls)) + 1
    return {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": asked + said,
        "prompt_tokens_details": {"cached_tokens": min(reply.cached_tokens, asked), "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def described(model: str) -> Body:
    return {"id": model, "object": "model", "created": CREATED, "owned_by": "system"}


def vector(text: str, size: int) -> list[float]:
    """Texts that share words get similar vectors; length 1."""
    found = [0.0] * size
    for word in re.findall(r"\w+", text.lower()) or [text]:
        digest = hashlib.sha256(word.encode()).digest()
        found[int.from_bytes(digest[:4]) % size] += 1.0 if digest[4] % 2 else -1.0
    length = math.sqrt(sum(x * x for x in found)) or 1.0
    return [x / length for x in found]


def encoded(numbers: list[float], how: str | None) -> str | list[float]:
    """The SDK asks for base64 of little-endian 32-bit floats unless told otherwise."""
    if how != "base64":
        return numbers
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode("ascii")


if __name__ == "__main__":
    serve_by_hand(OpenAISim(), {"OPENAI_BASE_URL": "base_url", "OPENAI_API_KEY": "key"})
