"""Reads a chat text as a command, or says that it is none.

Pure. A command needs its whole shape: "do you know…" and "stop worrying" are plain sentences. Arguments are read by
the skill's own schema; what does not fit is answered with the fix. `core.answering` does what a command says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Literal

from core import config, durations
from core.commands.command import (
    LEVELS,
    TASK_VERBS,
    Away,
    Command,
    Digest,
    Do,
    Follow,
    Fork,
    LinkTelegram,
    OnCard,
    OnTask,
    Pair,
    PlainText,
    PlanFirst,
    Prioritise,
    Recall,
    Remember,
    Revoke,
    RollBack,
    Run,
    Show,
    Sms,
    Steer,
    Wrong,
)
from core.commands.values import nearest, read_arguments, usage
from core.commands.words import split
from core.models import SkillManifest

_SKILL = re.compile(r"[A-Za-z_]\w*(\.\w+)+")
_TASK = re.compile(r"(?:(?:task\s+)?#?(\d{1,18}))?", re.ASCII | re.IGNORECASE)
# A pairing code: eight letters and digits without the ones that look alike.
_CODE = re.compile(r"([2-9A-HJ-NP-Z]{8})(?:\s+as\s+([\w.-]+))?(?:\s+roles=([\w,-]+))?", re.ASCII | re.IGNORECASE)
_FORK = re.compile(
    r"(?:task\s+)?#?(\d{1,18})\s+(?:step\s+)?(\d{1,9})(?:\s+(\S.*))?", re.ASCII | re.IGNORECASE | re.DOTALL
)
_BACK = re.compile(
    r"(?:task\s+)?#?(\d{1,18})\s+(?:to\s+)?(?:version\s+)?(\d{1,9}(?:\.\d{1,9})?)", re.ASCII | re.IGNORECASE
)
_MISSED = re.compile(r"/?(digest|what\s+did\s+i\s+miss|what\s+have\s+i\s+missed)\s*[!.?]*", re.ASCII | re.IGNORECASE)
# Commands that a chat's menu sends without what they are about.
BARE: Mapping[str, str] = {
    "edit": "Edit what? Say: edit 12 name=value, with the number of its task.",
    "ask": "Ask about what? Say: ask 12 and your question, with the number of its task.",
    "delegate": "Hand what on to whom? Say: delegate 12 to bob",
    "steer": "Tell which task what? Say: steer 12 only the second file",
    "interrupt": "Tell which task what, at once? Say: interrupt 12 wait",
    "priority": "Which task, how urgent? Say: priority 12 high",
    "follow": "Follow which task? Say: follow 12",
    "revoke": "End which permission? Say grants to see them, then: revoke 3f9a",
}
FORK_USAGE = "Say: fork <task> <step> name=value, e.g. fork 12 3 paths=b.log"

_CARD = re.compile(r"(?:task\s+)?#?(\d{1,18})(?:\.(\d{1,6}))?\s+(\S.*)", re.ASCII | re.IGNORECASE | re.DOTALL)
_PLAN_FIRST = re.compile(r"first\s*[:,](.*)", re.IGNORECASE | re.DOTALL)
_GRANT = re.compile(r"[0-9a-f-]{4,36}", re.ASCII | re.IGNORECASE)
_PERSON = re.compile(r"[\w.@-]{1,80}")
_AWAY = re.compile(r"until\s+(\d{4}-\d\d-\d\d)\s+to\s+([\w.@-]{1,80})", re.ASCII | re.IGNORECASE)
_TO_TASK = re.compile(r"(?:task\s+)?#?(\d{1,18})\s*[:,]?\s+(\S.*)", re.ASCII | re.IGNORECASE | re.DOTALL)


def parse(text: str, manifests: Mapping[str, SkillManifest], runbooks: Iterable[str]) -> Command:
    """Never raises. A mention of Sayso in front is gone already; a slash in front of the first word is allowed."""
    text = text.strip()
    first, *others = text.split(None, 1)[:2] or [""]
    rest = others[0] if others else ""
    word = first.lower().removeprefix("/")
    if not rest and word in BARE:
        return Wrong(BARE[word])
    match word:
        case "do":
            return _do(text, rest, manifests)
        case "run":
            return _run(text, rest, set(runbooks))
        case "plan" if planned := _PLAN_FIRST.fullmatch(rest):
            return _plan_first(planned.group(1).strip(), manifests, runbooks)
        case "remember":
            return Remember(rest) if rest else Wrong("Remember what? Say: remember the deploy key is with Ann.")
        case "recall":
            return Recall(rest)
        case "pair":
            return _pair(text, rest)
        case "link" if rest.rstrip("!.").lower() == "telegram":
            return LinkTelegram()
        case "fork":
            return _fork(text, rest)
        case "rollback":
            return _roll_back(text, rest)
        case "sms":
            return _sms(text, rest)
        case "steer" | "interrupt" if told := _TO_TASK.fullmatch(rest):
            return Steer(int(told.group(1)), told.group(2).strip(), now=word == "interrupt")
        case "priority" if (told := _TO_TASK.fullmatch(rest)) and len(told.group(2).split()) == 1:
            return _prioritise(int(told.group(1)), told.group(2))
        case "edit" | "ask" | "delegate":
            return _on_card(word, text, rest)
        case "revoke" if _GRANT.fullmatch(rest.strip()):
            return Revoke(rest.strip().lower())
        case "away":
            return _away(text, rest)
        case "back" if not rest:
            return Away(None, "")
        case "digest" if rest:
            return _digest(text, rest)
    if _MISSED.fullmatch(text):
        return Digest(None)
    return _short(word, rest) or PlainText(text)


def _short(word: str, rest: str) -> Command | None:
    """`tasks`, `status`, `stop 12!`: one word, perhaps a number, perhaps the mark of a sentence after it."""
    if rest:
        rest = rest.rstrip("!.?")
    else:
        word = word.rstrip("!.?")
    number = _TASK.fullmatch(rest)
    if word in TASK_VERBS and number:
        return OnTask(word, int(number.group(1)) if number.group(1) else None)
    if word == "follow" and number and number.group(1):
        return Follow(int(number.group(1)))
    if rest:
        return None
    match word:
        case "tasks" | "approvals" | "grants" | "help":
            return Show(word)
        case "start":
            return Show("help")
    return None


def _do(text: str, rest: str, manifests: Mapping[str, SkillManifest]) -> Command:
    name, *others = rest.split(None, 1) or [""]
    if not name:
        return Wrong("Do what? Say: do <skill> name=value, e.g. do files.list pattern=*.log")
    manifest = manifests.get(name) or manifests.get(name.lower())
    if manifest is None:
        if not _SKILL.fullmatch(name):
            return PlainText(text)
        return Wrong(f"There is no skill {name}. {nearest(name, manifests)}")
    try:
        return Do(manifest.name, read_arguments(split(others[0] if others else ""), manifest))
    except ValueError as error:
        return Wrong(f"{_sentence(error)} {usage(manifest)}")


def _run(text: str, rest: str, runbooks: set[str]) -> Command:
    name, *others = rest.split(None, 1) or [""]
    if not name:
        return Wrong(f"Run what? There are: {', '.join(sorted(runbooks)) or 'no runbooks'}.")
    try:
        words = split(others[0] if others else "")
    except ValueError as error:
        return Wrong(f"{_sentence(error)} Say: run {name} name=value") if name in runbooks else PlainText(text)
    if name not in runbooks:
        shaped = all(w.key for w in words) if words else re.fullmatch(r"\w+(-\w+)+", name)
        return Wrong(f"There is no runbook {name}. {nearest(name, runbooks)}") if shaped else PlainText(text)
    inputs: dict[str, Any] = {}
    for word in words:
        if word.key is None:
            return Wrong(f"What is {word.raw!r} for? Say: run {name} name=value")
        if word.key in inputs:
            return Wrong(f"{word.key} is given twice.")
        inputs[word.key] = word.text
    return Run(name, inputs)


def _plan_first(rest: str, manifests: Mapping[str, SkillManifest], runbooks: Iterable[str]) -> Command:
    asked = parse(rest, manifests, runbooks) if rest else Wrong("Plan what? Say: plan first: tidy away the old logs")
    match asked:
        case Do() | Run() | PlainText():
            return PlanFirst(asked)
        case Wrong():
            return asked
    return Wrong("That needs no plan. Say what is to be done: plan first: run <runbook>, or in plain words.")


def _fork(text: str, rest: str) -> Command:
    """`fork 12 3`, `fork 12 3 path=b.log`, `fork task 12 step 3 model=openai/gpt-5.4`."""
    match = _FORK.fullmatch(rest)
    if match is None:
        return PlainText(text)
    try:
        words = split(match.group(3) or "")
    except ValueError as error:
        return Wrong(f"{_sentence(error)} {FORK_USAGE}")
    odd = next((w for w in words if w.key is None), None)
    return (
        Wrong(f"What is {odd.raw!r} for? {FORK_USAGE}")
        if odd
        else Fork(int(match.group(1)), int(match.group(2)), tuple(words))
    )


def _roll_back(text: str, rest: str) -> Command:
    """`rollback 12 3`, `rollback task 12 to version 3.2`."""
    match = _BACK.fullmatch(rest.rstrip("!."))
    return RollBack(int(match.group(1)), match.group(2)) if match else PlainText(text)


def _prioritise(task: int, said: str) -> Command:
    level = next((one for one in LEVELS if one == said.strip().rstrip("!.").lower()), None)
    return Prioritise(task, level) if level else Wrong(f"{said!r} is no priority. There are: {', '.join(LEVELS)}.")


def _pair(text: str, rest: str) -> Command:
    """`pair ABCD2345`, `pair ABCD2345 as ann`, `pair ABCD2345 roles=engineer,oncall`."""
    match = _CODE.fullmatch(rest)
    if match is None:
        return PlainText(text)
    code, person, roles = match.groups()
    return Pair(code.upper(), person, tuple(r for r in (roles or "").split(",") if r))


def _sms(text: str, rest: str) -> Command:
    """`sms link +41 79 123 45 67`, `sms confirm K7Q2M4XA`, `sms`."""
    if not rest.rstrip("!.?"):
        return Sms("show", "")
    match = re.fullmatch(r"(link|confirm)\s+(.{4,40})", rest, re.IGNORECASE)
    if match is None:
        return PlainText(text)
    return Sms("link" if match.group(1).lower() == "link" else "confirm", match.group(2).strip())


def _on_card(verb: Literal["edit", "ask", "delegate"], text: str, rest: str) -> Command:
    match = _CARD.fullmatch(rest)
    if match is None:
        return PlainText(text)
    task, step, words = match.groups()
    if verb == "delegate":
        words = words.removeprefix("to ").strip().removesuffix(".")
        if not _PERSON.fullmatch(words):
            return Wrong("Hand it on to whom? Say: delegate 12 to bob")
    return OnCard(verb, int(task), int(step) if step else None, words)


def _away(text: str, rest: str) -> Command:
    match = _AWAY.fullmatch(rest.strip())
    if match is None:
        return PlainText(text)
    try:
        return Away(date.fromisoformat(match.group(1)), match.group(2))
    except ValueError:
        return Wrong("Until when? Say: away until 2026-12-01 to bob")


def _digest(text: str, rest: str) -> Command:
    """`digest 2d`."""
    try:
        within_s = int(durations.seconds(rest.strip().rstrip("!.?")))
    except ValueError:
        return PlainText(text)
    if not 0 < within_s <= config.DIGEST_MOST_S:
        return Wrong(f"A digest goes back {config.DIGEST_MOST_S // 86400} days at most. Say: digest 2d")
    return Digest(within_s)


def _sentence(error: ValueError) -> str:
    said = str(error)
    return said if said.endswith("?") else f"{said}."
