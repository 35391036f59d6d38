"""Conversations, what came in through them, and the messages on their way out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core import config
from core.db import Db
from core.models import Channel, Inbound, Place


@dataclass(frozen=True, slots=True)
class Conversation:
    id: int
    channel: str
    external_id: str
    thread: str
    is_private: bool

    @property
    def place(self) -> Place:
        return Place(
            channel=Channel(self.channel), external_id=self.external_id, thread=self.thread, private=self.is_private
        )


async def ensure(db: Db, place: Place) -> int:
    """The conversation's row, made when it is new."""
    made: int = await db.fetchval(
        "insert into conversations (channel, external_id, thread, is_private, title) values ($1, $2, $3, $4, $5)"
        " on conflict (channel, external_id, thread) do update set title ="
        " case when excluded.title = '' then conversations.title else excluded.title end returning id",
        place.channel, place.external_id, place.thread, place.private, place.title,
    )  # fmt: skip
    return made


async def find(db: Db, channel: str, external_id: str, thread: str = "") -> int | None:
    """The conversation's row, if anything was ever said there."""
    found: int | None = await db.fetchval(
        "select id from conversations where channel = $1 and external_id = $2 and thread = $3",
        channel,
        external_id,
        thread,
    )
    return found


async def is_member(db: Db, conversation: int, principal: int) -> bool:
    """Whether the person has spoken there."""
    found: bool = await db.fetchval(
        "select exists (select from inbound where conversation_id = $1 and principal_id = $2)", conversation, principal
    )
    return found


async def by_id(db: Db, conversation: int) -> Conversation | None:
    row = await db.fetchrow(
        "select id, channel, external_id, thread, is_private from conversations where id = $1", conversation
    )
    return Conversation(**row) if row else None


async def moved(db: Db, channel: str, was: str, is_now: str) -> int:
    """A group has another id from now on; what is open in it is posted anew. Answers how many conversations moved."""
    count: int = await db.fetchval("select conversation_moved_v1($1, $2, $3)", channel, was, is_now)
    return count


# ---------------------------------------------------------------- in


async def record(db: Db, inbound: Inbound, principal: int | None, conversation: int | None) -> int | None:
    """The inbound's row; None when this delivery is known already."""
    made: int | None = await db.fetchval(
        "insert into inbound (channel, delivery_id, kind, principal_id, conversation_id, body, foreign_text, message_ref)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing returning id",
        inbound.channel, inbound.delivery_id, "hook" if inbound.channel == "hook" else "message", principal, conversation,
        inbound.text, list(inbound.foreign), inbound.message_ref,
    )  # fmt: skip
    return made


async def record_press(db: Db, channel: str, delivery_id: str, principal: int, task: int, verb: str) -> bool:
    """Whether this press is new."""
    made = await db.fetchval(
        "insert into inbound (channel, delivery_id, kind, principal_id, body, task_id)"
        " values ($1, $2, 'press', $3, $4, $5) on conflict do nothing returning id",
        channel, delivery_id, principal, verb, task,
    )  # fmt: skip
    return made is not None


async def give(db: Db, inbound: int, task: int, *, without_quotes: bool) -> None:
    """What was said belongs to this task; `without_quotes` when all it quotes is our own card."""
    await db.execute(
        "update inbound set task_id = $2, foreign_text = case when $3 then '[]' else foreign_text end where id = $1",
        inbound, task, without_quotes,
    )  # fmt: skip


async def task_of_delivery(db: Db, channel: str, delivery_id: str) -> int | None:
    found: int | None = await db.fetchval(
        "select task_id from inbound where channel = $1 and delivery_id = $2", channel, delivery_id
    )
    return found


async def own_words(db: Db, task: int) -> list[str]:
    """What the requester wrote that this task comes from: its inbound, and what they said in it since. Not a hook's text:
    it is filled with what a body said. Nor the words that made a fork, which want nothing new."""
    rows = await db.fetch(
        "select i.body from inbound i join tasks t on t.id = $1"
        " where (i.id = t.inbound_id or i.task_id = $1) and i.principal_id = t.requester_id and i.kind = 'message'"
        " and (t.forked_from is null or i.id is distinct from (select min(f.id) from inbound f where f.task_id = $1))"
        " order by i.id",
        task,
    )
    return [r["body"] for r in rows]


