"""What each Bot API method does to the world, and what it returns. getUpdates, which waits, is in telegram_api.

Parameters arrive decoded (telegram_check); refusals are raised as `Refused` in the Bot API's words.
"""

import time
from collections.abc import Callable
from typing import Any

from telegram.constants import ChatAction, ReactionEmoji

from tests.sim.telegram_check import ANSWER_CHARS, SECRET_TOKEN, Refused, commands, formatted, keyboard
from tests.sim.telegram_text import units
from tests.sim.telegram_world import Body, CallbackAnswer, TgChat, TgMessage, TgVersion, TgWorld

NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same as a current "
    "content and reply markup of the message"
)
UPLOAD_BYTES = 50 * 2**20
PARTICIPLE = {"edit": "edited", "delete": "deleted"}
TOO_OLD = "query is too old and response timeout expired or query ID is invalid"


def get_me(world: TgWorld, args: Body) -> Body:
    return world.bot.wire() | {
        "can_join_groups": True,
        "can_read_all_group_messages": False,
        "supports_inline_queries": False,
        "has_topics_enabled": False,
    }


def set_webhook(world: TgWorld, args: Body) -> bool:
    secret = args.get("secret_token")
    if secret is not None and not SECRET_TOKEN.fullmatch(secret):
        raise Refused("secret token contains unallowed characters", is_fault=True)
    # The real one insists on https; a local Bot API server takes http too, and loopback has no certificate.
    if not args["url"].startswith(("http://", "https://")):
        raise Refused("bad webhook: An HTTPS URL must be provided for webhook", is_fault=True)
    world.webhook = {"url": args["url"], "secret_token": secret}
    _subscribe(world, args)
    return True


def _subscribe(world: TgWorld, args: Body) -> None:
    if args.get("allowed_updates") is not None:
        world.allowed_updates = list(args["allowed_updates"])
    if args.get("drop_pending_updates"):
        world.pending.clear()


def delete_webhook(world: TgWorld, args: Body) -> bool:
    world.webhook = {"url": ""}
    _subscribe(world, args)
    return True


def webhook_info(world: TgWorld, args: Body) -> Body:
    info = {"url": world.webhook["url"], "has_custom_certificate": False, "pending_update_count": len(world.pending)}
    return info | ({"allowed_updates": world.allowed_updates} if world.allowed_updates else {})


def _chat(world: TgWorld, chat_id: int | str) -> TgChat:
    chat = world.chats.get(chat_id) if isinstance(chat_id, int) else None
    if chat is None:
        raise Refused("chat not found")
    if chat.moved_to is not None:
        raise Refused("group chat was upgraded to a supergroup chat", migrate_to_chat_id=chat.moved_to)
    return chat


def _to_write(world: TgWorld, args: Body) -> tuple[TgChat, int | None]:
    chat, thread = _chat(world, args["chat_id"]), args.get("message_thread_id")
    if chat.type == "private":
        user = world.users[chat.id]
        if user.has_blocked:
            raise Refused("bot was blocked by the user", 403)
        if not user.has_started:
            raise Refused("bot can't initiate conversation with a user", 403)
    if thread is not None and thread not in chat.topics:
        raise Refused("message thread not found")
    return chat, thread


def send_message(world: TgWorld, args: Body) -> Body:
    chat, thread = _to_write(world, args)
    text, entities = formatted(args)
    markup = keyboard(args.get("reply_markup"), newest=world.is_newest)
    reply = args.get("reply_parameters")
    answered = world.find(chat.id, reply["message_id"]) if reply else None
    if reply and answered is None and not reply.get("allow_sending_without_reply"):
        raise Refused("message to be replied not found")
    if (to := args.get("ephemeral_message_parameters")) is not None and world.is_newest:
        if chat.type == "private" or not chat.has_bot_as_admin:
            raise Refused("BOT_NOT_ADMIN")
        world.whispers.append({"user": to["receiver_user_id"], "chat": chat.id, "thread": thread, "text": text})
        return {
            "ephemeral_message_id": len(world.whispers),
            "chat": chat.wire(),
            "date": int(time.time()),
            "text": text,
        }
    message = TgMessage(chat, world.message_id(chat), world.bot, text, entities, markup, thread, reply_to=answered)
    message.link_preview = args.get("link_preview_options")
    world.posted.append(message)
    return message.wire()


def send_document(world: TgWorld, args: Body) -> Body:
    chat, thread = _to_write(world, args)
    file = world.uploads.get(args["document"])
    if file is None:
        raise Refused("wrong file identifier/HTTP URL specified", is_fault=True)
    if not file["file_size"]:
        raise Refused("file must be non-empty", is_fault=True)
    if file["file_size"] > UPLOAD_BYTES:
        raise Refused("Request Entity Too Large", 413, is_fault=True)
    message = TgMessage(chat, world.message_id(chat), world.bot, "", thread=thread, extra={"document": file})
    world.posted.append(message)
    return message.wire()


