"""What the page of `sayso up --sim` asks for: everything that people see in every chat, and one person's verb at a time.

It only reads the world and calls a person's verbs; what follows is the app's doing. Requests need a header that no other
site's page can send, since they come from a browser.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.sim.faults import DISCONNECT, DONE_BUT_ANSWER_LOST, DROP_BEFORE, DUPLICATE, REORDER, Kind, delay, status
from tests.sim.people import Chat, Human
from tests.sim.slack_people import Person
from tests.sim.slack_world import Body, Message, View
from tests.sim.telegram_people import TgPerson
from tests.sim.telegram_world import TgMessage
from tests.sim.world import Vendor, World

PAGE = Path(__file__).parent / "page"
HEADER = "X-Sim"
JOURNAL_SHOWN = 60
BODY_CHARS = 400
OK, CREATED = 200, 201
DRAFT_S = 30.0
TOLD_S = 8.0  # an app shows such a line for less; here one is to read it beside other chats
STEP_MOST_S = 7 * 24 * 3600

CAST = (
    ("ann", "Ann", "owner: may ask and decide", "U01ANN", 1001, "+15550002222"),
    ("ed", "Ed", "engineer: may ask, not decide", "U02ED", 1002, "+15550003333"),
    ("mallory", "Mallory", "stranger: not in sayso.yaml", "U09MALLORY", 1009, "+15550009999"),
)
KINDS: dict[str, tuple[str, Kind]] = {
    "429": ("refused: too many requests", status(429, retry_after_s=2)),
    "500": ("refused: error 500", status(500)),
    "delay": ("three seconds late", delay(3.0)),
    "drop": ("cut before it began", DROP_BEFORE),
    "lost": ("done, but the answer is lost", DONE_BUT_ANSWER_LOST),
    "torn": ("the answer breaks off", DISCONNECT),
    "twice": ("delivered twice at once", DUPLICATE),
    "overtaken": ("overtaken by the next one", REORDER),
}
# What a newcomer would want to break: what it is called, then vendor, direction and method.
LEGS: dict[str, tuple[str, Vendor, str, str]] = {
    "slack-say": ("Slack → Sayso: a message", "slack", "out", "message"),
    "slack-press": ("Slack → Sayso: a press", "slack", "out", "block_actions"),
    "slack-post": ("Sayso → Slack: a new message", "slack", "in", "chat.postMessage"),
    "slack-edit": ("Sayso → Slack: an edit", "slack", "in", "chat.update"),
    "telegram-say": ("Telegram → Sayso: a message", "telegram", "out", "message"),
    "telegram-press": ("Telegram → Sayso: a press", "telegram", "out", "callback_query"),
    "telegram-post": ("Sayso → Telegram: a new message", "telegram", "in", "sendMessage"),
    "telegram-edit": ("Sayso → Telegram: an edit", "telegram", "in", "editMessageText"),
    "sms-say": ("Phone → Sayso: a text", "twilio", "out", "inbound"),
    "sms-post": ("Sayso → phone: a text", "twilio", "in", "messages.create"),
}


class Desk:
    """Routes: / and /page.js, GET /sim/state, POST /sim/{say,voice,home,press,stop,submit,close,fault,clock}."""

    def __init__(self, world: World, app_url: str, is_model_real: bool) -> None:
        self.world, self.app_url, self.is_model_real = world, app_url, is_model_real
        for key, name, _, *accounts in CAST:
            world.person(key, name, *accounts)  # type: ignore[arg-type]  # the accounts' types are those of the table

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/", self._file("index.html"))
        app.router.add_get("/page.js", self._file("page.js"))
        app.router.add_get("/sim/state", self._state)
        talking = (self._say, self._voice, self._home, self._press, self._stop, self._submit, self._close)
        for verb in (*talking, self._fault, self._clock):
            app.router.add_post(f"/sim/{verb.__name__.removeprefix('_')}", self._taken(verb))

    def _file(self, name: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(_: web.Request) -> web.StreamResponse:
            return web.FileResponse(PAGE / name, headers={"Cache-Control": "no-store"})

        return serve

    def _taken(self, verb: Callable[[Body], Awaitable[None]]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def take(request: web.Request) -> web.StreamResponse:
            if HEADER not in request.headers:
                return web.json_response({"error": "only this page may ask"}, status=403)
            try:
                await verb(await request.json())
            except (AssertionError, KeyError, ValueError) as error:
                return web.json_response({"error": str(error) or type(error).__name__}, status=422)
            return web.json_response({})

        return take

    # ------------------------------------------------------------ what people see

    async def _state(self, _: web.Request) -> web.StreamResponse:
        journal = self.world.journal.entries[-JOURNAL_SHOWN:]
        return web.json_response(
            {
                "app": self.app_url,
                "real_model": self.is_model_real,
                "now": self.world.clock.time(),
                "ahead_s": self.world.clock.ahead_s,
                "people": [self._person(self.world.people[key], about) for key, _, about, *_ in CAST],
                "legs": {key: leg[0] for key, leg in LEGS.items()},
                "kinds": {key: kind[0] for key, kind in KINDS.items()},
                "planned": self.world.unmet(),
                "journal": [
                    {"n": e.n, "at": e.at, "out": e.direction == "out", "vendor": e.vendor, "method": e.method,
                     "status": e.status, "note": e.note, "body": str(e.body)[:BODY_CHARS]}
                    for e in journal
                ],
            }
        )  # fmt: skip

    def _person(self, human: Human, about: str) -> Body:
        slack, telegram, phone = self._accounts(human.key)
        return {
            "key": human.key,
            "name": human.name,
            "about": about,
            "slack_id": slack.id,
            "slack": [_slack_message(one, slack.id) for one in slack.messages()],
            "views": [{"id": view.id, **view.body} for view in slack.views()],
            "home": home.body["blocks"] if (home := slack.sim.home(slack.id)) else None,
            "telegram": [_telegram_message(one, telegram.id) for one in telegram.messages()],
            "draft": self._draft(telegram.id),
            "told": [
                {"ref": one.query_id, "text": one.text}
                for one in telegram.sim.answers
                if one.user == telegram.id and one.text and time.time() - one.at < TOLD_S
            ],
            "sms": self._texts(phone.number),
        }  # fmt: skip

    def _draft(self, chat: int) -> str:
        """What is being written there: shown until it is said, or for so long as Telegram shows it."""
        sent = [entry for entry in self.world.journal.of("telegram") if str(entry.body.get("chat_id")) == str(chat)]
        last = next((entry for entry in reversed(sent) if entry.method in ("sendMessage", "sendMessageDraft")), None)
        if last is None or last.method == "sendMessage" or last.status != OK:
            return ""
        return str(last.body.get("text", "")) if self.world.clock.time() - last.at < DRAFT_S else ""

    def _texts(self, number: str) -> list[Body]:
        """What went to the phone and from it, in its order; not what Twilio refused or never took."""
        return [
            {"text": entry.body["Body"], "mine": entry.direction == "in"}
            for entry in self.world.journal
            if entry.vendor in ("twilio", "phone")
            and number in (entry.body.get("To"), entry.body.get("From"))
            and entry.body.get("Body")
            and (entry.direction == "out" or entry.status == CREATED)
            and not entry.note.startswith("fault")
        ]

    def _accounts(self, key: str) -> tuple[Person, TgPerson, Any]:
        faces: Any = self.world.people[key].faces
        return faces["slack"].person, faces["telegram"].person, faces["sms"].phone

    # ------------------------------------------------------------ a person's verbs

    async def _say(self, given: Body) -> None:
        """`reply_to` is the message in Telegram that it answers."""
        human, chat, more = self.world.people[given["who"]], _chat(given["chat"]), dict[str, Any]()
        if given.get("reply_to"):
            more["reply_to"] = next(one.raw for one in human.sees("telegram") if one.ref == given["reply_to"])
        await human.say(str(given["text"]), chat, **more)

    async def _voice(self, given: Body) -> None:
        human, chat = self.world.people[given["who"]], _chat(given["chat"])
        assert chat == "slack" or not self.is_model_real, "a real model would listen, and there is no sound"
        await human.voice(str(given["text"]), chat)

    async def _home(self, given: Body) -> None:
        slack, _, _ = self._accounts(given["who"])
        await slack.open_home()

    async def _stop(self, given: Body) -> None:
        _, telegram, _ = self._accounts(given["who"])
        await telegram.stop_draft()

    async def _press(self, given: Body) -> None:
        """`ref` is the message, or "home", where several buttons may read alike: `value` is what theirs bring back."""
        human, chat = self.world.people[given["who"]], _chat(given["chat"])
        if given["ref"] == "home":
            slack, _, _ = self._accounts(given["who"])
            home = slack.sim.home(slack.id)
            assert home is not None, "the Home tab was not opened yet"
            await slack.press(home, given["button"], value=given.get("value"))
            return
        seen = [one for one in human.sees(chat) if one.ref == given["ref"]]
        assert seen, "that message is not there any more"
        await human.on(chat).press(seen[0], given["button"])

    async def _submit(self, given: Body) -> None:
        slack, _, _ = self._accounts(given["who"])
        delivery = await slack.submit(_view(slack, given["view"]), given["values"])
        errors = (delivery.answer or {}).get("errors", {})
        assert not errors, "; ".join(errors.values())

    async def _close(self, given: Body) -> None:
        slack, _, _ = self._accounts(given["who"])
        await slack.close(_view(slack, given["view"]))

    async def _fault(self, given: Body) -> None:
        _, vendor, leg, method = LEGS[given["leg"]]
        self.world.plan(vendor, method, KINDS[given["kind"]][1], leg)  # type: ignore[arg-type]  # a leg of the table

    async def _clock(self, given: Body) -> None:
        seconds = float(given["seconds"])
        assert 0 < seconds <= STEP_MOST_S, "forward, and by at most a week at a time"
        async with asyncio.timeout(10):
            await self.world.clock.step(seconds)


def _chat(name: str) -> Chat:
    assert name in ("slack", "telegram", "sms"), f"there is no chat {name!r}"
    return name  # type: ignore[return-value]  # one of the three


def _view(slack: Person, view: str) -> View:
    found = [one for one in slack.views() if one.id == view]
    assert found, "that form is not open any more"
    return found[0]


def _slack_message(one: Message, reader: str) -> Body:
    return {
        "ref": one.ts,
        "mine": one.user == reader,
        "text": one.text,
        "blocks": one.blocks,
        "edits": len(one.edits),
        "private": one.ephemeral_to is not None,
    }


def _telegram_message(one: TgMessage, reader: int) -> Body:
    rows = (one.reply_markup or {}).get("inline_keyboard", [])
    return {
        "ref": str(one.id),
        "mine": one.sender.id == reader,
        "text": one.text,
        "entities": one.entities,
        "rows": [[_telegram_button(button) for button in row] for row in rows],
        "asks": "force_reply" in (one.reply_markup or {}),
        "edits": len(one.edits),
        "reaction": one.reaction,
    }


def _telegram_button(button: Body) -> Body:
    """One that is neither pressed nor a link only says something."""
    return {"text": button["text"], "can_press": "callback_data" in button, "url": button.get("url")}
