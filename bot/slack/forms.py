"""Opens the forms that answers need, and reads an edit back out of one.

A trigger lives for three seconds and opens one view: what needs no look at the database is opened as it is, an edit as
a view that says "one moment" and then becomes the form, found by a name of ours also where Slack's answer was lost.
Whoever can't get one is told why. A form gives no right: what is sent with it is judged when it comes.
https://docs.slack.dev/surfaces/modals
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError

from bot.sending import NotSent
from bot.slack import words
from bot.slack.sender import SlackSender, refusal
from bot.slack.translate import ReasonWanted, Reply
from bot.slack.views import edit_view, loading_view, reason_view, said_view, words_view
from core import deciding, editing
from core.db import DATABASE_AWAY
from core.deps import Deps
from core.models import Channel, Identity
from core.store import approvals, people

log = logging.getLogger(__name__)

Outcome = Literal["yes", "no", "perhaps"]
UNANSWERED: Final = (SlackApiError, SlackClientError, aiohttp.ClientError, TimeoutError, OSError)
FILL_S: Final = 10.0


class Forms:
    def __init__(self, deps: Deps, sender: SlackSender, tell: Callable[[Reply, str], Awaitable[None]]) -> None:
        self._deps, self._sender, self._tell = deps, sender, tell

    async def open(self, wanted: ReasonWanted) -> None:
        """The form for this answer; best effort, and never silent."""
        name = {"external_id": wanted.trigger}
        opened = await self._opened(wanted, _first(wanted) | name)
        if wanted.verb == "edit" and opened != "no":
            filled = await self._filled(wanted, name)
            if filled == "yes" or opened == "yes":
                return
        if opened != "yes":
            await self._tell(wanted.reply, words.NO_FORM)

    async def _opened(self, wanted: ReasonWanted, view: dict[str, Any]) -> Outcome:
        try:
            await self._sender.once.views_open(trigger_id=wanted.trigger, view=view)
        except UNANSWERED as error:
            log.warning("Slack did not open a form: %s", _why(error))
            is_refused = isinstance(error, SlackApiError) and isinstance(refusal(error), NotSent)
            return "no" if is_refused else "perhaps"
        return "yes"

    async def _filled(self, wanted: ReasonWanted, name: dict[str, str]) -> Outcome:
        """Whether the open view shows the form now, or why there is none."""
        failed = said_view(wanted.approval_id, wanted.reply, "edit", words.FORM_FAILED)
        try:
            async with asyncio.timeout(FILL_S):
                filled = await self._edit(wanted)
        except (*DATABASE_AWAY, TimeoutError) as error:
            log.warning("a form could not be filled in: %s", type(error).__name__)
            filled = failed
        outcome = await self._fill(name, filled)
        return await self._fill(name, failed) if outcome == "perhaps" else outcome

    async def _fill(self, name: dict[str, str], filled: dict[str, Any]) -> Outcome:
        """No: there is no such view, it never opened or was closed again."""
        try:
            await self._sender.again.views_update(**name, view=filled | name)
        except UNANSWERED as error:
            log.info("Slack did not fill in a form: %s", _why(error))
            return "no" if _why(error) == "not_found" else "perhaps"
        return "yes"

    async def _edit(self, wanted: ReasonWanted) -> dict[str, Any]:
        """The form of the arguments, or why there is none."""
        view = edit_view(wanted.approval_id, await self._fields(wanted), wanted.reply)
        return view or said_view(wanted.approval_id, wanted.reply, "edit", words.EDIT_ELSEWHERE)

    async def _fields(self, wanted: ReasonWanted) -> tuple[editing.Field, ...]:
        """Empty where there is nothing that this person may see and edit."""
        person = await people.behind(self._deps.db, wanted.sender)
        row = await approvals.whole(self._deps.db, wanted.approval_id)
        if person is None or row is None or row["status"] != "pending":
            return ()
        found = await deciding.editable(self._deps, row) if await deciding.may_answer(self._deps, person, row) else None
        return editing.form(*found) if found else ()

    async def key_of(self, user: str) -> str | None:
        """The person behind `workspace/user`, by their key."""
        person = await people.behind(self._deps.db, Identity(channel=Channel.SLACK, external_id=user))
        return person.key if person else None

    async def changes(self, approval_id: str, given: Mapping[str, str]) -> dict[str, Any]:
        """What a filled-in form changes. Raises `editing.BadEdit`."""
        row = await approvals.whole(self._deps.db, approval_id)
        found = await deciding.editable(self._deps, row) if row else None
        if found is None:
            raise editing.BadEdit("this can't be edited any more")
        args, manifest = found
        return editing.changes(args, given, manifest)


def _first(wanted: ReasonWanted) -> dict[str, Any]:
    if wanted.verb == "edit":
        return loading_view(wanted.approval_id, wanted.reply, wanted.verb)
    if wanted.verb == "deny":
        return reason_view(wanted.approval_id, wanted.reply)
    return words_view(wanted.verb, wanted.approval_id, wanted.reply)


def _why(error: Exception) -> str:
    """Slack's word for it, or the kind of failure; never what people wrote."""
    response = getattr(error, "response", None)
    data = getattr(response, "data", None)
    return str(data.get("error")) if isinstance(data, dict) else type(error).__name__
