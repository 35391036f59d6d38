"""Cards as Block Kit: Slack takes every one, nothing foreign is markup, and a card with a yes shows the whole action."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block as SdkBlock

from bot.slack.blocks import BLOCKS_CHARS, card_message, words_message
from core.cards import YES, Button, Card, StepLine
from tests.sim.slack_check import block_problems
from tests.sim.slack_world import labels

BASE = "https://sayso.acme.example"
HOSTILE = (
    "<!channel> <!here> <@U01ALICE> <http://evil.example|Approve> *bold* `code` ```block``` _i_ ~s~ :white_check_mark:"
    " [Approve](http://evil.example) &lt;!channel&gt; \u202egnp.exe\u202c\u2066\u2069 @channel\n> quote\n* item"
)
BUTTONS = (
    Button(verb="approve", label="Approve", style="primary", confirm="Delete old.log?", yes="Delete", is_final=True),
    Button(verb="deny", label="Deny", style="danger"),
    Button(verb="stop", label="Stop the task", confirm="Stop the whole task?", yes="Stop", is_final=True),
)
MORE_BUTTONS = (
    Button(verb="approve_similar", label="Approve similar…", confirm="Approve this, and more?", yes="Approve similar"),
    Button(verb="edit", label="Edit…"),
    Button(verb="looking", label="I'm looking"),
    Button(verb="ask", label="Ask the agent…"),
    Button(verb="delegate", label="Hand it on…"),
)


def approval(**fields: Any) -> Card:
    given: dict[str, Any] = {
        "subject": "approval",
        "subject_id": "0190a0a0-0000-7000-8000-000000000001",
        "task_id": "17",
        "tone": "ask",
        "headline": "Delete old.log from the workspace",
        "status": "waiting for a decision",
        "lines": ("Why you are asked: It deletes.", "May decide: any owner", "1 of 2 approved: Bob"),
        "quote": "do files.delete paths=old.log",
        "exact": 'files.delete (version 1)\npaths: [\n  "old.log"\n]',
        "buttons": BUTTONS,
        "expires_at": datetime(2026, 11, 22, 7, 0, tzinfo=UTC),
        "path": "/approvals/0190a0a0-0000-7000-8000-000000000001",
    } | fields
    return Card(**given)


def shown(card: Card, **more: Any) -> tuple[str, list[dict[str, Any]]]:
    message = card_message(card, BASE, has_links=True, **more)
    return message.text, message.blocks


def inside(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in the blocks."""
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from inside(part)
    elif isinstance(value, list):
        for part in value:
            yield from inside(part)


def texts(blocks: list[dict[str, Any]], *kinds: str) -> list[str]:
    return [one["text"] for one in inside(blocks) if one.get("type") in kinds and isinstance(one.get("text"), str)]


def verbs(blocks: list[dict[str, Any]]) -> list[str]:
    return [one["action_id"].removeprefix("sayso:") for one in inside(blocks) if one.get("type") == "button"]


def exact_of(blocks: list[dict[str, Any]]) -> str:
    return "".join(texts([one for one in inside(blocks) if one.get("type") == "rich_text_preformatted"], "text"))


def test_an_approval_card_says_what_why_who_and_until_when() -> None:
    text, blocks = shown(approval())
    assert block_problems(blocks) == []
    assert text == "Delete old.log from the workspace (waiting for a decision)"
    assert blocks[0]["text"]["text"] == "Delete old.log from the workspace"
    everything = "\n".join(texts(blocks, "plain_text", "text"))
    for piece in (approval().quote, "Why you are asked: \nIt deletes."):
        assert piece in everything
    [facts] = [block for block in blocks if block["type"] == "section"]
    assert [one["text"] for one in facts["fields"]] == ["May decide\nany owner", "1 of 2 approved\nBob"]
    assert facts["expand"] is True
    assert exact_of(blocks) == approval().exact
    assert texts(blocks, "mrkdwn") == ["Expires <!date^1795330800^{date_short_pretty} at {time}|2026-11-22 07:00 UTC>"]
    assert verbs(blocks) == ["approve", "deny", "open", "deny_ask", "stop"]


