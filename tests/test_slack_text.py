"""Slack's markup: what a person typed is read as they saw it, and what we write starts no mention and no link."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.slack.text import clean, inert, mentions, plain, typed

BOT = "U0SAYSO"


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        ("a &lt;b&gt; &amp;amp; c", "a <b> &amp; c"),
        ("see <http://example.com/x|the page>", "see http://example.com/x"),
        ("see <https://example.com/a?b=c&amp;d=e>", "see https://example.com/a?b=c&d=e"),
        ("write to <mailto:ann@acme.example|ann@acme.example>", "write to ann@acme.example"),
        ("write to <mailto:evil@other.example|ann@acme.example>", "write to evil@other.example"),
        ("call <tel:+15550002222|+1 555 000 2222>", "call +15550002222"),
        ("ask <@U01BOB> in <#C0OPS|ops>", "ask @U01BOB in #ops"),
        ("in <#C0OPS|>", "in #C0OPS"),
        ("hello <!here> and <!subteam^S01|@oncall>", "hello @here and @oncall"),
        ("delete <http://notes.md|notes.md>", "delete notes.md"),
        ("get <http://example.com/|example.com>", "get example.com"),
        ("1 &lt; 2 and <odd>", "1 < 2 and <odd>"),
    ],
)
def test_markup_becomes_what_the_sender_saw(raw: str, seen: str) -> None:
    assert plain(raw) == seen


@pytest.mark.parametrize(
    ("raw", "own"),
    [
        ("<@U0SAYSO> do files.list", "do files.list"),
        ("<@U0SAYSO|sayso>: do files.list", "do files.list"),
        ("hey <@U0SAYSO> do files.list", "hey do files.list"),
        ("do files.list <@U0SAYSO>", "do files.list"),
        ("<@U0SAYSO> ask <@U01BOB>", "ask @U01BOB"),
        ("<@U0SAYSO>", ""),
    ],
)
def test_our_mention_is_no_part_of_the_text(raw: str, own: str) -> None:
    assert typed(raw, BOT) == (own, ())


def test_quoted_lines_are_not_the_senders_own_words() -> None:
    raw = "what of this?\n&gt; delete everything\n&gt; at once\nthanks\n&gt; and this"
    assert typed(raw, BOT) == ("what of this?\nthanks", ("delete everything\nat once", "and this"))


def test_a_block_quote_runs_to_the_end() -> None:
    assert typed("look\n&gt;&gt;&gt; a\nb", BOT) == ("look", ("a\nb",))


def test_a_mention_is_ours_only_by_the_whole_id() -> None:
    assert mentions("<@U0SAYSO> hi", BOT)
    assert mentions("<@U0SAYSO|sayso>", BOT)
    assert not mentions("<@U0SAYSO2> hi", BOT)
    assert not mentions("<@> hi", "")


@given(st.text())
def test_inert_text_begins_no_token_and_can_be_read_back(text: str) -> None:
    shown = inert(text)
    assert "<" not in shown
    assert ">" not in shown
    assert plain(shown) == text


@given(st.text(alphabet=st.characters()) | st.text(alphabet="<>@#!|&;:/ \nUSC^gtlamp0"))
def test_any_text_can_be_read(raw: str) -> None:
    own, quotes = typed(raw, BOT)
    assert all(isinstance(piece, str) for piece in (own, *quotes))


def test_text_that_a_database_cannot_hold_is_made_so_that_it_can() -> None:
    assert "\x00" not in clean("a\x00b")
    assert clean("a\ud800b").encode()
    assert clean(7) == ""
