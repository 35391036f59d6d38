"""What a Telegram button carries: which subject, which verb, and nothing that gives a right to anything.

Pure. `callback_data` is 64 bytes at most and any client can send any bytes, so it is read by one strict pattern and says
only what is wanted; who may do it is decided where the press is written down. A button that asks once more is two
buttons: `c:` asks, and the `a:` or `t:` it leads to acts; `m:` shows the rarer answers, `w:` asks for words,
`s:` shows the whole action, `b:` goes back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args
from uuid import UUID

from core.models import Verdict

Kind = Literal["act", "confirm", "back", "more", "words", "show"]

CALLBACK_BYTES: Final = 64  # https://core.telegram.org/bots/api#inlinekeyboardbutton
TASK_VERBS: Final = frozenset({"stop", "pause", "resume", "retry", "undo"})
VERDICTS: Final = frozenset(get_args(Verdict))
# What is answered in words; a denial may be.
IN_WORDS: Final = frozenset({"edit", "ask", "delegate", "deny"})

_KINDS: Final[Mapping[str, Kind]] = {
    "a": "act", "t": "act", "c": "confirm", "b": "back", "m": "more", "w": "words", "s": "show",
}  # fmt: skip
_APPROVAL = re.compile(r"([0-9a-f]{32})", re.ASCII)
_TASK = re.compile(r"([1-9][0-9]{0,17})", re.ASCII)
_DATA = re.compile(r"([atcw]):([0-9a-f]{1,32}):([a-z_]{1,20})(?::([0-9]{1,2}))?|([bms]):([0-9a-f]{1,32})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tap:
    """`act`: do the verb now. `confirm`: ask once more first. `more`: show the rarer answers. `words`: ask for words; of an
    edit `field` is the argument that is meant, counted from 1, and 0 several. `show`: send all of the action. `back`: show
    the card's own buttons again."""

    kind: Kind
    subject: Literal["approval", "task"]
    subject_id: str
    verb: str = ""
    field: int | None = None

    @property
    def data(self) -> str:
        """As `callback_data`."""
        is_approval = self.subject == "approval"
        key = UUID(self.subject_id).hex if is_approval else self.subject_id
        sign = {
            "act": "a" if is_approval else "t",
            "confirm": "c",
            "back": "b",
            "more": "m",
            "words": "w",
            "show": "s",
        }[self.kind]
        data = ":".join(
            (sign, key, *([self.verb] if self.verb else []), *([] if self.field is None else [str(self.field)]))
        )
        assert len(data.encode()) <= CALLBACK_BYTES, data
        return data


def read_tap(data: str) -> Tap | None:
    """The tap that `callback_data` stands for; None for anything that no button of ours carries."""
    found = _DATA.fullmatch(data)
    if found is None:
        return None
    sign, key, verb = (found[1], found[2], found[3]) if found[1] else (found[5], found[6], "")
    kind = _KINDS[sign]
    field = int(found[4]) if found[4] else None
    if (kind in ("more", "words", "show") and not _APPROVAL.fullmatch(key)) or (
        field is not None and (kind, verb) != ("words", "edit")
    ):
        return None
    if sign != "t" and _APPROVAL.fullmatch(key):
        known = not found[1] or verb in (IN_WORDS if kind == "words" else VERDICTS)
        return Tap(kind, "approval", str(UUID(hex=key)), verb, field) if known else None
    if sign != "a" and _TASK.fullmatch(key):
        known = sign == "b" or verb in TASK_VERBS
        return Tap(kind, "task", key, verb) if known else None
    return None
