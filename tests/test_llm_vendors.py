"""Both vendors by their own SDKs: what is asked reaches them in their words, and their answers come back in ours."""

import json
from decimal import Decimal

import pytest

from tests.llm_house import HELLO, WEATHER, opened, stand_in
from tests.sim.llm_script import Call, Calls, CutOff, Refuse, Reply, Said, Say
from worker.llm import BadCall, ModelRefused, ModelUnavailable, ToolCall, Turn, Usage

VENDORS = ["openai", "anthropic"]
STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
pytestmark = pytest.mark.parametrize("vendor", VENDORS)


def listener(streamed: bool) -> dict[str, object]:
    return {"on_delta": [].append} if streamed else {}


@STREAMED
async def test_an_answer_comes_with_its_account(vendor: str, streamed: bool) -> None:
    async with stand_in(vendor, Say("Good morning to you.", cached_tokens=4)) as sim, opened(sim) as house:
        answer = await house.ask(task=7, n=2, **listener(streamed))
    assert (answer.text, answer.calls, answer.stop, answer.provider) == ("Good morning to you.", (), "end", vendor)
    assert answer.usage.input_tokens > answer.usage.cached_tokens == 4
    assert answer.usage.output_tokens == 6
    assert answer.usd is not None
    assert Decimal(0) < answer.usd < Decimal("0.01")
    [record] = house.records
    assert (record.outcome, record.error_class, record.usage) == ("answered", "", answer.usage)
    assert (record.task, record.n, record.purpose) == (7, 2, "plan")
    assert record.usd == answer.usd
    assert record.prompt_sha256 == answer.prompt_sha256
    assert len(answer.prompt_sha256) == 64


async def test_what_is_asked_reaches_the_vendor(vendor: str) -> None:
    async with stand_in(vendor, "ok") as sim, opened(sim) as house:
        await house.ask(tools=(WEATHER,), max_output_tokens=321)
    [asked] = sim.script.asked
    assert asked.turns == (Said("system", "You are brief."), Said("user", "Hello"))
    assert asked.tools == ("look_up_weather",)
    limit = "max_completion_tokens" if vendor == "openai" else "max_tokens"
    assert asked.body[limit] == 321
    schema = asked.body["tools"][0]
    assert (schema["function"]["parameters"] if vendor == "openai" else schema["input_schema"]) == WEATHER.schema


@STREAMED
async def test_a_tool_call_comes_back_with_its_arguments(vendor: str, streamed: bool) -> None:
    call = Call("look_up_weather", {"place": "Zürich „Höngg“", "days": 2}, id="call_1")
    second = Call("look_up_weather", {"place": "Oslo"}, id="call_2")
    async with stand_in(vendor, Calls(call, second, text="Let me look.")) as sim, opened(sim) as house:
        answer = await house.ask(tools=(WEATHER,), **listener(streamed))
    assert answer.calls == (
        ToolCall("call_1", "look_up_weather", {"place": "Zürich „Höngg“", "days": 2}),
        ToolCall("call_2", "look_up_weather", {"place": "Oslo"}),
    )
    assert (answer.stop, answer.text, answer.bad) == ("tools", "Let me look.", ())


async def test_text_is_told_while_it_is_written(vendor: str) -> None:
    heard: list[str] = []
    text = "One sentence after another, told as it is written."
    async with stand_in(vendor, Say(text)) as sim, opened(sim) as house:
        answer = await house.ask(on_delta=heard.append)
    assert "".join(heard) == answer.text == text
    assert len(heard) > 2
    assert sim.script.asked[0].is_streamed


async def test_results_of_calls_go_back_beside_what_was_called(vendor: str) -> None:
    oslo = ToolCall("call_1", "look_up_weather", {"place": "Oslo"})
    rome = ToolCall("call_2", "look_up_weather", {"place": "Rome"})
    turns = [
        *HELLO,
        Turn("assistant", "", (oslo, rome)),
        Turn("tool", "rain", call_id="call_1"),
        Turn("tool", "sun", call_id="call_2"),
        Turn("user", "And which is warmer?"),
    ]
    async with stand_in(vendor, "Rome.") as sim, opened(sim) as house:
        answer = await house.ask(turns, (WEATHER,))
    assert answer.text == "Rome."
    heard = sim.script.asked[0].turns
    assert [turn.role for turn in heard] == ["system", "user", "assistant", "tool", "tool", "user"]
    assert [(turn.text, turn.call_id) for turn in heard[3:5]] == [("rain", "call_1"), ("sun", "call_2")]
    assert [name for name, _ in heard[2].calls] == ["look_up_weather"] * 2


async def test_turns_of_one_side_after_another_are_all_heard(vendor: str) -> None:
    async with stand_in(vendor, "ok") as sim, opened(sim) as house:
        await house.ask([*HELLO, Turn("user", "The results so far: none")])
    text = "\n\n".join(turn.text for turn in sim.script.asked[0].turns if turn.role == "user")
    assert text == "Hello\n\nThe results so far: none"


