"""While nobody answers: which rung comes next and when, whom it asks where, and when nobody could be asked at all.

Pure. `next_move` looks at one approval as it stands and answers one frozen move; `worker.ladder` carries it out and looks
again. A rung whose deliveries all failed is left at once; quiet hours put off whom they cover and nobody else; nothing here
ever moves the deadline, and no silence becomes a yes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

from core.models import Risk
from core.organisation import Organisation, QuietHours, Rung

RISKS: Final[tuple[Risk, ...]] = get_args(Risk)
SMS_RISK_MOST: Final[Risk] = "high"
DIRECT_CHANNELS: Final = ("slack", "telegram")
DEFAULT_LADDER: Final = (
    Rung(after=0, to="conversation"),
    Rung(after=5 * 60, to="direct"),
    Rung(after=15 * 60, to="sms"),
)

Kind = Literal["conversation", "direct", "sms"]
State = Literal["put_off", "open", "unknown", "reached", "failed", "skipped"]
Consent = Literal["none", "in", "out"]

IN_TIME: Final = "its time had come"
AT_ONCE: Final = "the rung before it reached nobody"
NOBODY_MAY: Final = "Nobody who may decide this is known here."
NOBODY_REACHED: Final = "No message reached anybody who may decide, and nobody opened it."


# ---------------------------------------------------------------- what is looked at


@dataclass(frozen=True, slots=True)
class PlannedRung:
    """A rung as it was written down with the approval. `wakes`: quiet hours do not count."""

    n: int
    kind: Kind
    due_at: datetime
    max_risk: Risk | None = None
    wakes: bool = False
    climbed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decider:
    """Somebody who may decide now. `phones`: each linked number and whether its holder agreed to be texted."""

    id: int
    key: str
    has_answered: bool
    can_sign_in: bool
    addresses: Mapping[str, str]
    phones: tuple[tuple[str, Consent], ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """`person` is None in a shared place."""

    id: int
    n: int
    person: int | None
    channel: str
    address: str
    due_at: datetime
    state: State


@dataclass(frozen=True, slots=True)
class Pending:
    """One pending approval with everything that the next move depends on."""

    kind: str
    ladder: str
    risk: Risk | None
    created_at: datetime
    expires_at: datetime | None
    held_until: datetime | None
    now: datetime
    is_opened: bool
    names_usergroup: bool
    rungs: tuple[PlannedRung, ...]
    deciders: tuple[Decider, ...]
    asked: tuple[Asked, ...]


# ---------------------------------------------------------------- what is answered


@dataclass(frozen=True, slots=True)
class Plan:
    rungs: tuple[PlannedRung, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """One person at one address; `skipped` says why not."""

    person: int
    channel: str
    address: str
    due_at: datetime
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Climb:
    n: int
    why: str
    asks: tuple[Ask, ...]


@dataclass(frozen=True, slots=True)
class AskNow:
    """Quiet hours are over for these."""

    asks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GiveUp:
    why: str


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do before this time; None: until something happens."""

    until: datetime | None


Move = Plan | Climb | AskNow | GiveUp | Rest


def next_move(pending: Pending, organisation: Organisation, channels: frozenset[str]) -> Move:
    """`channels` are those that are on here."""
    asks_nobody = not pending.deciders and not pending.names_usergroup and pending.kind != "unknown"
    if asks_nobody:
        return GiveUp(NOBODY_MAY)
    if not pending.rungs:
        return Plan(planned(organisation, pending.ladder, pending.created_at))
    over = tuple(a.id for a in pending.asked if a.state == "put_off" and a.due_at <= pending.now)
    if over:
        return AskNow(over)
    rung = next((r for r in pending.rungs if r.climbed_at is None), None)
    if rung is None:
        return GiveUp(NOBODY_REACHED) if _is_hopeless(pending) else Rest(_next_put_off(pending))
    is_due = rung.due_at <= pending.now
    if (is_due or _is_left_at_once(pending)) and not _is_held(pending):
        asks, note = _asks(rung, pending, organisation, channels)
        return Climb(rung.n, "; ".join(filter(None, (IN_TIME if is_due else AT_ONCE, note))), asks)
    due = max(rung.due_at, pending.held_until) if pending.held_until else rung.due_at
    if pending.held_until and _is_held(pending) and _is_left_at_once(pending):
        due = pending.held_until
    return Rest(min(filter(None, (due, _next_put_off(pending)))))


# ---------------------------------------------------------------- the plan


def rungs_of(organisation: Organisation, name: str) -> tuple[Rung, ...]:
    """The ladder of that name; one that is not there any more is the built-in one."""
    return tuple(organisation.ladders.get(name) or organisation.ladders.get("default") or DEFAULT_LADDER)


def deadline_s(organisation: Organisation, name: str) -> int | None:
    """After how many seconds the ladder ends the wait; None where it does not say."""
    return next((rung.after for rung in rungs_of(organisation, name) if rung.to == "expire"), None)


def planned(organisation: Organisation, name: str, created_at: datetime) -> tuple[PlannedRung, ...]:
    """The rungs to be climbed. The conversation comes first whatever the ladder says: its card is there already."""
    rungs = [rung for rung in rungs_of(organisation, name) if rung.to != "expire"]
    if not any(rung.to == "conversation" for rung in rungs):
        rungs.insert(0, Rung(after=0, to="conversation"))
    return tuple(
        PlannedRung(
            n=n,
            kind=rung.to,
            due_at=created_at + timedelta(seconds=rung.after),
            max_risk=rung.max_risk,
            wakes=rung.wakes,
        )
        for n, rung in enumerate(rungs, start=1)
        if rung.to != "expire"
    )


# ---------------------------------------------------------------- when


