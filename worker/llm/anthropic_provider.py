"""Anthropic's messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anthropic

from worker.llm.protocol import Answer, BadCall, Stop, ToolCall, ToolSpec, Turn, Usage, VendorError

_STOP: dict[str | None, Stop] = {
    "end_turn": "end",
    "stop_sequence": "end",
    "tool_use": "tools",
    "max_tokens": "length",
    "refusal": "refused",
}


class AnthropicProvider:
    def __init__(self, name: str, key: str, base_url: str | None) -> None:
        self.name = name
        self._client = anthropic.AsyncAnthropic(api_key=key, base_url=base_url, max_retries=1)

    async def ask(
        self, model: str, turns: Sequence[Turn], tools: Sequence[ToolSpec], *, max_output_tokens: int, deadline_s: float
    ) -> Answer:
        system = "\n\n".join(turn.text for turn in turns if turn.role == "system")
        request: dict[str, Any] = {
            "model": model,
            "max_tokens": max_output_tokens,
            "messages": messages([turn for turn in turns if turn.role != "system"]),
        }
        if system:
            request["system"] = system
        if tools:
            request["tools"] = [{"name": t.name, "description": t.description, "input_schema": t.schema} for t in tools]
        try:
            came = await self._client.with_options(timeout=deadline_s).messages.create(**request)
        except anthropic.APIStatusError as error:
            raise _from_status(error) from error
        except anthropic.APIError as error:
            raise VendorError(type(error).__name__) from error
        text = "".join(block.text for block in came.content if block.type == "text")
        calls = tuple(
            ToolCall(block.id, block.name, dict(block.input))
            if isinstance(block.input, dict)
            else BadCall(block.id, block.name, str(block.input), "the arguments are no JSON object")
            for block in came.content
            if block.type == "tool_use"
        )
        return Answer(
            text=text,
            calls=calls,
            usage=Usage(came.usage.input_tokens, came.usage.output_tokens, came.usage.cache_read_input_tokens or 0),
            model=came.model,
            provider=self.name,
            stop=_STOP.get(came.stop_reason, "end"),
        )

    async def aclose(self) -> None:
        await self._client.close()


def messages(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """Turns as Anthropic takes them: tool answers are the user's, and neighbours of one role are one message."""
    merged: list[dict[str, Any]] = []
    for turn in turns:
        role = "user" if turn.role == "tool" else turn.role
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"].extend(_blocks(turn))
        else:
            merged.append({"role": role, "content": _blocks(turn)})
    return merged


def _blocks(turn: Turn) -> list[dict[str, Any]]:
    if turn.role == "tool":
        return [{"type": "tool_result", "tool_use_id": turn.call_id or "", "content": turn.text}]
    blocks: list[dict[str, Any]] = [{"type": "text", "text": turn.text}] if turn.text else []
    for call in turn.calls:
        args = {} if isinstance(call, BadCall) else call.args
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": args})
    return blocks


def _from_status(error: anthropic.APIStatusError) -> VendorError:
    """Only the class and the status go on: a vendor's message may quote the prompt or the key."""
    after = error.response.headers.get("retry-after", "")
    return VendorError(
        f"{type(error).__name__} ({error.status_code})",
        retry_after_s=float(after) if after.replace(".", "", 1).isdigit() else None,
        is_ours=error.status_code in (400, 404, 413, 422),
    )
