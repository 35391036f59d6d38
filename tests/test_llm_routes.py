"""Which provider is asked, and what happens when it does not answer: fallbacks, rests, deadlines, records."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from core.organisation import ModelsPart
from core.settings import Settings
from tests.llm_house import HELLO, ROUTES, WEATHER, Opened, environment, opened, stand_in
from tests.patience import PATIENCE_S
from tests.sim.faults import DONE_BUT_ANSWER_LOST, DROP_BEFORE, Kind, delay, status
from tests.sim.llm_script import Say, Script
from tests.sim.llm_server import KEY, ModelServer
from tests.sim.openai import OpenAISim
from worker.llm import BadRoute, Models, ModelUnavailable, ToolCall, Turn, Usage
from worker.llm.circuit import FAILURES_MOST, REST_FIRST_S, REST_MOST_S, Circuit
from worker.llm.prices import price_of
from worker.llm.routes import Endpoint, Route, choose
from worker.llm.trouble import retry_after_s

METHODS = {"openai": "chat.completions", "anthropic": "messages"}


@asynccontextmanager
async def pair(first: str = "openai") -> AsyncIterator[tuple[ModelServer, ModelServer, Opened]]:
    """Two vendors on one route, in this order; their scripts may stay unmet."""
    second = "anthropic" if first == "openai" else "openai"
    one, two = stand_in(first), stand_in(second)
    async with one, two, opened(one, two) as house:
        yield one, two, house


@pytest.mark.parametrize("first", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("fault", "trouble"),
    [
        (status(500), "server_error"),
        (status(503), "overloaded"),
        (status(529), "overloaded"),
        (status(429, retry_after_s=60), "rate_limited"),
        (status(401), "no_access"),
        (status(404), "no_such_model"),
        (status(400), "bad_request"),
        (DROP_BEFORE, "unreachable"),
        (DONE_BUT_ANSWER_LOST, "unreachable"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.name}-{value.code}",
)
async def test_the_next_route_answers_when_the_first_does_not(first: str, fault: Kind, trouble: str) -> None:
    async with pair(first) as (one, two, house):
        one.faults.add(METHODS[first], 1, fault)
        one.script.push(*(["lost"] if fault == DONE_BUT_ANSWER_LOST else []))
        two.script.push("from the second")
        answer = await house.ask()
    assert (answer.text, answer.provider) == ("from the second", two.vendor)
    assert house.outcomes() == [(first, "failed", trouble), (two.vendor, "answered", "")]
    assert house.records[0].usage == Usage()
    assert house.records[0].usd is None
    assert house.clock.slept == []


async def test_a_server_error_is_tried_once_more_after_a_pause() -> None:
    async with stand_in("openai", "at last") as sim, opened(sim) as house:
        sim.faults.add("chat.completions", 1, status(500))
        answer = await house.ask()
    assert answer.text == "at last"
    assert house.clock.slept == [0.5]


async def test_a_rate_limit_is_waited_for_as_long_as_the_vendor_says() -> None:
    async with stand_in("anthropic", "at last") as sim, opened(sim) as house:
        sim.faults.add("messages", 1, status(429, retry_after_s=3))
        answer = await house.ask()
    assert answer.text == "at last"
    assert house.clock.slept == [3.0]


async def test_a_long_rate_limit_is_handed_to_the_caller_and_kept_to() -> None:
    async with stand_in("openai", "later") as sim, opened(sim) as house:
        sim.faults.add("chat.completions", 1, status(429, retry_after_s=90))
        with pytest.raises(ModelUnavailable) as caught:
            await house.ask()
        assert caught.value.retry_after_s == 90.0
        house.clock.at += 30
        with pytest.raises(ModelUnavailable) as again:
            await house.ask()
        assert again.value.retry_after_s == 60.0
        assert [tried.why for tried in again.value.tried] == ["resting"]
        house.clock.at += 61
        assert (await house.ask()).text == "later"
    assert len(sim.journal.of("openai")) == 2


async def test_a_rate_limit_holds_one_model_and_not_its_neighbour() -> None:
    plan = ["openai/gpt-5.4", "openai/gpt-5.4-mini"]
    async with stand_in("openai", "mini", "mini again") as sim, opened(sim, plan=plan) as house:
        sim.faults.add("chat.completions", 1, status(429, retry_after_s=90))
        assert (await house.ask()).text == "mini"
        assert (await house.ask()).text == "mini again"
    assert [record.model for record in house.records] == ["gpt-5.4", "gpt-5.4-mini", "gpt-5.4-mini"]


@pytest.mark.parametrize("fault", [status(400), status(401), status(402), status(404)], ids=lambda kind: str(kind.code))
async def test_what_does_not_pass_by_itself_is_not_tried_again(fault: Kind) -> None:
    async with stand_in("openai") as sim, opened(sim) as house:
        sim.faults.add("chat.completions", 1, fault)
        with pytest.raises(ModelUnavailable) as caught:
            await house.ask()
    assert caught.value.retry_after_s is None
    assert [tried.route for tried in caught.value.tried] == ["openai/gpt-5.4"]
    assert house.clock.slept == []


async def test_when_nobody_answers_the_error_names_every_route_and_why() -> None:
    async with pair() as (one, two, house):
        one.faults.add("*", 2, status(500))
        two.faults.add("*", 2, status(529))
        with pytest.raises(ModelUnavailable) as caught:
            await house.ask()
    assert caught.value.reason == (
        "openai/gpt-5.4: server_error (server_error); anthropic/claude-sonnet-4-6: overloaded (overloaded_error)"
    )
    assert len(caught.value.tried) == 4
    assert caught.value.retry_after_s == 15.0


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_route_that_hangs_leaves_time_for_the_next(streamed: bool) -> None:
    async with pair() as (one, two, house):
        one.script.push(Say("too late", pause_s=30.0))
        two.script.push("in time")
        answer = await house.ask(deadline_s=4.0, on_delta=(lambda _: None) if streamed else None)
    assert answer.text == "in time"
    assert house.outcomes()[0] == ("openai", "failed", "timed_out")


async def test_a_server_that_drips_does_not_outlast_the_deadline() -> None:
    from aiohttp import web

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(b": still here\n\n")
            await asyncio.sleep(0.02)

    sim = stand_in("openai")
    sim.converse = lambda request, method: drip(request)  # type: ignore[method-assign, assignment]
    async with sim, opened(sim) as house:
        with pytest.raises(ModelUnavailable, match="timed_out"):
            await asyncio.wait_for(house.ask(deadline_s=0.4, on_delta=lambda _: None), PATIENCE_S)


async def test_a_slow_answer_within_the_deadline_is_taken() -> None:
    async with stand_in("openai", "slow but here") as sim, opened(sim) as house:
        sim.faults.add("chat.completions", 1, delay(0.1))
        assert (await house.ask()).text == "slow but here"


async def test_nothing_listening_is_an_outage_and_not_a_crash() -> None:
    async with stand_in("openai") as gone:
        pass
    async with opened(gone) as house:
        with pytest.raises(ModelUnavailable, match="unreachable"):
            await house.ask()


async def test_a_cancelled_question_is_recorded_and_stays_cancelled() -> None:
    async with stand_in("openai", Say("never heard", pause_s=30.0)) as sim, opened(sim) as house:
        asking = asyncio.create_task(house.ask())
        await sim.journal.wait_for(lambda entry: entry.method == "chat.completions")
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert house.outcomes() == [("openai", "cancelled", "")]


async def test_an_answer_survives_a_record_that_fails() -> None:
    async def broken(_: object) -> None:
        raise ConnectionError("the database is away")

    async with stand_in("openai", "paid for") as sim:
        models = Models.open(environment(sim), ModelsPart(), record=broken)
        answer = await models.ask("act", HELLO, max_output_tokens=10, deadline_s=5)
        await models.aclose()
    assert answer.text == "paid for"


async def test_a_listener_that_fails_does_not_spoil_the_answer() -> None:
    def broken(_: str | None) -> None:
        raise RuntimeError("the chat is away")

    async with stand_in("anthropic", "whole all the same") as sim, opened(sim) as house:
        assert (await house.ask(on_delta=broken)).text == "whole all the same"
    assert house.outcomes() == [("anthropic", "answered", "")]


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
async def test_half_characters_do_not_reach_the_wire(vendor: str) -> None:
    call = ToolCall("c1", "look_up_weather", {"place": "Os\ud800lo"})
    turns = [Turn("user", "a\udfffb"), Turn("assistant", "", (call,)), Turn("tool", "rain", call_id="c1")]
    async with stand_in(vendor, "ok") as sim, opened(sim) as house:
        assert (await house.ask(turns, (WEATHER,))).text == "ok"
    assert sim.script.asked[0].last() == "a?b"


async def test_what_an_sdk_raises_beyond_its_own_errors_is_an_outage() -> None:
    async with stand_in("openai") as sim, opened(sim) as house:
        await house.models.aclose()
        with pytest.raises(ModelUnavailable, match=r"^openai/gpt-5\.4: (bad_answer|unreachable)$"):
            await house.ask()
    assert {record.outcome for record in house.records} == {"failed"}


# ------------------------------------------------------------ the circuit


async def test_a_provider_that_keeps_failing_is_left_alone_then_looked_at_once() -> None:
    async with pair() as (one, two, house):
        one.faults.add("*", FAILURES_MOST, status(500))
        two.script.push(*["second"] * (FAILURES_MOST + 1))
        for _ in range(FAILURES_MOST + 1):
            assert (await house.ask()).text == "second"
        assert len(one.journal) == FAILURES_MOST, "the circuit is open"
        house.clock.at += REST_FIRST_S + 1
        held = asyncio.Event()
        one.script.push(Say("first again", held=held))
        two.script.push("meanwhile")
        looking = asyncio.create_task(house.ask(on_delta=lambda _: None))
        await one.journal.wait_for(lambda entry: entry.status == 200)
        assert (await house.ask()).text == "meanwhile", "only one may look"
        held.set()
        assert (await looking).text == "first again"
        one.script.push("and closed")
        assert (await house.ask()).text == "and closed"


async def test_a_look_that_was_cancelled_does_not_keep_the_circuit_open() -> None:
    async with stand_in("openai") as sim, opened(sim) as house:
        sim.faults.add("*", FAILURES_MOST, status(500))
        for _ in range(FAILURES_MOST // 2):
            with pytest.raises(ModelUnavailable):
                await house.ask()
        house.clock.at += REST_FIRST_S + 1
        sim.script.push(Say("never heard", pause_s=30.0), "back")
        looking = asyncio.create_task(house.ask())
        await sim.journal.wait_for(lambda entry: entry.status == 200)
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
        assert (await house.ask()).text == "back"


def test_a_circuit_rests_longer_each_time_up_to_the_most() -> None:
    circuit = Circuit()
    for _ in range(FAILURES_MOST - 1):
        circuit = circuit.failed(now=100.0)
        assert circuit.rest_s(100.0) == 0
    rests = []
    for _ in range(20):
        circuit = circuit.failed(now=100.0)
        rests.append(circuit.rest_s(100.0))
    assert rests[:3] == [REST_FIRST_S, REST_FIRST_S * 2, REST_FIRST_S * 4]
    assert rests[-1] == REST_MOST_S
    assert circuit.rest_s(100.0 + REST_MOST_S) == 0
    assert circuit.begun(400.0, timeout_s=20.0).rest_s(401.0) == 19.0
    assert circuit.answered() == Circuit()


async def test_wrong_questions_do_not_open_the_circuit() -> None:
    async with stand_in("openai", "fine") as sim, opened(sim) as house:
        sim.faults.add("*", FAILURES_MOST * 2, status(400))
        for _ in range(FAILURES_MOST * 2):
            with pytest.raises(ModelUnavailable, match="bad_request"):
                await house.ask()
        assert (await house.ask()).text == "fine"


# ------------------------------------------------------------ which routes there are


async def never(_: object) -> None:
    raise AssertionError("nothing was asked")


async def test_without_a_key_nothing_is_available_and_nothing_breaks() -> None:
    models = Models.open(Settings(), ModelsPart(), record=never)
    assert [models.available(purpose) for purpose in ("plan", "act", "reflect", "nonsense")] == [False] * 4
    with pytest.raises(ModelUnavailable, match="no language model is configured for 'plan'") as caught:
        await models.ask("plan", HELLO, max_output_tokens=10, deadline_s=5)
    assert (caught.value.retry_after_s, caught.value.tried) == (None, [])
    await models.aclose()


def routes(settings: dict[str, Any], part: dict[str, Any]) -> dict[str, list[str]]:
    chosen = choose(Settings.model_validate(settings), ModelsPart.model_validate(part))
    return {purpose: [str(route) for route in given] for purpose, given in chosen.routes.items()}


def test_default_routes_follow_the_keys_that_are_there() -> None:
    both = {"openai_api_key": "k" * 20, "anthropic_api_key": "k" * 20}
    assert routes(both, {})["plan"] == ["anthropic/claude-sonnet-4-6", "openai/gpt-5.4"]
    assert routes(both, {})["act"] == ["openai/gpt-5.4-mini", "anthropic/claude-haiku-4-5"]
    assert routes({"openai_api_key": "k" * 20}, {})["plan"] == ["openai/gpt-5.4"]
    assert routes({"anthropic_api_key": "k" * 20}, {})["act"] == ["anthropic/claude-haiku-4-5"]


def test_routes_of_the_file_win_and_lose_what_has_no_key() -> None:
    part = {"routes": {"plan": ["anthropic/claude-sonnet-5-5", "openai/gpt-5.4-nano"]}}
    found = routes({"openai_api_key": "k" * 20}, part)
    assert found["plan"] == ["openai/gpt-5.4-nano"]
    assert found["act"] == ["openai/gpt-5.4-mini"]


def test_the_example_file_gives_routes() -> None:
    from pathlib import Path

    from core import organisation

    known = organisation.load(Path(__file__).parent.parent / "sayso.example.yaml")
    chosen = choose(Settings.model_validate({"openai_api_key": "k" * 20}), known.models)
    assert chosen.routes["plan"] == (Route("openai", "gpt-5.4"),)
    assert set(chosen.endpoints) == {"openai", "local"}
    assert chosen.endpoints["local"].key is None


def test_an_address_of_the_file_never_gets_the_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_TOKEN", "gateway-token-0123456789")
    part = {
        "providers": {
            "elsewhere": {"kind": "openai", "base_url": "http://127.0.0.1:9/v1"},
            "gateway": {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "key": "GATEWAY_TOKEN"},
            "keyless": {"kind": "anthropic", "base_url": "http://127.0.0.1:9", "key": "NOT_SET_ANYWHERE"},
            "alias": {"kind": "openai"},
        }
    }
    found = choose(Settings.model_validate({"openai_api_key": "k" * 20}), ModelsPart.model_validate(part)).endpoints
    assert {name: endpoint.key for name, endpoint in found.items()} == {
        "elsewhere": None,
        "gateway": "gateway-token-0123456789",
        "alias": "k" * 20,
        "openai": "k" * 20,
    }
    assert "gateway-token" not in repr(found)


@pytest.mark.parametrize(
    ("route", "says"),
    [
        ("nowhere/model-1", "'nowhere' under models.providers"),
        ("gpt-5.4", "write it like openai/gpt-5.4"),
        ("openai/", "is no route"),
    ],
)
def test_a_route_that_leads_nowhere_is_refused_with_the_fix(route: str, says: str) -> None:
    with pytest.raises(BadRoute, match=r"models\.routes\.plan") as caught:
        routes({"openai_api_key": "k" * 20}, {"routes": {"plan": [route]}})
    assert says in str(caught.value)


async def test_a_local_endpoint_of_the_file_is_asked_without_a_key_and_has_no_price() -> None:
    async with OpenAISim(Script("hello"), key="none") as sim:
        part = ModelsPart.model_validate(
            {
                "providers": {"local": {"kind": "openai", "base_url": sim.base_url, "key": "none"}},
                "routes": {"plan": ["local/gpt-5.4"]},
            }
        )
        models = Models.open(Settings(), part, record=_ignore)
        answer = await models.ask("plan", HELLO, max_output_tokens=10, deadline_s=5)
        await models.aclose()
    assert (answer.text, answer.provider, answer.usd) == ("hello", "local", None)


async def _ignore(_: object) -> None:
    return None


# ------------------------------------------------------------ prices and waiting times


def test_a_price_is_known_or_unknown_and_never_free() -> None:
    usage = Usage(1_000_000, 0, 0)
    openai = Endpoint("openai", "openai", None, False, "k")
    assert price_of(openai, ("gpt-5.4-2026-03-17", "gpt-5.4"), usage) == price_of(openai, ("gpt-5.4",), usage)
    known = price_of(openai, ("gpt-5.4",), usage)
    assert known is not None
    assert known > Decimal("0.1")
    cached = price_of(openai, ("gpt-5.4",), Usage(1_000_000, 0, 1_000_000))
    assert cached is not None
    assert cached < known
    assert price_of(openai, ("my-own-model",), usage) is None
    assert price_of(Endpoint("local", "openai", "http://127.0.0.1:11434/v1", True, None), ("gpt-5.4",), usage) is None


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "60"}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "1e99"}, 3600.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:16:50 GMT"}, 10.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
    ],
)
def test_retry_after_is_read_in_every_form_and_bounded(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers, unix_now=lambda: 1000.0) == wait_s


# ------------------------------------------------------------ secrets and content


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
@pytest.mark.parametrize(
    "fault", [None, status(400), status(500), DROP_BEFORE], ids=["wrong key", "400", "500", "drop"]
)
async def test_no_secret_and_no_word_of_the_prompt_is_in_errors_records_or_logs(
    vendor: str, fault: Kind | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    word = "".join(["Ini", "tech"])  # a traceback shows this line too
    sim = stand_in(vendor)
    async with sim, opened(sim) as house:
        if fault is None:
            sim.key = "sk-another-key-altogether-000000000"
        else:
            sim.faults.add("*", 2 if fault.code != 400 or fault.name != "status" else 1, fault)
        with pytest.raises(ModelUnavailable) as caught:
            await house.ask([Turn("user", f"the merger with {word} is on friday")])
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value.tried) + repr(house.records)
    told += caplog.text + repr(house.models.__dict__)
    assert KEY not in told
    assert KEY[:12] not in told
    assert word not in told
    assert caught.value.__cause__ is None
    assert house.records


async def test_secrets_that_we_hold_do_not_reach_the_model() -> None:
    secret = "xoxb-000000000000-canary"
    call = ToolCall("call_1", "look_up_weather", {"place": f"at {secret}", "days": 1})
    turns = [
        Turn("user", f"my token is {secret}"),
        Turn("assistant", "", (call,)),
        Turn("tool", secret, call_id="call_1"),
    ]
    async with (
        stand_in("openai", "ok") as sim,
        opened(sim, slack_bot_token=secret, smtp_url="smtp://a:rain@host") as house,
    ):
        await house.ask([*turns, Turn("user", "will it rain?")], (WEATHER,))
    [asked] = sim.script.asked
    assert "canary" not in str(asked.body)
    assert asked.last() == "will it rain?", "a short password is an ordinary word"


async def test_the_same_question_has_the_same_hash_on_every_route() -> None:
    async with pair() as (one, two, house):
        one.script.push("a", "b")
        first = await house.ask()
        changed = await house.ask([Turn("user", "Hello!")])
        one.faults.add("*", 1, status(400))
        two.script.push("c")
        second = await house.ask()
    assert first.prompt_sha256 == second.prompt_sha256 != changed.prompt_sha256
    assert second.provider == "anthropic"
    assert list(ROUTES) == ["openai", "anthropic"]
