"""The stand-ins for model vendors: as strict as the vendors, on their wire formats, and honest about their script."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from tests import contracts
from tests.patience import PATIENCE_S
from tests.sim.anthropic import SPEC, AnthropicSim, validator
from tests.sim.faults import status
from tests.sim.llm_script import Call, Calls, CutOff, Refuse, Reply, Say, Script
from tests.sim.llm_server import KEY
from tests.sim.openai import OpenAISim
from tests.specs.distil_anthropic import distilled

SPECS = Path(os.environ.get("SAYSO_SPECS", Path(__file__).parent.parent.parent / "shared" / "specs"))
needs_specs = pytest.mark.skipif(not SPECS.is_dir(), reason="the published schemas are not here: set SAYSO_SPECS")
TOOL = {"type": "function", "function": {"name": "look", "description": "d", "parameters": {"type": "object"}}}
SKILL = {"name": "look", "description": "d", "input_schema": {"type": "object"}}
USER = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
USING = {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {}}]}
RESULT = {"type": "tool_result", "tool_use_id": "c1", "content": "x"}


def openai_client(sim: OpenAISim, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=key, base_url=sim.base_url, max_retries=0)


def anthropic_client(sim: AnthropicSim, key: str = KEY) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key=key, base_url=sim.base_url, max_retries=0)


async def chat(sim: OpenAISim, **body: Any) -> Any:
    async with openai_client(sim) as client:
        return await client.chat.completions.create(**{"model": "gpt-5.4", "messages": [USER], **body})


async def write(sim: AnthropicSim, **body: Any) -> Any:
    async with anthropic_client(sim) as client:
        return await client.messages.create(
            **{"model": "claude-sonnet-4-6", "max_tokens": 50, "messages": [USER], **body}
        )


# ------------------------------------------------------------ strictness


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"messages": []}, "non-empty array"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "Invalid value: 'robot'"),
        ({"messages": [{"role": "user", "content": None}]}, "content"),
        ({"messages": [USER, CALLING]}, "did not have response messages"),
        ({"messages": [USER, CALLING, USER]}, "must be followed by tool messages"),
        ({"messages": [USER, {"role": "tool", "tool_call_id": "c1", "content": "x"}]}, "must be a response"),
        ({"messages": [USER, CALLING, {"role": "tool", "tool_call_id": "c9", "content": "x"}]}, "must be a response"),
        ({"max_tokens": 5}, "Use 'max_completion_tokens' instead"),
        ({"max_completion_tokens": 0}, "at least 1"),
        ({"extra_body": {"temprature": 1}}, "Unrecognized request argument supplied: temprature"),
        ({"tools": []}, "Invalid 'tools'"),
        ({"tools": [{**TOOL, "function": {"name": "files.delete"}}]}, "does not match pattern"),
        ({"tools": [{**TOOL, "function": {"name": "x", "parameters": {"type": "array"}}}]}, "JSON Schema of 'type"),
        ({"tool_choice": "auto"}, "only allowed when 'tools'"),
        ({"stream_options": {"include_usage": True}}, "only allowed when 'stream'"),
    ],
)
async def test_openai_refuses_what_the_vendor_refuses(body: dict[str, Any], says: str) -> None:
    async with OpenAISim() as sim:
        with pytest.raises(openai.BadRequestError) as caught:
            await chat(sim, **body)
    assert says in caught.value.message
    assert caught.value.type == "invalid_request_error"
    assert [entry.status for entry in sim.journal] == [400]
    assert sim.script.asked == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "assistant", "content": "x"}, USER]}, 'first message must use the "user" role'),
        ({"messages": [USER, {"role": "assistant", "content": "{"}]}, "Prefilling"),
        ({"messages": [{"role": "user", "content": " "}]}, "non-empty"),
        ({"messages": [{"role": "user", "content": []}]}, "non-empty content"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0"),
        ({"messages": [USER, USING, USER], "tools": [SKILL]}, "without `tool_result` blocks immediately after: c1"),
        ({"messages": [{"role": "user", "content": [RESULT]}], "tools": [SKILL]}, "unexpected `tool_use_id`"),
        (
            {"messages": [USER, USING, {"role": "user", "content": [{"type": "text", "text": "x"}, RESULT]}], "tools": [SKILL]},
            "must come first",
        ),
        ({"messages": [USER, USING, {"role": "user", "content": [RESULT]}]}, "must define tools"),
        ({"max_tokens": 0}, "greater than or equal to 1"),
        ({"extra_body": {"temperature": 1}}, "temperature"),
        ({"tools": [{**SKILL, "name": "files.delete"}]}, "should match pattern"),
        ({"tools": [{**SKILL, "input_schema": {"type": "array"}}]}, "Input should be 'object'"),
        ({"tools": [SKILL, SKILL]}, "must be unique"),
        ({"tools": [{"name": "look"}]}, "input_schema"),
    ],
)  # fmt: skip
async def test_anthropic_refuses_what_the_vendor_refuses(body: dict[str, Any], says: str) -> None:
    async with AnthropicSim() as sim:
        with pytest.raises(anthropic.BadRequestError) as caught:
            await write(sim, **body)
    assert says in str(caught.value.body)
    assert caught.value.type == "invalid_request_error"
    assert sim.script.asked == []


async def test_a_wrong_key_and_an_unknown_model_have_the_vendors_shapes() -> None:
    async with OpenAISim() as one, AnthropicSim() as two:
        async with openai_client(one, "sk-wrong-0123456789") as client:
            with pytest.raises(openai.AuthenticationError) as wrong:
                await client.chat.completions.create(model="gpt-5.4", messages=[USER])  # type: ignore[list-item]
        with pytest.raises(openai.NotFoundError) as unknown:
            await chat(one, model="gpt-9")
        async with anthropic_client(two, "sk-wrong-0123456789") as other:
            with pytest.raises(anthropic.AuthenticationError) as wrong_too:
                await other.messages.create(model="claude-sonnet-4-6", max_tokens=5, messages=[USER])  # type: ignore[list-item]
        with pytest.raises(anthropic.NotFoundError) as unknown_too:
            await write(two, model="claude-9")
    assert (wrong.value.code, unknown.value.code) == ("invalid_api_key", "model_not_found")
    assert (wrong_too.value.type, unknown_too.value.type) == ("authentication_error", "not_found_error")
    assert not list(validator("ErrorResponse").iter_errors(unknown_too.value.body))


@pytest.mark.parametrize(
    ("code", "kind"), [(429, "RateLimitError"), (500, "InternalServerError"), (529, "OverloadedError")]
)
async def test_planned_faults_come_as_the_vendors_errors(code: int, kind: str) -> None:
    async with OpenAISim() as one, AnthropicSim() as two:
        one.faults.add("chat.completions", 1, status(code, retry_after_s=7))
        two.faults.add("messages", 1, status(code, retry_after_s=7))
        with pytest.raises(openai.APIStatusError) as first:
            await chat(one)
        with pytest.raises(anthropic.APIStatusError) as second:
            await write(two)
    for caught in (first, second):
        assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (code, "7")
    assert type(second.value).__name__ == kind
    if code != 500:
        assert not list(validator("ErrorResponse").iter_errors(second.value.body))


# ------------------------------------------------------------ wire formats

REPLIES = [
    Say("Hello there, how are you today?"),
    Calls(Call("look", {"at": "this"}), Call("look", {}), text="Looking."),
    Refuse(),
    CutOff("and th"),
    Reply(""),
]


@pytest.mark.parametrize("reply", REPLIES, ids=["say", "calls", "refuse", "cut", "empty"])
async def test_anthropic_answers_and_events_fit_the_published_schema(reply: Reply) -> None:
    async with AnthropicSim(Script(reply, reply)) as sim:
        whole = await write(sim, tools=[SKILL])
        stream = await write(sim, tools=[SKILL], stream=True)
        events = [event.model_dump(mode="json", exclude_unset=True) async for event in stream]
    assert not list(validator("Message").iter_errors(whole.model_dump(mode="json", exclude_unset=True)))
    for event in events:
        assert not list(validator("RawMessageStreamEvent").iter_errors(event)), event
    assert events[0]["type"] == "message_start"
    assert [event["type"] for event in events][-2:] == ["message_delta", "message_stop"]
    assert events[-2]["delta"]["stop_reason"] == whole.stop_reason


@pytest.mark.parametrize("reply", REPLIES, ids=["say", "calls", "refuse", "cut", "empty"])
async def test_openai_questions_and_answers_are_as_they_are_described(reply: Reply) -> None:
    async with OpenAISim(Script(reply, reply)) as sim:
        history = [USER, CALLING, {"role": "tool", "tool_call_id": "c1", "content": "x"}]
        async with openai_client(sim) as client:
            raw = await client.chat.completions.with_raw_response.create(
                model="gpt-5.4",
                messages=history,
                tools=[TOOL],  # type: ignore[arg-type, list-item]
            )
            whole = json.loads(raw.content)
        stream = await chat(sim, tools=[TOOL], stream=True, stream_options={"include_usage": True})
        chunks = [chunk.model_dump(mode="json", exclude_unset=True) async for chunk in stream]
    wire = [
        ("Response", whole),
        *[("Request", entry.body) for entry in sim.journal],
        *[("Chunk", chunk) for chunk in chunks],
    ]
    assert {contracts.openai_chat(name, value) for name, value in wire} == {""}
    if SPECS.is_dir():
        spec = published_chat()
        assert [error.message[:200] for name, value in wire for error in spec(name, value)] == []
    finishes = [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]]
    assert [finish for finish in finishes if finish] == [whole["choices"][0]["finish_reason"]]
    assert chunks[-1]["usage"]["total_tokens"] > 0


def published_chat() -> Callable[[str, Any], Iterator[ValidationError]]:
    """By the vendor's whole file."""
    spec = json.loads((SPECS / "openai" / "openapi.trimmed.json").read_text(encoding="utf-8"))
    chunk = spec["components"]["schemas"]["CreateChatCompletionStreamResponse"]["properties"]
    choice = chunk["choices"]["items"]
    for nullable in ("finish_reason", "logprobs"):  # the schema forbids the nulls that the vendor sends
        choice["properties"][nullable] = {"anyOf": [choice["properties"][nullable], {"type": "null"}]}
    chunk["usage"] = {}
    names = {
        "Request": "CreateChatCompletionRequest", "Response": "CreateChatCompletionResponse",
        "Chunk": "CreateChatCompletionStreamResponse",
    }  # fmt: skip

    def errors(name: str, value: Any) -> Iterator[ValidationError]:
        schema = {"$ref": f"#/components/schemas/{names[name]}", "components": spec["components"]}
        return Draft202012Validator(schema).iter_errors(value)

    return errors


