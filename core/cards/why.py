"""Why a task is where it is: its turns with what they weighed, each action with its rule and its evidence, and every move.

Pure. What is not recorded is left out, never made up. Names, reasons and the model's own words are shown with everything
hidden in them made visible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from core.cards.answers import where_text
from core.cards.task import status_word
from core.cards.title import step_title
from core.display import visible

TURNS_SHOWN: Final = 5
STEPS_SHOWN: Final = 12
MOVES_SHOWN: Final = 10
WORDS_CHARS: Final = 300
_TURNS: Final = ("plan", "think")
_FINAL: Final = {
    "approved": "approved", "consumed": "approved", "denied": "denied", "expired": "nobody answered in time",
    "undeliverable": "nobody could be asked", "superseded": "replaced by another ask", "cancelled": "withdrawn",
}  # fmt: skip

Row = Mapping[str, Any]


def why_text(
    task: Row,
    events: Sequence[Row],
    approvals: Sequence[Row],
    judged: Mapping[int, str] | None = None,
    models: Mapping[int, str] | None = None,
) -> str:
    """`judged` is what the rules of now say to each action, by step; `models` is which model took each turn."""
    steps = task["steps"]
    turns = [s for s in steps if s["kind"] in _TURNS][-TURNS_SHOWN:]
    others = [s for s in steps if s["kind"] not in _TURNS]
    reasons = _reasons(steps)
    asked: dict[int, list[Row]] = {}
    for approval in approvals:
        asked.setdefault(approval["n"], []).append(approval)
    lines = [f"Task {task['id']}: {visible(task['goal'])} ({status_word(task)})"]
    for turn in turns:
        lines += _turn(turn, (models or {}).get(turn["n"], ""))
    if len(others) > STEPS_SHOWN:
        lines.append(f"(the last {STEPS_SHOWN} of {len(others)} steps)")
    for step in others[-STEPS_SHOWN:]:
        lines += _step(
            step, steps, reasons.get(step["n"], ""), asked.get(step["n"], []), (judged or {}).get(step["n"], "")
        )
    for turn in turns:
        lines += [f"  {line}" for approval in asked.get(turn["n"], []) for line in _asked(approval)]
    lines.append("Moves:")
    lines += [_move(event) for event in events[-MOVES_SHOWN:]]
    return "\n".join(lines)


def _reasons(steps: Sequence[Row]) -> dict[int, str]:
    """What the turn that proposed a step said it is for."""
    given = (_result(s).get("why") for s in steps if s["kind"] in _TURNS)
    return {
        int(n): str(why) for whys in given if isinstance(whys, Mapping) for n, why in whys.items() if str(n).isdecimal()
    }


def _turn(turn: Row, model: str) -> list[str]:
    result = _result(turn)
    said = str(result.get("say") or result.get("text") or "")
    by = f" ({visible(model)})" if model else ""
    lines = [f"  {turn['n']}. turn{by}, {turn['status']}" + (f": {_words(said)}" if said else "")]
    if turn["depends_on"]:
        lines.append(f"     it had read: {_numbers(turn['depends_on'])}")
    weighed = result.get("weighed")
    if isinstance(weighed, list):
        lines += [f"     weighed: {_words(str(one))}" for one in weighed]
    return lines


def _step(step: Row, steps: Sequence[Row], reason: str, asked: Sequence[Row], judged: str) -> list[str]:
    # Of what was asked, the card's title: those are the values that people were shown.
    named = next((_card(a)["title"] for a in asked if _card(a).get("title")), "")
    title = visible(named) or step_title(step, steps)
    lines = [f"  {step['n']}. {title}, {step['status']}" + (f": {_words(reason)}" if reason else "")]
    if step["depends_on"]:
        lines.append(f"     after: {_numbers(step['depends_on'])}")
    for approval in asked:
        lines += [f"     {line}" for line in _asked(approval)]
    if not asked and judged:
        lines.append(f"     the rules now: {visible(judged)}")
    if step["error"]:
        lines.append(f"     {_words(step['error'])}")
    return lines


def _asked(approval: Row) -> list[str]:
    """Why people were asked, by which rule, about whose words, and what they answered."""
    card = _card(approval)
    reasons = "; ".join(visible(str(r)) for r in card.get("reasons", []))
    rule = f" by the rule {visible(str(card['rule']))!r}" if card.get("rule") else ""
    lines = [f"step {approval['n']} was asked{rule} because {reasons} ({approval['status']})"]
    lines += [f"evidence: {visible(str(line))}" for line in card.get("provenance", [])]
    for vote in approval.get("votes") or ():
        why = f": {_words(vote['reason'])}" if vote.get("reason") else ""
        lines.append(
            f"{vote['verdict'].replace('_', ' ')} by {visible(vote['by'] or vote['key'])} {where_text(vote['channel'])}{why}"
        )
    if not approval.get("votes") and approval["status"] in _FINAL:
        lines.append(_FINAL[approval["status"]])
    return lines


def _card(approval: Row) -> Mapping[str, Any]:
    """Empty where the row is damaged: the others are still told."""
    card = approval["card"]
    return card if isinstance(card, dict) else {}


def _move(event: Row) -> str:
    what = f"step {event['n']}" if event["n"] and event["machine"] == "step" else event["machine"]
    why = f": {visible(event['why'])}" if event["why"] else ""
    return f"  {event['at'][11:19]} {what} {event['from'] or 'new'} → {event['to']} by {event['actor']}{why}"


def _result(step: Row) -> Mapping[str, Any]:
    return step["result"] if isinstance(step["result"], Mapping) else {}


def _numbers(steps: Sequence[int]) -> str:
    return f"step{'s' if len(steps) > 1 else ''} {', '.join(map(str, steps))}"


def _words(text: str) -> str:
    shown = visible(text[:WORDS_CHARS])
    return shown + "…" if len(text) > WORDS_CHARS else shown
