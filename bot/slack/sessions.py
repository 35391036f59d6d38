"""Slack's agent sessions: what a thread's task is about, that it works or waits, its Stop button, and prompts to begin with.

A mirror and nothing more: the tasks are in Postgres, and a workspace that has no sessions loses only the mirror. What
Slack refuses for good is said once in the log and not asked again. Tier 3: 50 calls a minute, of which we use fewer.
https://docs.slack.dev/ai/agent-sessions
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final, Literal

from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from bot.sending import NotSent
from bot.slack.forms import UNANSWERED
from bot.slack.sender import refusal
from bot.slack.surfaces import SessionStopped, TabOpened
from core import config, intake
from core.db import DATABASE_AWAY
from core.deps import Deps
from core.models import Channel
from core.organisation import sees_all
from core.ring import EVENTS_BELL, Bell
from core.store import approvals, conversations, events, people, sessions, tasks
from core.store.events import Cursor
from core.store.sessions import Thread

log = logging.getLogger(__name__)

POLL_S: Final = 5.0
GAP_S: Final = 1.0
REFUSED_S: Final = 3600.0
SETTLE_EVERY_S: Final = 60.0
UNSETTLED_MOST: Final = 500
PAGES_MOST: Final = 20
CALLS_A_MINUTE: Final = 40
TITLE_CHARS: Final = 200
PROMPTS_MOST: Final = 4
PROMPT_TITLE_CHARS: Final = 75
SET_STATUS: Final = "agents.sessions.setStatus"
SUGGEST: Final = "assistant.threads.setSuggestedPrompts"
NO_STOP: Final = "missing_agent_session_stopped_event_subscription"
# These are about one thread; whatever else Slack refuses it would refuse for every other one too.
OF_THREAD: Final = frozenset(
    {"channel_not_found", "not_in_channel", "is_archived", "thread_not_found", "message_not_found", "invalid_thread_ts"}
)

Call = Callable[..., Awaitable[AsyncSlackResponse]]
Control = Callable[..., Awaitable[str]]
Status = Literal["processing", "suspended", "active"]


def session_status(statuses: Collection[str]) -> Status:
    """What a thread shows of its tasks: one works, else one waits for something, else all have ended."""
    if any(status in ("queued", "planning", "running", "cancelling") for status in statuses):
        return "processing"
    return "suspended" if any(status in ("waiting", "paused") for status in statuses) else "active"


def prompts(runbooks: Sequence[tuple[str, str]], waiting: int, open_tasks: int) -> list[dict[str, str]]:
    """What to begin with, for somebody we know: (name, what it does) of runbooks that need to be told nothing."""
    found = []
    if waiting:
        found.append({"title": f"What waits for me? ({waiting})", "message": "approvals"})
    if open_tasks:
        found.append({"title": "What is going on?", "message": "tasks"})
    found += [{"title": (say or name)[:PROMPT_TITLE_CHARS], "message": f"run {name}"} for name, say in runbooks]
    return [*found[: PROMPTS_MOST - 1], {"title": "What can you do?", "message": "help"}]


class Sessions:
    def __init__(self, deps: Deps, client: AsyncWebClient) -> None:
        self._deps, self._client, self._mask = deps, client, deps.masks()
        self._seen: Cursor | None = None
        self._settled_at = 0.0
        self._quiet_until = 0.0
        self._called: deque[float] = deque(maxlen=CALLS_A_MINUTE)
        self._left: set[int] = set()
        self._refused_until: dict[str, float] = {}

    # ------------------------------------------------------------ the mirror

    async def run(self) -> None:
        """Show every thread's state, unless Slack refuses that; then again after a while."""
        async with Bell(self._deps.settings.redis_address(), EVENTS_BELL) as bell:
            while True:
                try:
                    if not self._is_refused(SET_STATUS):
                        await self.look()
                except DATABASE_AWAY as error:
                    log.warning("sessions cannot be shown: %s", type(error).__name__)
                await asyncio.sleep(GAP_S)
                await bell.wait(POLL_S)

    async def look(self) -> None:
        """One round: threads whose tasks moved, those left over, and now and then all that are not at rest."""
        self._left |= await self._moved()
        threads = (
            {one.conversation: one for one in await sessions.of_tasks(self._deps.db, self._left)} if self._left else {}
        )
        if time.monotonic() - self._settled_at > SETTLE_EVERY_S:
            self._settled_at = time.monotonic()
            threads |= {one.conversation: one for one in await sessions.unsettled(self._deps.db, UNSETTLED_MOST)}
        is_settled = [await self._show(thread) for thread in threads.values()]
        if all(is_settled):
            self._left = set()

    async def _moved(self) -> set[int]:
        """The tasks that moved since the last round. What is more than can be read now comes in the next."""
        if self._seen is None:
            self._seen = await events.newest(self._deps.db)
            return set()
        moved: set[int] = set()
        for _ in range(PAGES_MOST):
            new = await events.since(self._deps.db, self._seen)
            moved |= {int(one["task_id"]) for one in new if one["machine"] == "task" and one["task_id"]}
            if new:
                self._seen = Cursor.parse(new[-1]["cursor"]) or self._seen
            if len(new) < config.EVENTS_PAGE:
                break
        return moved

    async def _show(self, thread: Thread) -> bool:
        """Whether Slack shows it, or never will."""
        status = session_status(thread.statuses)
        if status == thread.shown or (thread.shown is None and status == "active") or self._is_refused(SET_STATUS):
            return True
        if not self._may_call():
            return False
        org, _, channel = thread.external_id.rpartition("/")
        more: dict[str, Any] = {}
        if thread.shown is None:
            more["title"] = self._mask(thread.goal)[:TITLE_CHARS]
            if thread.initiator.startswith(f"{org}/"):
                more["initiator_user_id"] = thread.initiator.rpartition("/")[2]
        answer = await self._asked(
            SET_STATUS,
            self._client.agents_sessions_setStatus,
            channel_id=channel,
            thread_ts=thread.thread,
            status=status,
            **more,
        )
        if answer is None:
            return self._is_refused(SET_STATUS)
        if answer.get("warning") == NO_STOP and not self._is_refused(NO_STOP):
            self._refused_until[NO_STOP] = math.inf
            log.warning("Slack shows no Stop button: subscribe to agent_session_stopped (sayso manifest slack has it)")
        if status == "active":
            await sessions.rests(self._deps.db, thread.conversation)
        else:
            await sessions.shows(self._deps.db, thread.conversation, status)
        return True

    def _may_call(self) -> bool:
        now = time.monotonic()
        is_full = len(self._called) == CALLS_A_MINUTE and now - self._called[0] < 60
        if now < self._quiet_until or is_full:
            return False
        self._called.append(now)
        return True

    async def _asked(self, method: str, call: Call, **args: Any) -> dict[str, Any] | None:
        """Slack's answer; of a thread that it does not know, an empty one; None when it is not to be had now, or ever."""
        try:
            answer = await call(**args)
        except UNANSWERED as error:
            refused = refusal(error) if isinstance(error, SlackApiError) else None
            if not isinstance(refused, NotSent):
                return None
            code = refused.why.partition(":")[0]
            if refused.retry_s is not None:
                self._quiet_until = time.monotonic() + refused.retry_s
            elif code in OF_THREAD:
                return {}
            else:
                self._refused_until[method] = time.monotonic() + REFUSED_S
                log.warning("Slack does not take %s (%s); this workspace goes without it", method, code)
            return None
        return dict(answer.data) if isinstance(answer.data, dict) else {}

    def _is_refused(self, method: str) -> bool:
        """Whether Slack has refused it lately for a reason that another try does not change: a scope, a token."""
        return time.monotonic() < self._refused_until.get(method, 0.0)

    # ------------------------------------------------------------ Stop, and an empty conversation

    async def stop(self, stopped: SessionStopped, control: Control = intake.control) -> str:
        """Stop the open tasks of the thread, each with this person's rights; answers what to tell them."""
        db = self._deps.db
        person = await people.behind(db, stopped.person)
        where = await conversations.find(db, Channel.SLACK, stopped.place, stopped.thread)
        if person is None or where is None:
            return ""
        everything = sees_all(self._deps.organisation, person.roles)
        found = await tasks.listed(
            db, person.id, sees_all=everything, sees_conversation=True, only_open=True, conversation=where
        )
        said = []
        for task in found:
            if task["parent_id"] is None:
                delivery = (Channel.SLACK, f"{stopped.delivery}:{task['id']}")
                said.append(await control(self._deps, person, int(task["id"]), "stop", delivery=delivery))
        return "\n".join(said)

    async def suggest(self, opened: TabOpened) -> None:
        """Prompts for the empty conversation. Strangers are told nothing of what there is."""
        person = await people.behind(self._deps.db, opened.person)
        if person is None or self._is_refused(SUGGEST):
            return
        db, known = self._deps.db, self._deps.organisation
        open_tasks = await tasks.listed(db, person.id, sees_all=False, sees_conversation=False, only_open=True, limit=1)
        free = [
            (name, self._mask(book.say))
            for name, book in known.runbooks.items()
            if all(one.default is not None for one in book.inputs.values())
        ]
        shown = prompts(free, await approvals.waiting_for(db, person.id), len(open_tasks))
        await self._asked(
            SUGGEST, self._client.assistant_threads_setSuggestedPrompts, channel_id=opened.channel, prompts=shown
        )
