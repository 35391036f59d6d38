"""A stand-in for Telegram's Bot API on a local port, spoken to by python-telegram-bot or any other client.

`TelegramSim` serves the methods we use; `sim.user(...)` gives people whose verbs (telegram_people) make updates. These are
pushed where the bot set its webhook (or to `deliver_to`), else they wait for getUpdates. It judges requests and keeps
what it refused in `violations`. It knows nothing of our code. By hand: `python -m tests.sim.telegram`.
"""

import argparse
import asyncio
import contextlib
import time

from tests.sim.clock import Clock
from tests.sim.journal import Journal
from tests.sim.line import Line, Site
from tests.sim.telegram_api import TelegramApi
from tests.sim.telegram_people import TgDelivery, TgPerson
from tests.sim.telegram_world import Body, CallbackAnswer, TgChat, TgMessage, TgUser, TgWorld

TOKEN = "424242:sim-token-of-no-worth-at-all-0123456789"
SECRET = "sim-webhook-secret"
ANSWER_DEADLINE_S = 10.0
# The app may not listen yet at the moment when it sets its webhook.
PUSHES_AFTER_SET = 25


class TelegramSim:
    """One bot. With `deliver_to` (the app's base URL) updates go to its /telegram/webhook with `secret`, even where the
    app sets no webhook; an address given by setWebhook wins. `privacy` is the bot's privacy mode in groups. `redelivers`: what
    the webhook did not take is pushed again by itself."""

    def __init__(
        self,
        deliver_to: str = "",
        secret: str = SECRET,
        *,
        token: str = TOKEN,
        username: str = "sayso_bot",
        privacy: bool = True,
        redelivers: bool = False,
        journal: Journal | None = None,
        clock: Clock | None = None,
        answer_deadline_s: float = ANSWER_DEADLINE_S,
    ) -> None:
        self.deliver_to, self.secret, self.token = deliver_to, secret, token
        self.privacy, self.redelivers = privacy, redelivers
        self.line = Line("telegram", journal, clock, answer_deadline_s)
        self.journal, self.faults, self.violations = self.line.journal, self.line.faults, self.line.violations
        self.files: dict[str, bytes] = {}
        self.world = TgWorld(TgUser(int(token.partition(":")[0]), "Sayso", username, is_bot=True))

    async def start(self, port: int = 0, site: Site | None = None) -> "TelegramSim":
        await self.line.open(lambda app: app.add_routes(TelegramApi(self).routes()), site, port)
        return self

    async def stop(self) -> None:
        if self.world.poll is not None and not self.world.poll.done():
            self.world.poll.set_result(None)
        await self.line.close()

    async def __aenter__(self) -> "TelegramSim":
        return await self.start()

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @property
    def api_url(self) -> str:
        """What TELEGRAM_API_URL is to be; the library's base_url is this plus "/bot"."""
        return self.line.url

    @property
    def answers(self) -> list[CallbackAnswer]:
        """What pressers were shown, in order."""
        return self.world.answers

    def user(self, user_id: int, first_name: str = "", username: str = "", *, started: bool = True) -> TgPerson:
        """A person; `started` says that they opened the chat with the bot some time before."""
        user = self.world.users.setdefault(user_id, TgUser(user_id, first_name or f"User {user_id}", username))
        user.has_started = user.has_started or started
        self.world.chats.setdefault(user_id, TgChat(user_id, "private", user.first_name))
        return TgPerson(self, user)

    def group(self, chat_id: int, title: str, *, topics: tuple[int, ...] = ()) -> TgChat:
        """A supergroup with the bot in it; with topics it is a forum."""
        self.world.chats[chat_id] = TgChat(chat_id, "supergroup", title, set(topics), bool(topics))
        return self.world.chats[chat_id]

    async def migrate(self, chat_id: int, new_id: int) -> list[TgDelivery]:
        """A group becomes a supergroup: another id, none of its messages, and a service message in both."""
        old = self.world.chats[chat_id]
        old.moved_to = new_id
        new = self.group(new_id, old.title)
        said = []
        for chat, news in ((old, {"migrate_to_chat_id": new_id}), (new, {"migrate_from_chat_id": chat_id})):
            message = TgMessage(chat, self.world.message_id(chat), TgUser(777000, "Telegram"), "", extra=dict(news))
            update = self.world.update("message", message.wire())
            said.append(await self.deliver(update) if update is not None else TgDelivery(None))
        return said

    def messages(self, chat_id: int) -> list[TgMessage]:
        """What stands in a chat, oldest first; each with its `edits` and `reply_markup`."""
        return self.world.standing(chat_id)

    def expire_queries(self) -> None:
        """Lets every press so far be too old to answer."""
        for query in self.world.queries.values():
            query.expired = True

    @property
    def webhook_url(self) -> str:
        return self.world.webhook["url"] or (
            f"{self.deliver_to.rstrip('/')}/telegram/webhook" if self.deliver_to else ""
        )

    async def deliver(self, update: Body, note: str = "") -> TgDelivery:
        """Pushes an update to the webhook, or keeps it for getUpdates where there is none."""
        kind = next(name for name in update if name != "update_id")
        if not self.webhook_url:
            self.world.queue(update)
            self.journal.write("telegram", "out", kind, update, 0, note or "waits for getUpdates")
            return TgDelivery(update)

        async def send() -> TgDelivery:
            secret = self.world.webhook.get("secret_token") or self.secret
            status, text, elapsed_s = await self.post(update, {"X-Telegram-Bot-Api-Secret-Token": secret})
            self.journal.write("telegram", "out", kind, update, status, note)
            return TgDelivery(update, status, elapsed_s, text)

        delivery = await self.line.deliver(kind, update, send, lambda status: TgDelivery(update, status))
        self.world.pending = [one for one in self.world.pending if one["update_id"] != update["update_id"]]
        if not delivery.acked:
            # It stays Telegram's: for push_pending, or for getUpdates once the webhook is gone.
            self.world.pending = sorted([*self.world.pending, update], key=lambda one: int(one["update_id"]))
            if self.redelivers and not note:
                self.line.later(self.push_pending(passes=PUSHES_AFTER_SET))
        return delivery

    async def redeliver(self, delivery: TgDelivery) -> TgDelivery:
        """The same update again, as Telegram sends it until it sees 2xx."""
        assert delivery.update is not None, "there was no update to deliver"
        return await self.deliver(delivery.update, "redelivered")

    async def push_pending(self, pause_s: float = 0.2, passes: int = 1) -> None:
        """Tries everything that the webhook has not taken yet, in order, as Telegram does of its own accord."""
        for _ in range(passes):
            for update in list(self.world.pending):
                if not (await self.deliver(update, "pushed again")).acked:
                    break
            if not self.world.pending:
                return
            await asyncio.sleep(pause_s)

    def after_call(self, method: str) -> None:
        """A webhook that is set gets what has waited."""
        if method == "setWebhook" and self.world.pending:
            self.line.later(self.push_pending(passes=PUSHES_AFTER_SET))

    async def post(self, body: Body | bytes, headers: dict[str, str]) -> tuple[int, str, float]:
        """A raw POST to the webhook: (status, text, seconds), status 0 when nothing answered. For wrong secrets too."""
        if isinstance(body, dict):
            return await self.line.post(self.webhook_url, headers, json=body)
        return await self.line.post(self.webhook_url, {"Content-Type": "application/json", **headers}, data=body)

    async def wait_polled(self, timeout_s: float = 10.0) -> None:
        """Until a getUpdates is waiting here."""
        await asyncio.wait_for(self.world.polled.wait(), timeout_s)

    async def wait_confirmed(self, delivery: TgDelivery, timeout_s: float = 10.0) -> None:
        """Until getUpdates has moved its offset past this update, that is, until the bot took it for good."""
        deadline = time.monotonic() + timeout_s
        while any(one["update_id"] == delivery.update_id for one in self.world.pending):
            left = deadline - time.monotonic()
            assert left > 0, f"update {delivery.update_id} was not confirmed; the journal:\n{self.journal.dump()}"
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.world.grew.wait(), left)


async def serve(deliver_to: str, port: int) -> None:
    """Runs until an empty line; each line typed is said by Ann in private, "!Approve" presses in the last message."""
    sim = await TelegramSim(deliver_to).start(port)
    try:
        ann = sim.user(1001, "Ann")
        print(f"TELEGRAM_API_URL={sim.api_url} TELEGRAM_BOT_TOKEN={sim.token}")
        print(f"TELEGRAM_WEBHOOK_SECRET={sim.secret} TELEGRAM_MODE={'webhook' if deliver_to else 'polling'}")
        while line := (await asyncio.to_thread(input, "ann> ")).strip():
            said = await (ann.press(ann.messages()[-1], line[1:]) if line.startswith("!") else ann.say(line))
            await asyncio.sleep(1)
            print(f"({said.status})", *(f"\n  {one.text}  {one.buttons()}" for one in ann.messages()[-3:]))
            print(*(f"  [{one.text}]" for one in sim.answers[-1:]))
    finally:
        await sim.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for Telegram, for use by hand.")
    parser.add_argument("--deliver-to", default="", help="base URL of the app; none: it polls")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt, EOFError):
        asyncio.run(serve(given.deliver_to, given.port))


if __name__ == "__main__":
    main()
