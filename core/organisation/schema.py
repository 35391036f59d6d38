"""The shape of sayso.yaml. Durations are written `5m` or `3d` and become seconds."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from core import config, figures, resources
from core.durations import Duration
from core.expressions import BadExpression, Expression
from core.models import Channel, PlanFirst, Risk
from core.waits import Wait, event_name


def clock_time(value: Any) -> Any:
    """`22:00` → a time of day. YAML reads it without quotes as minutes, in base 60."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 24 * 60:
        return time(value // 60, value % 60)
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no time of day; write it like 22:00")
    return time(int(match.group(1)), int(match.group(2)))


ClockTime = Annotated[time, BeforeValidator(clock_time)]


def known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone; write one like Europe/Berlin") from error
    return name


Zone = Annotated[str, AfterValidator(known_zone)]


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][\w.@-]{0,60}$")]


def right(text: str) -> str:
    if re.fullmatch(r"\*|(skill|see|steer):\S+", text):
        return text
    if not resources.is_pattern(text):
        raise ValueError(f"{text!r} does not fit; write '*', skill:files.*, see:task:*, or read:files/support/**")
    return named_resource(text)


def named_resource(text: str) -> str:
    resources.pattern(text)
    return text


Right = Annotated[str, AfterValidator(right)]
InputName = Annotated[str, Field(pattern=r"^[A-Za-z_][\w-]{0,40}$")]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OutOfOffice(Part):
    until: date
    delegate: str


class SmsConsent(Part):
    opted_in_at: datetime


class QuietHours(Part):
    """From when to when nobody is asked in a direct message or by SMS; may span midnight."""

    from_: ClockTime = Field(alias="from")
    to: ClockTime

    @model_validator(mode="after")
    def _has_length(self) -> QuietHours:
        if self.from_ == self.to:
            raise ValueError("quiet hours begin and end at the same time; write e.g. {from: 22:00, to: 07:00}")
        return self


class Person(Part):
    name: str = ""
    roles: list[str] = []
    identities: dict[Literal["slack", "telegram", "phone", "web"], str] = {}
    sms: SmsConsent | None = None
    out_of_office: OutOfOffice | None = None
    timezone: Zone | None = None
    quiet_hours: QuietHours | None = None
    service: bool = False


class Role(Part):
    """Rights such as `skill:files.*`, `see:task:*` or `read:files/support/**`; `may_not` wins. `see` says whose tasks."""

    may: list[Right] = []
    may_not: list[Right] = []
    see: list[Literal["own", "conversation", "all"]] = ["own"]


class ApproverGroup(Part):
    people: list[str] = []
    roles: list[str] = []
    slack_usergroups: list[str] = []
    needed: int = Field(default=1, ge=1, le=20)
    four_eyes: bool = False
    veto: bool = True


class Rung(Part):
    """`max_risk`: riskier actions skip this SMS rung. `wakes`: quiet hours do not count for it."""

    after: Duration
    to: Literal["conversation", "direct", "sms", "expire"]
    max_risk: Risk | None = None
    wakes: bool = False


class Rule(Part):
    """First match wins. `skill` is a glob; `when` is CEL; `say` is told to the person.

    `resource` narrows it to calls that touch such a thing; one that allows wants all that the call touches to be of it.
    """

    name: str
    skill: str = "*"
    resource: Annotated[str, AfterValidator(named_resource)] | None = None
    when: str | None = None
    then: Literal["allow", "ask", "deny"]
    approvers: str | None = None
    ladder: str = "default"
    risk: Risk | None = None
    expires_in: Duration | None = None
    say: str = ""

    @field_validator("when")
    @classmethod
    def _compiles(cls, when: str | None) -> str | None:
        if when is not None:
            try:
                Expression(when)
            except BadExpression as error:
                raise ValueError(f"the condition does not compile: {error}") from error
        return when


class Budget(Part):
    usd: float | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    steps: int | None = Field(default=None, ge=0)
    minutes: float | None = Field(default=None, ge=0)


class PolicyPart(Part):
    version: int = 1
    plan_first: PlanFirst = "never"
    rules: list[Rule] = []
    budgets: dict[Literal["task", "person_day"], Budget] = {}

    @field_validator("budgets")
    @classmethod
    def _can_be_counted(cls, budgets: dict[str, Budget]) -> dict[str, Budget]:
        day = budgets.get("person_day")
        if day is not None and (day.steps is not None or day.minutes is not None):
            raise ValueError("a person's day is counted in usd and tokens; steps and minutes belong under task")
        return budgets


class Provider(Part):
    kind: Literal["openai", "anthropic"]
    base_url: str | None = None
    key: str | None = None


class ModelsPart(Part):
    providers: dict[str, Provider] = {}
    routes: dict[Literal["intent", "plan", "act", "reflect", "summarise", "embed", "transcribe"], list[str]] = {}


