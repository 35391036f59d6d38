"""What may go wrong under a story: each kind of mishap, planned on every leg of the chat at once.

A story that holds under each of these holds whatever one line does. What people do about it is what they would do: who
gets no answer to a press presses again, and what a vendor could not deliver it delivers again.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.sim.faults import (
    DISCONNECT,
    DONE_BUT_ANSWER_LOST,
    DROP_BEFORE,
    DUPLICATE,
    Kind,
    delay,
    status,
)
from tests.sim.world import Vendor, World

LATE_S = 0.3


@dataclass(frozen=True)
class Mishap:
    """What happens to calls of ours, and what to deliveries to us."""

    name: str
    call: Kind | None = None
    delivery: Kind | None = None

    @property
    def may_double(self) -> bool:
        """Whether a call of ours had its effect and we cannot know it."""
        return self.call is not None and (
            self.call.name in ("done_but_answer_lost", "disconnect")
            or (self.call.name, self.call.code) == ("status", 500)
        )


EVERY = (
    Mishap("refused as too many", call=status(429, retry_after_s=1)),
    Mishap("broken at their end and at our door", call=status(500), delivery=status(503)),
    Mishap("late", call=delay(LATE_S), delivery=delay(LATE_S)),
    Mishap("cut before it began", call=DROP_BEFORE, delivery=DROP_BEFORE),
    Mishap("done and the answer lost", call=DONE_BUT_ANSWER_LOST, delivery=DONE_BUT_ANSWER_LOST),
    Mishap("the answer torn, the line cut", call=DISCONNECT, delivery=DISCONNECT),
    Mishap("delivered twice at once", delivery=DUPLICATE),
)

CALLS: dict[str, tuple[str, ...]] = {
    "slack": ("chat.postMessage", "chat.update"),
    "telegram": ("sendMessage", "editMessageText", "answerCallbackQuery"),
    "twilio": ("messages.create",),
    "anthropic": ("messages",),
}
DELIVERIES: dict[str, tuple[str, ...]] = {
    "slack": ("message", "block_actions"),
    "telegram": ("message", "callback_query"),
    "twilio": ("inbound",),
    "anthropic": (),
}
OF_A_PRESS = frozenset({"answerCallbackQuery", "block_actions", "callback_query"})
# An SMS of which it is not known whether it left is never sent again: then nobody is asked by phone, another story.
NEVER_AGAIN = {"twilio": ("status 500", "drop_before")}


def plan(world: World, mishap: Mishap, vendors: tuple[Vendor, ...], *, presses: bool) -> None:
    """Once on each leg; those of a press only where somebody presses something."""
    for vendor in vendors:
        spared = mishap.call and _word(mishap.call) in NEVER_AGAIN.get(vendor, ())
        for method in CALLS[vendor] if mishap.call and not spared else ():
            if presses or method not in OF_A_PRESS:
                world.plan(vendor, method, mishap.call)
        for method in DELIVERIES[vendor] if mishap.delivery else ():
            if presses or method not in OF_A_PRESS:
                world.plan(vendor, method, mishap.delivery, "out")


def _word(kind: Kind) -> str:
    return f"status {kind.code}" if kind.name == "status" else kind.name
