"""How an approval was asked and what came of it, line by line, for its page.

Pure. What others wrote (names, reasons, vendors' errors) is shown with everything hidden in it made visible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from core.cards.answers import where_text
from core.display import visible

_WORDS: Final[Mapping[str, str]] = {
    "requested": "Asked for",
    "put_off": "Put off",
    "skipped": "Not asked",
    "asked": "Asked",
    "not_delivered": "Not delivered",
    "opened": "Opened",
    "consumed": "Begun",
    "undeliverable": "Nobody could be asked",
}
_RUNGS: Final[Mapping[str, str]] = {"conversation": "the conversation", "direct": "direct messages", "sms": "SMS"}


def timeline_lines(timeline: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """`timeline` is what `store.ladder.timelines` answers for one approval: [{at, text}]."""
    return [{"at": line["at"], "text": _text(line)} for line in timeline]


def _text(line: Mapping[str, Any]) -> str:
    if line["what"] == "rung":
        kind, _, why = line["note"].partition(": ")
        return f"Rung {_RUNGS.get(kind, kind)}: {visible(why)}"
    text = _WORDS.get(line["what"], line["what"].replace("_", " ").capitalize())
    if line["who"]:
        text += f" {'by' if line['what'] not in ('asked', 'skipped', 'put_off', 'not_delivered') else ''} {visible(line['who'])}"
    if line["channel"]:
        text += f" {where_text(line['channel'])}"
    return " ".join(text.split()) + (f": {visible(line['note'])}" if line["note"] else "")
