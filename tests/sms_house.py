"""A Sayso with phones, for tests: real Postgres, intake, courier and ladder, Twilio's stand-in, no worker.

Bob asks, Ann and Cleo (owners) decide; all three have phones, and sayso.yaml has the consent of Ann's and Cleo's. The
courier and the ladder are run by hand, so that nothing has to be waited for by the clock.
"""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from bot.app import create_app
from bot.courier import Courier
from bot.sms.adapter import SmsAdapter
from bot.web.sender import WebSender
from core import intake
from core.db import Pool
from core.models import Channel, EffectClass, Identity, Inbound, Place, PlannedStep
from core.organisation import parse
from core.store import approvals, clock, conversations, ladder, people, sms, steps, tasks
from core.store.people import Principal
from tests.sim.twilio import Phone, Sms, TwilioSim
from tests.telegram_town import served_at
from tests.web_house import DIGEST, NOWHERE, House, open_house, unique
from worker.ladder import Climber

ANN, BOB, CLEO = "+15550002222", "+15550003333", "+15550004444"

ACME = """
organisation: Acme
people:
  ann: {name: Ann Lee, roles: [owner], identities: {phone: "+15550002222"}, sms: {opted_in_at: 2026-11-01T09:00:00Z}}
  bob: {name: Bob, roles: [], identities: {phone: "+15550003333", web: bob}}
  cleo: {name: Cleo, roles: [owner], identities: {phone: "+15550004444"}, sms: {opted_in_at: 2026-11-01T09:00:00Z}}
ladders:
  default: [{after: 0m, to: conversation}, {after: 5m, to: direct}, {after: 15m, to: sms}, {after: 60m, to: expire}]
  phone: [{after: 0m, to: sms}, {after: 60m, to: expire}]
"""


@dataclass
class SmsHouse:
    house: House
    sim: TwilioSim
    courier: Courier
    climber: Climber
    adapter: SmsAdapter

    @property
    def db(self) -> Pool:
        return self.house.db

    @property
    def ann(self) -> Phone:
        return self.sim.phone(ANN)

    @property
    def bob(self) -> Phone:
        return self.sim.phone(BOB)

    @property
    def cleo(self) -> Phone:
        return self.sim.phone(CLEO)

    async def person(self, key: str) -> Principal:
        found = await people.by_key(self.db, key)
        assert found is not None
        return found

    async def ask(
        self,
        *,
        ladder: str = "phone",
        risk: str | None = "high",
        args: dict[str, Any] | None = None,
        title: str = "Delete old.log from the workspace",
        expires_in_s: int = 3600,
        kind: str = "action",
        channel: Channel = Channel.WEB,
        **approvers: Any,
    ) -> str:
        """Bob's task waits for a yes of an owner; its only card is in his own chat, where nobody may decide."""
        bob = await self.person("bob")
        place = await conversations.ensure(self.db, Place(channel=channel, external_id="bob", private=True))
        task = await tasks.create(
            self.db, requester=bob.id, goal="delete it", kind="do", actor=bob.actor, conversation=place,
            steps=[PlannedStep(n=1, kind="act", skill="files.delete", args={}, title=title, effect_class=EffectClass.UNSAFE)],
        )  # fmt: skip
        [step] = [s for s in await steps.claim(self.db, self.house.worker, "default", 16) if s.task_id == task]
        action = {
            "skill": "files.delete",
            "version": "1",
            "schema_hash": "h",
            "args": args or {"paths": ["old.log"]},
            "target": "workspace",
        }
        card = {"title": title, "reasons": ["It deletes."], "destructive": True} | ({"risk": risk} if risk else {})
        wanted = {"people": [], "roles": ["owner"], "needed": 1, "four_eyes": False, "veto": True} | approvers
        asked = {
            "kind": kind, "items": [{"task": str(task), "step": 1, "digest": DIGEST, "action": action}], "digest": DIGEST,
            "action_hash": "h", "card": card, "approvers": wanted, "ladder": ladder, "expires_in_s": expires_in_s,
        }  # fmt: skip
        approval = await steps.park(self.db, self.house.worker, step, asked, [place], "It deletes.")
        assert approval is not None
        return approval

    async def pass_by(self, **ahead: float) -> None:
        """Time passes: the clock moves by so much more, then the ladder is climbed and the outbox delivered."""
        before = await self.db.fetchval("select coalesce((select ahead from clock), interval '0')")
        await clock.move(self.db, before + timedelta(**ahead))
        await self.climb()

    async def climb(self) -> None:
        """The ladder and the courier in turn, until neither has anything to do."""
        for _ in range(20):
            moved = await self.climber.tick()
            while await self.courier.deliver():
                moved += 1
            if not moved and not await self.db.fetchval("select exists (select from ladder_wakes)"):
                return
        raise AssertionError("the ladder does not come to rest")

    async def status(self, approval: str) -> str:
        found = await approvals.whole(self.db, approval)
        assert found is not None
        return str(found["status"])

    async def timeline(self, approval: str) -> list[tuple[str, str, str]]:
        lines = (await ladder.timelines(self.db, [approval]))[approval]
        return [(line["what"], line["channel"], line["note"]) for line in lines]

    async def say(self, text: str, who: str = "bob") -> str:
        """Something said in the person's web chat; answers the reply."""
        place = Place(channel=Channel.WEB, external_id=who, private=True)
        await self.db.execute(
            "insert into identities (channel, external_id, principal_id) select 'web', key, id from principals where key = $1"
            " on conflict do nothing",
            who,
        )
        await intake.receive(
            self.house.deps,
            Inbound(
                channel=Channel.WEB, delivery_id=unique(), sender=Identity(channel=Channel.WEB, external_id=who),
                place=place, text=text,
            ),
        )  # fmt: skip
        conversation = await conversations.ensure(self.db, place)
        return str((await conversations.recent(self.db, conversation, 1))[-1]["text"])


def code_in(sms: Sms) -> str:
    """The code of a question."""
    found = re.search(r"\bOK ([0-9A-Z]{8})\b", sms.body)
    assert found, sms.body
    return found.group(1)


@asynccontextmanager
async def open_sms_house(
    db: Pool, home: Path, *, more: str = "", shared_key: str = "", **settings: Any
) -> AsyncIterator[SmsHouse]:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        public = f"http://127.0.0.1:{door.getsockname()[1]}"
        async with TwilioSim(public, shared_key=shared_key) as sim:
            given = {
                "twilio_account_sid": sim.account, "twilio_auth_token": sim.token, "twilio_from": sim.number,
                "twilio_api_url": sim.api_url, "public_base_url": public,
            } | ({"twilio_signature": "HMAC-SHA256", "twilio_signing_key": shared_key} if shared_key else {})  # fmt: skip
            organisation = parse(ACME + more)
            async with open_house(db, home, organisation, **(given | settings)) as house:
                await people.sync(db, people.wanted(organisation))
                await sms.sync(db, sms.agreed(organisation))
                adapter = SmsAdapter(house.deps)
                app = create_app(house.deps, extra_routers=[adapter.router()])
                courier = Courier(db, NOWHERE, [WebSender(), adapter.sender], house.deps.settings.masks())
                async with served_at(app, door):
                    try:
                        yield SmsHouse(house, sim, courier, Climber(house.deps), adapter)
                    finally:
                        await adapter.close()
            assert sim.violations == []
