"""`python -m bot`: the process that people talk to: web, API, hooks, Slack, Telegram, and the courier.

Each part runs in a task of its own; a channel whose vendor is away is tried again and takes nothing else down.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import uvicorn
from fastapi import APIRouter

from bot.app import create_app
from bot.attachments import Fetcher, Source
from bot.courier import Courier
from bot.drafts import Drafts
from bot.sending import Sender
from bot.watch import Watch
from bot.web.sender import WebSender
from core import config, followers, organisation
from core.db import close_pool, open_pool
from core.deps import Deps
from core.ending import ended
from core.logs import set_up_logging
from core.ring import Ring
from core.settings import Settings
from core.store import people
from core.store import sms as consents

log = logging.getLogger("bot")


@dataclass
class Channels:
    """What the channels that are on bring: routes, background loops, senders, sources of attachments."""

    routers: list[APIRouter] = field(default_factory=list)
    loops: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    senders: list[Sender] = field(default_factory=lambda: [WebSender()])
    sources: list[Source] = field(default_factory=list)


def open_channels(deps: Deps) -> Channels:
    """A channel is on when its token is set. Imports are here, so that a channel that is off costs nothing."""
    channels = Channels()
    if deps.settings.slack_on:
        from bot.slack.adapter import SlackAdapter

        slack = SlackAdapter(deps)
        channels.routers.append(slack.router())
        channels.loops |= slack.loops()
        channels.senders.append(slack.sender)
        channels.sources.append(slack.files)
    if deps.settings.telegram_on:
        from bot.telegram.adapter import TelegramAdapter

        telegram = TelegramAdapter(deps)
        channels.routers.append(telegram.router())
        channels.loops["telegram"] = telegram.run
        channels.senders.append(telegram.sender)
        channels.sources.append(telegram.files)
    if deps.settings.twilio_on:
        from bot.sms.adapter import SmsAdapter

        sms = SmsAdapter(deps)
        channels.routers.append(sms.router())
        channels.loops["sms"] = sms.run
        channels.senders.append(sms.sender)
    return channels


@asynccontextmanager
async def open_deps(settings: Settings) -> AsyncIterator[Deps]:
    """Connect and load sayso.yaml; people become what it says."""
    async with AsyncExitStack() as stack:
        db = await open_pool(settings.database_dsn(), most=config.BOT_POOL_MOST, name="sayso bot")
        stack.push_async_callback(close_pool, db)
        ring = Ring.open(settings.redis_address())
        stack.push_async_callback(ring.close)
        known = organisation.load(settings.config_path)
        await people.sync(db, people.wanted(known))
        await consents.sync(db, consents.agreed(known))
        deps = Deps(settings, known, db, ring)
        await followers.let_go(deps)
        yield deps


def parts_of(deps: Deps, channels: Channels, courier: Courier) -> dict[str, Callable[[], Awaitable[None]]]:
    """All that goes on in a bot beside answering requests, by name."""
    redis_url = deps.settings.redis_address()
    drafts = Drafts(deps.db, redis_url, channels.senders, deps.masks())
    fetcher = Fetcher(deps, redis_url, channels.sources)
    own = {"courier": courier.run, "drafts": drafts.run, "watch": Watch(deps).run}
    return own | ({"fetcher": fetcher.run} if channels.sources else {}) | channels.loops


class Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: this process has its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def keep_going(name: str, part: Callable[[], Awaitable[None]], states: dict[str, str]) -> None:
    """Run a part for ever; when it breaks, say so (also in /healthz) and start it again, ever more slowly."""
    pause_s = config.RETRY_FIRST_S
    while True:
        states[name] = "running"
        try:
            await part()
        except Exception:
            log.exception("%s broke; again in %g s", name, pause_s)
        states[name] = "broken, it is started again"
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, config.PART_RETRY_MOST_S)


async def serve(settings: Settings) -> None:
    """Until SIGTERM or SIGINT."""
    async with open_deps(settings) as deps:
        # Again, now that sayso.yaml has named its secrets.
        set_up_logging(settings.log_level, deps.masks(), settings.log_format)
        channels = open_channels(deps)
        app = create_app(deps, extra_routers=channels.routers)
        # What is loaded by now stays: a full collection that walks it again and again would hold up presses for 40 ms.
        gc.collect()
        gc.freeze()
        server = Server(
            uvicorn.Config(
                app, host=settings.host, port=settings.port, log_config=None, access_log=False, server_header=False,
                timeout_graceful_shutdown=3,
            )
        )  # fmt: skip
        asked = asyncio.Event()
        for sign in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(sign, asked.set)
        courier = Courier(
            deps.db, settings.redis_address(), channels.senders, deps.masks(), deps.measures, key=settings.secret_key()
        )
        app.state.is_stuck = courier.is_stuck
        running = [
            asyncio.create_task(keep_going(name, part, app.state.parts), name=name)
            for name, part in parts_of(deps, channels, courier).items()
        ]
        web = asyncio.create_task(server.serve())
        stop = asyncio.create_task(asked.wait())
        await asyncio.wait((web, stop), return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await ended((*running, stop))
        await asyncio.gather(web, return_exceptions=True)


def main() -> None:
    settings = Settings.load()
    set_up_logging(settings.log_level, settings.masks(), settings.log_format)
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
