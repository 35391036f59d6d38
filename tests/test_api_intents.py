"""What a program says becomes a task like any chat message."""

from __future__ import annotations

from typing import Any

import pytest

from core import config
from core.models import Channel, Identity, Inbound, Place
from core.store import conversations, tasks
from tests.web_house import House

DO = "do files.delete paths=old.log"


async def test_an_intent_becomes_a_task_of_the_token_holder(house: House) -> None:
    ann = await house.person("ann", "owner")
    api = await house.api(ann)
    answer = await api.post("/api/intents", json={"text": DO})
    assert answer.status_code == 202
    task = await tasks.whole(house.db, int(answer.json()["task_id"]))
    assert task is not None
    assert (task["requester"], task["goal"], task["steps"][0]["skill"]) == ("ann", DO, "files.delete")


async def test_the_same_key_again_answers_the_same_task_and_other_people_have_their_own(house: House) -> None:
    ann, bob = await house.person("ann", "owner"), await house.person("bob", "owner")
    body = {"text": DO, "idempotency_key": "k-1"}
    mine, hers = await house.api(ann), await house.api(bob)
    first = (await mine.post("/api/intents", json=body)).json()
    again = (await mine.post("/api/intents", json=body | {"text": "do files.list"})).json()
    other = (await hers.post("/api/intents", json=body)).json()
    assert first == again
    assert other["task_id"] not in (None, first["task_id"])
    assert await house.db.fetchval("select count(*) from tasks") == 2


async def test_words_that_start_no_task_are_accepted_and_answered_in_the_chat(house: House) -> None:
    ann = await house.person("ann", "owner")
    answer = await (await house.api(ann)).post("/api/intents", json={"text": "help"})
    said = await conversations.recent(house.db, await house.place(ann), 5)
    assert said[-1]["direction"] == "out"
    assert (answer.status_code, answer.json()) == (202, {"task_id": None, "said": said[-1]["text"]})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": ""},
        {"text": 5},
        {"text": "a\u0000b"},
        {"text": DO, "approved": True},
        {"text": "x" * (config.INBOUND_CHARS + 1)},
        {"text": DO, "idempotency_key": ""},
        {"text": DO, "idempotency_key": "k" * (config.IDEMPOTENCY_KEY_CHARS + 1)},
        ["text"],
        "text",
        None,
    ],
)
async def test_an_intent_that_is_none_is_422_and_changes_nothing(house: House, body: Any) -> None:
    api = await house.api(await house.person("ann", "owner"))
    answer = await api.post("/api/intents", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]
    assert await house.db.fetchval("select count(*) from inbound") == 0


@pytest.mark.parametrize(
    "raw",
    [b"{", b"", b'{"text": "\\ud800"}', b"\xff\xfe", b"[" * 100_000, b'{"text": NaN}', b'{"text": "a", "text": 3}'],
)
async def test_malformed_json_is_refused_and_never_breaks_anything(house: House, raw: bytes) -> None:
    api = await house.api(await house.person("ann", "owner"))
    answer = await api.post("/api/intents", content=raw, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]


async def test_an_intent_may_go_to_a_conversation_that_the_person_spoke_in(house: House) -> None:
    ann = await house.person("ann", "engineer")
    bob = await house.person("bob", "engineer")
    place = Place(channel=Channel.SLACK, external_id="T0ACME/C0OPS", thread="1718.1")
    sender = Identity(channel=Channel.SLACK, external_id="T0ACME/U01ALICE")
    there = await conversations.ensure(house.db, place)
    inbound = Inbound(channel=Channel.SLACK, delivery_id="E1", sender=sender, place=place, text="hi")
    await conversations.record(house.db, inbound, ann.id, there)
    for name in (str(there), "slack/T0ACME/C0OPS/1718.1"):
        answer = await (await house.api(ann)).post("/api/intents", json={"text": DO, "conversation": name})
        assert await tasks.conversation_of(house.db, int(answer.json()["task_id"])) == there
    for name in (str(there), "999999", "slack/T0ACME/C0OPS", "nonsense", "²", "1/2/3/4", "x" * 300):
        refused = await (await house.api(bob)).post("/api/intents", json={"text": DO, "conversation": name})
        assert refused.status_code == 404


async def test_nobody_speaks_for_a_person_whose_key_is_somebody_elses_web_name(house: House) -> None:
    ann, bob = await house.person("ann", "owner"), await house.person("bob", "owner")
    await house.db.execute(
        "insert into identities (channel, external_id, principal_id) values ('web', 'bob', $1)", ann.id
    )
    answer = await (await house.api(bob)).post("/api/intents", json={"text": DO})
    task = await tasks.whole(house.db, int(answer.json()["task_id"]))
    assert task is not None
    assert task["requester"] == bob.key