def _own(world: TgWorld, args: Body, verb: str) -> TgMessage:
    chat = _chat(world, args["chat_id"])
    message = world.find(chat.id, args["message_id"])
    if message is None:
        raise Refused(f"message to {verb} not found")
    if message.sender is not world.bot:
        raise Refused(f"message can't be {PARTICIPLE[verb]}")
    if verb == "edit" and message.reply_markup is not None and "inline_keyboard" not in message.reply_markup:
        # https://core.telegram.org/bots/api#updating-messages: without a keyboard, or with an inline one, only
        raise Refused("message can't be edited", is_fault=True)
    return message


def _replace(message: TgMessage, text: str, entities: list[Body], markup: Body | None) -> Body:
    if (text, entities, markup) == (message.text, message.entities, message.reply_markup):
        raise Refused(NOT_MODIFIED)
    message.edits.append(TgVersion(message.text, message.reply_markup, time.time()))
    message.text, message.entities, message.reply_markup = text, entities, markup
    message.edit_date = int(time.time())
    return message.wire()


def edit_text(world: TgWorld, args: Body) -> Body:
    message = _own(world, args, "edit")
    text, entities = formatted(args, "MESSAGE_TOO_LONG")
    # An edit without a keyboard takes the keyboard away.
    return _replace(message, text, entities, keyboard(args.get("reply_markup"), newest=world.is_newest))


def edit_markup(world: TgWorld, args: Body) -> Body:
    message = _own(world, args, "edit")
    return _replace(message, message.text, message.entities, keyboard(args.get("reply_markup"), newest=world.is_newest))


def delete_message(world: TgWorld, args: Body) -> bool:
    message = _own(world, args, "delete")
    message.deleted = True
    return True


def answer_query(world: TgWorld, args: Body) -> bool:
    if units(args.get("text") or "") > ANSWER_CHARS:
        raise Refused("MESSAGE_TOO_LONG", is_fault=True)
    query = world.queries.get(args["callback_query_id"])
    if query is None or query.answered or query.expired:
        raise Refused(TOO_OLD)
    query.answered = True
    shown = args.get("text") or ""
    world.answers.append(
        CallbackAnswer(query.id, query.user.id, shown, bool(args.get("show_alert")), query.data, time.time())
    )
    return True


def chat_action(world: TgWorld, args: Body) -> bool:
    _to_write(world, args)
    if args["action"] not in set(ChatAction):
        raise Refused("wrong parameter action in request", is_fault=True)
    world.actions.append(args)
    return True


def set_commands(world: TgWorld, args: Body) -> bool:
    given, scope = commands(args["commands"]), (args.get("scope") or {}).get("type", "default")
    if scope == "default":
        world.commands = given
    world.commands_in[scope] = given
    return True


def set_reaction(world: TgWorld, args: Body) -> bool:
    chat = _chat(world, args["chat_id"])
    message = world.find(chat.id, args["message_id"])
    if message is None:
        raise Refused("message to react not found")
    given = args.get("reaction") or []
    if len(given) > 1:
        raise Refused("REACTIONS_TOO_MANY", is_fault=True)
    if given and given[0].get("emoji") not in set(ReactionEmoji):
        raise Refused("REACTION_INVALID", is_fault=True)
    message.reaction = given[0]["emoji"] if given else None
    return True


def send_draft(world: TgWorld, args: Body) -> bool:
    chat, _ = _to_write(world, args)
    if chat.type != "private":
        raise Refused("TEXTDRAFT_PEER_INVALID", is_fault=True)
    if args["draft_id"] == 0:
        raise Refused("draft_id must be non-zero", is_fault=True)
    if args.get("text"):
        formatted(args)
    world.drafts.append(args)
    return True


def get_chat(world: TgWorld, args: Body) -> Body:
    return _chat(world, args["chat_id"]).wire() | {"accent_color_id": 0, "max_reaction_count": 11}


EFFECTS: dict[str, Callable[[TgWorld, Body], Any]] = {
    "answerCallbackQuery": answer_query,
    "deleteMessage": delete_message,
    "deleteWebhook": delete_webhook,
    "editMessageReplyMarkup": edit_markup,
    "editMessageText": edit_text,
    "getChat": get_chat,
    "getMe": get_me,
    "getWebhookInfo": webhook_info,
    "sendChatAction": chat_action,
    "sendDocument": send_document,
    "sendMessage": send_message,
    "sendMessageDraft": send_draft,
    "setMessageReaction": set_reaction,
    "setMyCommands": set_commands,
    "setWebhook": set_webhook,
}
