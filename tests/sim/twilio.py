"""A stand-in for Twilio's Programmable Messaging on a local port: its REST API, its phones, and its signed webhooks.

`TwilioSim` takes `Messages.json` as the vendor does (Basic auth, form, errors with code and message, 201 with the resource)
and shows what arrived on each phone. A phone's verbs make signed requests to the app: what is said to a number of ours, and
the status callbacks of what was sent. It knows nothing of our code. By hand: `python -m tests.sim.twilio`.
"""

import argparse
import asyncio
import base64
import contextlib
import hashlib
import hmac
import re
import secrets
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

from aiohttp import web

from tests.sim.clock import Clock
from tests.sim.faults import Kind
from tests.sim.journal import Journal
from tests.sim.line import Line, Site
from tests.sim.violation import Violation

ACCOUNT = "AC" + "0123456789abcdef" * 2
TOKEN = "sim-auth-token-of-no-worth-0123456789"
SERVICE = "MG" + "fedcba9876543210" * 2
NUMBER = "+15551234567"
API_VERSION = "2010-04-01"
BODY_CHARS = 1600
VALIDITY_S = range(1, 36_001)
ANSWER_DEADLINE_S = 15.0
REPORTED_AFTER_S = 0.05

STOP = {"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"}
START = {"START", "YES", "UNSTOP"}
HELP = {"HELP", "INFO"}
GSM = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_DOUBLE = set("^{}\\[~]|€\f")
# What Messages.json takes: names of the published description (twilio-oai, api_v2010). Anything else is a slip of ours.
PARAMETERS = {
    "To", "From", "MessagingServiceSid", "Body", "StatusCallback", "ApplicationSid", "MaxPrice", "ProvideFeedback", "Attempt",
    "ValidityPeriod", "ForceDelivery", "ContentRetention", "AddressRetention", "SmartEncoded", "PersistentAction", "TrafficType",
    "ShortenUrls", "ScheduleType", "SendAt", "SendAsMms", "ContentVariables", "RiskCheck", "MediaUrl", "ContentSid",
}  # fmt: skip


class Refused(Exception):
    """An answer of 4xx. `is_fault`: no correct app asks for this."""

    def __init__(self, status: int, code: int, message: str, *, is_fault: bool = False) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.is_fault = status, code, message, is_fault


@dataclass
class Sms:
    """A message of the app. `status` goes on by `phone.report`."""

    sid: str
    to: str
    sender: str
    body: str
    callback: str
    sent: dict[str, str]
    status: str = "queued"
    segments: int = 1


@dataclass(frozen=True)
class SmsDelivery:
    """One request to the app and its answer; `said` is what its TwiML sends back to the phone."""

    url: str
    form: list[tuple[str, str]]
    status: int = 0
    text: str = ""
    elapsed_s: float = 0.0

    @property
    def acked(self) -> bool:
        return 200 <= self.status < 300

    @property
    def said(self) -> list[str]:
        """Raises when the answer is no TwiML."""
        root = ElementTree.fromstring(self.text)
        assert root.tag == "Response", f"no TwiML: {self.text}"
        assert all(one.tag == "Message" for one in root), f"a verb that is not for messages: {self.text}"
        return ["".join(one.itertext()) for one in root]


@dataclass
class Phone:
    sim: "TwilioSim"
    number: str
    has_stopped: bool = False
    heard: list[str] = field(default_factory=list)

    def messages(self) -> list[Sms]:
        """What the app has sent here, oldest first."""
        return [one for one in self.sim.sent if one.to == self.number]

    async def say(self, text: str, **more: Any) -> SmsDelivery:
        """A text to our number. Twilio acts on STOP, START and HELP first, and then tells the app all the same."""
        word = text.strip().upper()
        if word in STOP:
            self.has_stopped = True
        elif word in START:
            self.has_stopped = False
        delivery = await self.sim.deliver_inbound(self.number, text, **more)
        if delivery.acked and delivery.text:
            for said in delivery.said:
                if self.has_stopped:
                    self.sim.journal.write(
                        "twilio", "out", "reply.blocked", {"to": self.number, "body": said}, 0, "21610"
                    )
                else:
                    self.heard.append(said)
                    self.sim.journal.write("phone", "in", "reply", {"To": self.number, "Body": said}, 201)
        return delivery

    async def report(self, sms: Sms, status: str, error: str = "") -> SmsDelivery:
        """A status callback for a message that went here: `sent`, `delivered`, `undelivered`, `failed`."""
        return await self.sim.deliver_status(sms, status, error)