@needs_specs
def test_the_distilled_schema_is_made_from_the_published_one() -> None:
    original = json.loads((SPECS / "anthropic" / "messages.schema.json").read_text(encoding="utf-8"))
    kept = json.loads(SPEC.read_text(encoding="utf-8"))
    assert kept == distilled(original)
    assert "MIT" in kept["licence"]


async def test_tokens_are_counted_and_models_listed() -> None:
    async with AnthropicSim() as one, OpenAISim() as two:
        async with anthropic_client(one) as client:
            few = await client.messages.count_tokens(model="claude-sonnet-4-6", messages=[USER])  # type: ignore[list-item]
            more = await client.messages.count_tokens(
                model="claude-sonnet-4-6",
                system="x" * 400,
                messages=[USER],  # type: ignore[list-item]
            )
        async with openai_client(two) as other:
            models = [model.id async for model in await _list(other)]
            assert (await other.models.retrieve("gpt-5.4")).id == "gpt-5.4"
            with pytest.raises(openai.NotFoundError):
                await other.models.retrieve("gpt-9")
    assert 90 < more.input_tokens - few.input_tokens < 110
    assert "gpt-5.4-mini" in models


async def _list(client: openai.AsyncOpenAI) -> Any:
    return await client.models.list()


async def test_texts_that_share_words_have_similar_embeddings() -> None:
    async with OpenAISim() as sim, openai_client(sim) as client:
        came = await client.embeddings.create(
            model="text-embedding-3-small", input=["the red fox", "a red fox", "quarterly tax report"]
        )
        short = await client.embeddings.create(
            model="text-embedding-3-small", input="x", dimensions=8, encoding_format="float"
        )
        with pytest.raises(openai.BadRequestError):
            await client.embeddings.create(model="text-embedding-3-small", input=[""])
        with pytest.raises(openai.NotFoundError):
            await client.embeddings.create(model="gpt-5.4", input="x")
    one, two, three = (item.embedding for item in came.data)
    near, far = (sum(a * b for a, b in zip(one, other, strict=True)) for other in (two, three))
    assert (len(one), len(short.data[0].embedding)) == (1536, 8)
    assert near > 0.5 > far


