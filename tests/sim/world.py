"""One world behind all wire formats: every vendor's stand-in on one port, with one journal, one clock and one cast.

`World` is what a test opens and what `python -m tests.sim` serves. Faults are planned here for any leg of any vendor, and
a test that leaves without having met them fails. It knows nothing of our code: `environment()` is all that the app is given.
"""

from typing import Literal, Self

from tests.sim.anthropic import AnthropicSim
from tests.sim.clock import Clock
from tests.sim.faults import Faults, Kind, Leg
from tests.sim.journal import Journal
from tests.sim.line import Site
from tests.sim.llm_script import Script
from tests.sim.openai import OpenAISim
from tests.sim.people import Chat, Face, Human, PhoneFace, SlackFace, TelegramFace
from tests.sim.slack import SlackSim
from tests.sim.telegram import TelegramSim
from tests.sim.twilio import TwilioSim
from tests.sim.violation import Violation

Vendor = Literal["slack", "telegram", "twilio", "openai", "anthropic"]
SECRET = "sim-webhook-secret-of-no-worth-0123456789"  # a Telegram webhook's: at least 32 characters


class World:
    """`deliver_to` is the app's base URL; it may be set later. Over a socket and by polling none is needed."""

    def __init__(
        self,
        deliver_to: str = "http://127.0.0.1:8080",
        *,
        slack: Literal["http", "socket"] = "http",
        telegram: Literal["webhook", "polling"] = "webhook",
        script: Script | None = None,
    ) -> None:
        self.clock = Clock()
        self.journal = Journal(self.clock)
        self.script = script or Script()
        kept = {"journal": self.journal, "clock": self.clock}
        self.telegram_mode, self.site = telegram, Site()
        self.slack = SlackSim(slack, redelivers=True, **kept)  # type: ignore[arg-type]  # two types in one dict
        self.telegram = TelegramSim("", SECRET, redelivers=True, **kept)  # type: ignore[arg-type]
        self.twilio = TwilioSim(reports=True, **kept)  # type: ignore[arg-type]
        self.openai = OpenAISim(self.script, **kept)  # type: ignore[arg-type]
        self.anthropic = AnthropicSim(self.script, **kept)  # type: ignore[arg-type]
        self.people: dict[str, Human] = {}
        self.deliver_to = deliver_to

    @property
    def deliver_to(self) -> str:
        return self.twilio.deliver_to

    @deliver_to.setter
    def deliver_to(self, url: str) -> None:
        self.slack.deliver_to = self.twilio.deliver_to = url.rstrip("/")
        # Where there is an address, updates are pushed; without one they wait for getUpdates.
        self.telegram.deliver_to = url if self.telegram_mode == "webhook" else ""

    async def start(self, port: int = 0) -> "World":
        for sim in (self.slack, self.telegram, self.twilio, self.openai, self.anthropic):
            await sim.start(site=self.site)
        await self.site.open(port)
        return self

    async def stop(self) -> None:
        for sim in (self.slack, self.telegram, self.twilio, self.openai, self.anthropic):
            await sim.stop()
        await self.site.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *more: object) -> None:
        await self.stop()
        if kind is None:
            self.check()

    def environment(self, *, models: bool = True) -> dict[str, str]:
        """What the app's processes are to be given, with the chats on (and the models, unless real ones are to be asked)."""
        slack, twilio = self.slack, self.twilio
        given = {
            "SLACK_API_URL": slack.api_url, "SLACK_BOT_TOKEN": slack.bot_token, "SLACK_MODE": slack.mode,
            "SLACK_APP_TOKEN": slack.app_token, "SLACK_SIGNING_SECRET": slack.signing_secret,
            "TELEGRAM_API_URL": self.telegram.api_url, "TELEGRAM_BOT_TOKEN": self.telegram.token,
            "TELEGRAM_MODE": self.telegram_mode, "TELEGRAM_WEBHOOK_SECRET": self.telegram.secret,
            "TWILIO_API_URL": twilio.api_url, "TWILIO_ACCOUNT_SID": twilio.account, "TWILIO_AUTH_TOKEN": twilio.token,
            "TWILIO_FROM": twilio.number,
        }  # fmt: skip
        if models:
            given |= {"OPENAI_BASE_URL": self.openai.base_url, "OPENAI_API_KEY": self.openai.key}
            given |= {"ANTHROPIC_BASE_URL": self.anthropic.base_url, "ANTHROPIC_API_KEY": self.anthropic.key}
        return given

    # ------------------------------------------------------------ people

    def person(self, key: str, name: str, slack: str, telegram: int, phone: str) -> Human:
        """Somebody with these accounts; they have opened the bot's private chat some time before."""
        faces: dict[Chat, Face] = {
            "slack": SlackFace(self.slack.user(slack, key)),
            "telegram": TelegramFace(self.telegram.user(telegram, name), self.openai.heard),
            "sms": PhoneFace(self.twilio.phone(phone)),
        }
        self.people[key] = Human(key, name, faces)
        return self.people[key]

    # ------------------------------------------------------------ faults

    def faults(self, vendor: Vendor) -> Faults:
        return {
            "slack": self.slack.faults,
            "telegram": self.telegram.faults,
            "twilio": self.twilio.faults,
            "openai": self.openai.faults,
            "anthropic": self.anthropic.faults,
        }[vendor]

    def plan(
        self, vendor: Vendor, method: str, kind: Kind, leg: Leg = "in", times: int = 1, *, is_expected: bool = True
    ) -> None:
        """Let the next requests on this leg go wrong in this way; if not expected, as far as there are any."""
        self.faults(vendor).add(method, times, kind, leg, is_expected=is_expected)

    def unmet(self) -> list[str]:
        """What was planned and did not happen."""
        vendors: tuple[Vendor, ...] = ("slack", "telegram", "twilio", "openai", "anthropic")
        return [f"{vendor}: {one}" for vendor in vendors for one in self.faults(vendor).unmet()]

    def violations(self) -> list[Violation]:
        """What a vendor would not have taken."""
        return [*self.slack.violations, *self.telegram.violations, *self.twilio.violations]

    def check(self) -> None:
        """Raises AssertionError for a fault that nobody met, a request that no correct app sends, an unscripted question."""
        assert not self.unmet(), f"faults that nobody ran into: {self.unmet()}"
        assert not self.violations(), f"requests that a vendor refuses: {self.violations()}"
        self.script.check()
