"""A person of the world, by one set of verbs that is the same in every chat: say, press, submit, sms, voice, stop.

One person has an account at each vendor. What they can see and press comes in one form (`Seen`), read from what stands in
the vendor's chat now; each verb is carried out by the vendor's own person, so it makes the vendor's own payloads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tests.sim.slack_files import clip
from tests.sim.slack_people import Person
from tests.sim.slack_world import Message
from tests.sim.telegram_people import TgPerson
from tests.sim.telegram_world import TgMessage
from tests.sim.twilio import Phone

Chat = Literal["slack", "telegram", "sms"]
SOUND = b"OggS as it would be"
PREVIEW_CHARS = 12


@dataclass(frozen=True)
class Seen:
    """One message as its reader sees it now. `is_mine`: the app wrote it; `edits`: how often it was changed."""

    ref: str
    text: str
    buttons: tuple[str, ...] = ()
    is_mine: bool = True
    edits: int = 0
    is_private: bool = False
    raw: Any = None


class Delivered(Protocol):
    """What came of a verb: `acked` when the app took it."""

    @property
    def acked(self) -> bool: ...


class Face(Protocol):
    """One person in one chat."""

    async def say(self, text: str, **more: Any) -> Delivered: ...

    async def press(self, seen: Seen, button: str) -> Delivered: ...

    async def submit(self, values: dict[str, Any]) -> Delivered: ...

    async def voice(self, words: str) -> Delivered:
        """A recording of theirs that says this."""
        ...

    def sees(self) -> list[Seen]: ...

    def told(self) -> list[str]:
        """What only this person was shown and what does not stay: lines and boxes after a press."""
        ...


class _Chatting:
    """What is alike in chats with buttons: the vendor's own person does it."""

    def __init__(self, person: Person | TgPerson) -> None:
        self.person: Any = person

    async def say(self, text: str, **more: Any) -> Delivered:
        return await self.person.say(text, **more)

    async def press(self, seen: Seen, button: str) -> Delivered:
        return await self.person.press(seen.raw, button)


class SlackFace(_Chatting):
    async def submit(self, values: dict[str, Any]) -> Delivered:
        """Fills in the form that opened last."""
        return await self.person.submit(self.person.views()[-1], values)

    async def voice(self, words: str) -> Delivered:
        """Slack writes its clips down by itself; past the first words one has to fetch that."""
        preview = {"content": words[:PREVIEW_CHARS], "has_more": True}
        vtt = f"WEBVTT\n\n00:00:00.000 --> 00:00:03.000\n- {words}\n"
        return await self.person.share(
            clip(SOUND, {"status": "complete", "locale": "en-US", "preview": preview}, vtt=vtt)
        )

    def sees(self, channel: str | None = None) -> list[Seen]:
        """What stands in the conversation with the app, or in a channel."""
        return [self._seen(one) for one in self.person.messages(channel)]

    def _seen(self, one: Message) -> Seen:
        return Seen(
            one.ts,
            one.everything(),
            tuple(one.buttons()),
            bool(one.bot_id),
            len(one.edits),
            one.ephemeral_to is not None,
            one,
        )

    def told(self) -> list[str]:
        return [one.everything() for one in self.person.sim.ephemeral(self.person.id)]


class TelegramFace(_Chatting):
    def __init__(self, person: TgPerson, heard: list[str]) -> None:
        """`heard`: what whoever is asked to listen hears next."""
        super().__init__(person)
        self._heard = heard

    async def voice(self, words: str) -> Delivered:
        self._heard.append(words)
        return await self.person.send("voice", SOUND)

    async def submit(self, values: dict[str, Any]) -> Delivered:
        """Answers the newest question of the bot, as a client does to which it forces a reply."""
        asked = [one for one in self.person.messages() if one.sender.is_bot][-1]
        lines = [str(value) if len(values) == 1 else f"{name}={value}" for name, value in values.items()]
        return await self.person.say("\n".join(lines), reply_to=asked)

    def sees(self) -> list[Seen]:
        return [self._seen(one) for one in self.person.messages()]

    def _seen(self, one: TgMessage) -> Seen:
        return Seen(str(one.id), one.text, tuple(one.buttons()), one.sender.is_bot, len(one.edits), raw=one)

    def told(self) -> list[str]:
        return [one.text for one in self.person.sim.answers if one.user == self.person.id]


class PhoneFace:
    """A phone knows words only: nothing can be pressed or filled in."""

    def __init__(self, phone: Phone) -> None:
        self.phone = phone

    async def say(self, text: str, **more: Any) -> Delivered:
        return await self.phone.say(text, **more)

    async def press(self, seen: Seen, button: str) -> Delivered:
        raise AssertionError(f"a text message has no button {button!r}")

    async def submit(self, values: dict[str, Any]) -> Delivered:
        raise AssertionError("a phone shows no forms")

    async def voice(self, words: str) -> Delivered:
        raise AssertionError("a text message has no sound")

    def sees(self) -> list[Seen]:
        return [Seen(one.sid, one.body, raw=one) for one in self.phone.messages()]

    def told(self) -> list[str]:
        return list(self.phone.heard)


@dataclass(frozen=True)
class Human:
    """Somebody with an account in every chat."""

    key: str
    name: str
    faces: dict[Chat, Face]

    def on(self, chat: Chat) -> Face:
        return self.faces[chat]

    async def say(self, text: str, chat: Chat = "slack", **more: Any) -> Delivered:
        return await self.on(chat).say(text, **more)

    async def press(
        self, button: str, chat: Chat = "slack", among: Callable[[Seen], bool] = lambda _: True
    ) -> Delivered:
        """Presses it on the newest message that has it, by its whole text or how that begins."""
        for seen in reversed(self.sees(chat)):
            label = next((one for one in seen.buttons if one.startswith(button)), None)
            if label is not None and among(seen):
                return await self.on(chat).press(seen, label)
        shown = [one.buttons for one in self.sees(chat) if one.buttons]
        raise AssertionError(f"{self.name} sees no button {button!r} in {chat}; there are: {shown}")

    async def submit(self, values: dict[str, Any], chat: Chat = "slack") -> Delivered:
        return await self.on(chat).submit(values)

    async def voice(self, words: str, chat: Chat = "slack") -> Delivered:
        """Says it aloud into the chat's own recorder."""
        return await self.on(chat).voice(words)

    async def sms(self, text: str) -> Delivered:
        return await self.on("sms").say(text)

    async def stop(self, chat: Chat = "slack") -> Delivered:
        """Stops what runs, as this chat offers it: by the button of the newest card that has one."""
        return await self.press("Stop", chat)

    def sees(self, chat: Chat = "slack") -> list[Seen]:
        """What stands in their chat with the app, oldest first."""
        return self.on(chat).sees()

    def told(self, chat: Chat = "slack") -> list[str]:
        return self.on(chat).told()