class TwilioSim:
    """One account with one number and one Messaging Service. `deliver_to` is the app's public base URL.

    `reports`: what became of a message is told by itself, as Twilio does where a StatusCallback was named.
    With `shared_key` webhooks are signed by it with HMAC-SHA256, as Twilio's newer signatures are, else with the token.
    """

    def __init__(
        self,
        deliver_to: str = "http://127.0.0.1:8080",
        *,
        token: str = TOKEN,
        shared_key: str = "",
        reports: bool = False,
        journal: Journal | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.deliver_to, self.token, self.shared_key = deliver_to.rstrip("/"), token, shared_key
        self.account, self.number, self.service, self.reports = ACCOUNT, NUMBER, SERVICE, reports
        self.line = Line("twilio", journal, clock, ANSWER_DEADLINE_S)
        self.journal, self.faults, self.violations = self.line.journal, self.line.faults, self.line.violations
        self.sent: list[Sms] = []
        self.unreachable: dict[str, int] = {}
        self._phones: dict[str, Phone] = {}

    async def start(self, port: int = 0, site: Site | None = None) -> "TwilioSim":
        path = f"/{API_VERSION}/Accounts/{{account}}/Messages.json"
        await self.line.open(lambda app: app.router.add_post(path, self._create), site, port)
        return self

    async def stop(self) -> None:
        await self.line.close()

    async def __aenter__(self) -> "TwilioSim":
        return await self.start()

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @property
    def api_url(self) -> str:
        """What TWILIO_API_URL is to be."""
        return self.line.url

    def phone(self, number: str) -> Phone:
        return self._phones.setdefault(number, Phone(self, number))

    def refuse(self, number: str, code: int) -> None:
        """Every message to this number is refused with this error from now on, e.g. 21211 for a number that is none."""
        self.unreachable[number] = code

    # ------------------------------------------------------------ the API

    async def _create(self, request: web.Request) -> web.StreamResponse:
        given = dict(parse_qsl(await request.text(), keep_blank_values=True))
        return await self.line.call(
            request, "messages.create", given, lambda: self._carry_out(request, given), _planned_refusal
        )

    async def _carry_out(self, request: web.Request, given: dict[str, str]) -> web.Response:
        try:
            sms = self._take(request, given)
        except Refused as refused:
            if refused.is_fault:
                self.violations.append(Violation("twilio", "messages.create", refused.message, given))
            self.journal.write(
                "twilio", "in", "messages.create", given, refused.status, f"{refused.code} {refused.message}"
            )
            return _error(refused.status, refused.code, refused.message)
        self.sent.append(sms)
        self.journal.write("twilio", "in", "messages.create", given, 201, sms.sid)
        if self.reports and sms.callback:
            self.line.later(self._report(sms))
        return web.json_response(self._resource(sms), status=201)

    def _take(self, request: web.Request, given: dict[str, str]) -> Sms:
        if request.headers.get("Authorization", "") != _basic(self.account, self.token):
            raise Refused(401, 20003, "Authenticate")
        if request.match_info["account"] != self.account:
            raise Refused(404, 20404, "The requested resource was not found", is_fault=True)
        if request.content_type != "application/x-www-form-urlencoded":
            raise Refused(400, 20001, "the body is no form", is_fault=True)
        for name in set(given) - PARAMETERS:
            self.violations.append(Violation("twilio", "messages.create", f"unknown parameter {name!r}", given))
        to, body = given.get("To", ""), given.get("Body", "")
        sender = given.get("From") or given.get("MessagingServiceSid", "")
        if not to:
            raise Refused(400, 21604, "A 'To' phone number is required.", is_fault=True)
        if not re.fullmatch(r"\+[1-9]\d{6,14}", to):
            raise Refused(400, 21211, f"The 'To' number {to} is not a valid phone number.", is_fault=True)
        if not sender:
            raise Refused(400, 21603, "A 'From' phone number is required.", is_fault=True)
        if (
            given.get("From", self.number) != self.number
            or given.get("MessagingServiceSid", self.service) != self.service
        ):
            raise Refused(400, 21606, f"The 'From' number {sender} is not yours.", is_fault=True)
        if not body:
            raise Refused(400, 21602, "Message body is required.", is_fault=True)
        if len(body) > BODY_CHARS:
            raise Refused(400, 21617, "The concatenated message body exceeds the 1600 character limit.", is_fault=True)
        callback = given.get("StatusCallback", "")
        if callback and (
            urlsplit(callback).scheme not in ("http", "https") or "_" in (urlsplit(callback).hostname or "")
        ):
            raise Refused(400, 21609, f"The StatusCallback URL {callback} is not a valid URL.", is_fault=True)
        validity = given.get("ValidityPeriod")
        if validity is not None and not (validity.isdigit() and int(validity) in VALIDITY_S):
            raise Refused(400, 21621, "ValidityPeriod is out of its range", is_fault=True)
        if to in self.unreachable:
            raise Refused(400, self.unreachable[to], "The message cannot be sent to this number.")
        if self.phone(to).has_stopped:
            raise Refused(400, 21610, "Attempt to send to unsubscribed recipient")
        return Sms("SM" + secrets.token_hex(16), to, sender, body, callback, given, segments=segments(body))

    def _resource(self, sms: Sms) -> dict[str, Any]:
        at = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime())
        by_service = sms.sender.startswith("MG")
        return {
            "account_sid": self.account, "api_version": API_VERSION, "body": sms.body, "date_created": at, "date_sent": None,
            "date_updated": at, "direction": "outbound-api", "error_code": None, "error_message": None,
            "from": None if by_service else sms.sender, "messaging_service_sid": sms.sender if by_service else None,
            "num_media": "0", "num_segments": str(sms.segments), "price": None, "price_unit": "USD", "sid": sms.sid,
            "status": "accepted" if by_service else "queued", "to": sms.to,
            "subresource_uris": {"media": f"/{API_VERSION}/Accounts/{self.account}/Messages/{sms.sid}/Media.json"},
            "uri": f"/{API_VERSION}/Accounts/{self.account}/Messages/{sms.sid}.json",
        }  # fmt: skip

    # ------------------------------------------------------------ webhooks

    async def deliver_inbound(
        self,
        number: str,
        text: str,
        *,
        sid: str = "",
        opt_out: bool = False,
        without: tuple[str, ...] = (),
        **more: str,
    ) -> SmsDelivery:
        """`opt_out`: Advanced Opt-Out is on, so the request says which keyword the vendor has answered itself."""
        sid = sid or "SM" + secrets.token_hex(16)
        form = {
            "ToCountry": "US", "ToState": "CA", "SmsMessageSid": sid, "NumMedia": "0", "ToCity": "", "FromZip": "",
            "SmsSid": sid, "FromState": "", "SmsStatus": "received", "FromCity": "", "Body": text, "FromCountry": "US",
            "To": self.number, "MessagingServiceSid": self.service, "ToZip": "", "NumSegments": "1", "MessageSid": sid,
            "AccountSid": self.account, "From": number, "ApiVersion": API_VERSION,
        } | more  # fmt: skip
        word = text.strip().upper()
        kind = "STOP" if word in STOP else "START" if word in START else "HELP" if word in HELP else ""
        if opt_out and kind:
            form["OptOutType"] = kind
        kept = [(name, value) for name, value in form.items() if name not in without]
        return await self._deliver("inbound", f"{self.deliver_to}/twilio/sms", kept)

    async def _report(self, sms: Sms) -> None:
        for status in ("sent", "delivered"):
            await asyncio.sleep(REPORTED_AFTER_S)
            await self.deliver_status(sms, status)

    async def deliver_status(self, sms: Sms, status: str, error: str = "") -> SmsDelivery:
        sms.status = status
        assert sms.callback, "this message was sent without a StatusCallback"
        form = {
            "SmsSid": sms.sid, "SmsStatus": status, "MessageStatus": status, "To": sms.to, "MessageSid": sms.sid,
            "AccountSid": self.account, "From": self.number, "ApiVersion": API_VERSION,
        } | ({"ErrorCode": error} if error else {})  # fmt: skip
        return await self._deliver("status", sms.callback, list(form.items()))

    async def redeliver(self, delivery: SmsDelivery) -> SmsDelivery:
        """The same request once more, as Twilio makes it when the first one was not answered in time."""
        return await self._deliver("redelivered", delivery.url, delivery.form)

    async def _deliver(self, kind: str, url: str, form: list[tuple[str, str]]) -> SmsDelivery:
        async def send() -> SmsDelivery:
            status, text, elapsed_s = await self.post(url, urlencode(form).encode(), self.signed(url, form))
            self.journal.write("twilio", "out", kind, dict(form), status)
            return SmsDelivery(url, form, status, text, elapsed_s)

        return await self.line.deliver(kind, dict(form), send, lambda status: SmsDelivery(url, form, status))

    def signed(
        self, url: str, form: list[tuple[str, str]], key: str = "", algorithm: Literal["", "sha1", "sha256"] = ""
    ) -> dict[str, str]:
        """The headers of a signed request; with another key or algorithm, those of a forged one."""
        algorithm = algorithm or ("sha256" if self.shared_key else "sha1")
        key = key or self.shared_key or self.token
        joined = url + "".join(name + value for name, value in sorted(set(form)))
        mac = hmac.new(key.encode(), joined.encode(), hashlib.sha256 if algorithm == "sha256" else hashlib.sha1)
        headers = {"X-Twilio-Signature": base64.b64encode(mac.digest()).decode()}
        if algorithm == "sha256":
            headers["X-Twilio-Webhooks-Signature-Settings"] = "key=webhooks_sharedkey_sim,algorithm=HMAC_SHA256"
        return headers | {"I-Twilio-Idempotency-Token": secrets.token_hex(8)}

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> tuple[int, str, float]:
        """A raw POST to the app: (status, text, seconds), status 0 when nothing answered."""
        form = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
        return await self.line.post(url, form | headers, data=body)


