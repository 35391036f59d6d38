"""One Sayso with all four channels on, for tests of the gate: real adapters, intake, courier, ladder and Postgres, no worker.

Everybody has an account in Slack, in Telegram, on the web and a phone. An answer is given the way that channel takes it (a
signed press, a callback, an API call, a text with its code), and comes back as one word of what it came to. The chats are
the stand-ins, spoken to over the vendors' wire formats; the clock is the database's.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import httpx

from bot.app import create_app
from bot.courier import Courier
from bot.slack.adapter import SlackAdapter
from bot.slack.translate import ACTION_PREFIX, FORM_PREFIX
from bot.sms.adapter import SmsAdapter
from bot.telegram.adapter import TelegramAdapter
from bot.telegram.buttons import Tap
from bot.web.sender import WebSender
from core import intake
from core.db import Pool
from core.deps import Deps
from core.models import Channel, Decided, Duplicate, Inbound, Place, Press, Received
from core.organisation import parse
from core.store import conversations, people, sms
from core.store.people import Principal
from tests.patience import PATIENCE_S
from tests.sim import slack_payloads
from tests.sim.slack import SlackSim
from tests.sim.slack_world import Member, interactive
from tests.sim.telegram import TelegramSim
from tests.sim.telegram_world import TgMessage
from tests.sim.twilio import TwilioSim
from tests.sms_house import code_in
from tests.telegram_town import SECRET, eventually, served_at
from tests.web_house import NOWHERE, House, open_house
from worker.ladder import Climber

CHANNELS: Final = ("web", "slack", "telegram", "sms")
OPS, GROUP = "C0OPS", -100500
Face = Literal["web", "slack", "telegram", "sms"]
# Who is in sayso.yaml, and who was let in with a pairing code and is not (yet) known to be somebody else.
STAFF: Final = {
    "ann": ["owner"], "bob": ["owner"], "carl": ["owner"], "dora": ["engineer"], "emil": ["engineer"], "fay": [],
    "robot": ["owner"],
}  # fmt: skip
PAIRED: Final = {"bob2": ["owner"], "dora2": ["owner"]}
NUMBERS: Final = {key: 1001 + n for n, key in enumerate([*STAFF, *PAIRED, "stranger"])}
LADDERS: Final = """
roles:
  engineer: {may: ["skill:files.*"]}
ladders:
  quiet: [{after: 0m, to: conversation}, {after: 60m, to: expire}]
  phone: [{after: 0m, to: conversation}, {after: 0m, to: sms}, {after: 60m, to: expire}]