# ------------------------------------------------------------ the script


async def test_rules_come_before_the_queue_and_see_what_was_said() -> None:
    script = Script("queued")
    script.when(lambda turns: "weather" in turns[-1].text).answer(lambda asked: f"rain, says {asked.model}")
    async with OpenAISim(script) as sim:
        weather = await chat(sim, messages=[{"role": "user", "content": "the weather?"}])
        other = await chat(sim)
    assert weather.choices[0].message.content == "rain, says gpt-5.4"
    assert other.choices[0].message.content == "queued"
    assert [asked.last() for asked in script.asked] == ["the weather?", "hi"]


async def test_a_rule_may_end_after_some_times() -> None:
    script = Script(otherwise="else").when(lambda turns: True, times=1).answer("once")
    async with AnthropicSim(script) as sim:
        said = [(await write(sim)).content[0].text for _ in range(3)]
    assert said == ["once", "else", "else"]


async def test_a_question_that_nobody_expected_fails_the_test() -> None:
    sim = OpenAISim()
    await sim.start()
    with pytest.raises(openai.BadRequestError, match="the script has no answer"):
        await chat(sim)
    await sim.stop()
    with pytest.raises(AssertionError, match="questions without an answer in the script"):
        sim.check()


async def test_an_answer_that_nobody_asked_for_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="answers that nobody asked for"):
        async with OpenAISim(Script("never")):
            pass
    with pytest.raises(AssertionError, match="rule 1"):
        async with OpenAISim(Script().when(lambda turns: False).answer("never")):
            pass


