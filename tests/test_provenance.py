"""Whose value is it? Only what stands whole in the requester's own words is theirs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.models import ArgumentOrigin, Origin
from core.provenance import PLANNED, TURN, is_own, label, tokens

PAGE = ArgumentOrigin(origin=Origin.UNTRUSTED, step=2, note="http.get")
LIST = ArgumentOrigin(origin=Origin.TRUSTED, step=1, note="files.list")
CONFIG = ArgumentOrigin(origin=Origin.CONFIG)
OWN = ArgumentOrigin(origin=Origin.REQUESTER)


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("please delete old.log", "old.log"),
        ("please delete old.log.", "old.log"),
        ("delete (old.log), then rest", "old.log"),
        ("do files.delete paths=old.log", "old.log"),
        ("do files.delete paths=a.log,b.log", ["a.log", "b.log"]),
        ("delete a.log, b.log and c.log", ["c.log", "a.log", "b.log"]),
        ('move "my old report.txt" away', "my old report.txt"),
        ("move “my old report.txt” away", "my old report.txt"),
        ("move `a b` to 'c d'", ["a b", "c d"]),
        ("read /etc/hosts!", "/etc/hosts"),
        ("read .ssh/config", ".ssh/config"),
        ("mail Ann@Acme.example about it", "ann@acme.example"),
        ("mail <ann@acme.example>, please", "ann@acme.example"),
        ("see mailto:ann@acme.example", "ann@acme.example"),
        ("fetch https://Acme.EXAMPLE/A?b=C#d.", "https://acme.example/A?b=C#d"),
        ("fetch https://acme.example", "https://acme.example/"),
        ("fetch www.acme.example/x", "https://www.acme.example/x"),
        ("pay $20 to Bob", 20),
        ("pay 20.50€ now", 20.5),
        ("pay 1,000 now", 1000),
        ("keep the last 7", 7),
        ("set it to -3", -3),
        ("ｄｅｌｅｔｅ ａ．ｌｏｇ", "a.log"),
        ("lösche größe.txt", "größe.txt"),
        ("lo\u0308sche gro\u0308\u00dfe.txt", "größe.txt"),
        ("two words", "two words"),
        ('do http.request headers={"X-A":"b"} "X-A" b', {"X-A": "b"}),
    ],
)
def test_a_value_that_stands_whole_in_what_they_wrote_is_theirs(said: str, value: Any) -> None:
    assert is_own(value, tokens(said))


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("delete old.log", "old"),
        ("delete old.log", "log"),
        ("delete old.log", "old.log.bak"),
        ("delete old.log", "OLD.LOG"),
        ("delete old.log", " old.log"),
        ("delete old.log", "old.log."),
        ("delete ssh", ".ssh"),
        ("delete a.log", ["a.log", "b.log"]),
        ("delete \u0430.log", "a.log"),
        ("delete a.log", "\u0430.log"),
        ("delete a.log", "ａ．ｌｏｇ"),
        ("delete a.log", "a\u200b.log"),
        ("mail ann@acme.example", "ann@acme.example.evil.example"),
        ("mail ann@acme.example", "acme.example"),
        ("mail ann@acme.example", "bob@acme.example"),
        ("fetch https://acme.example/x", "http://acme.example/x"),
        ("fetch https://acme.example/x", "https://acme.example/X"),
        ("fetch https://acme.example/x", "https://acme.example/x?leak=1"),
        ("fetch https://acme.example", "https://acme.example@evil.example/"),
        ("fetch https://acme.example", "https://acme.example\\@evil.example/"),
        ("unpack report.zip", "https://report.zip/"),
        ("pay 20", 200),
        ("pay 1,000", 1),
        ("pay 2000", 20.00001),
        ("name it 20", "0020"),
        ("yes, true, do it", True),
        ("no", False),
        ("none", None),
        ("", ""),
        ("nothing", []),
        ("nothing", {}),
        ("b", {"X-Evil": "b"}),
        ("number 20", "\0number 20"),
        ("pay it all", 10**400),
        ("pay it all", float("inf")),
    ],
)
def test_a_value_that_only_resembles_what_they_wrote_is_not(said: str, value: Any) -> None:
    assert not is_own(value, tokens(said))


@given(st.text(max_size=60), st.text(max_size=60))
def test_reading_never_fails_and_the_whole_text_is_a_token(said: str, value: str) -> None:
    own = tokens(said)
    assert said == "" or said in own
    assert is_own(value, own) in (True, False)


@given(st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8), min_size=1, max_size=6))
def test_every_word_they_wrote_is_theirs_however_it_is_punctuated(words: list[str]) -> None:
    assert all(is_own(w, tokens(" ".join(words))) for w in words)
    assert all(is_own(w, tokens(", ".join(f'"{w}"' for w in words))) for w in words)


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_a_number_they_wrote_is_theirs(number: int) -> None:
    assert is_own(number, tokens(f"set it to {number}."))
    assert not is_own(number + 1, tokens(f"set it to {number}."))


# ---------------------------------------------------------------- labels


def origins_of(args: dict[str, Any], origins: dict[str, ArgumentOrigin], *said: str, **more: Any) -> dict[str, Any]:
    return label(args, origins, said, **more).origins


def test_a_turn_that_read_untrusted_content_taints_what_they_did_not_write() -> None:
    args = {"to": "eve@evil.example", "subject": "report", "cc": "ann@acme.example"}
    found = label(args, {TURN: PAGE}, ["send the report to ann@acme.example"])
    assert found.origins == {"to": PAGE, "subject": OWN, "cc": OWN}
    assert found.tainted


def test_a_plan_made_before_anything_was_read_is_trusted() -> None:
    found = label({"to": "ops@acme.example"}, {}, ["tell operations"])
    assert found.origins["to"].origin is Origin.TRUSTED
    assert not found.tainted


def test_a_reference_keeps_the_label_of_what_it_brought() -> None:
    assert origins_of({"paths": ["x.log"]}, {"paths": LIST}) == {"paths": LIST}
    assert origins_of({"paths": ["x.log"]}, {"paths": PAGE}) == {"paths": PAGE}
    assert label({"paths": ["x.log"]}, {"paths": PAGE}, []).tainted, "a page's words are in it, whoever asked"


def test_a_literal_of_a_runbook_is_configuration() -> None:
    assert origins_of({"to": "ann@acme.example"}, {"to": CONFIG}) == {"to": CONFIG}


def test_a_tainted_turn_is_not_outdone_by_a_better_label() -> None:
    assert origins_of({"to": "x@y.example"}, {"to": CONFIG, TURN: PAGE}) == {"to": PAGE}
    assert origins_of({"to": "x@y.example"}, {"to": OWN, TURN: PAGE}) == {"to": PAGE}


def test_a_command_of_the_requester_is_theirs_even_where_no_word_is_equal() -> None:
    assert origins_of({"args": {"a": [1]}}, {"args": OWN}, 'do x.y args={"a": [1]}') == {"args": OWN}


def test_what_they_wrote_themselves_is_theirs_also_in_a_tainted_turn() -> None:
    assert origins_of({"paths": ["a.log"]}, {TURN: PAGE, "paths": PAGE}, "delete a.log") == {"paths": OWN}


def test_words_of_several_messages_count_but_not_put_together() -> None:
    assert origins_of({"paths": ["a", "b"]}, {TURN: PAGE}, "first a", "then b") == {"paths": OWN}
    assert origins_of({"path": "a b"}, {TURN: PAGE}, "first a", "b then") == {"path": PAGE}


def test_the_skills_own_default_was_chosen_by_nobody() -> None:
    schema = {"properties": {"overwrite": {"default": False}, "cc": {"default": []}, "limit": {"default": 1}}}
    found = origins_of({"overwrite": False, "cc": [], "limit": True}, {TURN: PAGE}, schema=schema)
    assert found["overwrite"].origin is found["cc"].origin is Origin.CONFIG
    assert found["limit"] == PAGE, "True is not 1"
    assert origins_of({"overwrite": True}, {TURN: PAGE}, "true", schema=schema) == {"overwrite": PAGE}


# ---------------------------------------------------------------- what was read, and what was promised


def test_what_was_named_once_to_be_read_is_no_target_of_a_turn_that_has_read_it() -> None:
    read = [{"name": "report.md"}]
    assert origins_of({"name": "report.md"}, {TURN: PAGE}, "what is in report.md?", read=read) == {"name": PAGE}
    assert origins_of({"names": ["a.md", "report.md"]}, {TURN: PAGE}, "a.md, report.md", read=read) == {"names": PAGE}
    box = [{"box": "Ann@acme.example"}]
    assert origins_of({"to": "ann@acme.example"}, {TURN: PAGE}, "read Ann@ACME.example", read=box) == {"to": PAGE}


def test_what_was_named_again_may_be_both_read_and_changed() -> None:
    said = "read report.md, then empty report.md."
    assert origins_of({"name": "report.md"}, {TURN: PAGE}, said, read=[{"name": "report.md"}]) == {"name": OWN}
    quoted = 'read "a b.md" and empty "a b.md"'
    assert origins_of({"name": "a b.md"}, {TURN: PAGE}, quoted, read=[{"name": "a b.md"}]) == {"name": OWN}


def test_without_a_tainted_turn_reading_spends_nothing() -> None:
    assert origins_of({"name": "a.md"}, {}, "read and empty a.md", read=[{"name": "a.md"}]) == {"name": OWN}


def test_a_promised_argument_stays_trusted_in_a_tainted_turn() -> None:
    promised = ArgumentOrigin(origin=Origin.TRUSTED, step=1, note=PLANNED)
    found = label(
        {"name": "a.md", "to": "b.md"}, {TURN: PAGE, "name": promised}, ["read a.md"], read=[{"name": "a.md"}]
    )
    assert found.origins == {"name": promised, "to": PAGE}
    assert found.tainted
