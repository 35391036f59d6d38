"""A whole Sayso in one process in front of the whole simulated world: real bot, worker, courier, Postgres and Valkey.

Everything between the vendors' wire formats and the database is the code that ships; only the waiting is shorter. Ann owns,
Bob and Cleo are engineers (Cleo owns too), Mallory is nobody. The web is not simulated: people use its real pages.
"""

from __future__ import annotations

import asyncio
import html
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from aiohttp import web

from bot.__main__ import keep_going, open_channels, open_deps, parts_of
from bot.app import create_app
from bot.courier import Courier
from bot.slack import home as home_tab
from bot.slack import sessions
from bot.telegram import spacing
from core import config
from core.deps import Deps
from core.ending import ended
from core.settings import Settings
from core.store import clock, people
from tests.patience import PATIENCE_S
from tests.sim.line import Line
from tests.sim.llm_script import Script
from tests.sim.people import Human, Seen, SlackFace, TelegramFace
from tests.sim.slack_people import Person
from tests.sim.world import World
from tests.telegram_town import served_at
from worker.__main__ import answer_rings
from worker.crew import Crew, open_crew

LOOK_EVERY_S = 0.02
# As in life, only sooner: how long things wait is not what these tests are about.
SHORT = {
    "COURIER_POLL_S": 0.05,
    "CARD_EDIT_GAP_S": 0.02,
    "MESSAGE_RETRY_FIRST_S": 0.05,
    "SWEEP_EVERY_S": 0.05,
    "IDLE_POLL_S": 0.1,
    "RETRY_FIRST_S": 0.1,
    "ATTACHMENT_POLL_S": 0.1,
    "DRAFT_GAP_S": 0.02,
    "DRAFT_SHOW_GAP_S": 0.05,
}
SHORT_IN_SLACK = (
    (sessions, "GAP_S", 0.05), (sessions, "POLL_S", 0.2), (home_tab, "GAP_S", 0.05), (home_tab, "POLL_S", 0.2),
)  # fmt: skip
# This alone is longer than in life: a busy machine is no slow Slack.
GROUP_LOOKUP_S = 10.0

ACME = """
organisation: Acme
people:
  ann: {name: Ann, roles: [owner], identities: {web: ann, slack: T0ACME/U01ANN, telegram: "1001", phone: "+15550002222"},
        sms: {opted_in_at: 2026-11-01T09:00:00Z}}
  bob: {name: Bob, roles: [engineer], identities: {web: bob, slack: T0ACME/U02BOB, telegram: "1002"}}
  cleo: {name: Cleo, roles: [owner], identities: {web: cleo, slack: T0ACME/U03CLEO, telegram: "1003"}}
roles:
  engineer: {may: ["skill:*"]}
approvers:
  on_call: {slack_usergroups: [S0ONCALL]}
policy:
  rules:
    - {name: production, skill: files.delete, when: '"production.log" in args.paths', then: ask, approvers: on_call}
skills:
  http: {allow_private: ["127.0.0.1"]}
runbooks:
  clean-logs:
    say: Delete logs
    steps:
      - {id: find, skill: files.list, args: {pattern: "*.log"}}
      - {id: remove, skill: files.delete, args: {paths: "{{ find.paths }}"}, needs: [find]}
"""
CAST = {
    "ann": ("Ann", "U01ANN", 1001, "+15550002222"),
    "bob": ("Bob", "U02BOB", 1002, "+15550003333"),
    "cleo": ("Cleo", "U03CLEO", 1003, "+15550004444"),
    "mallory": ("Mallory", "U09MALLORY", 1009, "+15550009999"),
}

Place = Literal["slack", "ops", "telegram", "sms", "web"]
OPS = "C0OPS"  # a channel in Slack in which the app is
ON_CALL = "S0ONCALL"  # a user group in Slack
TAG = re.compile(r"<[^>]+>")
FORM = re.compile(r"<form\b([^>]*)>(.*?)</form>", re.DOTALL)
FIELD = re.compile(r'<(?:input|textarea|select)\b[^>]*\bname="(\w+)"(?:[^>]*\bvalue="([^"]*)")?')
BUTTON = re.compile(r"<button\b[^>]*>(.*?)</button>", re.DOTALL)
ARTICLE = re.compile(r"<article\b.*?</article>", re.DOTALL)


