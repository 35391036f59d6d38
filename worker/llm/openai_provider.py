"""OpenAI's chat completions, and every endpoint that speaks them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import openai

from worker.llm.protocol import Answer, BadCall, Stop, ToolSpec, Turn, Usage, VendorError, read_arguments

_STOP: dict[str | None, Stop] = {"stop": "end", "tool_calls": "tools", "length": "length", "content_filter": "refused"}


class OpenAIProvider:
    def __init__(self, name: str, key: str, base_url: str | None) -> None:
        self.name = name
        self._client = openai.AsyncOpenAI(api_key=key, base_url=base_url, max_retries=1)

    async def ask(
        self, model: str, turns: Sequence[Turn], tools: Sequence[ToolSpec], *, max_output_tokens: int, deadline_s: float
    ) -> Answer:
        request: dict[str, Any] = {
            "model": model,
            "messages": [_message(turn) for turn in turns],
            "max_completion_tokens": max_output_tokens,
        }
        if tools:
            request["tools"] = [
                {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.schema}}
                for t in tools
            ]
        try:
            came = await self._client.with_options(timeout=deadline_s).chat.completions.create(**request)
        except openai.APIStatusError as error:
            raise _from_status(error) from error
        except openai.APIError as error:
            raise VendorError(type(error).__name__) from error
        if not came.choices:
            raise VendorError("it answered without a choice")
        choice, usage = came.choices[0], came.usage
        calls = tuple(
            read_arguments(c.id, c.function.name, c.function.arguments)
            for c in choice.message.tool_calls or []
            if c.type == "function"
        )
        details = usage.prompt_tokens_details if usage else None
        return Answer(
            text=choice.message.content or choice.message.refusal or "",
            calls=calls,
            usage=Usage(
                usage.prompt_tokens if usage else 0,
                usage.completion_tokens if usage else 0,
                (details.cached_tokens if details else 0) or 0,
            ),
            model=came.model,
            provider=self.name,
            stop="refused" if choice.message.refusal else _STOP.get(choice.finish_reason, "end"),
        )

    async def aclose(self) -> None:
        await self._client.close()


def _message(turn: Turn) -> dict[str, Any]:
    if turn.role == "tool":
        return {"role": "tool", "tool_call_id": turn.call_id or "", "content": turn.text}
    message: dict[str, Any] = {"role": turn.role, "content": turn.text}
    if turn.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": call.raw if isinstance(call, BadCall) else json.dumps(call.args),
                },
            }
            for call in turn.calls
        ]
    return message


def _from_status(error: openai.APIStatusError) -> VendorError:
    """Only the class and the status go on: a vendor's message may quote the prompt or the key."""
    after = error.response.headers.get("retry-after", "")
    return VendorError(
        f"{type(error).__name__} ({error.status_code})",
        retry_after_s=float(after) if after.replace(".", "", 1).isdigit() else None,
        is_ours=error.status_code in (400, 404, 413, 422),
    )