async def test_a_fault_that_nobody_met_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="faults that nobody ran into"):
        async with AnthropicSim() as sim:
            sim.faults.add("messages", 1, status(500))


# ------------------------------------------------------------ by hand


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
async def test_started_by_hand_it_prints_its_address_and_talks(vendor: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"tests.sim.{vendor}", stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parent.parent,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines = [(await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)).decode().strip() for _ in range(2)]
        named = dict(line.split("=", 1) for line in lines)
        url, key = named[f"{vendor.upper()}_BASE_URL"], named[f"{vendor.upper()}_API_KEY"]
        if vendor == "openai":
            async with openai.AsyncOpenAI(api_key=key, base_url=url) as client:
                came = await client.chat.completions.create(model="gpt-5.4", messages=[USER])  # type: ignore[list-item]
            said = came.choices[0].message.content
        else:
            async with anthropic.AsyncAnthropic(api_key=key, base_url=url) as other:
                came_too = await other.messages.create(model="claude-sonnet-4-6", max_tokens=9, messages=[USER])  # type: ignore[list-item]
            said = getattr(came_too.content[0], "text", None)
    finally:
        process.send_signal(signal.SIGINT)
        ended = await asyncio.wait_for(process.wait(), PATIENCE_S)
    assert said == "You said: hi"
    assert ended == 0
    assert url.startswith("http://127.0.0.1:")
