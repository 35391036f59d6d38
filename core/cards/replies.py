"""What Sayso answers to a command, and to people it does not know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from core import predicate
from core.cards.task import answer_text, status_word
from core.cards.title import step_title
from core.display import visible
from core.models import SkillManifest

_LISTED = 15
_ID_SHOWN = 8
NO_TASK = "There is no such task, or you may not see it."
NOT_YOURS = "Only who asked for a task, or an owner, may do that."
ARCHIVED = "That task is archived: it can be looked at, not changed. Ask for the same thing again instead."


def help_text(manifests: Iterable[SkillManifest], runbooks: Mapping[str, str], *, has_model: bool) -> str:
    """All that can be said, with the skills and runbooks of this deployment."""
    lines = ["Tell me what to do in plain words, or use a command:" if has_model else "I understand these commands:"]
    lines += [
        "do <skill> name=value: run one skill, e.g. do files.delete paths=old.log",
        "run <runbook> name=value: run a runbook",
        "plan first: <any of these, or plain words>: approve the whole plan before any of it runs",
        "tasks, status [number], why [number]: what is going on, and why",
        "digest [2d]: what happened while you were away",
        "stop, pause, resume, retry, undo [number]: a hand on a task",
        "follow <number>: show a task here too, with its cards and its answer",
        "fork <task> <step> name=value: go on from a step in a task of your own; rollback <task> <version>: put a plan back",
        "steer <number> <text>: tell a running task something; interrupt <number> <text>: at once",
        "priority <number> urgent|high|normal|low",
        "approvals: what waits for your decision; grants, revoke <id>: what is allowed for longer",
        "edit <task> name=value, ask <task> <question>, delegate <task> to <person>: on a card that waits for you",
        "away until <date> to <person>, back: who decides for you meanwhile",
        "remember <text>, recall <words>: notes",
        "link telegram: bring your Telegram account by a link",
        "sms, sms link <number>: the phone to which approvals may come that nobody answers here",
    ]
    skills = sorted(manifests, key=lambda m: m.name)
    if skills:
        lines.append("Skills:")
        lines += [f"  {m.name}: {visible(m.summary)}" for m in skills if not m.name.endswith(".undo")]
    if runbooks:
        lines.append("Runbooks:")
        lines += [f"  {visible(name)}: {visible(say)}" for name, say in sorted(runbooks.items())]
    return "\n".join(lines)


def sentence(words: str) -> str:
    """What a program says in lower case, as a sentence for people."""
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "?", "!")) else ".")


def tasks_text(tasks: Sequence[Mapping[str, Any]]) -> str:
    if not tasks:
        return "No open tasks."
    lines = [f"{t['id']}: {visible(t['goal'])} ({t['status']})" for t in tasks[:_LISTED]]
    if len(tasks) > _LISTED:
        lines.append(f"… and {len(tasks) - _LISTED} more")
    return "\n".join(lines)


def status_text(task: Mapping[str, Any]) -> str:
    """One task with its steps and, once it is over, what it came to."""
    lines = [f"Task {task['id']}: {visible(task['goal'])} ({status_word(task)})"]
    for step in task["steps"]:
        note = f": {visible(step['error'])}" if step["error"] else ""
        lines.append(f"  {step['n']}. {step_title(step, task['steps'])}, {step['status'].replace('_', ' ')}{note}")
    if (came_to := answer_text(task)) and task["error"] not in {
        step["error"] for step in task["steps"] if step["error"]
    }:
        lines.append(came_to)
    return "\n".join(lines)


def _card(approval: Mapping[str, Any]) -> Mapping[str, Any]:
    """Empty where the row is damaged: the others are still told."""
    card = approval["card"]
    return card if isinstance(card, dict) else {}


def approvals_text(approvals: Sequence[Mapping[str, Any]], url: str) -> str:
    if not approvals:
        return "Nothing waits for your decision."
    lines = ["Waiting for a decision:"]
    for row in approvals[:_LISTED]:
        title = visible(_card(row).get("title") or row["skill"])
        lines.append(
            f"  {title}, asked by {visible(row['requester_name'] or row['requester'])}: {url}/approvals/{row['id']}"
        )
    return "\n".join(lines)


def grants_text(grants: Sequence[Mapping[str, Any]]) -> str:
    if not grants:
        return "There are no standing permissions of yours: you have given none, and none covers what you ask for."
    lines = [f"{g['id'][:_ID_SHOWN]}: {grant_text(g)}" for g in grants[:_LISTED]]
    if len(grants) > _LISTED:
        lines.append(f"… and {len(grants) - _LISTED} more")
    return "\n".join([*lines, "Say revoke and the beginning of its number to end one."])


def grant_text(grant: Mapping[str, Any]) -> str:
    """What it covers, for whom, how often, until when, and who answers for it."""
    where = f" in task {grant['task_id']}" if grant["task_id"] else ""
    left = f", {grant['uses_left']} more times" if grant["uses_left"] is not None else ""
    return (
        f"{visible(predicate.in_words(grant['skill'], grant['args']))}{where}, for"
        f" {visible(grant['holder_name'] or grant['holder'])}{left}, until {grant['expires_at']:%Y-%m-%d %H:%M} UTC;"
        f" given by {visible(grant['owner_name'] or grant['owner'])}, used {grant['uses']} times"
    )


def notes_text(notes: Sequence[Mapping[str, Any]]) -> str:
    if not notes:
        return "I remember nothing about that."
    return "\n".join(f"{n['id']}: {visible(n['body'])}" for n in notes)


def pairing_text(code: str | None) -> str:
    """What a stranger reads; nothing else is told to them."""
    if code is None:
        return "I don't know you, and you have asked for enough codes for now. Ask an owner, or try again in an hour."
    return (
        f"I don't know you yet. Give this code to an owner of this Sayso: {code}. They confirm it with:"
        f" pair {code} roles=…, or pair {code} as NAME for somebody known. It is good for one hour."
    )


def told_text(task: int, kind: str, status: str, *, interrupted: Sequence[int], woken: Sequence[int], turn: str) -> str:
    """What became of words for a task."""
    match kind:
        case "sent" if interrupted:
            return f"Task {task}: the turn was interrupted and begins again with this."
        case "sent" if woken and turn == "none":
            return f"Task {task} has your answer."
        case "sent" if woken:
            return f"Noted: task {task} waits no longer, and its next turn reads this."
        case "sent" if turn == "added":
            return f"Noted: task {task} reads this when its present steps have ended."
        case "sent" if turn == "none":
            return f"Noted: task {task} reads this when it comes to it."
        case "sent":
            return f"Noted: the next turn of task {task} reads this."
        case "duplicate":
            return "That was said already."
        case "over":
            return f"Task {task} is {status}; nobody would read that any more."
        case "full":
            return f"Task {task} has too much to read already; wait until it has read some of it."
        case "not_found":  # whoever says it sees the task, so it was put away
            return ARCHIVED
        case "deaf":
            return f"Task {task} follows fixed steps, so it can't be told anything. Say stop {task} to stop it."
    return f"Task {task} could not be told."


def prioritised_text(task: int, level: str, status: str | None) -> str:
    """`status` None: it was put away."""
    if status is None:
        return ARCHIVED
    if status in ("succeeded", "failed", "abandoned", "cancelled"):
        return f"Task {task} is {status}; its priority does not matter any more."
    return f"Task {task} has priority {level} now."


def moved_text(task: int, status: str, also: Sequence[int]) -> str:
    """What a hand made of a task, and which of the tasks that it started the hand moved as well."""
    if not also:
        return f"Task {task} is {status}."
    return f"Task {task} is {status}, and {'task' if len(also) == 1 else 'tasks'} {', '.join(map(str, also))} with it."


def not_retried_text(task: int, status: str) -> str:
    """Why a retry did nothing, and what can be done instead."""
    if status == "failed":
        why = "a step of it was given up without knowing whether it happened, and is not run again"
    elif status in ("succeeded", "abandoned", "cancelled"):
        why = "only a task that failed is retried"
    else:
        return f"Task {task} is {status}: there is nothing to retry."
    return f"Task {task} is {status}: {why}. Say fork {task} and the number of a step to go on from there."


def stopped_text(task: int, status: str, left: Sequence[Mapping[str, Any]]) -> str:
    """What a stop did, and what it could not stop, in the task and in those that it started."""
    lines = [f"Task {task} is {status}."]
    for step in left:
        title = f"step {step['n']} ({visible(step['title'])})" + (
            f" of task {step['task_id']}" if step["task_id"] != task else ""
        )
        if step["status"] == "unknown":
            lines.append(f"It is not known whether {title} happened: the question on its card still wants an answer.")
        elif step["begun"]:
            lines.append(f"{title[0].upper()}{title[1:]} had begun and can't be stopped; it is let finish.")
        else:
            lines.append(f"{title[0].upper()}{title[1:]} is being stopped.")
    return "\n".join(lines)