def test_a_whole_cards_answers_are_a_row_a_menu_and_a_row_of_what_asks_once_more() -> None:
    blocks = shown(approval(more=MORE_BUTTONS))[1]
    assert block_problems(blocks) == []
    first, second = [block for block in blocks if block["type"] == "actions"]
    assert labels([first]) == [
        "Approve", "Deny", "Edit…", "Details", "Deny with a reason…", "I'm looking", "Ask the agent…", "Hand it on…",
    ]  # fmt: skip
    assert labels([second]) == ["Stop the task", "Approve similar…"]
    [menu] = [one for one in first["elements"] if one["type"] == "overflow"]
    assert [one["value"] for one in menu["options"]] == [
        f"{verb}|{approval().subject_id}" for verb in ("deny_ask", "looking", "ask", "delegate")
    ]


@pytest.mark.parametrize(
    "card", [approval(more=MORE_BUTTONS), approval(exact="x" * 9000), approval(status="approved", buttons=())]
)
def test_slacks_own_types_take_the_card(card: Card) -> None:
    for block in shown(card)[1]:
        parsed = SdkBlock.parse(block)
        assert parsed is not None
        parsed.validate_json()


def test_buttons_carry_only_the_subjects_id() -> None:
    values = {one.get("value") for one in inside(shown(approval())[1]) if one.get("type") == "button"}
    assert values == {approval().subject_id, None}
    task = Card(subject="task", subject_id="17", task_id="17", tone="busy", headline="x", status="running",
                buttons=(Button(verb="pause", label="Pause"),))  # fmt: skip
    assert [one["value"] for one in inside(shown(task)[1]) if one.get("value")] == ["task:17"]


def test_what_cannot_be_taken_back_is_asked_once_more_by_its_name() -> None:
    dialogs = {one["action_id"]: one["confirm"] for one in inside(shown(approval(more=MORE_BUTTONS))[1])
               if one.get("type") == "button" and "confirm" in one}  # fmt: skip
    said = {verb: (one["confirm"]["text"], one["text"]["text"], one["style"]) for verb, one in dialogs.items()}
    assert said == {
        "sayso:approve": ("Delete", "Delete old.log?", "danger"),
        "sayso:stop": ("Stop", "Stop the whole task?", "danger"),
        "sayso:approve_similar": ("Approve similar", "Approve this, and more?", "primary"),
    }


def test_a_question_too_long_for_the_dialog_is_not_cut_into_another_one() -> None:
    long = Button(verb="approve", label="Approve", confirm="Delete " + "a" * 400 + " or everything?")
    [dialog] = [one["confirm"]["text"]["text"] for one in inside(shown(approval(buttons=(long,)))[1]) if "confirm" in one
                and isinstance(one["confirm"], dict) and "title" in one["confirm"]]  # fmt: skip
    assert "Delete" not in dialog


def test_without_a_public_address_there_is_no_link_that_leads_nowhere() -> None:
    blocks = card_message(approval(), "http://127.0.0.1:8080", has_links=False).blocks
    assert "open" not in verbs(blocks)


@pytest.mark.parametrize("size", [1, 100, 3000, 3001, 8000, 11_000, 12_000, 40_000, 1_000_000])
def test_a_yes_is_offered_only_where_every_character_is_shown(size: int) -> None:
    card = approval(exact="a" * (size - 1) + "Z")
    _, blocks = shown(card)
    assert block_problems(blocks) == []
    if YES & set(verbs(blocks)):
        assert exact_of(blocks) == card.exact
        assert not any(one.get("default_collapsed") for one in blocks)
    else:
        assert size > 8000
        assert "deny" in verbs(blocks)
        assert any(f"{BASE}{card.path}" in text for text in texts(blocks, "text"))


