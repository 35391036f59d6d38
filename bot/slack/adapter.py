"""The Slack app: takes what Slack delivers, has it committed, and only then acknowledges.

Both transports end in `taken` (Socket Mode by a Bolt middleware, which runs before anything of Bolt's acknowledges by
itself): it translates, calls intake, and answers 200, or 500 when the commit failed, so that Slack delivers again. Nothing
here waits for Slack's API before the acknowledgement; what only the presser is told goes out afterwards.
https://docs.slack.dev/apis/events-api#responding
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final, Protocol

import aiohttp
from fastapi import APIRouter
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_bolt.response import BoltResponse
from slack_sdk.errors import SlackApiError
from slack_sdk.webhook.async_client import AsyncWebhookClient

from bot.slack import words
from bot.slack.blocks import Message, words_message
from bot.slack.files import SlackFiles
from bot.slack.forms import UNANSWERED, Forms
from bot.slack.groups import UserGroups
from bot.slack.home import Home
from bot.slack.http import slack_router
from bot.slack.payload import Own
from bot.slack.sender import CALL_TIMEOUT_S, SlackSender, refusal, web_client
from bot.slack.sessions import Sessions
from bot.slack.shortcut import ShortcutFilled, ShortcutUsed
from bot.slack.surfaces import GroupChanged, HomePressed, SessionStopped, Surface, TabOpened, surface
from bot.slack.translate import (
    FIELD_PREFIX,
    REASON,
    Dropped,
    Pressed,
    ReasonWanted,
    Reply,
    Said,
    Steered,
    translate,
)
from core import cards, config, editing
from core import intake as core_intake
from core.deps import Deps
from core.ending import ended
from core.models import Accepted, Channel, Decided, Duplicate, Inbound, Invalid, Press, Received
from core.store import people
from core.store.people import Principal

log = logging.getLogger(__name__)

TELLING_MOST: Final = 1000
CLOSE_S: Final = 2.0


class Intake(Protocol):
    """What we need of `core.intake`."""

    async def receive(self, deps: Deps, inbound: Inbound) -> Received | Duplicate: ...

    async def press(self, deps: Deps, pressed: Press) -> Decided: ...

    async def control(
        self, deps: Deps, person: Principal, task: int, verb: str, *, delivery: tuple[Channel, str] | None = None
    ) -> str: ...


class SlackAdapter:
    """`router()` is Slack's way in over HTTP, `run()` the connection in Socket Mode, `sender` the way out."""

    def __init__(self, deps: Deps, intake: Intake = core_intake) -> None:
        self._deps, self._intake = deps, intake
        self._settings = deps.settings
        self.sender = SlackSender(self._settings, partial(people.requester_in, deps.db, "slack"))
        self.forms = Forms(deps, self.sender, self._tell)
        self.files = SlackFiles(self._settings)
        self.own: Own | None = None
        self._telling: set[asyncio.Task[None]] = set()
        self._reading = web_client(self._settings, may_repeat=True, waits=True)
        self.groups = UserGroups(deps, self._reading)
        self.sessions, self.home = Sessions(deps, self._reading), Home(deps, self._reading)
        # Requests are verified before they get here; who we are and what is ours to drop, we judge ourselves.
        self.app = AsyncApp(
            name="sayso",
            logger=_quiet("bot.slack.bolt", logging.ERROR),  # it warns of a token in the environment beside our client
            client=web_client(self._settings, may_repeat=True),
            signing_secret="",
            request_verification_enabled=False,
            before_authorize=self._take,
        )

    def router(self) -> APIRouter:
        """`POST /slack/events`: events, interactivity and commands."""
        return slack_router(self.taken, self._settings.secret_of(self._settings.slack_signing_secret))

    def loops(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What runs beside the connection, each for itself."""
        beside = {"groups": self.groups.run, "sessions": self.sessions.run, "home": self.home.run}
        return {"slack": self.run} | {f"slack {name}": loop for name, loop in beside.items()}

    async def run(self) -> None:
        """Learn who we are, then listen until cancelled. Slack being away delays this and nothing else."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)) as session:
            clients = (self.sender.once, self.sender.again, self.app.client, self._reading)
            for client in clients:
                client.session = session
            try:
                self.own = await self._who_we_are()
                self.groups.own = self.own
                await self._listen()
            finally:
                await ended(self._telling)
                for client in clients:
                    client.session = None

    async def _who_we_are(self) -> Own:
        pause_s = config.RETRY_FIRST_S
        while True:
            try:
                answer = await self.sender.again.auth_test()
                own = Own(
                    team=str(answer["team_id"]),
                    enterprise=str(answer.get("enterprise_id") or ""),
                    bot_user=str(answer["user_id"]),
                )
                log.info("Slack: we are %s in %s, by %s", own.bot_user, own.home, self._settings.slack_how)
                return own
            except SlackApiError as error:
                log.error("Slack: %s; asking again in %g s", refusal(error), pause_s)
            except UNANSWERED as error:
                log.warning("Slack does not answer (%s); asking again in %g s", type(error).__name__, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, config.PART_RETRY_MOST_S)

    async def _listen(self) -> None:
        if self._settings.slack_how == "http":
            await asyncio.Event().wait()
        handler: Any = AsyncSocketModeHandler(  # Any: its methods carry no types
            self.app, self._settings.secret_of(self._settings.slack_app_token), logger=_quiet("bot.slack.socket")
        )
        try:
            await handler.connect_async()
            await asyncio.Event().wait()
        finally:
            # A Slack that does not answer the farewell must not hold up our own end.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await handler.close_async()

    # ------------------------------------------------------------ what comes in

    async def _take(self, body: dict[str, Any], next: Callable[[], Awaitable[BoltResponse]]) -> BoltResponse:
        """Bolt's first middleware, which leaves nothing to those after it: what Socket Mode brings."""
        return await self.taken(body)

    async def taken(self, body: dict[str, Any]) -> BoltResponse:
        """Everything that Slack delivers. 200 says that it is committed, or of no concern to us."""
        if body.get("type") == "url_verification":
            return BoltResponse(status=200, body={"challenge": str(body.get("challenge", ""))})
        if self.own is None:
            log.warning("Slack delivers before we know who we are; it will deliver again")
            return BoltResponse(status=503, body="")
        found = surface(body, self.own) or translate(body, self.own)
        try:
            match found:
                case Dropped():
                    return BoltResponse(status=200, body="")
                case (
                    TabOpened() | HomePressed() | SessionStopped() | ShortcutUsed() | ShortcutFilled() | GroupChanged()
                ):
                    return await self._on_surface(found)
                case Said():
                    return await self._said(found)
                case Pressed():
                    return await self._pressed(found)
                case Steered():
                    return await self._steered(found)
                case ReasonWanted():
                    self._later(self.forms.open(found))
                    return BoltResponse(status=200, body="")
        except Exception as error:
            # The error's text may hold what people wrote, so only its kind is logged.
            log.error("a delivery could not be committed, Slack is not told that it was: %s", type(error).__name__)
            log.debug("that was", exc_info=True)
            self._tell_of_failure(found)
            return BoltResponse(status=500, body="")

    async def _said(self, said: Said) -> BoltResponse:
        await self._intake.receive(self._deps, said.inbound)
        if said.reply is None:
            return BoltResponse(status=200, body="")
        is_private = said.inbound.place.private
        taken = words.COMMAND_TAKEN_PRIVATELY if is_private else words.COMMAND_TAKEN
        return BoltResponse(status=200, body={"response_type": "ephemeral", "text": taken})

    async def _pressed(self, pressed: Pressed) -> BoltResponse:
        press = pressed.press
        if pressed.given is not None:
            try:
                args = await self.forms.changes(press.approval_id, pressed.given)
            except editing.BadEdit as error:
                return _in_view(pressed, str(error), error.field)
            press = press.model_copy(update={"args": args})
        if press.verdict == "delegate":
            if (to := await self.forms.key_of(press.to or "")) is None:
                return _in_view(pressed, words.NOT_KNOWN, "")
            press = press.model_copy(update={"to": to})
        decided = await self._intake.press(self._deps, press)
        if isinstance(decided, Accepted):
            return BoltResponse(status=200, body="")
        answer = cards.press_answer(decided)
        if pressed.in_view:
            return _in_view(pressed, answer, decided.field if isinstance(decided, Invalid) else "")
        self._later(self._tell(pressed.reply, answer))
        return BoltResponse(status=200, body="")

    async def _steered(self, steered: Steered) -> BoltResponse:
        person = await people.behind(self._deps.db, steered.sender)
        try:
            answer = words.STRANGER
            if person is not None:
                answer = await self._intake.control(self._deps, person, steered.task_id, steered.verb)
        except core_intake.NotVisible:
            answer = words.NO_SUCH_TASK
        self._later(self._tell(steered.reply, answer))
        return BoltResponse(status=200, body="")

    async def _on_surface(self, found: Surface) -> BoltResponse:
        """What changes something is committed here; the rest can be lost, and comes after the acknowledgement."""
        match found:
            case TabOpened(is_home=is_home):
                self._later(self.home.opened(found) if is_home else self.sessions.suggest(found))
            case HomePressed():
                self._later(self.home.tell(found, await self.home.pressed(found, self._intake.control)))
            case SessionStopped(reply=reply):
                if said := await self.sessions.stop(found, self._intake.control):
                    self._later(self._tell(reply, said))
            case ShortcutUsed():
                self._later(self._open_form(found))
            case ShortcutFilled(inbound=inbound):
                await self._intake.receive(self._deps, inbound)
            case GroupChanged(usergroup=group):
                await self.groups.changed(group)
        return BoltResponse(status=200, body="")

    async def _open_form(self, used: ShortcutUsed) -> None:
        try:
            await self.sender.once.views_open(trigger_id=used.trigger, view=used.view)
        except UNANSWERED as error:
            log.warning("Slack did not open the form of the shortcut: %s", type(error).__name__)
            await self._tell(used.reply, words.NO_FORM)

    # ------------------------------------------------------------ what only one person is told

    def _tell_of_failure(self, found: Said | Pressed | Steered | ReasonWanted | Dropped | Surface) -> None:
        """Slack delivers messages and events again, but neither presses nor commands."""
        match found:
            case HomePressed():
                self._later(self.home.tell(found, words.PRESS_FAILED))
            case ShortcutFilled(reply=reply):
                self._later(self._tell(reply, words.COMMAND_FAILED))
            case Said(reply=Reply() as reply):
                self._later(self._tell(reply, words.COMMAND_FAILED))
            case Pressed(reply=reply) | Steered(reply=reply):
                self._later(self._tell(reply, words.PRESS_FAILED))
            case _:
                return

    async def _tell(self, reply: Reply, text: str) -> None:
        """To this person alone; by the reply's own address where the bot may not post, and else in our conversation with
        them, since such an address is good five times in half an hour."""
        message = words_message(text, self._settings.base_url())
        more: dict[str, Any] = {"thread_ts": reply.thread} if reply.thread else {}
        try:
            await self.sender.once.chat_postEphemeral(
                channel=reply.channel, user=reply.user, text=message.text, blocks=message.blocks, **more
            )
        except UNANSWERED as error:
            if reply.url and await self._told_by_url(reply.url, message, more):
                return
            log.info("Slack: a person is told something in private: %s", type(error).__name__)
            await self._told_in_private(reply.user, message)

    async def _told_in_private(self, user: str, message: Message) -> None:
        try:
            await self.sender.once.chat_postMessage(
                channel=user, text=message.text, blocks=message.blocks, mrkdwn=False
            )
        except UNANSWERED as error:
            log.warning("Slack: a person could not be told something: %s", type(error).__name__)

    async def _told_by_url(self, url: str, message: Message, more: dict[str, Any]) -> bool:
        body = {"text": message.text, "blocks": message.blocks, "response_type": "ephemeral", "replace_original": False}
        try:
            client = AsyncWebhookClient(url, timeout=CALL_TIMEOUT_S, logger=_quiet("bot.slack.sdk"))
            return (await client.send_dict(body | more)).status_code == 200
        except UNANSWERED:
            return False

    def _later(self, told: Coroutine[Any, Any, None]) -> None:
        """After the acknowledgement; best effort."""
        if len(self._telling) >= TELLING_MOST:
            told.close()
            return
        task = asyncio.create_task(told)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


def _in_view(pressed: Pressed, answer: str, field: str) -> BoltResponse:
    """The error at the field that it is about; at the first one when the form has no such field."""
    given = pressed.given
    block = REASON if given is None else f"{FIELD_PREFIX}{field if field in given else next(iter(given), '')}"
    return BoltResponse(status=200, body={"response_action": "errors", "errors": {block: answer}})


def _quiet(name: str, level: int = logging.INFO) -> logging.Logger:
    """The SDK's loggers write whole payloads at DEBUG: people's words belong into no log."""
    logger = logging.getLogger(name)
    logger.setLevel(level)
    return logger
