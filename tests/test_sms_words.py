"""The grammar of approvals by SMS, and the page that tells of it: what fits, what is read, what its examples say."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bot.sms import words
from core.organisation import parse
from core.settings import Settings, SettingsError
from core.sms import (
    CODE_LETTERS,
    GSM_BASIC,
    GSM_EXTENDED,
    START_WORDS,
    STOP_WORDS,
    Answer,
    Keyword,
    Other,
    cut,
    gsm_length,
    keyed,
    read,
    whole_action,
)
from core.texting import Told
from tests.sim.twilio import segments

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "sms.md").read_text(encoding="utf-8")
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CODE = "K7Q2M4XA"


def row(**more: Any) -> dict[str, Any]:
    args = more.pop("args", {"paths": ["old.log"]})
    item = {"digest": "3f9a10" + "0" * 58, "action": {"skill": "files.delete", "args": args}}
    return {
        "id": "8cdd0e70-0000-4000-8000-000000000000", "kind": "action", "items": [item], "requester": "bob",
        "requester_name": "Bob", "skill": "files.delete", "card": {"title": "Delete old.log from the workspace"},
        "expires_at": NOW + timedelta(hours=2, minutes=30),
    } | more  # fmt: skip


def test_gsm_7_has_127_characters_and_ten_that_take_two_places() -> None:
    assert (len(GSM_BASIC), len(GSM_EXTENDED)) == (127, 10) and not GSM_BASIC & GSM_EXTENDED
    assert gsm_length("[x]€") == 7 and gsm_length("naïve") is None and gsm_length("Grüße, ÅØ") == 9


@given(st.text(max_size=200))
def test_lengths_are_those_of_the_phone_network(text: str) -> None:
    length = gsm_length(text)
    assert (length is not None and length <= 160) <= (segments(text) == 1)


@given(st.text(max_size=300), st.integers(min_value=3, max_value=160))
def test_what_is_cut_fits(text: str, places: int) -> None:
    assert (gsm_length(cut(text, places)) or 0) <= places


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("OK K7Q2M4XA", Answer("approve", CODE)),
        ("no k7q2-m4xa.", Answer("deny", CODE)),
        (' "Ok: K7Q2 M4XA!" ', Answer("approve", CODE)),
        ("NO OIL0OIL0", Answer("deny", "01100110")),
        ("OK", Answer("approve", None)),
        ("NO way", Answer("deny", None)),
        ("OK K7Q2M4XA K7Q2M4XA", Answer("approve", None)),
        ("OK U7Q2M4XA", Answer("approve", None)),
        ("OKK7Q2M4XA", Other()),
        ("Not K7Q2M4XA", Other()),
        ("YES K7Q2M4XA", Other()),
        ("stop", Keyword("stop")),
        ("End.", Keyword("stop")),
        ("yes", Keyword("start")),
        ("INFO", Keyword("help")),
        ("\x00", Other()),
        ("", Other()),
    ],
)
def test_what_a_phone_says_is_read(text: str, said: object) -> None:
    assert read(text) == said


def test_codes_have_no_look_alikes_and_no_verb_is_a_carriers_word() -> None:
    assert len(set(CODE_LETTERS)) == 32 and not set("ILOU") & set(CODE_LETTERS)
    assert not {"OK", "NO"} & (STOP_WORDS | START_WORDS)


def test_what_is_kept_of_a_code_differs_by_key_approval_phone_and_code() -> None:
    kept = {
        keyed(key, approval, phone, code)
        for key in (b"a", b"b") for approval in ("1", "2") for phone in ("+1", "+2") for code in ("X", "Y")
    }  # fmt: skip
    assert len(kept) == 16


def test_a_question_holds_the_whole_action_or_there_is_none() -> None:
    text = words.question(row(), "Acme", CODE, NOW)
    assert text is not None and (gsm_length(text) or 999) <= 160
    assert whole_action(row(args={"to": "a b", "n": 3, "when": None, "tags": ["x", "y"]})["items"]) == (
        'files.delete to="a b" n=3 when=null tags=x,y #3f9a10'
    )
    assert words.question(row(args={"paths": ["x" * 80]}), "Acme", CODE, NOW) is None
    assert words.question(row(args={"password": "hunter2"}), "Acme", CODE, NOW) is None
    assert words.question(row(kind="plan"), "Acme", CODE, NOW) is None
    assert words.question(row(items=row()["items"] * 2), "Acme", CODE, NOW) is None
    pointer = words.pointer(
        row(card={"title": "Ünïcödé 🙂 " * 20}), "Acme Corporation of Everything", "https://a.example", NOW
    )
    assert pointer is not None and segments(pointer) == 1 and "8cdd0e70" in pointer and CODE not in pointer


def test_every_answer_fits_into_one_message_and_opens_no_carriers_word() -> None:
    long = {
        "title": "Delete " + "x" * 200,
        "by": "y" * 100,
        "why": "z" * 300,
        "at": NOW,
        "left": 2,
        "status": "undeliverable",
    }
    for kind in Told.model_fields["kind"].annotation.__args__:  # type: ignore[union-attr]
        said = words.reply(Told(kind=kind, **long), "Acme Corporation of Everything")  # type: ignore[arg-type]
        assert said is None or segments(said) == 1, said
        assert said is None or said.split()[0].upper().strip(".:,") not in STOP_WORDS | START_WORDS


def test_the_page_shows_what_is_sent() -> None:
    quoted = re.findall(r"> (Acme: .*)\n\s*> (Reply .*)\n", PAGE)
    assert ["\n".join(lines) for lines in quoted] == [words.question(row(), "Acme", CODE, NOW)]
    said = words.reply(Told(kind="approved", title="Delete old.log from the workspace"), "Acme")
    assert f"`{said}`" in PAGE


def test_the_pages_files_can_be_read() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    for text in blocks:
        assert parse(yaml.safe_dump(yaml.safe_load(text))).ladders


def test_settings_of_sms_are_named_when_they_are_missing() -> None:
    with pytest.raises(SettingsError) as missing:
        Settings.load({"TWILIO_AUTH_TOKEN": "t", "TWILIO_SIGNATURE": "HMAC-SHA256"}, Path("/nowhere"))
    named = [problem.split()[0] for problem in missing.value.problems]
    assert named == ["TWILIO_ACCOUNT_SID", "TWILIO_FROM", "PUBLIC_BASE_URL", "TWILIO_SIGNING_KEY"]
    for name, wrong in (("TWILIO_ACCOUNT_SID", "AC1"), ("TWILIO_FROM", "0791234567"), ("TWILIO_SIGNATURE", "none")):
        with pytest.raises(SettingsError, match=name):
            Settings.load({name: wrong}, Path("/nowhere"))
