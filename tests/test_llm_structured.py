"""Calls are checked against the whole schema of their tool; a wrong answer goes back once, in the vendors' own forms."""

from decimal import Decimal
from typing import Any

import pytest

from tests.llm_house import HELLO, WEATHER, opened, stand_in
from tests.sim.llm_script import Call, Calls
from worker.llm import Answer, BadCall, ToolCall, ToolSpec, Turn, Usage
from worker.llm.structured import PROBLEM_CHARS, PROBLEMS_MOST, Invalid, Parsed, parse_calls, repair_turns
from worker.proposal import PROPOSE


def answer(*calls: ToolCall, text: str = "", bad: tuple[BadCall, ...] = (), stop: Any = "tools", **_: Any) -> Answer:
    return Answer(text, calls, Usage(1, 1), "m", "openai", stop, Decimal(0), 1, "0" * 64, bad)


def call(args: dict[str, Any], name: str = "look_up_weather", call_id: str = "c1") -> ToolCall:
    return ToolCall(call_id, name, args)


def test_calls_that_fit_come_through_in_order() -> None:
    calls = (call({"place": "Oslo"}), call({"place": "Rome", "days": 3}, call_id="c2"))
    assert parse_calls(answer(*calls), [WEATHER]) == Parsed(calls)


def test_a_text_answer_has_no_calls_and_is_fine() -> None:
    assert parse_calls(answer(text="Hello.", stop="end"), [WEATHER]) == Parsed(())


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({}, "'place' is a required property"),
        ({"place": 3}, "place: 3 is not of type 'string'"),
        ({"place": "Oslo", "days": 0}, "days: 0 is less than the minimum of 1"),
        ({"place": "Oslo", "when": "now"}, "'when' was unexpected"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(args: dict[str, Any], says: str) -> None:
    came = parse_calls(answer(call(args)), [WEATHER])
    assert isinstance(came, Invalid)
    assert came.message.startswith("look_up_weather: ")
    assert says in came.message


def test_the_plans_schema_is_checked_down_to_its_steps() -> None:
    step = {"id": "find", "skill": "files.list", "args": {}, "needs": "all"}
    came = parse_calls(answer(call({"steps": [step]}, PROPOSE.name)), [PROPOSE])
    assert isinstance(came, Invalid)
    assert "steps.0.needs: 'all' is not of type 'array'" in came.message


def test_an_unknown_tool_is_told_what_there_is() -> None:
    came = parse_calls(answer(call({}, "delete_everything")), [WEATHER])
    assert came == Invalid("there is no tool 'delete_everything'; there is look_up_weather")


def test_an_unreadable_call_spoils_the_good_ones_beside_it() -> None:
    came = parse_calls(
        answer(call({"place": "Oslo"}), bad=(BadCall("c2", "look_up_weather", "{", "no JSON"),)), [WEATHER]
    )
    assert came == Invalid("look_up_weather: no JSON")


def test_a_cut_off_answer_is_never_taken_for_a_whole_one() -> None:
    came = parse_calls(answer(call({"place": "Oslo"}), stop="length"), [WEATHER])
    assert isinstance(came, Invalid)
    assert "cut off" in came.message


def test_what_is_wrong_is_said_within_bounds() -> None:
    many = {f"unknown_{i}": "x" * 500 for i in range(50)}
    tool = ToolSpec("t", "", {"type": "object", "additionalProperties": {"type": "integer"}})
    came = parse_calls(answer(call(many, "t")), [tool])
    assert isinstance(came, Invalid)
    assert len(came.message) <= PROBLEMS_MOST * (PROBLEM_CHARS + 2)


def test_a_wrong_call_goes_back_as_its_own_result() -> None:
    wrong = answer(call({}), call({}, call_id="c2"), text="Let me look.")
    turns = repair_turns(HELLO, wrong, "'place' is missing")
    assert turns[:2] == HELLO
    assert turns[2] == Turn("assistant", "Let me look.", wrong.calls)
    assert [(turn.role, turn.call_id) for turn in turns[3:]] == [("tool", "c1"), ("tool", "c2")]
    assert all("'place' is missing" in turn.text for turn in turns[3:])


def test_a_call_that_no_vendor_takes_back_is_quoted() -> None:
    for wrong in (
        answer(bad=(BadCall("c1", "look_up_weather", '{"pl', "no JSON"),)),
        answer(call({"place": "x"}, "files.delete")),
    ):
        turns = repair_turns(HELLO, wrong, "that is not how it goes")
        assert [turn.role for turn in turns[2:]] == ["assistant", "user"]
        assert turns[2].calls == ()
        assert "that is not how it goes" in turns[3].text


def test_an_empty_answer_goes_back_as_a_question_alone() -> None:
    turns = repair_turns(HELLO, answer(stop="end"), "The answer was empty.")
    assert [turn.role for turn in turns] == ["system", "user", "user"]


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
@pytest.mark.parametrize(
    "wrong",
    [
        Call("look_up_weather", {"days": 1}),
        Call("look_up_weather", '{"place": "Os'),
        Call("forecast", {"place": "Oslo"}),
    ],
    ids=["schema", "json", "tool"],
)
async def test_the_vendor_takes_the_repair_and_the_second_answer_counts(vendor: str, wrong: Call) -> None:
    good = Call("look_up_weather", {"place": "Oslo"})
    async with stand_in(vendor, Calls(wrong, text="Looking."), Calls(good)) as sim, opened(sim) as house:
        first = await house.ask(tools=(WEATHER,), on_delta=lambda _: None)
        came = parse_calls(first, [WEATHER])
        assert isinstance(came, Invalid)
        second = await house.ask(repair_turns(HELLO, first, came.message), (WEATHER,))
    parsed = parse_calls(second, [WEATHER])
    assert isinstance(parsed, Parsed)
    assert [c.args for c in parsed.calls] == [{"place": "Oslo"}]
    last = sim.script.asked[1].turns[-1]
    assert "could not be used" in last.text
