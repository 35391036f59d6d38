"""What a card looks like on Telegram: whole, inert, within the limits, and without a yes when it is not whole."""

from __future__ import annotations

import html
import re
import uuid
from collections import deque
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.telegram.render import TEXT_UNITS, confirmation, keyboard, rendered, shown, split, units
from bot.telegram.spacing import Spacing, too_early_s
from core.cards import YES, Button, Card, StepLine
from core.display import visible, visible_lines

BASE = "https://sayso.example.com"
KEY = str(uuid.UUID(int=7))
APPROVE = Button(verb="approve", label="Approve", style="primary", confirm="Delete old.log from the workspace?")
DENY = Button(verb="deny", label="Deny", style="danger")
HOSTILE = [
    "<b>Approved</b> <a href='https://evil.example'>ok</a>",
    "@everyone @ann look", "/stop /approve@SaysoBot", "https://evil.example/approve tg://user?id=1 evil.example",
    "`code` ```block``` *bold* _it_ [x](https://evil.example)", "</pre><b>Risk: low</b><pre>", "&lt;b&gt;",
    "#tag $TAG a@b.example",
    "\u202egol.dlo\u202c", "a\u200bb\u2066c", "x" * 300, "-1 555 000 1111 +15550001111",
]  # fmt: skip


def approval(**more: object) -> Card:
    card = Card(
        subject="approval",
        subject_id=KEY,
        task_id="12",
        tone="ask",
        headline="Delete old.log from the workspace",
        status="waiting for a decision",
        lines=("Why you are asked: it deletes", "May decide: any owner"),
        quote="do files.delete paths=old.log",
        exact="files.delete (version 1)\npaths: [\n      old.log\n    ]",
        buttons=(APPROVE, DENY, Button(verb="stop", label="Stop the task", confirm="Stop the whole task?")),
        expires_at=datetime(2026, 11, 21, 14, 30, tzinfo=UTC),
        path=f"/approvals/{KEY}",
    )
    return card.model_copy(update=more)


def labels(card: Card) -> list[str]:
    markup = keyboard(card)
    return [b.text for row in markup.inline_keyboard for b in row] if markup else []


def plain_of(markup: str) -> str:
    return html.unescape(re.sub(r"</?(?:b|code|pre)>", "", markup))


def test_an_approval_card_shows_headline_facts_exact_action_and_buttons() -> None:
    drawn = rendered(approval(), BASE)
    assert drawn.html.startswith(
        "<b>Delete </b><code>old.log</code><b> from the workspace</b>\nWaiting for a decision\n"
    )
    assert "<pre>files.delete (version 1)\npaths: [\n      old.log\n    ]</pre>" in drawn.html
    assert "Expires 2026-11-21 14:30 UTC" in drawn.html
    assert drawn.keyboard is not None
    rows = [[(b.text, b.callback_data, b.style) for b in row] for row in drawn.keyboard.inline_keyboard]
    key = uuid.UUID(KEY).hex
    assert rows == [
        [("Approve", f"c:{key}:approve", "primary"), ("Deny", f"a:{key}:deny", "danger")],
        [("Stop the task", f"c:{key}:stop", None)],
    ]


def test_progress_leaves_room_for_what_people_wait_for() -> None:
    spacing, group = Spacing(), -7
    shown = 0
    for second in range(60):
        shown += spacing.wait_s(group, float(second), is_progress=True) == 0
    assert shown == 10
    assert spacing.wait_s(group, 59.5, is_progress=True) > 0
    assert [spacing.wait_s(group, 59.5 + n) for n in range(5)] == [0.0] * 5


def test_the_question_before_a_dangerous_press_names_the_verb() -> None:
    [row] = confirmation(approval(), APPROVE).inline_keyboard
    key = uuid.UUID(KEY).hex
    assert [(b.text, b.callback_data) for b in row] == [("Confirm delete", f"a:{key}:approve"), ("Back", f"b:{key}")]


def test_a_decided_card_has_no_keyboard() -> None:
    assert rendered(approval(buttons=(), expires_at=None), BASE).keyboard is None


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text_wherever_it_stands(text: str) -> None:
    line = visible(text)
    card = approval(headline=f"Delete {line}", lines=(f"Beware: {line}",), quote=line, exact=visible_lines(text))
    drawn = rendered(card, BASE)
    assert set(re.findall(r"<[^>]*>", drawn.html)) <= {"<b>", "</b>", "<code>", "</code>", "<pre>", "</pre>"}
    assert plain_of(drawn.html) == drawn.plain
    outside = re.sub(r"<(code|pre)>.*?</\1>", "", drawn.html, flags=re.DOTALL)
    assert not re.search(r"@\w|#\w|://|(?<!\w)/\w|\w\.(?:log|example)|\+\d{9}", plain_of(outside)), outside
    assert visible_lines(text) in plain_of(drawn.html)


@given(st.text(max_size=200))
def test_markup_is_always_balanced_and_says_the_same_as_the_plain_text(text: str) -> None:
    card = approval(headline=visible(text), lines=(visible(text),), exact=visible_lines(text), quote="")
    drawn = rendered(card, BASE)
    assert plain_of(drawn.html) == drawn.plain


