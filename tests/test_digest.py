"""The canonical text of an action and its digest: one text for one action, and none for what can't be written exactly."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from core.digest import (
    INTEGER_MOST,
    NotCanonical,
    action_hash,
    action_text,
    canonical,
    digest,
    list_digest,
    rfc8785_bytes,
    schema_hash,
    sha256,
)
from core.models import Action

integers = st.integers(-INTEGER_MOST, INTEGER_MOST)
floats = st.floats(-INTEGER_MOST, INTEGER_MOST)
scalars = st.none() | st.booleans() | integers | floats | st.text()
values = st.recursive(
    scalars, lambda s: st.lists(s, max_size=4) | st.dictionaries(st.text(), s, max_size=4), max_leaves=12
)

ACTION = Action(
    skill="files.delete",
    version="1",
    schema_hash="5c" * 32,
    args={"paths": ["b.log", "a.log"]},
    target="b.log, a.log",
    credential="deploy",
    content_hashes={"b.log": "00" * 32},
    task_id="7",
    step=2,
)


@given(values)
def test_canonical_text_reads_back_as_the_same_value(value: Any) -> None:
    assert json.loads(canonical(value)) == value


@given(values)
def test_writing_it_again_changes_nothing(value: Any) -> None:
    text = canonical(value)
    assert canonical(json.loads(text)) == text


plain = st.recursive(
    st.none() | st.booleans() | integers | st.text(),
    lambda s: st.lists(s, max_size=4) | st.dictionaries(st.text(st.characters(max_codepoint=126)), s, max_size=4),
    max_leaves=12,
)


@given(plain | values)
def test_the_short_way_of_writing_writes_what_the_library_writes(value: Any) -> None:
    assert rfc8785_bytes(value) == rfc8785.dumps(value) == canonical(value).encode()


@given(st.dictionaries(st.text(), scalars, max_size=6), st.randoms())
def test_the_order_of_keys_does_not_matter(value: dict[str, Any], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert canonical(dict(items)) == canonical(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None, "x"]}, '{"a":[true,null,"x"],"b":1}'),
        ([333333333.33333329, 4.50, 2e-3, 1e-27], "[333333333.3333333,4.5,0.002,1e-27]"),
        (
            {"€": 1, "\r": 2, "\ufb33": 3, "1": 4, "😀": 5, "\x80": 6, "ö": 7},
            '{"\\r":2,"1":4,"\x80":6,"ö":7,"€":1,"😀":5,"\ufb33":3}',
        ),
        ("€$\u000f\nA'B\"\\/", '"€$\\u000f\\nA\'B\\"\\\\/"'),
        (-0.0, "0"),
        (INTEGER_MOST, "9007199254740991"),
    ],
)
def test_the_text_is_that_of_rfc_8785(value: Any, text: str) -> None:
    assert canonical(value) == text


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (INTEGER_MOST + 1, "write it as text"),
        ({"a": {"b": [1, -INTEGER_MOST - 1]}}, r"a\.b\[1\] is beyond"),
        (1e20, "beyond"),
        (math.nan, "no number"),
        ({"x": math.inf}, "x is inf"),
        ({"x": {1: 2}}, "x has the key 1, which is no text"),
        ({"x": "\ud800"}, "x holds half a character"),
        ({"\udfff": 1}, "half a character"),
        ({"x": b"y"}, "bytes"),
        ({"x": {1, 2}}, "set"),
        ({None: 1}, "None"),
    ],
)
def test_what_has_no_exact_text_is_refused_and_named(value: Any, says: str) -> None:
    with pytest.raises(NotCanonical, match=says):
        canonical(value)


def test_nesting_without_end_is_refused() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(NotCanonical, match="nested"):
        canonical(value)


# ---------------------------------------------------------------- actions


def test_the_text_names_all_of_the_action() -> None:
    assert json.loads(action_text(ACTION)) == {
        "skill": "files.delete",
        "version": "1",
        "schema_hash": "5c" * 32,
        "args": {"paths": ["b.log", "a.log"]},
        "target": "b.log, a.log",
        "credential": "deploy",
        "content_hashes": {"b.log": "00" * 32},
        "task": "7",
        "step": 2,
    }


def test_the_digest_is_the_sha_256_of_the_text() -> None:
    assert digest(ACTION) == hashlib.sha256(action_text(ACTION).encode()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"skill": "files.read"},
        {"version": "2"},
        {"schema_hash": ""},
        {"args": {"paths": ["a.log", "b.log"]}},
        {"args": {"paths": ["b.log", "a.log"], "force": False}},
        {"target": ""},
        {"credential": "other"},
        {"content_hashes": {}},
        {"task_id": "8"},
        {"step": 3},
    ],
    ids=lambda change: "-".join(change),
)
def test_changing_any_field_changes_the_digest(change: dict[str, Any]) -> None:
    changed = ACTION.model_copy(update=change)
    assert digest(changed) != digest(ACTION)
    is_only_place = set(change) <= {"task_id", "step"}
    assert (action_hash(changed) == action_hash(ACTION)) == is_only_place, "equal asks merge, whichever task asks"


def test_every_field_of_an_action_is_in_its_digest() -> None:
    written = set(json.loads(action_text(ACTION)))
    named = {"task" if name == "task_id" else name for name in Action.model_fields}
    assert written == named


def test_a_list_of_digests_has_one_of_its_own_that_knows_their_order() -> None:
    assert list_digest(["a", "b"]) == sha256('["a","b"]')
    assert list_digest(["a", "b"]) != list_digest(["b", "a"])
    assert list_digest(["a"]) != "a"


def test_a_schema_is_known_by_its_content_and_not_by_its_layout() -> None:
    assert schema_hash({"type": "object", "a": 1}) == schema_hash({"a": 1, "type": "object"})
    assert schema_hash({"type": "object"}) != schema_hash({"type": "array"})