async def foreign_words(db: Db, task: int) -> list[str]:
    """What came along with the task's messages and was written by others: quotes, forwards, a hook's text; in a fork of
    another's task also what that other had asked for."""
    rows = await db.fetch(
        "select case when i.kind = 'message' and i.id = t.inbound_id and i.principal_id is distinct from t.requester_id"
        "   then 'hook' else i.kind end as kind, i.body, i.foreign_text from inbound i join tasks t on t.id = $1"
        " where (i.id = t.inbound_id or i.task_id = $1) and i.kind <> 'press' order by i.id",
        task,
    )
    return [text for r in rows for text in [*(r["foreign_text"] or []), *([r["body"]] if r["kind"] == "hook" else [])]]


async def own_recent(
    db: Db, conversation: int, principal: int, limit: int, *, until: datetime | None = None
) -> list[str]:
    """What one person last wrote in a conversation, oldest first; `until` as it was then."""
    rows = await db.fetch(
        "select body from (select id, body from inbound where conversation_id = $1 and principal_id = $2"
        " and kind = 'message' and ($4::timestamptz is null or received_at <= $4) order by id desc limit $3) m order by id",
        conversation, principal, limit, until,
    )  # fmt: skip
    return [r["body"] for r in rows]


async def recent(db: Db, conversation: int, limit: int) -> list[dict[str, Any]]:
    """The last messages of a conversation in both directions, oldest first."""
    rows = await db.fetch(
        "select * from ("
        " select 'in' as direction, i.id, i.received_at as at, i.body as text, p.name as who, null::bigint as card_id,"
        "   null as subject, null::bigint as task_id, null::uuid as approval_id,"
        "   (select jsonb_agg(jsonb_build_object('id', a.id, 'name', a.name) order by a.n) from attachments a"
        "     where a.inbound_id = i.id) as files, null as link from inbound i"
        "   left join principals p on p.id = i.principal_id where i.conversation_id = $1 and i.kind = 'message'"
        " union all"
        " select 'out', o.id, o.created_at, o.body ->> 'text', '', o.card_id, k.subject, k.task_id, k.approval_id, null,"
        "   o.body ->> 'link'"
        "   from outbox o left join cards k on k.id = o.card_id where o.conversation_id = $1"
        "   and o.kind <> 'file' and (o.card_id is null or o.id = (select min(f.id) from outbox f where f.card_id = o.card_id"
        "        and f.conversation_id = $1))"
        " ) m order by at desc, direction desc, id desc limit $2",
        conversation, limit,
    )  # fmt: skip
    return [dict(r) | {"approval_id": str(r["approval_id"]) if r["approval_id"] else None} for r in reversed(rows)]


# ---------------------------------------------------------------- out


async def say(db: Db, conversation: int, text: str, *, dedup: str | None = None, link: str | None = None) -> None:
    """A message of words; the same `dedup` twice is said once. `link` names the one whose secret is filled in when it leaves."""
    await db.execute(
        "insert into outbox (conversation_id, kind, body, dedup) values ($1, 'text', $2, $3) on conflict (dedup) do nothing",
        conversation, {"text": text} | ({"link": link} if link else {}), dedup,
    )  # fmt: skip


