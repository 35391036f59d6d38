"""What the Bot API has learned since the library was written, and how to go without where a server has not.

The library speaks Bot API 10.0; what is newer goes through its open doors (`api_kwargs`, `do_api_request`) here and nowhere
else. A server that refuses one of these once is not asked for it again, and each has an older form that says the same.
https://core.telegram.org/bots/api-changelog
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from telegram import Chat, InlineKeyboardButton, InlineKeyboardMarkup, Update
from telegram.error import BadRequest

T = TypeVar("T")

# Bot API 10.3: a draft with a Stop button, and the update that a press of it makes. It is delivered to who asks for it by
# name, and names no user, so it says who pressed only where nobody else can be: in a private chat.
WITH_STOP: Final[Mapping[str, Any]] = {"can_stop": True}
STOPPED: Final = "stopped_message_generation"

# What a server says of a button that it takes for one without an action.
_NO_SUCH_BUTTON: Final = ("inline keyboard button", "button_type_invalid", "text buttons are unallowed")


def disabled_button(label: str) -> InlineKeyboardButton:
    """A button that only says something (Bot API 10.3)."""
    return InlineKeyboardButton(label, api_kwargs={"disabled": {}})


def whisper_to(user: int, query_id: str) -> dict[str, Any]:
    """Parameters that make a message in a group one which only this user sees, if they are there (Bot API 10.3). A server
    that does not know them shows it to all."""
    return {"ephemeral_message_parameters": {"receiver_user_id": user, "callback_query_id": query_id}}


def was_whispered(sent: Mapping[str, Any]) -> bool:
    """Whether the message that was sent is for one user alone."""
    return "ephemeral_message_id" in sent


@dataclass(frozen=True, slots=True)
class StoppedDraft:
    """Somebody pressed Stop on a draft in this private chat."""

    chat: int
    draft: int


def stopped_draft(update: Update) -> StoppedDraft | None:
    """What the library passes through unread. Raises `KeyError` and `TypeError` for what is not as documented."""
    stopped = update.api_kwargs.get(STOPPED)
    if stopped is None or stopped["chat"]["type"] != Chat.PRIVATE:
        return None
    return StoppedDraft(int(stopped["chat"]["id"]), int(stopped["draft_id"]))


class Server:
    """What the Bot API server at the other end was seen to lack."""

    def __init__(self) -> None:
        self._has_disabled_buttons = True
        self.has_whispers = True

    async def sent(
        self, markup: InlineKeyboardMarkup | None, call: Callable[[InlineKeyboardMarkup | None], Awaitable[T]]
    ) -> T:
        """Call with the keyboard; once more in its older form when the server knows no button that only says something."""
        shown = self._known(markup)
        try:
            return await call(shown)
        except BadRequest as error:
            is_newer = shown is not None and shown != _without_disabled(shown)
            if not is_newer or not any(words in error.message.lower() for words in _NO_SUCH_BUTTON):
                raise
            self._has_disabled_buttons = False
        return await call(self._known(markup))

    def _known(self, markup: InlineKeyboardMarkup | None) -> InlineKeyboardMarkup | None:
        return markup if markup is None or self._has_disabled_buttons else _without_disabled(markup)


def _without_disabled(markup: InlineKeyboardMarkup) -> InlineKeyboardMarkup | None:
    rows = [row for row in markup.inline_keyboard if not any(_is_disabled(button) for button in row)]
    return InlineKeyboardMarkup(rows) if rows else None


def _is_disabled(button: InlineKeyboardButton) -> bool:
    kwargs: Any = button.api_kwargs
    return "disabled" in kwargs
