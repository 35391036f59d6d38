"""The words of Sayso as types: what adapters bring in, what the engine carries, what people decide on.

Pure: frozen values without clock, I/O or vendor types. Adapters build an `Inbound` or a `Press`, `core.intake`
turns them into rows, the worker turns rows back into a `Step` and an `Action`. Ids are integers or text inside
and always strings at the edges (JSON, buttons).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

type_json = dict[str, Any]


class Frozen(BaseModel):
    """A value that never changes and has no field that we did not name."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ---------------------------------------------------------------- what comes in


class Channel(StrEnum):
    SLACK = "slack"
    TELEGRAM = "telegram"
    SMS = "sms"
    WEB = "web"
    HOOK = "hook"
    CLI = "cli"


class Identity(Frozen):
    """Who a vendor says is there: Slack `T0ACME/U01ALICE`, Telegram `1001`, phone `+15550002222`, web `ann`."""

    channel: Channel
    external_id: str
    display_name: str = ""


class Place(Frozen):
    """Where a conversation is, in the vendor's own terms. `thread` is a Slack thread_ts or a Telegram topic id.

    `private` is true where only this person and Sayso can read (a DM).
    """

    channel: Channel
    external_id: str
    thread: str = ""
    private: bool = False
    title: str = ""

    @property
    def key(self) -> str:
        return f"{self.channel}/{self.external_id}" + (f"/{self.thread}" if self.thread else "")


class Inbound(Frozen):
    """A message as received. `delivery_id` is the vendor's; the same one again changes nothing.

    `text` holds the sender's own words only; what was quoted, forwarded or attached is in `foreign`.
    `addressed` is true when Sayso was meant (DM, mention, command); otherwise it counts only in a thread that a
    task owns. `answers_to` is the vendor's id of our message that it answers, where the vendor tells.
    """

    channel: Channel
    delivery_id: str
    sender: Identity
    place: Place
    text: str
    foreign: tuple[str, ...] = ()
    addressed: bool = True
    message_ref: str = ""
    answers_to: str = ""


Verdict = Literal[
    "approve", "approve_similar", "grant", "deny", "edit", "delegate", "looking", "ask", "stop",
    "happened", "not_happened", "abandon", "answer",
]  # fmt: skip


class Press(Frozen):
    """A button pressed or an answer given. `digest` is what the presser was shown, where the surface can carry it.

    `args` are the changed arguments of an edit, or what a grant covers; `to` is a person's key; `text` a question or an
    answer; `items` the digests of those items that are meant (without: all); `uses` and `minutes` bound a grant.
    """

    channel: Channel
    delivery_id: str
    sender: Identity
    approval_id: str
    verdict: Verdict
    digest: str | None = None
    reason: str = ""
    text: str = ""
    args: dict[str, Any] | None = None
    to: str | None = None
    items: tuple[str, ...] = ()
    uses: int | None = None
    minutes: int | None = None


# ---------------------------------------------------------------- skills as data


class Permission(StrEnum):
    READ = "read"
    WRITE = "write"
    SEND = "send"
    DELETE = "delete"
    SPEND = "spend"
    EXECUTE = "execute"
    ADMIN = "admin"


WEIGHT = {permission: weight for weight, permission in enumerate(Permission)}


class EffectClass(StrEnum):
    """What may be done when it is not known whether an action happened."""

    PURE = "pure"
    IDEMPOTENT = "idempotent"
    CHECKABLE = "checkable"
    UNSAFE = "unsafe"


class ArgumentRole(StrEnum):
    """control: who, where, how much, what is removed. content: the rest."""

    CONTROL = "control"
    CONTENT = "content"


class Origin(StrEnum):
    """Where an argument's value came from, from most to least trusted."""

    REQUESTER = "requester"
    CONFIG = "config"
    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"


class ArgumentOrigin(Frozen):
    """`step` brought it; `by` is the key of a person who put it in by an edit."""

    origin: Origin
    step: int | None = None
    note: str = ""
    by: str = ""


class PermissionOn(Frozen):
    """`resource` is a pattern over the arguments, e.g. `files:{paths}` or `mail:{to}`."""

    permission: Permission
    resource: str = "*"


