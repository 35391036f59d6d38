"""Between choosing an action and running it: may it go, must a person be asked, or is it refused.

Pure. `core.policy` has classified the action; here its answer meets the approval that the step may already have. An
approval holds only for the same digest and for an ask that has not become stricter since.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from core import policy
from core.models import Allow, Approvers, Ask, Classified, Deny, Frozen


class Go(Frozen):
    """Run it; `approval` and `grant` are consumed when it begins. `ask`: policy wants the approval, it is no extra."""

    kind: Literal["go"] = "go"
    approval: str | None = None
    grant: str | None = None
    ask: Ask | None = None


class AskPeople(Frozen):
    kind: Literal["ask"] = "ask"
    ask: Ask
    why: str


class Refuse(Frozen):
    kind: Literal["refuse"] = "refuse"
    why: str


def pass_gate(answer: Classified, approval: Mapping[str, Any] | None, digest: str) -> Go | AskPeople | Refuse:
    """`approval` is the one that the step has, as `store.situation` reads it."""
    usable = _usable(approval, digest)
    match answer:
        case Deny(reasons=reasons):
            return Refuse(why="; ".join(reasons))
        case Allow(grant_id=grant):
            return Go(approval=usable, grant=None if usable else grant)
        case Ask() if usable and approval:
            stricter = policy.stricter(_given_under(approval), answer)
            return AskPeople(ask=answer, why=stricter) if stricter else Go(approval=usable, ask=answer)
        case Ask():
            return AskPeople(ask=answer, why=_why_again(approval, digest) or "; ".join(answer.reasons))


def _usable(approval: Mapping[str, Any] | None, digest: str) -> str | None:
    """Approved (or begun before) for exactly this digest, and not expired before it began."""
    if approval is None or not _names(approval, digest):
        return None
    if approval["status"] == "consumed" or (approval["status"] == "approved" and not approval["is_expired"]):
        return str(approval["id"])
    return None


def _names(approval: Mapping[str, Any], digest: str) -> bool:
    return any(item["digest"] == digest for item in approval["items"])


def _why_again(approval: Mapping[str, Any] | None, digest: str) -> str | None:
    """Why an approval that was given does not serve: told on the new card."""
    if approval is None or approval["status"] not in ("approved", "consumed", "expired"):
        return None
    if not _names(approval, digest):
        return "What would run has changed since it was approved"
    return "The approval had expired before the action began"


def _given_under(approval: Mapping[str, Any]) -> Ask:
    return Ask(reasons=(), approvers=Approvers.model_validate(approval["approvers"]))
