"""The shape of a card: what a sender gets and turns into its vendor's markup."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from typing import Final, Literal

from core.models import Frozen

FINGERPRINT_BYTES: Final = 16
PREVIEW: Final = "What it would do"
Tone = Literal["neutral", "busy", "ask", "good", "bad"]


class Button(Frozen):
    """`verb` is a `Verdict`, or `pause resume retry undo` for a task. `confirm`: ask once more, naming the verb.

    `yes` is what the answer to that question is called where it is a button ("Delete", not "Yes"); `is_final` marks
    what can't be taken back.
    """

    verb: str
    label: str
    style: Literal["primary", "danger", "plain"] = "plain"
    confirm: str = ""
    yes: str = ""
    is_final: bool = False


class StepLine(Frozen):
    n: int
    title: str
    status: str
    note: str = ""


class Card(Frozen):
    """One subject as a person sees it.

    `subject_id` is the approval's id or the task's. `headline` is verb + object + place. `lines` are short facts in
    order of weight. `exact` is everything that will run, whole: where a sender can't show all of it, it sends
    `card.without_yes()`. `more` are answers that few need, to be offered with less weight. `decided` says in a few words
    what became of an approval, for the place of its buttons. `path` is where the web shows the same.
    """

    subject: Literal["task", "approval"]
    subject_id: str
    task_id: str
    tone: Tone
    headline: str
    status: str
    lines: tuple[str, ...] = ()
    quote: str = ""
    exact: str = ""
    steps: tuple[StepLine, ...] = ()
    answer: str = ""
    buttons: tuple[Button, ...] = ()
    more: tuple[Button, ...] = ()
    expires_at: datetime | None = None
    decided: str = ""
    path: str = "/"

    @property
    def summary(self) -> str:
        """One line for notifications and screen readers."""
        return f"{self.headline} ({self.status})"

    @property
    def stated(self) -> str:
        """The status as a line of its own."""
        return self.status[:1].upper() + self.status[1:]

    def fingerprint(self) -> str:
        """The same for two cards that look the same."""
        shown = self.model_dump_json().encode("utf-8", "surrogatepass")
        return hashlib.blake2b(shown, digest_size=FINGERPRINT_BYTES).hexdigest()

    def masked(self, mask: Callable[[str], str]) -> Card:
        """The card with known secret values taken out of every text that came from outside."""
        return self.model_copy(
            update={
                "headline": mask(self.headline),
                "status": mask(self.status),
                "lines": tuple(mask(line) for line in self.lines),
                "quote": mask(self.quote),
                "exact": mask(self.exact),
                "answer": mask(self.answer),
                "decided": mask(self.decided),
                "buttons": tuple(b.model_copy(update={"confirm": mask(b.confirm)}) for b in self.buttons),
                "more": tuple(b.model_copy(update={"confirm": mask(b.confirm)}) for b in self.more),
                "steps": tuple(
                    s.model_copy(update={"title": mask(s.title), "status": mask(s.status), "note": mask(s.note)})
                    for s in self.steps
                ),
            }
        )

    def without_yes(self, url: str) -> Card:
        """The card for a surface that can't show the whole action: no button says yes, and it says where to read it."""
        kept = tuple(b for b in self.buttons if b.verb not in YES)
        more = tuple(b for b in self.more if b.verb not in YES)
        where = f"The whole action is too long for this chat. Read and decide it at {url}"
        return self.model_copy(update={"buttons": kept, "more": more, "exact": "", "lines": (*self.lines, where)})


def labelled(line: str) -> tuple[str, str]:
    """A line of a card as (label, text); without a label of ours the label is empty."""
    found = _LABELLED.match(line)
    return (found[1], found[2]) if found else ("", line)


_LABELLED: Final = re.compile(
    rf"(Why you are asked|Beware|{PREVIEW}|May decide|Asked by|Reason|\d+ of \d+ approved): (.+)", re.S
)
YES = frozenset({"approve", "approve_similar", "grant", "not_happened"})