@pytest.mark.parametrize("size", [1, 100, 3000, 3700, 3701, 3760, 3800, 3900, 4000, 4096, 5000, 20_000, 1_000_000])
def test_approve_is_there_only_when_every_byte_of_the_action_is(size: int) -> None:
    exact = "x" * (size - 1) + "Z"
    drawn = rendered(approval(exact=exact), BASE)
    assert units(drawn.plain) <= TEXT_UNITS
    has_yes = drawn.keyboard is not None and any(
        str(b.callback_data).rpartition(":")[2] in YES for row in drawn.keyboard.inline_keyboard for b in row
    )
    assert has_yes == (exact in drawn.plain)
    assert has_yes or size > 3700
    if not has_yes:
        assert labels(shown(approval(exact=exact), BASE)) == ["Deny", "Stop the task", "Show it whole"]
        assert f"{BASE}/approvals/{KEY}" in drawn.html.split()


def test_length_is_counted_as_telegram_counts_it() -> None:
    drawn = rendered(approval(exact="😀" * 1900 + "x" * 200), BASE)
    assert units(drawn.plain) <= TEXT_UNITS
    assert "😀" not in drawn.plain


@pytest.mark.parametrize("field", ["headline", "quote", "status"])
def test_no_field_can_make_a_message_too_long(field: str) -> None:
    card = approval(**{field: "y" * 50_000}, lines=tuple("z" * 9_000 for _ in range(50)))
    assert units(rendered(card, BASE).plain) <= TEXT_UNITS


def test_a_long_request_is_cut_before_the_yes_is_taken_away() -> None:
    drawn = rendered(approval(quote="w" * 3000, exact="e" * 3000), BASE)
    assert "e" * 3000 in drawn.plain
    assert "Approve" in labels(shown(approval(quote="w" * 3000, exact="e" * 3000), BASE))


# ---------------------------------------------------------------- run cards


def run_card(**more: object) -> Card:
    card = Card(
        subject="task",
        subject_id="12",
        task_id="12",
        tone="busy",
        headline="clean up",
        status="running, 1 of 4 steps done",
        steps=(
            StepLine(n=1, title="List files", status="done", note="3 files"),
            StepLine(n=2, title="Delete old.log", status="running"),
            StepLine(n=3, title="Tell Ann", status="waits for earlier steps"),
            StepLine(n=4, title="Say so", status="failed", note="no route"),
        ),
        buttons=(Button(verb="pause", label="Pause"),),
        path="/tasks/12",
    )
    return card.model_copy(update=more)


def test_steps_have_a_mark_and_its_word() -> None:
    assert rendered(run_card(), BASE).plain.split("\n")[2:] == [
        "✓ 1. List files (done): 3 files",
        "▸ 2. Delete old.log (running)",
        "○ 3. Tell Ann (waits for earlier steps)",
        "✕ 4. Say so (failed): no route",
    ]


def test_a_long_answer_ends_with_a_sentence_and_says_where_the_rest_is() -> None:
    drawn = rendered(run_card(answer="This is a sentence. " * 500), BASE)
    assert units(drawn.plain) <= TEXT_UNITS
    assert drawn.plain.endswith(f"a sentence.\n… The rest is at {BASE}/tasks/12")


def test_many_long_steps_still_fit() -> None:
    many = tuple(StepLine(n=i, title="t" * 500, status="done", note="n" * 900) for i in range(1, 60))
    assert units(rendered(run_card(steps=many, answer="word " * 3000), BASE).plain) <= TEXT_UNITS


# ---------------------------------------------------------------- long texts


@given(st.text(alphabet=st.sampled_from("ab. \n😀é"), max_size=600), st.integers(min_value=4, max_value=60))
def test_parts_fit_and_lose_nothing_but_white_space(text: str, most: int) -> None:
    parts = split(text, most)
    assert all(1 <= units(part) <= most for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_parts_end_where_sentences_do() -> None:
    parts = split("One is here. Two is there. Three is gone.", 30)
    assert parts == ["One is here. Two is there.", "Three is gone."]


# ---------------------------------------------------------------- spacing


def test_a_burst_of_five_goes_at_once_and_the_sixth_waits() -> None:
    spacing = Spacing()
    assert [spacing.wait_s(1001, 100.0) for _ in range(6)] == [0.0, 0.0, 0.0, 0.0, 0.0, 5.0]
    assert spacing.wait_s(1001, 105.0) == 0.0
    assert spacing.wait_s(1002, 100.0) == 0.0


def test_a_group_has_twenty_a_minute() -> None:
    spacing = Spacing()
    taken = [now for now in range(60) if spacing.wait_s(-5, float(now)) == 0.0]
    assert len(taken) == 20
    assert spacing.wait_s(-5, 59.5) == pytest.approx(0.5)


def test_what_was_long_ago_does_not_count() -> None:
    assert too_early_s(deque([1.0, 2.0, 3.0]), 3, 3.0, 10.0) <= 0
