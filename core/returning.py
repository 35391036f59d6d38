"""What somebody who comes back is told: what happened meanwhile to what is theirs, once, in one message, to them alone.

They were away when they wrote nothing for `digest_after` of sayso.yaml. `core.store.absence` reads, `core.cards` words it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from core import cards, config
from core.db import Db
from core.deps import Deps
from core.store import absence, conversations
from core.store.people import Principal

ELSEWHERE = "Others read this conversation. Say digest in a direct message to me."


async def welcome(db: Db, deps: Deps, person: Principal, inbound: int, conversation: int) -> None:
    """Tell whoever comes back in private with this message, if there is anything to tell."""
    after_s = deps.organisation.digest_after
    if not after_s or person.is_service:
        return
    away = await absence.last(db, person.id, after_s, inbound, among=2)
    place = await conversations.by_id(db, conversation) if away is not None and away.is_just_over else None
    if away is None or place is None or not place.is_private:
        return
    missed = await absence.missed(db, person.id, away.began_at)
    if not cards.nothing_missed(missed):
        text = cards.missed_text(missed, deps.settings.base_url())
        await conversations.say(db, conversation, text, dedup=f"digest:{inbound}")


async def digest(db: Db, deps: Deps, person: Principal, inbound: int, conversation: int, within_s: int | None) -> str:
    """What to answer to `digest`: for so long, or since they were last seen."""
    place = await conversations.by_id(db, conversation)
    if place is None or not place.is_private:
        return ELSEWHERE
    return cards.missed_text(await missed(db, person, within_s, inbound), deps.settings.base_url())


async def missed(db: Db, person: Principal, within_s: int | None, inbound: int | None = None) -> dict[str, Any]:
    """As `absence.missed` has it. Who was never silent for long is told of the last day."""
    away = None if within_s is not None else await absence.last(db, person.id, config.ABSENCE_LEAST_S, inbound)
    # To the minute: what is asked for twice in a row reads the same.
    lately = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(seconds=within_s or config.DIGEST_S)
    since = away.began_at if away else lately
    return await absence.missed(db, person.id, since)
