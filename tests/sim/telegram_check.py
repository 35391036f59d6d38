"""Would the Bot API take this? Parameters by name and type, keyboards by their rules. Pure; refusals are raised.

Written from the documented facts about the methods that we use, with the Bot API's own wording of each refusal, as apps
that branch on the text will see it.
"""

import json
import re
from typing import Any

from tests.sim.telegram_text import TEXT_UNITS, Unparsable, parse_html, trimmed, units
from tests.sim.telegram_world import Body

CALLBACK_DATA_BYTES = 64
KEYBOARD_BUTTONS = 100
ROW_BUTTONS = 8
ANSWER_CHARS = 200
COMMANDS = 100
COMMAND_NAME = re.compile(r"[a-z0-9_]{1,32}")
DESCRIPTION_CHARS = 256
SECRET_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,256}")
BUTTON_ACTIONS = (
    "callback_data",
    "callback_game",
    "copy_text",
    "disabled",
    "login_url",
    "pay",
    "switch_inline_query",
    "switch_inline_query_chosen_chat",
    "switch_inline_query_current_chat",
    "url",
    "web_app",
)
BUTTON_STYLES = ("danger", "success", "primary")

ANY_CHAT = ("integer", "string")
# method → parameter → types; "!" marks what must be there.
PARAMETERS: dict[str, dict[str, tuple[str, ...]]] = {
    "getMe": {},
    "getUpdates": {
        "offset": ("integer",),
        "limit": ("integer",),
        "timeout": ("integer",),
        "allowed_updates": ("array",),
    },
    "setWebhook": {
        "url!": ("string",),
        "ip_address": ("string",),
        "max_connections": ("integer",),
        "allowed_updates": ("array",),
        "drop_pending_updates": ("boolean",),
        "secret_token": ("string",),
    },
    "deleteWebhook": {"drop_pending_updates": ("boolean",)},
    "getWebhookInfo": {},
    "getFile": {"file_id!": ("string",)},
    "getChat": {"chat_id!": ANY_CHAT},
    "sendMessage": {
        "chat_id!": ANY_CHAT,
        "message_thread_id": ("integer",),
        "text!": ("string",),
        "parse_mode": ("string",),
        "entities": ("array",),
        "link_preview_options": ("object",),
        "disable_notification": ("boolean",),
        "protect_content": ("boolean",),
        "message_effect_id": ("string",),
        "reply_parameters": ("object",),
        "reply_markup": ("object",),
        "ephemeral_message_parameters": ("object",),
    },
    "sendDocument": {
        "chat_id!": ANY_CHAT,
        "message_thread_id": ("integer",),
        "document!": ("string",),
        "caption": ("string",),
        "disable_notification": ("boolean",),
        "protect_content": ("boolean",),
    },
    "editMessageText": {
        "chat_id!": ANY_CHAT,
        "message_id!": ("integer",),
        "text!": ("string",),
        "parse_mode": ("string",),
        "entities": ("array",),
        "link_preview_options": ("object",),
        "reply_markup": ("object",),
    },
    "editMessageReplyMarkup": {"chat_id!": ANY_CHAT, "message_id!": ("integer",), "reply_markup": ("object",)},
    "deleteMessage": {"chat_id!": ANY_CHAT, "message_id!": ("integer",)},
    "answerCallbackQuery": {
        "callback_query_id!": ("string",),
        "text": ("string",),
        "show_alert": ("boolean",),
        "url": ("string",),
        "cache_time": ("integer",),
    },
    "sendChatAction": {"chat_id!": ANY_CHAT, "message_thread_id": ("integer",), "action!": ("string",)},
    "setMyCommands": {"commands!": ("array",), "scope": ("object",), "language_code": ("string",)},
    "setMessageReaction": {
        "chat_id!": ANY_CHAT,
        "message_id!": ("integer",),
        "reaction": ("array",),
        "is_big": ("boolean",),
    },
    "sendMessageDraft": {
        "chat_id!": ("integer",),
        "message_thread_id": ("integer",),
        "draft_id!": ("integer",),
        "text": ("string",),
        "parse_mode": ("string",),
        "entities": ("array",),
        "can_stop": ("boolean",),
        "keep_on_stop": ("boolean",),
    },
}

# Newer than the published description that the tests hold these against.
NEWER = {
    ("sendMessage", "ephemeral_message_parameters"), ("sendMessageDraft", "can_stop"), ("sendMessageDraft", "keep_on_stop"),
}  # fmt: skip


class Refused(Exception):
    """The Bot API answers with this code and description; `is_fault` when no correct app would have sent it."""

    def __init__(self, description: str, code: int = 400, *, is_fault: bool = False, **parameters: Any) -> None:
        super().__init__(description)
        prefix = {400: "Bad Request: ", 403: "Forbidden: ", 409: "Conflict: "}.get(code, "")
        self.description, self.code = prefix + description, code
        self.is_fault, self.parameters = is_fault, parameters