def test_long_reasons_take_the_yes_away_rather_than_being_cut_beside_it() -> None:
    card = approval(lines=tuple(f"Beware: {n} {'x' * 2000}" for n in range(9)))
    _, blocks = shown(card)
    assert not YES & set(verbs(blocks))
    assert any("/approvals/" in text for text in texts(blocks, "text"))


def test_a_slack_that_refuses_containers_gets_the_same_facts_without() -> None:
    _, blocks = shown(approval(), simple=True)
    assert "container" not in {block["type"] for block in blocks}
    assert block_problems(blocks) == []
    assert exact_of(blocks) == approval().exact


STEPS = (
    StepLine(n=1, title="List files", status="done", note="2 files"),
    StepLine(n=2, title="Delete old.log", status="running"),
    StepLine(n=3, title="Tell Bob", status="waits for earlier steps"),
    StepLine(n=4, title="Tell Eve", status="failed", note="no such person"),
)


def run_card(**fields: Any) -> Card:
    given: dict[str, Any] = {
        "subject": "task", "subject_id": "17", "task_id": "17", "tone": "busy", "headline": "tidy up",
        "status": "running, 1 of 4 steps done", "steps": STEPS, "path": "/tasks/17",
    }  # fmt: skip
    return Card(**(given | fields))


def test_a_run_card_is_a_plan_whose_tasks_are_the_steps() -> None:
    _, blocks = shown(run_card(answer="first\nsecond"))
    assert block_problems(blocks) == []
    [plan] = [block for block in blocks if block["type"] == "plan"]
    assert plan["title"] == "Running, 1 of 4 steps done"
    assert [(task["title"], task["status"]) for task in plan["tasks"]] == [
        ("1. List files (done)", "complete"),
        ("2. Delete old.log (running)", "in_progress"),
        ("3. Tell Bob (waits for earlier steps)", "pending"),
        ("4. Tell Eve (failed)", "error"),
    ]
    assert texts([plan["tasks"][0]["output"]], "text") == ["2 files"]
    assert texts([plan["tasks"][3]["details"]], "text") == ["no such person"]
    assert "first\nsecond" in texts(blocks, "text")


def test_a_slack_that_refuses_plans_gets_the_same_steps_as_a_list() -> None:
    _, blocks = shown(run_card(), simple=True)
    assert {"plan", "task_card"} & {block["type"] for block in blocks} == set()
    assert block_problems(blocks) == []
    assert "✓ 1. List files (done): 2 files" in texts(blocks, "text")
    assert "· 3. Tell Bob (waits for earlier steps)" in texts(blocks, "text")
    assert "Running, 1 of 4 steps done" in texts(blocks, "plain_text")


LONG = st.text(max_size=60) | st.sampled_from([HOSTILE, "", " ", "\n", "é" * 5000, '"\\' * 3000, "x" * 50_000])
CARDS = st.builds(
    Card,
    subject=st.sampled_from(["task", "approval"]),
    subject_id=st.just("0190a0a0-0000-7000-8000-000000000001"),
    task_id=st.just("17"),
    tone=st.just("ask"),
    headline=LONG,
    status=LONG,
    lines=st.lists(LONG, max_size=30).map(tuple),
    quote=LONG,
    exact=LONG,
    steps=st.lists(st.builds(StepLine, n=st.integers(1, 50), title=LONG, status=LONG, note=LONG), max_size=50).map(
        tuple
    ),
    answer=LONG,
    buttons=st.lists(
        st.builds(
            Button,
            verb=st.sampled_from(["approve", "deny", "stop", "undo"]),
            label=LONG,
            style=st.sampled_from(["primary", "danger", "plain"]),
            confirm=LONG,
        ),
        max_size=4,
        unique_by=lambda button: button.verb,
    ).map(tuple),
    expires_at=st.none() | st.just(datetime(2026, 11, 22, 7, 0, tzinfo=UTC)),
    path=st.just("/tasks/17"),
)


