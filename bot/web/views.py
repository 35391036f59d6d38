"""What each page shows, as data: rows become cards and entries, each with a stamp that changes when it would look different.

The same function serves the page and its live stream, so a page that is told to look again always finds the change.
A person sees buttons only for what they may decide; the intake checks again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from bot.web import graph, shapes
from bot.web.auth import Viewer, may_steer, web_place
from bot.web.seeing import approval_for, task_for
from core import config, fatigue, linking, returning
from core.cards import (
    UNSHOWABLE,
    Card,
    approval_card,
    damaged_card,
    missed_text,
    step_title,
    task_card,
    timeline_lines,
)
from core.deps import Deps
from core.display import visible, visible_lines
from core.editing import Field, form
from core.store import approvals, conversations, events, ladder, skills, tasks, versions
from core.store.fatigue import figures

CHAT_MESSAGES: Final = 60
EXACT_CHARS_IN_LIST: Final = 6_000
STAMP_CHARS: Final = 16


@dataclass(frozen=True, slots=True)
class Shown:
    """A card with what its buttons need. `digest` is what pressing them says was read."""

    card: Card
    digest: str = ""
    may_decide: bool = False
    stamp: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the chat: the person's words, Sayso's words, or a card."""

    key: str
    direction: str
    at: datetime
    text: str = ""
    shown: Shown | None = None
    files: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """A page. `path` is where it is, `waiting` how many approvals the viewer could decide now."""

    template: str
    title: str
    path: str
    waiting: int
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def stamp(self) -> str:
        return stamp_of({"waiting": self.waiting, "data": self.data})


def stamp_of(value: Any) -> str:
    """Short, and different when anything in the value is."""
    return hashlib.sha256(json.dumps(value, default=_plain, sort_keys=True).encode()).hexdigest()[:STAMP_CHARS]


def _plain(value: Any) -> Any:
    if isinstance(value, Card):
        return value.model_dump(mode="json")
    if isinstance(value, (Shown, Entry)):
        return asdict(value)
    return str(value)


Maker = Callable[[Deps, Viewer, str], Awaitable[View | None]]


async def view_at(deps: Deps, viewer: Viewer, path: str) -> View | None:
    """The page at a path as this person sees it; None when there is none for them."""
    head, _, rest = path.removeprefix("/").partition("/")
    maker: Maker | None = {
        ("", False): _chat,
        ("inbox", False): _inbox,
        ("digest", False): _digest,
        ("report", False): _report,
        ("tasks", False): _tasks,
        ("tasks", True): _task,
        ("approvals", True): _approval,
    }.get((head, bool(rest)))
    return await maker(deps, viewer, rest) if maker else None


# ---------------------------------------------------------------- pages


async def _chat(deps: Deps, viewer: Viewer, _: str) -> View:
    place = web_place(viewer.person)
    conversation = await conversations.find(deps.db, place.channel, place.external_id)
    messages = await conversations.recent(deps.db, conversation, CHAT_MESSAGES) if conversation else []
    entries = [entry for message in messages if (entry := await _entry(deps, viewer, message))]
    waiting = await waiting_for(deps, viewer)
    here = sum(1 for e in entries if e.shown and e.shown.may_decide)
    return View("chat.html", "Chat", "/", waiting, {"entries": entries, "elsewhere": max(waiting - here, 0)})


async def _entry(deps: Deps, viewer: Viewer, message: Mapping[str, Any]) -> Entry | None:
    at, direction = message["at"], message["direction"]
    if message["approval_id"]:
        row = await approvals.whole(deps.db, message["approval_id"])
        if row is None:
            return None
        shown = await _shown_approval(deps, viewer, row)
        return Entry(f"approval-{row['id']}", direction, at, shown=shown)
    if message["task_id"] and message["subject"] == "task":
        task = await tasks.whole(deps.db, message["task_id"])
        return Entry(f"task-{task['id']}", direction, at, shown=await _shown_task(deps, viewer, task)) if task else None
    text = message["text"] or ""
    if message["link"]:
        text = linking.with_secret(text, message["link"], deps.settings.secret_key())
    files = tuple(message["files"] or ())
    return Entry(f"{direction}-{message['id']}", direction, at, text=visible_lines(text), files=files)


