"""What comes with messages: what is kept of it, what its arrival leads to, and what a spoken message is answered with.

`core.intake` keeps the rows in the commit of their message, bots fetch the bytes, workers hear the voices; each ends in one
commit here, which also wakes the turn that waits, or answers the message that was spoken. A recording of the sender's own is
their words once it is heard; everything else that is attached is others' and taints whoever reads it.
"""

from __future__ import annotations

import os
import re
import unicodedata
from typing import Final, Literal

from core import answering, config
from core.db import Connection, transaction
from core.deps import Deps
from core.display import visible, visible_lines
from core.models import Inbound, Received
from core.store import attachments, conversations, people, signals
from core.store.attachments import Attachment, Spoken, State
from core.store.people import Principal

MIME_CHARS: Final = 100
TOO_LARGE: Final = f"it is larger than the {config.ATTACHMENT_BYTES // 1_000_000} MB that I take"
TOO_MANY: Final = f"I take {config.ATTACHMENTS_MOST} files with one message; the others are left out."
LOOSE: Final = "I have {names}. Tell me what to do with it."
LEFT_OUT: Final = "I could not get {name}: {why}. I go on without it."
NOT_HEARD: Final = "I can't listen to voice here: {why}. Please type it."
HEARD: Final = "I heard: “{words}”"
NAMELESS: Final = {"file": "file", "voice": "voice message", "image": "image"}
_BLANK: Final = re.compile(r"\s+")
_IMAGES: Final = (
    (b"\x89PNG\r\n\x1a\n", b"", "image/png"),
    (b"\xff\xd8\xff", b"", "image/jpeg"),
    (b"GIF8", b"", "image/gif"),
    (b"RIFF", b"WEBP", "image/webp"),
)


def clean_name(name: str, fallback: str) -> str:
    """A file's name as we show it and save under: no folder, nothing that can't be seen, no dot in front, not long."""
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    seen = "".join(" " if ch.isspace() else ch for ch in last if ch.isspace() or unicodedata.category(ch)[0] != "C")
    tidy = _BLANK.sub(" ", seen).strip(" .") or fallback
    stem, ext = os.path.splitext(tidy)
    ext = ext[:12]
    return stem[: config.ATTACHMENT_NAME_CHARS - len(ext)] + ext


def image_mime(head: bytes) -> str | None:
    """The kind of image that the bytes begin as, of those that models read; whatever the sender calls it."""
    return next((mime for first, then, mime in _IMAGES if head.startswith(first) and head[8:].startswith(then)), None)


def is_spoken(inbound: Inbound) -> bool:
    """Whether the sender's own voice is part of what they say."""
    return any(one.kind == "voice" and one.is_own for one in inbound.attached)


# ---------------------------------------------------------------- in, as part of a message's commit


async def keep(tx: Connection, inbound: int, message: Inbound, conversation: int, task: int | None) -> None:
    """A row for each; what is too large or too many is said at once."""
    for n, given in enumerate(message.attached[: config.ATTACHMENTS_MOST], start=1):
        one = given.model_copy(
            update={
                "name": clean_name(given.name, NAMELESS[given.kind]),
                "mime": image_mime(given.content or b"") or visible(given.mime)[:MIME_CHARS],
            }
        )
        size = len(one.content) if one.content is not None else one.size
        state: State = "here" if one.content is not None else "wanted"
        if size is not None and size > config.ATTACHMENT_BYTES:
            state, one = "refused", one.model_copy(update={"content": None})
            if not (one.kind == "voice" and one.is_own):
                await _say_left_out(tx, conversation, one.name, TOO_LARGE)
        why = TOO_LARGE if state == "refused" else ""
        sized = one.model_copy(update={"size": size})
        await attachments.add(tx, inbound, n, task, message.channel, sized, state, why)
    if len(message.attached) > config.ATTACHMENTS_MOST:
        await conversations.say(tx, conversation, TOO_MANY)


async def listen(tx: Connection, deps: Deps, inbound: int, message: Inbound, conversation: int) -> Received:
    """A spoken message: it is answered when it is heard; at once when there will be nothing to hear."""
    await keep(tx, inbound, message, conversation, None)
    await attachments.listen(tx, inbound, message.answers_to, addressed=message.addressed)
    spoken = await attachments.all_heard(tx, inbound)
    task = await _answer(tx, deps, spoken) if spoken is not None else None
    return Received(inbound, task, "kept" if task is None else "task")


