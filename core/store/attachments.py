"""What came with messages: rows that a bot fetches, that a worker hears where they are voices, and that turns read.

Claims are leases: `due_at` moves on, so what a dead process had taken comes due again. Every other function is part of its
caller's commit. Bytes are read only where they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from core import config
from core.db import Db
from core.models import Attached, AttachmentKind

# No event can have this name (core/waits.py), and `has_arrived` knows it.
WAITS_KEY: Final = "#attachments"
State = Literal["wanted", "here", "refused", "lost"]
_BRIEF = "id, inbound_id, task_id, channel, ref, name, mime, size, kind, is_own, state, why, words, tries, created_at"


@dataclass(frozen=True, slots=True)
class Attachment:
    """One row without its bytes. `tries` counts the claims since it last got further."""

    id: int
    inbound_id: int
    task_id: int | None
    channel: str
    ref: str
    name: str
    mime: str
    size: int | None
    kind: AttachmentKind
    is_own: bool
    state: State
    why: str
    words: str | None
    tries: int
    created_at: datetime


def _one(row: Mapping[str, Any] | None) -> Attachment | None:
    return Attachment(**row) if row else None


# ---------------------------------------------------------------- in


async def add(
    db: Db, inbound: int, n: int, task: int | None, channel: str, one: Attached, state: State, why: str
) -> int:
    """`one` is clean already. What is here or refused is settled; a voice that is here has yet to be heard."""
    made: int = await db.fetchval(
        "insert into attachments (inbound_id, n, task_id, channel, ref, name, mime, size, kind, is_own, album, state, why,"
        " content, due_at, settled_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,"
        " case when $12 = 'wanted' or $12 = 'here' and $9 = 'voice' then now() end,"
        " case when $12 = 'wanted' or $12 = 'here' and $9 = 'voice' then null else sayso_now() end) returning id",
        inbound, n, task, channel, one.ref, one.name, one.mime, one.size, one.kind, one.is_own, one.album, state, why,
        one.content,
    )  # fmt: skip
    return made


async def album_task(db: Db, principal: int, album: str) -> int | None:
    """The task that the rest of this album went to."""
    found: int | None = await db.fetchval(
        "select a.task_id from attachments a join inbound i on i.id = a.inbound_id"
        " where i.principal_id = $1 and a.album = $2 and a.task_id is not null"
        " and i.received_at > now() - make_interval(secs => $3) limit 1",
        principal, album, config.ATTACHMENT_LOOSE_S,
    )  # fmt: skip
    return found


async def give_loose(db: Db, principal: int, conversation: int, task: int) -> None:
    """What the person sent here without words, a while ago at most, belongs to this task; so do the messages it came with.

    Here is this thread, or all of a direct conversation. A recording that is not heard yet has words: those say where it goes.
    """
    await db.execute(
        "with given as (update attachments a set task_id = $3 from inbound i where i.id = a.inbound_id"
        "   and i.principal_id = $1 and a.task_id is null and i.conversation_id in (select o.id from conversations h"
        "     join conversations o on o.channel = h.channel and o.external_id = h.external_id"
        "      and (o.id = h.id or o.is_private and h.is_private) where h.id = $2)"
        "   and i.received_at > now() - make_interval(secs => $4)"
        "   and not exists (select from unheard u where u.inbound_id = i.id) returning a.inbound_id)"
        " update inbound set task_id = $3 where task_id is null and id in (select inbound_id from given)",
        principal, conversation, task, config.ATTACHMENT_LOOSE_S,
    )  # fmt: skip


# ---------------------------------------------------------------- on the way


async def claim(db: Db, state: Literal["wanted", "here"], channels: Sequence[str] | None = None) -> list[Attachment]:
    """What is due in this state, now ours for a lease: to be fetched from these channels, or to be heard."""
    rows = await db.fetch(
        "with due as (select id from attachments where due_at <= now() and state = $1"
        "   and ($2::text[] is null or channel = any ($2)) order by due_at limit $3 for update skip locked)"
        " update attachments a set due_at = now() + make_interval(secs => $4), tries = a.tries + 1 from due"
        f" where a.id = due.id returning {', '.join('a.' + name for name in _BRIEF.split(', '))}",
        state, list(channels) if channels is not None else None, config.ATTACHMENTS_BATCH, config.ATTACHMENT_LEASE_S,
    )  # fmt: skip
    return [Attachment(**r) for r in rows]


async def later(db: Db, attachment: int, in_s: float, *, charged: bool = True) -> None:
    """Not yet: to be claimed again after a while. Not `charged`: this try does not count."""
    await db.execute(
        "update attachments set due_at = now() + make_interval(secs => $2),"
        " tries = case when $3 then tries else tries - 1 end where id = $1 and due_at is not null",
        attachment, in_s, charged,
    )  # fmt: skip


async def hold_spoken(db: Db, attachment: int) -> None:
    """Hold the spoken message that it came with, if that is not answered yet. Whoever answers that holds it, and then all that
    came with it: so it is held before one of those changes."""
    await db.execute(
        "select from unheard where inbound_id = (select inbound_id from attachments where id = $1) for update",
        attachment,
    )


async def came(db: Db, attachment: int, content: bytes, mime: str) -> Attachment | None:
    """The bytes are here. A voice is then to be heard, everything else is settled. None: it was settled before."""
    return _one(
        await db.fetchrow(
            "update attachments set state = 'here', content = $2, mime = $3, size = $4, tries = 0,"
            " due_at = case when kind = 'voice' then now() end,"
            " settled_at = case when kind = 'voice' then null else sayso_now() end"
            f" where id = $1 and state = 'wanted' returning {_BRIEF}",
            attachment, content, mime, len(content),
        )
    )  # fmt: skip


async def read_as(db: Db, attachment: int, words: str, why: str) -> None:
    """What a file says in plain text, so that it is read once; or why it says nothing, or not all of it."""
    await db.execute(
        "update attachments set words = $2, why = $3 where id = $1 and words is null and state = 'here'",
        attachment, words, why,
    )  # fmt: skip


async def heard(db: Db, attachment: int, words: str) -> Attachment | None:
    """What a voice says; its bytes may never have been needed."""
    return _one(
        await db.fetchrow(
            "update attachments set state = 'here', words = $2, due_at = null, settled_at = sayso_now()"
            f" where id = $1 and due_at is not null returning {_BRIEF}",
            attachment, words,
        )
    )  # fmt: skip


async def over(db: Db, attachment: int, why: str, state: Literal["refused", "lost"]) -> Attachment | None:
    """It does not come, in this way; or it came, and can't be heard: then it stays here."""
    return _one(
        await db.fetchrow(
            "update attachments set state = case when state = 'here' then state else $3 end, why = $2, due_at = null,"
            f" settled_at = sayso_now() where id = $1 and due_at is not null returning {_BRIEF}",
            attachment, why, state,
        )
    )  # fmt: skip


