"""What is shown is what is there: nothing hidden, nothing that looks like something else."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.display import Masks, hidden, visible, visible_lines

KEY = b"k" * 32
any_text = st.text(st.characters(exclude_categories=()), max_size=40)
tricky = st.text(st.sampled_from("ab /.⟨⟩U+41eé\u0301\u0327\u202e\u200d\u3164аоср1٣‹"), max_size=14)


@given(any_text | tricky, st.booleans())
@example("⟨U+202E⟩", False)
@example("e\u0301\u0327", False)
def test_what_is_shown_can_be_read_back_exactly(text: str, technical: bool) -> None:
    assert hidden(visible(text, technical=technical)) == text


@given(any_text | tricky, any_text | tricky, st.booleans())
def test_two_texts_look_the_same_only_if_they_are(a: str, b: str, technical: bool) -> None:
    assert (visible(a, technical=technical) == visible(b, technical=technical)) == (a == b)


def test_every_code_point_is_shown_as_itself_or_as_its_number() -> None:
    unassigned = range(0x40000, sys.maxunicode + 1)  # but for tags, variation selectors and private use
    for code in (*range(0x40000), *range(0xE0000, 0xE1000), *unassigned[::251], *unassigned[-2:]):
        ch = chr(code)
        for technical in (False, True):
            shown = visible(ch, technical=technical)
            assert shown == ch or shown == f"⟨U+{code:04X}⟩", hex(code)
            assert shown != ch or ch.isprintable(), hex(code)
        assert visible(ch, technical=True) != ch or ch.isascii(), hex(code)


def test_no_code_point_hides_between_two_letters() -> None:
    invisible = {"Cf", "Cc", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"}
    for code in (*range(0x40000), *range(0xE0000, 0xE1000)):
        ch = chr(code)
        if ch != " " and unicodedata.category(ch) in invisible:
            assert f"⟨U+{code:04X}⟩" in visible(f"a{ch}b"), hex(code)


@given(any_text | tricky)
def test_normalising_what_is_shown_changes_nothing(text: str) -> None:
    assert unicodedata.is_normalized("NFC", visible(text))


@given(any_text | tricky)
def test_a_technical_field_is_ascii_but_for_the_brackets(text: str) -> None:
    assert visible(text, technical=True).replace("⟨", "").replace("⟩", "").isascii()


@pytest.mark.parametrize(
    "ch",
    [
        "\u3164",
        "\u115f",
        "\u1160",
        "\uffa0",
        "\u2800",
        "\ufe0f",
        "\U000e0100",
        "\u034f",
        "\u17b4",
        "\u180e",
        "\U0001d159",
    ],
    ids=lambda ch: f"{ord(ch):04X}",
)
def test_characters_that_count_as_printable_but_are_drawn_as_nothing_are_written_out(ch: str) -> None:
    assert visible(f"a{ch}b") == f"a⟨U+{ord(ch):04X}⟩b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("safe\u202egol.exe", "safe⟨U+202E⟩gol.exe"),
        ("a\u200bb", "a⟨U+200B⟩b"),
        ("two\nlines", "two⟨U+000A⟩lines"),
        ("\tx", "⟨U+0009⟩x"),
        ("p\u0430ypal.com", "p⟨U+0430⟩ypal.com"),  # a Cyrillic а among Latin letters
        ("сосо", "⟨U+0441⟩⟨U+043E⟩⟨U+0441⟩⟨U+043E⟩"),  # Cyrillic letters only, each with a Latin twin
        ("http://x\u2215y", "http://x⟨U+2215⟩y"),  # a division slash
        ("a\uff0fb", "a⟨U+FF0F⟩b"),  # a wide slash
        ("e\u0301", "e⟨U+0301⟩"),  # looks like é
        ("end ", "end⟨U+0020⟩"),
        ("⟨U+0041⟩", "⟨U+27E8⟩U+0041⟨U+27E9⟩"),
    ],
)  # fmt: skip
def test_what_hides_or_poses_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Grüße aus Köln, naïve façade – „gut“ … 5 €",
        "Привет, как дела? Все хорошо, а у вас?",
        "Καλημέρα κόσμε",
        "日本語のテキスト、漢字",
        "한국어 텍스트",
        "שלום עולם",
        "नमस्ते",
        "All good 🎉 ™ ² ½",
        "    indented code  with spaces",
    ],
)
def test_ordinary_text_of_many_languages_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_a_name_shows_every_space_that_nobody_would_see() -> None:
    assert visible(" a  b.log ", technical=True) == "⟨U+0020⟩a ⟨U+0020⟩b.log⟨U+0020⟩"
    assert visible("a b.log", technical=True) == "a b.log"


def test_stacked_marks_are_cut_off_after_two() -> None:
    assert visible("x" + "\u0336" * 5).count("⟨U+0336⟩") == 3


def test_line_breaks_are_kept_where_they_are_wanted() -> None:
    assert visible_lines("a\nb\u202e\n") == "a\nb⟨U+202E⟩\n"


# ---------------------------------------------------------------- secrets


def test_a_known_secret_is_masked_wherever_it_stands() -> None:
    masks = Masks(["s3cret/value+1"], KEY)
    url, body = masks("https://x/?t=s3cret%2Fvalue%2B1"), masks("a s3cret/value+1 b")
    tag = body.removeprefix("a ").removesuffix(" b")
    assert tag.startswith("‹secret #") and len(tag) == len("‹secret #ab12cd›")
    assert url == f"https://x/?t={tag}", "the same secret has the same tag in each of its forms"


def test_the_tag_tells_two_secrets_apart_and_depends_on_the_key() -> None:
    one, two = "secret-one", "secret-two"
    masks = Masks([one, two], KEY)
    assert masks(one) != masks(two)
    assert Masks([one], b"other")(one) != masks(one)


def test_the_longer_of_two_overlapping_secrets_is_masked_first() -> None:
    assert Masks(["abcdef", "abcdef123456"], KEY)("abcdef123456").count("secret") == 1


@given(st.text(max_size=30))
def test_without_a_secret_nothing_is_changed(text: str) -> None:
    assert Masks([], KEY)(text) == text
    assert Masks(["\x00never\x00there"], KEY)(text) == text


def test_masks_for_logs_leave_all_else_alone() -> None:
    masks = Masks(["hunter2-hunter2", "short"], KEY)
    assert masks("short ‹x› hunter2-hunter2").startswith("short ‹x› ‹secret #")
