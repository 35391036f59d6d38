"""OpenAI's chat completions, and whatever else speaks them under another address.

Translates our turns to the vendor's messages and its answers back; vendor types do not leave this file. It never
retries: `models` decides who is asked next. Wire format: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

import httpx2
from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError, AsyncOpenAI, OpenAIError
from openai.types.audio import Transcription
from openai.types.chat import ChatCompletion

from worker.llm.protocol import Completion, OnDelta, Recording, Stop, ToolSpec, Turn, Usage
from worker.llm.reading import Gathered, count, read_call, split_calls
from worker.llm.trouble import ProviderFailed, Trouble, from_status, from_transport

ADDRESS: Final = "https://api.openai.com/v1"
CONNECT_TIMEOUT_S: Final = 5.0
_STOPS: Final[dict[str, Stop]] = {
    "stop": "end",
    "tool_calls": "tools",
    "function_call": "tools",
    "length": "length",
    "content_filter": "refused",
}


class OpenAIProvider:
    kind = "openai"

    def __init__(self, key: str | None, base_url: str | None) -> None:
        # At DEBUG the SDK writes whole requests, and OPENAI_LOG may have set that level when it was imported.
        logging.getLogger("openai").setLevel(logging.WARNING)
        # An endpoint without a key still gets the header: the SDK insists on a value.
        self._client = AsyncOpenAI(api_key=key or "none", base_url=base_url or ADDRESS, max_retries=0)
        # The SDK imports the rest at first use, for a second or more; better now than while a lease is held.
        self._completions = self._client.chat.completions

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
            "messages": [_message(turn) for turn in turns],
            "max_completion_tokens": max_output_tokens,
            "timeout": httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S)),
        }
        if tools:
            request["tools"] = [
                {
                    "type": "function",
                    "function": {"name": t.name, "description": t.description, "parameters": t.schema},
                }
                for t in tools
            ]
        with _vendors_errors():
            if on_delta is not None:
                return await self._stream(request, on_delta)
            came = cast(object, await self._completions.create(**request))
            # A web page with status 200 comes back as text: the SDK parses only what calls itself JSON.
            if not isinstance(came, ChatCompletion):
                raise ProviderFailed(Trouble.BAD_ANSWER, code="no_completion")
            return _whole(came, model)

    async def transcribe(self, model: str, recording: Recording, *, timeout_s: float) -> Completion:
        """Raises only `ProviderFailed`."""
        with _vendors_errors():
            came = cast(
                object,
                await self._client.audio.transcriptions.create(
                    model=model,
                    file=(recording.name, recording.content, recording.mime or "application/octet-stream"),
                    response_format="json",
                    timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S)),
                ),
            )
            if not isinstance(came, Transcription):
                raise ProviderFailed(Trouble.BAD_ANSWER, code="no_transcription")
            usage = Usage(count(getattr(came.usage, "input_tokens", 0)), count(getattr(came.usage, "output_tokens", 0)))
            return Completion(came.text, (), (), usage, model, "end")

    async def _stream(self, request: dict[str, Any], on_delta: OnDelta) -> Completion:
        text, refusal = Gathered(), Gathered()
        calls: dict[int, _Call] = {}
        finish: str | None = None
        model, usage = "", Usage()
        stream = await self._completions.create(**request, stream=True, stream_options={"include_usage": True})
        async with stream:
            async for chunk in stream:
                model = chunk.model or model
                if chunk.usage is not None:
                    usage = _usage(chunk.usage)
                for choice in (chunk.choices or [])[:1]:
                    finish = choice.finish_reason or finish
                    refusal.add(choice.delta.refusal or "")
                    for part in choice.delta.tool_calls or []:
                        if not calls:
                            on_delta(None)
                        call = calls.setdefault(part.index, _Call())
                        call.id = part.id or call.id
                        if part.function is not None:
                            call.name = part.function.name or call.name
                            call.arguments.add(part.function.arguments or "")
                    if choice.delta.content:
                        text.add(choice.delta.content)
                        if not calls:
                            on_delta(choice.delta.content)
        if finish is None:
            raise ProviderFailed(Trouble.BAD_ANSWER, code="cut_off")
        good, bad = split_calls(
            read_call(i, call.id, call.name, call.arguments.text()) for i, call in sorted(calls.items())
        )
        stop = _stop(finish, bool(good or bad), refusal.text())
        return Completion(refusal.text() or text.text(), good, bad, usage, model or request["model"], stop)

    async def aclose(self) -> None:
        await self._client.close()


class _Call:
    """A call that arrives in pieces: its id and name once, its arguments as they are written."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments = Gathered()


@contextmanager
def _vendors_errors() -> Iterator[None]:
    """What the SDK raises, as `ProviderFailed`."""
    try:
        yield
    except APITimeoutError:
        raise ProviderFailed(Trouble.TIMED_OUT) from None
    except APIConnectionError:
        raise ProviderFailed(Trouble.UNREACHABLE) from None
    except APIStatusError as error:
        raise from_status(error.status_code, (error.code, error.type), error.response.headers) from None
    except APIError as error:  # an error inside a stream; it has no status
        raise from_status(500, (error.code, error.type), {}) from None
    except httpx2.HTTPError as error:
        raise from_transport(error) from None
    except (OpenAIError, ValueError, TypeError, AttributeError, LookupError):
        raise ProviderFailed(Trouble.BAD_ANSWER) from None


def _message(turn: Turn) -> dict[str, Any]:
    if turn.role == "tool":
        return {"role": "tool", "tool_call_id": turn.call_id or "", "content": turn.text}
    if turn.images:
        pictures = [
            {"type": "image_url", "image_url": {"url": f"data:{one.mime};base64,{one.base64}"}} for one in turn.images
        ]
        return {"role": turn.role, "content": [{"type": "text", "text": turn.text}, *pictures]}
    if turn.role != "assistant":
        return {"role": turn.role, "content": turn.text}
    message: dict[str, Any] = {"role": "assistant", "content": turn.text or None}
    if turn.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.args, ensure_ascii=False)},
            }
            for call in turn.calls
        ]
    elif not turn.text:
        message["content"] = ""
    return message


def _whole(came: ChatCompletion, asked: str) -> Completion:
    choice = came.choices[0]
    good, bad = split_calls(
        read_call(i, call.id, getattr(function, "name", None), getattr(function, "arguments", None))
        for i, call in enumerate(choice.message.tool_calls or [])
        for function in [getattr(call, "function", None)]
    )
    refusal = choice.message.refusal or ""
    stop = _stop(choice.finish_reason, bool(good or bad), refusal)
    text = refusal or choice.message.content or ""
    return Completion(text, good, bad, _usage(came.usage), came.model or asked, stop)


def _stop(finish: str, has_calls: bool, refusal: str) -> Stop:
    if refusal:
        return "refused"
    stop = _STOPS.get(finish, "end")
    # Some compatible servers say "stop" beside their calls.
    return "tools" if has_calls and stop == "end" else stop


def _usage(usage: Any) -> Usage:
    """Prompt tokens already hold the cached ones here."""
    details = getattr(usage, "prompt_tokens_details", None)
    return Usage(
        count(getattr(usage, "prompt_tokens", 0)),
        count(getattr(usage, "completion_tokens", 0)),
        count(getattr(details, "cached_tokens", 0)),
    )