"""
WORDS: Final = {
    "Accepted": "counted", "AlreadyDecided": "already", "NotAllowed": "refused", "TooLate": "late", "Changed": "changed",
    "Invalid": "unfit", "NotFound": "refused",
}  # fmt: skip
TOLD: Final = {
    "approved": "counted", "denied": "counted", "counted": "counted", "already": "already", "expired": "late",
    "not_allowed": "refused", "changed": "changed", "wrong": "refused", "locked": "refused", "stranger": "refused",
    "silent": "refused", "no_code": "refused",
}  # fmt: skip
BY_STATUS: Final = {200: "counted", 401: "refused", 403: "refused", 404: "refused", 422: "unfit"}


def slack_id(key: str) -> str:
    return f"U{NUMBERS[key]}"


def phone_of(key: str) -> str:
    return f"+1555000{NUMBERS[key]}"


def _file() -> str:
    lines = ["people:"]
    for key, roles in STAFF.items():
        ids = f'slack: T0ACME/{slack_id(key)}, telegram: "{NUMBERS[key]}", phone: "{phone_of(key)}"'
        lines.append(
            f"  {key}: {{name: {key.title()}, roles: {roles}, service: {str(key == 'robot').lower()}, identities: {{{ids}}},"
            " sms: {opted_in_at: 2026-01-01T00:00:00Z}}"
        )
    return "\n".join([*lines, LADDERS])


@dataclass
class Recorded:
    """The real intake; keeps what each press came to."""

    answers: list[Decided] = field(default_factory=list)

    async def receive(self, deps: Deps, inbound: Inbound) -> Received | Duplicate:
        return await intake.receive(deps, inbound)

    async def press(self, deps: Deps, pressed: Press) -> Decided:
        self.answers.append(await intake.press(deps, pressed))
        return self.answers[-1]

    async def control(
        self, deps: Deps, person: Principal, task: int, verb: str, *, delivery: tuple[Channel, str] | None = None
    ) -> str:
        return await intake.control(deps, person, task, verb, delivery=delivery)


@dataclass
class Four:
    house: House
    slack: SlackSim
    telegram: TelegramSim
    twilio: TwilioSim
    courier: Courier
    climber: Climber
    pressed: dict[str, Recorded]
    tokens: dict[str, str] = field(default_factory=dict)
    people: dict[str, Principal] = field(default_factory=dict)
    hashed: dict[str, str] = field(default_factory=dict)

    @property
    def db(self) -> Pool:
        return self.house.db

    def addresses(self, key: str) -> list[str]:
        return [f"T0ACME/{slack_id(key)}", str(NUMBERS[key]), phone_of(key), key]

    async def place(self, channel: str, number: int = 0) -> int:
        """Where the card of a question stands: a shared place, so that whoever may decide can press it there.

        Telegram takes few messages a minute in one group, so each story may have a group of its own.
        """
        if channel in ("web", "sms"):
            return await conversations.ensure(self.db, Place(channel=Channel.WEB, external_id="nobody", private=True))
        where = {"slack": f"T0ACME/{OPS}", "telegram": str(GROUP - number)}[channel]
        if channel == "telegram":
            self.telegram.group(GROUP - number, "ops")
        return await conversations.ensure(self.db, Place(channel=Channel(channel), external_id=where))

    async def deliver(self) -> None:
        """The ladder and the courier in turn, until neither has anything to do."""
        while await self.climber.tick() + await self.courier.deliver():
            continue

    # ------------------------------------------------------------ a person's answer

    async def answer(self, channel: str, key: str, approval: str, verdict: str, digest: str, **more: Any) -> str:
        """Given the way the channel takes it: what it came to."""
        if channel == "slack":
            return await self.in_slack(key, approval, verdict)
        if channel == "telegram":
            return await self.in_telegram(key, approval, verdict)
        if channel == "sms":
            return await self.by_sms(key, approval, verdict)
        return await self.on_web(key, approval, verdict, digest, **more)

    async def on_web(self, key: str, approval: str, verdict: str, digest: str, **more: Any) -> str:
        client = self.web(key)
        answer = await client.post(
            f"/api/approvals/{approval}/decisions", json={"verdict": verdict, "digest": digest, **more}
        )
        if answer.status_code == 409:
            return {"expired": "late", "changed": "changed"}.get(answer.json()["status"], "already")
        return BY_STATUS.get(answer.status_code, f"{answer.status_code} {answer.text}")

    def web(self, key: str) -> httpx.AsyncClient:
        if not self.house.clients:
            self.house.client()
        [client, *_] = self.house.clients
        client.headers["authorization"] = f"Bearer {self.tokens.get(key, 'no-such-token')}"
        return client

    async def in_slack(self, key: str, approval: str, verdict: str, *, team: str = "T0ACME") -> str:
        person = self.slack.user(slack_id(key), key)
        payload = self.slack_press(person.member, approval, ACTION_PREFIX + verdict, team)
        return await self._last("slack", self.slack.deliver("interactive", payload))

    def slack_press(self, member: Member, approval: str, action: str, team: str = "T0ACME") -> dict[str, Any]:
        """The button of the card; where the card shows none such (yet), one as a forged client would send it."""
        shown = [message for message in reversed(self.slack.world.posted) if interactive(message.blocks)]
        card = next((message for message in shown if approval in str(message.blocks)), shown[0])
        block, element = next(b for b in interactive(card.blocks) if b[1]["type"] == "button")
        pressed = (block, element | {"action_id": action, "value": approval})
        url = self.slack.user(member.id)._response_url(card.channel, card.ts)
        return slack_payloads.pressed(self.slack.world, member, team, card, pressed, url)

    async def in_telegram(self, key: str, approval: str, verdict: str) -> str:
        person = self.telegram.user(NUMBERS[key], key.title())
        data = Tap("act", "approval", approval, verdict).data
        return await self._last("telegram", person.press_data(self.telegram_card(approval), data))

    def telegram_card(self, approval: str) -> TgMessage:
        """The card; where it is not shown (yet), a message of which a forged client says that it is the card."""
        mine = (m for m in self.telegram.world.posted if approval.replace("-", "") in str(m.reply_markup))
        world = self.telegram.world
        return next(mine, TgMessage(self.telegram.group(GROUP, "ops"), 1, world.bot, "a card"))

    async def by_sms(self, key: str, approval: str, verdict: str, code: str = "") -> str:
        code = code or await self.code(key, approval) or await self.code("", approval) or "00000000"
        word = "OK" if verdict == "approve" else "NO"
        if not (await self.twilio.phone(phone_of(key)).say(f"{word} {code}")).acked:
            return "broken"
        kind = await self.db.fetchval("select outcome ->> 'kind' from sms_received order by received_at desc limit 1")
        return TOLD[kind]

    async def code(self, key: str, approval: str) -> str | None:
        """The code that went to this phone for it; of anybody's phone when no person is named."""
        row = await self.db.fetchrow(
            "select o.provider_ref from sms_codes c join outbox o on o.id = c.message_id"
            " where c.approval_id = $1::text::uuid and c.code_hash is not null and ($2 = '' or c.phone = $2)",
            approval, phone_of(key) if key else "",
        )  # fmt: skip
        found = next((one for one in self.twilio.sent if row and one.sid == row["provider_ref"]), None)
        return code_in(found) if found else None

    async def _last(self, channel: str, delivery: Any) -> str:
        """What the press came to; the recorder of the channel has heard exactly one more."""
        before = len(self.pressed[channel].answers)
        if not (await delivery).acked:
            return "broken"
        async with asyncio.timeout(PATIENCE_S):
            while len(self.pressed[channel].answers) == before:  # noqa: ASYNC110 - Bolt acknowledges beside the work
                await asyncio.sleep(0.002)
        return WORDS[type(self.pressed[channel].answers[-1]).__name__]

    async def slack_form(self, key: str, approval: str, verb: str, said: str) -> str:
        """A form of Slack's with one field, opened from the card and sent."""
        person = self.slack.user(slack_id(key), key)
        self.slack.world.views.clear()
        payload = self.slack_press(person.member, approval, FORM_PREFIX + verb, "T0ACME")
        await self.slack.deliver("interactive", payload)
        await eventually(lambda: [one for one in person.views() if "element" in str(one.body["blocks"])])
        return await self._last("slack", person.submit(person.views()[-1], {"reason": said}))