@dataclass
class WebFace:
    """A person in the web chat and inbox without a script: what the pages say, and their forms."""

    browser: httpx.AsyncClient
    notices: list[str] = field(default_factory=list)

    async def sees(self) -> list[Seen]:
        """The cards of the chat, then those of the inbox, then all words of the chat."""
        chat, inbox = (await self.browser.get("/")).text, (await self.browser.get("/inbox")).text
        cards = {TAG.sub(" ", one): one for one in ARTICLE.findall(chat) + ARTICLE.findall(inbox)}
        found = [Seen("", _words(one), tuple(label for label, _, _ in _forms(one)), raw=one) for one in cards.values()]
        return [*found, Seen("", _words(chat))]

    async def say(self, text: str) -> bool:
        page = (await self.browser.get("/")).text
        return await self._post(next(form for form in _forms(page) if form[1] == "/chat"), {"text": text})

    async def press(self, seen: Seen, button: str, **more: str) -> bool:
        form = next(one for one in _forms(str(seen.raw)) if one[0] == button)
        return await self._post(form, more)

    async def _post(self, form: tuple[str, str, dict[str, str]], more: dict[str, str]) -> bool:
        """Asked whether one is sure, one is."""
        _, action, fields = form
        answer = await self.browser.post(action, data=fields | more)
        sure = next((one for one in _forms(answer.text) if one[2].get("confirmed")), None)
        if sure is not None:
            answer = await self.browser.post(sure[1], data=sure[2])
        self.notices.append(_words(answer.text))
        return answer.status_code < 400


def _forms(page: str) -> list[tuple[str, str, dict[str, str]]]:
    """(what the button says, where it goes, the fields as they stand)."""
    found = []
    for attributes, inside in FORM.findall(page):
        action = re.search(r'action="([^"]*)"', attributes)
        labels = [_words(re.sub(r"<span class=\"hidden\">.*?</span>", "", one)) for one in BUTTON.findall(inside)]
        fields = {name: html.unescape(value) for name, value in FIELD.findall(inside)}
        found += [(label, action[1] if action else "", fields) for label in labels[:1]]
    return found


def _words(page: str) -> str:
    return " ".join(html.unescape(TAG.sub(" ", page)).split())


