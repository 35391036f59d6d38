"""Plays one row of tests/review_table.yaml: the same story on four copies of a question, one for each channel.

A row says who asks and who decides (`asks`), what happens in order (`then`), and how it `ends`. Answers go through the
channel's adapter; what a channel has no way to give is given on the web. Each answer may name what it comes to (refused,
already, late, changed, unfit); without a word it has to count. `python -m tests.review_play` prints the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg

from core.models import Claimed
from core.store import approvals, clock, grants, steps, tasks
from tests.four_channels import CHANNELS, PAIRED, STAFF, Four, phone_of, slack_id
from tests.review_question import Copy, Question, Row, begin, fresh, rows

OUTCOMES: Final = ("counted", "refused", "already", "late", "changed", "unfit")
VERDICTS: Final = {
    "yes": "approve", "no": "deny", "similar": "approve_similar", "always": "grant", "looking": "looking", "stop": "stop",
    "edits": "edit", "asks": "ask", "hands": "delegate", "happened": "happened", "not-happened": "not_happened",
    "gives-up": "abandon", "answers": "answer",
}  # fmt: skip
CODES: Final = ("approve", "deny")
BUTTONS: Final = (*CODES, "stop", "looking", "happened", "not_happened", "abandon")


class Play:
    def __init__(self, four: Four, row: Row, channels: Sequence[str] = CHANNELS) -> None:
        self.four, self.row, self.channels = four, row, channels
        self.question = Question(four, row)
        self.ahead = timedelta()
        self.claimed: list[Claimed] = []

    async def run(self) -> list[str]:
        """What went otherwise than the row says, channel by channel; nothing when all is as it says."""
        await fresh(self.four)
        copies = [await self.question.ask(channel) for channel in self.channels if channel in self.row.only]
        await self.four.deliver()
        wrong: list[str] = []
        for event in self.row.then:
            await self._event(event, copies, wrong)
        for copy in copies:
            found = await self._status(copy)
            if found != self.row.ends:
                wrong.append(f"{copy.channel}: it ends {found}, not {self.row.ends}")
            if self.row.votes is not None and (votes := await self._votes(copy)) != self.row.votes:
                wrong.append(f"{copy.channel}: {votes} votes count, not {self.row.votes}")
        return wrong

    # ------------------------------------------------------------ what happens

    async def _event(self, event: str, copies: list[Copy], wrong: list[str]) -> None:
        first, _, rest = event.partition(" ")
        if rest == "has no token any more":
            if (answer := await self.four.web(first).get("/api/approvals")).status_code != 401:
                wrong.append(f"{event}: {answer.status_code}")
        elif first == "sms":
            for copy in copies:
                if copy.channel == "sms":
                    await self._phone(copy, rest.split(" "), wrong)
        elif first in {*STAFF, *PAIRED, "stranger"} and rest.split(" ")[0] in VERDICTS:
            for copy in copies:
                await self._answer(copy, first, rest, wrong)
        elif first == "it":
            for copy in copies:
                await self._it(copy, rest, wrong)
        elif match := re.fullmatch(r"(\d+) minutes pass", event):
            self.ahead += timedelta(minutes=int(match[1]))
            await clock.move(self.four.db, self.ahead)
        else:
            try:
                understood = await happened(self.four, first, rest)
            except asyncpg.PostgresError as error:
                wrong.append(f"{event}: {error}")
                return
            assert understood, f"row {self.row.number} says what nobody understands: {event!r}"

    async def _answer(self, copy: Copy, key: str, words: str, wrong: list[str]) -> None:
        said = words.split(" ")
        expected = said.pop() if said[-1].split("/")[0] in OUTCOMES else "counted"
        verdict, more = VERDICTS[said[0]], said[1:]
        approval, digest = copy.shown[0] if "before" in more else copy.shown[-1]
        if "own" in more:
            approval = copy.follower or ""
            digest = await self.question.digest(approval)
        fields = await self._fields(copy, verdict, more)
        channel = await self._channel(copy, key, verdict, approval, expected, fields)
        if {"own", "stale"} & set(more):
            channel, digest = "web", "f" * 64 if "stale" in more else digest
        if channel == "slack" and verdict in ("ask", "delegate"):
            typed = fields.get("text") or slack_id(fields["to"])
            found = await self.four.slack_form(key, approval, verdict, typed)
        else:
            found = await self.four.answer(channel, key, approval, verdict, digest, **fields)
        if channel == "sms":
            copy.used.add(key)
        if found not in expected.split("/"):
            wrong.append(f"{copy.channel} (by {channel}): {key} {words}: {found}, not {expected}")
        await self._look(copy)

    async def _fields(self, copy: Copy, verdict: str, more: list[str]) -> dict[str, Any]:
        chosen = await self._chosen(copy, int(more[more.index("item") + 1])) if "item" in more else {}
        match verdict:
            case "edit":
                return {"args": {"paths": [f"b{len(copy.shown)}"]}} | chosen
            case "ask":
                return {"text": "why?"}
            case "answer":
                return {"text": " ".join(more)}
            case "delegate":
                return {"to": more[-1]}
            case "approve_similar" | "grant":
                wanted = {"paths": {"is": ["a"]}} if "other" not in more else {"paths": {"is": ["z"]}}
                return {"args": wanted, "uses": 1, "minutes": 30}
        return chosen

    async def _chosen(self, copy: Copy, n: int) -> dict[str, Any]:
        row = await approvals.whole(self.four.db, copy.shown[-1][0])
        assert row is not None
        return {"items": [i["digest"] for i in row["items"] if i["step"] == n] or ["no such item"]}

    async def _channel(
        self, copy: Copy, key: str, verdict: str, approval: str, expected: str, fields: Mapping[str, Any]
    ) -> str:
        """The copy's own channel, where it has a way to give this answer; else the web."""
        if fields.get("items"):
            return "web"
        match copy.channel:
            case "slack":
                return "slack" if verdict in (*BUTTONS, "ask", "delegate") else "web"
            case "telegram":
                return "telegram" if verdict in BUTTONS else "web"
            case "sms" if verdict in CODES:
                own = key not in copy.used and await self.four.code(key, approval)
                return "sms" if own or expected == "refused" else "web"
        return "web"

    async def _it(self, copy: Copy, what: str, wrong: list[str]) -> None:
        db, said = self.four.db, what.split(" ")
        match said[0]:
            case "begins":
                expected = said[1] if len(said) > 1 else "go"
                found = [
                    await begin(self.four, step, step.approval_id, other="other" in said)
                    for step in await self._taken(copy)
                ]
                if set(found) != {expected}:
                    wrong.append(f"{copy.channel}: it begins with {found}, not {expected}")
            case "is" if said[1] == "idle":
                if await self._taken(copy):
                    wrong.append(f"{copy.channel}: it may be taken")
            case "is" if said[1] == "lost":
                for step in copy.begun:
                    await steps.fail(db, self.four.house.worker, step, "cut off", "error", None)
                await tasks.retry(db, copy.task, "person:dora")
                await db.execute("update steps set approval_id = $2 where task_id = $1", copy.task, UUID(copy.approval))
            case "goes":
                if (found_ := await self._again(copy, said[2:])) is not None:
                    wrong.append(f"{copy.channel}: it {what}: {found_}")
            case "is" if said[1] == "asked":  # the edited call, or one that drifted, comes back to the gate
                for step in copy.begun or await self._taken(copy):
                    await self.question.park(step, copy.channel)
                copy.begun = []
                await self.four.deliver()
                await self._look(copy)
            case "is" if said[1] == "swept":
                for approval in await approvals.due(db):
                    await approvals.expire(db, approval)
                for follower in await approvals.unled(db):
                    await approvals.follow(db, follower)
            case "is" if said[1] == "stopped":
                await tasks.cancel(db, copy.task, "person:dora", "no more")
            case _:
                raise AssertionError(f"row {self.row.number}: it {what}?")

    async def _phone(self, copy: Copy, said: list[str], wrong: list[str]) -> None:
        """What only a phone can do."""
        db, approval = self.four.db, copy.shown[-1][0]
        match said:
            case [key, "guesses", count]:
                for n in range(int(count)):
                    await self.four.by_sms(key, approval, "approve", f"{n}ZZZZZZZ")
            case [key, "has", "the", "phone", "of", other]:
                await db.execute(
                    "update identities set principal_id = $1 where channel = 'sms' and external_id = $2",
                    self.four.people[key].id, phone_of(other),
                )  # fmt: skip
            case [key, "with", "the", "code", "of", other, expected]:
                code = await self.four.code(other, approval)
                assert code, f"no code went to {other}"
                if (found := await self.four.by_sms(key, approval, "approve", code)) != expected:
                    wrong.append(f"sms: {key} with the code of {other}: {found}, not {expected}")
            case _:
                raise AssertionError(f"row {self.row.number}: sms {said}?")

    async def _again(self, copy: Copy, said: list[str]) -> str | None:
        """The same call by another task, which has nothing but the permission; None when it goes as the row says."""
        db = self.four.db
        expected = "grant" if said[-1:] == ["grant"] else "go"
        by = said[said.index("by") + 1] if "by" in said else self.row.asks.get("by", "dora")
        task = await self.question.task({"by": by})
        self.claimed += await steps.claim(db, self.four.house.worker, "default", 16)
        [step] = [step for step in self.claimed if step.task_id == task]
        grant = await db.fetchval(
            "select g.id from grants g join approvals a on a.id = g.approval_id where a.task_id = $1", copy.task
        )
        if grant is None:
            return "nothing was given"
        action = {
            "skill": "files.list" if "skill" in said else "files.delete", "version": "2" if "version" in said else "1",
            "schema_hash": "g" if "schema" in said else "h", "args": {"paths": ["b"] if "b" in said else ["a"]},
        }  # fmt: skip
        found = await steps.begin(
            db, self.four.house.worker, step, key=f"again:{step.task_id}", digest="d", action=action, approval=None,
            grant=str(grant),
        )  # fmt: skip
        return None if found == expected else f"{found}, not {expected}"

    async def _taken(self, copy: Copy) -> list[Claimed]:
        """The copy's steps that a worker may take now."""
        self.claimed += await steps.claim(self.four.db, self.four.house.worker, "default", 16)
        copy.begun = [step for step in self.claimed if step.task_id in (copy.task, copy.other_task)]
        self.claimed = [step for step in self.claimed if step not in copy.begun]
        return copy.begun

    async def _look(self, copy: Copy) -> None:
        """Which card people see now: the newest of the task that is asked about, or was."""
        newest = await self.four.db.fetchrow(
            "select id, digest from approvals where task_id = $1 order by status = 'pending' desc, created_at desc, n limit 1",
            copy.task,
        )
        if (
            newest is not None
            and str(newest["id"]) not in [a for a, _ in copy.shown]
            and await self._is_pending(newest["id"])
        ):
            copy.shown.append((str(newest["id"]), newest["digest"]))
            await self.four.deliver()

    async def _is_pending(self, approval: Any) -> bool:
        found: bool = await self.four.db.fetchval("select status = 'pending' from approvals where id = $1", approval)
        return found

    async def _status(self, copy: Copy) -> str:
        """Of the newest card; with a second task of the same ask also of that one."""
        found = await self.four.db.fetchval(
            "select string_agg(distinct status, '+' order by status) from approvals"
            " where task_id = any ($1) and status <> 'superseded'",
            [t for t in (copy.task, copy.other_task) if t],
        )
        return str(found or "superseded")

    async def _votes(self, copy: Copy) -> int:
        found: int = await self.four.db.fetchval(
            "select count(*) from decisions d where d.verdict = any (votes()) and d.approval_id = $1::text::uuid",
            copy.shown[-1][0],
        )
        return found


