"""What may go wrong under a story: each kind of mishap, planned on every leg of the world at once.

A story that holds under each of these holds whatever one line does. What people do about it is what they would do: who
gets no answer to a press presses again, and what a vendor could not deliver it delivers again. `LEGS` names all that we call
and all that is delivered to us, and for each the story that comes by it whatever happens; tests keep it complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.sim.faults import (
    DISCONNECT,
    DONE_BUT_ANSWER_LOST,
    DROP_BEFORE,
    DUPLICATE,
    REORDER,
    Kind,
    delay,
    status,
)
from tests.sim.faults import (
    Leg as Way,
)
from tests.sim.world import Vendor, World

LATE_S = 0.3
LOST_MOST = 6


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
    Mishap("overtaken by the next", delivery=REORDER),
)


@dataclass(frozen=True)
class Leg:
    """What the app calls ("in"), or what is delivered to it ("out"). `by` is the story that comes by it for sure, in `chat`:
    the vendor's own unless another is named. `after`: only answers that are lost on that leg lead here."""

    vendor: Vendor
    method: str
    by: str
    way: Way = "in"
    chat: str = ""
    after: str = ""
    at_start: bool = False

    @property
    def place(self) -> tuple[str, str]:
        return self.by, self.chat or self.vendor

    def kind(self, mishap: Mishap) -> Kind | None:
        """What this mishap does to it, if anything."""
        kind = mishap.delivery if self.way == "out" else mishap.call
        return None if kind is None or (self.vendor, self.method, str(kind)) in BY_ITSELF else kind


AROUND, ONCALL, DENY, VOICE, WRITTEN = "around", "on_call", "deny_with_reason", "voice", "written"
SMS = "escalation_to_sms"

LEGS = (
    Leg("slack", "auth.test", VOICE, at_start=True),
    Leg("slack", "apps.connections.open", VOICE, at_start=True),
    Leg("slack", "chat.postMessage", AROUND),
    Leg("slack", "chat.update", AROUND),
    Leg("slack", "conversations.replies", AROUND, after="chat.postMessage"),
    Leg("slack", "conversations.history", AROUND, after="chat.postMessage"),
    Leg("slack", "conversations.open", AROUND),
    Leg("slack", "chat.postEphemeral", ONCALL),
    Leg("slack", "response_url", ONCALL, after="chat.postEphemeral"),
    Leg("slack", "chat.startStream", WRITTEN),
    Leg("slack", "chat.appendStream", WRITTEN),
    Leg("slack", "chat.stopStream", WRITTEN),
    Leg("slack", "chat.delete", WRITTEN),
    Leg("slack", "chat.getPermalink", AROUND),
    Leg("slack", "views.open", AROUND),
    Leg("slack", "views.update", ONCALL),
    Leg("slack", "views.publish", AROUND),
    Leg("slack", "usergroups.users.list", ONCALL),
    Leg("slack", "agents.sessions.setStatus", WRITTEN),
    Leg("slack", "assistant.threads.setSuggestedPrompts", WRITTEN),
    Leg("slack", "files.info", VOICE),
    Leg("slack", "download", VOICE),
    Leg("slack", "files.getUploadURLExternal", WRITTEN),
    Leg("slack", "upload", WRITTEN),
    Leg("slack", "files.completeUploadExternal", WRITTEN),
    Leg("slack", "message", WRITTEN, "out"),
    Leg("slack", "app_mention", AROUND, "out"),
    Leg("slack", "/sayso", AROUND, "out"),
    Leg("slack", "message_action", AROUND, "out"),
    Leg("slack", "view_submission", AROUND, "out"),
    Leg("slack", "app_home_opened", AROUND, "out"),
    Leg("slack", "block_actions", AROUND, "out"),
    Leg("slack", "agent_session_stopped", WRITTEN, "out"),
    Leg("slack", "subteam_members_changed", ONCALL, "out"),
    Leg("telegram", "getMe", DENY, at_start=True),
    Leg("telegram", "setWebhook", DENY, at_start=True),
    Leg("telegram", "setMyCommands", DENY, at_start=True),
    Leg("telegram", "deleteWebhook", VOICE, at_start=True),
    Leg("telegram", "getUpdates", VOICE),
    Leg("telegram", "sendMessage", DENY),
    Leg("telegram", "editMessageText", DENY),
    Leg("telegram", "editMessageReplyMarkup", DENY),
    Leg("telegram", "deleteMessage", DENY),
    Leg("telegram", "answerCallbackQuery", DENY),
    Leg("telegram", "setMessageReaction", DENY),
    Leg("telegram", "sendMessageDraft", WRITTEN),
    Leg("telegram", "sendDocument", WRITTEN),
    Leg("telegram", "getFile", VOICE),
    Leg("telegram", "download", VOICE),
    Leg("telegram", "message", DENY, "out"),
    Leg("telegram", "callback_query", DENY, "out"),
    Leg("telegram", "stopped_message_generation", WRITTEN, "out"),
    Leg("twilio", "messages.create", SMS, chat="web"),
    Leg("twilio", "inbound", SMS, "out", chat="web"),
    Leg("twilio", "status", SMS, "out", chat="web"),
    Leg("anthropic", "messages", WRITTEN, chat="telegram"),
    Leg("openai", "chat.completions", WRITTEN, chat="telegram"),
    Leg("openai", "audio.transcriptions", VOICE, chat="telegram"),
)
# An SMS of which it is not known whether it left is never sent again: what then becomes of the question is a story of its
# own, whose own lines plan this.
BY_ITSELF = {
    ("twilio", "messages.create", "500"): "text_never_leaves",
    ("twilio", "messages.create", "drop before"): "text_never_leaves",
}
# What is called when nobody chats: by `doctor`, which says that the vendor does not answer.
NOT_IN_CHATS = {("slack", "blocks.validate"): "tests/test_doctor.py"}


def runs() -> Iterator[tuple[str, str, Mishap]]:
    """(story, chat, mishap): so few that each leg meets each mishap that there is for it."""
    for mishap in EVERY:
        yield from sorted({(*leg.place, mishap) for leg in LEGS if leg.kind(mishap)}, key=lambda run: run[:2])  # type: ignore[misc]  # the star


def plan(world: World, mishap: Mishap, story: str, chat: str, *, at_start: bool = False) -> None:
    """Once on each leg that the story does not spoil itself. Those that it comes by for sure have to be met, others may be."""
    own = {(vendor, method) for (vendor, method, _), by in BY_ITSELF.items() if by == story}
    for leg in LEGS:
        if (leg.vendor, leg.method) in own:
            continue
        kind, is_sure = leg.kind(mishap), leg.place == (story, chat)
        if kind is None or leg.at_start != at_start or (at_start and not is_sure):
            continue
        if leg.after and is_sure:
            world.plan(leg.vendor, leg.after, DONE_BUT_ANSWER_LOST, times=LOST_MOST, is_expected=False)
        world.plan(leg.vendor, leg.method, kind, leg.way, is_expected=is_sure)
