"""Telegram in and out: each update becomes one call of intake, and is acknowledged when that has committed.

Listeners translate and call; what is allowed and what follows is decided behind `Intake`. Every tap is answered, right
after its commit and without holding the next update up. Polling and webhook differ only in how updates arrive.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Protocol

from fastapi import APIRouter
from telegram import BotCommand, BotCommandScopeAllGroupChats, InlineKeyboardMarkup
from telegram.error import BadRequest, TelegramError

from bot.telegram import render
from bot.telegram.buttons import Tap
from bot.telegram.client import open_client
from bot.telegram.details import NOT_STARTED, Details
from bot.telegram.dialogue import NOT_OPEN, STRANGER, Dialogue, insisting
from bot.telegram.files import TelegramFiles
from bot.telegram.polling import PAUSE_FIRST_S, PAUSE_MOST_S, Poller
from bot.telegram.sender import NOT_MODIFIED, TelegramSender
from bot.telegram.spacing import Spacing
from bot.telegram.translate import (
    ALLOWED_UPDATES,
    COMMANDS,
    GROUP_COMMANDS,
    Dropped,
    Halted,
    Me,
    Moved,
    Replied,
    Tapped,
    Wanted,
    translate,
)
from bot.telegram.webhook import PATH, secret_of, webhook_router
from core import cards, intake
from core.deps import Deps
from core.models import (
    Accepted,
    AlreadyDecided,
    Changed,
    Channel,
    Decided,
    Duplicate,
    Inbound,
    NotAllowed,
    Press,
    Received,
    TooLate,
    Verdict,
)
from core.state import backoff_s
from core.store import approvals, linking, people, tasks
from core.store.people import Principal

log = logging.getLogger(__name__)

ALERT_CHARS: Final = 200
SEEN: Final = "👀"
INTRODUCTION_S: Final = 3.0
FAREWELL_S: Final = 2.0

NOT_SAVED: Final = "That is not saved yet. If the card does not change in a moment, press again."
NO_BUTTON: Final = "I don't know this button any more. Say approvals or tasks to see what is open."
NOT_SHOWN: Final = "Telegram did not take all of it. Press again in a moment."
CHOOSE: Final = "What do you want to change?"
REPLY: Final = "Reply to my message below."


class Intake(Protocol):
    """What `core.intake` offers."""

    async def receive(self, deps: Deps, inbound: Inbound, /) -> Received | Duplicate: ...

    async def press(self, deps: Deps, pressed: Press, /) -> Decided: ...

    async def control(
        self, deps: Deps, person: Principal, task: int, verb: str, /, *, delivery: tuple[Channel, str] | None = None
    ) -> str: ...

    async def relocate(self, deps: Deps, channel: Channel, was: str, is_now: str, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What the tapper is told; an alert has to be closed, the other passes by. `shows` makes the card's next keyboard, where
    the tap `turns` it."""

    text: str
    alert: bool
    shows: Callable[[cards.Card], InlineKeyboardMarkup | None] = render.keyboard
    turns: bool = True


class NotIntroduced(Exception):
    """Telegram has not told us yet which bot we are, so a group's messages can't be judged."""


