"""A person's answer made ready for the one commit that records it: an edit is checked, a permission is spelled out.

Only `lead` writes, after that commit. Whether the person may answer is decided in the commit; who may not learns nothing
here. What comes out goes to `store.approvals.decide`; the gate's last word on an edited call is the worker's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core import config, editing, predicate
from core.deps import Deps
from core.models import (
    Accepted,
    AlreadyDecided,
    Changed,
    Decided,
    EffectClass,
    Invalid,
    NotAllowed,
    NotFound,
    PlannedStep,
    Press,
    SkillManifest,
    TooLate,
)
from core.store import approvals, people, skills, steps
from core.store.people import Principal

ASIDE = "approval.answer"
NO_MODEL = "No language model is set up here, so nobody can answer that. The card shows all that is known."
SKILL_GONE = "no worker has this skill any more"


async def prepared(deps: Deps, person: Principal, pressed: Press) -> dict[str, Any] | Invalid | NotFound:
    """What `decide_v1` takes as `p_more`."""
    more: dict[str, Any] = {"items": list(pressed.items)} if pressed.items else {}
    if pressed.verdict not in ("approve_similar", "grant", "edit", "ask", "delegate", "answer"):
        return more
    row = await approvals.whole(deps.db, pressed.approval_id)
    if row is None:
        return NotFound()
    if row["status"] != "pending" or not await may_answer(deps, person, row):
        return more
    match pressed.verdict:
        case "delegate":
            return more | {"to": pressed.to or ""}
        case "answer":
            return more | {"text": pressed.text.strip()[: config.INBOUND_CHARS]}
        case "ask":
            return more | _question(deps, row, pressed)
        case "edit":
            return await _edited(deps, person, row, pressed, more)
        case _:
            return await _grant(deps, row, pressed, more)


async def may_answer(deps: Deps, person: Principal, row: Mapping[str, Any]) -> bool:
    """Whether it is worth asking this person for more than a press; the commit has the last word."""
    return row["requester"] == person.key or bool(await approvals.decidable(deps.db, person.id, [row["id"]]))


async def editable(deps: Deps, row: Mapping[str, Any]) -> tuple[Mapping[str, Any], SkillManifest] | None:
    """The arguments that are asked about and the manifest to read them by; None where there is nothing to edit."""
    if row["kind"] != "action":
        return None
    action = row["items"][0]["action"]
    manifest = (await skills.manifests(deps.db)).get(action.get("skill", ""))
    return (action["args"], manifest) if manifest else None


def _question(deps: Deps, row: Mapping[str, Any], pressed: Press) -> dict[str, Any]:
    text = (pressed.text or pressed.reason).strip()[: config.QUESTION_CHARS]
    if not deps.settings.has_model(deps.organisation.models):
        return {"text": text, "can_answer": False, "answer": NO_MODEL}
    step = PlannedStep(
        n=1, kind="think", skill=ASIDE, args={"approval": row["id"], "question": text}, title="Answer a question",
        effect_class=EffectClass.PURE, timeout_s=config.TURN_TIMEOUT_S,
    )  # fmt: skip
    return {"text": text, "can_answer": True, "steps": steps.planned([step])}


async def _grant(deps: Deps, row: Mapping[str, Any], pressed: Press, more: dict[str, Any]) -> dict[str, Any] | Invalid:
    action = row["items"][0]["action"]
    manifest = (await skills.manifests(deps.db)).get(action.get("skill", ""))
    if row["kind"] != "action" or manifest is None:
        return more
    is_similar = pressed.verdict == "approve_similar"
    try:
        covers = (
            predicate.exactly(action["args"], manifest)
            if pressed.args is None
            else predicate.read(pressed.args, manifest)
        )
    except predicate.BadPredicate as error:
        return Invalid(row["id"], str(error))
    if not predicate.covered(action["args"], covers, manifest):
        return Invalid(row["id"], "the permission would not cover this very action")
    return more | {"grant": spelled_out(manifest, covers, pressed.uses, pressed.minutes, is_similar=is_similar)}


def spelled_out(
    manifest: SkillManifest, covers: Mapping[str, Any], uses: int | None, minutes: int | None, *, is_similar: bool
) -> dict[str, Any]:
    """A grant as the database takes it, within its limits."""
    most_s = config.SIMILAR_MOST_S if is_similar else config.GRANT_MOST_S
    usual_s = config.SIMILAR_S if is_similar else config.GRANT_S
    if is_similar:
        uses = min(uses or config.SIMILAR_USES, config.SIMILAR_USES_MOST)
    return {
        "skill": manifest.name,
        "skill_version": manifest.version,
        "schema_hash": manifest.schema_hash,
        "args": dict(covers),
        "uses": uses,
        "lasts_s": min(minutes * 60 if minutes else usual_s, most_s),
    }


async def _edited(
    deps: Deps, person: Principal, row: Mapping[str, Any], pressed: Press, more: dict[str, Any]
) -> dict[str, Any] | Invalid:
    chosen = [i for i in row["items"] if not pressed.items or i["digest"] in pressed.items]
    if pressed.args is None or len(chosen) != 1 or str(chosen[0]["task"]) != str(row["task_id"]):
        return more
    item = chosen[0]
    manifest = (await skills.manifests(deps.db)).get(item["action"]["skill"])
    if manifest is None:
        return Invalid(row["id"], SKILL_GONE)
    planned = await steps.planned_call(deps.db, row["task_id"], int(item["step"]))
    requester = await people.by_key(deps.db, row["requester"])
    if planned is None or requester is None:
        return Invalid(row["id"], "who asked for this may no longer do so")
    rights = (requester.requester, person.requester)
    try:
        edit = editing.edited(item["action"], planned.args, planned.origins, pressed.args, manifest, by=person.key)
        editing.refuse_forbidden(edit, item["action"], manifest, deps.organisation, rights, planned.now)
    except editing.BadEdit as error:
        return Invalid(row["id"], str(error), error.field)
    return more | edit.as_more()


async def lead(deps: Deps, approval: str) -> None:
    """The same asks of other tasks follow, each in a commit of its own; the sweeper brings along who is left behind."""
    for follower in await approvals.followers(deps.db, approval):
        if await approvals.follow(deps.db, follower):
            deps.ring.task(await approvals.task_of(deps.db, follower))


def decided(answer: Mapping[str, Any], approval: str, person: Principal, verdict: str) -> Decided:
    """What `decide_v1` answered, as a value. The same delivery again is what it was the first time."""
    match answer["kind"]:
        case "accepted":
            return Accepted(
                answer["approval_id"], answer["status"], answer["task_id"], tuple(answer["decisions"]), verdict
            )
        case "duplicate" if any(vote["key"] == person.key for vote in answer["decisions"]):
            return Accepted(approval, answer["status"], answer["task_id"], tuple(answer["decisions"]))
        case "already" | "duplicate":
            at = answer["decided_at"]
            return AlreadyDecided(approval, answer["status"], answer["by"], datetime.fromisoformat(at) if at else None)
        case "not_allowed":
            return NotAllowed(approval, answer["why"])
        case "invalid":
            return Invalid(approval, answer["why"])
        case "too_late":
            return TooLate(approval, datetime.fromisoformat(answer["at"]))
        case "changed":
            return Changed(approval)
        case _:
            return NotFound()