async def happened(four: Four, key: str, what: str) -> bool:
    """Something that concerns people; False when it is none of these."""
    db, who = four.db, four.people[key].id
    said = what.split(" ")
    match said:
        case ["leaves"]:
            await db.execute("update principals set is_active = false where id = $1", who)
        case ["loses", "the", "role"]:
            await db.execute("update principals set roles = '{}' where id = $1", who)
        case ["becomes", role]:
            await db.execute("update principals set roles = array[$2] where id = $1", who, role)
        case ["is", other]:  # two accounts turn out to be one person's
            await db.execute(
                "update identities set principal_id = $2 where principal_id = $1 and channel = 'slack'",
                who, four.people[other].id,
            )  # fmt: skip
        case ["sits", "for", other]:
            await db.execute(
                "select away_v1($1, $2, sayso_now() + interval '3 days', false)", four.people[other].id, who
            )
        case ["is", "back", "again"]:
            await db.execute("select back_v1($1)", who)
        case ["revokes"]:
            for row in await db.fetch("select id from grants where revoked_at is null"):
                await grants.revoke(db, str(row["id"]), who, is_owner=False)
        case _:
            return False
    return True


def main() -> None:
    for row in rows():
        print(f"{row.number:3}. {row.says}\n     {row.story}\n     without: {row.kills['in']}: {row.kills['was']!r}")


if __name__ == "__main__":
    main()
