"""A person on Telegram, in both modes: they write, read the card, tap, and the database and the chat say the same.

Real Postgres, intake and courier; the library's real Bot against the Bot API of `telegram_server`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.app import create_app
from bot.courier import Courier
from bot.telegram.adapter import NOT_SAVED, TelegramAdapter
from bot.telegram.client import open_client
from bot.telegram.polling import UPDATE_ATTEMPTS, Poller
from bot.telegram.webhook import HEADER, PATH
from core import intake
from core.config import POLLING_LOCK
from core.db import Pool
from core.deps import Deps
from core.models import Decided, Duplicate, Inbound, Press, Received
from core.organisation import Organisation
from core.ring import Ring
from core.settings import Settings, SettingsError
from core.store import people, skills, steps, tasks
from core.store.people import Principal, Wanted
from tests.telegram_server import SECRET, TOKEN, BotApi, bot_api, eventually
from tests.web_house import DIGEST, MANIFESTS, NOWHERE

PUBLIC = "https://sayso.example.com"
MODES = ("polling", "webhook")


class Failing:
    """Intake whose database is away as often as it is told; everything else is the real one."""

    def __init__(self, times: int = 0, error: Callable[[], Exception] = ConnectionRefusedError) -> None:
        self.left, self.error = times, error
        self.tried: list[str] = []

    def _fail(self, delivery: str) -> None:
        self.tried.append(delivery)
        if self.left > 0:
            self.left -= 1
            raise self.error()

    async def receive(self, deps: Deps, inbound: Inbound) -> Received | Duplicate:
        self._fail(inbound.delivery_id)
        return await intake.receive(deps, inbound)

    async def press(self, deps: Deps, pressed: Press) -> Decided:
        self._fail(pressed.delivery_id)
        return await intake.press(deps, pressed)

    async def control(self, deps: Deps, person: Principal, task: int, verb: str) -> str:
        return await intake.control(deps, person, task, verb)


@dataclass
class Town:
    """One deployment with Telegram on, a worker that is the test, and the people in it."""

    api: BotApi
    deps: Deps
    intake: Failing
    worker: int
    courier: Courier
    adapters: list[TelegramAdapter] = field(default_factory=list)
    running: list[asyncio.Task[None]] = field(default_factory=list)
    webhook: httpx.AsyncClient | None = None
    delivered: list[int] = field(default_factory=list)

    @property
    def db(self) -> Pool:
        return self.deps.db

    def start(self) -> TelegramAdapter:
        adapter = self.adapters[0] if not self.running else TelegramAdapter(self.deps, self.intake)
        self.running.append(asyncio.create_task(adapter.run()))
        return adapter

    async def deliver(self) -> None:
        """In webhook mode: what Telegram does, each update again until it is answered 200."""
        assert self.webhook is not None
        set_up = await eventually(lambda: self.api.of("setWebhook"))
        assert set_up[0].data["url"] == PUBLIC + PATH
        while True:
            await eventually(lambda: self.api.updates, within_s=60)
            answer = await self.webhook.post(
                PATH, json=self.api.updates[0], headers={HEADER: set_up[0].data["secret_token"]}
            )
            self.delivered.append(answer.status_code)
            if answer.status_code == 200:
                self.api.updates.pop(0)

    async def inbound(self, count: int) -> list[dict[str, Any]]:
        rows: list[Any] = []
        for _ in range(1000):
            rows = await self.db.fetch("select * from inbound where kind = 'message' order by id")
            if len(rows) >= count:
                break
            await asyncio.sleep(0.01)
        assert len(rows) == count, f"{len(rows)} messages came in, not {count}"
        return [dict(row) for row in rows]

    async def courier_until(self, seen: Callable[[], Any]) -> Any:
        """Deliver the outbox until the chat shows it."""
        for _ in range(600):
            await self.courier.deliver()
            if found := seen():
                return found
            await asyncio.sleep(0.02)
        raise AssertionError("the chat never showed it")

    async def ask(self, *, destructive: bool = False, args: dict[str, Any] | None = None, title: str = "") -> str:
        """The step that somebody's message started asks for a yes; answers the approval."""
        [row] = await self.db.fetch("select id, conversation_id from tasks order by id desc limit 1")
        [step] = [s for s in await steps.claim(self.db, self.worker, "default", 16) if s.task_id == row["id"]]
        action = {
            "skill": "files.delete",
            "version": "1",
            "args": args or {"paths": ["old.log"]},
            "target": "workspace",
        }
        card = {
            "title": title or "Delete old.log from the workspace",
            "reasons": ["It deletes."],
            "destructive": destructive,
        }
        asked = {
            "kind": "action", "items": [{"task": str(row["id"]), "step": 1, "digest": DIGEST, "action": action}],
            "digest": DIGEST, "action_hash": "h", "card": card, "ladder": "default", "expires_in_s": 3600,
            "approvers": {"people": [], "roles": ["owner"], "needed": 1, "four_eyes": False, "veto": True},
        }  # fmt: skip
        approval = await steps.park(self.db, self.worker, step, asked, [row["conversation_id"]], "It deletes.")
        assert approval is not None
        return approval

    async def approval_card(self, approval: str) -> dict[str, Any]:
        """Ask, and have the card in the chat."""

        def shown() -> dict[str, Any] | None:
            cards = [m for m in self.api.shown(1001) if "Deny" in self.api.labels(m)]
            return cards[0] if cards else None

        found: dict[str, Any] = await self.courier_until(shown)
        return found

    async def status(self, approval: str) -> str:
        found: str = await self.db.fetchval("select status from approvals where id = $1", approval)
        return found

    async def answered(self, count: int = 1) -> dict[str, Any]:
        calls = await eventually(
            lambda: len(self.api.of("answerCallbackQuery")) >= count and self.api.of("answerCallbackQuery")
        )
        assert len(calls) == count
        data: dict[str, Any] = calls[-1].data
        return data


