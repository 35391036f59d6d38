"""The JSON of the API: what it takes, and how rows look from outside.

Ids are strings. Unknown fields are refused, so that nobody believes that one had an effect.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from core import config, predicate
from core.cards import UNSHOWABLE
from core.models import Origin, Verdict
from core.state import VERDICTS_OF

log = logging.getLogger(__name__)

FOREVER_YEAR = 9999


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("may not contain the character U+0000")
    return text


Words = Annotated[str, AfterValidator(_without_nul)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class IntentBody(Body):
    """`conversation` is an id, or `channel/external id[/thread]`; without one it is your web chat. `within_s` is the
    deadline of the task that it starts."""

    text: Annotated[Words, Field(min_length=1, max_length=config.INBOUND_CHARS)]
    conversation: Annotated[Words, Field(max_length=300)] | None = None
    idempotency_key: Annotated[Words, Field(min_length=1, max_length=config.IDEMPOTENCY_KEY_CHARS)] | None = None
    within_s: Annotated[float, Field(strict=False, gt=0, le=config.WAIT_MOST_S)] | None = None


class DecisionBody(Body):
    """`digest` is the approval's as you were shown it.

    `args`: the arguments that an edit changes, or what a permission covers (`{"to": "bob@…"}`, `{"paths": {"starts": "logs/"}}`);
    `to`: the key of the person to hand it on to; `text`: a question or an answer; `items`: the digests of those items
    that are meant, all without; `uses` and `minutes`: how often and how long a permission holds.
    """

    verdict: Verdict
    digest: Annotated[Words, Field(min_length=1, max_length=200)]
    reason: Annotated[Words, Field(max_length=config.REASON_CHARS)] = ""
    args: dict[str, Any] | None = None
    to: Annotated[Words, Field(max_length=200)] | None = None
    text: Annotated[Words, Field(max_length=config.INBOUND_CHARS)] = ""
    items: Annotated[list[Annotated[Words, Field(max_length=200)]], Field(max_length=config.CARD_ITEMS_MOST)] = []
    uses: Annotated[int, Field(ge=1, le=config.GRANT_USES_MOST)] | None = None
    minutes: Annotated[int, Field(ge=1, le=config.GRANT_MOST_S // 60)] | None = None


class GrantBody(Body):
    """`args` names every control argument: a value, or `{"starts": "logs/"}` or `{"ends": "@acme.example"}`. `for` is whom
    it covers, by key; without it you."""

    skill: Annotated[Words, Field(min_length=1, max_length=200)]
    args: dict[str, Any] = Field(default_factory=dict)
    for_: Annotated[Words, Field(max_length=200)] | None = Field(default=None, alias="for")
    uses: Annotated[int, Field(ge=1, le=config.GRANT_USES_MOST)] | None = None
    minutes: Annotated[int, Field(ge=1, le=config.GRANT_MOST_S // 60)] | None = None


class Grant(BaseModel):
    """A standing permission. `says` is what it covers in words; `owner` gave it, `holder` may use it."""

    id: str
    kind: Literal["similar", "always"]
    skill: str
    args: dict[str, Any]
    says: str
    owner: str
    holder: str
    task_id: str | None
    uses: int
    uses_left: int | None
    expires_at: str


class HandBody(Body):
    """`version` is the task's as you saw it: with another one nothing is done."""

    version: Annotated[int, Field(ge=1)] | None = None


class ForkBody(Body):
    """`args` change arguments of the step, `model` (provider/model) the turns that run anew; `at` is a version to fork from."""

    step: Annotated[int, Field(ge=1)]
    args: dict[Words, Any] = Field(default_factory=dict)
    model: Annotated[Words, Field(max_length=200)] | None = None
    at: Annotated[Words, Field(max_length=20)] | None = None
    idempotency_key: Annotated[Words, Field(min_length=1, max_length=config.IDEMPOTENCY_KEY_CHARS)] | None = None
    version: Annotated[int, Field(ge=1)] | None = None


class RollbackBody(Body):
    """`to` is a version of the task, `3` or `3.2`."""

    to: Annotated[Words, Field(max_length=20)]
    reason: Annotated[Words, Field(max_length=config.REASON_CHARS)] = ""
    version: Annotated[int, Field(ge=1)] | None = None


class PolicyTestBody(Body):
    """What would policy say? `origins` says where arguments came from; without it they are your own words."""

    skill: Annotated[Words, Field(min_length=1, max_length=200)]
    args: dict[str, Any] = Field(default_factory=dict)
    requester: Annotated[Words, Field(max_length=200)] | None = None
    origins: dict[str, Annotated[Origin, Field(strict=False)]] = Field(default_factory=dict)
    tainted: bool = False
    conversation: Annotated[Words, Field(max_length=300)] | None = None


class PolicyAnswer(BaseModel):
    """`verdict` is `allow`, `ask` (then with `approvers`, `risk`, `provenance`) or `deny`."""

    model_config = ConfigDict(extra="allow")

    verdict: Literal["allow", "ask", "deny"]
    reasons: list[str]
    rule: str


class Accepted(BaseModel):
    """202: what a message led to. Null where the answer was only words."""

    task_id: str | None


class IntentAccepted(Accepted):
    """`said` repeats an answer that was only words."""

    said: str = ""


