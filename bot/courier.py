"""Delivers the outbox: per conversation in order, cards rendered from the rows as they are when they leave.

It claims messages, has the channel's sender post or edit them, and writes down what came of it: where a chat shows less
than all words, also that a file is to follow. It waits for a bell and polls behind it. A lost answer is looked up where the
vendor allows; an edit is simply sent again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from bot.sending import DraftGone, Drafting, Filing, MaybeSent, NotSent, Sender
from core import cards, config, linking
from core.db import DATABASE_AWAY, Pool
from core.measures import Measures
from core.ring import OUTBOX_BELL, Bell
from core.state import backoff_s
from core.store import approvals, conversations, drafts, tasks
from core.store.conversations import Outgoing

log = logging.getLogger(__name__)

# Where an edit of the run card makes no sound: the answer of a planned task is a message of its own (see move_task).
ANSWERED_APART = frozenset({"slack", "telegram"})


class Courier:
    def __init__(
        self,
        db: Pool,
        redis_url: str,
        senders: Sequence[Sender],
        mask: Callable[[str], str],
        measures: Measures | None = None,
        *,
        key: bytes = b"",
    ) -> None:
        """`key` is SAYSO_SECRET_KEY; without the right one no link in words is good."""
        self._db, self._redis_url, self._mask, self._measures = db, redis_url, mask, measures or Measures()
        self._key = key
        self._senders = {sender.channel: sender for sender in senders}
        self._edited_at: dict[int, float] = {}
        self._look_at: dict[int, float] = {}
        self._came_round_at = time.monotonic()

    def is_stuck(self) -> bool:
        """Whether its rounds, each of which is bounded, have stopped."""
        return time.monotonic() - self._came_round_at > config.COURIER_STUCK_S

    async def run(self) -> None:
        """Deliver for ever. After a bell it looks again before long: a receipt may have been left for a quick task's end."""
        rang = True
        async with Bell(self._redis_url, OUTBOX_BELL) as bell:
            while True:
                self._came_round_at = time.monotonic()
                try:
                    while (rang or await conversations.any_to_deliver(self._db)) and await self.deliver(
                        config.RECEIPT_HOLD_S
                    ):
                        continue
                except DATABASE_AWAY as error:
                    log.warning("cannot deliver: %s", type(error).__name__)
                rang = await bell.wait(config.RECEIPT_HOLD_S if rang else config.COURIER_POLL_S)

    async def _give_way(self) -> int:
        """What comes in goes first: while this process is kept busy, nothing goes out, for a second at most, and then little
        at a time. Answers how many messages may leave together."""
        for waited in range(config.GIVE_WAY_MOST):
            began = time.monotonic()
            await asyncio.sleep(0)
            if time.monotonic() - began < config.LOOP_BUSY_S:
                return config.MESSAGES_BATCH_BUSY if waited else config.MESSAGES_BATCH
            await asyncio.sleep(config.GIVE_WAY_S)
        return config.MESSAGES_BATCH_BUSY

    async def deliver(self, hold_s: float = 0.0) -> int:
        """One round over all conversations; answers how many messages were claimed."""
        most = await self._give_way()
        self._came_round_at = time.monotonic()
        channels = list(self._senders)
        for message in await conversations.unknown_messages(self._db, channels):
            await self._look_up(message)
        claimed = await conversations.claim_messages(self._db, channels, most, config.MESSAGE_LEASE_S, hold_s)
        await asyncio.gather(*(self._send(message) for message in claimed))
        return len(claimed)

    async def _send(self, message: Outgoing) -> None:
        sender = self._senders[message.conversation.channel]
        if message.card_ref is not None and (early_s := self._must_wait_s(message)):
            await conversations.not_sent(self._db, message.id, "edited a moment ago", early_s, charged=False)
            return
        try:
            async with asyncio.timeout(config.SEND_TIMEOUT_S):
                content = await self._content(message)
                ref, shown_hash = await self._hand_over(sender, message, content)
        except NotSent as error:
            await self._put_back(message, error)
        except (MaybeSent, TimeoutError) as error:
            await conversations.maybe_sent(self._db, message.id, str(error) or "no answer in time")
            self._count(message, "unknown")
        except Exception as error:
            log.exception("message %s could not be sent", message.id)
            await self._put_back(message, NotSent(type(error).__name__, config.MESSAGE_RETRY_FIRST_S))
        else:
            await self._sent(message, ref, shown_hash, is_shortened=_is_shortened(sender, message, content))

    async def _sent(self, message: Outgoing, ref: str | None, shown_hash: str | None, *, is_shortened: bool) -> None:
        """Write it down, again while the database is away and the message is ours: else its chat would be asked for it."""
        deadline = time.monotonic() + config.MESSAGE_LEASE_S
        while True:
            try:
                await conversations.sent(
                    self._db, message.id, ref, message.wanted, shown_hash, is_shortened=is_shortened
                )
                if message.answers is not None:
                    await drafts.forget(self._db, message.answers, message.conversation.id)
                self._count(message, "sent")
                return
            except DATABASE_AWAY as error:
                if time.monotonic() > deadline:
                    raise
                log.warning("message %s is sent, not yet written: %s", message.id, type(error).__name__)
                await asyncio.sleep(config.MESSAGE_RETRY_FIRST_S)

    def _count(self, message: Outgoing, outcome: str) -> None:
        self._measures.count("messages_total", message.conversation.channel, outcome)

    async def _hand_over(
        self, sender: Sender, message: Outgoing, content: cards.Card | str
    ) -> tuple[str | None, str | None]:
        """The vendor's id of it, and of a card the hash of what is shown. An edit that would change nothing is not sent."""
        if isinstance(content, str):
            if message.kind == "file" and isinstance(sender, Filing):
                return await sender.post_file(message.conversation, content, message.id), None
            if message.answers is not None and isinstance(sender, Drafting):
                return await self._hand_over_answer(sender, message, message.answers, content), None
            return await sender.post(message.conversation, content, message.id), None
        shown_hash = content.fingerprint()
        if message.card_ref is None:
            return await sender.post(message.conversation, content, message.id), shown_hash
        if shown_hash != message.shown_hash:
            await sender.edit(message.conversation, message.card_ref, content)
        return message.card_ref, shown_hash

    async def _hand_over_answer(self, sender: Drafting, message: Outgoing, task: int, text: str) -> str:
        """In place of the draft that shows it, if there is one."""
        draft = await drafts.live(self._db, task, message.conversation.id)
        if draft is not None and draft.is_busy:
            raise NotSent("its draft is being shown", config.DRAFT_GAP_S, charged=False)
        if draft is not None and draft.ref is not None:
            try:
                return await sender.finish(message.conversation, draft.ref, text, message.id)
            except DraftGone:
                log.info("the draft of task %s is gone", task)
        return await sender.post(message.conversation, text, message.id)

    async def _content(self, message: Outgoing) -> cards.Card | str:
        """What it says. A row that cannot be shown ends this message, and only this one."""
        try:
            if message.kind in ("text", "file"):
                return self._mask(await self._words(message))
            card = await self._render(message)
            if card is not None:
                return card.masked(self._mask)
        except cards.UNSHOWABLE as error:
            raise NotSent(f"it cannot be shown, its row is unreadable: {type(error).__name__}", None) from error
        raise NotSent("its subject is gone", None)

    async def _words(self, message: Outgoing) -> str:
        """Its own text, or the answer of the task that it names."""
        if message.answers is None:
            said = message.body or {}
            text = str(said.get("text", ""))
            return linking.with_secret(text, said["link"], self._key) if said.get("link") else text
        task = await tasks.whole(self._db, message.answers)
        text = cards.answer_text(task) if task else ""
        if not text:
            raise NotSent("there is nothing to say", None)
        return text

    async def _render(self, message: Outgoing) -> cards.Card | None:
        if message.subject == "approval" and message.approval_id:
            approval = await approvals.whole(self._db, message.approval_id)
            return cards.approval_card(approval, is_shared=not message.conversation.is_private) if approval else None
        task = await tasks.whole(self._db, message.task_id or 0)
        if task is None:
            return None
        if task["status"] == "succeeded" and any(step["effect_state"] == "done" for step in task["steps"]):
            task["can_undo"] = await tasks.undoable_step(self._db, int(task["id"])) is not None
        apart = message.conversation.channel in ANSWERED_APART
        return cards.task_card(task, now=datetime.now(UTC), answered_apart=apart and task["kind"] == "plan")

    def _must_wait_s(self, message: Outgoing) -> float:
        """Seconds until this card may be edited: vendors refuse more than one edit a second of one message."""
        card, now = message.card_id or 0, time.monotonic()
        early_s = self._edited_at.get(card, 0.0) + config.CARD_EDIT_GAP_S - now
        if early_s > 0 and message.conversation.channel != "web":
            return early_s
        if len(self._edited_at) > config.CARDS_REMEMBERED:
            self._edited_at.clear()
        self._edited_at[card] = now
        return 0.0

    async def _put_back(self, message: Outgoing, error: NotSent) -> None:
        if error.retry_s is None or (error.charged and message.attempts >= config.MESSAGE_ATTEMPTS):
            log.error("message %s is given up: %s", message.id, error.why)
            self._count(message, "dead")
            await conversations.not_sent(self._db, message.id, error.why, None)
            return
        if not error.charged:
            await conversations.not_sent(self._db, message.id, error.why, error.retry_s, charged=False)
            return
        pause_s = backoff_s(message.attempts, first_s=config.MESSAGE_RETRY_FIRST_S, most_s=config.MESSAGE_RETRY_MOST_S)
        await conversations.not_sent(self._db, message.id, error.why, max(error.retry_s, pause_s))

    async def _look_up(self, message: Outgoing) -> None:
        """It is not known whether the chat has it: found, sent again when it is a card's edit, or sent anew."""
        sender = self._senders[message.conversation.channel]
        if message.card_ref is None:
            if time.monotonic() < self._look_at.get(message.id, 0.0):
                return
            try:
                ref = await sender.find(message.conversation, message.id)
            except (NotSent, MaybeSent) as error:
                if isinstance(error, NotSent) and error.retry_s is None:
                    await self._put_back(message, error)
                    return
                log.info("message %s cannot be looked up yet: %s", message.id, error)
                if isinstance(error, NotSent):
                    now = time.monotonic()
                    self._look_at = {one: at for one, at in self._look_at.items() if at > now}
                    self._look_at[message.id] = now + (error.retry_s or 0.0)
                return
            if ref is not None:
                is_shortened = await self._was_shortened(sender, message)
                await conversations.sent(self._db, message.id, ref, 0, is_shortened=is_shortened)
                if message.answers is not None:
                    await drafts.forget(self._db, message.answers, message.conversation.id)
                if message.card_id is not None:
                    await conversations.show_again(self._db, message.card_id)
                return
        await conversations.not_sent(self._db, message.id, "its answer was lost", 0.0)

    async def _was_shortened(self, sender: Sender, message: Outgoing) -> bool:
        try:
            return message.kind == "text" and _is_shortened(sender, message, await self._content(message))
        except NotSent:
            return False  # what it said is gone meanwhile


def _is_shortened(sender: Sender, message: Outgoing, content: cards.Card | str) -> bool:
    is_words = message.kind == "text" and isinstance(content, str)
    return is_words and isinstance(sender, Filing) and sender.is_shortened(str(content))