class SkillManifest(Frozen):
    """Everything others may know of a skill without importing it; workers publish it to the `skills` table.

    `schema` is the JSON Schema of the arguments (an object). `card` is a template such as
    `Delete {paths} from the workspace`. `schema_hash` is the SHA-256 of the canonical schema.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str
    version: str
    summary: str
    args_schema: dict[str, Any]
    schema_hash: str
    permissions: tuple[PermissionOn, ...]
    effect_class: EffectClass = EffectClass.UNSAFE
    reversible: bool = False
    roles: dict[str, ArgumentRole] = Field(default_factory=dict)
    output_trusted: bool = False
    card: str = ""
    timeout_s: float = 30.0
    has_preview: bool = False
    has_probe: bool = False
    has_undo: bool = False
    names_files: tuple[str, ...] = ()

    @property
    def permission(self) -> Permission:
        """The heaviest permission it needs."""
        return max((p.permission for p in self.permissions), key=WEIGHT.__getitem__, default=Permission.ADMIN)

    @property
    def is_pure(self) -> bool:
        return self.effect_class is EffectClass.PURE


# ---------------------------------------------------------------- what is to be done


class Action(Frozen):
    """One skill call with frozen arguments. Its digest is what people approve.

    `target` names what is acted on in words of the skill, `credential` the name (never the value) of the
    credential used, `content_hashes` the SHA-256 of every file or prior result that the arguments name.
    """

    skill: str
    version: str
    schema_hash: str
    args: dict[str, Any]
    target: str = ""
    credential: str = ""
    content_hashes: dict[str, str] = Field(default_factory=dict)
    task_id: str = ""
    step: int = 0


StepKind = Literal["plan", "think", "act", "wait", "ask", "reflect"]


class PlannedStep(Frozen):
    """A step to be inserted. `n` is its number in the task, from 1; `needs` are numbers lower than its own.

    `within_s` is its deadline, counted from when it could first run.
    `after` says when it may run: `success` when all needs succeeded, `settled` when all have ended somehow.
    `args` may hold `{{ 3.paths }}` references to fields of earlier results; they are resolved before it runs.
    """

    n: int
    kind: StepKind
    skill: str = ""
    args: dict[str, Any] = Field(default_factory=dict)
    needs: tuple[int, ...] = ()
    after: Literal["success", "settled"] = "success"
    origins: dict[str, ArgumentOrigin] = Field(default_factory=dict)
    title: str = ""
    effect_class: EffectClass = EffectClass.PURE
    timeout_s: float = 30.0
    max_attempts: int = 3
    ready_in_s: float = 0.0
    within_s: float | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A step that this worker holds until its lease ends; `fence` proves it.

    `row` is what the claim answered; beside the step it holds what policy looks at (core/store/situation.py).
    """

    task_id: int
    n: int
    kind: str
    skill: str
    args: dict[str, Any]
    origins: dict[str, Any]
    effect_class: str
    needs: tuple[int, ...]
    fence: int
    attempt: int
    max_attempts: int
    gen: int
    timeout_s: float
    approval_id: str | None
    effect_state: str | None
    task_goal: str
    plan_version: int
    requester_id: int
    conversation_id: int | None
    lane: str
    row: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


# ---------------------------------------------------------------- how a step ended


class Outcome(StrEnum):
    """Why a terminal step is terminal; only `ok` is success."""

    OK = "ok"
    ERROR = "error"
    REFUSED = "refused"
    DENIED = "denied"
    EXPIRED = "expired"
    UNDELIVERABLE = "undeliverable"
    CANCELLED = "cancelled"
    UPSTREAM = "upstream"
    GIVEN_UP = "given_up"


class Succeeded(Frozen):
    """`added` are steps that this one's output plans, `read` the events that it has read: both in the same commit."""

    kind: Literal["succeeded"] = "succeeded"
    result: dict[str, Any]
    added: tuple[PlannedStep, ...] = ()
    read: tuple[int, ...] = ()


class Failed(Frozen):
    """Known not to have been done (or pure). `retry_in_s` None means that another attempt is useless."""

    kind: Literal["failed"] = "failed"
    error: str
    outcome: Outcome = Outcome.ERROR
    retry_in_s: float | None = None
    added: tuple[PlannedStep, ...] = ()


class Unknown(Frozen):
    """The call may or may not have reached the world."""

    kind: Literal["unknown"] = "unknown"
    error: str


class Parked(Frozen):
    """Policy wants a person: the step waits, the approval and its cards are written in the same commit.

    `ask` is what `park_v1` takes; `places` are the conversations whose card is written.
    """

    kind: Literal["parked"] = "parked"
    ask: dict[str, Any]
    places: tuple[int, ...] = ()
    why: str


