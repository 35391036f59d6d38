"""A person in Telegram, by their verbs: say, press, edit, start, block.

Each verb changes the world and makes the update that Telegram would make; the stand-in (telegram.py) pushes it to the
webhook or keeps it for getUpdates. A verb that a person could not carry out (no such button) is an error of the test.
"""

import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tests.sim.telegram_text import units
from tests.sim.telegram_world import Body, Query, TgChat, TgMessage, TgUser, TgVersion

if TYPE_CHECKING:
    from tests.sim.telegram import TelegramSim

SPECIAL = re.compile(r"(?:(?<=\s)|^)(?:/\w{1,32}(?:@\w+)?|@\w{3,32}|https?://\S+)")


@dataclass(frozen=True)
class TgDelivery:
    """One update and what the webhook answered; `status` 0 when it waits for getUpdates or nothing answered.

    `update` is None when Telegram sends none: the bot did not ask for this kind, or privacy mode keeps it away.
    """

    update: Body | None
    status: int = 0
    elapsed_s: float = 0.0
    text: str = ""
    message: TgMessage | None = None

    @property
    def acked(self) -> bool:
        return 200 <= self.status < 300

    @property
    def update_id(self) -> int:
        assert self.update is not None, "Telegram sent no update for this"
        return int(self.update["update_id"])


class TgPerson:
    def __init__(self, sim: "TelegramSim", user: TgUser) -> None:
        self.sim, self.user, self.id = sim, user, user.id

    async def start(self, payload: str = "") -> TgDelivery:
        """Opens the chat with the bot, as a t.me link does; before this the bot cannot write to them."""
        return await self.say(f"/start {payload}".strip())

    async def say(
        self,
        text: str,
        chat: int | None = None,
        thread: int | None = None,
        reply_to: TgMessage | None = None,
        forwarded_from: "TgPerson | str | None" = None,
        *,
        quote: str | None = None,
        extra: Body | None = None,
    ) -> TgDelivery:
        """A message in the private chat (default) or a group; `forwarded_from` a name hides who they are."""
        place = self._chat(chat)
        if place.type == "private":
            self.user.has_started, self.user.has_blocked = True, False
        message = TgMessage(place, self.sim.world.message_id(place), self.user, text, _entities(text), thread=thread)
        message.reply_to, message.extra = reply_to, dict(extra or {})
        if forwarded_from is not None:
            message.extra["forward_origin"] = _origin(forwarded_from)
        if quote is not None:
            message.extra["quote"] = {"text": quote, "position": 0, "is_manual": True}
        self.sim.world.posted.append(message)
        return replace(await self._send("message", message.wire(), message), message=message)

    async def send(self, kind: str, content: bytes, caption: str = "", **more: Any) -> TgDelivery:
        """Media of a kind (photo, document, voice, audio, video_note); `media` adds to what describes it."""
        file_id = f"file{self.sim.world.query_id()}"
        self.sim.files[file_id] = content
        media: Body = {"file_id": file_id, "file_unique_id": file_id, "file_size": len(content)} | more.pop("media", {})
        media |= {"photo": {"width": 640, "height": 480}, "voice": {"duration": 3}, "audio": {"duration": 3},
                  "video_note": {"duration": 3, "length": 240}}.get(kind, {})  # fmt: skip
        extra: Body = {kind: [media] if kind == "photo" else media} | ({"caption": caption} if caption else {})
        return await self.say("", extra=extra | more.pop("extra", {}), **more)

    async def edit(self, message: TgMessage, text: str) -> TgDelivery:
        message.edits.append(TgVersion(message.text, message.reply_markup, time.time()))
        message.text, message.entities, message.edit_date = text, _entities(text), int(time.time())
        return await self._send("edited_message", message.wire(), message)

    async def press(self, message: TgMessage, button: str, *, version: int | None = None) -> TgDelivery:
        """Presses the button with this text or callback data; `version` one of an earlier version (0 = first)."""
        stale = version is not None and version < len(message.edits)
        markup = message.edits[version or 0].reply_markup if stale else message.reply_markup
        rows = (markup or {}).get("inline_keyboard", [])
        shown = [one for row in rows for one in row]
        found = next((one for one in shown if button in (one["text"], one.get("callback_data"))), None)
        assert found is not None, f"no button {button!r}; there are: {[one['text'] for one in shown]}"
        assert "callback_data" in found, f"the button {button!r} tells the bot nothing"
        return await self.press_data(message, found["callback_data"])

    async def press_data(self, message: TgMessage, data: str) -> TgDelivery:
        """Sends any callback data for the message, as a forged client can."""
        query = Query(self.sim.world.query_id(), self.user, message, data)
        self.sim.world.queries[query.id] = query
        body: Body = {
            "id": query.id,
            "from": self.user.wire(),
            "chat_instance": str(3_000_000 + abs(message.chat.id)),
            "message": {"chat": message.chat.wire(), "message_id": message.id, "date": 0}
            if message.deleted
            else message.wire(),
            "data": data,
        }
        return await self._send("callback_query", body, message)

    async def stop_draft(self) -> TgDelivery:
        """Presses Stop on the draft that is shown in the private chat."""
        shown = [one for one in self.sim.world.drafts if one["chat_id"] == self.id and one.get("can_stop")]
        assert shown, "no draft with a Stop button is shown"
        body = {"chat": self._chat(None).wire(), "draft_id": shown[-1]["draft_id"]}
        update = self.sim.world.update("stopped_message_generation", body)
        return await self.sim.deliver(update) if update is not None else TgDelivery(None)

    def block(self) -> None:
        """From here on the bot is answered 403 in the private chat."""
        self.user.has_blocked = True

    def messages(self, chat: int | None = None) -> list[TgMessage]:
        return self.sim.messages(self.id if chat is None else chat)

    def _chat(self, chat: int | None) -> TgChat:
        if chat is None:
            return self.sim.world.chats.setdefault(self.id, TgChat(self.id, "private", self.user.first_name))
        return self.sim.world.chats[chat]

    async def _send(self, kind: str, body: Body, message: TgMessage) -> TgDelivery:
        if kind != "callback_query" and not self._reaches_bot(message):
            return TgDelivery(None)
        update = self.sim.world.update(kind, body)
        return await self.sim.deliver(update) if update is not None else TgDelivery(None)

    def _reaches_bot(self, message: TgMessage) -> bool:
        """In privacy mode a bot in a group sees commands, mentions of it and replies to it, and nothing else."""
        if message.chat.type == "private" or not self.sim.privacy:
            return True
        replied = message.reply_to is not None and message.reply_to.sender is self.sim.world.bot
        return replied or message.text.startswith("/") or f"@{self.sim.world.bot.username}" in message.text


def _entities(text: str) -> list[Body]:
    """What a client marks in typed text: commands, mentions, links."""
    kinds = {"/": "bot_command", "@": "mention", "h": "url"}
    return [
        {"type": kinds[one[0][0]], "offset": units(text[: one.start()]), "length": units(one[0])}
        for one in SPECIAL.finditer(text)
    ]


def _origin(source: "TgPerson | str") -> dict[str, Any]:
    date = int(time.time()) - 3600
    if isinstance(source, str):
        return {"type": "hidden_user", "date": date, "sender_user_name": source}
    return {"type": "user", "date": date, "sender_user": source.user.wire()}