@asynccontextmanager
async def open_town(db: Pool, home: Path, mode: str, **more: Any) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(bot_api())
        ring = Ring.open(NOWHERE)
        stack.push_async_callback(ring.close)
        given = {
            "redis_url": NOWHERE, "sayso_home": home, "sayso_secret_key": "k" * 32, "telegram_bot_token": TOKEN,
            "telegram_mode": mode, "telegram_webhook_secret": SECRET, "telegram_api_url": api.url, "public_base_url": PUBLIC,
        } | more  # fmt: skip
        deps = Deps(Settings.model_validate(given), Organisation(), db, ring)
        await skills.publish(db, MANIFESTS)
        await people.sync(
            db,
            [
                Wanted("ann", "Ann", ("owner",), False, (("telegram", "1001"),)),
                Wanted("bob", "Bob", (), False, (("telegram", "1002"),)),
            ],
        )
        failing = Failing()
        adapter = TelegramAdapter(deps, failing)
        worker = await steps.enrol(db, "test", 1, "test", 3600)
        town = Town(
            api, deps, failing, worker, Courier(db, NOWHERE, [adapter.sender], deps.settings.masks()), [adapter]
        )
        town.start()
        if mode == "webhook":
            app = create_app(deps, extra_routers=[adapter.router()])
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            town.webhook = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url=PUBLIC))
            town.running.append(asyncio.create_task(town.deliver()))
        try:
            yield town
        finally:
            for task in town.running:
                task.cancel()
            await asyncio.gather(*town.running, return_exceptions=True)