async def keep_loose(tx: Connection, inbound: int, message: Inbound, conversation: int, person: Principal) -> Received:
    """Files without a word: the rest of an album goes where it went, others wait for the words to come."""
    album = message.attached[0].album
    task = await attachments.album_task(tx, person.id, album) if album else None
    if task is None and not message.addressed:
        return Received(inbound, None, "ignored")
    await keep(tx, inbound, message, conversation, task)
    if task is not None:
        await conversations.give(tx, inbound, task, without_quotes=False)
        return Received(inbound, task, "kept")
    names = ", ".join(clean_name(one.name, "your " + NAMELESS[one.kind]) for one in message.attached)
    dedup = f"loose:{person.id}:{album}" if album else None
    await conversations.say(tx, conversation, LOOSE.format(names=visible(names[:300])), dedup=dedup)
    return Received(inbound, None, "kept")


async def hand_over(
    tx: Connection, received: Received, message: Inbound, conversation: int, person: Principal
) -> Received:
    """After the words are answered: what came with them, and what came before them without words, is the task's."""
    task = received.task_id if received.kind in ("task", "steered") else None
    if message.attached and (task is not None or message.addressed):
        await keep(tx, received.inbound_id, message, conversation, task)
    if task is not None:
        await attachments.give_loose(tx, person.id, conversation, task)
    return received


# ---------------------------------------------------------------- arrivals, each a commit of its own


async def came(deps: Deps, attachment: int, content: bytes, mime: str) -> None:
    """A bot has the bytes."""
    async with transaction(deps.db) as tx:
        await attachments.hold_spoken(tx, attachment)
        one = await attachments.came(tx, attachment, content, image_mime(content) or visible(mime)[:MIME_CHARS])
        task = await _settled(tx, deps, one)
    _ring(deps, task)
    if one is not None and one.kind == "voice":
        deps.ring.attachments()


async def heard(deps: Deps, attachment: int, words: str) -> None:
    """A voice is in words now."""
    clean = unicodedata.normalize("NFC", words).replace("\x00", "").strip()
    async with transaction(deps.db) as tx:
        await attachments.hold_spoken(tx, attachment)
        task = await _settled(tx, deps, await attachments.heard(tx, attachment, clean[: config.INBOUND_CHARS]))
    _ring(deps, task)


async def over(deps: Deps, attachment: int, why: str, state: Literal["refused", "lost"]) -> None:
    """It will not come, or can't be heard: a sentence to the person, and whoever waits goes on without."""
    async with transaction(deps.db) as tx:
        await attachments.hold_spoken(tx, attachment)
        one = await attachments.over(tx, attachment, why, state)
        if one is not None and one.state != "here" and not (one.kind == "voice" and one.is_own):
            conversation = await attachments.conversation_of(tx, one.inbound_id)
            if conversation is not None:
                await _say_left_out(tx, conversation, one.name, why)
        task = await _settled(tx, deps, one)
    _ring(deps, task)


def _ring(deps: Deps, task: int | None) -> None:
    if task is not None:
        deps.ring.task(task)
    else:
        deps.ring.outbox()


async def _settled(tx: Connection, deps: Deps, one: Attachment | None) -> int | None:
    """What follows from it, once nothing of its message is open: the task that is to be looked at."""
    if one is None:
        return None
    spoken = await attachments.all_heard(tx, one.inbound_id)
    if spoken is not None:
        return await _answer(tx, deps, spoken)
    if one.task_id is not None:
        for n in await attachments.steps_waiting(tx, one.task_id):
            await signals.wake_early(tx, one.task_id, n)
    return one.task_id


async def _answer(tx: Connection, deps: Deps, spoken: Spoken) -> int | None:
    """Shown as it was understood, and only then acted upon, like typed words."""
    words = [said for said, _ in spoken.voices if said]
    for said, why in spoken.voices:
        if not said:
            await conversations.say(
                tx, spoken.conversation_id, NOT_HEARD.format(why=why or "there were no words in it")
            )
    text = "\n".join([spoken.text, *words]).strip()
    person = await people.by_id(tx, spoken.principal_id)
    if person is None or not text:
        return None
    for said in words:
        await conversations.say(tx, spoken.conversation_id, HEARD.format(words=visible_lines(said)))
    await attachments.put_into_words(tx, spoken.inbound_id, text)
    received = await answering.answer(
        tx, deps, text, person, inbound=spoken.inbound_id, conversation=spoken.conversation_id,
        answers_to=spoken.answers_to, addressed=spoken.is_addressed, by_voice=bool(words),
    )  # fmt: skip
    if received.task_id is not None and received.kind in ("task", "steered"):
        await attachments.of_message(tx, spoken.inbound_id, received.task_id)
        await attachments.give_loose(tx, person.id, spoken.conversation_id, received.task_id)
    return received.task_id


async def _say_left_out(tx: Connection, conversation: int, name: str, why: str) -> None:
    await conversations.say(tx, conversation, LEFT_OUT.format(name=visible(name), why=why))