async def said_to(db: Db, inbound: int) -> list[str]:
    """What was answered to a message in its own commit, without what holds a secret."""
    rows = await db.fetch(
        "select o.body ->> 'text' as text from inbound i join outbox o on o.conversation_id = i.conversation_id"
        " where i.id = $1 and o.created_at = i.received_at and o.kind = 'text' and not o.body ? 'link' order by o.id",
        inbound,
    )
    return [r["text"] for r in rows]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that this courier has claimed. `card_ref` is the vendor's id of the card once it was posted, `shown_hash` that
    of what it shows there, where that is certain."""

    id: int
    kind: str
    body: dict[str, Any] | None
    attempts: int
    conversation: Conversation
    card_id: int | None
    subject: str | None
    task_id: int | None
    approval_id: str | None
    card_ref: str | None
    wanted: int
    shown_hash: str | None

    @property
    def answers(self) -> int | None:
        """The task whose answer it is, whole and final."""
        return int(self.body["task"]) if self.body and "task" in self.body else None


def _outgoing(r: Mapping[str, Any]) -> Outgoing:
    return Outgoing(
        id=r["id"],
        kind=r["kind"],
        body=r["body"],
        attempts=r["attempts"],
        conversation=Conversation(r["conversation_id"], r["channel"], r["external_id"], r["thread"], r["is_private"]),
        card_id=r["card_id"],
        subject=r["subject"],
        task_id=r["task_id"],
        approval_id=str(r["approval_id"]) if r["approval_id"] else None,
        card_ref=r["card_ref"],
        wanted=r["wanted"] or 0,
        shown_hash=r["shown_hash"],
    )


async def any_to_deliver(db: Db) -> bool:
    """Whether a message could leave or is to be looked up now: what an idle courier asks."""
    found: bool = await db.fetchval(
        "select exists (select from outbox where status in ('pending', 'sending', 'unknown')"
        " and (status = 'unknown' or status = 'pending' and next_at <= now()))"
    )
    return found


async def claim_messages(
    db: Db, channels: Sequence[str], limit: int, lease_s: float, hold_s: float = 0.0
) -> list[Outgoing]:
    """The oldest waiting message of each conversation on these channels. The first post of the card of a task that works is
    left for `hold_s`: if the task is over by then, it is its only one."""
    rows = await db.fetch("select * from claim_messages_v1($1, $2, $3, $4)", list(channels), limit, lease_s, hold_s)
    return [_outgoing(r) for r in rows]


async def sent(
    db: Db, message: int, ref: str | None, shown: int, shown_hash: str | None = None, *, is_shortened: bool = False
) -> None:
    """`is_shortened`: the chat does not show all of its words, so they follow as a file."""
    await db.execute(
        "select message_sent_v1($1, $2, $3, $4, $5, $6)",
        message, ref, shown, shown_hash, config.CARD_TICK_S, is_shortened,
    )  # fmt: skip


async def tick(db: Db) -> int:
    """Have the cards of work that goes on shown anew, now that time has gone by; answers how many."""
    ticked: int = await db.fetchval("select tick_cards_v1($1)", config.CARDS_TICKED_MOST)
    return ticked


async def not_sent(db: Db, message: int, error: str, retry_s: float | None, *, charged: bool = True) -> None:
    """Not sent for certain: again after `retry_s`, dead when that is None. Not `charged`: the try does not count."""
    await db.execute("select message_failed_v1($1, $2, $3, $4)", message, error, retry_s, charged)


async def maybe_sent(db: Db, message: int, error: str) -> None:
    await db.execute("select message_unknown_v1($1, $2)", message, error)


async def show_again(db: Db, card: int) -> None:
    """Have the card edited to its present state."""
    await db.execute(
        "insert into outbox (conversation_id, card_id, kind) select conversation_id, id, 'card' from cards where id = $1"
        " on conflict (card_id) where status = 'pending' and card_id is not null do update set kind = excluded.kind where false",
        card,
    )


async def cards_of(db: Db, channel: str, asked: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Where the approvals' cards stand in a channel: (the place, the vendor's id of the message), by approval."""
    rows = await db.fetch(
        "select k.approval_id, c.external_id, k.provider_ref from cards k join conversations c on c.id = k.conversation_id"
        " where k.approval_id = any ($2) and c.channel = $1 and k.provider_ref is not null order by k.id",
        channel, [UUID(one) for one in asked],
    )  # fmt: skip
    found: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        found.setdefault(str(row["approval_id"]), []).append((row["external_id"], row["provider_ref"]))
    return found


async def strand(db: Db) -> list[int]:
    """Mark messages whose sender is gone as unknown."""
    return [r[0] for r in await db.fetch("select * from stranded_messages_v1()")]


async def unknown_messages(db: Db, channels: Sequence[str]) -> list[Outgoing]:
    """Messages of which it is not known whether the chat has them."""
    rows = await db.fetch(
        "select m.id, m.kind, m.body, m.attempts, m.conversation_id, c.channel, c.external_id, c.thread, c.is_private,"
        " m.card_id, k.subject, k.task_id, k.approval_id, k.provider_ref as card_ref, k.wanted, k.shown_hash from outbox m"
        " join conversations c on c.id = m.conversation_id left join cards k on k.id = m.card_id"
        " where m.status = 'unknown' and c.channel = any ($1) order by m.id limit $2",
        list(channels), config.MESSAGES_BATCH,
    )  # fmt: skip
    return [_outgoing(r) for r in rows]
