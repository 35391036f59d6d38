"""Decisions over the API: every status code of the contract, and that nothing but a decision decides."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from core.db import Pool
from core.state import VERDICTS_OF
from core.store import approvals, clock
from tests.web_house import DIGEST, House

FIELDS = {
    "id", "kind", "task_id", "items", "digest", "reasons", "provenance", "who_may_decide", "needed", "votes",
    "expires_at", "status",
}  # fmt: skip


def decision(verdict: str = "approve", digest: str = DIGEST, **more: Any) -> dict[str, Any]:
    return {"verdict": verdict, "digest": digest, **more}


@asynccontextmanager
async def listened_to(db: Pool, asked: list[str]) -> AsyncIterator[None]:
    """Every statement of the pool, while nobody else uses it."""

    def note(query: Any) -> None:
        asked.append(query.query)

    connections = [await db.acquire() for _ in range(db.get_max_size())]
    for connection in connections:
        connection.add_query_logger(note)
        await db.release(connection)
    yield
    for connection in [await db.acquire() for _ in connections]:
        connection.remove_query_logger(note)
        await db.release(connection)


async def test_an_approval_has_exactly_the_promised_fields(house: House) -> None:
    ann = await house.person("ann", "owner")
    task, approval = await house.ask(ann)
    [shown] = (await (await house.api(ann)).get("/api/approvals?status=pending")).json()
    assert set(shown) == FIELDS
    assert shown["id"] == approval
    assert shown["items"] == [
        {
            "task_id": str(task),
            "step": 1,
            "digest": DIGEST,
            "action": {"skill": "files.delete", "args": {"paths": ["old.log"]}},
        }
    ]
    assert (shown["digest"], shown["needed"], shown["votes"], shown["status"]) == (DIGEST, 1, [], "pending")
    assert shown["reasons"] == ["It deletes."]
    assert shown["who_may_decide"]["roles"] == ["owner"]


async def test_approvals_are_shown_to_requesters_and_deciders_only(house: House) -> None:
    keys = {"ann": "owner", "bob": "engineer", "carl": "oncall", "eve": "engineer"}
    who = {key: await house.person(key, role) for key, role in keys.items()}
    _, approval = await house.ask(who["bob"], roles=("oncall",))
    seen = {key: [a["id"] for a in (await (await house.api(p)).get("/api/approvals")).json()] for key, p in who.items()}
    assert seen == {"ann": [approval], "bob": [approval], "carl": [approval], "eve": []}
    assert (await (await house.api(who["eve"])).get(f"/api/approvals/{approval}")).status_code == 404
    assert (await (await house.api(who["bob"])).get("/api/approvals?status=denied")).json() == []
    assert (await (await house.api(who["bob"])).get("/api/approvals?status=nonsense")).status_code == 422


async def test_a_yes_is_200_with_the_decisions(house: House) -> None:
    ann = await house.person("ann", "owner")
    _, approval = await house.ask(ann)
    answer = await (await house.api(ann)).post(f"/api/approvals/{approval}/decisions", json=decision())
    body = answer.json()
    assert (answer.status_code, body["status"], body["approval_id"]) == (200, "approved", approval)
    assert [(d["key"], d["verdict"]) for d in body["decisions"]] == [("ann", "approve")]


async def test_a_no_carries_its_reason(house: House) -> None:
    ann = await house.person("ann", "owner")
    _, approval = await house.ask(ann)
    body = decision("deny", reason="not today")
    answer = await (await house.api(ann)).post(f"/api/approvals/{approval}/decisions", json=body)
    assert (answer.json()["status"], answer.json()["decisions"][0]["reason"]) == ("denied", "not today")


async def test_a_second_decision_learns_who_decided_and_when(house: House) -> None:
    ann, bob = await house.person("ann", "owner", name="Ann Lee"), await house.person("bob", "owner")
    _, approval = await house.ask(ann)
    await (await house.api(ann)).post(f"/api/approvals/{approval}/decisions", json=decision())
    late = await (await house.api(bob)).post(f"/api/approvals/{approval}/decisions", json=decision("deny"))
    assert late.status_code == 409
    assert (late.json()["by"], late.json()["status"]) == ("Ann Lee", "approved")
    assert late.json()["at"].startswith("20")
    assert "Ann Lee" in late.json()["error"]


async def test_a_vote_of_two_leaves_it_pending(house: House) -> None:
    ann, bob = await house.person("ann", "owner"), await house.person("bob", "owner")
    _, approval = await house.ask(ann, needed=2)
    first, second = await house.api(ann), await house.api(bob)
    path = f"/api/approvals/{approval}/decisions"
    assert [(await api.post(path, json=decision())).json()["status"] for api in (first, first, second)] == [
        "pending",
        "pending",
        "approved",
    ]


async def test_who_may_not_decide_gets_403_if_they_may_see_it_and_404_if_not(house: House) -> None:
    bob, eve = await house.person("bob", "engineer"), await house.person("eve", "engineer")
    robot = await house.person("robot", "owner", service=True)
    _, approval = await house.ask(bob)
    path = f"/api/approvals/{approval}/decisions"
    codes = {p.key: (await (await house.api(p)).post(path, json=decision())).status_code for p in (bob, eve, robot)}
    assert codes == {"bob": 403, "eve": 404, "robot": 403}
    row = await approvals.whole(house.db, approval)
    assert row is not None and (row["status"], row["votes"]) == ("pending", [])


async def test_a_press_that_counts_is_one_look_at_the_token_and_one_commit(house: House) -> None:
    ann = await house.person("ann", "owner")
    _, approval = await house.ask(ann)
    asked: list[str] = []
    api = await house.api(ann)
    async with listened_to(house.db, asked):
        answer = await api.post(f"/api/approvals/{approval}/decisions", json=decision())
    assert answer.json()["status"] == "approved"
    assert [next(word for word in ("tokens", "decide_v1", query) if word in query) for query in asked] == [
        "tokens",
        "decide_v1",
    ]


async def test_another_digest_is_409_and_decides_nothing(house: House) -> None:
    ann = await house.person("ann", "owner")
    _, approval = await house.ask(ann)
    answer = await (await house.api(ann)).post(f"/api/approvals/{approval}/decisions", json=decision(digest="0" * 64))
    assert answer.status_code == 409
    assert (await approvals.whole(house.db, approval) or {})["status"] == "pending"


async def test_an_expired_approval_is_409(house: House) -> None:
    ann = await house.person("ann", "owner")
    _, approval = await house.ask(ann, expires_in_s=60)
    await clock.move(house.db, timedelta(minutes=2))
    answer = await (await house.api(ann)).post(f"/api/approvals/{approval}/decisions", json=decision())
    assert (answer.status_code, answer.json()["status"]) == (409, "expired")
    assert "expired" in answer.json()["error"]


@pytest.mark.parametrize("verdict", ["answer", "happened", "not_happened", "abandon"])
async def test_a_known_verdict_that_does_not_fit_is_422_and_says_what_does(house: House, verdict: str) -> None:
    ann = await house.person("ann", "owner")
    _, approval = await house.ask(ann)
    answer = await (await house.api(ann)).post(f"/api/approvals/{approval}/decisions", json=decision(verdict))
    assert answer.status_code == 422
    assert "not available" in answer.json()["error"]
    assert answer.json()["available"] == list(VERDICTS_OF["action"])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"verdict": "approve"},
        decision("yes"),
        decision(approved=True),
        decision(reason="x" * 501),
        decision(digest=""),
    ],
)
async def test_a_body_that_is_no_decision_is_422(house: House, body: dict[str, Any]) -> None:
    ann = await house.person("ann", "owner")
    _, approval = await house.ask(ann)
    answer = await (await house.api(ann)).post(f"/api/approvals/{approval}/decisions", json=body)
    assert answer.status_code == 422
    assert (await approvals.whole(house.db, approval) or {})["status"] == "pending"


@pytest.mark.parametrize("name", ["nonsense", "00000000-0000-0000-0000-000000000000", "%00", "1" * 500])
async def test_an_approval_that_is_not_there_is_404(house: House, name: str) -> None:
    api = await house.api(await house.person("ann", "owner"))
    assert (await api.post(f"/api/approvals/{name}/decisions", json=decision())).status_code == 404
    assert (await api.get(f"/api/approvals/{name}")).status_code == 404


async def test_stop_is_for_the_requester_too_and_ends_the_task(house: House) -> None:
    bob = await house.person("bob", "engineer")
    task, approval = await house.ask(bob)
    api = await house.api(bob)
    answer = await api.post(f"/api/approvals/{approval}/decisions", json=decision("stop"))
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert (await api.get(f"/api/tasks/{task}")).json()["status"] == "cancelled"


async def test_of_many_presses_at_once_one_decides_and_the_rest_hear_of_it(house: House) -> None:
    owners = [await house.person(f"owner{i}", "owner") for i in range(12)]
    _, approval = await house.ask(owners[0])
    clients = [await house.api(owner) for owner in owners]
    path = f"/api/approvals/{approval}/decisions"
    verdicts = ["approve", "deny"]
    answers = await asyncio.gather(*(api.post(path, json=decision(verdicts[i % 2])) for i, api in enumerate(clients)))
    assert Counter(a.status_code for a in answers) == {200: 1, 409: 11}
    assert await house.db.fetchval("select count(*) from decisions") == 1
