"""How often a chat may be written to: the vendor's flood limits, kept before they bite.

Pure but for its memory of the last sends; the clock comes in. https://core.telegram.org/bots/faq#my-bot-is-hitting-limits
A send that is too early is told how long to wait; the library's own rate limiter is not used, since it halts every
chat when one is refused and sleeps inside the call. Progress gets a part of what a chat takes: a question, an answer or an
end always finds the rest.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

Limits = tuple[tuple[int, float], ...]

# (sends, within seconds): one a second with a short burst; in groups also twenty a minute.
PRIVATE: Final[Limits] = ((5, 5.0),)
GROUP: Final[Limits] = ((5, 5.0), (20, 60.0))
# What progress may take of it, all sends counted: the rest stays free for what people wait for.
PRIVATE_PROGRESS: Final[Limits] = ((1, 1.0), (3, 5.0))
GROUP_PROGRESS: Final[Limits] = ((1, 3.0), (3, 5.0), (10, 60.0))
CHATS_REMEMBERED: Final = 5_000


class Spacing:
    def __init__(self, *, private: Limits | None = None, group: Limits | None = None) -> None:
        self._private, self._group = private or PRIVATE, group or GROUP
        self._sends: OrderedDict[int, deque[float]] = OrderedDict()

    def wait_s(self, chat: int, now: float, *, is_progress: bool = False) -> float:
        """Seconds until one more send to this chat is in order; 0.0 takes the turn."""
        limits = self._limits(chat)
        sends = self._of(chat)
        if is_progress:
            limits = (*limits, *(GROUP_PROGRESS if chat < 0 else PRIVATE_PROGRESS))
        early_s = max(too_early_s(sends, count, within_s, now) for count, within_s in limits)
        if early_s <= 0:
            sends.append(now)
        return max(early_s, 0.0)

    def spend(self, chat: int, now: float) -> None:
        """Count a send that waits for nobody: an answer to somebody's tap or reply."""
        self._of(chat).append(now)

    def _limits(self, chat: int) -> Limits:
        return self._group if chat < 0 else self._private  # groups have negative ids

    def _of(self, chat: int) -> deque[float]:
        sends = self._sends.setdefault(chat, deque(maxlen=max(count for count, _ in self._limits(chat))))
        self._sends.move_to_end(chat)
        while len(self._sends) > CHATS_REMEMBERED:
            self._sends.popitem(last=False)
        return sends


def too_early_s(sends: deque[float], count: int, within_s: float, now: float) -> float:
    """How much too early a send is, when only `count` are allowed within so many seconds."""
    return sends[-count] + within_s - now if len(sends) >= count else 0.0
