"""Shows a final answer while the model writes it: best effort, over the ring, to whoever listens; nothing is kept.

Only words to the person are shown. A turn that calls a tool after all takes back what was shown, secrets are masked, and the
end of what is written so far waits where it may be the beginning of one. `bot.drafts` and the open pages listen.
"""

from __future__ import annotations

import asyncio

from core import config
from core.display import Masks
from core.ring import Ring

CUT = " …"


class Writing:
    """One turn's text on its way. Called with each piece, with None when what came so far is not the answer."""

    def __init__(self, ring: Ring, masks: Masks, task: int, turn: int) -> None:
        self._ring, self._masks, self._task, self._turn = ring, masks, task, turn
        self._text = ""
        self._shown = ""
        self._soon: asyncio.TimerHandle | None = None

    def __call__(self, piece: str | None) -> None:
        if piece is None:
            self._text = ""
            if self._shown:
                self._say("")
            return
        if len(self._text) > config.DRAFT_CHARS_MOST:
            return
        self._text += piece
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(config.DRAFT_GAP_S, self._show)

    def end(self, *, is_answer: bool) -> None:
        """The turn is over: its text is the answer, which the task's row has now, or it is not, and is taken back."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._shown:
            self._say(self._shown if is_answer else "", is_over=True)

    def _show(self) -> None:
        self._soon = None
        text = readable(self._text, self._masks)
        if text != self._shown and len(text) >= config.DRAFT_CHARS_LEAST:
            self._say(text)

    def _say(self, text: str, *, is_over: bool = False) -> None:
        self._shown = text
        self._ring.draft({"task": self._task, "turn": self._turn, "text": text, "is_over": is_over})


def readable(text: str, masks: Masks) -> str:
    """The text so far as it may be seen. A few words are held back too: they may be the preamble of a call."""
    cut = masks.settled(text)
    if len(cut) > config.DRAFT_CHARS_MOST:
        cut = masks.settled(cut[: config.DRAFT_CHARS_MOST]) + CUT
    return masks(cut).encode("utf-8", "replace").decode().lstrip()
