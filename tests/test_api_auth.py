"""Who may call the API, and that a wrong caller learns nothing."""

from __future__ import annotations

import pytest

from core.store import people
from tests.web_house import House

CALLS = [
    ("GET", "/api/tasks"),
    ("GET", "/api/tasks/1"),
    ("POST", "/api/tasks/1/cancel"),
    ("GET", "/api/tasks/1/events"),
    ("GET", "/api/events"),
    ("GET", "/api/approvals"),
    ("GET", "/api/skills"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_no_call_is_answered_without_a_token(house: House, method: str, path: str) -> None:
    answer = await house.client().request(method, path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "token" in answer.json()["error"]


@pytest.mark.parametrize(
    "header",
    [b"Bearer nonsense", b"Bearer", b"Bearer  ", b"Basic YTpi", "Bearer pässwört".encode(), b"Bearer " + b"x" * 5000],
)
async def test_a_wrong_token_is_refused_whatever_it_looks_like(house: House, header: bytes) -> None:
    answer = await house.client().get("/api/tasks", headers=[(b"authorization", header)])
    assert answer.status_code == 401


async def test_a_browser_session_is_no_api_token_and_the_reverse(house: House) -> None:
    ann = await house.person("ann", "owner")
    session = await house.session(ann)
    token = await people.make_token(house.db, ann.id, "api", None)
    as_bearer = await house.client().get("/api/tasks", headers={"authorization": f"Bearer {session}"})
    as_cookie = await house.client(cookies={"sayso": token}, headers={"accept": "text/html"}).get("/")
    cookie_on_api = await house.client(cookies={"sayso": session}).get("/api/tasks")
    assert (as_bearer.status_code, as_cookie.status_code, cookie_on_api.status_code) == (401, 401, 401)


async def test_an_expired_token_and_one_of_a_person_who_left_are_refused(house: House) -> None:
    ann = await house.person("ann", "owner")
    old = await people.make_token(house.db, ann.id, "api", -1)
    assert (await house.client(headers={"authorization": f"Bearer {old}"}).get("/api/tasks")).status_code == 401
    api = await house.api(ann)
    assert (await api.get("/api/tasks")).status_code == 200
    await people.sync(house.db, [])
    assert (await api.get("/api/tasks")).status_code == 401


async def test_unknown_calls_and_methods_are_refused_as_json(house: House) -> None:
    api = await house.api(await house.person("ann", "owner"))
    for method, path, status in [
        ("GET", "/api/nothing", 404),
        ("POST", "/api/tasks/1/knock", 404),
        ("POST", "/api/tasks/1/steer", 422),
        ("DELETE", "/api/tasks", 405),
    ]:
        answer = await api.request(method, path)
        assert answer.status_code == status
        assert answer.json()["error"]


async def test_the_openapi_description_is_served_and_names_every_call(house: House) -> None:
    paths = (await house.client().get("/openapi.json")).json()["paths"]
    for path in ("/api/intents", "/api/tasks", "/api/approvals/{approval_id}/decisions", "/hooks/{name}", "/readyz"):
        assert path in paths
    assert "/login" not in paths