async def steps_waiting(db: Db, task: int) -> list[int]:
    """The steps of a task that wait for what is attached. Holds the task, so that a step which is about to wait is either
    seen here or sees what the caller's commit settles."""
    await db.execute("select from tasks where id = $1 for update", task)
    return [
        r["n"]
        for r in await db.fetch(
            "select n from steps where task_id = $1 and status = 'waiting' and waits_key = $2", task, WAITS_KEY
        )
    ]


async def awaited_s(db: Db, task: int, most_s: float) -> float:
    """For how many seconds more a turn of the task should wait for what is on its way; 0 when nothing is."""
    left: float | None = await db.fetchval(
        "select extract(epoch from max(created_at) + make_interval(secs => $2) - sayso_now())::float8 from attachments"
        " where task_id = $1 and due_at is not null",
        task, most_s,
    )  # fmt: skip
    return max(left or 0.0, 0.0)


# ---------------------------------------------------------------- spoken messages


async def listen(db: Db, inbound: int, answers_to: str, *, addressed: bool) -> None:
    """The message is answered when its voices are heard."""
    await db.execute("insert into unheard values ($1, $2, $3)", inbound, answers_to, addressed)


@dataclass(frozen=True, slots=True)
class Spoken:
    """A message all of whose voices are settled. `voices` are (words, why not) in their order."""

    inbound_id: int
    principal_id: int
    conversation_id: int
    text: str
    answers_to: str
    is_addressed: bool
    voices: list[tuple[str | None, str]]