class Waiting(Frozen):
    """Nothing to do until a time, or until an event named `key`; the attempt is not charged.

    `reason` is shown to people after "waiting for". `seconds` None means until `within_s` are over, which are counted
    from the step's first wait.
    """

    kind: Literal["waiting"] = "waiting"
    reason: str
    seconds: float | None
    within_s: float
    key: str | None = None
    read: tuple[int, ...] = ()


class Released(Frozen):
    """Given back untouched; the attempt is not charged."""

    kind: Literal["released"] = "released"
    why: str
    ready_in_s: float = 0.0


class Dropped(Frozen):
    """The lease was lost: nothing may be written any more, the evidence is filed."""

    kind: Literal["dropped"] = "dropped"
    evidence: str


# ---------------------------------------------------------------- the gate's answers


class Allow(Frozen):
    kind: Literal["allow"] = "allow"
    reasons: tuple[str, ...]
    rule: str = ""
    grant_id: str | None = None
    notice: bool = False


class Approvers(Frozen):
    """Who may decide: any of these people (by `people` key of sayso.yaml) or holders of any of these roles.

    With `four_eyes` neither who asked nor the `editors` of the call.
    """

    people: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    slack_usergroups: tuple[str, ...] = ()
    needed: int = 1
    four_eyes: bool = False
    veto: bool = True
    editors: tuple[str, ...] = ()


Risk = Literal["low", "medium", "high", "critical"]


class Ask(Frozen):
    kind: Literal["ask"] = "ask"
    reasons: tuple[str, ...]
    provenance: tuple[str, ...] = ()
    rule: str = ""
    approvers: Approvers
    ladder: str = "default"
    risk: Risk = "high"
    expires_in_s: int = 24 * 3600


class Deny(Frozen):
    kind: Literal["deny"] = "deny"
    reasons: tuple[str, ...]
    rule: str = ""


Classified = Annotated[Allow | Ask | Deny, Field(discriminator="kind")]


class Requester(Frozen):
    """The person (or service) behind a task, as policy sees them."""

    id: str
    key: str
    name: str = ""
    roles: tuple[str, ...] = ()
    is_service: bool = False


class ConversationRef(Frozen):
    channel: str = ""
    id: str = ""


class Provenance(Frozen):
    """Origin per argument, and whether the turn that proposed the action had read untrusted content."""

    origins: dict[str, ArgumentOrigin] = Field(default_factory=dict)
    tainted: bool = False


class Grant(Frozen):
    """A standing permission for calls that `principal_key` asks for, given by `owner_key`.

    `args` is a predicate (see `core.predicate`); the version and schema hash are those of the skill it was given for.
    """

    id: str
    skill: str
    skill_version: str = ""
    schema_hash: str = ""
    args: dict[str, Any] = Field(default_factory=dict)
    principal_key: str
    owner_key: str = ""
    owner_roles: tuple[str, ...] = ()
    task_id: str | None = None
    uses_left: int | None = None
    expires_at: datetime


# ---------------------------------------------------------------- answers of intake


@dataclass(frozen=True, slots=True)
class Received:
    """An inbound that is now a row. `task_id` is the task it started or steered, if any."""

    inbound_id: int
    task_id: int | None = None
    kind: Literal["task", "steered", "answered", "pairing", "ignored"] = "task"


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The same delivery again: nothing changed. `task_id` is what it led to the first time."""

    task_id: int | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """`status` is the approval's after this decision: still `pending` while votes are missing."""

    approval_id: str
    status: str
    task_id: int
    decisions: tuple[type_json, ...] = field(default=())
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class AlreadyDecided:
    approval_id: str
    status: str
    by: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class NotAllowed:
    approval_id: str
    why: str


@dataclass(frozen=True, slots=True)
class TooLate:
    approval_id: str
    expired_at: datetime


@dataclass(frozen=True, slots=True)
class Changed:
    """The digest the presser saw is not the approval's; the card has to be read again."""

    approval_id: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """The answer does not fit, or policy refuses what it asks for; nothing was changed."""

    approval_id: str
    why: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """No such thing, or it is not visible to you: the same answer."""


Decided = Accepted | AlreadyDecided | NotAllowed | TooLate | Changed | Invalid | NotFound
