"""An `ask` step: the plan behind it goes through the gate as far as it is known, and what would ask is asked about at once.

Each step whose arguments are known is frozen, judged and looked at as it would be in its turn; people then approve a list
of digests. What depends on results is named as asked when known. Nothing is asked about a plan of which a part would be
refused. After an answer the step runs again: for those who decide another part of it, after an edit, or to let it go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from core import config, digest, policy, templates, waits
from core.cards import call_title
from core.display import names_secret
from core.models import Allow, Approvers, Ask, Claimed, Failed, Outcome, Parked, SkillManifest, Succeeded
from core.store import situation, steps
from core.variables import RISK_OF
from worker.act import NO_PREVIEW, Actor, FrozenCall, item_of
from worker.gate import IN_PLAN, AskPeople, Go, Refuse, pass_gate
from worker.outcome import Outcome as StepOutcome
from worker.skills.errors import BadArguments, NotDone

ALWAYS: Final = "always"
WHY: Final = "Nothing of this plan has run yet. Each action runs as it stands here, or is asked about again."


@dataclass(frozen=True, slots=True)
class Asked:
    """One action of the plan. `ask` None: the rules would let it go, and it is shown because the whole plan is asked about."""

    manifest: SkillManifest
    frozen: FrozenCall
    ask: Ask | None
    allowed: tuple[str, ...] = ()
    preview: str = ""


@dataclass(frozen=True, slots=True)
class Unasked:
    """A step that is not on the list, and why: it has to wait, or it goes without asking."""

    n: int
    title: str
    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    why: str
    outcome: Outcome


Seen = Asked | Unasked | Refused | None


@dataclass(frozen=True, slots=True)
class PlanAsker:
    actor: Actor

    async def ask(self, step: Claimed) -> StepOutcome:
        """Raises only `CancelledError`."""
        asked: list[Asked] = []
        unasked: list[Unasked] = []
        changes = False
        for one in await steps.behind(self.actor.deps.db, step.task_id, step.n):
            seen = await self._look(one, after_changes=changes, always=step.args.get("plan_first") == ALWAYS)
            changes |= one.kind == "act" and one.effect_class != "pure"
            match seen:
                case Refused(why=why, outcome=outcome):
                    return Failed(error=f"Nothing was run: step {one.n} {why}", outcome=outcome)
                case Asked():
                    asked.append(seen)
                case Unasked():
                    unasked.append(seen)
        chosen = together(asked, self._requester_decides(step))
        if chosen is None:
            return Succeeded(result={"summary": "The plan may run.", "asked_later": [u.n for u in unasked]})
        ask, items = chosen
        approvers = ask.approvers.model_dump(mode="json")
        return Parked(
            ask={
                "kind": "plan",
                "items": items,
                "digest": digest.list_digest(i["digest"] for i in items) if len(items) > 1 else items[0]["digest"],
                "action_hash": "",
                "card": card_of(items, unasked),
                "approvers": approvers,
                "ladder": ask.ladder,
                "expires_in_s": ask.expires_in_s,
            },
            places=await self.actor.places(step, approvers, any(names_secret(i["action"]["args"]) for i in items)),
            why=WHY,
        )

    def _title(self, step: Claimed) -> str:
        """What it is to do, with references to results still in it."""
        skill = self.actor.registry.get(step.skill)
        return call_title(skill.manifest, step.args) if skill else waits.in_short(step.args)

    def _requester_decides(self, step: Claimed) -> Approvers:
        """Who confirms what the rules would let go: the one who wanted to see it first; for a service, who decides by default."""
        if step.row["is_service"]:
            return policy.default_approvers(self.actor.deps.organisation)
        return Approvers(people=(step.row["requester_key"],))

    async def _look(self, step: Claimed, *, after_changes: bool, always: bool) -> Seen:
        """What the gate will say to a step behind this one; None when it is asked about, or decided, already."""
        if step.kind not in ("act", "wait"):
            return None
        title = self._title(step)
        unasked = partial(Unasked, step.n, title)
        if step.kind == "wait":
            return unasked("goes without asking")
        skill = self.actor.registry.get(step.skill)
        seen = situation.of_claim(step)
        if skill is None or seen is None:
            return None  # its own turn says what is wrong with it
        if templates.steps_named(step.args):
            return unasked("is asked about when its arguments are known, if it has to be")
        try:
            frozen = await self.actor.freeze(step, skill, seen)
        except (BadArguments, templates.BadReference, digest.NotCanonical) as error:
            return Refused(f"({title}) can't be called like that: {error}", Outcome.REFUSED)
        except NotDone as error:
            return unasked(f"can't be looked at yet: {error}")
        answer = await self.actor.judge(step, skill, frozen, seen)
        passed = pass_gate(answer, seen.approval, frozen.action)
        match passed:
            case Refuse(why=why, outcome=outcome):
                return Refused(f"({title}) would be refused: {why}", outcome)
            case Go(approval=approval) if approval or skill.manifest.is_pure or not always:
                return None if approval else unasked("goes without asking")
            case AskPeople() if seen.approval and seen.approval["status"] == "pending":
                return None  # on a card of its own since it was told apart from the rest
        try:
            preview = await skill.preview(frozen.ctx, frozen.args) or ""
        except NO_PREVIEW as error:
            if after_changes:
                return unasked(f"is asked about in its turn: as things are now it would not work ({error})")
            return Refused(f"({title}) would not work: {error}", Outcome.ERROR)
        allowed = answer.reasons if isinstance(answer, Allow) else ()
        return Asked(skill.manifest, frozen, passed.ask if isinstance(passed, AskPeople) else None, allowed, preview)


def together(asked: Sequence[Asked], requester: Approvers) -> tuple[Ask, list[dict[str, Any]]] | None:
    """What the first of them asks is asked of the same people for all that ask just them, and for all that ask nobody."""
    first = next((one.ask for one in asked if one.ask is not None), None)
    if first is None:
        if not asked:
            return None
        first = Ask(reasons=(IN_PLAN,), approvers=requester, expires_in_s=config.APPROVAL_EXPIRES_S)
    same = [
        one
        for one in asked
        if one.ask is None or (one.ask.approvers, one.ask.ladder) == (first.approvers, first.ladder)
    ]
    items = [_item(one, first) for one in same[: config.CARD_ITEMS_MOST]]
    until_s = min(one.ask.expires_in_s if one.ask else first.expires_in_s for one in same)
    return first.model_copy(update={"expires_in_s": until_s}), items


def _item(one: Asked, first: Ask) -> dict[str, Any]:
    ask = one.ask or first.model_copy(
        update={
            "reasons": (IN_PLAN, *one.allowed),
            "risk": RISK_OF[one.manifest.permission],
            "provenance": (),
            "rule": "plan",
        }
    )
    return item_of(one.manifest, one.frozen, ask, ask.reasons[0] if ask.reasons else IN_PLAN, one.preview)


def card_of(items: Sequence[Mapping[str, Any]], unasked: Sequence[Unasked]) -> dict[str, Any]:
    """The plan in one card: what to beware of in any item, and what is not on the list."""
    cards = [item["card"] for item in items]
    others = [f"Step {u.n} ({u.title}) {u.why}." for u in unasked]
    return {
        "title": "Approve the plan: " + (f"{len(items)} actions" if len(items) > 1 else cards[0]["title"]),
        "reasons": list(dict.fromkeys([WHY, *(reason for card in cards for reason in card["reasons"]), *others])),
        "provenance": list(dict.fromkeys(line for card in cards for line in card["provenance"])),
        "risk": max((card["risk"] for card in cards), key=policy.RISKS.index),
        "rule": ", ".join(sorted({card["rule"] for card in cards})),
        "destructive": any(card["destructive"] for card in cards),
        "undo": all(card["undo"] for card in cards),
        "preview": "\n".join(card["preview"] for card in cards) if len(cards) == 1 else "",
    }
