"""A task's run card in Block Kit: one message, edited in place, with its steps as a plan. Pure.

The plan block is for showing only; a Slack that does not take it gets the same steps as a list. A state is always also a
word, for those who see no colours.
https://docs.slack.dev/reference/block-kit/blocks/plan-block
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bot.slack.blocks.elements import Block, bullets, button, context, header, link_button, paragraph, texts
from bot.slack.text import clipped
from bot.slack.translate import TASK_PREFIX
from core.cards import Card, StepLine

TITLE_CHARS: Final = 300
# Slack does not publish how many task cards a plan takes.
TASKS_MOST: Final = 50

_SIGN: Final = {"done": "✓", "failed": "✗", "running": "▸", "cancelled": "–", "skipped": "–"}
_STATE: Final = {
    "done": "complete",
    "running": "in_progress",
    "failed": "error",
    "not known whether it happened": "error",
}


def run_blocks(card: Card, link: str, *, simple: bool) -> Iterator[Block]:
    yield from header(card.headline.strip() or "Task")
    as_plan = not simple and 0 < len(card.steps) <= TASKS_MOST
    if as_plan:
        yield _plan(card)
    elif card.status.strip():
        yield context(card.stated)
    if lines := [line for line in card.lines if line.strip()]:
        yield bullets(lines)
    if card.steps and not as_plan:
        yield bullets(_as_line(step) for step in card.steps)
    if card.answer.strip():
        yield paragraph(card.answer)
    pressable = [button(one, f"{TASK_PREFIX}{card.task_id}", card.headline) for one in card.buttons]
    if link:
        pressable.append(link_button(link))
    if pressable:
        yield {"type": "actions", "elements": pressable}


def _plan(card: Card) -> Block:
    return {
        "type": "plan",
        "title": clipped(card.stated.strip() or "Steps", TITLE_CHARS),
        "tasks": [_task(card.task_id, at, step) for at, step in enumerate(card.steps)],
    }


def _task(task_id: str, at: int, step: StepLine) -> Block:
    state = _STATE.get(step.status, "pending")
    made: Block = {
        "type": "task_card",
        "task_id": f"{task_id}.{at}",
        "title": f"{step.n}. {step.title} ({step.status})",
        "status": state,
    }
    if step.note.strip():
        place = "output" if state == "complete" else "details"
        made[place] = {
            "type": "rich_text",
            "elements": [{"type": "rich_text_section", "elements": texts(step.note)}],
        }
    return made


def _as_line(step: StepLine) -> str:
    note = f": {step.note}" if step.note else ""
    return f"{_SIGN.get(step.status, '·')} {step.n}. {step.title} ({step.status}){note}"