class Input(Part):
    type: Literal["string", "number", "integer", "boolean"] = "string"
    default: Any = None


class Spawn(Part):
    """A child task: a runbook with its inputs, or a goal in plain words."""

    run: str | None = None
    inputs: dict[str, Any] = {}
    goal: str | None = Field(default=None, min_length=1, max_length=2_000)

    @model_validator(mode="after")
    def _is_one_thing(self) -> Spawn:
        if (self.run is None) == (self.goal is None):
            raise ValueError("a child task has one of run and goal")
        if self.inputs and self.run is None:
            raise ValueError("inputs are those of a runbook; name it with run")
        return self


class RunbookStep(Part):
    """One of `skill` (with `args`), `wait` and `spawn`. `within` is its deadline, from when it could first run."""

    id: str = Field(pattern=r"^[A-Za-z_][\w-]{0,40}$")
    skill: str = ""
    args: dict[str, Any] = {}
    wait: Wait | None = None
    spawn: Spawn | None = None
    needs: list[str] = []
    within: Duration | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _does_one_thing(self) -> RunbookStep:
        if sum((bool(self.skill), self.wait is not None, self.spawn is not None)) != 1:
            raise ValueError("a step has exactly one of skill, wait and spawn")
        if self.args and not self.skill:
            raise ValueError("args are those of a skill; name it with skill")
        if self.within is not None and self.wait is not None:
            raise ValueError("how long a wait may take stands inside it: wait: {…, within: 2h}")
        return self


class Runbook(Part):
    """`within` is the deadline of the whole task; `plan_first`: it is approved before any of it runs."""

    say: str = ""
    inputs: dict[InputName, Input] = {}
    within: Duration | None = Field(default=None, ge=1)
    plan_first: PlanFirst = "never"
    steps: list[RunbookStep] = Field(min_length=1)


class Hook(Part):
    """A signed call from outside: `intent` starts a task, `event` is for the tasks that wait for its name."""

    secret_env: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$")
    as_: str = Field(alias="as")
    intent: str = ""
    event: str | None = None
    conversation: str | None = None

    @field_validator("event")
    @classmethod
    def _is_a_name(cls, event: str | None) -> str | None:
        return event if event is None else event_name(event)

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Hook:
        if not self.intent and self.event is None:
            raise ValueError("a hook needs an intent, an event, or both")
        return self


class Schedule(Part):
    name: str
    cron: str
    run: str
    as_: str = Field(alias="as")
    missed: Literal["skip", "run_once"] = "skip"


class Alert(Part):
    """A gauge of /metrics (with `sayso_` or without) above or below a value, or `when`: CEL over all of them."""

    metric: str | None = None
    above: float | None = None
    below: float | None = None
    when: str | None = None
    for_: Duration = Field(default=0, alias="for")
    to: str

    @property
    def gauge(self) -> str:
        return (self.metric or "").removeprefix(figures.PREFIX)

    @field_validator("when")
    @classmethod
    def _compiles(cls, when: str | None) -> str | None:
        if when is not None:
            try:
                Expression(when, figures.NAMES)
            except BadExpression as error:
                raise ValueError(f"the condition does not compile: {error}") from error
        return when


class AuditPart(Part):
    """Where the head of the audit log is written down: a file beside the data unless named, and a web address."""

    anchor_file: Path | None = None
    anchor_url: str | None = Field(default=None, pattern=r"^https?://")
    anchor_every: Duration = config.AUDIT_ANCHOR_EVERY_S


class Organisation(Part):
    organisation: str = "Sayso"
    timezone: Zone = "UTC"
    digest_after: Duration = (
        config.DIGEST_AFTER_S
    )  # how long somebody is silent before they are told what they missed; 0: never
    quiet_hours: QuietHours | None = None
    sms_max_risk: Literal["low", "medium", "high"] = "high"
    people: dict[Name, Person] = {}
    roles: dict[str, Role] = {}
    approvers: dict[str, ApproverGroup] = {}
    ladders: dict[str, list[Rung]] = {}
    policy: PolicyPart = PolicyPart()
    models: ModelsPart = ModelsPart()
    skills: dict[str, dict[str, Any]] = {}
    runbooks: dict[Name, Runbook] = {}
    hooks: dict[Name, Hook] = {}
    schedules: list[Schedule] = []
    alerts: list[Alert] = []
    audit: AuditPart = AuditPart()


def place_parts(text: str) -> tuple[Channel, str]:
    """`slack/T0ACME/C0OPS` → channel and the vendor's place. Raises ValueError."""
    channel, _, external_id = text.partition("/")
    if channel not in list(Channel) or not external_id:
        raise ValueError(f"{text!r} is no conversation; write it like slack/T0ACME/C0OPS")
    return Channel(channel), external_id