async def _inbox(deps: Deps, viewer: Viewer, _: str) -> View:
    rows = await approvals.listed(deps.db, viewer.person.id, sees_all=viewer.sees_all, status="pending")
    own = await approvals.decidable(deps.db, viewer.person.id, [row["id"] for row in rows])
    await ladder.opened(deps.db, viewer.person.id, own)
    data = {
        "yours": [_approval_shown(viewer, row, may_decide=True) for row in rows if row["id"] in own],
        "others": [_approval_shown(viewer, row, may_decide=False) for row in rows if row["id"] not in own],
    }
    return View("inbox.html", "Inbox", "/inbox", len(data["yours"]), data)


async def _digest(deps: Deps, viewer: Viewer, _: str) -> View:
    missed = await returning.missed(deps.db, viewer.person, None)
    data = {"text": missed_text(missed, deps.settings.base_url() + "/tasks")}
    return View("digest.html", "While you were away", "/digest", await waiting_for(deps, viewer), data)


async def _report(deps: Deps, viewer: Viewer, _: str) -> View | None:
    """How approvals are answered; only for who sees everything."""
    if not viewer.sees_all:
        return None
    report = fatigue.report(config.REPORT_DAYS, await figures(deps.db, config.REPORT_DAYS))
    shown = report | {
        "suggestions": [visible(said) for said in report["suggestions"]],
        "people": [one | {"person": visible(one["person"])} for one in report["people"]],
        "skills": [one | {"skill": visible(one["skill"], technical=True)} for one in report["skills"]],
    }
    return View(
        "report.html", "How approvals are answered", "/report", await waiting_for(deps, viewer), {"report": shown}
    )


async def _tasks(deps: Deps, viewer: Viewer, _: str) -> View:
    rows = await tasks.listed(
        deps.db, viewer.person.id, sees_all=viewer.sees_all, sees_conversation=viewer.sees_conversation
    )
    listed = [row | {"goal": visible(row["goal"])} for row in rows]
    return View("tasks.html", "Tasks", "/tasks", await waiting_for(deps, viewer), {"tasks": listed})


async def _task(deps: Deps, viewer: Viewer, rest: str) -> View | None:
    number = tasks.parse_id(rest)
    found = await task_for(deps.db, viewer, number)
    if found is None or number is None:
        return None
    history = await events.of_task(deps.db, number)
    steps = [_step(step, found["steps"]) for step in found["steps"]]
    data = {
        "task": found,
        "shown": await _shown_task(deps, viewer, found),
        "steps": steps,
        "graph": graph.drawn(steps),
        "history": [_move(event) for event in history],
        "is_open": found["finished_at"] is None,
        "may_steer": may_steer(viewer, found),
        "versions": [_version(one) for one in await versions.listed(deps.db, number)],
    }
    return View("task.html", f"Task {number}", f"/tasks/{number}", await waiting_for(deps, viewer), data)


async def _approval(deps: Deps, viewer: Viewer, rest: str) -> View | None:
    row = await approval_for(deps.db, viewer, rest)
    if row is None:
        return None
    shown = await _shown_approval(deps, viewer, row, whole=True)
    data = {
        "shown": shown,
        "row": shapes.readable_approval(row) or shapes.unreadable_approval(row),
        "requester": visible(row["requester_name"] or row["requester"]),
        "goal": visible(row["goal"]),
        "timeline": timeline_lines((await ladder.timelines(deps.db, [row["id"]]))[row["id"]]),
        "fields": await _fields(deps, row) if any(b.verb == "edit" for b in shown.card.more) else (),
        "choices": _choices(row) if shown.may_decide and row["status"] == "pending" else [],
        "votes": [vote | {"by": visible(vote["by"]), "reason": visible(vote["reason"])} for vote in row["votes"]],
    }
    return View("approval.html", "Approval", f"/approvals/{row['id']}", await waiting_for(deps, viewer), data)