@pytest.fixture(params=MODES)
async def town(request: pytest.FixtureRequest, db: Pool, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(db, tmp_path, request.param) as opened:
        yield opened


@pytest.fixture
async def polling(db: Pool, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(db, tmp_path, "polling") as opened:
        yield opened


@pytest.fixture
async def hooked(db: Pool, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(db, tmp_path, "webhook") as opened:
        yield opened


# ---------------------------------------------------------------- the way of one task


async def test_a_message_becomes_a_task_and_a_press_decides_it(town: Town) -> None:
    town.api.say("do files.delete paths=old.log")
    [said] = await town.inbound(1)
    assert (said["body"], said["delivery_id"]) == ("do files.delete paths=old.log", "update:101")
    seen = await eventually(lambda: town.api.of("setMessageReaction"))
    assert seen[0].data["reaction"] == [{"emoji": "👀", "type": "emoji"}]

    approval = await town.ask()
    card = await town.approval_card(approval)
    assert "files.delete (version 1)" in card["text"]
    town.api.press(card, "Approve")
    answer = await town.answered()
    assert (answer["text"], answer.get("show_alert", False)) == ("Approved.", False)
    assert await town.status(approval) == "approved"
    await town.courier_until(lambda: "Approved by Ann in telegram" in town.api.shown(1001)[-1]["text"])
    assert [town.api.labels(m) for m in town.api.shown(1001) if "files.delete (version" in m["text"]] == [[]]


async def test_telegram_is_told_who_we_are_and_where_to_send_updates(town: Town) -> None:
    commands = await eventually(lambda: town.api.of("setMyCommands"))
    assert {c["command"] for c in commands[0].data["commands"]} >= {"help", "tasks", "stop"}
    if town.deps.settings.telegram_mode == "polling":
        await eventually(lambda: town.api.of("getUpdates"))
        order = [c.method for c in town.api.calls if c.method in ("deleteWebhook", "getUpdates")]
        assert order[0] == "deleteWebhook"
        assert town.api.of("getUpdates")[0].data["allowed_updates"] == ["message", "callback_query"]
    else:
        [call] = await eventually(lambda: town.api.of("setWebhook"))
        assert call.data["secret_token"] == SECRET
        assert call.data["allowed_updates"] == ["message", "callback_query"]
        assert town.api.of("getUpdates") == []


async def test_a_destructive_action_is_asked_twice_and_back_goes_back(town: Town) -> None:
    town.api.say("do files.delete paths=old.log")
    await town.inbound(1)
    approval = await town.ask(destructive=True)
    card = await town.approval_card(approval)

    town.api.press(card, "Approve")
    assert (await town.answered(1))["text"] == "Delete old.log from the workspace?"
    await eventually(lambda: town.api.labels(card) == ["Confirm delete", "Back"])
    assert await town.status(approval) == "pending"

    town.api.press(card, "Back")
    await eventually(lambda: town.api.labels(card) == ["Approve", "Deny", "Stop the task"])
    town.api.press(card, "Approve")
    await eventually(lambda: town.api.labels(card) == ["Confirm delete", "Back"])
    town.api.press(card, "Confirm delete")
    assert (await town.answered(4))["text"] == "Approved."
    assert await town.status(approval) == "approved"


async def test_who_may_not_decide_is_told_so_and_nothing_changes(town: Town) -> None:
    town.api.say("do files.delete paths=old.log")
    await town.inbound(1)
    approval = await town.ask()
    card = await town.approval_card(approval)
    for count, who in enumerate((1002, 6666), start=1):
        town.api.press(card, "Approve", who=who)
        answer = await town.answered(count)
        assert answer["show_alert"] is True
        assert answer["text"].startswith("Not decided")
    assert await town.status(approval) == "pending"


async def test_the_second_press_reports_who_decided(town: Town) -> None:
    town.api.say("do files.delete paths=old.log")
    await town.inbound(1)
    approval = await town.ask()
    card = await town.approval_card(approval)
    town.api.press(card, "Deny")
    assert (await town.answered(1))["text"] == "Denied."
    town.api.press(card, "Approve")
    answer = await town.answered(2)
    assert (answer["show_alert"], answer["text"].startswith("Too late: already denied by Ann")) == (True, True)


async def test_a_stranger_gets_a_pairing_code_and_nothing_else(town: Town) -> None:
    town.api.say("do files.delete paths=old.log", who=6666)
    await town.inbound(1)
    [said] = await town.courier_until(lambda: town.api.shown(6666))
    assert "pair " in said["text"]
    assert await town.db.fetchval("select count(*) from tasks") == 0


async def test_a_task_is_stopped_with_its_button_after_one_more_question(town: Town) -> None:
    town.api.say("do files.delete paths=old.log")
    await town.inbound(1)
    await town.ask()
    run_card = await town.courier_until(lambda: [m for m in town.api.shown(1001) if "Pause" in town.api.labels(m)])
    town.api.press(run_card[0], "Stop")
    assert (await town.answered(1))["text"] == "Stop this task?"
    await eventually(lambda: "Confirm stop" in town.api.labels(run_card[0]))
    town.api.press(run_card[0], "Confirm stop")
    await town.answered(2)
    task = await tasks.whole(town.db, await town.db.fetchval("select max(id) from tasks"))
    assert task is not None
    assert task["status"] == "cancelled"


async def test_a_card_too_long_for_the_chat_has_no_approve(town: Town) -> None:
    town.api.say("do files.delete paths=old.log")
    await town.inbound(1)
    approval = await town.ask(args={"paths": [f"{i:05d}.log" for i in range(600)]})
    card = await town.approval_card(approval)
    assert town.api.labels(card) == ["Deny", "Stop the task"]
    assert f"{PUBLIC}/approvals/{approval}" in card["text"]


@pytest.mark.parametrize(
    "data", ["", "a:zz:approve", "t:999999:stop", f"a:{'0' * 32}:approve", f"c:{'0' * 32}:approve", "c:77:stop"]
)
async def test_a_button_that_leads_nowhere_is_answered(polling: Town, data: str) -> None:
    polling.api.tap(data, {"chat_id": 1001, "message_id": 1})
    answer = await polling.answered()
    assert answer["show_alert"] is True
    assert answer["text"]


# ---------------------------------------------------------------- again and again


async def test_the_same_update_again_changes_nothing(town: Town) -> None:
    update = town.api.say("do files.delete paths=old.log")
    await town.inbound(1)
    await eventually(lambda: not town.api.updates or town.deps.settings.telegram_mode == "polling")
    town.api.updates.append(update)
    town.api.say("tasks")
    await town.inbound(2)
    assert await town.db.fetchval("select count(*) from tasks") == 1


async def test_an_update_that_is_not_saved_comes_again(town: Town) -> None:
    town.intake.left = 2
    town.api.say("do files.delete paths=old.log")
    await town.inbound(1)
    assert town.intake.tried == ["update:101"] * 3
    if town.deps.settings.telegram_mode == "polling":
        offsets = [c.data.get("offset") for c in town.api.of("getUpdates")]
        assert set(offsets) <= {None, 102}
    else:
        await eventually(lambda: len(town.delivered) == 3)
        assert town.delivered == [500, 500, 200]


async def test_a_press_that_is_not_saved_tells_the_presser_and_is_decided_in_the_end(town: Town) -> None:
    town.api.say("do files.delete paths=old.log")
    await town.inbound(1)
    approval = await town.ask()
    card = await town.approval_card(approval)
    town.intake.left = 1
    town.api.press(card, "Approve")
    await eventually(lambda: len(town.api.of("answerCallbackQuery")) == 2)
    first, second = (c.data for c in town.api.of("answerCallbackQuery"))
    assert (first["text"], first["show_alert"]) == (NOT_SAVED, True)
    assert second["text"] == "Approved."
    assert await town.status(approval) == "approved"


async def test_an_update_with_a_fault_of_its_own_is_given_up_so_that_the_next_one_comes(polling: Town) -> None:
    polling.running[0].cancel()
    await asyncio.gather(*polling.running, return_exceptions=True)
    taken: list[int] = []

    async def take(raw: Any) -> None:
        taken.append(raw["update_id"])
        if raw["update_id"] == 101:
            raise ValueError("no database can hold this")

    polling.api.say("first")
    polling.api.say("second")
    client = open_client(polling.deps.settings)
    poller = Poller(client, polling.db, take, pause_first_s=0.01, pause_most_s=0.01)
    polling.running.append(asyncio.create_task(poller.run()))
    await eventually(lambda: 102 in taken)
    assert taken == [101] * UPDATE_ATTEMPTS + [102]
    await client.close_connections()


async def test_polling_goes_on_after_the_database_dropped_the_lock(polling: Town) -> None:
    await eventually(lambda: polling.api.of("getUpdates"))
    await polling.db.execute(
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = $1", POLLING_LOCK
    )
    polling.api.say("tasks")
    assert [row["body"] for row in await polling.inbound(1)] == ["tasks"]
    polling.api.say("approvals")
    assert [row["body"] for row in await polling.inbound(2)] == ["tasks", "approvals"]


async def test_an_update_that_cannot_be_read_does_not_block_the_next(polling: Town) -> None:
    polling.api.queue({"message": {"message_id": 1}})
    polling.api.queue({"message": "?"})
    polling.api.say("tasks")
    assert [row["body"] for row in await polling.inbound(1)] == ["tasks"]


async def test_only_one_of_two_processes_polls_and_the_other_takes_over(polling: Town) -> None:
    await eventually(lambda: polling.api.of("getUpdates"))
    polling.start()
    await eventually(lambda: len(polling.api.of("getMe")) == 2)
    polling.api.say("tasks")
    await polling.inbound(1)
    assert polling.api.polled_at_once == 0

    polling.running[0].cancel()
    await asyncio.gather(polling.running[0], return_exceptions=True)
    polling.api.say("status")
    await polling.inbound(2)
    assert [row["body"] for row in await polling.inbound(2)] == ["tasks", "status"]


async def test_another_program_with_our_token_is_named_in_the_log(
    polling: Town, caplog: pytest.LogCaptureFixture
) -> None:
    conflict = {"ok": False, "error_code": 409, "description": "Conflict: terminated by other getUpdates request"}
    polling.api.faults["getUpdates"] = [(409, conflict)]
    polling.api.say("tasks")
    await eventually(lambda: "lets only one program receive this bot's updates" in caplog.text)
    assert caplog.text.count("lets only one program") == 1


# ---------------------------------------------------------------- who is not Telegram


async def raw_post(town: Town, headers: list[tuple[bytes, bytes]], body: bytes = b'{"update_id":1}') -> tuple[int, int]:
    """(status, how many parts of the body were read)."""
    app = create_app(town.deps, extra_routers=[town.adapters[0].router()])
    read, sent = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"", "root_path": "", "scheme": "https", "server": ("sayso.example.com", 443), "client": ("127.0.0.1", 1),
        "headers": [(b"host", b"sayso.example.com"), *headers],
    }  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"], read


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [b""],
        [SECRET[:-1].encode()],
        [(SECRET + "x").encode()],
        [SECRET.lower().encode()],
        [b"\xff\xfe" * 16],
        ["ѕ".encode() * 32],
        [SECRET.encode(), SECRET.encode()],
    ],
)
async def test_a_wrong_secret_is_403_before_the_body_is_read(hooked: Town, headers: list[bytes]) -> None:
    assert await raw_post(hooked, [(HEADER.encode(), value) for value in headers]) == (403, 0)
    assert hooked.intake.tried == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"[]", 400), (b"\xff\xfe", 400), (b'{"update_id":"x"}', 400), (b"[" * 50_000, 400),
        (b'{"update_id":1,"message":{"message_id":1}}', 400), (b'{"update_id":1,"edited_message":{}}', 400),
        (b'{"update_id":1,"poll_answer":null}', 200), (b" " * 1_000_001, 413),
    ],
)  # fmt: skip
async def test_a_body_that_is_no_update_is_refused_without_a_trace(hooked: Town, body: bytes, status: int) -> None:
    await eventually(lambda: hooked.api.of("setWebhook"))
    seen, _ = await raw_post(hooked, [(HEADER.encode(), SECRET.encode())], body)
    assert seen == status
    assert hooked.intake.tried == []