def _is_held(pending: Pending) -> bool:
    return pending.held_until is not None and pending.held_until > pending.now


def _is_left_at_once(pending: Pending) -> bool:
    """All that the last rung sent has failed; or nothing has reached anybody, nor is on its way."""
    climbed = [rung.n for rung in pending.rungs if rung.climbed_at is not None]
    if not climbed:
        return False
    last = [a.state for a in pending.asked if a.n == climbed[-1] and a.state != "skipped"]
    return (bool(last) and all(state == "failed" for state in last)) or not _has_hope(pending)


def _has_hope(pending: Pending) -> bool:
    """Something is on its way to, or has reached, somebody who may decide."""
    deciders = {person.id for person in pending.deciders}
    return any(
        a.state in ("put_off", "open", "unknown", "reached") and (a.person is None or a.person in deciders)
        for a in pending.asked
    )


def _is_hopeless(pending: Pending) -> bool:
    """The web inbox is a rung too: whoever can sign in may still come by, until the deadline."""
    return (
        pending.kind != "unknown"
        and not pending.is_opened
        and not _has_hope(pending)
        and not pending.names_usergroup
        and not any(person.can_sign_in for person in pending.deciders)
    )


def _next_put_off(pending: Pending) -> datetime | None:
    return min((a.due_at for a in pending.asked if a.state == "put_off"), default=None)


# ---------------------------------------------------------------- whom


def _asks(
    rung: PlannedRung, pending: Pending, organisation: Organisation, channels: frozenset[str]
) -> tuple[tuple[Ask, ...], str]:
    """Whom the rung asks, and a note where it asks nobody."""
    match rung.kind:
        case "conversation":
            return (), ""
        case "direct":
            asks = [a for person in _unasked(pending) for a in _direct(person, rung, pending, organisation, channels)]
        case "sms":
            refused = _no_sms(rung, pending, organisation, channels)
            if refused:
                return (), refused
            asks = [a for person in _unasked(pending) for a in _by_sms(person, rung, pending, organisation)]
    return tuple(asks), ""


def _unasked(pending: Pending) -> list[Decider]:
    return [person for person in pending.deciders if not person.has_answered]


def _direct(
    person: Decider, rung: PlannedRung, pending: Pending, organisation: Organisation, channels: frozenset[str]
) -> list[Ask]:
    """Every chat in which they have not been asked privately yet."""
    asked = {(a.person, a.channel) for a in pending.asked if a.state != "skipped"}
    open_to = [c for c in DIRECT_CHANNELS if c in channels and c in person.addresses]
    if not open_to:
        return [Ask(person.id, "direct", "", pending.now, "no chat of theirs is linked")]
    return [
        _timed(Ask(person.id, channel, person.addresses[channel], pending.now), person, rung, pending, organisation)
        for channel in open_to
        if (person.id, channel) not in asked
    ]


def _no_sms(rung: PlannedRung, pending: Pending, organisation: Organisation, channels: frozenset[str]) -> str:
    """Why this approval goes to no phone at all."""
    if "sms" not in channels:
        return "SMS is not set up here"
    most = min((rung.max_risk or SMS_RISK_MOST, organisation.sms_max_risk, SMS_RISK_MOST), key=RISKS.index)
    if pending.risk is None or RISKS.index(pending.risk) > RISKS.index(most):
        return f"the risk is {pending.risk or 'not known'}, SMS is for {most} at most"
    return ""


def _by_sms(person: Decider, rung: PlannedRung, pending: Pending, organisation: Organisation) -> list[Ask]:
    if not person.phones:
        return [Ask(person.id, "sms", "", pending.now, "no phone of theirs is linked")]
    asks = []
    for phone, consent in person.phones:
        ask = Ask(person.id, "sms", phone, pending.now)
        match consent:
            case "in":
                asks.append(_timed(ask, person, rung, pending, organisation))
            case "out":
                asks.append(_skipped(ask, "they said STOP to SMS"))
            case "none":
                asks.append(_skipped(ask, "they have not agreed to SMS"))
    return asks


def _timed(ask: Ask, person: Decider, rung: PlannedRung, pending: Pending, organisation: Organisation) -> Ask:
    """Now, or when their quiet hours end."""
    until = None if rung.wakes else quiet_until(organisation, person.key, pending.now)
    if until is None:
        return ask
    if pending.expires_at is not None and until >= pending.expires_at:
        return _skipped(ask, "their quiet hours end after the deadline")
    return Ask(ask.person, ask.channel, ask.address, until)


def _skipped(ask: Ask, why: str) -> Ask:
    return Ask(ask.person, ask.channel, ask.address, ask.due_at, why)


# ---------------------------------------------------------------- quiet hours


def quiet_until(organisation: Organisation, key: str, now: datetime) -> datetime | None:
    """When the person's quiet hours that `now` lies in end; None outside them. In the person's own time zone."""
    person = organisation.people.get(key)
    hours = (person.quiet_hours if person else None) or organisation.quiet_hours
    if hours is None:
        return None
    return end_of_quiet(hours, (person.timezone if person else None) or organisation.timezone, now)


def end_of_quiet(hours: QuietHours, zone: str, now: datetime) -> datetime | None:
    """`hours` may span midnight. The end is found on the local clock, so that it stays right when clocks change."""
    local = now.astimezone(ZoneInfo(zone))
    clock = local.time().replace(second=0, microsecond=0, tzinfo=None, fold=0)
    begin, end = hours.from_, hours.to
    is_quiet = begin <= clock < end if begin < end else (clock >= begin or clock < end)
    if not is_quiet:
        return None
    day = local.date() if clock < end else local.date() + timedelta(days=1)
    return datetime.combine(day, end, tzinfo=ZoneInfo(zone)).astimezone(now.tzinfo)
