"""One row of tests/review_table.yaml and its question: who asks, who decides, on which channel it is put.

A question is a step of a task that a worker has claimed and parked, as the gate does it; its card is placed where the channel
shows it. `fresh` puts back everything that a row has changed, so that all rows are played in one database.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from core.models import Claimed, EffectClass, PlannedStep
from core.store import approvals, ladder, steps, tasks
from tests.four_channels import CHANNELS, PAIRED, STAFF, Four

# Each proof of the gate whole: minutes instead of seconds.
EVERYTHING: Final = os.environ.get("SAYSO_MUTANTS") == "all"
TABLE: Final = Path(__file__).with_name("review_table.yaml")
FRESH: Final = (
    "tasks",
    "steps",
    "approvals",
    "decisions",
    "effects",
    "grants",
    "cards",
    "outbox",
    "inbound",
    "delegations",
    "sms_codes",
    "sms_received",
    "sms_wrong",
    "asks",
    "rungs",
    "approval_opens",
    "failed_deliveries",
    "ladder_wakes",
    "questions",
    "late_evidence",
    "moves",
    "clock",
)


@dataclass(frozen=True)
class Row:
    number: int
    says: str
    asks: Mapping[str, Any]
    then: Sequence[str]
    ends: str
    kills: Mapping[str, str]
    votes: int | None = None
    only: Sequence[str] = CHANNELS

    @property
    def is_about_phones(self) -> bool:
        return any(event.startswith("sms ") for event in self.then)

    @property
    def story(self) -> str:
        asks = ", ".join(f"{k} {v}" for k, v in self.asks.items()) or "one owner"
        return f"{asks}: {'; '.join(self.then)} → {self.ends}"


def rows() -> list[Row]:
    found = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return [Row(number=n, **{"asks": {}, **row}) for n, row in enumerate(found, start=1)]


@dataclass
class Copy:
    """One question on one channel. `shown` are the cards that people have seen, newest last."""

    channel: str
    task: int
    approval: str
    other_task: int | None = None
    follower: str | None = None
    shown: list[tuple[str, str]] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    begun: list[Claimed] = field(default_factory=list)


class Question:
    """Of one row."""

    def __init__(self, four: Four, row: Row) -> None:
        self.four, self.row = four, row

    async def ask(self, channel: str) -> Copy:
        asks = self.row.asks
        task = await self.task(asks)
        other = await self.task(asks) if asks.get("twice") else None
        ready = await steps.claim(self.four.db, self.four.house.worker, "default", 16)
        claimed = sorted((s for s in ready if s.task_id in (task, other)), key=lambda step: (step.task_id, step.n))
        made = [await self.park(step, channel) for step in claimed]
        approval, follower = made[-1], None
        if other is not None:
            follower = made[-1]
            merged = await approvals.merge(self.four.db, follower)
            assert merged is not None, "the two are not on one card"
            approval = merged
        copy = Copy(channel, task, approval, other, follower)
        if asks.get("kind") == "unknown":
            copy.approval = await self.lost(claimed[0], made[0], channel)
        copy.shown.append((copy.approval, await self.digest(copy.approval)))
        await ladder.opened(self.four.db, self.four.people["bob"].id, [copy.approval])
        return copy

    async def task(self, asks: Mapping[str, Any]) -> int:
        by = self.four.people[asks.get("by", "dora")]
        made = await tasks.create(
            self.four.db, requester=by.id, goal="delete it", kind="do", actor=by.actor,
            steps=[
                PlannedStep(n=n, kind="act", skill="files.delete", args={"paths": ["a"]}, effect_class=EffectClass.UNSAFE)
                for n in range(1, asks.get("items", 1) + 1)
            ],
        )  # fmt: skip
        assert made is not None
        return made

    async def park(self, step: Claimed, channel: str) -> str:
        asks = self.row.asks
        paths = step.args["paths"]
        action = {
            "skill": "files.delete", "version": "1", "schema_hash": "h", "args": {"paths": paths}, "target": "workspace",
        }  # fmt: skip
        card = {
            "title": f"Delete {paths[0]}", "reasons": ["It deletes."], "risk": asks.get("risk", "high"),
            "provenance": ["paths comes from a web page"] if asks.get("tainted") else [],
            "similar": "delete a",
        }  # fmt: skip
        digest = digest_of(step)
        item = {
            "task": str(step.task_id), "step": step.n, "digest": digest, "action": action, "card": card,
            "action_hash": f"same in {channel}" if asks.get("twice") else "",
        }  # fmt: skip
        ask = {
            "kind": asks.get("kind", "action").replace("unknown", "action"), "items": [item], "digest": digest,
            "action_hash": item["action_hash"], "card": card, "expires_in_s": asks.get("minutes", 60) * 60,
            "ladder": "phone" if channel == "sms" else "quiet",
            "approvers": {
                "people": asks.get("people", []), "roles": asks.get("roles", ["owner"]), "needed": asks.get("needed", 1),
                "four_eyes": asks.get("four_eyes", False), "veto": asks.get("veto", True),
            },
        }  # fmt: skip
        place = await self.four.place(channel, self.row.number)
        made = await steps.park(self.four.db, self.four.house.worker, step, ask, [place], "risky")
        assert made is not None
        return made

    async def lost(self, step: Claimed, approval: str, channel: str) -> str:
        """The action was approved and begun, and what became of it is not known: the question about that."""
        db, worker = self.four.db, self.four.house.worker
        for key in ("ann", "bob", "carl")[: self.row.asks.get("needed", 1)]:
            await approvals.decide(
                db, principal=self.four.people[key].id, approval=approval, verdict="approve", digest=None, reason="",
                channel="web", delivery_id=f"first:{approval}:{key}",
            )  # fmt: skip
        [again] = await steps.claim(db, worker, "default", 16)
        assert await begin(self.four, again, approval) == "go"
        assert await steps.lose(db, worker, again, "no answer") == "unknown"
        found = await db.fetchval(
            "select id from approvals where task_id = $1 and kind = 'unknown' and status = 'pending'", step.task_id
        )
        await db.execute(
            "select place_card('approval', $1, $2, $3)",
            step.task_id,
            found,
            await self.four.place(channel, self.row.number),
        )
        return str(found)

    async def digest(self, approval: str) -> str:
        found: str = await self.four.db.fetchval("select digest from approvals where id = $1::text::uuid", approval)
        return found


def digest_of(step: Claimed) -> str:
    return f"{step.task_id:08x}{step.n:08x}{step.args['paths'][0].encode().hex()}".ljust(64, "0")


async def begin(four: Four, step: Claimed, approval: str | None, *, other: bool = False) -> str:
    return await steps.begin(
        four.db, four.house.worker, step, key=f"sayso:{step.task_id}:{step.n}:{step.gen}",
        digest="f" * 64 if other else digest_of(step), approval=approval, grant=None,
        action={"skill": "files.delete", "version": "1", "schema_hash": "h", "args": step.args},
    )  # fmt: skip


async def fresh(four: Four) -> None:
    """Nothing was asked yet, and everybody is who they were."""
    async with four.db.acquire() as connection, connection.transaction():
        await connection.execute("set local session_replication_role = replica")
        for table in FRESH:
            await connection.execute(f"delete from {table}")
        for key, roles in (STAFF | PAIRED).items():
            who = four.people[key].id
            await connection.execute(
                "update principals set roles = $2, is_active = true, same_as = null where id = $1", who, roles
            )
            await connection.execute(
                "update identities set principal_id = $1 where external_id = any ($2)", who, four.addresses(key)
            )
            await connection.execute("update tokens set principal_id = $1 where hash = $2", who, four.hashed[key])
    four.slack.world.posted.clear()
    four.telegram.world.posted.clear()
    four.twilio.sent.clear()