@STREAMED
@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ('{"place": "Os', "no JSON"),
        ("[1, 2]", "not a list"),
        ("null", "not null"),
        ('"Oslo"', "not text"),
        ("[" * 3_000, "no JSON"),
    ],
    ids=["cut", "list", "null", "text", "deep"],
)
async def test_unreadable_arguments_are_told_apart_and_never_called(
    vendor: str, streamed: bool, raw: str, why: str
) -> None:
    async with stand_in(vendor, Calls(Call("look_up_weather", raw, id="call_9"))) as sim, opened(sim) as house:
        answer = await house.ask(tools=(WEATHER,), **listener(streamed))
    assert answer.calls == ()
    [bad] = answer.bad
    assert isinstance(bad, BadCall)
    assert (bad.id, bad.name) == ("call_9", "look_up_weather")
    if vendor == "openai" or streamed:
        assert why in bad.error
    else:  # what is no JSON reaches us as text where the vendor sends objects
        assert "JSON" in bad.error
    assert len(bad.raw) <= 2_000


@STREAMED
@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ('{"place": "Os\\u0000lo"}', "a character that is none"),
        ('{"place": {"deep": ["\\ud83d"]}}', "a character that is none"),
        ('{"days": NaN}', "a number that JSON does not have"),
        ('{"days": -Infinity}', "a number that JSON does not have"),
    ],
)
async def test_arguments_that_no_database_can_hold_are_bad(vendor: str, streamed: bool, raw: str, why: str) -> None:
    async with stand_in(vendor, Calls(Call("look_up_weather", raw))) as sim, opened(sim) as house:
        answer = await house.ask(tools=(WEATHER,), **listener(streamed))
    assert answer.calls == ()
    assert why in answer.bad[0].error
    assert "\0" not in answer.bad[0].raw


@STREAMED
async def test_characters_that_are_none_are_left_out_of_a_text(vendor: str, streamed: bool) -> None:
    async with stand_in(vendor, Say("a\0b\\u0000 😀 c")) as sim, opened(sim) as house:
        answer = await house.ask(**listener(streamed))
    assert answer.text == "ab\\u0000 😀 c"


@STREAMED
async def test_a_call_without_arguments_is_a_call(vendor: str, streamed: bool) -> None:
    async with stand_in(vendor, Calls(Call("noop", ""))) as sim, opened(sim) as house:
        answer = await house.ask(tools=(WEATHER,), **listener(streamed))
    assert [(call.name, call.args) for call in answer.calls] == [("noop", {})]


@STREAMED
async def test_an_answer_that_was_cut_off_says_so(vendor: str, streamed: bool) -> None:
    async with stand_in(vendor, CutOff("and then the")) as sim, opened(sim) as house:
        answer = await house.ask(**listener(streamed))
    assert (answer.stop, answer.text) == ("length", "and then the")


@STREAMED
async def test_a_refusal_is_not_gone_round(vendor: str, streamed: bool) -> None:
    other = stand_in("anthropic" if vendor == "openai" else "openai")
    async with stand_in(vendor, Refuse("Not this.")) as sim, other, opened(sim, other) as house:
        with pytest.raises(ModelRefused, match="Not this"):
            await house.ask(**listener(streamed))
    assert other.script.asked == []
    assert house.outcomes() == [(vendor, "refused", "")]


@pytest.mark.parametrize(
    "broken",
    [Reply("A long sentence that breaks", breaks_after=3), Reply("It fails", fails_after=2)],
    ids=["cut", "error"],
)
async def test_a_stream_that_breaks_is_no_answer(vendor: str, broken: Reply) -> None:
    async with stand_in(vendor, broken, Say("All of it.")) as sim, opened(sim) as house:
        answer = await house.ask(on_delta=lambda _: None)
    assert answer.text == "All of it."
    assert house.outcomes()[0][1] == "failed"
    assert house.outcomes()[0][2] in ("unreachable", "overloaded", "server_error", "bad_answer")
    assert house.outcomes()[1] == (vendor, "answered", "")


async def test_a_page_in_place_of_an_answer_is_no_answer(vendor: str) -> None:
    from aiohttp import web

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<h1>Sign in to the network</h1>", content_type="text/html")

    sim = stand_in(vendor)
    sim.converse = lambda request, method: page(request)  # type: ignore[method-assign, assignment]
    async with sim, opened(sim) as house:
        with pytest.raises(ModelUnavailable, match="bad_answer"):
            await house.ask()


@pytest.mark.parametrize(
    "body", ["{}", '{"choices": [], "content": null}', "[1]", '{"choices": [{}], "content": [{}]}', "{nonsense"]
)
async def test_a_malformed_answer_is_no_answer(vendor: str, body: str) -> None:
    from aiohttp import web

    async def malformed(_: web.Request) -> web.Response:
        return web.Response(text=body, content_type="application/json")

    sim = stand_in(vendor)
    sim.converse = lambda request, method: malformed(request)  # type: ignore[method-assign, assignment]
    async with sim, opened(sim) as house:
        with pytest.raises(ModelUnavailable) as caught:
            await house.ask()
    assert {tried.why.split(" ")[0] for tried in caught.value.tried} <= {"bad_answer"}


async def test_every_answer_counts_tokens_even_when_the_server_does_not(vendor: str) -> None:
    sim = stand_in(vendor, "ok")
    whole = sim.whole
    sim.whole = lambda *args: json.loads(json.dumps({**whole(*args), "usage": None}))  # type: ignore[method-assign]
    async with sim, opened(sim) as house:
        answer = await house.ask()
    assert (answer.text, answer.usage) == ("ok", Usage(0, 0, 0))
