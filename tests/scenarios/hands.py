"""What people do in a story, and do again where nobody answered: each verb of `player` that changes something.

They are patient and go by what they see: a press that was not taken is pressed again, a form that did not open is asked for
again, what could not be delivered the vendor delivers. What they then see is the player's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bot.slack.shortcut import SHORTCUT
from bot.slack.words import EDIT_ELSEWHERE, FORM_FAILED
from tests.patience import PATIENCE_S
from tests.scenarios.stage import ON_CALL, OPS, Place, Stage
from tests.sim.people import Delivered, Seen, TelegramFace
from tests.sim.slack_world import texts

PRESSES_MOST = 6
AGAIN = "try again"
COMMAND = "/sayso"


class Hands:
    """`orders` counts what was asked for, `before` is what somebody saw when they last spoke."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.orders = 0
        self.before: list[str] = []
        self._again: Callable[[], Awaitable[None]] | None = None
        self._told = 0
        self._place: tuple[str, Place] | None = None
        self.verbs: Mapping[str, Callable[[str, Place, Any], Awaitable[None]]] = {
            "says": self._says,
            "says aloud": self._says_aloud,
            "mentions": self._mentions,
            "commands": self._commands,
            "chooses": self._chooses,
            "opens": self._opens,
            "presses": self._presses,
            "presses at home": self._presses_at_home,
            "fills in": self._fills_in,
            "texts": self._texts,
            "stops": self._stops,
            "joins": self._joins,
        }

    # ------------------------------------------------------------ words

    async def _says(self, who: str, place: Place, text: str) -> None:
        """Said once. What the vendor could not deliver it delivers again, or time has to pass for that."""
        text = filled(text).replace("{shop}", self.stage.shop.line.url)
        self.orders += 1
        self.before = [seen.text for seen in await self.stage.sees(who, place)]
        if place == "web":
            assert await self.stage.pages[who].say(text)
        else:
            await self.stage.who(who).say(text, place)  # type: ignore[arg-type]  # a chat of one's own

    async def _says_aloud(self, who: str, place: Place, words: str) -> None:
        self.orders += 1
        await self.stage.who(who).voice(words, place)  # type: ignore[arg-type]  # a chat that has a recorder

    async def _mentions(self, who: str, place: Place, text: str) -> None:
        self.orders += 1
        await self.stage.slack_person(who).mention(text, OPS)

    async def _commands(self, who: str, place: Place, text: str) -> None:
        """Slack says at once that a command failed; then it is typed again."""
        for _ in range(PRESSES_MOST):
            self.orders += 1
            if (await self.stage.slack_person(who).slash(COMMAND, text, OPS)).acked:
                return

    async def _texts(self, who: str, place: Place, text: str) -> None:
        codes = re.findall(r"\bOK ([0-9A-Z]{8})\b", " ".join(one.text for one in self.stage.who(who).sees("sms")))
        for _ in range(PRESSES_MOST):
            if (await self.stage.who(who).sms(text.format(code=codes[-1] if codes else ""))).acked:
                return

    # ------------------------------------------------------------ presses

    async def _presses(self, who: str, place: Place, label: str) -> None:
        """Until the app has taken it: whoever is not answered presses again."""
        self.orders += label == "Undo"
        self._again = lambda: self._pressed_until_taken(who, place, label)
        await self._again()

    async def press_again(self) -> None:
        """Who was told that it could not be seen to just now, and to try again, does."""
        if self._place is None or self._again is None:
            return
        if any(AGAIN in one for one in told(self.stage, *self._place)[self._told :]):
            await self._again()

    async def _pressed_until_taken(self, who: str, place: Place, label: str) -> None:
        self._told, self._place = len(told(self.stage, who, place)), (who, place)
        count = len(await self.stage.sees(who, place))
        button = await self._button(who, place, label)
        for _ in range(PRESSES_MOST):
            if await self._pressed(who, place, *button):
                break
            # It may have been taken all the same, and the answer lost: then the button is gone.
            await self.stage.rests()
            again = [seen for seen in await self.stage.sees(who, place) if button[1] in seen.buttons]
            if not again:
                break
            button = (again[-1], button[1])
        if place == "telegram":
            await self._is_sure(who, button[0], count)

    async def _is_sure(self, who: str, pressed: Seen, count: int) -> None:
        """Telegram has no dialogs: what cannot be taken back asks once more on the same message."""

        async def turned() -> Seen | bool:
            seen = await self.stage.sees(who, "telegram")
            now = next(one for one in seen if one.ref == pressed.ref)
            if any(label.startswith("Confirm") for label in now.buttons):
                return now
            return now.buttons != pressed.buttons or now.text != pressed.text or len(seen) > count

        found = await self.stage.until(turned, lambda: "nothing comes of the press")
        if isinstance(found, Seen):
            for _ in range(PRESSES_MOST):
                confirm = next(label for label in found.buttons if label.startswith("Confirm"))
                if await self._pressed(who, "telegram", found, confirm):
                    return

    async def _button(self, who: str, place: Place, label: str) -> tuple[Seen, str]:
        async def look() -> tuple[Seen, str] | None:
            for seen in reversed(await self.stage.sees(who, place)):
                found = next((one for one in seen.buttons if one.startswith(label)), None)
                if found is not None:
                    return seen, found
            return None

        found: tuple[Seen, str] = await self.stage.until(look, lambda: f"{who} sees no button {label!r} in {place}")
        return found

    async def _pressed(self, who: str, place: Place, seen: Seen, label: str) -> bool:
        if place == "web":
            return await self.stage.pages[who].press(seen, label)
        chat = "slack" if place == "ops" else place
        delivered: Delivered = await self.stage.who(who).on(chat).press(seen, label)
        return delivered.acked or (place == "telegram" and self.stage.world.telegram_mode == "polling")

    # ------------------------------------------------------------ forms and tabs

    async def _chooses(self, who: str, place: Place, _: str) -> None:
        """The shortcut, in the menu of the newest message."""
        self.orders += 1
        person = self.stage.slack_person(who)
        newest = person.messages(OPS)[-1]

        async def choose() -> None:
            for _ in range(PRESSES_MOST):
                self._told = len(told(self.stage, who, "slack"))
                if (await person.shortcut(newest, SHORTCUT)).acked:
                    return

        self._again = choose
        await choose()

    async def _fills_in(self, who: str, place: Place, values: dict[str, str]) -> None:
        """The form that opened; one that did not, as Slack or we say, is asked for again."""

        def look() -> str:
            if self._form(who, place):
                return "form"
            return "refused" if len(told(self.stage, who, place)) > self._told or self._closed(who, place) else ""

        async with asyncio.timeout(PATIENCE_S):
            while await self.stage.until(look, lambda: f"no form opens for {who}") == "refused":
                assert self._again is not None, "nobody asked for a form"
                await self._again()
        if place == "telegram":
            await self.stage.who(who).submit(values, place)
            return
        person = self.stage.slack_person(who)
        view = person.views()[-1]
        labels = {one["label"]["text"]: one["block_id"] for one in view.body["blocks"] if one["type"] == "input"}
        given = {labels.get(name, name): value for name, value in values.items()}
        for _ in range(PRESSES_MOST):
            sent = await person.submit(view, given)
            if sent.acked and (sent.answer or {}).get("response_action") != "errors":
                return

    def _closed(self, who: str, place: Place) -> bool:
        """A form that says that it failed, or that there is nothing for them yet, is closed again."""
        failed = [] if place == "telegram" else self.stage.slack_person(who).views()
        failed = [one for one in failed if {FORM_FAILED, EDIT_ELSEWHERE} & set(texts(one.body["blocks"]))]
        for view in failed:
            self.stage.world.slack.world.views.pop(view.id)
        return bool(failed)

    def _form(self, who: str, place: Place) -> bool:
        if place != "telegram":
            views = self.stage.slack_person(who).views()
            return bool(views) and any(block["type"] == "input" for block in views[-1].body["blocks"])
        newest = self.stage.who(who).sees("telegram")[-1].raw
        return "force_reply" in (newest.reply_markup or {})

    async def _opens(self, who: str, place: Place, tab: str) -> None:
        await self.stage.slack_person(who).open_home(tab)

    async def _joins(self, who: str, place: Place, group: str) -> None:
        assert group == "on call"
        await self.stage.world.slack.regroup(ON_CALL, self.stage.slack_person(who).id)

    # ------------------------------------------------------------ the chat's own Stop

    async def _stops(self, who: str, place: Place, _: str) -> None:
        """What is being written, by what the chat itself has for that: no button of ours."""
        if place == "telegram":
            shown = self.stage.world.telegram.world.drafts
            await self.stage.until(lambda: shown, lambda: f"nothing is being written to {who}")
            face = self.stage.who(who).on("telegram")
            assert isinstance(face, TelegramFace)
            await face.person.stop_draft()
            return
        person, sessions = self.stage.slack_person(who), self.stage.world.slack.world.sessions

        def working() -> list[str]:
            mine = [(at, one["status"]) for (channel, at), one in sessions.items() if channel == person.im]
            return [at for at, status in mine if status == "processing"]

        [thread] = await self.stage.until(working, lambda: f"no thread of {who} has a Stop")
        await person.stop(thread)

    async def _presses_at_home(self, who: str, place: Place, label: str) -> None:
        person = self.stage.slack_person(who)
        for _ in range(PRESSES_MOST):
            tab = self.stage.world.slack.home(person.id)
            assert tab is not None, f"{who} has no Home tab"
            if (await person.press(tab, label)).acked:
                return


def told(stage: Stage, who: str, place: Place) -> list[str]:
    """What only they were shown, for the moment; in Slack as well what they were told in private because it could not be."""
    if place == "web":
        return stage.pages[who].notices
    if place == "telegram":
        return stage.who(who).told(place)
    in_private = [one for one in stage.slack_person(who).messages() if one.bot_id and one.text and not one.metadata]
    return stage.who(who).told("slack") + [one.everything() for one in in_private if one.ephemeral_to is None]


def filled(text: str) -> str:
    """`{41000 characters}` and `{1200 sentences}` stand for that many."""
    text = re.sub(r"\{(\d+) characters\}", lambda found: "x" * int(found[1]), text)
    return re.sub(r"\{(\d+) sentences\}", lambda found: " ".join(f"Sentence {n}." for n in range(int(found[1]))), text)
