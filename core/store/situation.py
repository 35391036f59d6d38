"""Everything that policy looks at before an action, of one moment: it comes with the claim (claimed_rows in 0002_engine.sql)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from core.models import Claimed, ConversationRef, Grant
from core.store import grants
from core.store.people import Principal

PLACES_KEPT: Final = 1024


@dataclass(frozen=True, slots=True)
class Situation:
    """`own_words` is what the requester wrote that the task comes from; `approval` the one that the step has, if any:
    {id, status, items, approvers, card, is_expired, decided_ago_s}; `editors` are others who changed the call: their rights
    count too."""

    requester: Principal
    conversation: ConversationRef
    own_words: list[str]
    grants: list[Grant]
    approval: dict[str, Any] | None
    now: datetime
    editors: tuple[Principal, ...] = ()


@lru_cache(maxsize=PLACES_KEPT)
def _place(channel: str, external_id: str) -> ConversationRef:
    return ConversationRef(channel=channel, id=external_id)


def of_claim(step: Claimed) -> Situation | None:
    """As the claim saw it, in the statement that took the step. None when who asked is not active any more."""
    row = step.row
    if not row["is_active"]:
        return None
    return Situation(
        requester=Principal(
            step.requester_id,
            row["requester_key"],
            row["requester_name"],
            tuple(row["requester_roles"]),
            row["is_service"],
        ),
        conversation=_place(row["channel"], row["place"]),
        own_words=row["own_words"],
        grants=grants.readable(row["grants"] or ()),
        approval=row["approval"],
        now=row["seen_at"],
        editors=tuple(
            Principal(e["id"], e["key"], e["name"], tuple(e["roles"]), e["is_service"]) for e in row["editors"] or ()
        ),
    )