class Step(BaseModel):
    model_config = ConfigDict(extra="allow")

    n: int
    kind: str
    skill: str
    args: Any = Field(description="an object by the skill's schema; anything else is a row that cannot be read")
    status: str
    effect_class: str
    effect_state: str | None
    depends_on: list[int]
    approval_id: str | None
    result: Any
    error: str | None


class Task(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str
    status: str
    goal: str
    requester: str
    plan_version: int
    version: int
    parent_id: str | None
    steps: list[Step]
    result: Any
    error: str | None
    archived_at: str | None = Field(default=None, description="when it was put away: it can be seen, not changed")


class Moved(BaseModel):
    """One move: `label` names the moment after it, for `?version=`."""

    label: str
    at: str
    machine: str
    n: int | None
    subject: str
    from_: Annotated[str, Field(alias="from")]
    to: str
    actor: str
    why: str


class Version(Moved):
    """What began this version of a task, and what happened in it."""

    version: int
    moves: list[Moved]


class Controlled(BaseModel):
    """What came of a hand laid on a task. `said` is the sentence for people."""

    task_id: str
    status: str
    said: str


class Forked(BaseModel):
    """202: the task that goes on. `said` is the sentence for people."""

    task_id: str
    said: str


class ItemAction(BaseModel):
    skill: str
    args: dict[str, Any]


class Item(BaseModel):
    task_id: str
    step: int
    digest: str
    action: ItemAction


class Deciders(BaseModel):
    """Any of these people (by key) and holders of any of these roles."""

    people: list[str]
    roles: list[str]
    slack_usergroups: list[str]
    four_eyes: bool
    veto: bool


class Vote(BaseModel):
    by: str
    key: str
    verdict: str
    reason: str
    channel: str
    at: str


class Happening(BaseModel):
    """One thing that was done to have it answered: a rung climbed, somebody asked, a receipt, a vote, the end."""

    at: str
    what: str
    channel: str
    who: str
    note: str


class Approval(BaseModel):
    id: str
    kind: Literal["action", "plan", "batch", "budget", "question", "unknown"]
    task_id: str
    items: list[Item]
    digest: str
    reasons: list[str]
    provenance: list[str]
    who_may_decide: Deciders
    needed: int
    votes: list[Vote]
    expires_at: str | None
    status: str


class ApprovalWithTimeline(Approval):
    timeline: list[Happening]


class Decision(BaseModel):
    """`status` stays `pending` while votes are missing."""

    approval_id: str
    status: str
    decisions: list[Vote]


class Problem(BaseModel):
    """Every answer from 400 on."""

    model_config = ConfigDict(extra="allow")

    error: str


def answers_to(kind: str) -> tuple[str, ...]:
    """The verdicts that an approval of this kind takes."""
    return VERDICTS_OF[kind]


def approval(row: Mapping[str, Any]) -> dict[str, Any]:
    """`row` is what `store.approvals.listed` and `whole` answer."""
    card, approvers = row["card"], row["approvers"]
    return {
        "id": row["id"],
        "kind": row["kind"],
        "task_id": str(row["task_id"]),
        "items": [_item(item) for item in row["items"]],
        "digest": row["digest"],
        "reasons": list(card.get("reasons", [])),
        "provenance": list(card.get("provenance", [])),
        "who_may_decide": {
            "people": list(approvers.get("people", [])),
            "roles": list(approvers.get("roles", [])),
            "slack_usergroups": list(approvers.get("slack_usergroups", [])),
            "four_eyes": bool(approvers.get("four_eyes", False)),
            "veto": bool(approvers.get("veto", True)),
        },
        "needed": int(approvers.get("needed", 1)),
        "votes": list(row["votes"]),
        "expires_at": moment(row["expires_at"]),
        "status": row["status"],
    }


def readable_approval(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """None for a row that is not of the shape that we wrote: left out of a list, so that the others are still shown."""
    try:
        shown = approval(row)
        Approval.model_validate(shown)
    except UNSHOWABLE:
        log.error("approval %s cannot be read", row["id"])
        return None
    return shown


def unreadable_approval(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the page of such a row can still say."""
    nobody = {"people": [], "roles": [], "slack_usergroups": [], "four_eyes": False, "veto": True}
    return {
        "id": row["id"],
        "task_id": str(row["task_id"]),
        "digest": row["digest"],
        "who_may_decide": nobody,
        "needed": 1,
    }


def _item(item: Mapping[str, Any]) -> dict[str, Any]:
    action = item.get("action", {})
    return {
        "task_id": str(item.get("task", "")),
        "step": item.get("step", 0),
        "digest": item.get("digest", ""),
        "action": {"skill": action.get("skill", ""), "args": action.get("args", {})},
    }


def grant(row: Mapping[str, Any]) -> dict[str, Any]:
    """`row` is what `store.grants.listed` answers."""
    return {
        **{key: row[key] for key in ("id", "kind", "skill", "args", "owner", "holder", "uses", "uses_left")},
        "says": predicate.in_words(row["skill"], row["args"]),
        "task_id": str(row["task_id"]) if row["task_id"] else None,
        "expires_at": moment(row["expires_at"]),
    }


def moment(at: datetime | None) -> str | None:
    """ISO 8601, or None for what never comes."""
    return at.isoformat() if at is not None and at.year < FOREVER_YEAR else None
