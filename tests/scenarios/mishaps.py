"""What may go wrong under a story: each kind of mishap, planned on every leg of the chat at once.

A story that holds under each of these holds whatever one line does. What people do about it is what they would do: who
gets no answer to a press presses again, and what a vendor could not deliver it delivers again.
"""

from __future__ import annotations

from collections.abc import Collection
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
from tests.sim.faults import (
    Leg as Way,
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


@dataclass(frozen=True)
class Leg:
    """What the app calls ("in"), or what is delivered to it ("out"). A story without a line of these words does not come by
    it, nor one that is played over another transport."""

    vendor: Vendor
    method: str
    way: Way = "in"
    where: str = ""
    over: str = ""


LEGS = (
    Leg("slack", "chat.postMessage"),
    Leg("slack", "chat.update", where=" sees"),
    Leg("slack", "views.open", where="fills in"),
    Leg("slack", "views.publish", where="at home"),
    Leg("slack", "files.info", where="says aloud"),
    Leg("slack", "message", "out"),
    Leg("slack", "app_mention", "out", where="mentions"),
    Leg("slack", "/sayso", "out", where="commands"),
    Leg("slack", "message_action", "out", where="chooses"),
    Leg("slack", "view_submission", "out", where="fills in"),
    Leg("slack", "app_home_opened", "out", where="at home"),
    Leg("slack", "block_actions", "out", where="presses"),
    Leg("telegram", "sendMessage"),
    Leg("telegram", "editMessageText", where="presses"),
    Leg("telegram", "setMessageReaction", where="presses"),
    Leg("telegram", "answerCallbackQuery", where="presses"),
    Leg("telegram", "editMessageReplyMarkup", where="fills in"),
    Leg("telegram", "deleteMessage", where="fills in"),
    Leg("telegram", "getFile", where="says aloud"),
    Leg("telegram", "download", where="says aloud"),
    Leg("telegram", "getUpdates", over="polling"),
    Leg("telegram", "message", "out", over="webhook"),
    Leg("telegram", "callback_query", "out", where="presses", over="webhook"),
    Leg("twilio", "messages.create", where="texts"),
    Leg("twilio", "inbound", "out", where="texts"),
    Leg("anthropic", "messages", where="the model says"),
)
LISTENS = Leg("openai", "audio.transcriptions", where="says aloud")
# An SMS of which it is not known whether it left is never sent again: then nobody is asked by phone, another story.
NEVER_AGAIN = {"twilio": ("status 500", "drop_before")}


def plan(world: World, mishap: Mishap, chat: str, lines: Collection[str]) -> None:
    """Once on each leg by which the story comes: its `lines` as they begin, played in this chat."""
    # What is said in Telegram somebody has to listen to; Slack does so itself.
    legs = (*LEGS, LISTENS) if chat == "telegram" else LEGS
    for leg in legs:
        kind = mishap.delivery if leg.way == "out" else mishap.call
        is_met = any(leg.where in line for line in lines) and leg.over in ("", world.telegram_mode)
        is_there = leg.vendor == chat or leg.vendor not in ("slack", "telegram")
        if kind and is_met and is_there and not (leg.way == "in" and _word(kind) in NEVER_AGAIN.get(leg.vendor, ())):
            world.plan(leg.vendor, leg.method, kind, leg.way)


def _word(kind: Kind) -> str:
    return f"status {kind.code}" if kind.name == "status" else kind.name