async def all_heard(db: Db, inbound: int) -> Spoken | None:
    """The spoken message, taken for answering; None while a voice of it is open, or when it was answered."""
    # The lock first: of two voices settled at once, the one that comes second sees both.
    if await db.fetchval("select 1 from unheard where inbound_id = $1 for update", inbound) is None:
        return None
    voices = await db.fetch(
        "select words, why, due_at is not null as open from attachments where inbound_id = $1 and kind = 'voice' and is_own"
        " order by n",
        inbound,
    )
    if any(v["open"] for v in voices):
        return None
    row = await db.fetchrow(
        "with taken as (delete from unheard where inbound_id = $1 returning *)"
        " select i.id as inbound_id, i.principal_id, i.conversation_id, i.body as text, u.answers_to, u.is_addressed"
        " from taken u join inbound i on i.id = u.inbound_id",
        inbound,
    )
    return Spoken(**row, voices=[(v["words"], v["why"]) for v in voices])


async def put_into_words(db: Db, inbound: int, text: str) -> None:
    """The message says this, as if it had been typed."""
    await db.execute("update inbound set body = $2 where id = $1", inbound, text)


async def conversation_of(db: Db, inbound: int) -> int | None:
    found: int | None = await db.fetchval("select conversation_id from inbound where id = $1", inbound)
    return found


async def of_message(db: Db, inbound: int, task: int) -> None:
    """What came with a message belongs to the task that it led to."""
    await db.execute("update attachments set task_id = $2 where inbound_id = $1", inbound, task)


# ---------------------------------------------------------------- out


async def of_task(db: Db, task: int, until: datetime | None = None) -> list[Attachment]:
    """What belongs to a task, in the order in which it came. `until`: settled by then.

    A fork has what is its origin's, which its requester could see; and so on, as long as they made each fork themselves.
    """
    rows = await db.fetch(
        "with recursive origins as (select id, forked_from, requester_id from tasks where id = $1"
        "   union all select t.id, t.forked_from, t.requester_id from tasks t join origins o on t.id = o.forked_from"
        "   where o.requester_id = (select requester_id from tasks where id = $1))"
        f" select {_BRIEF} from attachments where task_id in (select id from origins)"
        " and ($2::timestamptz is null or settled_at <= $2) order by id",
        task, until,
    )  # fmt: skip
    return [Attachment(**r) for r in rows]


async def content(db: Db, attachment: int, offset: int = 0, most: int = config.ATTACHMENT_BYTES) -> bytes:
    """Some of its bytes."""
    found: bytes | None = await db.fetchval(
        "select substring(content from $2::integer + 1 for $3::integer) from attachments where id = $1",
        attachment, offset, most,
    )  # fmt: skip
    return found or b""


async def shown(db: Db, attachment: int) -> Attachment | None:
    return _one(await db.fetchrow(f"select {_BRIEF} from attachments where id = $1", attachment))


async def is_from(db: Db, attachment: int, person: int) -> bool:
    """Whether this human sent it, by whichever account of theirs."""
    found: bool = await db.fetchval(
        "select exists (select from attachments a join inbound i on i.id = a.inbound_id"
        " where a.id = $1 and person_of(i.principal_id) = person_of($2))",
        attachment, person,
    )  # fmt: skip
    return found
