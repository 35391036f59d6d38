"""A Sayso with a web face and people in it, for tests: real Postgres, no worker, a Redis that is away.

The verbs are a person's: be let in, say something, ask for an action that needs a yes.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from bot.app import create_app
from core.db import Pool
from core.deps import Deps
from core.models import (
    ArgumentRole,
    Channel,
    EffectClass,
    Permission,
    PermissionOn,
    Place,
    PlannedStep,
    SkillManifest,
)
from core.organisation import Organisation
from core.ring import Ring
from core.settings import Settings
from core.store import conversations, people, skills, steps, tasks
from core.store.people import Principal, Wanted
from tests.patience import PATIENCE_S

BASE = "http://localhost:8080"
NOWHERE = "redis://127.0.0.1:1/0"
DIGEST = "3f9a" + "0" * 60

MANIFESTS = (
    SkillManifest(
        name="files.delete",
        version="1",
        summary="Delete files",
        args_schema={
            "type": "object",
            "properties": {"paths": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
        },
        schema_hash="h",
        permissions=(PermissionOn(permission=Permission.DELETE, resource="files:{paths}"),),
        effect_class=EffectClass.CHECKABLE,
        roles={"paths": ArgumentRole.CONTROL},
        card="Delete {paths} from the workspace",
    ),
    SkillManifest(
        name="files.list",
        version="1",
        summary="List files",
        args_schema={"type": "object", "properties": {"pattern": {"type": "string"}}},
        schema_hash="h",
        permissions=(PermissionOn(permission=Permission.READ, resource="files:*"),),
        effect_class=EffectClass.PURE,
        card="List {pattern}",
    ),
)


@dataclass
class House:
    deps: Deps
    app: FastAPI
    worker: int
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    @property
    def db(self) -> Pool:
        return self.deps.db

    async def person(self, key: str, *roles: str, name: str = "", service: bool = False) -> Principal:
        await people.sync(
            self.db,
            [*await self._known(), Wanted(key, name or key.title(), tuple(roles), service, ())],
        )
        found = await people.by_key(self.db, key)
        assert found is not None
        return found

    async def _known(self) -> list[Wanted]:
        rows = await people.everyone(self.db)
        return [Wanted(r["key"], r["name"], tuple(r["roles"]), r["is_service"], ()) for r in rows]

    def client(self, **more: Any) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        made = httpx.AsyncClient(transport=transport, base_url=BASE, **more)
        self.clients.append(made)
        return made

    async def api(self, person: Principal) -> httpx.AsyncClient:
        token = await people.make_token(self.db, person.id, "api", None)
        return self.client(headers={"authorization": f"Bearer {token}"})

    async def session(self, person: Principal) -> str:
        return await people.make_token(self.db, person.id, "session", 3600)

    async def browser(self, person: Principal) -> httpx.AsyncClient:
        """A browser without a script that is signed in and says where its forms come from."""
        made = self.client(headers={"accept": "text/html", "origin": BASE}, follow_redirects=True)
        made.cookies.set("sayso", await self.session(person))
        return made

    async def place(self, person: Principal) -> int:
        return await conversations.ensure(self.db, Place(channel=Channel.WEB, external_id=person.key, private=True))

    async def task(self, person: Principal, goal: str = "do files.list", *, title: str = "List files") -> int:
        made = await tasks.create(
            self.db,
            requester=person.id,
            goal=goal,
            kind="do",
            actor=person.actor,
            conversation=await self.place(person),
            steps=[
                PlannedStep(
                    n=1, kind="act", skill="files.delete", args={"paths": ["old.log"]}, title=title,
                    effect_class=EffectClass.CHECKABLE,
                )
            ],
        )  # fmt: skip
        assert made is not None
        return made

    async def ask(
        self,
        requester: Principal,
        *,
        people_: tuple[str, ...] = (),
        roles: tuple[str, ...] = ("owner",),
        needed: int = 1,
        four_eyes: bool = False,
        title: str = "Delete old.log from the workspace",
        goal: str = "do files.delete paths=old.log",
        args: dict[str, Any] | None = None,
        destructive: bool = False,
        expires_in_s: int = 3600,
    ) -> tuple[int, str]:
        """A task whose only step waits for people: (task, approval)."""
        task = await self.task(requester, goal, title=title)
        [step] = [s for s in await steps.claim(self.db, self.worker, "default", 16) if s.task_id == task]
        action = {
            "skill": "files.delete",
            "version": "1",
            "schema_hash": "h",
            "args": args or {"paths": ["old.log"]},
            "target": "workspace",
        }
        approval = await steps.park(
            self.db,
            self.worker,
            step,
            {
                "kind": "action",
                "items": [{"task": str(task), "step": 1, "digest": DIGEST, "action": action}],
                "digest": DIGEST,
                "action_hash": "h",
                "card": {
                    "title": title,
                    "reasons": ["It deletes."],
                    "provenance": ["paths comes from a page read in step 2"],
                    "risk": "high",
                    "destructive": destructive,
                },
                "approvers": {
                    "people": list(people_), "roles": list(roles), "needed": needed, "four_eyes": four_eyes, "veto": True,
                },
                "ladder": "default",
                "expires_in_s": expires_in_s,
            },
            [await self.place(requester)],
            "It deletes.",
        )  # fmt: skip
        assert approval is not None
        return task, approval


@asynccontextmanager
async def open_house(
    db: Pool, home: Path, organisation: Organisation | None = None, **settings: Any
) -> AsyncIterator[House]:
    ring = Ring.open(NOWHERE)
    given = {"redis_url": NOWHERE, "sayso_home": home, "sayso_secret_key": "k" * 32, "port": 8080} | settings
    deps = Deps(Settings.model_validate(given), organisation or Organisation(), db, ring)
    await skills.publish(db, MANIFESTS)
    worker = await steps.enrol(db, "test", 1, "test", 3600)
    house = House(deps, create_app(deps), worker)
    try:
        yield house
    finally:
        for client in house.clients:
            await client.aclose()
        await ring.close()


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """The app behind a real server on loopback; answers its address."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=1, lifespan="on"
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    async with asyncio.timeout(PATIENCE_S):
        while not server.started:  # noqa: ASYNC110  (uvicorn has no event for it)
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        app.state.hub.close()
        server.should_exit = True
        await asyncio.wait_for(running, PATIENCE_S)


def unique() -> str:
    return uuid.uuid4().hex