@asynccontextmanager
async def open_four(db: Pool, home: Path, **settings: Any) -> AsyncIterator[Four]:
    async with AsyncExitStack() as stack:
        door = stack.enter_context(socket.socket())
        door.bind(("127.0.0.1", 0))
        public = f"http://127.0.0.1:{door.getsockname()[1]}"
        slack = await stack.enter_async_context(SlackSim("http", deliver_to=public, ack_deadline_s=PATIENCE_S))
        telegram = await stack.enter_async_context(TelegramSim())
        twilio = await stack.enter_async_context(TwilioSim(public))
        organisation = parse(_file())
        given = {
            "public_base_url": public, "slack_bot_token": slack.bot_token, "slack_api_url": slack.api_url,
            "slack_signing_secret": slack.signing_secret, "telegram_bot_token": telegram.token,
            "telegram_api_url": telegram.api_url, "telegram_mode": "webhook", "telegram_webhook_secret": SECRET,
            "twilio_account_sid": twilio.account, "twilio_auth_token": twilio.token, "twilio_from": twilio.number,
            "twilio_api_url": twilio.api_url,
        }  # fmt: skip
        house = await stack.enter_async_context(open_house(db, home, organisation, **(given | settings)))
        await people.sync(db, people.wanted(organisation))
        await sms.sync(db, sms.agreed(organisation))
        recorders = {"slack": Recorded(), "telegram": Recorded()}
        in_slack = SlackAdapter(house.deps, recorders["slack"])
        in_telegram = TelegramAdapter(house.deps, recorders["telegram"])
        by_sms = SmsAdapter(house.deps)
        stack.push_async_callback(by_sms.close)
        app = create_app(house.deps, extra_routers=[in_slack.router(), in_telegram.router(), by_sms.router()])
        house.app = app
        await stack.enter_async_context(served_at(app, door))
        loops = [asyncio.create_task(loop()) for loop in (in_slack.run, in_telegram.run)]
        stack.push_async_callback(_ended, loops)
        await eventually(lambda: in_slack.own is not None and telegram.world.webhook["url"])
        senders = [WebSender(), in_slack.sender, in_telegram.sender, by_sms.sender]
        courier = Courier(db, NOWHERE, senders, house.deps.settings.masks())
        four = Four(house, slack, telegram, twilio, courier, Climber(house.deps), recorders)
        await _let_in(four)
        yield four
    assert slack.violations == telegram.violations == twilio.violations == []


async def _ended(loops: list[asyncio.Task[None]]) -> None:
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)


async def _let_in(four: Four) -> None:
    """Accounts everywhere and tokens; those who were paired are people of their own."""
    db = four.db
    for key, roles in PAIRED.items():
        made = await db.fetchval(
            "insert into principals (key, name, roles) values ($1, $2, $3) returning id", key, key.title(), roles
        )
        for channel, address in (
            ("slack", f"T0ACME/{slack_id(key)}"), ("telegram", str(NUMBERS[key])), ("sms", phone_of(key)),
        ):  # fmt: skip
            await db.execute("insert into identities values ($1, $2, $3, '')", channel, address, made)
        await db.execute(
            "insert into sms_numbers (phone, principal_id, opted_in_at, opted_in_how) values ($1, $2, now(), 'code')",
            phone_of(key), made,
        )  # fmt: skip
    for key in (*STAFF, *PAIRED):
        person = await people.by_key(db, key)
        assert person is not None
        await people.web_identity(db, person)
        four.people[key] = person
        four.tokens[key] = await people.make_token(db, person.id, "api", None)
        four.hashed[key] = people.hashed(four.tokens[key])
        four.slack.user(slack_id(key), key)
        four.telegram.user(NUMBERS[key], key.title())