def segments(text: str) -> int:
    """How many messages a phone network makes of it."""
    if all(ch in GSM or ch in GSM_DOUBLE for ch in text):
        places = sum(2 if ch in GSM_DOUBLE else 1 for ch in text)
        return 1 if places <= 160 else -(-places // 153)
    places = len(text.encode("utf-16-be")) // 2
    return 1 if places <= 70 else -(-places // 67)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _error(status: int, code: int, message: str) -> web.Response:
    body = {
        "code": code,
        "message": message,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return web.json_response(body, status=status)


def _planned_refusal(fault: Kind) -> web.Response:
    if fault.code == 429:
        return _error(429, 20429, "Too Many Requests")
    return _error(fault.code, 20500, "Server")


async def serve(deliver_to: str, port: int) -> None:
    """Runs until an empty line; each line typed is texted by +15550002222."""
    sim = await TwilioSim(deliver_to).start(port)
    try:
        phone = sim.phone("+15550002222")
        print(f"TWILIO_API_URL={sim.api_url} TWILIO_ACCOUNT_SID={sim.account} TWILIO_AUTH_TOKEN={sim.token}")
        print(f"TWILIO_FROM={sim.number} PUBLIC_BASE_URL={sim.deliver_to}")
        while line := (await asyncio.to_thread(input, f"{phone.number}> ")).strip():
            said = await phone.say(line)
            print(f"({said.status})", *phone.heard[-1:], *(f"\n  {one.body}" for one in phone.messages()[-3:]))
    finally:
        await sim.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for Twilio, for use by hand.")
    parser.add_argument("--deliver-to", default="http://127.0.0.1:8080", help="PUBLIC_BASE_URL of the app")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt, EOFError):
        asyncio.run(serve(given.deliver_to, given.port))


if __name__ == "__main__":
    main()
