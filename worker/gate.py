"""Between choosing an action and running it: may it go, must a person be asked, or is it refused.

Pure. `core.policy` has classified the action; here its answer meets the approval that the step may already have. An
approval holds only for the same digest and for an ask that has not become stricter since.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from core import policy
from core.digest import digest as digest_of
from core.models import Action, Allow, Approvers, Ask, Classified, Deny, Frozen, Outcome

IN_PLAN: Final = "It is part of a plan that is approved before it runs."
DRIFT: Final = {
    "skill": "another skill",
    "version": "the skill has another version",
    "schema_hash": "the skill takes other arguments",
    "target": "another target",
    "credential": "another credential",
    "content_hashes": "a file that it names has another content",
}


class Go(Frozen):
    """Run it; `approval` and `grant` are consumed when it begins. `ask`: policy wants the approval, it is no extra."""

    kind: Literal["go"] = "go"
    approval: str | None = None
    grant: str | None = None
    ask: Ask | None = None


GO: Final = Go()


class AskPeople(Frozen):
    kind: Literal["ask"] = "ask"
    ask: Ask
    why: str


class Refuse(Frozen):
    kind: Literal["refuse"] = "refuse"
    why: str
    outcome: Outcome = Outcome.REFUSED


def pass_gate(answer: Classified, approval: Mapping[str, Any] | None, action: Action) -> Go | AskPeople | Refuse:
    """`approval` is the one that the step has, as `store.situation` reads it; `action` is what would run now."""
    digest = digest_of(action) if approval else ""  # without an approval there is nothing to compare it with
    usable = _usable(approval, digest)
    if isinstance(answer, Allow) and (planned := _as_planned(approval, action)):
        answer = planned
    match answer:
        case Deny(reasons=reasons):
            return Refuse(why="; ".join(reasons))
        case Allow(grant_id=None) if usable is None:
            return GO
        case Allow(grant_id=grant):
            return Go(approval=usable, grant=None if usable else grant)
        case Ask() if approval and approval["status"] == "denied" and _item(approval, digest):
            return Refuse(why="a person denied exactly this", outcome=Outcome.DENIED)
        case Ask() if usable and approval:
            stricter = policy.stricter(_given_under(approval, digest), answer)
            return AskPeople(ask=answer, why=stricter) if stricter else Go(approval=usable, ask=answer)
        case Ask():
            return AskPeople(ask=answer, why=_why_again(approval, digest, action) or "; ".join(answer.reasons))


def _as_planned(approval: Mapping[str, Any] | None, action: Action) -> Ask | None:
    """What a plan was asked about with, where the action is a part of it: it goes as approved there, or is asked about."""
    if approval is None or approval["kind"] != "plan":
        return None
    item = _same_step(approval, action)
    if item is None:
        return None
    return Ask(
        reasons=(IN_PLAN,),
        approvers=Approvers.model_validate(approval["approvers"]).model_copy(update={"editors": ()}),
        ladder=approval["ladder"],
        risk=item["card"]["risk"],
        provenance=tuple(item["card"].get("provenance", ())),
    )


def _same_step(approval: Mapping[str, Any], action: Action) -> Mapping[str, Any] | None:
    """What the approval says of the action's step, whatever it was then."""
    ours = (action.task_id, action.step)
    return next((item for item in approval["items"] if (str(item["task"]), item["step"]) == ours), None)


def _usable(approval: Mapping[str, Any] | None, digest: str) -> str | None:
    """Approved (or begun before) for exactly this digest, and not expired before it began."""
    if approval is None or _item(approval, digest) is None:
        return None
    if approval["status"] == "consumed" or (approval["status"] == "approved" and not approval["is_expired"]):
        return str(approval["id"])
    return None


def _item(approval: Mapping[str, Any], digest: str) -> Mapping[str, Any] | None:
    """What the approval says of the action with this digest."""
    return next((item for item in approval["items"] if item["digest"] == digest), None)


def _why_again(approval: Mapping[str, Any] | None, digest: str, action: Action) -> str | None:
    """Why an approval that was given does not serve: told on the new card."""
    if (
        approval is None
        or approval["kind"] == "budget"
        or approval["status"] not in ("approved", "consumed", "expired")
    ):
        return None
    if _item(approval, digest) is None:
        return f"What would run has changed since it was approved: {_drifted(approval, action)}"
    return "The approval had expired before the action began"


def _drifted(approval: Mapping[str, Any], action: Action) -> str:
    """In words, what is not as it was when the person said yes."""
    was: Mapping[str, Any] = (_same_step(approval, action) or {}).get("action", {})
    now = action.model_dump(mode="json")
    changed = [words for field, words in DRIFT.items() if was.get(field) != now[field]]
    if was.get("args") != now["args"]:
        names = {*was.get("args", {}), *action.args}
        changed.append(", ".join(sorted(n for n in names if was.get("args", {}).get(n) != now["args"].get(n))))
    return "; ".join(changed) or "it is another action"


def _given_under(approval: Mapping[str, Any], digest: str) -> Ask:
    """The ask that people answered."""
    card = (_item(approval, digest) or {}).get("card") or approval.get("card") or {}
    return Ask(
        reasons=(),
        approvers=Approvers.model_validate(approval["approvers"]),
        risk=card.get("risk", "critical"),
        provenance=tuple(card.get("provenance", ())),
    )