class TelegramAdapter:
    """Raises `SettingsError` in webhook mode without a proper secret."""

    def __init__(self, deps: Deps, intake: Intake = intake) -> None:
        self._deps, self._intake = deps, intake
        self._client = open_client(deps.settings)
        self._base_url = deps.settings.base_url()
        self._polls = deps.settings.telegram_mode == "polling"
        self._secret = "" if self._polls else secret_of(deps.settings)
        self._me: Me | None = None
        self._introduced = asyncio.Event()
        self._mask = deps.masks()
        self._warned = ""
        self._later: set[asyncio.Task[None]] = set()
        self._spacing = Spacing()
        self._dialogue = Dialogue(deps, intake, self._client, self._spacing)
        self._details = Details(deps, self._client)
        self.sender = TelegramSender(self._client, self._base_url, self._spacing)
        self.files = TelegramFiles(self._client)

    def router(self) -> APIRouter:
        """`POST /telegram/webhook`; nothing in polling mode."""
        return APIRouter() if self._polls else webhook_router(self._secret, self.take)

    async def run(self) -> None:
        """For ever: learn who we are, tell Telegram where to send updates or fetch them, answer taps."""
        try:
            await self._client.open_connections()
            await self._introduce()
            if self._polls:
                await Poller(self._client, self._deps.db, self.take).run()
            await asyncio.Event().wait()
        finally:
            await self._farewell()

    async def take(self, raw: Any) -> None:
        """One update: committed when this returns. Raises `Malformed`, or whatever the database raised."""
        match translate(raw, await self._whoami()):
            case Dropped(why=why):
                log.debug("an update is dropped: %s", why)
            case Inbound(addressed=False):
                # A group or a topic is a room, not the thread of one task: what its people say to each other is not
                # ours to act on, nor to keep. A reply to a message of ours is addressed.
                log.debug("group talk is dropped")
            case Inbound() as inbound:
                received = await self._intake.receive(self._deps, inbound)
                if isinstance(received, Received) and received.kind in ("task", "kept"):
                    self._soon(self._nod(inbound))
            case Tapped() as tapped:
                await self._answer(tapped)
            case Replied() as replied:
                self._soon(await self._dialogue.take(replied))
            case Halted() as halted:
                await self._stop(halted)
            case Moved(was, is_now):
                await self._intake.relocate(self._deps, Channel.TELEGRAM, was, is_now)
            case Wanted() as wanted:
                self._soon(await self._dialogue.begin(wanted))

    async def _whoami(self) -> Me:
        """Known from the start on, but for the first moments of webhook mode."""
        if self._me is None:
            try:
                await asyncio.wait_for(self._introduced.wait(), INTRODUCTION_S)
            except TimeoutError:
                raise NotIntroduced from None
        assert self._me is not None
        return self._me

    # ------------------------------------------------------------ taps

    async def _answer(self, tapped: Tapped) -> None:
        try:
            answer = await self._decide(tapped)
        except Exception:
            # Telegram brings it again since nothing was committed; the tapper must not think that it is done.
            if self._warned != tapped.query_id:
                self._soon(self._tell(tapped, Answer(NOT_SAVED, alert=True)))
            self._warned = tapped.query_id
            raise
        if answer is None:
            return
        self._soon(self._tell(tapped, answer))
        if tapped.tap is not None and answer.turns:
            self._soon(self._turn_keyboard(tapped, tapped.tap, answer.shows))

    async def _decide(self, tapped: Tapped) -> Answer | None:
        """None where the tapper is told later."""
        tap = tapped.tap
        if tap is None:
            return Answer(NO_BUTTON, alert=True)
        if tap.kind == "act" and tap.subject == "approval":
            return _told(await self._intake.press(self._deps, _press(tapped, tap)))
        person = await people.behind(self._deps.db, tapped.sender)
        if person is None:
            return _told(NotAllowed(tap.subject_id, STRANGER))
        if tap.kind == "act":
            return await self._control(person, tap, tapped.query_id)
        if tap.kind == "back":
            return Answer("", alert=False)
        if tap.kind == "show":
            self._soon(self._show_whole(tapped, person, tap))
            return None
        if tap.kind == "more":
            return Answer("", alert=False, shows=render.rarer)
        if tap.kind == "words":
            return await self._words(person, tap, tapped)
        card = await self._card(tapped, tap)
        asked = [b for b in (*card.buttons, *card.more) if b.verb == tap.verb and b.confirm] if card else []
        if not asked:
            return Answer(NOT_OPEN, alert=True)
        return Answer(asked[0].confirm, alert=False, shows=partial(render.confirmation, button=asked[0]))

    async def _words(self, person: Principal, tap: Tap, tapped: Tapped) -> Answer:
        """Ask for the words that this answer needs; of an edit, first which argument is meant."""
        subject = await self._dialogue.subject(person, tap.subject_id, tap.verb)
        if isinstance(subject, str) or tapped.place is None:
            return Answer(subject if isinstance(subject, str) else NO_BUTTON, alert=True)
        names = [field.name for field in subject.fields]
        if tap.field is None and len(names) > 1:
            return Answer(CHOOSE, alert=False, shows=partial(render.arguments, names=names))
        prompt = subject.prompt(tap.verb, tap.field)
        self._soon(self._dialogue.ask(subject, prompt, tapped.place, tapped.sender))
        return Answer(REPLY, alert=False)

    async def _control(self, person: Principal, tap: Tap, query_id: str) -> Answer:
        try:
            delivery = (Channel.TELEGRAM, query_id)
            said = await self._intake.control(self._deps, person, int(tap.subject_id), tap.verb, delivery=delivery)
        except intake.NotVisible:
            return Answer(cards.NO_TASK, alert=True, turns=False)
        return Answer(said, alert=False, turns=False)

    async def _stop(self, halted: Halted) -> None:
        """The run card tells what came of it; of a stranger's or a foreign task nothing is said."""
        person = await people.behind(self._deps.db, halted.sender)
        try:
            if person is not None:
                delivery = (Channel.TELEGRAM, halted.delivery_id)
                await self._intake.control(self._deps, person, halted.task_id, "stop", delivery=delivery)
        except intake.NotVisible:
            log.info("a draft is stopped whose task its reader may not see")

    async def _card(self, tapped: Tapped, tap: Tap) -> cards.Card | None:
        """The card as it is now and may be seen where it was tapped, with the buttons that fit this chat."""
        if tap.subject == "approval":
            approval = await approvals.whole(self._deps.db, tap.subject_id)
            is_shared = tapped.place is None or not tapped.place.private
            card = cards.approval_card(approval, is_shared=is_shared) if approval else None
        else:
            task = await tasks.whole(self._deps.db, int(tap.subject_id))
            card = cards.task_card(task, now=datetime.now(UTC)) if task else None
        return render.shown(card.masked(self._mask), self._base_url) if card else None

    # ------------------------------------------------------------ after the commit, best effort

    async def _tell(self, tapped: Tapped, answer: Answer) -> None:
        text = self._mask(answer.text)[:ALERT_CHARS] or None
        await insisting(lambda: self._client.answer_callback_query(tapped.query_id, text=text, show_alert=answer.alert))

    async def _turn_keyboard(
        self, tapped: Tapped, tap: Tap, shows: Callable[[cards.Card], InlineKeyboardMarkup | None]
    ) -> None:
        """Show the question, or the card's own buttons again; and if it was decided meanwhile, that."""
        card = await self._card(tapped, tap)
        if card is None:
            return
        await self._show(tapped, shows(card))
        now = await self._card(tapped, tap)
        if now is not None and (now.buttons, now.more) != (card.buttons, card.more):
            await self._show(tapped, render.keyboard(now))

    async def _show_whole(self, tapped: Tapped, person: Principal, tap: Tap) -> None:
        try:
            said = await self._details.show(tapped, person, tap.subject_id)
        except TelegramError as error:
            log.info("an action could not be shown whole: %s", self._client.hushed(error))
            said = NOT_SHOWN
        await self._tell(tapped, Answer(said, alert=said in (NOT_STARTED, NOT_SHOWN)))

    async def _show(self, tapped: Tapped, keyboard: InlineKeyboardMarkup | None) -> None:
        if tapped.place is None:
            return
        chat = int(tapped.place.external_id)
        self._spacing.spend(chat, time.monotonic())

        async def turn(buttons: InlineKeyboardMarkup | None) -> object:
            return await self._client.edit_message_reply_markup(
                chat_id=chat, message_id=tapped.message_id, reply_markup=buttons
            )

        try:
            await insisting(lambda: self._client.server.sent(keyboard, turn))
        except BadRequest as error:
            if NOT_MODIFIED not in error.message.lower():
                raise

    async def _nod(self, inbound: Inbound) -> None:
        chat, message = int(inbound.place.external_id), int(inbound.message_ref)
        await insisting(lambda: self._client.set_message_reaction(chat, message, SEEN))

    def _soon(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._best_effort(coroutine))
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _best_effort(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            await coroutine
        except TelegramError as error:
            log.info("Telegram was not told: %s", self._client.hushed(error))
        except Exception as error:
            log.warning("Telegram was not told: %s", type(error).__name__)

    # ------------------------------------------------------------ beginning and end

    async def _introduce(self) -> None:
        """Until Telegram has told us who we are and knows where updates go."""
        attempt = 0
        while True:
            attempt += 1
            try:
                self._me = await self._client.whoami()
                self._introduced.set()
                self._soon(linking.introduce(self._deps.db, Channel.TELEGRAM, self._me.username))
                if not self._polls:
                    await self._client.set_webhook(
                        f"{self._base_url}{PATH}", secret_token=self._secret, allowed_updates=list(ALLOWED_UPDATES)
                    )
                self._soon(self._offer_commands())
                return log.info("Telegram knows this bot as @%s", self._me.username)
            except TelegramError as error:
                log.warning("Telegram does not let us in yet: %s", self._client.hushed(error))
            await asyncio.sleep(backoff_s(attempt, first_s=PAUSE_FIRST_S, most_s=PAUSE_MOST_S))

    async def _offer_commands(self) -> None:
        offered = {name: BotCommand(name, say) for name, say in COMMANDS.items()}
        await insisting(lambda: self._client.set_my_commands(list(offered.values())))
        in_groups = [offered[name] for name in GROUP_COMMANDS]
        await insisting(lambda: self._client.set_my_commands(in_groups, scope=BotCommandScopeAllGroupChats()))

    async def _farewell(self) -> None:
        """Let the answers that are under way arrive, for a moment."""
        if self._later:
            await asyncio.wait(self._later, timeout=FAREWELL_S)
        for task in self._later:
            task.cancel()
        await self._client.close_connections()


def _press(tapped: Tapped, tap: Tap) -> Press:
    verdict: Verdict = tap.verb  # type: ignore[assignment]  # read_tap lets verdicts pass only
    return Press(
        channel=Channel.TELEGRAM,
        delivery_id=tapped.query_id,
        sender=tapped.sender,
        approval_id=tap.subject_id,
        verdict=verdict,
    )


def _told(decided: Decided) -> Answer:
    """An accepted press passes by; anything else has to be read and closed. What comes too late turns the buttons that were
    pressed: they may be on a copy of the card that only Telegram knows of, since the answer to its post was lost."""
    is_late = isinstance(decided, AlreadyDecided | TooLate | Changed)
    return Answer(cards.press_answer(decided), alert=not isinstance(decided, Accepted), turns=is_late)
