"""Between the yes and the action something changed: it does not run, and where it may be asked again a fresh card asks.

Fifteen kinds of change, ten times each (twice where not everything is proven), with real workers, files and rules. Each deletion
is approved while its task is paused; then the world moves, the worker is replaced by one with other rules, and all of it goes
on. Every file has to be there in the end, every old yes has to be void, and each fresh card says what is different.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.models import Accepted
from core.store import approvals, tasks
from tests.review_question import EVERYTHING
from tests.test_whole_way import Sayso, eventually, running

TIMES = 10 if EVERYTHING else 2
FILE = """
people:
  ann: {name: Ann, roles: [owner], identities: {slack: T0ACME/U01ALICE}}
  bob: {name: Bob, roles: [%(bob)s], identities: {slack: T0ACME/U02BOB}}
  carl: {name: Carl, roles: [%(carl)s], identities: {slack: T0ACME/U03CARL}}
  dora: {name: Dora, roles: [owner], identities: {slack: T0ACME/U04DORA}}  # so that a fresh card always finds somebody
roles:
  engineer: {may: ["skill:files.*"]}
approvers:
  two: {roles: [owner], needed: 2}
  others: {roles: [owner], four_eyes: true}
  few: {people: [carl]}
runbooks:
  clean:
    inputs: {pattern: {type: string}}
    steps:
      - {id: find, skill: files.list, args: {pattern: "{{ inputs.pattern }}"}}
      - {id: remove, skill: files.delete, args: {paths: "{{ find.paths }}"}, needs: [find]}
"""
RULES = """
policy:
  rules:
    - {name: deny, skill: files.delete, when: 'IN "verdict/"))', then: deny, say: "verdict/ stays."}
    - {name: two, skill: files.delete, when: 'IN "quorum/"))', then: ask, approvers: two}
    - {name: others, skill: files.delete, when: 'IN "eyes/"))', then: ask, approvers: others}
    - {name: few, skill: files.delete, when: 'IN "narrowed/"))', then: ask, approvers: few}
    - {name: risky, skill: files.delete, when: 'IN "risk/"))', then: ask, risk: critical}
""".replace("IN ", "args.paths.exists(p, p.startsWith(")
ANN, BOB, CARL = "T0ACME/U01ALICE", "T0ACME/U02BOB", "T0ACME/U03CARL"
AS_IF_APPROVED = (
    "update approvals set digest = $2, items = jsonb_set(jsonb_set(items, '{{0,digest}}', to_jsonb($2::text)),"
    " '{{0,action,{0}}}', '\"another\"') where task_id = $1 and status = 'approved'"
)


@dataclass(frozen=True)
class Change:
    """`sql` has the task as $1 (and a digest as $2). Without `says` it is refused, and nobody is asked again."""

    says: str
    sql: str = ""
    writes: bool = False
    asked_by: str = ANN
    decided_by: str = ANN


CHANGES = {
    "arguments": Change("paths", 'update steps set args = \'{"paths": ["other.txt"]}\' where task_id = $1'),
    "version": Change("another version", AS_IF_APPROVED.format("version")),
    "schema": Change("takes other arguments", AS_IF_APPROVED.format("schema_hash")),
    "target": Change("another target", AS_IF_APPROVED.format("target")),
    "credential": Change("another credential", AS_IF_APPROVED.format("credential")),
    "content": Change("a file that it names has another content", writes=True),
    "result": Change("paths", 'update steps set result = \'{"paths": ["other.txt"]}\' where task_id = $1 and n = 1'),
    "expiry": Change(
        "expired", "update approvals set expires_at = sayso_now() where task_id = $1 and status = 'approved'"
    ),
    "quorum": Change("More people have to approve"),
    "eyes": Change("may no longer approve it"),
    "narrowed": Change("Who may decide has changed"),
    "risk": Change("higher risk"),
    "decider": Change("may no longer decide", decided_by=CARL),
    "verdict": Change(""),
    "requester": Change("", asked_by=BOB),
}


async def approved(sayso: Sayso, kind: str, n: int) -> tuple[int, str]:
    """A deletion that was approved while its task is paused."""
    change, path = CHANGES[kind], sayso.workspace / kind / f"{n}.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{kind} {n}", encoding="utf-8")
    said = f"run clean pattern={kind}/{n}.txt" if kind == "result" else f"do files.delete paths={kind}/{n}.txt"
    number = await sayso.say(said, who=change.asked_by)
    assert number is not None
    asked = await sayso.approval_of(number)
    await tasks.pause(sayso.deps.db, number, "person:ann")
    assert isinstance(await sayso.press(asked["id"], "approve", who=change.decided_by), Accepted)
    return number, asked["id"]


async def drifts(sayso: Sayso, kind: str, number: int, n: int) -> None:
    change = CHANGES[kind]
    if change.writes:
        (sayso.workspace / kind / f"{n}.txt").write_text("something else", encoding="utf-8")
    if change.sql:
        await sayso.deps.db.execute(change.sql, number, *(["d"] if "$2" in change.sql else []))


async def outcome(sayso: Sayso, number: int) -> dict[str, Any] | None:
    """The fresh card, or the task as it ended."""
    found = await approvals.of_task(sayso.deps.db, number)
    fresh = next((a for a in found if a["status"] == "pending"), None)
    ended = await sayso.task(number)
    return fresh or (ended if ended["finished_at"] else None)


async def test_what_changed_after_the_yes_does_not_run(database_url: str, redis_url: str, tmp_path: Path) -> None:
    asked: dict[tuple[str, int], tuple[int, str]] = {}
    async with running(database_url, redis_url, tmp_path, FILE % {"bob": "engineer", "carl": "owner"}) as sayso:
        (sayso.workspace / "other.txt").write_text("other", encoding="utf-8")
        for kind in CHANGES:
            made = await asyncio.gather(*(approved(sayso, kind, n) for n in range(TIMES)))
            asked |= {(kind, n): one for n, one in enumerate(made)}
        for (kind, n), (number, _) in asked.items():
            await drifts(sayso, kind, number, n)
    async with running(database_url, redis_url, tmp_path, FILE % {"bob": "", "carl": ""} + RULES) as sayso:
        for number, _ in asked.values():
            await tasks.resume(sayso.deps.db, number, "person:ann")
        for (kind, n), (number, old) in asked.items():
            found = await eventually(lambda number=number: outcome(sayso, number))
            says = CHANGES[kind].says
            was = await approvals.whole(sayso.deps.db, old)
            assert was is not None and was["status"] != "consumed", kind
            if says:
                assert found.get("card"), (kind, found)
                assert found["id"] != old and says in " ".join(found["card"]["reasons"]), (kind, found["card"])
                assert was["status"] in ("superseded", "expired"), (kind, was["status"])
            else:
                assert found["status"] == "failed" and "Refused" in found["error"], (kind, found)
            assert (sayso.workspace / kind / f"{n}.txt").exists(), kind
        assert (sayso.workspace / "other.txt").exists()
        assert await sayso.deps.db.fetchval("select count(*) from effects") == 0