def decode(method: str, given: Body) -> tuple[Body, list[str]]:
    """(parameters in their types, names that the method does not know). Raises Refused for what is missing or wrong."""
    declared = {name.removesuffix("!"): kinds for name, kinds in PARAMETERS[method].items()}
    decoded = {name: _one(name, value, declared[name]) for name, value in given.items() if name in declared}
    for name in PARAMETERS[method]:
        if name.endswith("!") and decoded.get(name[:-1]) in (None, ""):
            raise Refused(_missing(name[:-1]), is_fault=True)
    return decoded, [name for name in given if name not in declared]


def _missing(name: str) -> str:
    words = {"chat_id": "chat_id is empty", "text": "message text is empty"}
    return words.get(name, f"parameter {name!r} is required")


def _one(name: str, value: Any, kinds: tuple[str, ...]) -> Any:
    """Forms carry everything as text; JSON bodies carry it as it is."""
    if isinstance(value, str):
        if "integer" in kinds and re.fullmatch(r"-?\d+", value):
            return int(value)
        if "boolean" in kinds and value.lower() in ("true", "false", "1", "0"):
            return value.lower() in ("true", "1")
        if kinds in (("object",), ("array",)):
            try:
                value = json.loads(value)
            except ValueError:
                raise Refused(f"can't parse {name} JSON object", is_fault=True) from None
    python = {"integer": int, "string": str, "boolean": bool, "object": dict, "array": list}
    if not any(isinstance(value, python[kind]) for kind in kinds):
        raise Refused(f"{name} must be of type {' or '.join(kinds)}", is_fault=True)
    return value


def formatted(args: Body, too_long: str = "message is too long") -> tuple[str, list[Body]]:
    """The text as it will stand, with its entities; at most 4096 units after parsing."""
    text, entities = args.get("text") or "", args.get("entities") or []
    match args.get("parse_mode"):
        case None | "":
            pass
        case mode if str(mode).lower() == "html":
            try:
                text, entities = parse_html(text)
            except Unparsable as error:
                raise Refused(f"can't parse entities: {error}", is_fault=True) from None
        case mode:
            raise Refused(f"unsupported parse_mode (the stand-in knows HTML only, not {mode!r})", is_fault=True)
    text, entities = trimmed(text, entities)
    if not text:
        raise Refused("message text is empty", is_fault=True)
    if units(text) > TEXT_UNITS:
        raise Refused(too_long, is_fault=True)
    return text, entities


def keyboard(markup: Body | None, *, newest: bool = True) -> Body | None:
    """The inline keyboard as Telegram keeps it (none when it is empty); other markups pass unseen. Not `newest`: of a server
    that knows nothing after Bot API 10.2."""
    if markup is None or "inline_keyboard" not in markup:
        return markup
    rows = markup["inline_keyboard"]
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise Refused("can't parse inline keyboard: expected an Array of Arrays", is_fault=True)
    if sum(len(row) for row in rows) > KEYBOARD_BUTTONS or any(len(row) > ROW_BUTTONS for row in rows):
        raise Refused("REPLY_MARKUP_TOO_LONG", is_fault=True)
    kept = [[_button(button, newest) for button in row] for row in rows if row]
    return {"inline_keyboard": kept} if kept else None


def _button(button: Any, newest: bool) -> Body:
    if not isinstance(button, dict) or not isinstance(button.get("text"), str) or not button["text"].strip():
        raise Refused("can't parse inline keyboard button: Can't find field \"text\"", is_fault=True)
    actions = [name for name in BUTTON_ACTIONS if name in button and (newest or name != "disabled")]
    if not actions:
        # Of an older server it is no fault to ask for what it does not know yet.
        raise Refused(
            "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard",
            is_fault="disabled" not in button,
        )
    if len(actions) > 1:
        raise Refused("BUTTON_TYPE_INVALID", is_fault=True)
    data = button.get("callback_data")
    if data is not None and not (isinstance(data, str) and 1 <= len(data.encode()) <= CALLBACK_DATA_BYTES):
        raise Refused("BUTTON_DATA_INVALID", is_fault=True)
    if "url" in button and not re.match(r"(https?|tg)://\S+", str(button["url"])):
        raise Refused(f"inline keyboard button URL '{button['url']}' is invalid: Wrong HTTP URL", is_fault=True)
    if button.get("style") not in (None, *BUTTON_STYLES):
        raise Refused("BUTTON_STYLE_INVALID", is_fault=True)
    return button


def commands(given: list[Any]) -> list[Body]:
    if len(given) > COMMANDS:
        raise Refused("BOT_COMMANDS_TOO_MUCH", is_fault=True)
    for one in given:
        if not COMMAND_NAME.fullmatch(str(one.get("command", "")).removeprefix("/")):
            raise Refused("BOT_COMMAND_INVALID", is_fault=True)
        if not 1 <= len(str(one.get("description", ""))) <= DESCRIPTION_CHARS:
            raise Refused("BOT_COMMAND_DESCRIPTION_INVALID", is_fault=True)
    return given