@settings(max_examples=150, deadline=None)
@given(CARDS, st.booleans(), st.booleans())
def test_slack_takes_any_card(card: Card, has_links: bool, simple: bool) -> None:
    message = card_message(card, BASE, has_links=has_links, simple=simple)
    assert block_problems(message.blocks) == []
    assert 0 < len(message.text) <= 4000
    assert len(json.dumps(message.blocks, ensure_ascii=False)) <= BLOCKS_CHARS
    if card.subject == "approval" and YES & set(verbs(message.blocks)):
        assert exact_of(message.blocks) == card.exact


@settings(max_examples=100, deadline=None)
@given(st.text() | st.just(HOSTILE), CARDS)
def test_foreign_text_is_never_markup(text: str, card: Card) -> None:
    lines = (text, f"May decide: {text}", f"Beware: {text}")
    steps = (StepLine(n=1, title=text, status=text, note=text), StepLine(n=2, title=text, status="done", note=text))
    said = {"headline": text, "status": text, "lines": lines, "quote": text, "exact": text, "answer": text}
    hostile = card.model_copy(update=said | {"steps": steps})
    message = card_message(hostile, BASE, has_links=False)
    for markup in texts(message.blocks, "mrkdwn"):
        assert markup.startswith("Expires <!date^1795330800^")
    kinds = {one.get("type") for one in inside(message.blocks)}
    assert not kinds & {"user", "usergroup", "broadcast", "link", "channel", "emoji", "markdown"}
    assert not any(one.get("emoji", False) for one in inside(message.blocks))
    assert "<" not in message.text


@settings(deadline=None)
@given(LONG | st.text(max_size=3000))
def test_slack_takes_any_words(words: str) -> None:
    message = words_message(words, BASE)
    assert block_problems(message.blocks) == []
    assert message.text.strip()
    assert "<" not in message.text
    if len(words) < 7000 and words.strip():
        assert "".join(texts(message.blocks, "text")) == words


def test_words_too_long_for_slack_say_so_and_where_the_rest_is() -> None:
    said = "".join(
        str(one.get("text") or one.get("url"))
        for one in inside(words_message("y" * 40_000, BASE).blocks)
        if one.get("type") in ("text", "link")
    )
    assert "33,000 more characters" in said
    assert BASE in said


def test_only_our_own_addresses_become_links() -> None:
    blocks = words_message(f"see {BASE}/tasks/17. Not http://evil.example or {BASE}.evil.example/x", BASE).blocks
    assert [one["url"] for one in inside(blocks) if one.get("type") == "link"] == [f"{BASE}/tasks/17"]


def test_the_steps_of_the_longest_plan_do_not_push_the_buttons_out() -> None:
    steps = tuple(StepLine(n=n, title="t" * 500, status="next") for n in range(1, 51))
    card = Card(subject="task", subject_id="1", task_id="1", tone="busy", headline="h", status="running", steps=steps,
                buttons=(Button(verb="stop", label="Stop", confirm="Stop this task?"),), path="/tasks/1")  # fmt: skip
    _, blocks = shown(card)
    assert "stop" in verbs(blocks)
    assert any("further steps" in text for text in texts(blocks, "text"))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=140) | st.just(HOSTILE[:140]), st.sampled_from(["headline", "lines", "quote", "steps"]))
def test_other_peoples_text_adds_no_block_no_button_and_nothing_that_folds(text: str, where: str) -> None:
    """A card is forged by what looks like a part of ours: whatever the text says, the parts stay the same."""

    def drawn(words: str) -> list[Any]:
        value: Any = {"lines": (f"Asked by: {words}",), "steps": (STEPS[0].model_copy(update={"title": words}),)}
        card = (run_card if where == "steps" else approval)(**{where: value.get(where, words)})
        blocks = shown(card, simple=False)[1]
        return [
            (block["type"], labels([block]), block.get("expand"), block.get("default_collapsed")) for block in blocks
        ]

    assert drawn(f"x{text}") == drawn("x")
