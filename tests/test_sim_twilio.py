"""Is the stand-in for Twilio as strict as Twilio: its API against the published description, its requests as signed ones."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from twilio.request_validator import HMAC_SHA256, RequestValidator

from tests import contracts
from tests.sim.twilio import PARAMETERS, TwilioSim

SPECS = Path(os.environ.get("SAYSO_SPECS", Path(__file__).resolve().parents[2] / "shared" / "specs")) / "twilio"
TO = "+15550002222"
PUBLIC = "http://127.0.0.1:1"


@pytest.fixture
async def sim() -> AsyncIterator[TwilioSim]:
    async with TwilioSim(PUBLIC) as opened:
        yield opened


async def send(sim: TwilioSim, *, token: str = "", **form: str) -> tuple[int, dict[str, Any]]:
    auth = aiohttp.encode_basic_auth(sim.account, token or sim.token)
    url = f"{sim.api_url}/2010-04-01/Accounts/{sim.account}/Messages.json"
    async with aiohttp.ClientSession(headers={"Authorization": auth}) as client, client.post(url, data=form) as answer:
        return answer.status, await answer.json()


async def test_a_message_is_answered_with_the_resource_that_is_described(sim: TwilioSim) -> None:
    status, made = await send(sim, To=TO, From=sim.number, Body="hello")
    assert (status, made["status"], made["to"], made["num_segments"]) == (201, "queued", TO, "1")
    ours = contracts.described("twilio_messages")
    assert contracts.broken("twilio_messages", ours["resource"], made) == ""
    assert set(ours["request"]["properties"]) <= PARAMETERS
    if SPECS.is_dir():
        published = json.loads((SPECS / "api_v2010.messages.json").read_text())
        assert set(made) == set(published["components"]["schemas"]["api.v2010.account.message"]["properties"])
        form = published["paths"]["/2010-04-01/Accounts/{AccountSid}/Messages.json"]["post"]["requestBody"]["content"]
        assert set(form["application/x-www-form-urlencoded"]["schema"]["properties"]) >= PARAMETERS - {"MaxPrice"}


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({"Body": ""}, 400, 21602),
        ({"To": "0791234567"}, 400, 21211),
        ({"From": "+15550000000"}, 400, 21606),
        ({"Body": "x" * 1601}, 400, 21617),
        ({"ValidityPeriod": "0"}, 400, 21621),
    ],
)
async def test_what_twilio_refuses_is_refused_with_its_code(
    sim: TwilioSim, form: dict[str, str], status: int, code: int
) -> None:
    answered, body = await send(sim, **{"To": TO, "From": sim.number, "Body": "hello"} | form)
    assert (answered, body["code"], body["status"]) == (status, code, status)
    assert len(sim.violations) == 1 and sim.sent == []


async def test_a_wrong_token_and_a_phone_that_said_stop_are_refused_without_blame(sim: TwilioSim) -> None:
    assert (await send(sim, token="wrong", To=TO, From=sim.number, Body="hello"))[1]["code"] == 20003
    await sim.phone(TO).say("STOP")
    assert (await send(sim, To=TO, From=sim.number, Body="hello"))[1]["code"] == 21610
    await sim.phone(TO).say("START")
    assert (await send(sim, To=TO, From=sim.number, Body="hello"))[0] == 201
    assert sim.violations == []


@pytest.mark.parametrize("shared_key", ["", "a-shared-key"])
async def test_its_requests_are_signed_as_the_vendors_own_validator_wants_them(shared_key: str) -> None:
    seen: list[bool] = []

    async def hear(request: web.Request) -> web.Response:
        form = await request.post()
        url = f"{sim.deliver_to}{request.path_qs}"
        validator = RequestValidator(shared_key or sim.token)
        algorithm = HMAC_SHA256 if shared_key else None
        seen.append(validator.validate(url, form, request.headers["X-Twilio-Signature"], algorithm))
        return web.Response(text="<Response><Message>hi</Message></Response>", content_type="text/xml")

    app = web.Application()
    app.add_routes([web.post("/twilio/sms", hear), web.post("/twilio/status", hear)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with TwilioSim(f"http://127.0.0.1:{runner.addresses[0][1]}", shared_key=shared_key) as sim:
            said = await sim.phone(TO).say("Grüße & more", FromCity="Zürich")
            assert said.said == sim.phone(TO).heard == ["hi"]
            callback = f"{sim.deliver_to}/twilio/status?message=7"
            await send(sim, To=TO, MessagingServiceSid=sim.service, Body="hello", StatusCallback=callback)
            await sim.phone(TO).report(sim.sent[0], "undelivered", "30005")
            await sim.redeliver(said)
    finally:
        await runner.cleanup()
    assert seen == [True, True, True]
