"""Anthropic's messages.

Translates our turns to the vendor's messages and its answers back; vendor types do not leave this file. It never
retries: `models` decides who is asked next. Wire format: https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final, cast

import httpx2
from anthropic import AnthropicError, APIConnectionError, APIError, APIStatusError, APITimeoutError, AsyncAnthropic
from anthropic.types import Message

from worker.llm.protocol import Completion, OnDelta, Recording, Stop, ToolSpec, Turn, Usage
from worker.llm.reading import Gathered, count, read_call, split_calls
from worker.llm.trouble import ProviderFailed, Trouble, from_status, from_transport

ADDRESS: Final = "https://api.anthropic.com"
CONNECT_TIMEOUT_S: Final = 5.0
_STOPS: Final[dict[str, Stop]] = {
    "end_turn": "end",
    "stop_sequence": "end",
    "pause_turn": "end",
    "tool_use": "tools",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refused",
}


class AnthropicProvider:
    kind = "anthropic"

    def __init__(self, key: str | None, base_url: str | None) -> None:
        # At DEBUG the SDK writes whole requests, and ANTHROPIC_LOG may have set that level when it was imported.
        logging.getLogger("anthropic").setLevel(logging.WARNING)
        # A key of our own keeps the SDK from looking for others on this machine; no span may hold content.
        self._client = AsyncAnthropic(
            api_key=key or "none", base_url=base_url or ADDRESS, max_retries=0, open_telemetry=False
        )
        # The SDK imports the rest at first use, for a second or more; better now than while a lease is held.
        self._messages = self._client.messages

    async def complete(
        self,
        model: str,
        turns: Sequence[Turn],
        tools: Sequence[ToolSpec],
        *,
        max_output_tokens: int,
        timeout_s: float,
        on_delta: OnDelta | None,
    ) -> Completion:
        """Raises only `ProviderFailed`."""
        request: dict[str, Any] = {
            "model": model,
            "messages": _messages(turns),
            "max_tokens": max_output_tokens,
            "timeout": httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S)),
        }
        system = "\n\n".join(turn.text for turn in turns if turn.role == "system" and turn.text)
        if system:
            request["system"] = system
        if tools:
            request["tools"] = [
                {"name": t.name, "description": t.description, "input_schema": {"type": "object", **t.schema}}
                for t in tools
            ]
        try:
            if on_delta is not None:
                return await self._stream(request, on_delta)
            came = cast(object, await self._messages.create(**request))
            if not isinstance(came, Message):
                raise ProviderFailed(Trouble.BAD_ANSWER, code="no_message")
            return _whole(came, model)
        except APITimeoutError:
            raise ProviderFailed(Trouble.TIMED_OUT) from None
        except APIConnectionError:
            raise ProviderFailed(Trouble.UNREACHABLE) from None
        except APIStatusError as error:
            # An error inside a stream comes under the stream's own status, 200.
            raise from_status(error.status_code, (error.error_code, error.type), error.response.headers) from None
        except APIError:
            raise ProviderFailed(Trouble.SERVER_ERROR) from None
        except httpx2.HTTPError as error:
            raise from_transport(error) from None
        except (AnthropicError, ValueError, TypeError, AttributeError, LookupError):
            raise ProviderFailed(Trouble.BAD_ANSWER) from None

    async def _stream(self, request: dict[str, Any], on_delta: OnDelta) -> Completion:
        text = Gathered()
        calls: dict[int, _Call] = {}
        finish: str | None = None
        model, usage, is_over = "", Usage(), False

        def write(piece: str) -> None:
            text.add(piece)
            if not calls:
                on_delta(piece)

        stream = await self._messages.create(**request, stream=True)
        async with stream:
            async for event in stream:
                match event.type:
                    case "message_start":
                        model, usage = event.message.model, _usage(event.message.usage)
                    case "content_block_start":
                        if event.content_block.type == "tool_use":
                            on_delta(None)
                            calls[event.index] = _Call(event.content_block.id, event.content_block.name)
                        elif event.content_block.type == "text" and event.content_block.text:
                            write(event.content_block.text)
                    case "content_block_delta":
                        if event.delta.type == "text_delta":
                            write(event.delta.text)
                        elif event.delta.type == "input_json_delta" and event.index in calls:
                            calls[event.index].arguments.add(event.delta.partial_json)
                    case "message_delta":
                        finish = event.delta.stop_reason or finish
                        usage = Usage(usage.input_tokens, count(event.usage.output_tokens), usage.cached_tokens)
                    case "message_stop":
                        is_over = True
        if finish is None or not is_over:
            raise ProviderFailed(Trouble.BAD_ANSWER, code="cut_off")
        good, bad = split_calls(
            read_call(i, call.id, call.name, call.arguments.text()) for i, call in sorted(calls.items())
        )
        return Completion(text.text(), good, bad, usage, model or request["model"], _STOPS.get(finish, "end"))

    async def transcribe(self, model: str, recording: Recording, *, timeout_s: float) -> Completion:
        """The vendor has no such thing."""
        raise ProviderFailed(Trouble.BAD_REQUEST, code="no_transcription")

    async def aclose(self) -> None:
        await self._client.close()


class _Call:
    """A call whose arguments arrive in pieces."""

    def __init__(self, call_id: str, name: str) -> None:
        self.id = call_id
        self.name = name
        self.arguments = Gathered()


def _messages(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """Turns of one side after another become one message: the results of a call must all be in the next one."""
    messages: list[dict[str, Any]] = []
    for turn in turns:
        if turn.role == "system":
            continue
        role = "assistant" if turn.role == "assistant" else "user"
        blocks = _blocks(turn)
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += blocks
        elif blocks:
            messages.append({"role": role, "content": blocks})
    return messages


def _blocks(turn: Turn) -> list[dict[str, Any]]:
    if turn.role == "tool":
        return [{"type": "tool_result", "tool_use_id": turn.call_id or "", "content": turn.text}]
    # An empty text block is refused by the vendor.
    blocks: list[dict[str, Any]] = [{"type": "text", "text": turn.text}] if turn.text.strip() else []
    blocks += [
        {"type": "image", "source": {"type": "base64", "media_type": one.mime, "data": one.base64}}
        for one in turn.images
    ]
    blocks += [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.args} for call in turn.calls]
    return blocks


def _whole(came: Message, asked: str) -> Completion:
    if came.stop_reason is None:
        raise ProviderFailed(Trouble.BAD_ANSWER, code="cut_off")
    text = "".join(block.text for block in came.content if block.type == "text")
    good, bad = split_calls(
        read_call(i, block.id, block.name, block.input)
        for i, block in enumerate(came.content)
        if block.type == "tool_use"
    )
    stop = _STOPS.get(came.stop_reason, "end")
    return Completion(text, good, bad, _usage(came.usage), came.model or asked, stop)


def _usage(usage: Any) -> Usage:
    """Cached tokens are counted beside the input here, so they are added to it."""
    cached = count(getattr(usage, "cache_read_input_tokens", 0))
    written = count(getattr(usage, "cache_creation_input_tokens", 0))
    return Usage(
        count(getattr(usage, "input_tokens", 0)) + cached + written,
        count(getattr(usage, "output_tokens", 0)),
        cached,
    )
