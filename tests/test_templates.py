"""References to earlier results: typed, never expanded twice, and as trusted as what they bring."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.models import ArgumentOrigin, Origin
from core.templates import (
    DEPTH_MOST,
    RESOLVED_CHARS_MOST,
    BadReference,
    least_trusted,
    references,
    resolve,
    rewrite,
    steps_named,
)

PAGE = ArgumentOrigin(origin=Origin.UNTRUSTED, step=2, note="http.get")
LIST = ArgumentOrigin(origin=Origin.TRUSTED, step=1, note="files.list")
CONFIG = ArgumentOrigin(origin=Origin.CONFIG)
RESULTS: dict[int, dict[str, Any]] = {
    1: {"paths": ["a.log", "b.log"], "count": 2, "ok": True, "none": None, "one": {"two": [{"x": 1.5}]}},
    2: {"text": "see {{ 1.paths }} and {{ 9.gone }}"},
}


def resolved(value: Any) -> Any:
    return resolve({"x": value}, RESULTS, {}, {1: LIST, 2: PAGE})[0]["x"]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("{{ 1.paths }}", {("1", ("paths",))}),
        ("{{1.paths}} and {{ find.a.0.b-c }}", {("1", ("paths",)), ("find", ("a", "0", "b-c"))}),
        (["{{ 2 }}", {"k": "{{ inputs.x }}"}], {("2", ()), ("inputs", ("x",))}),
        ("{ { 1.x } } {{ }} {{ 1. }} {{ 1..x }} {{ -1.x }} {{ 1.x | y }}", set()),
        ("{{ ١.paths }} {{ 1.p² }}", set()),
        (7, set()),
    ],
)
def test_references_are_found_wherever_they_stand(value: Any, found: set[Any]) -> None:
    assert set(references(value)) == found


def test_the_steps_named_are_numbers() -> None:
    assert steps_named({"a": "{{ 3.x }}", "b": ["{{ 1.y }}", "{{ find.z }}"]}) == {1, 3}


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        ("{{ 1.paths }}", ["a.log", "b.log"]),
        ("  {{ 1.count }} ", 2),
        ("{{ 1.ok }}", True),
        ("{{ 1.none }}", None),
        ("{{ 1.paths.1 }}", "b.log"),
        ("{{ 1.one.two.0.x }}", 1.5),
        ("{{ 1 }}", RESULTS[1]),
    ],
)
def test_a_value_that_is_one_reference_takes_the_results_type(value: str, becomes: Any) -> None:
    assert resolved(value) == becomes
    assert type(resolved(value)) is type(becomes)


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        ("found {{ 1.count }}: {{ 1.paths }}", 'found 2: ["a.log", "b.log"]'),
        ("{{ 1.paths.0 }}{{ 1.paths.1 }}", "a.logb.log"),
        ("{{ 1.ok }} {{ 1.none }}", "true null"),
        (["{{ 1.count }}", {"k": "n={{ 1.count }}"}, 3], [2, {"k": "n=2"}, 3]),
    ],
)
def test_a_reference_inside_text_becomes_text(value: Any, becomes: Any) -> None:
    assert resolved(value) == becomes


def test_what_a_result_contains_is_never_expanded_again() -> None:
    assert resolved("{{ 2.text }}") == "see {{ 1.paths }} and {{ 9.gone }}"
    assert resolved("it says: {{ 2.text }}") == "it says: see {{ 1.paths }} and {{ 9.gone }}"


@given(st.text())
def test_a_result_comes_through_exactly(text: str) -> None:
    assert resolve({"x": "{{ 1.t }}", "y": "<{{ 1.t }}>"}, {1: {"t": text}}, {}, {1: LIST})[0] == {
        "x": text,
        "y": f"<{text}>",
    }


@given(st.text(st.sampled_from("{} 1.ab")))
def test_any_text_is_resolved_or_refused(text: str) -> None:
    numbers = {name for name, _ in references(text)}
    if numbers <= {"1"} and all(path in ((), ("paths",)) for _, path in references(text)):
        assert resolved(text) is not None
    else:
        with pytest.raises(BadReference, match="step"):
            resolved(text)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("{{ 3.x }}", "no result of step '3'"),
        ("{{ find.x }}", "no result of step 'find'"),
        ("{{ 1.path }}", "step 1 has no 'path'; it has paths, count, ok, none, one"),
        ("{{ 1.paths.2 }}", "no 'paths.2'"),
        ("{{ 1.paths.x }}", "no 'paths.x'"),
        ("{{ 1.count.x }}", "no 'count.x'"),
    ],
)
def test_a_missing_field_is_named(value: str, says: str) -> None:
    with pytest.raises(BadReference, match=says):
        resolved(value)


def test_nesting_and_length_have_limits() -> None:
    value: Any = "x"
    for _ in range(DEPTH_MOST):
        value = [value]
    assert resolved(value) == value
    with pytest.raises(BadReference, match="nested"):
        resolved([value])
    with pytest.raises(BadReference, match="longer than"):
        resolve({"x": "{{ 1.t }}" * 3}, {1: {"t": "x" * (RESOLVED_CHARS_MOST // 2)}}, {}, {})


# ---------------------------------------------------------------- origins


def test_an_argument_is_as_trusted_as_the_worst_of_what_it_is_made_of() -> None:
    args = {"body": "{{ 1.count }}: {{ 2.text }}", "paths": "{{ 1.paths }}", "to": "ann@acme.example"}
    _, labels = resolve(args, RESULTS, dict.fromkeys(args, CONFIG), {1: LIST, 2: PAGE})
    assert labels == {"body": PAGE, "paths": LIST, "to": CONFIG}


def test_a_reference_without_a_label_of_its_own_takes_its_sources() -> None:
    assert resolve({"x": "{{ 1.count }}"}, RESULTS, {}, {1: LIST})[1] == {"x": LIST}


def test_a_step_that_nobody_vouches_for_brings_untrusted_content() -> None:
    labels = resolve({"x": "{{ 1.count }}"}, RESULTS, {"x": CONFIG}, {})[1]
    assert labels["x"] == ArgumentOrigin(origin=Origin.UNTRUSTED, step=1)


def test_of_nothing_the_least_trusted_is_untrusted() -> None:
    assert least_trusted([]).origin is Origin.UNTRUSTED
    assert least_trusted([CONFIG, PAGE, LIST]) == PAGE


def test_rewriting_keeps_what_is_no_reference() -> None:
    value = {"a": [1, None, True, "{ 1.x }"], "b": "{{ find.x }}"}
    assert rewrite(value, lambda whole, name, path: f"<{name}>") == {"a": [1, None, True, "{ 1.x }"], "b": "<find>"}