async def _fields(deps: Deps, row: Mapping[str, Any]) -> tuple[Field, ...]:
    """The form for the arguments of the one action that is asked about."""
    action = row["items"][0]["action"]
    manifest = (await skills.manifests(deps.db)).get(action["skill"])
    return form(action["args"], manifest) if manifest else ()


def _choices(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """Of a card with several actions, each by name, to be chosen."""
    if len(row["items"]) < 2:
        return []
    return [
        {"digest": i["digest"], "title": visible(f"{(i.get('card') or {}).get('title', '')} (step {i['step']})")}
        for i in row["items"]
    ]


async def waiting_for(deps: Deps, viewer: Viewer) -> int:
    """How many approvals wait for this person: the badge of every page."""
    return await approvals.waiting_for(deps.db, viewer.person.id)


# ---------------------------------------------------------------- cards


async def _shown_task(deps: Deps, viewer: Viewer, task: Mapping[str, Any]) -> Shown:
    can_undo = task["status"] == "succeeded" and await tasks.undoable_step(deps.db, int(task["id"])) is not None
    try:
        card = task_card({**task, "can_undo": can_undo}, now=datetime.now(UTC))
    except UNSHOWABLE:
        card = damaged_card("task", task["id"], task["id"])
    if not may_steer(viewer, task):
        card = card.model_copy(update={"buttons": ()})
    return Shown(card, stamp=stamp_of(card))


async def _shown_approval(deps: Deps, viewer: Viewer, row: Mapping[str, Any], *, whole: bool = False) -> Shown:
    own = await approvals.decidable(deps.db, viewer.person.id, [row["id"]]) if row["status"] == "pending" else set()
    await ladder.opened(deps.db, viewer.person.id, own)
    return _approval_shown(viewer, row, may_decide=row["id"] in own, whole=whole)


def _approval_shown(viewer: Viewer, row: Mapping[str, Any], *, may_decide: bool, whole: bool = False) -> Shown:
    try:
        card = approval_card(row)
    except UNSHOWABLE:
        card = damaged_card("approval", row["id"], str(row["task_id"]))
    if not may_decide:
        stops = tuple(b for b in card.buttons if b.verb == "stop") if row["requester"] == viewer.person.key else ()
        card = card.model_copy(update={"buttons": stops, "more": ()})
    if not whole and len(card.exact) > EXACT_CHARS_IN_LIST:
        card = card.without_yes(card.path)
    return Shown(card, row["digest"], may_decide, stamp_of([card, row["digest"]]))


# ---------------------------------------------------------------- text


def _step(step: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "n": step["n"],
        "title": step_title(step, steps),
        "skill": step["skill"],
        "kind": step["kind"],
        "status": step["status"],
        "effect": step["effect_state"] or "",
        "needs": step["depends_on"],
        "approval_id": step["approval_id"],
        "args": _json(step["args"]),
        "result": _json(step["result"]) if step["result"] is not None else "",
        "error": visible(step["error"] or ""),
    }


def _version(version: Mapping[str, Any]) -> dict[str, Any]:
    what = "plan" if version["machine"] == "plan" else str(version["to"]).replace("_", " ")
    return {"label": version["label"], "at": datetime.fromisoformat(version["at"]), "what": what}


def _json(value: Any) -> str:
    return visible_lines(json.dumps(value, ensure_ascii=False, indent=2))


def _move(event: Mapping[str, Any]) -> dict[str, Any]:
    what = f"step {event['n']}" if event["machine"] == "step" else event["machine"]
    if event["machine"] != "step" and event["n"]:
        what += f" of step {event['n']}"
    return {
        "at": datetime.fromisoformat(event["at"]),
        "what": what,
        "from": event["from"] or "new",
        "to": event["to"],
        "actor": visible(event["actor"].removeprefix("person:") or "Sayso"),
        "why": visible(event["why"]),
    }