class Shop:
    """A shop with an address of its own: takes orders, each as often as it is made, and can look nothing up."""

    def __init__(self, world: World) -> None:
        self.orders: list[str] = []
        self.line = Line("shop", world.journal, world.clock, PATIENCE_S)

    async def open(self) -> None:
        await self.line.open(lambda app: app.router.add_post("/orders", self._order), None, 0)

    async def _order(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()

        async def take() -> web.Response:
            self.orders.append(body)
            return web.json_response({"ok": True})

        return await self.line.call(
            request, "orders", {"body": body}, take, lambda fault: web.Response(status=fault.code)
        )


@dataclass
class Stage:
    world: World
    shop: Shop
    deps: Deps
    crew: Crew
    workspace: Path
    pages: dict[str, WebFace] = field(default_factory=dict)

    @property
    def script(self) -> Script:
        return self.world.script

    def who(self, key: str) -> Human:
        return self.world.people[key]

    async def sees(self, key: str, place: Place) -> list[Seen]:
        if place == "web":
            return await self.pages[key].sees()
        if place == "ops":
            return [seen for seen in SlackFace(self.slack_person(key)).sees(OPS) if seen.is_mine]
        return [seen for seen in self.who(key).sees(place) if seen.is_mine]

    def files(self, key: str, place: Place) -> list[tuple[str, str]]:
        """(name, content) of the files that stand in a chat, each as often as it does."""
        if place == "telegram":
            chat = self.who(key).on(place)
            assert isinstance(chat, TelegramFace)
            sent = [one.extra["document"] for one in chat.person.messages() if "document" in one.extra]
            return [(one["file_name"], self.world.telegram.files[one["file_id"]].decode()) for one in sent]
        if place != "slack":
            return []
        shown = [file for one in self.slack_person(key).messages() for file in one.extra.get("files", [])]
        uploads = self.world.slack.world.uploads
        return [(one["name"], uploads[one["id"]]["content"].decode()) for one in shown if one["id"] in uploads]

    def slack_person(self, key: str) -> Person:
        """Their account in Slack, for what only Slack has."""
        face = self.who(key).on("slack")
        assert isinstance(face, SlackFace)
        person: Person = face.person
        return person

    async def until(self, look: Callable[[], Any], what: Callable[[], str]) -> Any:
        """What `look` answers once it is something; fails with what was looked for, and with the journal."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    found = look()
                    found = await found if asyncio.iscoroutine(found) else found
                    if found:
                        return found
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            raise AssertionError(f"{what()}\n{self.world.journal.dump()}") from None

    async def rests(self) -> None:
        """Until everything that was to be said has been said."""
        moving = (
            "select exists (select from outbox where status in ('pending', 'sending', 'unknown'))"
            " or exists (select from tasks where status in ('queued', 'planning', 'running', 'cancelling'))"
        )

        async def quiet() -> bool:
            return not await self.deps.db.fetchval(moving)

        await self.until(quiet, lambda: "it does not come to rest")


@asynccontextmanager
async def open_stage(
    database_url: str,
    redis_url: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    furnish: Callable[[World], None] = lambda world: None,
    **how: Any,
) -> AsyncIterator[Stage]:
    """`how` is the world's: which transports, which script; `furnish` may add to it before it opens."""
    for name, seconds in SHORT.items():
        monkeypatch.setattr(config, name, seconds)
    monkeypatch.setattr(config, "GROUP_LOOKUP_S", GROUP_LOOKUP_S)
    for module, name, seconds in SHORT_IN_SLACK:
        monkeypatch.setattr(module, name, seconds)
    for name in ("PRIVATE", "PRIVATE_PROGRESS"):
        monkeypatch.setattr(spacing, name, ((100, 1.0),))
    async with AsyncExitStack() as stack:
        door = stack.enter_context(socket.socket())
        door.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        world = World(url, **({"script": Script(repeats=True)} | how))
        world.slack.world.usergroups[ON_CALL] = []
        furnish(world)
        await stack.enter_async_context(world)
        (home / "sayso.yaml").write_text(ACME, encoding="utf-8")
        (home / "workspace").mkdir()
        settings = Settings.load(
            world.environment() | {
                "DATABASE_URL": database_url, "REDIS_URL": redis_url, "SAYSO_HOME": str(home), "PUBLIC_BASE_URL": url,
                "SAYSO_CONFIG": str(home / "sayso.yaml"), "SAYSO_SECRET_KEY": "k" * 32,
            },
            home,
        )  # fmt: skip
        deps = await stack.enter_async_context(open_deps(settings))
        channels = open_channels(deps)
        app = create_app(deps, extra_routers=channels.routers)
        courier = Courier(deps.db, redis_url, channels.senders, deps.masks(), deps.measures, key=settings.secret_key())
        crew = await stack.enter_async_context(open_crew(settings))

        async def follow(ahead_s: float) -> None:
            await clock.move(deps.db, timedelta(seconds=ahead_s))

        world.clock.followers.append(follow)
        shop = Shop(world)
        await shop.open()
        stack.push_async_callback(shop.line.close)
        made = Stage(world, shop, deps, crew, home / "workspace")
        await stack.enter_async_context(served_at(app, door))
        running = [
            asyncio.create_task(keep_going(name, part, app.state.parts))
            for name, part in parts_of(deps, channels, courier).items()
        ]
        running += [asyncio.create_task(crew.run())]
        running += [asyncio.create_task(answer_rings(crew, redis_url, lane)) for lane in config.LANES]
        try:
            await _enter(made, url, stack)
            yield made
            await made.rests()
        finally:
            await crew.executor.stop(grace_s=2)
            app.state.hub.close()
            async with asyncio.timeout(PATIENCE_S):  # else the log that names what does not end is never shown
                await ended(running)


async def _enter(stage: Stage, url: str, stack: AsyncExitStack) -> None:
    """The cast comes in; the chats are on."""
    world, db = stage.world, stage.deps.db
    for key, accounts in CAST.items():
        world.person(key, *accounts)
        known = await people.by_key(db, key)
        if known is not None:
            browser = await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=url,
                    headers={"origin": url, "accept": "text/html"},
                    follow_redirects=True,
                    timeout=PATIENCE_S,
                )
            )
            browser.cookies.set("sayso", await people.make_token(db, known.id, "session", config.SESSION_EXPIRES_S))
            stage.pages[key] = WebFace(browser)
    polls, sockets = world.telegram_mode == "polling", world.slack.mode == "socket"

    def ready() -> bool:
        listens = world.telegram.world.polled.is_set() if polls else bool(world.telegram.world.webhook["url"])
        connected = bool(world.slack.socket.connections) if sockets else bool(world.journal.of("slack", "auth.test"))
        return listens and connected

    await stage.until(ready, lambda: "the chats do not come up")
