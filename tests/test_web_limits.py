"""What is refused before any route looks: sizes, hosts, origins; and the headers that every answer carries."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bot.web.limits import OurNames, judged
from core import config
from core.settings import Settings
from tests.web_house import BASE, House

NAMES = OurNames.of(Settings(host="10.0.0.5", public_base_url="https://sayso.acme.example"))


def verdict(host: str, method: str = "GET", path: str = "/", scheme: str = "http", **headers: str) -> int | None:
    given = {"host": host} | {name.replace("_", "-"): value for name, value in headers.items()}
    refused = judged(method, path, given, NAMES, scheme)
    return refused.status if refused else None


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8080", "127.0.0.1:9000", "[::1]:8080", "10.0.0.5:8080", "LOCALHOST", "sayso.acme.example",
     "sayso.acme.example:443"],
)  # fmt: skip
def test_our_own_names_are_known(host: str) -> None:
    assert verdict(host) is None


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "sayso.acme.example.evil.example", "sayso.acme.example:444", "localhost.evil.example", "[::1",
     "127.0.0.1@evil.example", "evil.example:8080", "0.0.0.0:8080", "localhost\x00"],
)  # fmt: skip
def test_other_names_are_refused_so_that_rebound_names_lead_nowhere(host: str) -> None:
    assert verdict(host) == 421


def test_health_and_signed_webhooks_are_reached_under_any_name() -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/hooks/x", "/slack/events", "/telegram/webhook"):
        assert verdict("10.1.2.3:8080", path=path) is None
    assert verdict("10.1.2.3:8080", path="/api/tasks") == 421


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8080", None),
        ("https://sayso.acme.example", None),
        ("http://localhost:3000", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("http://localhost:8080.evil.example", 403),
        ("http://[", 403),
    ],
)
def test_a_post_from_another_sites_page_is_refused(origin: str, status: int | None) -> None:
    assert verdict("localhost:8080", "POST", origin=origin) == status
    assert verdict("localhost:8080", "GET", origin=origin) is None


def test_a_browser_that_says_cross_site_is_believed() -> None:
    assert verdict("localhost:8080", "POST", sec_fetch_site="cross-site") == 403
    assert verdict("localhost:8080", "POST", sec_fetch_site="same-site") == 403
    assert verdict("localhost:8080", "POST", sec_fetch_site="same-origin") is None


def test_lengths_are_judged_by_what_the_headers_say() -> None:
    assert verdict("localhost", content_length=str(config.BODY_BYTES)) is None
    assert verdict("localhost", content_length=str(config.BODY_BYTES + 1)) == 413
    assert verdict("localhost", content_length="9" * 400) == 413
    assert verdict("localhost", content_length="-1") == 400
    assert verdict("localhost", content_length="²") == 400
    assert verdict("localhost", x_long="x" * 32_001) == 431


async def test_a_body_that_hides_its_length_is_cut_off(house: House) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b"x" * 100_000

    api = await house.api(await house.person("ann", "owner"))
    answer = await api.post("/api/intents", content=endless(), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["error"]
    assert await house.db.fetchval("select count(*) from inbound") == 0


async def test_a_body_just_under_the_limit_is_read(house: House) -> None:
    api = await house.api(await house.person("ann", "owner"))
    body = b'{"text": "' + b" " * (config.BODY_BYTES - 20) + b'help"}'
    answer = await api.post("/api/intents", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422  # read whole, and then longer than a message may be


@pytest.mark.parametrize("path", ["/", "/login", "/nothing", "/api/tasks", "/healthz", "/static/app.css"])
async def test_every_answer_carries_the_protecting_headers(house: House, path: str) -> None:
    headers = (await house.client().get(path)).headers
    assert "'unsafe" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert ("no-store" in headers["cache-control"]) is not path.startswith("/static/")


async def test_a_refused_request_never_reaches_a_route(house: House) -> None:
    api = await house.api(await house.person("ann", "owner"))
    for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
        answer = await api.post(f"{BASE}/api/intents", json={"text": "do files.list"}, headers=headers)
        assert answer.status_code in (403, 421)
    assert await house.db.fetchval("select count(*) from inbound") == 0