@pytest.mark.parametrize("secret", [None, "", "short", "x" * 31, "ü" * 40, "with space" * 4])
async def test_webhook_mode_does_not_start_without_a_proper_secret(
    db: Pool, tmp_path: Path, secret: str | None
) -> None:
    with pytest.raises(SettingsError, match="TELEGRAM_WEBHOOK_SECRET"):
        async with open_town(db, tmp_path, "webhook", telegram_webhook_secret=secret):
            pass


async def test_polling_mode_has_no_webhook(polling: Town) -> None:
    assert await raw_post(polling, [(HEADER.encode(), SECRET.encode())]) in ((404, 0), (405, 0))


# ---------------------------------------------------------------- nothing leaks, nothing breaks


HOSTILE = [
    "<b>&amp;</b>",
    "@SaysoBot /stop",
    "\u202eevil",
    "x" * 4096,
    "😀" * 2048,
    "a\u0000b",
    "`*_[]()~>#+-=|{}.!",
    "/stop@x\n/do",
]


async def test_hostile_words_are_kept_as_they_are_and_break_nothing(town: Town) -> None:
    for text in HOSTILE:
        town.api.say(text)
    rows = await town.inbound(len(HOSTILE) - 1)
    kept = [row["body"] for row in rows]
    assert kept == [text.replace("\u0000", "\ufffd") for text in HOSTILE if not text.startswith("/stop@x")]


async def test_the_token_reaches_no_log_whatever_fails(
    db: Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    refused = {"ok": False, "error_code": 404, "description": f"Not Found: /bot{TOKEN}/getMe"}
    async with open_town(db, tmp_path, "polling") as town:
        town.api.faults["getMe"] = ["garbage", (404, refused), "lost"]
        town.api.faults["deleteWebhook"] = ["garbage"]
        town.api.faults["getUpdates"] = ["garbage", "lost"]
        town.api.faults["answerCallbackQuery"] = ["garbage", (400, refused)]
        town.api.tap("x", {"chat_id": 1001, "message_id": 1})
        town.api.tap("y", {"chat_id": 1001, "message_id": 1})
        await eventually(lambda: len(town.api.of("answerCallbackQuery")) == 2)
        await eventually(lambda: caplog.text.count("Telegram was not told") >= 2)
    seen = caplog.text + "".join(capsys.readouterr())
    assert TOKEN.partition(":")[2] not in seen
